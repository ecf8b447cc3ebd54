//! How it ends: signals, kills, and what the next start makes of what is left.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use common::books::differences;
use common::daemon::{Daemon, PACE, pause, run_to_end};
use common::witness::{self, Dice, Testimony, Witness};
use common::zips::{self, Files};
use common::{Place, Tree, is_long, names, processes_of, tree};

/// Files in a package that is to be met in the middle of its unpacking.
const LARGE: usize = 12_000;

/// Delivers one that takes a while, and waits until it is being unpacked.
fn in_mid_package(place: &Place, daemon: &mut Daemon, files: &Files) {
    place.deliver("large", &zips::stored(files));
    let has_begun = || {
        let jobs = place.jobs();
        jobs.iter().any(|job| !tops(&job.join(".out")).is_empty())
    };
    daemon.wait_until("the package is being unpacked", has_begun);
}

fn tops(folder: &Path) -> Vec<String> {
    names(folder)
}

fn expected(files: &Files) -> Tree {
    common::archived("large", files, zips::stored(files))
}

/// Starts it again and waits until the large package is in the archive; gives what the start said.
fn finish(place: &Place, files: &Files) -> String {
    let mut daemon = Daemon::start(place.run(&[]));
    place.wait_archived(&mut daemon, "large");
    place.wait_empty(&mut daemon);
    assert_eq!(daemon.terminate(), 0);
    assert_eq!(tree(&place.archive().join("large")), expected(files), "it is not whole");
    assert_eq!(place.archived_names(), ["large"], "it is there more than once");
    assert_eq!(place.quarantined_names(), [""; 0]);
    daemon.log()
}

#[test]
fn idle_daemon_ends_at_each_signal_as_asked() {
    for (signal, code) in [(Signal::TERM, 0), (Signal::INT, 0), (Signal::QUIT, 128 + 3)] {
        let place = Place::new();
        let mut daemon = Daemon::start(place.run(&[]));
        let asked = Instant::now();
        daemon.signal(signal);
        assert_eq!(daemon.code(), code, "{signal:?}");
        let took = asked.elapsed();
        assert!(
            took < Duration::from_secs(10),
            "{signal:?}: nothing was in work, and it took {took:?}"
        );
        assert_eq!(processes_of(place.top()), [""; 0], "{signal:?} left a process behind");
    }
}

#[test]
fn idle_daemon_goes_on_after_a_hangup() {
    let place = Place::new();
    let mut daemon = Daemon::start(place.run(&[]));
    daemon.signal(Signal::HUP);
    let expected = place.deliver_files("plate", &zips::sample(1));
    place.wait_archived(&mut daemon, "plate");
    assert_eq!(tree(&place.archive().join("plate")), expected);
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn term_in_mid_package_loses_nothing_and_exits_0() {
    let place = Place::new();
    let files = zips::many(LARGE);
    let mut daemon = Daemon::start(place.run(&["--workers", "2"]));
    in_mid_package(&place, &mut daemon, &files);
    assert_eq!(daemon.terminate(), 0, "{}", daemon.log());
    assert_eq!(processes_of(place.top()), [""; 0], "a process is left");
    match place.archived_names()[..] {
        [] => assert_eq!(place.jobs().len(), 1, "it is neither archived nor in the work area"),
        _ => assert_eq!(tree(&place.archive().join("large")), expected(&files)),
    }
    let ended = run_to_end(place.run(&["--once", "--settle", "0s"]));
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert_eq!(tree(&place.archive().join("large")), expected(&files));
    assert_eq!((place.archived_names().len(), place.jobs().len()), (1, 0));
}

#[test]
fn term_with_packages_waiting_finishes_what_is_in_flight_and_leaves_the_rest_whole() {
    let place = Place::new();
    let sample = zips::sample(3);
    let zip = zips::deflated(&sample);
    for n in 0..60 {
        place.deliver(&format!("plate-{n:02}"), &zip);
    }
    let mut daemon = Daemon::start(place.run(&["--settle", "0s", "--workers", "1"]));
    daemon.wait_until("some are archived", || !place.archived_names().is_empty());
    assert_eq!(daemon.terminate(), 0, "{}", daemon.log());
    let archived = place.archived_names();
    for name in &archived {
        let wanted = common::archived(name, &sample, zip.clone());
        assert_eq!(tree(&place.archive().join(name)), wanted, "{name} is not whole");
    }
    println!("{} of 60 archived before the stop", archived.len());
    let ended = run_to_end(place.run(&["--once", "--settle", "0s"]));
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert_eq!((place.archived_names().len(), place.jobs().len()), (60, 0));
}

#[test]
fn second_term_ends_it_at_once_and_the_next_start_goes_on() {
    let place = Place::new();
    let files = zips::many(LARGE);
    let mut daemon = Daemon::start(place.run(&["--workers", "1"]));
    in_mid_package(&place, &mut daemon, &files);
    daemon.signal(Signal::TERM);
    daemon.wait_line("stopping");
    let asked = Instant::now();
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.code(), 128 + 15, "{}", daemon.log());
    let took = asked.elapsed();
    assert!(took < Duration::from_secs(10), "at once took {took:?}");
    assert_eq!(place.archived_names(), [""; 0], "it was to end in the middle");
    assert_eq!(place.jobs().len(), 1, "the package is not in the work area");

    let said = finish(&place, &files);
    assert!(said.contains("went on from an earlier run"), "{said}");
    assert!(said.contains("unclean: false"), "a stop that was asked for counts as a crash: {said}");
}

#[test]
fn quit_in_mid_package_ends_it_at_once_and_the_next_start_goes_on() {
    let place = Place::new();
    let files = zips::many(LARGE);
    let mut daemon = Daemon::start(place.run(&["--workers", "2"]));
    in_mid_package(&place, &mut daemon, &files);
    daemon.signal(Signal::QUIT);
    assert_eq!(daemon.code(), 128 + 3, "{}", daemon.log());
    assert_eq!((place.archived_names().len(), place.jobs().len()), (0, 1));
    let said = finish(&place, &files);
    assert!(said.contains("unclean: false"), "a stop that was asked for counts as a crash: {said}");
}

#[test]
fn kill_in_mid_package_loses_nothing_and_is_counted() {
    let place = Place::new();
    let files = zips::many(LARGE);
    let mut daemon = Daemon::start(place.run(&["--workers", "2"]));
    in_mid_package(&place, &mut daemon, &files);
    daemon.kill();
    assert_eq!((place.archived_names().len(), place.jobs().len()), (0, 1));
    let said = finish(&place, &files);
    assert!(said.contains("unclean: true") && said.contains("crashed: 1"), "{said}");
}

#[test]
fn package_that_kills_the_daemon_each_time_is_quarantined_and_its_neighbours_are_not() {
    let place = Place::new();
    let files = zips::many(LARGE);
    let config = place.config("settle = '0s'\nmax_crashes = 1\n");
    let mut daemon = Daemon::start(place.run_with(&config, &["--workers", "2"]));
    in_mid_package(&place, &mut daemon, &files);
    for n in 0..3 {
        place.deliver_files(&format!("neighbour-{n}"), &zips::sample(n));
    }
    // Two deaths that may be anybody's; then it runs alone, and one more is its own.
    for death in 1..=3 {
        daemon.kill();
        daemon = Daemon::start(place.run_with(&config, &["--workers", "2"]));
        let is_large = |job: &PathBuf| job.join("large").exists();
        let begun = |job: &PathBuf| is_large(job) && !tops(&job.join(".out")).is_empty();
        if death < 3 {
            daemon.wait_until("it is in work again", || place.jobs().iter().any(begun));
        }
    }
    daemon.wait_until("it is put away", || !place.quarantined_names().is_empty());
    let (folder, reason) = place.quarantined("large");
    assert_eq!(reason["code"], "crashes_daemon");
    assert_eq!(fs::read(folder.join("delivered/large.zip")).unwrap(), zips::stored(&files));
    daemon.wait_until("the neighbours are archived", || place.archived_names().len() == 3);
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn kills_at_random_moments_of_many_packages_lose_none_and_archive_each_once() {
    let (count, kills) = if is_long() { (2000, 60) } else { (500, 12) };
    let (mut dice, seed) = Dice::thrown();
    println!("LONGSHORE_SEED={seed}");

    let place = Place::new();
    let packages: BTreeMap<String, (Files, Vec<u8>)> = (0..count)
        .map(|n| {
            let files = zips::sample(n);
            let zip = zips::deflated(&files);
            (format!("plate-{n:04}"), (files, zip))
        })
        .collect();
    // Half of them are there at the start; the others come meanwhile, one for each look at the disk.
    let (early, late): (Vec<_>, Vec<_>) = packages
        .iter()
        .map(|(name, (_, zip))| (name, zip))
        .partition(|(name, _)| name.ends_with(['0', '2', '4', '6', '8']));
    for (name, zip) in early {
        place.deliver(name, zip);
    }
    let whole = packages
        .iter()
        .map(|(name, (files, zip))| (name.clone(), witness::whole(name, files, zip)));
    fs::create_dir(place.archive()).unwrap();
    let witness = Witness::of(&place.archive(), whole.collect());

    // No daemon dies so often by itself: a package that is in work at many kills is no suspect here.
    let config = place.config("settle = '0s'\nmax_crashes = 1000\n");
    let done = std::thread::scope(|scope| {
        let arrivals = scope.spawn(|| {
            for (at, (name, zip)) in late.into_iter().enumerate() {
                let staged = place.stage(name, zip);
                let target = place.landing().join(name);
                if at % 2 == 0 {
                    fs::rename(staged, target).unwrap();
                } else {
                    let arriving = place.landing().join(format!("{name}-downloading"));
                    fs::rename(staged, &arriving).unwrap();
                    pause(PACE);
                    fs::rename(arriving, target).unwrap();
                }
                pause(PACE);
            }
        });
        let mut done = Vec::new();
        let mut round = 0;
        // To the last arrival, however many rounds that takes.
        while round < kills || !arrivals.is_finished() {
            round += 1;
            let command = place.run_with(&config, &["--workers", "2"]);
            // One in three while it starts, perhaps in the middle of its recovery.
            let mut daemon = match dice.below(3) {
                0 => Daemon::spawn(command),
                _ => Daemon::start(command),
            };
            daemon.run_for(Duration::from_micros(dice.below(200_000)));
            assert!(daemon.is_alive(), "it ended by itself: {}", daemon.log());
            daemon.kill();
            done.push(place.archived_names().len());
        }
        done
    });
    println!("archived at each kill: {done:?}");
    let ended = run_to_end(place.run_with(&config, &["--once", "--workers", "2"]));
    assert_eq!(ended.code, 0, "{}{}", ended.out, ended.err);

    let Testimony { seen, partial, looks } = witness.end();
    println!("the archive was listed {looks} times");
    assert_eq!(partial, [""; 0], "packages that were not whole when they were first seen");
    assert_eq!(seen.len(), count, "not each is there once");
    for (name, (files, zip)) in packages {
        let wanted = common::archived(&name, &files, zip);
        assert_eq!(tree(&place.archive().join(&name)), wanted, "{name}");
    }
    assert_eq!(place.quarantined_names(), [""; 0]);
    assert_eq!((place.landed_names(), place.jobs()), (vec![], vec![]));
    assert_eq!(differences(&place, &[]), [""; 0], "the ledger and the disk");
    println!("random kills: {} rounds, {count} packages, 0 lost, 0 twice, 0 partial", done.len());
    assert_eq!(processes_of(place.top()), [""; 0], "a process is left");
}

#[test]
fn running_daemon_has_no_children_and_leaves_no_process() {
    let place = Place::new();
    let mut daemon = Daemon::start(place.run(&[]));
    place.deliver_files("plate", &zips::sample(1));
    place.wait_archived(&mut daemon, "plate");
    let pid = daemon.pid();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    assert_eq!(children.unwrap_or_default().trim(), "", "nothing was asked for that needs a child");
    assert_eq!(daemon.terminate(), 0);
    assert_eq!(processes_of(place.top()), [""; 0]);
}

#[test]
fn closed_stderr_is_no_reason_to_end() {
    // Whoever read the log is gone: the work goes on.
    let place = Place::new();
    let mut shell = Command::new("sh");
    shell.arg("-c").arg("exec \"$0\" \"$@\" 2>&- >&-");
    let run = place.run(&[]);
    shell.arg(run.get_program()).args(run.get_args()).current_dir(place.top());
    let mut daemon = Daemon::spawn(shell);
    place.deliver_files("plate", &zips::sample(1));
    place.wait_archived(&mut daemon, "plate");
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn attempts_go_on_counting_after_a_kill() {
    let place = Place::new();
    let seen = place.path("seen");
    let script = format!("echo $LONGSHORE_ATTEMPT >>{}; exit 75", seen.display());
    let config = place.script(&script, "backoff_max = '1h'\n").replace("'1ms'", "'1h'");
    place.deliver_files("plate", &zips::sample(1));
    let mut daemon = Daemon::start(place.run_with(&config, &[]));
    let is_shelved = |attempt: u32| {
        let end = format!(".{attempt}.0");
        place.jobs().iter().any(|job| job.to_string_lossy().ends_with(&end))
    };
    daemon.wait_until("the second attempt is waited for", || is_shelved(2));
    daemon.kill();
    // A start begins what waited, however long it was to wait: nobody knows for how long it was down.
    let mut daemon = Daemon::start(place.run_with(&config, &[]));
    daemon.wait_until("the third attempt is waited for", || is_shelved(3));
    daemon.kill();
    let ended = run_to_end(place.run_with(&config, &["--once"]));
    assert_eq!(ended.code, 1, "{}", ended.err);
    let (_, reason) = place.quarantined("plate");
    assert_eq!((&reason["code"], &reason["attempt"]), (&"command_deferred".into(), &3.into()));
    assert_eq!(fs::read_to_string(seen).unwrap(), "1\n2\n3\n");
    assert_eq!(differences(&place, &[]), [""; 0]);
}

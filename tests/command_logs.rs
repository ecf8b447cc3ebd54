//! The logs of commands, and `longshore logs`.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use rustix::process::Signal;

use common::daemon::{Daemon, Ended, run_to_end};
use common::zips;
use common::{Place, make_fifo};

fn once(place: &Place, text: &str) -> Ended {
    run_to_end(place.run_with(text, &["--once"]))
}

/// Delivers one package and runs a script over it, once.
fn run_over(place: &Place, text: &str) -> Ended {
    place.deliver("plate", &zips::deflated(&zips::sample(1)));
    once(place, &place.script(text, ""))
}

fn logs(place: &Place, arguments: &[&str]) -> Ended {
    let mut command = place.longshore(&["logs", "--landing"]);
    command.arg(place.landing()).args(arguments);
    run_to_end(command)
}

#[test]
fn command_that_fills_its_log_has_what_fits_kept_and_its_last_lines() {
    let place = Place::new();
    place.deliver("plate", &zips::deflated(&zips::sample(1)));
    let text = place.script(
        "head -c 3000000 /dev/zero | tr '\\\\0' 'x'; echo; echo the end; exit 1",
        "process.log_max = '100KiB'\n",
    );
    let ended = once(&place, &text);
    assert_eq!(ended.code, 1, "{}", ended.err);
    let log = logs(&place, &["plate"]).out;
    assert!(log.len() > 100 * 1024 && log.len() < 110 * 1024, "{} bytes", log.len());
    assert!(log.contains("at its limit of 102400 bytes") && log.contains("# exit code 1"));
    let (_, reason) = place.quarantined("plate");
    assert_eq!(reason["output"], serde_json::json!(["the end"]));
}

#[test]
fn logs_are_found_by_name_id_and_prefix_and_are_private() {
    let place = Place::new();
    assert_eq!(run_over(&place, "echo said").code, 0);
    let folder = place.landing().join(".longshore/logs");
    let [file] = &common::names(&folder)[..] else { panic!("one log") };
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&folder), mode(&folder.join(file))), (0o700, 0o600));
    let job = &file[..26];
    let wanted = fs::read_to_string(folder.join(file)).unwrap();
    for id in ["plate", job, &job[..9], &job.to_lowercase()] {
        let log = logs(&place, &[id]);
        assert_eq!((log.code, log.out.as_str()), (0, wanted.as_str()), "{id}: {}", log.err);
    }
    for arguments in [&["nobody"][..], &["plate", "--attempt", "2"], &[""]] {
        let log = logs(&place, arguments);
        assert_eq!((log.code, log.out.as_str()), (66, ""), "{arguments:?}: {}", log.err);
    }
    let state = run_to_end(place.longshore(&[
        "logs",
        "plate",
        "--state",
        place.landing().join(".longshore").to_str().unwrap(),
    ]));
    assert_eq!((state.code, state.out), (0, wanted.clone()));
    let config = place.longshore(&["logs", "plate", "--config", "longshore.toml"]);
    assert_eq!(run_to_end(config).out, wanted);
    let none = run_to_end(place.longshore(&["logs", "plate"]));
    assert_eq!(none.code, 2, "{}", none.err);
}

#[test]
fn logs_that_are_followed_go_on_until_the_attempt_ends() {
    let place = Place::new();
    let go = place.path("go");
    make_fifo(&go);
    let text = format!("echo first; read line <{}; echo \"$line\"", go.display());
    let mut daemon = Daemon::start(place.run_with(&place.script(&text, ""), &[]));
    place.deliver("plate", &zips::deflated(&zips::sample(1)));
    let folder = place.landing().join(".longshore/logs");
    daemon.wait_until("it has a log", || common::names(&folder).len() == 1);
    let mut follow = place.longshore(&["logs", "plate", "-f", "--landing"]);
    follow.arg(place.landing());
    let mut follower = Daemon::spawn(follow);
    follower.wait_line("first");
    assert!(follower.is_alive(), "it did not wait");
    fs::write(&go, "second\n").unwrap();
    follower.wait_line("second");
    follower.wait_line("# exit code 0");
    assert_eq!(follower.code(), 0);
    place.wait_archived(&mut daemon, "plate");
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn logs_whose_reader_goes_end_without_a_panic() {
    let place = Place::new();
    let mut daemon =
        Daemon::start(place.run_with(&place.script("seq 100000; exec sleep 1000", ""), &[]));
    place.deliver("plate", &zips::deflated(&zips::sample(1)));
    let folder = place.landing().join(".longshore/logs");
    daemon.wait_until("it has a log", || common::names(&folder).len() == 1);
    for follow in [&["-f"][..], &[]] {
        let mut command = place.longshore(&["logs", "plate", "--landing"]);
        command.arg(place.landing()).args(follow);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &*said), (Some(0), ""), "{follow:?}");
    }
    daemon.signal(Signal::QUIT);
    assert_eq!(daemon.code(), 128 + 3);
}

#[test]
fn logs_that_are_old_are_removed_at_the_start() {
    let place = Place::new();
    assert_eq!(run_over(&place, "echo said").code, 0);
    let folder = place.landing().join(".longshore/logs");
    let old = folder.join(&common::names(&folder)[0]);
    let file = fs::File::options().write(true).open(&old).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(31 * 24 * 60 * 60)).unwrap();
    let text = place.script("true", "process.keep_logs = '32d'\n");
    assert_eq!(once(&place, &text).code, 0);
    let mut daemon = Daemon::start(place.run_with(&place.script("true", ""), &[]));
    daemon.wait_until("the old log is removed", || !old.exists());
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn lines_of_a_command_reach_the_daemons_log_at_debug_level() {
    let place = Place::new();
    for (options, seen) in [(&["--once", "-v"][..], true), (&["--once"], false)] {
        place.deliver("plate", &zips::deflated(&zips::sample(1)));
        let text = place
            .script("printf 'a \\\\033[31mcrimson\\\\033[0m line\\\\n'", "identical = 'process'\n");
        let ended = run_to_end(place.run_with(&text, options));
        assert_eq!(ended.code, 0, "{}", ended.err);
        let found = ended.err.lines().find(|line| line.contains("crimson"));
        assert_eq!(found.is_some(), seen, "{}", ended.err);
        assert!(found.is_none_or(|line| !line.contains('\u{1b}') && line.contains("job: 01")));
    }
}

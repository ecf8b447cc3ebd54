//! Archive and quarantine on another file system than landing and work area: the same promises, by copies.
//!
//! Across two real ones: the tests' own temporary folder, and `/dev/shm`.
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use common::daemon::{Daemon, run_to_end};
use common::mounts::Mount;
use common::witness::{self, Dice, Testimony, Witness};
use common::zips::{self, Files};
use common::{Place, is_long, processes_of, skip, tree};

/// A place, and a folder to which no rename leads from it; says so where there is none.
fn place_and_other() -> Option<(Place, TempDir)> {
    let place = Place::new();
    let other = tempfile::Builder::new().prefix("longshore-test-").tempdir_in("/dev/shm");
    let Ok(other) = other else {
        skip("there is no /dev/shm");
        return None;
    };
    if !crosses(&place.path("probe"), &other.path().join("probe")) {
        skip("a rename leads from the temporary folder to /dev/shm");
        return None;
    }
    Some((place, other))
}

/// Whether a rename from one path to another fails with `EXDEV`.
fn crosses(from: &Path, to: &Path) -> bool {
    fs::write(from, "").unwrap();
    let error = fs::rename(from, to).err().map(|error| error.kind());
    fs::remove_file(if error.is_some() { from } else { to }).unwrap();
    error == Some(io::ErrorKind::CrossesDevices)
}

/// Nothing is left of the copies under their temporary names.
fn no_half_copies(place: &Place) {
    for target in [place.archive(), place.quarantine()] {
        let left: Vec<_> = fs::read_dir(target.join(".longshore")).into_iter().flatten().collect();
        assert!(left.is_empty(), "left in {target:?}: {left:?}");
    }
}

/// A ZIP that is cut off.
fn broken(zip: &[u8]) -> &[u8] {
    &zip[..zip.len() / 2]
}

#[test]
fn packages_reach_archive_and_quarantine_on_another_file_system() {
    for (archive, quarantine) in [(true, false), (false, true), (true, true)] {
        let Some((mut place, other)) = place_and_other() else { return };
        if archive {
            place = place.with_archive(other.path().join("mv_zip"));
        }
        if quarantine {
            place = place.with_quarantine(other.path().join("quarantine"));
        }
        let config = place.config("settle = '0s'\nbroken_after = '0s'\n");
        let zip = zips::deflated(&zips::sample(7));
        place.deliver("bad", broken(&zip));
        let expected = place.deliver_files("good", &zips::sample(1));
        let ended = run_to_end(place.run_with(&config, &["--once"]));
        assert_eq!(ended.code, 1, "one is bad: {}{}", ended.out, ended.err);
        assert_eq!(tree(&place.archive().join("good")), expected, "{archive} {quarantine}");
        let (folder, _) = place.quarantined("bad");
        assert_eq!(fs::read(folder.join("delivered/bad.zip")).unwrap(), broken(&zip));
        // A second delivery of the same, and one with other content.
        let _same = place.deliver_files("good", &zips::sample(1));
        let ended = run_to_end(place.run_with(&config, &["--once"]));
        assert_eq!(ended.code, 1, "{}{}", ended.out, ended.err);
        let (folder, reason) = place.quarantined("good");
        assert_eq!(reason["code"], "duplicate");
        assert!(folder.join("delivered/good.zip").exists());
        let expected = place.deliver_files("good", &zips::sample(2));
        let ended = run_to_end(place.run_with(&config, &["--once"]));
        assert_eq!(ended.code, 0, "{}{}", ended.out, ended.err);
        assert_eq!(tree(&place.archive().join("good.2")), expected);
        assert_eq!(place.archived_names(), ["good", "good.2"]);
        assert_eq!((place.landed_names(), place.jobs()), (vec![], vec![]));
        no_half_copies(&place);
    }
}

#[test]
fn two_hundred_packages_reach_another_file_system_whole() {
    let Some((place, other)) = place_and_other() else { return };
    let place = place.with_archive(other.path().join("mv_zip"));
    let expected: Vec<_> = (0..200)
        .map(|n| {
            let name = format!("plate-{n:03}");
            let tree = place.deliver_files(&name, &zips::sample(n));
            (name, tree)
        })
        .collect();
    let ended = run_to_end(place.run(&["--once", "--settle", "0s", "--workers", "2"]));
    assert_eq!(ended.code, 0, "{}{}", ended.out, ended.err);
    for (name, expected) in expected {
        assert_eq!(tree(&place.archive().join(&name)), expected, "{name}");
    }
    assert_eq!((place.archived_names().len(), place.jobs().len()), (200, 0));
    no_half_copies(&place);
}

/// A package whose copy takes a while.
fn large() -> (Files, Vec<u8>) {
    let files = Files::from([("noise.bin".to_owned(), zips::noise(64 << 20))]);
    let zip = zips::stored(&files);
    (files, zip)
}

/// Whether a copy is being made.
fn is_copying(place: &Place) -> bool {
    let staging = fs::read_dir(place.archive().join(".longshore"));
    staging.is_ok_and(|mut copies| copies.next().is_some())
}

#[test]
fn stop_in_mid_copy_finishes_it_or_leaves_it_for_the_next_start() {
    for signal in [Signal::TERM, Signal::QUIT] {
        let Some((place, other)) = place_and_other() else { return };
        let place = place.with_archive(other.path().join("mv_zip"));
        let (files, zip) = large();
        place.deliver("large", &zip);
        let mut daemon = Daemon::start(place.run(&[]));
        daemon.wait_until("it is being copied", || is_copying(&place));
        daemon.signal(signal);
        let code = daemon.code();
        assert_eq!(code, if signal == Signal::TERM { 0 } else { 128 + 3 }, "{}", daemon.log());
        if signal == Signal::TERM {
            assert_eq!(place.archived_names(), ["large"], "it was within its grace");
        }
        let ended = run_to_end(place.run(&["--once", "--settle", "0s"]));
        assert_eq!(ended.code, 0, "{}", ended.err);
        let expected = common::archived("large", &files, zip);
        assert_eq!(tree(&place.archive().join("large")), expected, "{signal:?}");
        assert_eq!((place.archived_names().len(), place.jobs().len()), (1, 0), "{signal:?}");
        no_half_copies(&place);
    }
}

#[test]
fn copies_hold_up_no_rename() {
    let Some((place, other)) = place_and_other() else { return };
    // Two sources: one copies large packages, the other's archive is next to its landing.
    let (slow, near) = (place.path("slow"), place.path("near"));
    let far = other.path().join("far");
    let config = format!(
        "state = {:?}\n[defaults]\nsettle = '0s'\n[source.far]\nlanding = {slow:?}\narchive = {far:?}\n\
         [source.near]\nlanding = {:?}\narchive = {near:?}\n",
        place.path("state"),
        place.landing(),
    );
    fs::create_dir(&slow).unwrap();
    let (_, zip) = large();
    for n in 0..4 {
        let name = format!("large-{n}");
        fs::rename(place.stage(&name, &zip), slow.join(&name)).unwrap();
    }
    let mut daemon = Daemon::start(place.run_with(&config, &["--workers", "2"]));
    let copies = || fs::read_dir(far.join(".longshore")).is_ok_and(|mut all| all.next().is_some());
    daemon.wait_until("the large ones are being copied", copies);
    place.deliver_files("small", &zips::sample(1));
    daemon.wait_until("the small one is archived", || near.join("small").exists());
    daemon.wait_until("so are the large ones", || common::names(&far).len() == 4);
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn kills_at_random_moments_of_copies_lose_no_package_and_archive_each_once() {
    let (rounds, count, kills) = if is_long() { (10, 400, 20) } else { (2, 150, 8) };
    let (mut dice, seed) = Dice::thrown();
    println!("LONGSHORE_SEED={seed}");
    for round in 0..rounds {
        let Some((place, other)) = place_and_other() else { return };
        let place = place
            .with_archive(other.path().join("mv_zip"))
            .with_quarantine(other.path().join("quarantine"));
        let packages: BTreeMap<String, (Files, Vec<u8>)> = (0..count)
            .map(|n| {
                let files = zips::sample(n);
                let zip = zips::deflated(&files);
                (format!("plate-{n:04}"), (files, zip))
            })
            .collect();
        let whole = packages
            .iter()
            .map(|(name, (files, zip))| (name.clone(), witness::whole(name, files, zip)));
        fs::create_dir(place.archive()).unwrap();
        let watched = Witness::of(&place.archive(), whole.collect());
        let config = place.config("settle = '0s'\nbroken_after = '0s'\nmax_crashes = 1000\n");
        let names: Vec<_> = packages.keys().cloned().collect();
        let mut arriving = names.chunks(names.len().div_ceil(kills));
        let mut bad = 0;
        let mut done = Vec::new();
        for _ in 0..kills {
            let command = place.run_with(&config, &["--workers", "2"]);
            // One in three while it starts, perhaps in the middle of its recovery.
            let mut daemon = match dice.below(3) {
                0 => Daemon::spawn(command),
                _ => Daemon::start(command),
            };
            for name in arriving.next().unwrap_or_default() {
                place.deliver(name, &packages[name].1);
                if dice.below(10) == 0 {
                    place.deliver(&format!("bad-{bad}"), broken(&packages[name].1));
                    bad += 1;
                }
            }
            daemon.run_for(Duration::from_micros(dice.below(300_000)));
            assert!(daemon.is_alive(), "it ended by itself: {}", daemon.log());
            daemon.kill();
            done.push(place.archived_names().len());
        }
        let ended = run_to_end(place.run_with(&config, &["--once", "--workers", "2"]));
        let expected = i32::from(ended.out.contains("quarantined"));
        assert_eq!(ended.code, expected, "{}{}", ended.out, ended.err);

        let Testimony { seen, partial, looks } = watched.end();
        println!("round {round}: archived at each kill {done:?}, {bad} bad, {looks} looks");
        assert_eq!(partial, [""; 0], "packages that were not whole when they were first seen");
        // The witness sees the folder for copies as little as any reader of the archive should.
        assert_eq!(seen.len(), count, "not each is there once");
        for (name, (files, zip)) in packages {
            let wanted = common::archived(&name, &files, zip);
            assert_eq!(tree(&place.archive().join(&name)), wanted, "{name}");
        }
        for n in 0..bad {
            place.quarantined(&format!("bad-{n}"));
        }
        assert_eq!(place.quarantined_names().len(), bad);
        assert_eq!((place.landed_names(), place.jobs()), (vec![], vec![]));
        no_half_copies(&place);
        assert_eq!(processes_of(place.top()), [""; 0], "a process is left");
    }
}

#[test]
fn full_archive_is_waited_for_and_the_packages_go_on_by_themselves() {
    let place = Place::new();
    let Some(mount) = Mount::memory(place.path("small"), "8m") else { return };
    assert!(crosses(&place.path("probe"), &mount.at.join("probe")));
    let place = place.with_archive(mount.at.join("mv_zip"));
    let filler = mount.at.join("filler");
    fs::write(&filler, zips::noise((7 << 20) + (1 << 19))).unwrap();
    let files = Files::from([("noise.bin".to_owned(), zips::noise(2 << 20))]);
    let expected = place.deliver_files("plate", &files);
    let config = place.config("settle = '0s'\nmin_free = '64KiB'\n");
    let mut daemon = Daemon::start(place.run_with(&config, &[]));
    let line = daemon.wait_line("intake of this source is paused");
    assert!(line.contains("no_space"), "{line}");
    assert_eq!(place.archived_names(), [""; 0]);
    no_half_copies(&place);
    fs::remove_file(filler).unwrap();
    place.wait_archived(&mut daemon, "plate");
    assert_eq!(tree(&place.archive().join("plate")), expected);
    assert_eq!(daemon.terminate(), 0);
    drop(mount);
}

#[test]
fn unmounted_archive_is_waited_for_and_nothing_is_written_beneath_it() {
    let place = Place::new();
    let Some(mount) = Mount::memory(place.path("disk"), "16m") else { return };
    // What is mounted at the archive's place lives on while it is mounted at another, too.
    let archive = place.path("mv_zip");
    let bound = mount.bind(archive.clone()).unwrap();
    let config = place.config("settle = '0s'\nmin_free = '64KiB'\n");
    let mut daemon = Daemon::start(place.run_with(&config, &[]));
    drop(bound); // the daemon holds the folder: the unmount is a lazy one
    let expected = place.deliver_files("plate", &zips::sample(1));
    let line = daemon.wait_line("intake of this source is paused");
    assert!(line.contains("target_gone"), "{line}");
    assert_eq!(fs::read_dir(&archive).unwrap().count(), 0, "written beneath the mount");
    let bound = mount.bind(archive.clone()).unwrap();
    place.wait_archived(&mut daemon, "plate");
    assert_eq!(tree(&place.archive().join("plate")), expected);
    assert_eq!(daemon.terminate(), 0);
    drop(bound);
    drop(mount);
}

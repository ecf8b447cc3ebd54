//! What lies beside a ZIP and cannot come along, or not at once.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::common::daemon::{Daemon, run_to_end};
use crate::common::mounts::Mount;
use crate::common::zips;
use crate::common::{self, Place, is_root, skip};
use crate::{QUICK, files, job_of, the_next_one_is_archived};

/// Sets or clears an attribute; says so where the file system has none.
fn chattr(how: &str, path: &Path) -> bool {
    let output = Command::new("chattr").arg(how).arg(path).output();
    let done = is_root() && output.is_ok_and(|output| output.status.success());
    if !done {
        skip("this file system has no attributes, or this user may not set them");
    }
    done
}

#[test]
fn mount_point_below_a_delivered_folder_is_found_before_anything_is_gathered() {
    for archive_is_elsewhere in [false, true] {
        let mut place = Place::new();
        let Some(disk) = Mount::memory(place.path("disk"), "16m") else { return };
        if archive_is_elsewhere {
            let near = place.path("near");
            place = place.with_archive(disk.at.join("mv_zip")).with_quarantine(near);
        }
        let folder = place.stage("bad", &zips::deflated(&zips::sample(3)));
        let Some(mount) = Mount::memory(folder.join("sub/deep"), "1m") else { return };
        fs::write(mount.at.join("another's.txt"), "").unwrap();
        fs::rename(&folder, place.landing().join("bad")).unwrap();
        let mut daemon = Daemon::start(place.run_with(&place.config(QUICK), &[]));
        let line = daemon.wait_line("quarantined");
        for part in ["original_not_movable", "mount point", "sub/deep"] {
            assert!(line.contains(part), "no {part:?} in {line}");
        }
        the_next_one_is_archived(&place, &mut daemon);
        assert_eq!(daemon.terminate(), 0);
        let (folder, _) = place.quarantined("bad");
        assert!(folder.join("delivered/bad.zip").exists());
        let mounted = folder.join("delivered/sub/deep");
        assert!(mounted.join("another's.txt").exists(), "it moves along, and is not copied");
        Command::new("umount").arg("-l").arg(&mounted).output().unwrap();
    }
}

#[test]
fn zip_that_another_file_is_mounted_over_is_quarantined() {
    let place = Place::new();
    let folder = place.stage("bad", &zips::deflated(&zips::sample(3)));
    let other = place.path("other.zip");
    fs::write(&other, zips::deflated(&zips::sample(1))).unwrap();
    let Some(_mount) = Mount::file(&other, folder.join("bad.zip")) else { return };
    fs::rename(&folder, place.landing().join("bad")).unwrap();
    let mut daemon = Daemon::start(place.run_with(&place.config(QUICK), &[]));
    let line = daemon.wait_line("quarantined");
    for part in ["original_not_movable", "mount point", "bad.zip"] {
        assert!(line.contains(part), "no {part:?} in {line}");
    }
    the_next_one_is_archived(&place, &mut daemon);
    assert_eq!(daemon.terminate(), 0);
    let (folder, _) = place.quarantined("bad");
    let mounted = folder.join("delivered/bad.zip");
    Command::new("umount").arg("-l").arg(&mounted).output().unwrap();
    assert!(mounted.exists(), "the ZIP beneath is gone");
    assert!(other.exists());
}

#[test]
fn file_beside_the_zip_that_cannot_be_moved_keeps_its_package_out_of_the_archive() {
    for (set, clear) in [("+i", "-i"), ("+a", "-a")] {
        let place = Place::new();
        let folder = place.stage("bad", &zips::deflated(&zips::sample(3)));
        fs::write(folder.join("raw.dat"), "raw").unwrap();
        if !chattr(set, &folder.join("raw.dat")) {
            return;
        }
        fs::rename(&folder, place.landing().join("bad")).unwrap();
        place.deliver_files("next", &zips::sample(1));
        let ended = run_to_end(place.run_with(&place.config(QUICK), &["--once"]));
        let (folder, reason) = place.quarantined("bad");
        let raw = folder.join("delivered/raw.dat");
        let is_whole = raw.exists() && folder.join("delivered/bad.zip").exists();
        assert!(chattr(clear, &raw));
        assert!(is_whole);
        assert_eq!(reason["code"], "original_not_movable");
        assert!(reason["message"].as_str().unwrap().contains("raw.dat"), "{reason}");
        assert_eq!((ended.code, place.archived_names()), (1, vec!["next".to_owned()]));
    }
}

#[test]
fn what_lies_beside_a_zip_has_limits_and_costs_little_however_deep_it_is() {
    let place = Place::new();
    let Some(mount) = Mount::memory(place.path("disk"), "64m") else { return };
    let place = place.with_archive(mount.at.join("mv_zip")).with_quarantine(mount.at.join("q"));
    let folder = place.stage("deep", &zips::deflated(&zips::sample(3)));
    let mut at = rustix::fs::open(&folder, rustix::fs::OFlags::PATH, rustix::fs::Mode::empty());
    let name = "d".repeat(250);
    for _ in 0..3000 {
        let above = at.unwrap();
        rustix::fs::mkdirat(&above, &*name, rustix::fs::Mode::RWXU).unwrap();
        at =
            rustix::fs::openat(&above, &*name, rustix::fs::OFlags::PATH, rustix::fs::Mode::empty());
    }
    drop(at);
    fs::rename(&folder, place.landing().join("deep")).unwrap();
    let many = place.stage("many", &zips::deflated(&zips::sample(4)));
    for number in 0..1001 {
        fs::write(many.join(format!("{number}.txt")), "").unwrap();
    }
    fs::rename(&many, place.landing().join("many")).unwrap();
    let config = place
        .config(&format!("{QUICK}limits.beside_entries = 1000\nlimits.beside_path = '1MiB'\n"));
    let mut daemon = Daemon::start(place.run_with(&config, &[]));
    the_next_one_is_archived(&place, &mut daemon);
    place.wait_empty(&mut daemon);
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < 150_000, "{peak} KiB for names of 750 KB");
    assert_eq!(daemon.terminate(), 0, "{}", daemon.log());
    assert_eq!(place.quarantined("deep").1["code"], "originals_too_deep");
    assert_eq!(place.quarantined("many").1["code"], "too_many_originals");
}

#[test]
fn delivered_folder_that_its_sender_closed_after_the_claim_holds_up_nobody() {
    if !is_root() {
        return skip("not root");
    }
    let place = Place::new();
    let script = "case $LONGSHORE_NAME in bad) exit 75;; esac";
    let config = place.script(script, "backoff_max = '300ms'\n");
    let folder = place.stage("bad", &zips::deflated(&zips::sample(2)));
    // The sender is another user, and shares its folder with everybody.
    std::os::unix::fs::chown(&folder, Some(1001), Some(1001)).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
    fs::rename(&folder, place.landing().join("bad")).unwrap();
    let config = config.replace("backoff = '1ms'", "backoff = '300ms'\nmax_attempts = 2");
    let command = place.unprivileged(place.run_with(&config, &[]));
    let mut daemon = Daemon::start(command);
    daemon.wait_line("will be tried again");
    let job = job_of(&place, "bad");
    fs::set_permissions(job.join("bad"), fs::Permissions::from_mode(0o000)).unwrap();
    let line = daemon.wait_line("waiting alone");
    assert!(line.contains("bad") && line.contains("Permission denied"), "{line}");
    let next = place.stage("next", &zips::deflated(&zips::sample(1)));
    place.give(&next);
    fs::rename(&next, place.landing().join("next")).unwrap();
    place.wait_archived(&mut daemon, "next");
    let job = job_of(&place, "bad");
    fs::set_permissions(job.join("bad"), fs::Permissions::from_mode(0o777)).unwrap();
    daemon.wait_until("it is quarantined", || place.jobs().is_empty());
    assert_eq!(daemon.terminate(), 0);
    let (folder, _) = place.quarantined("bad");
    assert!(folder.join("delivered/bad.zip").exists());
}

#[test]
fn litter_of_a_file_manager_in_and_beside_the_zip_is_no_conflict() {
    for command in ["", "process.command = ['true']\n"] {
        let place = Place::new();
        let zip = zips::deflated(&files(&[".DS_Store", "a.txt"]));
        let folder = place.stage("plate", &zip);
        fs::write(folder.join(".DS_Store"), "delivered").unwrap();
        fs::rename(&folder, place.landing().join("plate")).unwrap();
        let config = place.config(&format!("{QUICK}{command}"));
        let ended = run_to_end(place.run_with(&config, &["--once"]));
        assert_eq!(ended.code, 0, "{}{}", ended.out, ended.err);
        let archived = place.archive().join("plate");
        assert_eq!(fs::read(archived.join(".DS_Store")).unwrap(), b".DS_Store");
        assert_eq!(fs::read(archived.join(".DS_Store.2")).unwrap(), b"delivered");
        assert_eq!(place.quarantined_names(), [""; 0]);
    }
}

#[test]
fn file_beside_the_zip_that_is_in_use_is_waited_for_alone_and_comes_along() {
    let place = Place::new();
    let Some(mount) = Mount::passthrough(place.path("mount"), "busy") else { return };
    let (landing, archive) = (mount.at.join("zip"), mount.at.join("mv_zip"));
    fs::create_dir(&landing).unwrap();
    let config = format!(
        "state = {:?}\nonce_wait = '2s'\n[source.default]\nlanding = {landing:?}\n\
         archive = {archive:?}\nrescan = '100ms'\n{QUICK}",
        place.path("state"),
    );
    let stage = |name: &str, beside: Option<&str>| {
        let folder = mount.at.join(format!("{name}-downloading"));
        fs::create_dir(&folder).unwrap();
        let zip = zips::deflated(&zips::sample(1));
        fs::write(folder.join(format!("{name}.zip")), zip).unwrap();
        if let Some(beside) = beside {
            fs::write(folder.join(beside), "beside").unwrap();
        }
        fs::rename(folder, landing.join(name)).unwrap();
    };
    stage("bad", Some("busy.dat"));
    let mut daemon = Daemon::start(place.run_with(&config, &[]));
    let line = daemon.wait_line("waiting alone");
    for part in ["original_busy", "busy.dat", "Device or resource busy"] {
        assert!(line.contains(part), "no {part:?} in {line}");
    }
    stage("next", None);
    daemon.wait_until("the next one is archived", || archive.join("next/next.zip").exists());
    assert_eq!(daemon.terminate(), 0);
    let ended = run_to_end(place.run_with(&config, &["--once"]));
    assert_ne!(ended.code, 0, "it is not done: {}{}", ended.out, ended.err);
    assert!(!archive.join("bad").exists());
    fs::write(mount.at.with_extension("source.free"), "").unwrap();
    let ended = run_to_end(place.run_with(&config, &["--once"]));
    assert_eq!(ended.code, 0, "{}{}", ended.out, ended.err);
    assert_eq!(fs::read(archive.join("bad/busy.dat")).unwrap(), b"beside");
}

#[test]
fn file_that_its_sender_made_unreadable_once_it_was_gathered_has_its_package_quarantined() {
    if !is_root() {
        return skip("not root");
    }
    let place = Place::new();
    let Ok(other) = tempfile::Builder::new().prefix("longshore-test-").tempdir_in("/dev/shm")
    else {
        return skip("there is no /dev/shm");
    };
    fs::set_permissions(other.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let place = place.with_archive(other.path().join("mv_zip"));
    let quarantine = place.path("quarantine");
    let place = place.with_quarantine(quarantine);
    // The archive goes away while the package is with its command, so that it is gathered and waits.
    let script =
        format!("case $LONGSHORE_NAME in bad) mv {0:?} {0:?}.away;; esac", place.archive());
    let folder = place.stage("bad", &zips::deflated(&zips::sample(2)));
    place.give(&folder);
    let raw = folder.join("raw.dat");
    fs::write(&raw, "raw").unwrap();
    std::os::unix::fs::chown(&raw, Some(1001), Some(1001)).unwrap();
    fs::rename(&folder, place.landing().join("bad")).unwrap();
    let command = place.unprivileged(place.run_with(&place.script(&script, ""), &[]));
    let mut daemon = Daemon::start(command);
    daemon.wait_line("target_gone");
    let gathered = job_of(&place, "bad").join(".final/raw.dat");
    fs::set_permissions(&gathered, fs::Permissions::from_mode(0o000)).unwrap();
    fs::rename(place.archive().with_extension("away"), place.archive()).unwrap();
    let line = daemon.wait_line("quarantined");
    assert!(line.contains("unreadable") && line.contains("raw.dat"), "{line}");
    let next = place.stage("next", &zips::deflated(&zips::sample(1)));
    place.give(&next);
    fs::rename(&next, place.landing().join("next")).unwrap();
    place.wait_archived(&mut daemon, "next");
    assert_eq!(daemon.terminate(), 0);
    let (folder, _) = place.quarantined("bad");
    assert_eq!(common::names(&folder.join("delivered")), ["bad.zip", "raw.dat"]);
}

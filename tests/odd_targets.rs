//! What one package alone cannot get past: a file system that cannot hold it, originals that cannot be
//! moved, more than the disk has. It is quarantined, or it waits by itself; the packages after it are
//! archived.
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod common;
#[path = "odd_targets/originals.rs"]
mod originals;

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use common::daemon::{Daemon, run_to_end};
use common::mounts::Mount;
use common::zips::{self, Files};
use common::{Place, skip, tree};

const QUICK: &str = "settle = '0s'\nbackoff = '1ms'\nbackoff_max = '100ms'\nmin_free = '64KiB'\n";

fn files(names: &[&str]) -> Files {
    names.iter().map(|name| ((*name).to_owned(), name.as_bytes().to_vec())).collect()
}

/// The folder in the work area of the job that has a package.
fn job_of(place: &Place, name: &str) -> PathBuf {
    place.jobs().into_iter().find(|job| job.join(name).exists()).unwrap()
}

/// Delivers a package, then another one that is archived although the first is not.
fn the_next_one_is_archived(place: &Place, daemon: &mut Daemon) {
    let expected = place.deliver_files("next", &zips::sample(1));
    place.wait_archived(daemon, "next");
    assert_eq!(tree(&place.archive().join("next")), expected);
}

/// A package that the archive's file system cannot hold is quarantined, whole, with what it said.
fn cannot_be_held(rule: &str, package: &Files, beside: impl Fn(&Path), said: &str) {
    let place = Place::new();
    let Some(mount) = Mount::passthrough(place.path("mount"), rule) else { return };
    let place =
        place.with_archive(mount.at.join("mv_zip")).with_quarantine(mount.at.join("quarantine"));
    // Where another folder than that of the same file system is the quarantine, it goes there.
    for quarantine in [place.path("near"), place.quarantine()] {
        let config = place.config(&format!("{QUICK}quarantine = {quarantine:?}\n"));
        let mut daemon = Daemon::start(place.run_with(&config, &[]));
        let zip = zips::deflated(package);
        let staged = place.stage("bad", &zip);
        beside(&staged);
        fs::rename(&staged, place.landing().join("bad")).unwrap();
        let line = daemon.wait_line("quarantined");
        assert!(line.contains("target_cannot_hold") && line.contains(said), "{rule}: {line}");
        let name = format!("next-{}", quarantine == place.quarantine());
        let expected = place.deliver_files(&name, &zips::sample(1));
        place.wait_archived(&mut daemon, &name);
        assert_eq!(tree(&place.archive().join(&name)), expected);
        assert_eq!(daemon.terminate(), 0, "{}", daemon.log());
        let found = [quarantine.clone(), place.work().join(".quarantine")];
        let found: Vec<PathBuf> = found
            .iter()
            .flat_map(|folder| common::names(folder).into_iter().map(|name| folder.join(name)))
            .collect();
        let [folder] = &found[..] else { panic!("{rule}: {found:?}") };
        let is_near = folder.starts_with(&quarantine);
        assert_eq!(is_near, quarantine == place.path("near"), "{rule}: {folder:?}");
        assert_eq!(fs::read(folder.join("delivered/bad.zip")).unwrap(), zip);
        assert_eq!(common::names(&folder.join("unpacked")).len(), package.len(), "{rule}");
        assert_eq!((place.jobs(), place.landed_names()), (vec![], vec![]));
        let mut command = place.longshore(&["explain", "bad", "--landing"]);
        command.arg(place.landing()).arg("--archive").arg(place.archive());
        command.arg("--quarantine").arg(&quarantine);
        let ended = run_to_end(command);
        assert!(ended.out.contains(folder.to_str().unwrap()), "{}{}", ended.out, ended.err);
        // A restart leaves what is settled alone.
        let ended = run_to_end(place.run_with(&config, &["--once"]));
        assert_eq!(
            (ended.code, ended.err.contains("not longshore's")),
            (0, false),
            "{}",
            ended.err
        );
        assert!(folder.exists());
    }
}

#[test]
fn name_that_the_archives_file_system_cannot_hold_is_the_packages_own_fault() {
    cannot_be_held("colon", &files(&["notes 10:30.txt"]), |_| (), "Invalid argument");
    cannot_be_held("long", &files(&[&"x".repeat(200)]), |_| (), "File name too long");
    cannot_be_held("case", &files(&["Data.txt", "data.txt"]), |_| (), "File exists");
}

#[test]
fn size_that_the_archives_file_system_cannot_hold_is_the_packages_own_fault() {
    let large = Files::from([("large.bin".to_owned(), vec![7; 2_000_000])]);
    cannot_be_held("big", &large, |_| (), "File too large");
}

#[test]
fn link_that_the_archives_file_system_cannot_hold_is_the_packages_own_fault() {
    let place = Place::new();
    let Some(mount) = Mount::passthrough(place.path("mount"), "links") else { return };
    let near = place.path("near");
    let place = place.with_archive(mount.at.join("mv_zip")).with_quarantine(near);
    let script = "case $LONGSHORE_NAME in bad) ln -s data.txt link;; esac";
    let config = place.script(script, "backoff_max = '100ms'\n");
    let mut daemon = Daemon::start(place.run_with(&config, &[]));
    place.deliver_files("bad", &files(&["data.txt"]));
    let line = daemon.wait_line("quarantined");
    assert!(line.contains("target_cannot_hold"), "{line}");
    the_next_one_is_archived(&place, &mut daemon);
    let (folder, _) = place.quarantined("bad");
    assert!(folder.join("unpacked/link").is_symlink() && folder.join("delivered/bad.zip").exists());
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn name_in_quarantine_is_cut_to_what_its_file_system_holds() {
    let place = Place::new();
    let Some(mount) = Mount::passthrough(place.path("mount"), "long") else { return };
    let place = place.with_quarantine(mount.at.join("quarantine"));
    let name = "n".repeat(139);
    place.deliver(&name, b"not a ZIP");
    let config = place.config(&format!("{QUICK}broken_after = '0s'\n"));
    let ended = run_to_end(place.run_with(&config, &["--once"]));
    assert_eq!(ended.code, 1, "{}{}", ended.out, ended.err);
    let (folder, _) = place.quarantined(&name);
    let cut = folder.file_name().unwrap().to_str().unwrap();
    assert!(cut.len() == 143 && cut.starts_with("nnn"), "{cut}");
}

#[test]
fn package_larger_than_the_whole_disk_is_quarantined_and_smaller_ones_go_on() {
    let place = Place::new();
    let Some(mount) = Mount::memory(place.path("disk"), "8m") else { return };
    let place = place.with_archive(mount.at.join("mv_zip"));
    let mut daemon = Daemon::start(place.run_with(&place.config(QUICK), &[]));
    place.deliver_files("bad", &Files::from([("zeros".to_owned(), vec![0; 20 << 20])]));
    let line = daemon.wait_line("quarantined");
    assert!(line.contains("too_large_for_disk"), "{line}");
    the_next_one_is_archived(&place, &mut daemon);
    assert_eq!(daemon.terminate(), 0);
    assert_eq!(place.quarantined("bad").1["code"], "too_large_for_disk");
}

#[test]
fn package_larger_than_what_is_free_waits_alone_until_there_is_room() {
    let place = Place::new();
    let Some(mount) = Mount::memory(place.path("disk"), "16m") else { return };
    let place = place.with_archive(mount.at.join("mv_zip"));
    let filler = mount.at.join("filler");
    fs::write(&filler, zips::noise(8 << 20)).unwrap();
    let mut daemon = Daemon::start(place.run_with(&place.config(QUICK), &[]));
    let large = Files::from([("zeros".to_owned(), vec![0; 12 << 20])]);
    let expected = place.deliver_files("large", &large);
    let line = daemon.wait_line("waiting alone");
    assert!(line.contains("no_space"), "{line}");
    the_next_one_is_archived(&place, &mut daemon);
    fs::remove_file(filler).unwrap();
    place.wait_archived(&mut daemon, "large");
    assert_eq!(tree(&place.archive().join("large")), expected);
    assert_eq!(daemon.terminate(), 0);
    let log = daemon.log();
    assert_eq!(log.matches("waiting alone").count(), 1, "once, however often it is tried:\n{log}");
}

#[test]
fn sparse_files_keep_their_holes_on_the_way_to_another_file_system() {
    let place = Place::new();
    let Some(mount) = Mount::memory(place.path("disk"), "16m") else { return };
    let place = place.with_archive(mount.at.join("mv_zip")).with_quarantine(mount.at.join("q"));
    let folder = place.stage("good", &zips::deflated(&zips::sample(3)));
    let len = 500 << 30;
    let sparse = File::create(folder.join("image")).unwrap();
    sparse.set_len(len).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"in the middle", 300 << 30).unwrap();
    fs::rename(&folder, place.landing().join("good")).unwrap();
    let large = place.stage("large", &zips::deflated(&zips::sample(4)));
    File::create(large.join("image")).unwrap().set_len(2 << 40).unwrap();
    fs::rename(&large, place.landing().join("large")).unwrap();
    // As a sparse ZIP, which is none: its quarantine is elsewhere, too.
    let zip = place.stage("zip", b"");
    File::create(zip.join("zip.zip")).unwrap().set_len(400 << 30).unwrap();
    fs::rename(&zip, place.landing().join("zip")).unwrap();
    let config = place.config(&format!("{QUICK}broken_after = '0s'\n"));
    let ended = run_to_end(place.run_with(&config, &["--once"]));
    assert_eq!(ended.code, 1, "{}{}", ended.out, ended.err);
    let image = File::open(place.archive().join("good/image")).unwrap();
    let found = image.metadata().unwrap();
    assert!(found.len() == len && found.blocks() < 1000, "{found:?}");
    let mut middle = [0; 13];
    std::os::unix::fs::FileExt::read_exact_at(&image, &mut middle, 300 << 30).unwrap();
    assert_eq!(&middle, b"in the middle");
    assert_eq!(place.quarantined("large").1["code"], "originals_too_large");
    let (folder, _) = place.quarantined("zip");
    assert_eq!(fs::metadata(folder.join("delivered/zip.zip")).unwrap().len(), 400 << 30);
    assert_eq!(place.jobs(), [""; 0].map(PathBuf::from));
}

#[test]
fn folder_that_its_command_mounted_over_waits_alone_and_nothing_in_it_is_removed() {
    let place = Place::new();
    let Some(mount) = Mount::memory(place.path("disk"), "1m") else { return };
    fs::write(mount.at.join("another's.txt"), "").unwrap();
    // The first time alone: afterwards it goes on.
    let script = format!(
        "case $LONGSHORE_NAME in bad) mkdir {:?} && mount --bind {:?} \"$LONGSHORE_DIR\" || true;; esac",
        place.path("marker"),
        mount.at
    );
    let config = place.script(&script, "backoff_max = '100ms'\nprocess.isolation = 'group'\n");
    let mut daemon = Daemon::start(place.run_with(&config, &[]));
    place.deliver_files("bad", &zips::sample(2));
    let line = daemon.wait_line("waiting alone");
    assert!(line.contains(".done"), "{line}");
    the_next_one_is_archived(&place, &mut daemon);
    assert!(mount.at.join("another's.txt").exists(), "what was mounted was removed");
    let job = job_of(&place, "bad");
    common::run(Command::new("umount").arg("-l").arg(job.join(".done")));
    daemon.wait_until("it goes on", || place.jobs().is_empty());
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn closed_folder_that_a_command_left_is_archived_elsewhere() {
    let place = Place::new();
    let Ok(other) = tempfile::Builder::new().prefix("longshore-test-").tempdir_in("/dev/shm")
    else {
        return skip("there is no /dev/shm");
    };
    fs::set_permissions(other.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let place = place
        .with_archive(other.path().join("mv_zip"))
        .with_quarantine(other.path().join("quarantine"));
    let config =
        place.script("mkdir -p d/e; echo x >d/e/x; chmod 000 d", "backoff_max = '100ms'\n");
    let folder = place.stage("plate", &zips::deflated(&files(&["a.txt"])));
    place.give(&folder);
    fs::rename(&folder, place.landing().join("plate")).unwrap();
    let command = place.unprivileged(place.run_with(&config, &["--once"]));
    let ended = run_to_end(command);
    assert_eq!(ended.code, 0, "{}{}", ended.out, ended.err);
    assert_eq!(fs::read_to_string(place.archive().join("plate/d/e/x")).unwrap(), "x\n");
}

#[test]
fn file_system_with_fixed_modes_is_told_with_the_way_out() {
    let place = Place::new();
    let Some(mount) = Mount::passthrough(place.path("mount"), "modes") else { return };
    let landing = mount.at.join("zip");
    fs::create_dir(&landing).unwrap();
    let work = mount.at.join("work");
    for options in [&["--work", work.to_str().unwrap()][..], &[]] {
        let mut command = place.longshore(&["run", "--once", "--landing"]);
        command.arg(&landing).arg("--archive").arg(place.archive());
        command.arg("--state").arg(place.path("state")).args(options);
        let ended = run_to_end(command);
        assert_eq!(ended.code, 77, "{options:?}: {}", ended.err);
        for part in ["fixed modes", "umask=077", "dir_mode=0700", "landing on another"] {
            assert!(ended.err.contains(part), "no {part:?} in {}", ended.err);
        }
    }
}

#[test]
fn archive_with_another_file_system_mounted_over_it_says_that_a_restart_is_needed() {
    let place = Place::new();
    fs::create_dir(place.archive()).unwrap();
    let mut daemon = Daemon::start(place.run_with(&place.config(QUICK), &[]));
    let Some(_mount) = Mount::memory(place.archive(), "8m") else { return };
    place.deliver_files("plate", &zips::sample(1));
    let line = daemon.wait_line("intake of this source is paused");
    for part in ["target_remounted", "another file system is mounted here", "restart longshore"] {
        assert!(line.contains(part), "no {part:?} in {line}");
    }
    assert_eq!(place.archived_names(), [""; 0]);
    assert_eq!(daemon.terminate(), 0);
    let ended = run_to_end(place.run_with(&place.config(QUICK), &["--once"]));
    assert_eq!(
        (ended.code, place.archived_names()),
        (0, vec!["plate".to_owned()]),
        "{}",
        ended.err
    );
}

#[test]
fn folder_that_a_command_closed_goes_to_quarantine_with_what_is_in_it() {
    let place = Place::new();
    let config = place.script("chmod 000 \"$LONGSHORE_DIR\"; exit 1", "max_attempts = 1\n");
    let folder = place.stage("bad", &zips::deflated(&files(&["a.txt"])));
    place.give(&folder);
    fs::rename(&folder, place.landing().join("bad")).unwrap();
    let ended = run_to_end(place.unprivileged(place.run_with(&config, &["--once"])));
    assert_eq!(ended.code, 1, "{}{}", ended.out, ended.err);
    assert!(!ended.err.contains("waiting"), "{}", ended.err);
    let (folder, _) = place.quarantined("bad");
    assert!(folder.join("unpacked/a.txt").exists());
}

#[test]
fn job_that_the_daemon_dies_over_after_its_decision_runs_alone_and_is_left_after_that() {
    for (deaths, ends) in [(3, true), (5, false)] {
        let place = Place::new();
        let other = tempfile::Builder::new().prefix("longshore-test-").tempdir_in("/dev/shm");
        let Ok(other) = other else { return skip("there is no /dev/shm") };
        let place = place
            .with_archive(other.path().join("mv_zip"))
            .with_quarantine(other.path().join("quarantine"));
        let expected = place.deliver_files("bad", &zips::sample(2));
        for death in 0..deaths {
            let mut command = place.run_with(&place.config(QUICK), &["--once"]);
            command.env("FAILPOINTS", "copy:tree=return(abort)");
            command.env("LONGSHORE_FAILPOINTS_SEEN", place.path("seen.txt"));
            let ended = run_to_end(command);
            assert!(ended.code > 100, "death {death}: {} {}{}", ended.code, ended.out, ended.err);
        }
        let next = place.deliver_files("next", &zips::sample(1));
        let ended = run_to_end(place.run_with(&place.config(QUICK), &["--once"]));
        assert_eq!(tree(&place.archive().join("next")), next, "{}", ended.err);
        if ends {
            assert_eq!(tree(&place.archive().join("bad")), expected, "{}", ended.err);
            continue;
        }
        assert!(ended.err.contains("the daemon died 5 times"), "{}", ended.err);
        let job = job_of(&place, "bad");
        assert!(job.join(".final/bad.zip").exists(), "something was removed");
        // As the line says.
        let name = job.file_name().unwrap().to_str().unwrap();
        let again = format!("{}.1.0", name.split('.').next().unwrap());
        assert!(ended.err.contains(&again), "{}", ended.err);
        fs::rename(&job, job.with_file_name(again)).unwrap();
        let ended = run_to_end(place.run_with(&place.config(QUICK), &["--once"]));
        assert_eq!(ended.code, 0, "{}", ended.err);
        assert_eq!(tree(&place.archive().join("bad")), expected);
        assert_eq!(place.jobs(), [""; 0].map(PathBuf::from));
    }
}

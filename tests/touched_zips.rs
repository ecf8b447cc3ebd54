//! Only contents decide whether a ZIP changed: a mode, an owner or a link more is no change; a write is
//! one, whatever its times say afterwards.
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod common;

use std::fs::{self, File, FileTimes};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use common::daemon::{Daemon, PACE, pause, run_to_end};
use common::zips::{self, Files};
use common::{Place, make_fifo, tree};

/// A package that takes a moment to unpack.
fn large() -> (Files, Vec<u8>) {
    let files = zips::many(3000);
    let zip = zips::stored(&files);
    (files, zip)
}

/// Every ZIP of the jobs in work.
fn zips_in_work(place: &Place, name: &str) -> Vec<PathBuf> {
    let of = |job: PathBuf| job.join(name).join(format!("{name}.zip"));
    place.jobs().into_iter().map(of).collect()
}

#[test]
fn zip_whose_mode_changes_again_and_again_is_archived_at_the_first_attempt() {
    let place = Place::new();
    let (files, zip) = large();
    let mut daemon = Daemon::start(place.run(&["--workers", "1"]));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut mode = 0o644;
            while !done.load(Ordering::Relaxed) {
                for path in zips_in_work(&place, "plate") {
                    mode ^= 0o040;
                    fs::set_permissions(path, fs::Permissions::from_mode(mode)).ok();
                }
                pause(PACE);
            }
        });
        place.deliver("plate", &zip);
        let archived = place.archive().join("plate");
        daemon.wait_until("it is archived", || archived.exists());
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(tree(&place.archive().join("plate")), common::archived("plate", &files, zip));
    let log = daemon.log();
    assert!(!log.contains("zip_changed"), "{log}");
    assert_eq!(daemon.terminate(), 0);
}

/// Delivers a package whose command waits until it is told to go on; does something meanwhile.
fn during_its_command(meanwhile: impl FnOnce(&Path)) -> (Place, Daemon, Vec<u8>) {
    let place = Place::new();
    let (begun, go) = (place.path("begun"), place.path("go"));
    make_fifo(&go);
    let script = format!("echo >>{}; read line <{}", begun.display(), go.display());
    let config = place.script(&script, "max_attempts = 1\nprocess.isolation = 'group'\n");
    let mut daemon = Daemon::start(place.run_with(&config, &[]));
    let zip = zips::stored(&zips::sample(3));
    place.deliver("plate", &zip);
    daemon.wait_until("its command runs", || begun.exists());
    meanwhile(&zips_in_work(&place, "plate")[0]);
    fs::write(&go, "on\n").unwrap();
    (place, daemon, zip)
}

#[test]
fn zip_that_gets_a_link_or_another_mode_during_its_command_is_archived() {
    let (place, mut daemon, zip) = during_its_command(|path| {
        // As `cp -al` and jobs that set modes do.
        fs::hard_link(path, path.ancestors().nth(7).unwrap().join("backup.zip")).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o640)).unwrap();
    });
    place.wait_archived(&mut daemon, "plate");
    assert_eq!(fs::read(place.archive().join("plate/plate.zip")).unwrap(), zip);
    place.wait_empty(&mut daemon);
    assert_eq!(daemon.terminate(), 0);
    let log = daemon.log();
    assert!(!log.contains("zip_changed"), "{log}");
}

/// Writes into a file and gives it its old mtime back.
fn forge(path: &Path, at: impl FnOnce(&[u8]) -> u64, bytes: &[u8]) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mtime = file.metadata().unwrap().modified().unwrap();
    let at = at(&fs::read(path).unwrap());
    file.write_all_at(bytes, at).unwrap();
    file.set_times(FileTimes::new().set_modified(mtime)).unwrap();
}

#[test]
fn zip_that_is_written_to_is_noticed_although_its_mtime_is_forged() {
    let central = |zip: &[u8]| {
        let signature = b"PK\x01\x02";
        zip.windows(4).position(|part| part == signature).unwrap() as u64 + 38 // external attributes
    };
    let data = |_: &[u8]| 40_u64;
    for (what, at) in [("data", &data as &dyn Fn(&[u8]) -> u64), ("central directory", &central)] {
        let (place, mut daemon, zip) = during_its_command(|path| forge(path, at, b"\xff\xfe"));
        daemon.wait_until("it is given up", || !place.quarantined_names().is_empty());
        let (folder, reason) = place.quarantined("plate");
        assert_eq!(reason["code"], "zip_changed", "{what}");
        assert!(reason["message"].as_str().unwrap().contains("its contents"), "{what}: {reason}");
        assert_ne!(fs::read(folder.join("delivered/plate.zip")).unwrap(), zip, "{what}");
        assert_eq!(place.archived_names(), [""; 0], "{what}");
        assert_eq!(daemon.terminate(), 0);
    }
}

#[test]
fn zip_that_was_written_to_says_what_differs() {
    let (place, mut daemon, _) = during_its_command(|path| {
        let file = File::options().append(true).open(path).unwrap();
        file.write_at(b"more", file.metadata().unwrap().len()).unwrap();
    });
    daemon.wait_until("it is given up", || !place.quarantined_names().is_empty());
    let (_, reason) = place.quarantined("plate");
    assert_eq!(reason["code"], "command_changed_delivery", "{reason}");
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn delivery_by_a_link_that_is_removed_later_is_archived_at_the_first_attempt() {
    let place = Place::new();
    let (files, zip) = large();
    let spool = place.path("spool.zip");
    fs::write(&spool, &zip).unwrap();
    let arriving = place.landing().join("plate-downloading");
    fs::create_dir(&arriving).unwrap();
    fs::hard_link(&spool, arriving.join("plate.zip")).unwrap();
    fs::rename(arriving, place.landing().join("plate")).unwrap();
    let mut daemon = Daemon::start(place.run(&["--workers", "1"]));
    daemon.wait_until("it is being unpacked", || {
        place.jobs().iter().any(|job| !common::names(&job.join(".out")).is_empty())
    });
    fs::remove_file(&spool).unwrap();
    place.wait_archived(&mut daemon, "plate");
    assert_eq!(tree(&place.archive().join("plate")), common::archived("plate", &files, zip));
    assert_eq!(daemon.terminate(), 0);
    let log = daemon.log();
    assert!(!log.contains("will be tried again"), "{log}");
}

#[test]
fn zip_that_is_touched_while_it_is_tested_by_hand_is_sound() {
    let place = Place::new();
    let (_, zip) = large();
    let path = place.path("a.zip");
    fs::write(&path, &zip).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            }
        });
        let mut command: Command = place.longshore(&["test"]);
        command.arg(&path);
        let ended = run_to_end(command);
        done.store(true, Ordering::Relaxed);
        assert_eq!(ended.code, 0, "{}{}", ended.out, ended.err);
    });
}

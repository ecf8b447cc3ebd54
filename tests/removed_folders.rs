//! longshore's own folders and files are removed under a running daemon: they are made again, or the loss
//! is said once and the work goes on.
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::books::differences;
use common::daemon::{Daemon, run_to_end};
use common::{Place, names, zips};

fn own(place: &Place) -> PathBuf {
    place.landing().join(".longshore")
}

fn is_private(folder: &Path) -> bool {
    fs::metadata(folder).is_ok_and(|found| found.permissions().mode() & 0o777 == 0o700)
}

/// A daemon with a command, which has archived one package.
fn at_work(place: &Place) -> Daemon {
    let config = place.script("echo said", "rescan = '200ms'\n");
    let mut daemon = Daemon::start(place.run_with(&config, &[]));
    place.deliver_files("first", &zips::sample(1));
    place.wait_archived(&mut daemon, "first");
    place.wait_empty(&mut daemon);
    daemon
}

#[test]
fn logs_that_are_removed_are_made_again() {
    let place = Place::new();
    let mut daemon = at_work(&place);
    let logs = own(&place).join("logs");
    for n in 0..2 {
        fs::remove_dir_all(&logs).unwrap();
        let name = format!("next-{n}");
        place.deliver_files(&name, &zips::sample(n));
        place.wait_archived(&mut daemon, &name);
        assert!(is_private(&logs), "others can look into it");
        assert_eq!(names(&logs).len(), 1, "the command has no log");
    }
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn whole_own_folder_that_is_removed_is_made_again() {
    let place = Place::new();
    let mut daemon = at_work(&place);
    fs::remove_dir_all(own(&place)).unwrap();
    place.deliver_files("second", &zips::sample(2));
    place.wait_archived(&mut daemon, "second");
    place.deliver_files("third", &zips::sample(3));
    place.wait_archived(&mut daemon, "third");
    for folder in [own(&place), own(&place).join("logs"), place.work()] {
        assert!(is_private(&folder), "{folder:?}");
    }
    place.wait_empty(&mut daemon);
    daemon.wait_until("the ledger is there again", || own(&place).join("ledger.sqlite").exists());
    assert_eq!(daemon.terminate(), 0, "{}", daemon.log());
    let log = daemon.log();
    assert_eq!(log.matches("the ledger was removed while it was in use").count(), 1, "{log}");
    // The new one has what came after it was begun.
    let database = rusqlite(&own(&place).join("ledger.sqlite"));
    assert!(database.contains(&"third".to_owned()), "{database:?}");
    // A second daemon cannot take what this one made again, and this one's end lets it go.
    assert_eq!(run_to_end(place.run(&["--once"])).code, 0);
}

#[test]
fn state_folder_that_is_moved_away_is_not_replaced_and_commands_go_on() {
    let place = Place::new();
    let state = place.path("state");
    let config = format!("state = {state:?}\n{}", place.script("echo said", "rescan = '200ms'\n"));
    let mut daemon = Daemon::start(place.run_with(&config, &[]));
    fs::rename(&state, place.path("moved")).unwrap();
    place.deliver_files("plate", &zips::sample(1));
    place.wait_archived(&mut daemon, "plate");
    assert!(!state.exists(), "something was made where it was");
    assert_eq!(names(&place.path("moved/logs")).len(), 1, "it is still the one that is held");
    daemon.signal(rustix::process::Signal::QUIT);
    daemon.wait();
}

#[test]
fn command_runs_without_a_log_where_there_is_no_place_for_one_and_that_is_said_once() {
    let place = Place::new();
    let mut daemon = at_work(&place);
    let logs = own(&place).join("logs");
    fs::remove_dir_all(&logs).unwrap();
    fs::write(&logs, "in its way").unwrap();
    for n in 0..3 {
        let name = format!("next-{n}");
        place.deliver_files(&name, &zips::sample(n));
        place.wait_archived(&mut daemon, &name);
    }
    fs::remove_file(&logs).unwrap();
    place.deliver_files("last", &zips::sample(9));
    place.wait_archived(&mut daemon, "last");
    assert_eq!(daemon.terminate(), 0);
    let log = daemon.log();
    assert_eq!(log.matches("commands run without a log").count(), 1, "{log}");
    assert_eq!(log.matches("commands have logs again").count(), 1, "{log}");
    assert_eq!(names(&logs).len(), 1);
}

/// Names of archived packages in a ledger's one file, without what lies beside it.
fn rusqlite(ledger: &Path) -> Vec<String> {
    let alone = tempfile::tempdir().unwrap();
    let copy = alone.path().join("ledger.sqlite");
    fs::copy(ledger, &copy).unwrap();
    let database = rusqlite::Connection::open(copy).unwrap();
    let sql = "SELECT name FROM jobs WHERE state = 'archived' ORDER BY name";
    let mut query = database.prepare(sql).unwrap();
    query.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

#[test]
fn ledger_after_a_stop_is_complete_in_its_one_file() {
    let place = Place::new();
    let ledger = own(&place).join("ledger.sqlite");
    let mut daemon = Daemon::start(place.run(&[]));
    place.deliver_files("plate", &zips::sample(1));
    place.wait_archived(&mut daemon, "plate");
    assert_eq!(daemon.terminate(), 0);
    assert_eq!(rusqlite(&ledger), ["plate"]);
    place.deliver_files("other", &zips::sample(2));
    assert_eq!(run_to_end(place.run(&["--once"])).code, 0);
    assert_eq!(rusqlite(&ledger), ["other", "plate"]);
}

#[test]
fn write_ahead_log_that_is_removed_costs_no_entry() {
    let place = Place::new();
    let mut daemon = Daemon::start(place.run(&[]));
    let expected: Vec<String> = (0..6).map(|n| format!("plate-{n}")).collect();
    for (n, name) in expected.iter().enumerate() {
        if n % 2 == 0 {
            for file in ["ledger.sqlite-wal", "ledger.sqlite-shm"] {
                fs::remove_file(own(&place).join(file)).ok();
            }
        }
        place.deliver_files(name, &zips::sample(n));
        place.wait_archived(&mut daemon, name);
        place.wait_empty(&mut daemon);
    }
    assert_eq!(daemon.terminate(), 0);
    let log = daemon.log();
    assert!(log.contains("write-ahead log was removed while it was in use"), "{log}");
    assert_eq!(rusqlite(&own(&place).join("ledger.sqlite")), expected, "{log}");
    assert_eq!(differences(&place, &[]), [""; 0]);
}

#[test]
fn start_on_a_full_disk_says_so_and_takes_nothing() {
    let place = Place::new();
    let disk = place.path("disk");
    fs::create_dir(&disk).unwrap();
    place.deliver_files("plate", &zips::sample(1));
    let script = format!(
        "mount -t tmpfs -o size=64k,mode=0700 none '{0}' && cat /dev/zero >'{0}/full' 2>/dev/null; exec \"$0\" \"$@\"",
        disk.display()
    );
    let can_mount = Command::new("unshare").args(["-m", "true"]).output();
    if !common::is_root() || !can_mount.is_ok_and(|output| output.status.success()) {
        return common::skip("no file system can be mounted here");
    }
    let state = disk.join("state");
    let command = place.run(&["--once", "--state", state.to_str().unwrap()]);
    let mut shell = Command::new("unshare");
    shell.args(["-m", "sh", "-c", &script]).arg(command.get_program()).args(command.get_args());
    let ended = run_to_end(shell);
    assert_eq!(ended.code, 74, "{}", ended.err);
    assert!(ended.err.contains("full") || ended.err.contains("No space left"), "{}", ended.err);
    assert_eq!(place.landed_names(), ["plate"]);
}

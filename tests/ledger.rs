//! The ledger of the real binary: what it says against what is on the disk, and what its loss costs.
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod common;

use std::fs;
use std::path::Path;

use longshore::ledger::{AttemptEnd, JobEntry, JobFilter, NamePattern, SqliteStore, State, Store};
use rusqlite::Connection;

use common::books::{differences, ledger_jobs as jobs, ledger_path};
use common::daemon::Daemon;
use common::{Place, zips};

fn remove_ledger(place: &Place) {
    for suffix in ["", "-wal", "-shm"] {
        fs::remove_file(place.landing().join(format!(".longshore/ledger.sqlite{suffix}"))).ok();
    }
}

fn once(place: &Place, code: i32) -> String {
    once_with(place, &[], code)
}

fn once_with(place: &Place, options: &[&str], code: i32) -> String {
    let options = [&["--once", "--settle", "0s"], options].concat();
    let output = place.run(&options).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{said}");
    said
}

fn good(text: &str) -> Vec<u8> {
    zips::deflated(&[("hello.txt".to_owned(), text.as_bytes().to_vec())].into())
}

/// Sound but for its first byte of data.
fn broken() -> Vec<u8> {
    let mut zip = good("one");
    zip[30 + "hello.txt".len()] ^= 0xff;
    zip
}

/// Each row of a settled job has its folder, and each folder its row.
fn assert_equals_disk(place: &Place) {
    assert_eq!(differences(place, &[]), [""; 0]);
}

#[test]
fn ledger_after_two_runs_says_what_is_on_the_disk_and_why() {
    let place = Place::new();
    place.deliver("a", &good("one"));
    place.deliver("b", &good("one"));
    place.deliver("broken", &broken());
    once(&place, 1);
    assert_equals_disk(&place);
    place.deliver("a", &good("one"));
    place.deliver("b", &good("two"));
    once(&place, 1);
    assert_equals_disk(&place);

    let all = jobs(&place);
    let of = |name: &str, state: State| -> Vec<&JobEntry> {
        all.iter().filter(|job| job.name.as_str() == name && job.state == state).collect()
    };
    let [a] = of("a", State::Archived)[..] else { panic!("a is archived once") };
    let zip = a.zip.as_ref().unwrap();
    let file = place.archive().join("a/a.zip");
    assert_eq!(zip.zip_bytes, fs::metadata(file).unwrap().len());
    assert_eq!((zip.entries, zip.bytes, &*zip.charset), (1, 3, "UTF-8"));
    assert_eq!(zip.hash, None, "a hash is made only where it is asked for");
    assert_eq!((&*a.node, a.source.as_str(), a.attempt), ("local", "default", 1));
    assert!(a.claimed_ms.is_some() && a.settled_ms >= a.claimed_ms);

    let [again] = of("a", State::Quarantined)[..] else { panic!("a came twice") };
    assert_eq!(again.code.as_deref(), Some("duplicate"));
    assert_eq!(again.zip, a.zip, "what was compared is not told");
    let [second, first] = of("b", State::Archived)[..] else { panic!("b has a revision") };
    assert_eq!(first.path, Some(place.archive().join("b")));
    assert_eq!(second.path, Some(place.archive().join("b.2")));
    let [broken] = of("broken", State::Quarantined)[..] else { panic!("it is broken") };
    let (path, reason) = place.quarantined("broken");
    assert_eq!(broken.path, Some(path));
    assert_eq!(broken.code.as_deref(), reason["code"].as_str());
    assert_eq!(broken.why.as_deref(), reason["message"].as_str());

    let mut store = SqliteStore::open_to_read(&ledger_path(&place)).unwrap();
    let [attempt] = &store.attempts(a.job).unwrap()[..] else { panic!("one attempt") };
    assert_eq!(attempt.end, Some(AttemptEnd::Final(State::Archived)));
    let times = [attempt.begun_ms, attempt.planned_ms, attempt.unpacked_ms, attempt.ended_ms];
    assert!(times.iter().all(Option::is_some) && times.is_sorted(), "{times:?}");
    let filter = JobFilter { name: NamePattern::new("b*").ok(), ..JobFilter::default() };
    let counts = store.counts(&filter).unwrap();
    assert_eq!(counts, [(State::Archived, 2), (State::Quarantined, 1)].into());
}

#[test]
fn source_that_asks_for_it_has_a_hash_of_each_zip() {
    let place = Place::new();
    place.deliver("a", &good("one"));
    let config = place.config("settle = \"0s\"\nhash = true\n");
    assert!(place.run_with(&config, &["--once"]).output().unwrap().status.success());
    let hash = jobs(&place)[0].zip.as_ref().unwrap().hash.unwrap();
    assert_eq!(hash.to_string(), blake3::hash(&good("one")).to_string());
}

#[test]
fn package_whose_archived_folder_is_gone_is_a_duplicate_by_the_ledgers_memory() {
    let place = Place::new();
    place.deliver("a", &good("one"));
    once(&place, 0);
    fs::remove_dir_all(place.archive().join("a")).unwrap();
    place.deliver("a", &good("one"));
    once(&place, 1);
    let (_, reason) = place.quarantined("a");
    assert_eq!(reason["code"], "duplicate");
    let message = reason["message"].as_str().unwrap();
    assert!(message.contains("is no longer there"), "{message}");
    // Other content under that name is new work, and gets the free name.
    place.deliver("a", &good("two"));
    once(&place, 0);
    assert_eq!(place.archived_names(), ["a"]);
}

#[test]
fn ledger_deleted_between_runs_loses_no_package() {
    let place = Place::new();
    place.deliver("a", &good("one"));
    once(&place, 0);
    remove_ledger(&place);
    place.deliver("a", &good("one"));
    place.deliver("b", &good("one"));
    once(&place, 1);
    assert_eq!(place.archived_names(), ["a", "b"]);
    assert_eq!(place.quarantined("a").1["code"], "duplicate", "the archive itself was not asked");
    assert_eq!(jobs(&place).len(), 2);
}

#[test]
fn ledger_that_is_damaged_ends_the_start_or_is_moved_aside_as_configured() {
    let place = Place::new();
    place.deliver("a", &good("one"));
    once(&place, 0);
    let garbage = b"not a database any more".repeat(500);
    remove_ledger(&place);
    fs::write(ledger_path(&place), &garbage).unwrap();
    place.deliver("b", &good("one"));
    let said = once(&place, 78);
    assert!(said.contains("it is damaged") && said.contains("on_corrupt"), "{said}");
    assert_eq!(place.landed_names(), ["b"], "something was taken");
    assert_eq!(fs::read(ledger_path(&place)).unwrap(), garbage);

    let config =
        format!("{}settle = \"0s\"\n[ledger]\non_corrupt = \"move_aside\"\n", place.config(""));
    let output = place.run_with(&config, &["--once"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("moved aside"), "{said}");
    assert_eq!(place.archived_names(), ["a", "b"]);
    assert_eq!(jobs(&place).len(), 1);
    let aside = common::names(&place.landing().join(".longshore"));
    let aside: Vec<_> = aside.iter().filter(|name| name.contains(".corrupt-")).collect();
    let [aside] = aside[..] else { panic!("it is aside: {aside:?}") };
    assert_eq!(fs::read(place.landing().join(".longshore").join(aside)).unwrap(), garbage);
}

#[test]
fn ledger_of_a_newer_version_or_another_program_ends_the_start() {
    let place = Place::new();
    place.deliver("a", &good("one"));
    once(&place, 0);
    place.deliver("b", &good("one"));
    let db = Connection::open(ledger_path(&place)).unwrap();
    db.pragma_update(None, "user_version", 1000).unwrap();
    drop(db);
    let said = once(&place, 78);
    assert!(said.contains("a newer longshore wrote it"), "{said}");
    remove_ledger(&place);
    Connection::open(ledger_path(&place)).unwrap().execute_batch("CREATE TABLE x (y)").unwrap();
    let said = once(&place, 78);
    assert!(said.contains("another program"), "{said}");
    assert_eq!(place.landed_names(), ["b"], "something was taken");
}

/// Holds the ledger as another program might.
fn hold(path: &Path) -> Connection {
    let db = Connection::open(path).unwrap();
    db.busy_timeout(std::time::Duration::from_secs(20)).unwrap();
    db.execute_batch("BEGIN IMMEDIATE").unwrap();
    db
}

#[test]
fn ledger_that_is_locked_at_the_start_ends_it_with_69() {
    let place = Place::new();
    once(&place, 0);
    place.deliver("a", &good("one"));
    let holder = hold(&ledger_path(&place));
    let said = once(&place, 69);
    assert!(said.contains("another process has it locked"), "{said}");
    assert_eq!(place.landed_names(), ["a"], "something was taken");
    drop(holder);
    once(&place, 0);
    assert_equals_disk(&place);
}

#[test]
fn ledger_locked_during_a_run_holds_up_no_package_and_is_told_when_it_is_free() {
    let place = Place::new();
    let mut daemon = Daemon::start(place.run(&["--settle", "0s"]));
    place.deliver("first", &good("one"));
    place.wait_archived(&mut daemon, "first");
    place.wait_empty(&mut daemon);
    let holder = hold(&ledger_path(&place));
    for n in 0..5 {
        place.deliver(&format!("p{n}"), &good("one"));
    }
    place.deliver("broken", &broken());
    for n in 0..5 {
        place.wait_archived(&mut daemon, &format!("p{n}"));
    }
    daemon.wait_until("it is quarantined", || place.quarantined_names().len() == 1);
    assert!(!place.jobs().is_empty(), "a job's folder went before the ledger knew");
    drop(holder);
    place.wait_empty(&mut daemon);
    daemon.wait_until("the ledger knows all", || jobs(&place).len() == 7);
    assert_eq!(daemon.terminate(), 0);
    assert_equals_disk(&place);
}

#[test]
fn jobs_that_a_locked_ledger_was_never_told_of_are_told_by_the_next_start() {
    let place = Place::new();
    once(&place, 0);
    let mut daemon = Daemon::start(place.run(&["--settle", "0s"]));
    daemon.wait_until("it has begun", || place.work().join(".boot").exists());
    place.deliver("zero", &good("one"));
    place.wait_archived(&mut daemon, "zero");
    let holder = hold(&ledger_path(&place));
    place.deliver("a", &good("one"));
    place.wait_archived(&mut daemon, "a");
    drop(daemon); // killed
    drop(holder);
    once(&place, 0);
    assert!(place.jobs().is_empty(), "its folder stayed");
    assert_equals_disk(&place);
}

#[test]
fn ledger_in_a_landing_that_others_can_write_to_by_now_is_moved_with_its_memory() {
    use std::os::unix::fs::PermissionsExt;

    let place = Place::new();
    place.deliver("a", &good("one"));
    once(&place, 0);
    fs::rename(place.archive().join("a"), place.path("fetched")).unwrap();
    fs::set_permissions(place.landing(), fs::Permissions::from_mode(0o777)).unwrap();
    place.deliver("a", &good("one"));
    let mut run = place.run(&["--once", "--settle", "0s"]);
    // As a service's, so that nothing of the machine's is touched.
    let state = place.path("state");
    run.env("STATE_DIRECTORY", &state);
    let output = run.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(place.quarantined_names().len(), 1, "what was archived is forgotten: {said}");
    assert!(!place.landing().join(".longshore/ledger.sqlite").exists(), "{said}");
    let moved: Vec<_> = fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(moved.len() == 1 && moved[0].join("ledger.sqlite").is_file(), "{moved:?}");
}

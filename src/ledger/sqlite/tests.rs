use std::fs;
use std::sync::mpsc;

use tempfile::TempDir;

use super::*;
use crate::ledger::contract::{AT, Made, archived, contract_for, fact, then, zip};
use crate::ledger::{Ending, Settlement, Step};

struct Temp {
    _folder: TempDir,
    path: PathBuf,
    store: SqliteStore,
}

impl Made for Temp {
    fn store(&mut self) -> &mut dyn Store {
        &mut self.store
    }
}

fn temp() -> Temp {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state/ledger.sqlite");
    let store = SqliteStore::open(&path, "n1").unwrap();
    Temp { _folder: folder, path, store }
}

contract_for!(temp);

fn count(store: &mut SqliteStore) -> u64 {
    store.counts(&JobFilter::default()).unwrap().values().sum()
}

#[test]
fn ledger_opened_again_holds_what_it_held() {
    let Temp { _folder, path, mut store } = temp();
    let record = fact("a", 0, archived("a"));
    store.record(std::slice::from_ref(&record)).unwrap();
    let before = store.job(record.job).unwrap();
    drop(store);
    let mut store = SqliteStore::open(&path, "n2").unwrap();
    assert_eq!(store.job(record.job).unwrap(), before, "the node is the one that worked on it");
}

#[test]
fn ledger_of_every_older_version_is_brought_up_to_date_with_its_rows() {
    for version in 1..2 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.sqlite");
        let mut old = Connection::open(&path).unwrap();
        open::MIGRATIONS.to_version(&mut old, version).unwrap();
        old.pragma_update(None, "application_id", 0x4c73_686f).unwrap();
        let id = JobId::generate();
        old.execute(
            "INSERT INTO jobs (job, node, source, name, state, attempt, path, updated_ms) \
             VALUES (?1, 'n1', 'default', 'a', 'archived', 2, '/archive/a', 5)",
            [id.to_string()],
        )
        .unwrap();
        drop(old);
        let mut store = SqliteStore::open(&path, "n1").unwrap();
        let job = store.job(id).unwrap().unwrap();
        assert_eq!((job.state, job.attempt, job.updated_ms), (State::Archived, 2, 5));
        let views: i64 = store
            .db
            .query_row("SELECT COUNT(*) FROM history WHERE name = 'a'", [], |row| row.get(0))
            .unwrap();
        assert_eq!(views, 1, "version {version} has not got the views");
        assert_eq!(store.check().unwrap(), Vec::<String>::new());
    }
}

#[test]
fn migrations_are_sound_and_an_interrupted_one_leaves_the_version_before() {
    open::MIGRATIONS.validate().unwrap();
    let Temp { _folder, path, store } = temp();
    drop(store);
    let steps = [
        rusqlite_migration::M::up(include_str!("001-tables.sql")),
        rusqlite_migration::M::up(include_str!("002-views.sql")),
        rusqlite_migration::M::up("CREATE TABLE more (a TEXT) STRICT; SELECT nonsense;"),
    ];
    let broken = rusqlite_migration::Migrations::from_slice(&steps);
    open::open(&path, &broken).unwrap_err();
    assert_eq!(count(&mut SqliteStore::open(&path, "n1").unwrap()), 0);
}

#[test]
fn views_show_times_that_people_can_read() {
    let mut temp = temp();
    let first = fact("a", 0, Step::Claimed);
    let ending = Ending::Quarantined {
        path: "/q/a".into(),
        code: "bad_crc".to_owned(),
        why: "check".to_owned(),
    };
    let settlement = Settlement { ending, zip: Some(zip("abc")), notes: Vec::new() };
    temp.store.record(&[first.clone(), then(&first, 1500, 1, Step::Settled(settlement))]).unwrap();
    let one = |sql: &str| temp.store.db.query_row(sql, [], |row| row.get::<_, String>(0)).unwrap();
    assert_eq!(AT, 1_790_000_000_000);
    assert_eq!(
        one("SELECT at || ' ' || state || ' ' || seconds FROM history"),
        "2026-09-21 14:13:21 quarantined 1.5"
    );
    assert_eq!(
        one("SELECT name || ' ' || outcome || ' ' || ended_after FROM attempt_history"),
        "a quarantined 1.5"
    );
    assert_eq!(one("SELECT code || ' ' || jobs FROM reasons"), "bad_crc 1");
}

#[test]
fn questions_are_answered_from_an_index() {
    let temp = temp();
    let plan = |sql: &str| {
        let mut lines = temp.store.db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let lines = lines.query_map([], |row| row.get::<_, String>(3)).unwrap();
        lines.map(Result::unwrap).collect::<Vec<_>>().join("; ")
    };
    for (sql, index) in [
        ("SELECT * FROM jobs WHERE TRUE AND name = 'a' ORDER BY job DESC LIMIT 9", "jobs_by_name"),
        ("SELECT * FROM jobs WHERE name >= 'a' AND name < 'b' LIMIT 9", "jobs_by_name"),
        (
            "SELECT * FROM jobs WHERE state IN ('archived') ORDER BY job DESC LIMIT 9",
            "jobs_by_state",
        ),
        ("SELECT * FROM jobs WHERE code = 'bad_crc' ORDER BY job DESC LIMIT 9", "jobs_by_code"),
        ("SELECT * FROM jobs WHERE updated_ms >= 5", "jobs_by_time"),
        (
            "SELECT * FROM jobs WHERE state = 'archived' AND source = 'a' AND name = 'b' \
          ORDER BY job DESC LIMIT 1",
            "jobs_archived",
        ),
        (ARCHIVED_NAMES, "COVERING INDEX jobs_archived"),
        (
            "SELECT state, COUNT(*) FROM jobs WHERE TRUE GROUP BY state",
            "COVERING INDEX jobs_by_state",
        ),
    ] {
        let plan = plan(sql);
        assert!(plan.contains(index) && !plan.contains("TEMP B-TREE"), "{sql}: {plan}");
    }
}

#[test]
fn file_that_is_no_database_or_broken_is_corrupt_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.sqlite");
    fs::write(&path, "this was never a database, however long it is".repeat(100)).unwrap();
    let error = SqliteStore::open(&path, "n1").unwrap_err();
    assert!(matches!(error, LedgerError::Corrupt { .. }), "{error:?}");
    assert_eq!(error.exit_code(), 78);
    assert!(fs::read(&path).unwrap().starts_with(b"this was"), "it was written to");

    // Damages a page in the middle of a sound file.
    let Temp { _folder, path, mut store } = temp();
    let records: Vec<_> = (0..500).map(|n| fact(&format!("p{n}"), n, archived("p"))).collect();
    store.record(&records).unwrap();
    drop(store);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..middle + 4096].fill(0xa5);
    fs::write(&path, bytes).unwrap();
    let error = SqliteStore::open(&path, "n1").unwrap_err();
    assert!(matches!(error, LedgerError::Corrupt { .. }), "{error:?}");
}

#[test]
fn ledger_moved_aside_makes_room_for_a_new_one_and_is_kept() {
    let Temp { _folder, path, mut store } = temp();
    store.record(&[fact("a", 0, archived("a"))]).unwrap();
    // As after a crash: with its log beside it.
    let logs = ["-wal", "-shm"].map(|suffix| path.with_file_name(format!("ledger.sqlite{suffix}")));
    let aside = SqliteStore::move_aside(&path).unwrap();
    drop(store);
    for log in logs {
        assert!(!log.exists(), "{log:?} would be taken for the new file's");
    }
    let name = aside.file_name().unwrap().to_str().unwrap();
    assert!(name.starts_with("ledger.sqlite.corrupt-2"), "{name}");
    assert_eq!(count(&mut SqliteStore::open(&path, "n1").unwrap()), 0);
    assert_eq!(count(&mut SqliteStore::open(&aside, "n1").unwrap()), 1, "its log was left behind");
}

#[test]
fn file_of_another_program_or_a_newer_version_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.sqlite");
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE mine (a)").unwrap();
    let before = fs::read(&path).unwrap();
    let error = SqliteStore::open(&path, "n1").unwrap_err();
    assert!(matches!(error, LedgerError::NotALedger { .. }), "{error:?}");
    assert_eq!((error.exit_code(), fs::read(&path).unwrap() == before), (78, true));

    let Temp { _folder, path, store } = temp();
    store.db.pragma_update(None, "user_version", 999).unwrap();
    drop(store);
    let error = SqliteStore::open(&path, "n1").unwrap_err();
    assert!(matches!(error, LedgerError::Newer { found: 999, .. }), "{error:?}");
    assert_eq!(error.exit_code(), 78);
}

#[test]
fn ledger_that_another_connection_holds_is_locked_and_free_again_after_it() {
    let Temp { _folder, path, mut store } = temp();
    store.db.busy_timeout(Duration::ZERO).unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let record = fact("a", 0, archived("a"));
    let error = store.record(std::slice::from_ref(&record)).unwrap_err();
    assert!(matches!(error, LedgerError::Locked { .. }), "{error:?}");
    assert_eq!(error.exit_code(), 69);
    assert_eq!(store.job(record.job).unwrap(), None, "readers do not wait for a writer");
    other.execute_batch("ROLLBACK").unwrap();
    store.record(&[record]).unwrap();
    assert_eq!(count(&mut store), 1);
}

#[test]
fn ledger_in_a_place_that_is_no_folder_is_unreachable() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("state"), "").unwrap();
    let error = SqliteStore::open(&folder.path().join("state/ledger.sqlite"), "n1").unwrap_err();
    assert!(matches!(error, LedgerError::Unreachable { .. }), "{error:?}");
    assert_eq!(error.exit_code(), 69);
}

#[test]
fn backup_taken_while_another_thread_writes_is_a_sound_ledger() {
    let Temp { _folder, path, mut store } = temp();
    let records: Vec<_> = (0..300).map(|n| fact(&format!("p{n}"), n, archived("p"))).collect();
    store.record(&records).unwrap();
    let (begun, has_begun) = mpsc::channel();
    let writer = std::thread::spawn({
        let path = path.clone();
        move || {
            let mut store = SqliteStore::open(&path, "n1").unwrap();
            for n in 0..50 {
                store.record(&[fact("more", n, archived("more"))]).unwrap();
                begun.send(()).ok();
            }
        }
    });
    has_begun.recv().unwrap();
    let copy = path.with_file_name("backup.sqlite");
    store.backup(&copy).unwrap();
    writer.join().unwrap();
    let mut backup = SqliteStore::open(&copy, "n1").unwrap();
    assert!((301..=350).contains(&count(&mut backup)), "it is no moment of the ledger");
    assert_eq!(backup.check().unwrap(), Vec::<String>::new());
    assert!(matches!(store.backup(&copy), Err(LedgerError::BackupExists { .. })));
}

#[test]
fn check_names_rows_that_cannot_be_understood() {
    let Temp { _folder, path: _, mut store } = temp();
    store.record(&[fact("a", 0, archived("a"))]).unwrap();
    store.db.execute("UPDATE jobs SET state = 'lost'", []).unwrap();
    let wrong = store.check().unwrap();
    assert!(wrong.len() == 1 && wrong[0].contains("cannot be understood"), "{wrong:?}");
}

#[test]
fn ledger_whose_file_was_removed_begins_a_new_one_and_waits_for_its_folder() {
    let Temp { _folder, path, mut store } = temp();
    store.record(&[fact("a", 0, archived("a"))]).unwrap();
    let folder = path.parent().unwrap().to_owned();
    let away = folder.with_file_name("away");
    fs::rename(&folder, &away).unwrap();
    let error = store.record(&[fact("b", 0, archived("b"))]).unwrap_err();
    assert!(matches!(error, LedgerError::Unreachable { .. }), "{error:?}");
    assert!(!folder.exists(), "a folder was made where it was unmounted");
    fs::rename(&away, &folder).unwrap();
    store.record(&[fact("b", 0, archived("b"))]).unwrap();
    assert_eq!(count(&mut store), 2);
    for suffix in ["", "-wal", "-shm"] {
        fs::remove_file(folder.join(format!("ledger.sqlite{suffix}"))).ok();
    }
    store.record(&[fact("c", 0, archived("c"))]).unwrap();
    assert_eq!(count(&mut store), 1);
    assert_eq!(count(&mut SqliteStore::open(&path, "n1").unwrap()), 1);
}

#[test]
fn reader_sees_what_a_writer_commits_and_can_change_nothing() {
    let Temp { _folder, path, mut store } = temp();
    let mut reader = SqliteStore::open_to_read(&path).unwrap();
    store.record(&[fact("a", 0, archived("a"))]).unwrap();
    assert_eq!(count(&mut reader), 1);
    reader.record(&[fact("b", 0, archived("b"))]).unwrap_err();
    let nowhere = path.with_file_name("none.sqlite");
    let error = SqliteStore::open_to_read(&nowhere).unwrap_err();
    assert!(matches!(error, LedgerError::Unreachable { .. }), "{error:?}");
    assert!(!nowhere.exists(), "a reader made a ledger");
}

//! Opens a ledger's file, and checks that it is a ledger, sound, and of a known version.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};
use rusqlite_migration::{M, Migrations};
use rustix::fs::{FileType, Mode};

use crate::folder::Folder;
use crate::ledger::error::LedgerError;

/// Marks the file as a ledger of ours: "Lsho".
const APPLICATION_ID: i64 = 0x4c73_686f;

/// A file of at most this size is checked as a whole at each start; that takes well below a second. A
/// larger one is checked by `ledger check`.
const CHECKED_AT_START: u64 = 64 << 20;

/// How long the start waits for other processes that lock the file.
const PATIENCE_AT_START: Duration = Duration::from_secs(5);

/// How long later operations wait for them. It is short, because the pipeline's own threads wait: facts
/// that could not be written are kept, and written later.
const PATIENCE: Duration = Duration::from_secs(1);

/// Pages of 4 KiB in the write-ahead log before they are moved to the file, for which SQLite syncs
/// both: four times its default, so that few commits of a busy hour have to wait for a disk.
const CHECKPOINT_PAGES: i64 = 4000;

/// The space that SQLite needs beside an empty database: its index of the write-ahead log, and a page of it.
const LEAST_ROOM: u64 = 64 << 10;

const STEPS: &[M<'_>] =
    &[M::up(include_str!("001-tables.sql")), M::up(include_str!("002-views.sql"))];

pub(super) const MIGRATIONS: Migrations<'_> = Migrations::from_slice(STEPS);

/// The suffixes of a database's name for the files that SQLite keeps.
const BESIDE: [&str; 4] = ["", "-wal", "-shm", "-journal"];

/// Opens the file, creates it if it is missing, and brings its tables up to date. Also returns the
/// folder that contains it, open, and the identity of the file in it.
///
/// SQLite takes a path and no handle. So the files with its names are checked through the folder's handle
/// before SQLite opens them, SQLite follows no link, and afterwards the path must lead to the file that
/// the handle leads to.
pub(super) fn open(
    path: &Path,
    migrations: &Migrations<'_>,
) -> Result<(Connection, Folder), LedgerError> {
    let failed = |source| unreachable(path, source);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let (real, folder) = hold(path)?;
    for suffix in BESIDE {
        refuse_foreign(&folder, &beside(&real, suffix))?;
    }
    let name = real.file_name().unwrap_or_default();
    match folder.create(name, Mode::RUSR | Mode::WUSR) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
        _ => {}
    }
    let db = open_database(&real, migrations)?;
    let there = folder.stat(name).map_err(failed)?.map(|found| (found.st_dev, found.st_ino));
    if there.is_none() || there != file_id(&real) {
        return Err(failed(io::Error::other("another file took its place while it was opened")));
    }
    Ok((db, folder))
}

/// Returns a path without links, and the folder that contains it.
fn hold(path: &Path) -> Result<(PathBuf, Folder), LedgerError> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    let held = parent.canonicalize().and_then(|parent| Folder::open(&parent));
    let folder = held.map_err(|source| unreachable(path, source))?;
    Ok((folder.join(path.file_name().unwrap_or_default()), folder))
}

/// Refuses an entry that has the name of one of our files and is not our file: SQLite would write through
/// a link, and wait for a FIFO.
fn refuse_foreign(folder: &Folder, path: &Path) -> Result<(), LedgerError> {
    let name = path.file_name().unwrap_or_default();
    let Some(found) = folder.stat(name).map_err(|source| unreachable(path, source))? else {
        return Ok(());
    };
    let user = rustix::process::geteuid().as_raw();
    let what = if !FileType::from_raw_mode(found.st_mode).is_file() {
        "it is no regular file".to_owned()
    } else if found.st_uid != user {
        format!("it belongs to uid {}, and not to uid {user}", found.st_uid)
    } else if found.st_nlink > 1 {
        "it has another name elsewhere".to_owned()
    } else if found.st_mode & 0o022 != 0 {
        format!("others can write to it (mode {:04o})", found.st_mode & 0o7777)
    } else {
        return Ok(());
    };
    Err(LedgerError::NotOurs { path: path.to_owned(), what })
}

/// Returns the path of a file that SQLite keeps beside a database.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn open_database(path: &Path, migrations: &Migrations<'_>) -> Result<Connection, LedgerError> {
    let failed = |error| translate(path, error);
    // The state folder can have any name: it is passed as a path, not as a URI.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_NOFOLLOW
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut db = Connection::open_with_flags(path, flags).map_err(failed)?;
    db.busy_timeout(PATIENCE_AT_START).map_err(failed)?;
    identify(&db, path)?;
    // WAL: readers never wait for the writer, nor it for them. NORMAL: a commit syncs nothing. That
    // cannot damage the file. A power loss may lose the last commits, of jobs whose folders still show
    // their results. It saves a sync for each batch.
    db.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
    db.pragma_update(None, "synchronous", "NORMAL").map_err(failed)?;
    db.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES).map_err(failed)?;
    db.pragma_update(None, "foreign_keys", true).map_err(failed)?;
    if fs::metadata(path).is_ok_and(|file| file.len() <= CHECKED_AT_START) {
        let found: String =
            db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(failed)?;
        if found != "ok" {
            return Err(corrupt(path, found));
        }
    }
    prove_writable(&mut db).map_err(failed)?;
    migrations.to_latest(&mut db).map_err(|error| match error {
        rusqlite_migration::Error::RusqliteError { err, .. } => translate(path, err),
        other => corrupt(path, other.to_string()),
    })?;
    db.pragma_update(None, "application_id", APPLICATION_ID).map_err(failed)?;
    db.busy_timeout(PATIENCE).map_err(failed)?;
    super::rows::add_functions(&db).map_err(failed)?;
    Ok(db)
}

/// Opens an existing file for reading.
pub(super) fn open_to_read(path: &Path) -> Result<Connection, LedgerError> {
    let failed = |error| translate(path, error);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags).map_err(failed)?;
    db.busy_timeout(PATIENCE_AT_START).map_err(failed)?;
    identify(&db, path)?;
    super::rows::add_functions(&db).map_err(failed)?;
    Ok(db)
}

/// Returns the identity of the file at a path; `None` if there is none.
pub(super) fn file_id(path: &Path) -> Option<(u64, u64)> {
    let found = fs::metadata(path).ok()?;
    Some((found.dev(), found.ino()))
}

/// The same for its write-ahead log.
pub(super) fn wal_id(path: &Path) -> Option<(u64, u64)> {
    file_id(&beside(path, "-wal"))
}

/// Distinguishes a ledger, or an empty file, from everything else.
fn identify(db: &Connection, path: &Path) -> Result<(), LedgerError> {
    let failed = |error| translate(path, error);
    let number = |name: &str| db.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let (id, found) =
        (number("application_id").map_err(failed)?, number("user_version").map_err(failed)?);
    let tables: i64 =
        db.query_row("SELECT COUNT(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(failed)?;
    if id != APPLICATION_ID && !(id == 0 && tables == 0) {
        return Err(LedgerError::NotALedger { path: path.to_owned() });
    }
    let known = STEPS.len() as i64;
    if found > known {
        return Err(LedgerError::Newer { path: path.to_owned(), found, known });
    }
    Ok(())
}

/// Writes to the ledger, so that an unwritable one is found now and not with the first package.
fn prove_writable(db: &mut Connection) -> rusqlite::Result<()> {
    db.transaction_with_behavior(TransactionBehavior::Immediate)?.rollback()
}

/// Moves a damaged file aside, with its write-ahead log; returns its new path.
pub(super) fn move_aside(path: &Path, now: jiff::Timestamp) -> Result<PathBuf, LedgerError> {
    let stamp = now.strftime("%Y%m%dT%H%M%SZ");
    let aside = beside(path, &format!(".corrupt-{stamp}"));
    // The log first: if it were left behind, it would be taken for the new file's log.
    for suffix in ["-wal", "-shm", ""] {
        match fs::rename(beside(path, suffix), beside(&aside, suffix)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(LedgerError::MoveAside { path: path.to_owned(), source }),
        }
    }
    Ok(aside)
}

fn unreachable(path: &Path, source: io::Error) -> LedgerError {
    if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
        return LedgerError::NoSpace { path: path.to_owned(), source: Box::new(source) };
    }
    LedgerError::Unreachable { path: path.to_owned(), source: Box::new(source) }
}

fn corrupt(path: &Path, what: String) -> LedgerError {
    LedgerError::Corrupt { path: path.to_owned(), what }
}

/// Whether the file's disk has too little space for the files that SQLite keeps beside it.
fn is_full(path: &Path) -> bool {
    let folder = path.parent().unwrap_or(Path::new("/"));
    rustix::fs::statvfs(folder).is_ok_and(|disk| disk.f_bavail * disk.f_frsize < LEAST_ROOM)
}

/// Converts an error of SQLite.
pub(super) fn translate(path: &Path, error: rusqlite::Error) -> LedgerError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            LedgerError::Locked { path: path.to_owned(), source: Box::new(error) }
        }
        Some(ErrorCode::DiskFull) => {
            LedgerError::NoSpace { path: path.to_owned(), source: Box::new(error) }
        }
        // If SQLite cannot grow a file, it reports a general disk failure.
        Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen) if is_full(path) => {
            LedgerError::NoSpace { path: path.to_owned(), source: Box::new(error) }
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            corrupt(path, error.to_string())
        }
        _ => match error {
            // A row that does not parse can only have been written by another program.
            rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::IntegralValueOutOfRange(..) => corrupt(path, error.to_string()),
            error => LedgerError::Unreachable { path: path.to_owned(), source: Box::new(error) },
        },
    }
}

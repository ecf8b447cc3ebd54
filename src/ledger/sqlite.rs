//! [`SqliteStore`]: the ledger as one SQLite file on a local disk.
//!
//! The tables are in `sqlite/001-tables.sql`, and people can read them with any SQLite tool.

mod open;
mod rows;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, btree_map};
use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::backup::Backup;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params, params_from_iter};

use super::entry::{AttemptEntry, JobEntry, State};
use super::error::LedgerError;
use super::query::{JobFilter, Page};
use super::record::Record;
use super::store::Store;
use rows::{select_attempt, select_job};

use crate::folder::Folder;
use crate::id::{Digest, JobId, PackageName, SourceName};

/// How many jobs are deleted in one transaction: this takes about 50 ms, while others wait.
const PRUNED_AT_ONCE: u32 = 2000;

/// The ledger as an SQLite file.
///
/// Other processes may read the file at the same time, and copy it with `backup`.
pub struct SqliteStore {
    db: Connection,
    path: PathBuf,
    node: String,
    /// Device and inode of the open file.
    file: Option<(u64, u64)>,
    /// Device and inode of its write-ahead log; zeros if the log was removed while it was written.
    wal: Option<(u64, u64)>,
    /// The folder that contains the file; `None` for a read-only ledger.
    folder: Option<Folder>,
    /// Creates the folder again if it was removed.
    home: Option<Box<dyn Fn() -> io::Result<()> + Send>>,
    /// The pending remark for the operator.
    remark: Option<&'static str>,
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").field("path", &self.path).finish_non_exhaustive()
    }
}

impl SqliteStore {
    /// Opens the ledger at `path`, or creates it and its folder. New entries carry `node`.
    ///
    /// # Errors
    /// [`LedgerError::Locked`] after 5 s, [`LedgerError::Unreachable`], [`LedgerError::Corrupt`],
    /// [`LedgerError::NotALedger`], [`LedgerError::Newer`]: the file is unchanged.
    pub fn open(path: &Path, node: &str) -> Result<Self, LedgerError> {
        let (db, folder) = open::open(path, &open::MIGRATIONS)?;
        let file = open::file_id(path);
        let folder = Some(folder);
        let wal = open::wal_id(path);
        let (path, node) = (path.to_owned(), node.to_owned());
        let (home, remark) = (None, None);
        Ok(Self { db, path, node, file, wal, folder, home, remark })
    }

    /// Opens a ledger for reading; a daemon may be writing it at the same time.
    ///
    /// # Errors
    /// As [`SqliteStore::open`]; [`LedgerError::Unreachable`] also if there is no file.
    pub fn open_to_read(path: &Path) -> Result<Self, LedgerError> {
        let db = open::open_to_read(path)?;
        let (path, node) = (path.to_owned(), String::new());
        let (file, wal, folder, home, remark) = (None, None, None, None, None);
        Ok(Self { db, path, node, file, wal, folder, home, remark })
    }

    /// Sets a function that creates the folder again after its removal. Without it, the folder is waited for.
    #[must_use]
    pub fn with_home(mut self, home: impl Fn() -> io::Result<()> + Send + 'static) -> Self {
        self.home = Some(Box::new(home));
        self
    }

    /// Follows its path: facts that are written to a removed or replaced file would never be read.
    fn follow(&mut self) -> Result<(), LedgerError> {
        let there = open::file_id(&self.path);
        if self.file.is_none() {
            return Ok(());
        }
        if there == self.file {
            return self.follow_log();
        }
        if !self.is_in_its_folder() && !self.make_home() {
            // It may be unmounted: nothing is created in its place, nor in a folder that replaced it.
            let source = io::Error::new(io::ErrorKind::NotFound, "its folder is gone");
            return Err(LedgerError::Unreachable {
                path: self.path.clone(),
                source: source.into(),
            });
        }
        // The old file is closed first: closing removes its log by name, and that name is then the new log's.
        self.open_again()?;
        self.remark = Some("the ledger was removed while it was in use: a new one is begun");
        Ok(())
    }

    fn open_again(&mut self) -> Result<(), LedgerError> {
        self.db = Connection::open_in_memory().map_err(|e| open::translate(&self.path, e))?;
        self.file = Some((0, 0)); // no file has these: if opening fails now, the next call tries again
        let fresh = Self::open(&self.path, &self.node)?;
        *self = Self { home: self.home.take(), ..fresh };
        Ok(())
    }

    /// Replaces a removed write-ahead log: facts that are written to it would be lost. This process still has
    /// the log open, and moves its content to the file.
    fn follow_log(&mut self) -> Result<(), LedgerError> {
        if self.wal.is_none() || open::wal_id(&self.path) == self.wal {
            return Ok(());
        }
        self.checkpoint()?;
        self.open_again()?;
        self.remark = Some(
            "the ledger's write-ahead log was removed while it was in use; what was in it is kept",
        );
        Ok(())
    }

    /// Creates the folder again if it was removed, not if it was moved or unmounted; returns whether it did.
    fn make_home(&self) -> bool {
        let held = self.folder.as_ref().and_then(|folder| folder.seen().ok());
        let is_removed = held.is_some_and(|held| held.st_nlink == 0);
        is_removed && self.home.as_ref().is_some_and(|home| home().is_ok())
    }

    fn is_in_its_folder(&self) -> bool {
        let there = self.path.parent().and_then(open::file_id);
        let held = self.folder.as_ref().and_then(|folder| folder.seen().ok());
        there.is_some() && there == held.map(|held| (held.st_dev, held.st_ino))
    }

    /// Moves a damaged ledger aside, to `NAME.corrupt-TIME` in its folder, with its write-ahead log.
    /// Returns its new path.
    ///
    /// # Errors
    /// [`LedgerError::MoveAside`].
    pub fn move_aside(path: &Path) -> Result<PathBuf, LedgerError> {
        open::move_aside(path, jiff::Timestamp::now())
    }

    /// Moves the whole ledger into its one file, which can be moved afterwards.
    ///
    /// # Errors
    /// As [`SqliteStore::open`].
    pub(crate) fn gather(path: &Path) -> Result<(), LedgerError> {
        let (db, _) = open::open(path, &open::MIGRATIONS)?;
        let gathered = db.pragma_update(None, "journal_mode", "DELETE");
        gathered.map_err(|error| open::translate(path, error))
    }

    fn run<T>(
        &mut self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
    ) -> Result<T, LedgerError> {
        work(&mut self.db).map_err(|error| open::translate(&self.path, error))
    }

    fn query_jobs(
        &mut self,
        sql: &str,
        values: impl IntoIterator<Item = Value>,
    ) -> Result<Vec<JobEntry>, LedgerError> {
        self.run(|db| {
            db.prepare_cached(sql)?.query_map(params_from_iter(values), rows::job)?.collect()
        })
    }
}

impl Store for SqliteStore {
    fn record(&mut self, records: &[Record]) -> Result<(), LedgerError> {
        self.follow()?;
        let node = self.node.clone();
        self.run(|db| {
            // Immediate: a transaction that starts with a read cannot always be upgraded to a write.
            pass("ledger:begin")?;
            let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            // Each row is read once and written once, however many facts there are about it. Rows are
            // handled in the order of their ids, which is the order of the tree: most go to its end.
            let mut jobs: BTreeMap<JobId, Draft<JobEntry>> = BTreeMap::new();
            let mut attempts: BTreeMap<(JobId, u32), Draft<AttemptEntry>> = BTreeMap::new();
            for record in records {
                let (id, number) = (record.job, record.attempt);
                let job = match jobs.entry(id) {
                    btree_map::Entry::Occupied(known) => known.into_mut(),
                    btree_map::Entry::Vacant(new) => {
                        let fresh = || JobEntry::new(&node, record);
                        new.insert(Draft::of(load_job(&tx, id)?, fresh))
                    }
                };
                let attempt = match attempts.entry((id, number)) {
                    btree_map::Entry::Occupied(known) => known.into_mut(),
                    btree_map::Entry::Vacant(new) => {
                        let fresh = || AttemptEntry::new(id, number);
                        // An attempt always has a job.
                        let before = match job.before {
                            Some(_) => load_attempt(&tx, id, number)?,
                            None => None,
                        };
                        new.insert(Draft::of(before, fresh))
                    }
                };
                job.entry.take(&mut attempt.entry, record);
            }
            for job in jobs.values().filter(|job| job.is_changed()) {
                rows::save_job(&tx, &job.entry)?;
            }
            for attempt in attempts.values().filter(|attempt| attempt.is_changed()) {
                rows::save_attempt(&tx, &attempt.entry)?;
            }
            pass("ledger:commit")?;
            tx.commit()?;
            pass("ledger:committed")
        })?;
        self.wal = open::wal_id(&self.path).or(self.wal.map(|_| (0, 0)));
        Ok(())
    }

    fn checkpoint(&mut self) -> Result<(), LedgerError> {
        self.run(|db| db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())))
    }

    fn take_remark(&mut self) -> Option<&'static str> {
        self.remark.take()
    }

    fn job(&mut self, job: JobId) -> Result<Option<JobEntry>, LedgerError> {
        self.run(|db| load_job(db, job))
    }

    fn jobs_starting(&mut self, prefix: &str, limit: u32) -> Result<Vec<JobId>, LedgerError> {
        // Ids consist of digits and capitals: `~` sorts after all of them.
        let beyond = format!("{prefix}~");
        self.run(|db| {
            let sql = "SELECT job FROM jobs WHERE job >= ?1 AND job < ?2 ORDER BY job LIMIT ?3";
            db.prepare_cached(sql)?
                .query_map(params![prefix, beyond, limit], |row| rows::parsed(row, 0))?
                .collect()
        })
    }

    fn jobs(&mut self, filter: &JobFilter, page: &Page) -> Result<Vec<JobEntry>, LedgerError> {
        let (mut condition, mut values) = condition(filter);
        if let Some(before) = page.before {
            condition += " AND job < ?";
            values.push(before.to_string().into());
        }
        values.push(i64::from(page.limit).into());
        let select = select_job!("WHERE");
        let sql = format!("{select} {condition} ORDER BY job DESC LIMIT ?");
        self.query_jobs(&sql, values)
    }

    fn attempts(&mut self, job: JobId) -> Result<Vec<AttemptEntry>, LedgerError> {
        self.run(|db| {
            let sql = select_attempt!("WHERE job = ?1 ORDER BY attempt");
            db.prepare_cached(sql)?.query_map([job.to_string()], rows::attempt)?.collect()
        })
    }

    fn counts(&mut self, filter: &JobFilter) -> Result<BTreeMap<State, u64>, LedgerError> {
        let (condition, values) = condition(filter);
        self.run(|db| {
            let sql = format!("SELECT state, COUNT(*) FROM jobs WHERE {condition} GROUP BY state");
            let count = |row: &rusqlite::Row<'_>| {
                Ok((rows::parsed(row, 0)?, row.get::<_, i64>(1)?.unsigned_abs()))
            };
            db.prepare_cached(&sql)?.query_map(params_from_iter(values), count)?.collect()
        })
    }

    fn last_archived(
        &mut self,
        source: &SourceName,
        name: &PackageName,
    ) -> Result<Option<JobEntry>, LedgerError> {
        let sql = select_job!(
            "WHERE state = 'archived' AND source = ? AND name = ? \
             ORDER BY job DESC LIMIT 1"
        );
        let found = self.query_jobs(sql, [text(source.as_str()), text(name.as_str())])?;
        Ok(found.into_iter().next())
    }

    fn archived_alike(
        &mut self,
        source: &SourceName,
        name: &PackageName,
        zip_bytes: u64,
        digest: Digest,
    ) -> Result<Vec<JobEntry>, LedgerError> {
        let sql = select_job!(
            "WHERE state = 'archived' AND source = ? AND name = ? \
             AND zip_bytes = ? AND digest = ? ORDER BY job DESC"
        );
        let (source, name) = (text(source.as_str()), text(name.as_str()));
        let values = [source, name, rows::stored(zip_bytes).into(), digest.to_string().into()];
        self.query_jobs(sql, values)
    }

    fn archived_names(&mut self, visit: &mut dyn FnMut(&str, &str)) -> Result<(), LedgerError> {
        self.run(|db| {
            let mut names = db.prepare(ARCHIVED_NAMES)?;
            let mut found = names.query([])?;
            while let Some(row) = found.next()? {
                visit(row.get_ref(0)?.as_str()?, row.get_ref(1)?.as_str()?);
            }
            Ok(())
        })
    }

    fn prune(&mut self, settled_before_ms: i64) -> Result<u64, LedgerError> {
        let mut forgotten = 0;
        loop {
            // `settled_ms` is never later than `updated_ms`, which has the index.
            let gone = self.run(|db| {
                db.prepare_cached(
                    "DELETE FROM jobs WHERE job IN (SELECT job FROM jobs \
                     WHERE updated_ms < ?1 AND settled_ms < ?1 AND state IN \
                     ('archived', 'quarantined', 'discarded', 'vanished') LIMIT ?2)",
                )?
                .execute(params![settled_before_ms, PRUNED_AT_ONCE])
            })?;
            forgotten += gone as u64;
            if gone < PRUNED_AT_ONCE as usize {
                return Ok(forgotten);
            }
        }
    }

    fn check(&mut self) -> Result<Vec<String>, LedgerError> {
        self.run(|db| {
            let mut wrong: Vec<String> = db
                .prepare("PRAGMA integrity_check")?
                .query_map([], |row| row.get(0))?
                .collect::<rusqlite::Result<_>>()?;
            wrong.retain(|line| line != "ok");
            let strays = "SELECT attempts.job, attempts.attempt FROM attempts LEFT JOIN jobs USING (job) \
                 WHERE jobs.job IS NULL";
            let stray = |row: &rusqlite::Row<'_>| {
                let (job, attempt): (String, i64) = (row.get(0)?, row.get(1)?);
                Ok(format!("attempt {attempt} of no job {job}"))
            };
            for line in db.prepare(strays)?.query_map([], stray)? {
                wrong.push(line?);
            }
            // A row that does not parse as an entry was written by another program.
            let mut jobs = db.prepare(select_job!(""))?;
            let mut found = jobs.query([])?;
            while let Some(row) = found.next()? {
                if let Err(error) = rows::job(row) {
                    let job: String = row.get(0)?;
                    wrong.push(format!("the row of job {job} cannot be understood: {error}"));
                }
            }
            Ok(wrong)
        })
    }

    fn backup(&mut self, to: &Path) -> Result<(), LedgerError> {
        match File::options().write(true).create_new(true).open(to) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(LedgerError::BackupExists { path: to.to_owned() });
            }
            Err(error) => {
                let source = Box::new(error);
                return Err(LedgerError::Unreachable { path: to.to_owned(), source });
            }
        }
        let copied = Connection::open(to).and_then(|mut copy| {
            Backup::new(&self.db, &mut copy)?.run_to_completion(1024, Duration::ZERO, None)?;
            // One file, without a log beside it.
            copy.pragma_update(None, "journal_mode", "DELETE")
        });
        copied.map_err(|error| {
            std::fs::remove_file(to).ok(); // an incomplete backup is useless
            open::translate(to, error)
        })
    }
}

/// Answered from the index alone: otherwise SQLite would look up each row to avoid the longer index.
const ARCHIVED_NAMES: &str =
    "SELECT source, name FROM jobs INDEXED BY jobs_archived WHERE state = 'archived'";

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

/// An entry while facts are taken, and its previous value.
struct Draft<T> {
    before: Option<T>,
    entry: T,
}

impl<T: Clone + PartialEq> Draft<T> {
    fn of(before: Option<T>, fresh: impl FnOnce() -> T) -> Self {
        let entry = before.clone().unwrap_or_else(fresh);
        Self { before, entry }
    }

    fn is_changed(&self) -> bool {
        self.before.as_ref() != Some(&self.entry)
    }
}

/// Runs a fail point, and returns its error as an error of SQLite.
fn pass(point: &str) -> rusqlite::Result<()> {
    crate::failpoint::pass(|| point.to_owned()).map_err(|error| {
        let code = match error.kind() {
            std::io::ErrorKind::StorageFull => rusqlite::ffi::SQLITE_FULL,
            std::io::ErrorKind::PermissionDenied => rusqlite::ffi::SQLITE_READONLY,
            _ => rusqlite::ffi::SQLITE_IOERR,
        };
        rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), Some(point.to_owned()))
    })
}

fn load_job(db: &Connection, job: JobId) -> rusqlite::Result<Option<JobEntry>> {
    db.prepare_cached(select_job!("WHERE job = ?1"))?
        .query_row([job.to_string()], rows::job)
        .optional()
}

fn load_attempt(
    db: &Connection,
    job: JobId,
    attempt: u32,
) -> rusqlite::Result<Option<AttemptEntry>> {
    db.prepare_cached(select_attempt!("WHERE job = ?1 AND attempt = ?2"))?
        .query_row(params![job.to_string(), attempt], rows::attempt)
        .optional()
}

/// Converts a filter to a condition and its values; the condition is always true for an empty filter.
fn condition(filter: &JobFilter) -> (String, Vec<Value>) {
    let (mut parts, mut values): (Vec<String>, Vec<Value>) = (vec!["TRUE".to_owned()], Vec::new());
    let mut add = |part: &str, value: Value| {
        parts.push(part.to_owned());
        values.push(value);
    };
    if let Some(source) = &filter.source {
        add("source = ?", text(source.as_str()));
    }
    if let Some(name) = &filter.name {
        match name.literal() {
            Some(literal) => add("name = ?", text(literal)),
            None => {
                let (first, beyond) = name.range();
                if !first.is_empty() {
                    add("name >= ?", text(first));
                }
                if let Some(beyond) = beyond {
                    add("name < ?", beyond.into());
                }
                add("name_matches(?, name)", text(name.as_str()));
            }
        }
    }
    if let Some(code) = &filter.code {
        add("code = ?", text(code));
    }
    if let Some(since) = filter.since_ms {
        add("updated_ms >= ?", since.into());
    }
    if let Some(until) = filter.until_ms {
        add("updated_ms < ?", until.into());
    }
    if !filter.states.is_empty() {
        let marks = vec!["?"; filter.states.len()].join(", ");
        parts.push(format!("state IN ({marks})"));
        values.extend(filter.states.iter().map(|state| text(state.as_str())));
    }
    (parts.join(" AND "), values)
}

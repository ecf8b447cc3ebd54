//! Converts between rows and entries.

use std::path::PathBuf;
use std::str::FromStr;

use rusqlite::functions::FunctionFlags;
use rusqlite::types::Type;
use rusqlite::{Connection, Row, Transaction, params};

use crate::id::Digest;
use crate::ledger::entry::{AttemptEntry, JobEntry};
use crate::ledger::query::NamePattern;
use crate::package::ZipFacts;

/// All columns of `jobs`, in the order in which [`job`] reads them, before the rest of a query.
macro_rules! select_job {
    ($rest:literal) => {
        concat!(
            "SELECT job, node, source, name, state, attempt, code, why, path, zip_bytes, digest, \
             hash, entries, unpacked_bytes, charset, notes, claimed_ms, settled_ms, updated_ms \
             FROM jobs ",
            $rest
        )
    };
}
pub(super) use select_job;

/// All columns of `attempts`, in the order in which [`attempt`] reads them, before the rest of a query.
macro_rules! select_attempt {
    ($rest:literal) => {
        concat!(
            "SELECT job, attempt, begun_ms, planned_ms, unpacked_ms, ended_ms, outcome, code, why \
             FROM attempts ",
            $rest
        )
    };
}
pub(super) use select_attempt;

/// Adds the function `name_matches(pattern, name)` to SQLite.
pub(super) fn add_functions(db: &Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    db.create_scalar_function("name_matches", 2, flags, |call| {
        let pattern = call.get_or_create_aux(0, |text| {
            let text = text.as_str().map_err(|error| Box::new(error) as Failed)?;
            NamePattern::new(text).map_err(|error| Box::new(error) as Failed)
        })?;
        let name = call
            .get_raw(1)
            .as_str()
            .map_err(|error| rusqlite::Error::UserFunctionError(Box::new(error)))?;
        Ok(pattern.matches(name))
    })
}

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// Parses a text column: a name, an id or the like.
pub(super) fn parsed<T: FromStr>(row: &Row<'_>, at: usize) -> rusqlite::Result<T>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let text = row.get_ref(at)?.as_str()?;
    text.parse().map_err(|error: T::Err| unreadable(at, error))
}

fn unreadable(at: usize, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(at, Type::Text, Box::new(error))
}

pub(super) fn job(row: &Row<'_>) -> rusqlite::Result<JobEntry> {
    let name = |at: usize| row.get::<_, String>(at);
    let digest: Option<Digest> = match row.get_ref(10)?.as_str_or_null()? {
        Some(_) => Some(parsed(row, 10)?),
        None => None,
    };
    let hash = match row.get_ref(11)?.as_str_or_null()? {
        Some(_) => Some(parsed(row, 11)?),
        None => None,
    };
    let zip = match digest {
        Some(digest) => Some(ZipFacts {
            zip_bytes: size(row, 9)?,
            digest,
            hash,
            entries: size(row, 12)?,
            bytes: size(row, 13)?,
            charset: row.get(14)?,
        }),
        None => None,
    };
    let notes = match row.get_ref(15)?.as_str_or_null()? {
        Some(notes) => serde_json::from_str(notes).map_err(|error| unreadable(15, error))?,
        None => Vec::new(),
    };
    Ok(JobEntry {
        job: parsed(row, 0)?,
        node: row.get(1)?,
        source: name(2)?.try_into().map_err(|error: crate::id::NameError| unreadable(2, error))?,
        name: name(3)?.try_into().map_err(|error: crate::id::NameError| unreadable(3, error))?,
        state: parsed(row, 4)?,
        attempt: row.get(5)?,
        code: row.get(6)?,
        why: row.get(7)?,
        path: row.get::<_, Option<String>>(8)?.map(PathBuf::from),
        zip,
        notes,
        claimed_ms: row.get(16)?,
        settled_ms: row.get(17)?,
        updated_ms: row.get(18)?,
    })
}

/// Reads a size: an integer that is not negative.
fn size(row: &Row<'_>, at: usize) -> rusqlite::Result<u64> {
    let size: i64 = row.get(at)?;
    u64::try_from(size).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(at, size))
}

/// Converts a size for storage: files of more than 8 EiB do not exist.
pub(super) fn stored(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

pub(super) fn attempt(row: &Row<'_>) -> rusqlite::Result<AttemptEntry> {
    let mut entry = AttemptEntry::new(parsed(row, 0)?, row.get(1)?);
    entry.begun_ms = row.get(2)?;
    entry.planned_ms = row.get(3)?;
    entry.unpacked_ms = row.get(4)?;
    entry.ended_ms = row.get(5)?;
    entry.end = match row.get_ref(6)?.as_str_or_null()? {
        Some(_) => Some(parsed(row, 6)?),
        None => None,
    };
    entry.code = row.get(7)?;
    entry.why = row.get(8)?;
    Ok(entry)
}

pub(super) fn save_job(tx: &Transaction<'_>, job: &JobEntry) -> rusqlite::Result<()> {
    let zip = job.zip.as_ref();
    let notes = match &job.notes[..] {
        [] => None,
        notes => serde_json::to_string(notes).ok(),
    };
    tx.prepare_cached(SAVE_JOB)?.execute(params![
        job.job.to_string(),
        job.node,
        job.source.as_str(),
        job.name.as_str(),
        job.state.as_str(),
        job.attempt,
        job.code,
        job.why,
        job.path.as_ref().map(|path| path.to_string_lossy()),
        zip.map(|zip| stored(zip.zip_bytes)),
        zip.map(|zip| zip.digest.to_string()),
        zip.and_then(|zip| zip.hash).map(|hash| hash.to_string()),
        zip.map(|zip| stored(zip.entries)),
        zip.map(|zip| stored(zip.bytes)),
        zip.map(|zip| &zip.charset),
        notes,
        job.claimed_ms,
        job.settled_ms,
        job.updated_ms,
    ])?;
    Ok(())
}

// An upsert instead of a REPLACE: that would delete the row first, and its attempts with it.
const SAVE_JOB: &str = "INSERT INTO jobs (job, node, source, name, state, attempt, code, why, path, \
     zip_bytes, digest, hash, entries, unpacked_bytes, charset, notes, claimed_ms, settled_ms, \
     updated_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, \
     ?18, ?19) ON CONFLICT (job) DO UPDATE SET state = ?5, attempt = ?6, code = ?7, why = ?8, \
     path = ?9, zip_bytes = ?10, digest = ?11, hash = ?12, entries = ?13, unpacked_bytes = ?14, \
     charset = ?15, notes = ?16, claimed_ms = ?17, settled_ms = ?18, updated_ms = ?19";

pub(super) fn save_attempt(tx: &Transaction<'_>, entry: &AttemptEntry) -> rusqlite::Result<()> {
    tx.prepare_cached(SAVE_ATTEMPT)?.execute(params![
        entry.job.to_string(),
        entry.attempt,
        entry.begun_ms,
        entry.planned_ms,
        entry.unpacked_ms,
        entry.ended_ms,
        entry.end.map(|end| end.as_str()),
        entry.code,
        entry.why,
    ])?;
    Ok(())
}

const SAVE_ATTEMPT: &str = "INSERT INTO attempts (job, attempt, begun_ms, planned_ms, unpacked_ms, \
     ended_ms, outcome, code, why) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) \
     ON CONFLICT (job, attempt) DO UPDATE SET begun_ms = ?3, planned_ms = ?4, unpacked_ms = ?5, \
     ended_ms = ?6, outcome = ?7, code = ?8, why = ?9";

//! The facts that are recorded in the ledger: [`Record`]s, each about one attempt at one job.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::id::{JobId, PackageName, SourceName};
use crate::messages::{Fact, PackageEvent};
use crate::package::ZipFacts;

/// Converts a time to whole ms since 1970, UTC, as rows have it. Negative before 1970.
#[must_use]
pub fn unix_ms(at: SystemTime) -> i64 {
    let ms = |span: std::time::Duration| i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
    match at.duration_since(UNIX_EPOCH) {
        Ok(since) => ms(since),
        Err(before) => -ms(before.duration()),
    }
}

/// A fact about one attempt at one job. It may be recorded twice, and in any order: see
/// [`JobEntry::take`](super::JobEntry::take).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// When it happened, in ms since 1970.
    pub at_ms: i64,
    /// The job.
    pub job: JobId,
    /// The job's source.
    pub source: SourceName,
    /// The package's name.
    pub name: PackageName,
    /// The attempt that this is about; counted from 1.
    pub attempt: u32,
    /// What happened.
    pub step: Step,
}

/// What happened in an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// The package was moved into the work area: the first attempt has started.
    Claimed,
    /// An attempt has started at a package that is already in the work area.
    Reopened,
    /// Its plan passed every check.
    Planned(ZipFacts),
    /// It is unpacked and verified.
    Unpacked,
    /// It is with a stage.
    Entered,
    /// The attempt has ended.
    Settled(Settlement),
    /// A note to be kept with the job, after all earlier notes.
    Noted {
        /// The key of the note.
        key: String,
        /// The value of the note.
        value: String,
    },
}

/// How an attempt ended, with all facts about the job that the ledger must have even if every event
/// about it was lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement {
    /// The kind of end, with its details.
    pub ending: Ending,
    /// The facts about the ZIP from the plan; `None` if there was no plan, or it was made in an earlier run.
    pub zip: Option<ZipFacts>,
    /// The notes of stages, in the order in which they were made.
    pub notes: Vec<(String, String)>,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ending {
    /// The package is in the archive.
    Archived {
        /// The folder; absolute.
        path: PathBuf,
    },
    /// The package is in quarantine.
    Quarantined {
        /// The folder; absolute.
        path: PathBuf,
        /// The error's code.
        code: String,
        /// The error and its causes.
        why: String,
    },
    /// The package is deleted, as configured for identical deliveries.
    Discarded {
        /// The error's code and message; `None` after a restart.
        reason: Option<(String, String)>,
    },
    /// Somebody removed the job's folder from the work area.
    Vanished,
    /// Another attempt follows.
    Retry {
        /// Whether the attempt does not count: it waits for a condition that is not the package's fault.
        waits: bool,
        /// The error's code.
        code: String,
        /// The error and its causes.
        why: String,
    },
}

impl Record {
    /// Creates a fact with the current time.
    #[must_use]
    pub fn now(
        source: SourceName,
        name: PackageName,
        job: JobId,
        attempt: u32,
        step: Step,
    ) -> Self {
        Self { at_ms: unix_ms(SystemTime::now()), job, source, name, attempt, step }
    }

    /// Returns the fact that an event records; `None` for an event about a package that has no job yet.
    ///
    /// Settlements are not recorded through events: the Archiver commits them itself, before it removes the
    /// job's folder.
    #[must_use]
    pub fn of(event: &PackageEvent) -> Option<Self> {
        let step = match &event.fact {
            Fact::Claimed => Step::Claimed,
            Fact::Reopened => Step::Reopened,
            Fact::Planned { zip } => Step::Planned(zip.clone()),
            Fact::Unpacked => Step::Unpacked,
            Fact::Entered { .. } => Step::Entered,
            _ => return None,
        };
        Some(Self {
            at_ms: unix_ms(event.at),
            job: event.job?,
            source: event.source.clone(),
            name: PackageName::new(&event.name).ok()?,
            attempt: event.attempt,
            step,
        })
    }
}

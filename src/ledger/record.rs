//! What the ledger is told: [`Record`]s, each a fact about one attempt at one job.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use actix::Message;

use crate::id::{JobId, PackageName, SourceName};
use crate::messages::{Fact, PackageEvent};
use crate::package::ZipFacts;

/// A time in whole ms since 1970, UTC: what rows carry. Negative before that.
#[must_use]
pub fn unix_ms(at: SystemTime) -> i64 {
    let ms = |span: std::time::Duration| i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
    match at.duration_since(UNIX_EPOCH) {
        Ok(since) => ms(since),
        Err(before) => -ms(before.duration()),
    }
}

/// A fact about one attempt at one job. May be told twice, and in any order: see
/// [`JobEntry::take`](super::JobEntry::take).
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct Record {
    /// When, in ms since 1970.
    pub at_ms: i64,
    /// The job.
    pub job: JobId,
    /// Its source.
    pub source: SourceName,
    /// Its package's name.
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
    /// The package came into the work area: the first attempt has begun.
    Claimed,
    /// An attempt has begun at a package that is in the work area already.
    Reopened,
    /// Its plan passed every check.
    Planned(ZipFacts),
    /// It is unpacked and verified.
    Unpacked,
    /// It is with a stage.
    Entered,
    /// The attempt has ended.
    Settled(Settlement),
    /// Something to be kept with the job, after all that was noted before.
    Noted {
        /** What it is about. */
        key: String,
        /** What it says. */
        value: String,
    },
}

/// How an attempt ended, with all that the ledger must know of the job even if every event about
/// it was lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement {
    /// How.
    pub ending: Ending,
    /// What the plan said; none where there was none, or in an earlier run.
    pub zip: Option<ZipFacts>,
    /// What stages noted, in the order in which they did.
    pub notes: Vec<(String, String)>,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ending {
    /// In the archive.
    Archived {
        /** The folder; absolute. */
        path: PathBuf,
    },
    /// In quarantine.
    Quarantined {
        /** The folder; absolute. */
        path: PathBuf,
        /** The error's code. */
        code: String,
        /** The error and its causes. */
        why: String,
    },
    /// Deleted, as the configuration asks for identical deliveries.
    Discarded {
        /** The error's code and message; none after a restart. */
        reason: Option<(String, String)>,
    },
    /// Somebody took its folder out of the work area.
    Vanished,
    /// There will be another attempt.
    Retry {
        /** Whether this one does not count: it waits for what is not its fault. */
        waits: bool,
        /** The error's code. */
        code: String,
        /** The error and its causes. */
        why: String,
    },
}

impl Record {
    /// A fact of now.
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

    /// What an event tells the ledger; none where it is about a package that has no job yet.
    ///
    /// Settlements are no matter of events: the Archiver commits them itself, before it clears the
    /// job's folder away.
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

//! Facts about packages, for whoever subscribed to the event bus.

use std::path::PathBuf;
use std::time::{Instant, SystemTime};

use actix::Message;

use super::{FoundBy, JobSpec};
use crate::id::{JobId, SourceName};
use crate::package::ZipFacts;

/// A fact about a package, for whoever subscribed to the event bus.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[rtype(result = "()")]
#[non_exhaustive]
pub struct PackageEvent {
    /// When, by the wall clock.
    pub at: SystemTime,
    /// The package's source.
    pub source: SourceName,
    /// The package's name as delivered; what is not UTF-8 in it (then it can't be a package, and is
    /// held back) is replaced by U+FFFD.
    pub name: String,
    /// None while it is in the landing.
    pub job: Option<JobId>,
    /// 0 while it is in the landing.
    pub attempt: u32,
    /// What happened.
    pub fact: Fact,
}

impl PackageEvent {
    /// A fact, now, about the package of a job.
    #[must_use]
    pub fn about(spec: &JobSpec, fact: Fact) -> Self {
        Self {
            at: SystemTime::now(),
            source: spec.source.clone(),
            name: spec.name.to_string(),
            job: Some(spec.id),
            attempt: spec.attempt,
            fact,
        }
    }
}

/// What happened to a package.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fact {
    /// The Dispatcher took it into its queue.
    Accepted {
        /** By event or by scan. */
        found_by: FoundBy,
    },
    /// Its folder is in the work area.
    Claimed,
    /// A later attempt begins, or one that a stop or a crash ended begins anew.
    Reopened,
    /// Its plan passed every check.
    Planned {
        /** What is in its ZIP, and what tells it from others. */
        zip: ZipFacts,
    },
    /// All of it is unpacked and verified.
    Unpacked,
    /// It is with a stage now.
    Entered {
        /** The stage's name. */
        stage: String,
    },
    /// It went from the landing before it was claimed.
    Vanished,
    /// It lies in the landing and is held back by something that a person must change.
    HeldBack {
        /** Stable, in snake case. */
        code: &'static str,
        /** What to do. */
        why: String,
    },
    /// Archived, quarantined, discarded, or again.
    Settled(Outcome),
}

/// What became of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// In the archive.
    Archived {
        /** The folder. */
        path: PathBuf,
    },
    /// In quarantine, with a `reason.json`.
    Quarantined {
        /** The error's code. */
        code: String,
        /** The error and its causes. */
        why: String,
        /** The folder. */
        path: PathBuf,
    },
    /// Deleted, as the configuration asks for identical deliveries.
    Discarded,
    /// Somebody took its folder out of the work area.
    Vanished,
    /// Another attempt, from the work area.
    Retry {
        /** Not before then. */
        at: Instant,
        /** The number of that attempt. */
        attempt: u32,
        /** The error's code. */
        code: String,
        /** The error and its causes. */
        why: String,
        /** Whether the source takes nothing new until then (no space, the archive is gone). */
        pause_source: bool,
    },
}

//! Facts about packages, for subscribers of the event bus.

use std::time::SystemTime;

use actix::Message;

use crate::id::{JobId, SourceName};
use crate::job::{FoundBy, JobSpec, Outcome};
use crate::package::ZipFacts;

/// A fact about a package, for subscribers of the event bus.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[rtype(result = "()")]
#[non_exhaustive]
pub struct PackageEvent {
    /// When it happened, by the wall clock.
    pub at: SystemTime,
    /// The package's source.
    pub source: SourceName,
    /// The package's name as delivered. Bytes that are not UTF-8 are replaced by U+FFFD; such a name
    /// cannot be a package, and is held back.
    pub name: String,
    /// The job; `None` while the package is in the landing.
    pub job: Option<JobId>,
    /// The attempt; 0 while the package is in the landing.
    pub attempt: u32,
    /// What happened.
    pub fact: Fact,
}

impl PackageEvent {
    /// Creates an event about the package of a job, with the current time.
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
    /// The Dispatcher added it to its queue.
    Accepted {
        /// By event or by scan.
        found_by: FoundBy,
    },
    /// Its folder is in the work area.
    Claimed,
    /// A later attempt starts, or an attempt restarts that a stop or a crash ended.
    Reopened,
    /// Its plan passed every check.
    Planned {
        /// The contents of its ZIP, and what distinguishes the ZIP from others.
        zip: ZipFacts,
    },
    /// The whole package is unpacked and verified.
    Unpacked,
    /// It is with a stage now.
    Entered {
        /// The stage's name.
        stage: String,
    },
    /// It disappeared from the landing before it was claimed.
    Vanished,
    /// It is in the landing, held back by something that a person must change.
    HeldBack {
        /// The code; stable, in snake case.
        code: &'static str,
        /// What to do.
        why: String,
    },
    /// Archived, quarantined, discarded, vanished, or another attempt.
    Settled(Outcome),
}

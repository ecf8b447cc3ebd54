//! The records that the [`Book`](super::book::Book) keeps, and its inputs and outputs.

use std::ffi::OsString;
use std::time::{Duration, Instant, SystemTime};

use super::hints::Arrival;
use crate::id::PackageName;
use crate::landing::{Past, Trace};
use crate::messages::{Form, FoundBy};
use crate::package::FolderId;

/// How long something has been unchanged.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quiet {
    /// The time of the look that saw its last change, or of the first look.
    since: Instant,
    /// Its age at that look, by the disk's own clock. Zero if it arrived or changed while it was watched.
    before: Duration,
    /// Whether `before` counts as quiet: any host may have set the file times of a network file system.
    counts: bool,
}

impl Quiet {
    /// Creates a value for something that was unchanged for `before` at its first look.
    pub(super) fn new(since: Instant, before: Duration, counts: bool) -> Self {
        Self { since, before, counts }
    }

    /// Records that it differs from the last look.
    pub(super) fn broken(&mut self, now: Instant) {
        *self = Self { since: now, before: Duration::ZERO, counts: true };
    }

    /// Returns the quiet time by the rules of readiness.
    pub(super) fn measured(&self, now: Instant) -> Duration {
        let before = if self.counts { self.before } else { Duration::ZERO };
        now.saturating_duration_since(self.since) + before
    }

    /// Returns the age for reports to a person.
    pub(super) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since) + self.before
    }
}

/// Why a look was taken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Because {
    /// What the events said of the name; `None` if there was no event.
    pub(super) hint: Option<Arrival>,
    /// Whether the look is part of a scan, which offers again what is still there.
    pub(super) scan: bool,
}

/// Something that a person should know, reported once.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) name: OsString,
    pub(super) code: &'static str,
    pub(super) why: String,
}

/// A package to offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Offer {
    /// The name in the landing, which for a bare ZIP is not the package's name.
    pub(super) key: OsString,
    pub(super) name: PackageName,
    pub(super) identity: FolderId,
    pub(super) form: Form,
    pub(super) found_by: FoundBy,
}

/// The next action on the queue of offers.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Offer(Offer),
    /// The next name to be offered has waited so long that another look is needed first.
    LookAgain(OsString),
}

/// The stage of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Not ready; to be looked at again at `due`.
    Waiting { due: Instant },
    /// Cannot be taken; to be looked at again at `due`, or by a scan if `None`.
    Unfit { due: Option<Instant> },
    /// To be offered; `newest` is its place in the queue.
    Queued { newest: SystemTime },
    /// Offered, not answered yet.
    Offered,
    /// The Dispatcher has it in its queue.
    Admitted,
    /// Its name is in work: to be offered again at the next vacancy.
    Deferred,
}

/// What is known of one name in the landing.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) identity: FolderId,
    pub(super) package: Option<(Form, PackageName)>,
    pub(super) found_by: FoundBy,
    pub(super) past: Past,
    pub(super) trace: Trace,
    pub(super) stage: Stage,
    pub(super) first_seen: Instant,
    pub(super) quiet: Quiet,
    pub(super) looked: Instant,
    pub(super) admitted: bool,
    /// The number of vacancies received when it was offered.
    pub(super) offered_at: u64,
    pub(super) told: Vec<&'static str>,
}

/// What is known of a folder whose name says that it is incomplete.
#[derive(Debug)]
pub(super) struct Arriving {
    /// As of the last look into it; `None` before the first.
    pub(super) seen: Option<(Trace, Quiet)>,
    /// The earliest time at which it can be stale.
    pub(super) check: Instant,
    pub(super) told: bool,
}

impl Stage {
    pub(super) fn due(self) -> Option<Instant> {
        match self {
            Self::Waiting { due } => Some(due),
            Self::Unfit { due } => due,
            _ => None,
        }
    }

    pub(super) fn is_unfit(self) -> bool {
        matches!(self, Self::Unfit { .. })
    }
}

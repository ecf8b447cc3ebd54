//! The records that the [`Book`](super::book::Book) keeps, and what goes in and out of it.

use std::ffi::OsString;
use std::time::{Duration, Instant, SystemTime};

use super::hints::Arrival;
use crate::id::PackageName;
use crate::landing::{Past, Trace};
use crate::messages::{Form, FoundBy};
use crate::package::FolderId;

/// How long something has been the same.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quiet {
    /// The look that saw its last change, or the first look.
    since: Instant,
    /// Its age at that look, by the disk's own clock. Zero if it came or changed under our eyes.
    before: Duration,
    /// Whether `before` counts as quiet: file times of a network file system may be of any host.
    counts: bool,
}

impl Quiet {
    /// Something that was the same for `before` when it was first looked at.
    pub(super) fn new(since: Instant, before: Duration, counts: bool) -> Self {
        Self { since, before, counts }
    }

    /// Takes in that it is different from the last look.
    pub(super) fn broken(&mut self, now: Instant) {
        *self = Self { since: now, before: Duration::ZERO, counts: true };
    }

    /// What the rules of readiness count.
    pub(super) fn measured(&self, now: Instant) -> Duration {
        let before = if self.counts { self.before } else { Duration::ZERO };
        now.saturating_duration_since(self.since) + before
    }

    /// What a person is told.
    pub(super) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since) + self.before
    }
}

/// Why a look was taken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Because {
    /// What the events said of the name, if they did.
    pub(super) hint: Option<Arrival>,
    /// Whether it is part of a scan, which offers again what is still there.
    pub(super) scan: bool,
}

/// Something that a person should know, told once.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) name: OsString,
    pub(super) code: &'static str,
    pub(super) why: String,
}

/// A package to offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Offer {
    /// The name in the landing, which for a bare ZIP is not the package's.
    pub(super) key: OsString,
    pub(super) name: PackageName,
    pub(super) identity: FolderId,
    pub(super) form: Form,
    pub(super) found_by: FoundBy,
}

/// What to do next with the queue of offers.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Offer(Offer),
    /// The next to be offered has waited so long that it has to be looked at again first.
    LookAgain(OsString),
}

/// Where a name stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Not ready; to be looked at again then.
    Waiting { due: Instant },
    /// Nothing that can be taken; to be looked at again then, by a scan where there is no time.
    Unfit { due: Option<Instant> },
    /// To be offered; its place in the queue.
    Queued { newest: SystemTime },
    /// Offered, not answered.
    Offered,
    /// The Dispatcher has it in its queue.
    Admitted,
    /// Its name is in work: at the next vacancy again.
    Deferred,
}

/// What is known of one name of the landing.
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
    /// Vacancies heard when it was offered.
    pub(super) offered_at: u64,
    pub(super) told: Vec<&'static str>,
}

/// What is known of a folder whose name says that it is incomplete.
#[derive(Debug)]
pub(super) struct Arriving {
    /// As of the last look into it; `None` before the first.
    pub(super) seen: Option<(Trace, Quiet)>,
    /// When it could be stale.
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

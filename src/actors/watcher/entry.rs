//! The records that the [`Book`](super::book::Book) keeps, and what goes in and out of it.

use std::ffi::OsString;
use std::time::{Instant, SystemTime};

use super::hints::Arrival;
use crate::id::PackageName;
use crate::landing::{Past, Trace};
use crate::messages::{Form, FoundBy};
use crate::package::FolderId;

/// Both clocks: the wall's for what the disk says, the steady one for what we measure.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    pub(super) wall: SystemTime,
    pub(super) steady: Instant,
}

impl Now {
    pub(super) fn read() -> Self {
        Self { wall: SystemTime::now(), steady: Instant::now() }
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
    pub(super) quiet_since: Instant,
    pub(super) looked: Instant,
    pub(super) admitted: bool,
    /// Vacancies heard when it was offered.
    pub(super) offered_at: u64,
    pub(super) told: Vec<&'static str>,
}

/// What is known of a folder whose name says that it is incomplete.
#[derive(Debug)]
pub(super) struct Arriving {
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

//! [`Bench`]: what all extractors share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use actix::Recipient;
use slog::Logger;

use crate::actors::lifeline::{Ending, Hold};
use crate::actors::outlet::Hop;
use crate::actors::post::post;
use crate::extract::{Options, Scratch};
use crate::id::SourceName;
use crate::ledger::LedgerHandle;
use crate::messages::{Fact, JobSpec, PackageEvent, Rejected, Unpacked};
use crate::package::LostHandler;
use crate::progress::Roster;
use crate::workspace::{Site, Space};

/// What all extractors share.
pub struct Bench {
    /// The folders of every source.
    pub sites: Arc<HashMap<SourceName, Arc<Site>>>,
    /// How each source's ZIPs are read.
    pub options: HashMap<SourceName, Options>,
    /// Where a source's unpacked packages go: its first stage, or the Archiver.
    pub next: HashMap<SourceName, Hop>,
    /// The Archiver, for packages that have passed all stages already.
    pub archiver: Recipient<Unpacked>,
    /// The Archiver, for packages that cannot continue.
    pub rejected: Recipient<Rejected>,
    /// Facts for subscribers.
    pub events: Recipient<PackageEvent>,
    /// What was archived before; if `None`, only the archive itself knows.
    pub ledger: Option<LedgerHandle>,
    /// The disk space reserved for jobs.
    pub space: Arc<Space>,
    /// Gets each package that is dropped unsettled.
    pub lost: LostHandler,
    /// Whether the pipeline is being stopped.
    pub ending: Ending,
    /// Keeps another pipeline out of the work area while a slice is being written.
    pub hold: Hold,
    /// The progress of each thread.
    pub roster: Arc<Roster>,
    /// Buffers that no thread uses at the moment.
    pub scratch: ScratchPool,
    /// The log.
    pub log: Logger,
}

impl Bench {
    pub(super) fn tell(&self, spec: &JobSpec, fact: Fact) {
        post(&self.events, PackageEvent::about(spec, fact));
    }
}

/// Inflaters and their buffers, one per thread at work at the same time.
#[derive(Default)]
pub struct ScratchPool(Mutex<Vec<Scratch>>);

impl ScratchPool {
    pub(super) fn take(&self) -> Scratch {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    pub(super) fn give_back(&self, scratch: Scratch) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(scratch);
    }
}

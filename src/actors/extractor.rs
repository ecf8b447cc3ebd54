//! Claims, plans and unpacks packages: one thread of a `SyncArbiter` pool.
//!
//! In: [`Extract`]. Out: exactly one [`ExtractReport`] per `Extract`; one [`Unpacked`] or [`Rejected`]
//! per package, from the thread that finishes its last slice.
//!
//! **Invariant:** no panic leaves a handler. Such a panic would remove this thread from the pool for
//! good, and after the last thread the pool would be gone while the actor system lived on.

mod job;
mod open;
pub mod options;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use actix::{Actor, Handler, Recipient, SyncContext};
use slog::{Logger, error};

use super::lifeline::{Ending, Hold, Lifeline};
use super::outlet::Hop;
use super::post::post;
use crate::extract::{Options, Scratch};
use crate::id::SourceName;
use crate::ledger::LedgerHandle;
use crate::messages::{
    Extract, ExtractReport, Fact, JobSpec, PackageEvent, Rejected, Unpacked, Work,
};
use crate::package::LostHandler;
use crate::progress::{Progress, Roster, Task};
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
    fn tell(&self, spec: &JobSpec, fact: Fact) {
        post(&self.events, PackageEvent::about(spec, fact));
    }
}

/// Inflaters and their buffers, one per thread at work at the same time.
#[derive(Default)]
pub struct ScratchPool(Mutex<Vec<Scratch>>);

impl ScratchPool {
    fn take(&self) -> Scratch {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    fn give_back(&self, scratch: Scratch) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(scratch);
    }
}

/// One thread of the pool.
pub struct Extractor {
    bench: Arc<Bench>,
    progress: Arc<Progress>,
    /// Reports a thread that is lost although no panic leaves a handler: it would never be replaced.
    _lifeline: Lifeline,
}

impl Extractor {
    /// Creates an extractor.
    #[must_use]
    pub fn new(bench: Arc<Bench>, lifeline: Lifeline) -> Self {
        let progress = bench.roster.join();
        Self { bench, progress, _lifeline: lifeline }
    }
}

impl Actor for Extractor {
    type Context = SyncContext<Self>;
}

impl Handler<Extract> for Extractor {
    type Result = ();

    fn handle(&mut self, extract: Extract, _: &mut Self::Context) {
        let Extract { work, report_to } = extract;
        let (job, package, is_open) = match &work {
            Work::Open(spec) => (spec.id, Some((spec.source.clone(), spec.name.clone())), true),
            Work::Slice(job, _) => (*job, None, false),
        };
        let progress = &self.progress;
        progress.take_up(Task { job, package });
        let done = catch_unwind(AssertUnwindSafe(|| match work {
            Work::Open(spec) => open::open(&self.bench, &spec, progress),
            Work::Slice(job, slice) => {
                slice.run(progress);
                ExtractReport::SliceEnded { job }
            }
        }));
        progress.rest();
        let report = done.unwrap_or_else(|_| {
            // What the work held was dropped during the unwind: its package has reported itself.
            error!(self.bench.log, "an extractor panicked"; "job" => %job);
            if is_open {
                ExtractReport::Planned { job, bytes: 0, slices: Vec::new() }
            } else {
                ExtractReport::SliceEnded { job }
            }
        });
        post(&report_to, report);
    }
}

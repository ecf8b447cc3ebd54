//! Claims, plans and unpacks packages: one thread of a `SyncArbiter` pool.
//!
//! In: [`Extract`]. Out: exactly one [`ExtractReport`] per `Extract`; one [`Unpacked`] or [`Rejected`] per
//! package, from the thread that finishes its last slice.
//!
//! [`Unpacked`]: crate::messages::Unpacked
//! [`Rejected`]: crate::messages::Rejected
//!
//! **Invariant:** no panic leaves a handler. Such a panic would remove this thread from the pool for
//! good, and after the last thread the pool would be gone while the actor system lived on.

mod bench;
mod job;
mod open;
pub mod options;
#[cfg(test)]
mod tests;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use actix::{Actor, Handler, SyncContext};
use slog::error;

pub use bench::{Bench, ScratchPool};

use super::lifeline::Lifeline;
use super::post::post;
use crate::messages::{Extract, ExtractReport, Work};
use crate::progress::{Progress, Task};

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

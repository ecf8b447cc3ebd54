//! One package's extraction, shared by its slices.
//!
//! **Who ends it:** every slice is a [`Ticket`], and a ticket counts when it is dropped, whether it
//! was run, was never dealt, or its thread panicked. The one that brings the count to zero commits
//! the job and sends it on, or clears what was unpacked and rejects it. So nobody else has to know
//! whether all slices are through, and no attempt can begin while one of them lives.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use thiserror::Error;

use super::Bench;
use crate::actors::post::post;
use crate::error::{Disposition, Failure};
use crate::extract::{ExtractError, Slice, Unpacking};
use crate::messages::{Fact, JobSpec, Rejected, SliceWork, Unpacked};
use crate::package::{Package, ZipStamp};
use crate::progress::{Progress, Steps, Task};
use crate::workspace::{Amount, JobDir, Reservation, Site};

/// Why an extraction ended that nothing was wrong with. Completes "failed to …".
#[derive(Debug, Error)]
#[non_exhaustive]
pub(super) enum ExtractorError {
    /// A thread panicked, or a slice was thrown away.
    #[error("unpack it: an extractor gave up in the middle; the log has its panic")]
    Interrupted,
}

impl Failure for ExtractorError {
    fn code(&self) -> &'static str {
        "extractor_interrupted"
    }

    fn disposition(&self) -> Disposition {
        Disposition::Retry
    }
}

/// What is needed to end the extraction: taken by whoever brings the count to zero.
struct Finish {
    package: Package,
    failure: Option<Box<dyn Failure>>,
    /// Gives back what the job did not need.
    room: Reservation,
}

/// A package that is being unpacked.
pub(super) struct Job {
    bench: Arc<Bench>,
    spec: JobSpec,
    dir: JobDir,
    unpacking: Unpacking,
    left: AtomicUsize,
    finish: Mutex<Option<Finish>>,
}

impl Job {
    /// Shares the extraction among as many tickets as there are slices.
    pub(super) fn share(
        bench: &Arc<Bench>,
        spec: &JobSpec,
        dir: JobDir,
        unpacking: Unpacking,
        package: Package,
        room: Reservation,
        slices: Vec<Slice>,
    ) -> Vec<Ticket> {
        let finish = Finish { package, failure: None, room };
        let job = Arc::new(Self {
            bench: Arc::clone(bench),
            spec: spec.clone(),
            dir,
            unpacking,
            left: AtomicUsize::new(slices.len()),
            finish: Mutex::new(Some(finish)),
        });
        slices
            .into_iter()
            .map(|slice| Ticket { job: Arc::clone(&job), slice, ran: false, steps: Arc::default() })
            .collect()
    }

    fn finish(&self) -> MutexGuard<'_, Option<Finish>> {
        self.finish.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first failure is the job's; the others follow from it.
    fn fail(&self, error: Box<dyn Failure>) {
        self.unpacking.stop();
        if let Some(finish) = self.finish().as_mut() {
            finish.failure.get_or_insert(error);
        }
    }

    /// Called once, when the last ticket is gone.
    fn end(&self, steps: &Steps) {
        let Some(Finish { mut package, failure, room }) = self.finish().take() else {
            return;
        };
        let Some(site) = self.bench.sites.get(&self.spec.source) else {
            return; // cannot be: the site made this job
        };
        if failure.is_some() && self.bench.ending.has_begun() {
            package.settle(); // thrown away by the stop: the next start unpacks it afresh
            return;
        }
        let done = match failure {
            Some(error) => Err(error),
            None => self.commit(site, &mut package, steps),
        };
        drop(room);
        match done {
            Ok(()) => {
                self.bench.tell(&self.spec, Fact::Unpacked);
                match self.bench.next.get(&self.spec.source) {
                    Some(next) => next.begin(package),
                    None => {
                        post(&self.bench.archiver, Unpacked { package });
                    }
                }
            }
            Err(error) => {
                // What cannot be cleared now is cleared before the next attempt, or goes to
                // quarantine with the package.
                site.clear_out(&self.dir).ok();
                post(&self.bench.rejected, Rejected { package, error });
            }
        }
    }

    /// Has stages find what was unpacked; without any it goes to the archive from where it is.
    fn commit(
        &self,
        site: &Site,
        package: &mut Package,
        steps: &Steps,
    ) -> Result<(), Box<dyn Failure>> {
        self.unpacking
            .finish_counted(steps)
            .map_err(|error| Box::new(error) as Box<dyn Failure>)?;
        // What it looks like now is what its contents were found to be.
        if let (Some(zip), Some(stamp)) = (self.unpacking.touched(), package.stamp())
            && let Ok(now) = zip.metadata().map(|found| ZipStamp::from(&found))
            && stamp.difference(&now).is_none()
        {
            package.set_stamp(now);
        }
        let next = self.bench.next.get(&self.spec.source);
        if next.is_none_or(|hop| hop.stage.is_none()) {
            package.set_untouched();
            return Ok(());
        }
        site.commit(&self.dir).map_err(|error| Box::new(error) as Box<dyn Failure>)
    }
}

/// The right and the duty to write one slice.
pub(super) struct Ticket {
    job: Arc<Job>,
    slice: Slice,
    ran: bool,
    /// Those of the thread that runs it, which may have to end the extraction.
    steps: Arc<Steps>,
}

impl SliceWork for Ticket {
    fn run(mut self: Box<Self>, progress: &Progress) {
        let JobSpec { id, source, name, .. } = &self.job.spec;
        let package = Some((source.clone(), name.clone()));
        progress.take_up(Task { job: *id, package });
        let mut scratch = self.job.bench.scratch.take();
        scratch.count_with(progress.steps());
        self.steps = Arc::clone(progress.steps());
        match self.job.unpacking.write(&self.slice, &mut scratch) {
            Ok(written) => {
                if let Some(finish) = self.job.finish().as_ref() {
                    // Folders that only follow from paths are given back at the end.
                    finish.room.written(Amount { bytes: written.bytes, inodes: written.entries });
                }
            }
            Err(ExtractError::Stopped) => {} // by the slice that failed, which has said why
            Err(error) => self.job.fail(Box::new(error)),
        }
        self.job.bench.scratch.give_back(scratch);
        self.ran = true;
    }

    fn bytes(&self) -> u64 {
        self.slice.bytes()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.ran {
            self.job.fail(Box::new(ExtractorError::Interrupted));
        }
        if self.job.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            // This may run while a panic unwinds, where a second one would end the process.
            let ended = catch_unwind(AssertUnwindSafe(|| self.job.end(&self.steps)));
            if ended.is_err() {
                slog::error!(self.job.bench.log, "ending an extraction panicked"; "job" => %self.job.spec.id);
            }
        }
    }
}

//! One package's extraction, shared by its slices.
//!
//! **Which slice ends the extraction:** every slice is a [`Ticket`], and a ticket counts when it is
//! dropped, whether it was run, was never dealt, or its thread panicked. The ticket that brings the count
//! to zero commits the job and sends it on, or clears what was unpacked and rejects the package. So no
//! other code has to know whether all slices are done, and no attempt can start while a ticket lives.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use thiserror::Error;

use super::bench::Bench;
use crate::actors::post::post;
use crate::error::{Disposition, Failure};
use crate::extract::{ExtractError, Slice, Unpacking};
use crate::messages::{Fact, JobSpec, Rejected, SliceWork, Unpacked};
use crate::package::{Package, ZipStamp};
use crate::progress::{Progress, Steps, Task};
use crate::workspace::{Amount, JobDir, Reservation, Site};

/// Why an extraction ended although nothing was wrong with the package. Completes "failed to …".
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

/// The values needed to end the extraction; the ticket that brings the count to zero takes them.
struct Finish {
    package: Package,
    failure: Option<Box<dyn Failure>>,
    /// Gives back the space that the job did not need.
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
    /// Shares the extraction among one ticket per slice.
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

    /// Records the job's failure. Only the first failure counts; later ones follow from it.
    fn fail(&self, error: Box<dyn Failure>) {
        self.unpacking.stop();
        if let Some(finish) = self.finish().as_mut() {
            finish.failure.get_or_insert(error);
        }
    }

    /// Ends the extraction. Called once, when the last ticket is dropped.
    fn end(&self, steps: &Steps) {
        let Some(Finish { mut package, failure, room }) = self.finish().take() else {
            return;
        };
        let Some(site) = self.bench.sites.get(&self.spec.source) else {
            return; // impossible: the site created this job
        };
        if failure.is_some() && self.bench.ending.has_begun() {
            package.settle(); // discarded by the stop: the next start unpacks it again
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
                // What cannot be cleared now is cleared before the next attempt, or goes to quarantine
                // with the package.
                site.clear_out(&self.dir).ok();
                post(&self.bench.rejected, Rejected { package, error });
            }
        }
    }

    /// Puts the unpacked files where stages find them. Without stages they are archived from their
    /// present place.
    fn commit(
        &self,
        site: &Site,
        package: &mut Package,
        steps: &Steps,
    ) -> Result<(), Box<dyn Failure>> {
        self.unpacking
            .finish_counted(steps)
            .map_err(|error| Box::new(error) as Box<dyn Failure>)?;
        // The ZIP's contents were found to match its current state.
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

/// The permission and the obligation to write one slice.
pub(super) struct Ticket {
    job: Arc<Job>,
    slice: Slice,
    ran: bool,
    /// The step counter of the thread that runs this ticket, which may have to end the extraction.
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
                    // The space of folders that only follow from paths is given back at the end.
                    finish.room.written(Amount { bytes: written.bytes, inodes: written.entries });
                }
            }
            Err(ExtractError::Stopped) => {} // by the slice that failed, which has recorded the reason
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
            // This may run during the unwind of a panic, where a second panic would end the process.
            let ended = catch_unwind(AssertUnwindSafe(|| self.job.end(&self.steps)));
            if ended.is_err() {
                slog::error!(self.job.bench.log, "ending an extraction panicked"; "job" => %self.job.spec.id);
            }
        }
    }
}

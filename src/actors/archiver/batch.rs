//! Settles the jobs of one batch. Blocks; knows no actor.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use slog::{Logger, error, warn};

use super::books::Books;
use super::case::Case;
use crate::config::Source;
use crate::error::{Chain, Disposition, Failure};
use crate::id::{JobId, SourceName};
use crate::ledger::{Record, Step};
use crate::messages::{JobSettled, JobSpec, Outcome};
use crate::package::{Package, ZipContents, ZipStamp};
use crate::publish::{Copying, PublishError, Settled, finish, settle as publish};
use crate::workspace::{
    Decision, JobDir, Reason, Recovered, Settling, Shelved, Site, WorkspaceError,
};

/// How long a job waits for something that is not its fault (no space, the archive is gone).
const WAIT: Duration = Duration::from_secs(5);

/// The last holder's verdict on a package.
#[derive(Debug)]
pub enum Verdict {
    /// The package has passed all stages.
    Passed,
    /// The package cannot continue.
    Failed(Box<dyn Failure>),
}

/// A job that is to be settled.
#[derive(Debug)]
pub enum Pending {
    /// A job of this run.
    Held(Package, Verdict),
    /// A job of this run that a stage still holds beyond its deadline.
    Overdue(JobSpec, Box<dyn Failure>),
    /// A job of an earlier run.
    Recovered(Recovered),
    /// A job that is settled except for something slow: its copy to another file system, or a check of its
    /// ZIP.
    ToCopy(Case, Settling, SourceName),
}

impl Pending {
    /// Leaves the job as it is, for the next start.
    pub(super) fn leave(self) {
        if let Self::Held(package, _) = self {
            package.settle();
        }
    }

    fn source(&self) -> &SourceName {
        match self {
            Self::Held(package, _) => package.source(),
            Self::Overdue(spec, _) => &spec.source,
            Self::Recovered(job) => &job.spec.source,
            Self::ToCopy(_, _, source) => source,
        }
    }
}

/// The results of a batch.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// One answer for each settled job.
    pub(super) settled: Vec<JobSettled>,
    /// The other jobs, each with the target that it is to be copied to, or with the work area if its ZIP
    /// has to be read again.
    pub(super) to_copy: Vec<(PathBuf, Pending)>,
}

/// Settles the batch, source by source; jobs that take long are settled only if `slowly` is given.
pub(super) fn settle(
    sites: &HashMap<SourceName, Arc<Site>>,
    batch: Vec<Pending>,
    slowly: Option<Slowly<'_>>,
    books: &Books,
    log: &Logger,
) -> Done {
    let mut by_source: HashMap<SourceName, Vec<Pending>> = HashMap::new();
    for pending in batch {
        by_source.entry(pending.source().clone()).or_default().push(pending);
    }
    // Sources with records that earlier batches left open. Copy threads must not wait for their commit.
    for source in slowly.map_or_else(|| books.sources_behind(), |_| Vec::new()) {
        by_source.entry(source).or_default();
    }
    let mut done = Done::default();
    for (source, batch) in by_source {
        match sites.get(&source) {
            Some(site) => {
                let page = RefCell::default();
                Batch { site, slowly, books, page, log }.settle(batch, &mut done);
            }
            None => {
                error!(log, "packages of an unknown source stay in the work area"; "source" => %source)
            }
        }
    }
    done
}

/// Whether a touched ZIP still has the contents that it was planned with. Reads the whole ZIP.
pub type ZipCheck = Arc<dyn Fn(&SourceName, &File, &ZipContents) -> io::Result<bool> + Send + Sync>;

/// What slow settlements need, on a thread that nothing else waits for.
#[derive(Clone, Copy)]
pub(super) struct Slowly<'a> {
    pub(super) copying: &'a Copying,
    pub(super) check: &'a ZipCheck,
}

struct Batch<'a> {
    site: &'a Site,
    slowly: Option<Slowly<'a>>,
    books: &'a Books,
    page: RefCell<Page>,
    log: &'a Logger,
}

/// The records to commit to the ledger at the end of a batch.
#[derive(Default)]
struct Page {
    records: Vec<Record>,
    /// Folders of archived or vanished jobs, to be removed once the records are committed.
    archived: Vec<JobDir>,
}

impl Batch<'_> {
    fn settle(&self, batch: Vec<Pending>, done: &mut Done) {
        let mut cases = Vec::new();
        let mut settlings = Vec::new();
        for pending in batch {
            match self.decide(pending) {
                Ok((case, mut settling)) => match self.confirm(&case, &mut settling) {
                    Ok(()) => {
                        cases.push(case);
                        settlings.push(settling);
                    }
                    Err(error) => self.conclude(case, settling, Err(error), done),
                },
                Err(again) => done.settled.push(again),
            }
        }
        let decided = cases.iter().zip(&settlings);
        let decided = decided.filter_map(|(case, s)| case.decided(self.site, &s.decision));
        self.books.commit(decided.collect());
        let results = publish(self.site, &settlings, self.copying());
        for ((case, settling), result) in cases.into_iter().zip(settlings).zip(results) {
            self.conclude(case, settling, result, done);
        }
        self.close(done);
    }

    fn copying(&self) -> Option<&Copying> {
        self.slowly.map(|slowly| slowly.copying)
    }

    /// Checks a ZIP that was touched since it was unpacked. If its contents are the same, its current stamp
    /// becomes the expected one.
    fn confirm(&self, case: &Case, settling: &mut Settling) -> Result<(), PublishError> {
        let (Some(slowly), Decision::Archive { stamp: Some(stamp), .. }, Some(contents)) =
            (self.slowly, &mut settling.decision, &case.zip)
        else {
            return Ok(());
        };
        let (job, before) = (&settling.job, *stamp);
        let (zip, now) = job.open_delivery().and_then(|delivery| delivery.open_zip())?;
        if now == before || before.difference(&now).is_some() {
            return Ok(()); // a difference is found, and named, where the job is settled
        }
        match (slowly.check)(&self.site.source().name, &zip, contents) {
            Ok(true) => {
                // A change during the check is judged by the parts of the stamp that only new contents
                // change.
                let now = zip.metadata().map_or(now, |found| ZipStamp::from(&found));
                if before.difference(&now).is_none() {
                    *stamp = now;
                }
                Ok(())
            }
            Ok(false) => {
                Err(WorkspaceError::ZipChanged { path: job.zip(), what: "its contents" }.into())
            }
            Err(source) => {
                Err(WorkspaceError::Io { action: "read", path: job.zip(), source }.into())
            }
        }
    }

    /// Commits the outcome of the batch to the ledger, then removes the folders of archived jobs.
    fn close(&self, done: &mut Done) {
        let Page { records, archived } = self.page.take();
        for job in self.books.settle(&self.site.source().name, records, archived) {
            if self.finish(&job) {
                done.to_copy.push(self.late(job));
            }
        }
        let late = self.page.take().records;
        if !late.is_empty() {
            self.books.commit(late);
        }
    }

    fn note(&self, case: &Case, outcome: &Outcome) {
        self.page.borrow_mut().records.push(case.settled(self.site, outcome));
    }

    fn note_late(&self, job: &JobDir, late: &Path) {
        let (key, value) = ("late_arrivals".to_owned(), late.display().to_string());
        let (source, name) = (self.site.source().name.clone(), job.name().clone());
        let step = Step::Noted { key, value };
        let note = Record::now(source, name, job.id(), job.attempt(), step);
        self.page.borrow_mut().records.push(note);
    }

    /// Decides how to settle a job; `Err` holds the settlement if the job gets another attempt.
    fn decide(&self, pending: Pending) -> Result<(Case, Settling), JobSettled> {
        let (package, verdict) = match pending {
            Pending::Recovered(Recovered { spec, settling }) => {
                return Ok((Case::bare(spec.id, spec.attempt, spec.name), settling));
            }
            Pending::Overdue(spec, error) => {
                let mut case = Case::bare(spec.id, spec.attempt, spec.name.clone());
                case.reason = Some((error.code().to_owned(), Chain(error.as_ref()).to_string()));
                let (id, attempt, crashes) = (spec.id, spec.attempt, spec.crashes);
                let job = JobDir::new(&self.site.part(), id, attempt, crashes, spec.name);
                let decision = self.judge(&case, &job, error.as_ref())?;
                return Ok((case, Settling { job, decision }));
            }
            Pending::ToCopy(case, settling, _) => return Ok((case, settling)),
            Pending::Held(package, verdict) => (package, verdict),
        };
        let mut case = Case {
            job: package.job(),
            attempt: package.attempt(),
            name: package.name().clone(),
            zip: package.zip_contents().cloned(),
            notes: package.notes().to_vec(),
            reason: None,
        };
        let (stamp, untouched) = (package.stamp(), package.is_untouched());
        let facts = package.settle();
        let Some(job) = JobDir::of(self.site, &facts) else {
            return Err(self.again(
                &case,
                None,
                &WorkspaceError::JobGone { id: facts.job, path: facts.home.clone() },
            ));
        };
        let decision = match verdict {
            Verdict::Passed => Decision::Archive { stamp, untouched },
            Verdict::Failed(error) => {
                case.reason = Some((error.code().to_owned(), Chain(error.as_ref()).to_string()));
                self.judge(&case, &job, error.as_ref())?
            }
        };
        Ok((case, Settling { job, decision }))
    }

    /// Returns what an error means for a job: a decision, or `Err` with another attempt.
    fn judge(
        &self,
        case: &Case,
        job: &JobDir,
        error: &dyn Failure,
    ) -> Result<Decision, JobSettled> {
        let source = self.site.source();
        match error.disposition() {
            Disposition::Discard => Ok(Decision::Discard),
            Disposition::Wait | Disposition::WaitAlone => Err(self.again(case, Some(job), error)),
            Disposition::Retry if case.attempt < source.max_attempts => {
                Err(self.again(case, Some(job), error))
            }
            Disposition::Retry | Disposition::Quarantine => Ok(Decision::Quarantine(Box::new(
                Reason::new(&source.name, job, error, &case.notes),
            ))),
        }
    }

    fn conclude(
        &self,
        mut case: Case,
        settling: Settling,
        result: Result<Settled, PublishError>,
        done: &mut Done,
    ) {
        let error = match result {
            Ok(settled) => return self.tell(case, settling, settled, done),
            // Nothing was done yet: the ZIP has to be read completely first.
            Err(PublishError::Workspace(WorkspaceError::ZipTouched { .. }))
                if case.zip.is_some() =>
            {
                let (work, source) = (self.site.work(), self.site.source().name.clone());
                done.to_copy.push((work.to_path_buf(), Pending::ToCopy(case, settling, source)));
                return;
            }
            Err(error) => error,
        };
        let quarantined = matches!(settling.decision, Decision::Quarantine(_));
        let again = match self.judge(&case, &settling.job, &error) {
            Err(again) => again,
            // A quarantine that fails is tried again for as long as it takes: the package is safe where it
            // is, and there is nowhere else to put it.
            Ok(_) if quarantined => self.again(&case, Some(&settling.job), &Stuck(error)),
            Ok(decision) => {
                let settling = Settling { job: settling.job, decision };
                let job = settling.job.clone();
                case.reason = Some((error.code().to_owned(), Chain(&error).to_string()));
                let decided = case.decided(self.site, &settling.decision);
                self.books.commit(decided.into_iter().collect());
                match publish(self.site, std::slice::from_ref(&settling), self.copying()).pop() {
                    Some(Ok(settled)) => return self.tell(case, settling, settled, done),
                    Some(Err(error)) => self.again(&case, Some(&job), &Stuck(error)),
                    None => self.again(&case, Some(&job), &Stuck(error)),
                }
            }
        };
        done.settled.push(again);
    }

    /// Records the outcome of a job, or that the job is to be copied.
    fn tell(&self, case: Case, settling: Settling, settled: Settled, done: &mut Done) {
        let outcome = match settled {
            Settled::Archived { path, job } => {
                self.page.borrow_mut().archived.push(job);
                Outcome::Archived { path }
            }
            Settled::Quarantined { path, reason } if reason.archived.is_some() => {
                // Late files: their package is settled, and archived.
                self.note_late(&settling.job, &path);
                let (code, why) = (reason.code, reason.message);
                let outcome = Outcome::Quarantined { code, why, path };
                done.settled.push(JobSettled { job: case.job, attempt: case.attempt, outcome });
                return;
            }
            Settled::Quarantined { path, reason } => {
                Outcome::Quarantined { code: reason.code, why: reason.message, path }
            }
            Settled::Vanished { path, job } => {
                error!(self.log, "package vanished: its folder in the work area is empty, and the archive \
                     does not have it; it was taken out of the archive since, or its sender removed the ZIP";
                    "archive" => ?path, "job" => %job.id(), "name" => ?job.name());
                self.page.borrow_mut().archived.push(job);
                Outcome::Vanished
            }
            Settled::Discarded { left } => {
                if let Some(left) = left {
                    warn!(self.log, "a discarded package could not be deleted whole"; "left" => ?left);
                }
                Outcome::Discarded
            }
            Settled::ToCopy { target } => {
                let source = self.site.source().name.clone();
                let Settling { job, decision } = settling;
                // The output of a passed package has left its place: its folder tells how to continue.
                let decision = match decision {
                    Decision::Archive { .. } => Decision::Resume,
                    other => other,
                };
                let settling = Settling { job, decision };
                done.to_copy.push((target, Pending::ToCopy(case, settling, source)));
                return;
            }
        };
        self.note(&case, &outcome);
        done.settled.push(JobSettled { job: case.job, attempt: case.attempt, outcome });
    }

    /// Creates the settlement of late files, which go to quarantine on their own. Their package is settled,
    /// and later reports about the job have no effect.
    fn late(&self, job: JobDir) -> (PathBuf, Pending) {
        let case = Case::bare(job.id(), job.attempt(), job.name().clone());
        let source = self.site.source();
        let settling = Settling { job, decision: Decision::Resume };
        (source.quarantine.clone(), Pending::ToCopy(case, settling, source.name.clone()))
    }

    /// Removes the folder of a job that is archived according to the ledger. Returns whether something in
    /// the folder is still to be copied.
    fn finish(&self, job: &JobDir) -> bool {
        match finish(self.site, job) {
            Ok(finished) => {
                if let Some(late) = finished.late {
                    warn!(self.log, "files came after their package was archived"; "quarantine" => ?late, "name" => ?job.name());
                    self.note_late(job, &late);
                }
                if let Some(left) = finished.left {
                    warn!(self.log, "something unknown lies in the work area and stays"; "path" => ?left);
                }
                finished.to_copy
            }
            Err(error) => {
                let why = Chain(&error).to_string();
                warn!(self.log, "an archived job's folder stays until the next start"; "why" => why, "path" => ?job.path());
                false
            }
        }
    }

    /// Sets the job aside for another attempt.
    fn again(&self, case: &Case, job: Option<&JobDir>, error: &dyn Failure) -> JobSettled {
        let (counts, pause) = match error.disposition() {
            Disposition::Wait => (false, WAIT),
            Disposition::WaitAlone => {
                (false, pause_alone(self.site.source(), case.job, SystemTime::now()))
            }
            _ => (true, back_off(self.site.source(), case)),
        };
        let attempt = case.attempt + u32::from(counts);
        let mut outcome = Outcome::Retry {
            at: Instant::now() + pause,
            attempt,
            code: error.code().to_owned(),
            why: Chain(error).to_string(),
            pause_source: error.disposition() == Disposition::Wait,
        };
        match job.map(|job| self.site.shelve(job, attempt)) {
            Some(Ok(Shelved::Extract(_) | Shelved::Settle(_))) => {}
            Some(Err(WorkspaceError::JobGone { .. })) | None if self.site.is_there() => {
                outcome = Outcome::Vanished;
            }
            // The folder is cleared before the next attempt starts, whatever prevents it now.
            Some(Err(error)) => {
                let why = Chain(&error).to_string();
                if self.books.is_news(case.job, &why) {
                    warn!(self.log, "a job's folder could not be cleared yet";
                        "why" => why, "job" => %case.job, "name" => ?case.name);
                }
            }
            None => {}
        }
        self.note(case, &outcome);
        JobSettled { job: case.job, attempt: case.attempt, outcome }
    }
}

/// An error during settling that is waited out, whatever its own disposition is.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct Stuck(PublishError);

impl Failure for Stuck {
    fn code(&self) -> &'static str {
        self.0.code()
    }

    /// Only a full disk and an unreachable target make other jobs wait.
    fn disposition(&self) -> Disposition {
        match self.0.disposition() {
            Disposition::Wait => Disposition::Wait,
            _ => Disposition::WaitAlone,
        }
    }
}

/// Returns the pause of a job that waits alone: a quarter of the job's age, from [`WAIT`] to
/// `backoff_max`. A short problem is noticed soon, and a long one costs little.
pub(super) fn pause_alone(source: &Source, job: JobId, now: SystemTime) -> Duration {
    let age = now.duration_since(job.created()).unwrap_or_default();
    (age / 4).max(WAIT).min(source.backoff_max)
}

/// Returns the pause before the next attempt: doubled each time, and up to a quarter longer, so that jobs
/// that failed together do not return together. The job's own id is random enough for that.
fn back_off(source: &Source, case: &Case) -> Duration {
    let doubled = source.backoff.saturating_mul(1 << (case.attempt - 1).min(20));
    let pause = doubled.min(source.backoff_max);
    let mut hasher = DefaultHasher::new();
    (case.job, case.attempt).hash(&mut hasher);
    let share = u32::try_from(hasher.finish() % 1000).unwrap_or(0);
    pause + pause / 4 * share / 1000
}

//! What becomes of the jobs of one batch. Blocks; knows no actor.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use slog::{Logger, error, warn};

use crate::config::Source;
use crate::error::{Chain, Disposition, Failure};
use crate::id::{JobId, SourceName};
use crate::messages::{JobSettled, JobSpec, Outcome};
use crate::package::Package;
use crate::publish::{PublishError, Settled, finish, settle as publish};
use crate::workspace::{
    Decision, JobDir, Reason, Recovered, Settling, Shelved, Site, WorkspaceError,
};

/// How long a job waits for what is not its fault (no space, the archive is gone).
const WAIT: Duration = Duration::from_secs(5);

/// What whoever had the package last says of it.
#[derive(Debug)]
pub enum Verdict {
    /// It has passed all stages.
    Passed,
    /// It cannot go on.
    Failed(Box<dyn Failure>),
}

/// A job that is to be settled.
#[derive(Debug)]
pub enum Pending {
    /// Of this run.
    Held(Package, Verdict),
    /// Of this run, and still in the hands of a stage that had its time.
    Overdue(JobSpec, Box<dyn Failure>),
    /// Of an earlier one.
    Recovered(Recovered),
}

impl Pending {
    /// Leaves it as it is, for the next start.
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
        }
    }
}

/// What is known of a job beside its folder.
struct Case {
    job: JobId,
    attempt: u32,
    notes: Vec<(String, String)>,
}

/// Settles all of them, source by source; one answer for each.
pub(super) fn settle(
    sites: &HashMap<SourceName, Arc<Site>>,
    batch: Vec<Pending>,
    log: &Logger,
) -> Vec<JobSettled> {
    let mut by_source: HashMap<SourceName, Vec<Pending>> = HashMap::new();
    for pending in batch {
        by_source.entry(pending.source().clone()).or_default().push(pending);
    }
    let mut settled = Vec::new();
    for (source, batch) in by_source {
        match sites.get(&source) {
            Some(site) => Batch { site, log }.settle(batch, &mut settled),
            None => {
                error!(log, "packages of an unknown source stay in the work area"; "source" => %source)
            }
        }
    }
    settled
}

struct Batch<'a> {
    site: &'a Site,
    log: &'a Logger,
}

impl Batch<'_> {
    fn settle(&self, batch: Vec<Pending>, settled: &mut Vec<JobSettled>) {
        let mut cases = Vec::new();
        let mut settlings = Vec::new();
        for pending in batch {
            match self.decide(pending) {
                Ok((case, settling)) => {
                    cases.push(case);
                    settlings.push(settling);
                }
                Err(done) => settled.push(done),
            }
        }
        let results = publish(self.site, &settlings);
        for ((case, settling), result) in cases.into_iter().zip(settlings).zip(results) {
            settled.push(self.conclude(case, settling, result));
        }
    }

    /// What is to become of a job; an answer at once where that is another attempt.
    fn decide(&self, pending: Pending) -> Result<(Case, Settling), JobSettled> {
        let (package, verdict) = match pending {
            Pending::Recovered(Recovered { spec, settling }) => {
                let case = Case { job: spec.id, attempt: spec.attempt, notes: Vec::new() };
                return Ok((case, settling));
            }
            Pending::Overdue(spec, error) => {
                let case = Case { job: spec.id, attempt: spec.attempt, notes: Vec::new() };
                let (id, attempt, crashes) = (spec.id, spec.attempt, spec.crashes);
                let job = JobDir::new(self.site.root(), id, attempt, crashes, spec.name);
                let decision = self.judge(&case, &job, error.as_ref())?;
                return Ok((case, Settling { job, decision }));
            }
            Pending::Held(package, verdict) => (package, verdict),
        };
        let case = Case {
            job: package.job(),
            attempt: package.attempt(),
            notes: package.notes().to_vec(),
        };
        let stamp = package.stamp();
        let facts = package.settle();
        let Some(job) = JobDir::of(&facts) else {
            return Err(self.again(
                &case,
                None,
                &WorkspaceError::JobGone { id: facts.job, path: facts.home.clone() },
            ));
        };
        let decision = match verdict {
            Verdict::Passed => Decision::Archive { stamp },
            Verdict::Failed(error) => self.judge(&case, &job, error.as_ref())?,
        };
        Ok((case, Settling { job, decision }))
    }

    /// What an error means for a job: a decision, or another attempt.
    fn judge(
        &self,
        case: &Case,
        job: &JobDir,
        error: &dyn Failure,
    ) -> Result<Decision, JobSettled> {
        let source = self.site.source();
        match error.disposition() {
            Disposition::Discard => Ok(Decision::Discard),
            Disposition::Wait => Err(self.again(case, Some(job), error)),
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
        case: Case,
        settling: Settling,
        result: Result<Settled, PublishError>,
    ) -> JobSettled {
        let error = match result {
            Ok(settled) => {
                let outcome = self.outcome(settled);
                return JobSettled { job: case.job, attempt: case.attempt, outcome };
            }
            Err(error) => error,
        };
        let quarantined = matches!(settling.decision, Decision::Quarantine(_));
        match self.judge(&case, &settling.job, &error) {
            Err(again) => again,
            // A quarantine that fails is tried again for as long as it takes: the package is safe
            // where it is, and there is nowhere else to put it.
            Ok(_) if quarantined => self.again(&case, Some(&settling.job), &Stuck(error)),
            Ok(decision) => {
                let settling = Settling { job: settling.job, decision };
                let job = settling.job.clone();
                match publish(self.site, std::slice::from_ref(&settling)).pop() {
                    Some(Ok(settled)) => {
                        let outcome = self.outcome(settled);
                        JobSettled { job: case.job, attempt: case.attempt, outcome }
                    }
                    Some(Err(error)) => self.again(&case, Some(&job), &Stuck(error)),
                    None => self.again(&case, Some(&job), &Stuck(error)),
                }
            }
        }
    }

    fn outcome(&self, settled: Settled) -> Outcome {
        match settled {
            Settled::Archived { path, job } => {
                self.finish(&job);
                Outcome::Archived { path }
            }
            Settled::Quarantined { path, reason } => {
                Outcome::Quarantined { code: reason.code, why: reason.message, path }
            }
            Settled::Discarded { left } => {
                if let Some(left) = left {
                    warn!(self.log, "a discarded package could not be deleted whole"; "left" => ?left);
                }
                Outcome::Discarded
            }
        }
    }

    /// Clears away an archived job's folder.
    fn finish(&self, job: &JobDir) {
        match finish(self.site, job) {
            Ok(finished) => {
                if let Some(late) = finished.late {
                    warn!(self.log, "files came after their package was archived"; "quarantine" => ?late, "name" => ?job.name());
                }
                if let Some(left) = finished.left {
                    warn!(self.log, "something unknown lies in the work area and stays"; "path" => ?left);
                }
            }
            Err(error) => {
                let why = Chain(&error).to_string();
                warn!(self.log, "an archived job's folder stays until the next start"; "why" => why, "path" => ?job.path());
            }
        }
    }

    /// Puts the job aside for another attempt.
    fn again(&self, case: &Case, job: Option<&JobDir>, error: &dyn Failure) -> JobSettled {
        let waits = error.disposition() == Disposition::Wait;
        let attempt = case.attempt + u32::from(!waits);
        let pause = if waits { WAIT } else { back_off(self.site.source(), case) };
        let mut outcome = Outcome::Retry {
            at: Instant::now() + pause,
            attempt,
            code: error.code().to_owned(),
            why: Chain(error).to_string(),
            pause_source: waits,
        };
        match job.map(|job| self.site.shelve(job, attempt)) {
            Some(Ok(Shelved::Extract(_) | Shelved::Settle(_))) => {}
            Some(Err(WorkspaceError::JobGone { .. })) | None if self.site.is_there() => {
                outcome = Outcome::Vanished;
            }
            // It is cleared before its next attempt begins, whatever is in the way now.
            Some(Err(error)) => {
                let why = Chain(&error).to_string();
                warn!(self.log, "a job's folder could not be cleared yet"; "why" => why);
            }
            None => {}
        }
        JobSettled { job: case.job, attempt: case.attempt, outcome }
    }
}

/// An error of settling that is waited out, whatever it says of itself.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct Stuck(PublishError);

impl Failure for Stuck {
    fn code(&self) -> &'static str {
        self.0.code()
    }

    fn disposition(&self) -> Disposition {
        Disposition::Wait
    }
}

/// The pause before the next attempt: doubled each time, and up to a quarter longer, so that jobs
/// that failed together do not come back together. The job's own id is random enough for that.
fn back_off(source: &Source, case: &Case) -> Duration {
    let doubled = source.backoff.saturating_mul(1 << (case.attempt - 1).min(20));
    let pause = doubled.min(source.backoff_max);
    let mut hasher = DefaultHasher::new();
    (case.job, case.attempt).hash(&mut hasher);
    let share = u32::try_from(hasher.finish() % 1000).unwrap_or(0);
    pause + pause / 4 * share / 1000
}

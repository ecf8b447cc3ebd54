//! Records for the ledger per batch, and the archived jobs whose folders wait for the commit.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::batch::Case;
use crate::id::{JobId, NAME_MAX, SourceName};
use crate::ledger::{Ending, LedgerHandle, Record, Settlement, Step};
use crate::messages::Outcome;
use crate::workspace::{Decision, JobDir, Site};

/// How long settlements may gather before they are committed, while more and more of them come. A
/// transaction costs as much as a handful of packages, and a batch may consist of one.
const GATHER: Duration = Duration::from_millis(25);

/// The number of settlements that are committed at once, whenever the last commit was.
const FULL: usize = 256;

/// The number of jobs for which the last logged text is remembered.
const TOLD: usize = 10_000;

/// The Archiver's side of the ledger; shared by all its threads.
///
/// **Invariant:** an archived job's folder is removed only after the ledger has committed that the job is
/// archived. Until then, or if the ledger cannot be written, the folder tells that to the next start.
pub struct Books {
    ledger: Option<LedgerHandle>,
    open: Mutex<Open>,
    /// Held from taking the open records until they are committed: a thread that finds nothing open knows
    /// that everything is committed.
    turn: Mutex<()>,
    failing: AtomicBool,
    closing: AtomicBool,
    /// The last logged text per waiting job.
    told: Mutex<HashMap<JobId, String>>,
}

/// The records that are not in the ledger yet.
struct Open {
    records: Vec<Record>,
    /// Archived jobs whose folders still exist.
    jobs: HashMap<SourceName, Vec<JobDir>>,
    committed: Instant,
}

impl Books {
    /// Creates the Archiver's side of this ledger; `None` for a pipeline without a ledger.
    #[must_use]
    pub fn new(ledger: Option<LedgerHandle>) -> Self {
        let open = Open { records: Vec::new(), jobs: HashMap::new(), committed: Instant::now() };
        let (failing, closing) = (AtomicBool::new(false), AtomicBool::new(false));
        let (turn, told) = (Mutex::new(()), Mutex::default());
        Self { ledger, open: Mutex::new(open), turn, failing, closing, told }
    }

    /// Returns whether `why` is new for this job, and records it as logged.
    pub(super) fn is_news(&self, job: JobId, why: &str) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        // Ended jobs are not removed: this many jobs never wait at the same time.
        if told.len() >= TOLD {
            told.clear();
        }
        told.insert(job, why.to_owned()).as_deref() != Some(why)
    }

    /// Commits facts at once; facts that cannot be committed are kept and committed later.
    pub(super) fn commit(&self, records: Vec<Record>) -> bool {
        let done = self.ledger.as_ref().is_none_or(|ledger| ledger.commit(records));
        self.failing.store(!done, Ordering::Relaxed);
        done
    }

    /// Adds the outcome of a batch, and commits all open records when it is time. Returns the archived jobs
    /// of `source` whose folders can be removed now.
    pub(super) fn settle(
        &self,
        source: &SourceName,
        mut records: Vec<Record>,
        archived: Vec<JobDir>,
    ) -> Vec<JobDir> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let (records, jobs) = {
            let mut open = self.open();
            open.records.append(&mut records);
            if !archived.is_empty() {
                open.jobs.entry(source.clone()).or_default().extend(archived);
            }
            let due = open.records.len() >= FULL
                || open.committed.elapsed() >= GATHER
                || self.closing.load(Ordering::Relaxed)
                || self.ledger.is_none();
            if !due && !open.records.is_empty() {
                return Vec::new();
            }
            open.committed = Instant::now();
            (std::mem::take(&mut open.records), open.jobs.remove(source).unwrap_or_default())
        };
        if self.commit(records) {
            return jobs;
        }
        if !jobs.is_empty() {
            self.open().jobs.entry(source.clone()).or_default().extend(jobs);
        }
        Vec::new()
    }

    /// Makes every later batch commit at once: no more will come, or nothing will return to commit them
    /// later.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    /// Returns the sources with something open.
    pub(super) fn sources_behind(&self) -> Vec<SourceName> {
        let open = self.open();
        let mut sources: Vec<SourceName> = open.jobs.keys().cloned().collect();
        sources.extend(open.records.first().map(|record| record.source.clone()));
        sources
    }

    /// Whether anything is open.
    pub(super) fn is_behind(&self) -> bool {
        let open = self.open();
        !open.jobs.is_empty() || !open.records.is_empty()
    }

    /// Whether the last write to the ledger failed.
    pub(super) fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    /// Returns the pause before the next attempt to commit what is open.
    pub(super) fn pause(&self) -> Duration {
        match &self.ledger {
            Some(ledger) if self.is_failing() => ledger.pause() + GATHER,
            _ => GATHER,
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Case {
    fn record(&self, site: &Site, step: Step) -> Record {
        let (source, name) = (site.source().name.clone(), self.name.clone());
        Record::now(source, name, self.job, self.attempt, step)
    }

    fn settlement(&self, site: &Site, ending: Ending) -> Record {
        let (zip, notes) = (self.zip.clone(), self.notes.clone());
        self.record(
            site,
            Step::Settled(Settlement { ending, zip: zip.map(|zip| zip.facts), notes }),
        )
    }

    /// Returns the record of a decision that leaves nothing in the work area. It is committed before the
    /// decision is carried out, since nothing could tell the ledger afterwards.
    pub(super) fn decided(&self, site: &Site, decision: &Decision) -> Option<Record> {
        let ending = match decision {
            Decision::Quarantine(reason) => Ending::Quarantined {
                path: site.source().quarantine.join(self.name.with_job(self.job, NAME_MAX)),
                code: reason.code.clone(),
                why: reason.message.clone(),
            },
            Decision::Discard => Ending::Discarded { reason: self.reason.clone() },
            _ => return None,
        };
        Some(self.settlement(site, ending))
    }

    /// Returns the record of the outcome of a job, or of its attempt.
    pub(super) fn settled(&self, site: &Site, outcome: &Outcome) -> Record {
        let ending = match outcome {
            Outcome::Archived { path } => Ending::Archived { path: path.clone() },
            Outcome::Quarantined { code, why, path } => {
                Ending::Quarantined { path: path.clone(), code: code.clone(), why: why.clone() }
            }
            Outcome::Discarded => Ending::Discarded { reason: self.reason.clone() },
            Outcome::Vanished => Ending::Vanished,
            Outcome::Retry { attempt, code, why, .. } => {
                let waits = *attempt == self.attempt;
                Ending::Retry { waits, code: code.clone(), why: why.clone() }
            }
        };
        self.settlement(site, ending)
    }
}

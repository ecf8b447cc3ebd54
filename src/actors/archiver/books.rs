//! What the ledger is told of each batch, and the archived jobs whose folders wait until it knows.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::batch::Case;
use crate::id::{JobId, NAME_MAX, SourceName};
use crate::ledger::{Ending, LedgerHandle, Record, Settlement, Step};
use crate::messages::Outcome;
use crate::workspace::{Decision, JobDir, Site};

/// How long settlements may gather before they are committed, while there are more and more of them.
/// A transaction costs as much as a handful of packages; a batch may be of one.
const GATHER: Duration = Duration::from_millis(25);

/// Settlements that are committed at once, whenever the last ones were.
const FULL: usize = 256;

/// Jobs of which it is remembered what the log was told.
const TOLD: usize = 10_000;

/// The Archiver's side of the ledger; shared by all its threads.
///
/// **Invariant:** an archived job's folder is removed only after the ledger has committed that it is
/// archived. Until then, and if the ledger cannot be written, the folder says so to the next start.
pub struct Books {
    ledger: Option<LedgerHandle>,
    open: Mutex<Open>,
    /// Held from taking what is open until it is committed: who finds nothing open knows it committed.
    turn: Mutex<()>,
    failing: AtomicBool,
    closing: AtomicBool,
    /// What the log was told of jobs that wait.
    told: Mutex<HashMap<JobId, String>>,
}

/// What the ledger is still to be told.
struct Open {
    records: Vec<Record>,
    /// Archived jobs whose folders are still there.
    jobs: HashMap<SourceName, Vec<JobDir>>,
    committed: Instant,
}

impl Books {
    /// Books that end in this ledger; in none, for a pipeline without one.
    #[must_use]
    pub fn new(ledger: Option<LedgerHandle>) -> Self {
        let open = Open { records: Vec::new(), jobs: HashMap::new(), committed: Instant::now() };
        let (failing, closing) = (AtomicBool::new(false), AtomicBool::new(false));
        let (turn, told) = (Mutex::new(()), Mutex::default());
        Self { ledger, open: Mutex::new(open), turn, failing, closing, told }
    }

    /// Whether the log was not told this of a job yet; from now on it was.
    pub(super) fn is_news(&self, job: JobId, why: &str) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that have ended are not taken out; this many never wait at the same time.
        if told.len() >= TOLD {
            told.clear();
        }
        told.insert(job, why.to_owned()).as_deref() != Some(why)
    }

    /// Commits facts at once; what cannot be committed is kept and told later.
    pub(super) fn commit(&self, records: Vec<Record>) -> bool {
        let done = self.ledger.as_ref().is_none_or(|ledger| ledger.commit(records));
        self.failing.store(!done, Ordering::Relaxed);
        done
    }

    /// Enters what became of a batch, and commits all that is open when it is time for that. The
    /// answer are the archived jobs of that source whose folders may go now.
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

    /// From now on nothing gathers: there will be no more, or nobody to come back for it.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    /// Sources with something open.
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

    /// Whether the ledger could not be written the last time.
    pub(super) fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    /// After what time to come back for what is open.
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

    /// What is decided of a job and leaves nothing in the work area: the ledger is told before it is
    /// done, since nothing could tell it afterwards.
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

    /// What became of a job, or of its attempt.
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

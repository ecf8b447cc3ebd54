//! Records for the ledger per batch, and the archived jobs whose folders wait for the commit.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::id::{JobId, SourceName};
use crate::ledger::{LedgerHandle, Record};
use crate::workspace::JobDir;

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

//! What the ledger is told of each batch, and the archived jobs whose folders wait until it knows.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::batch::Case;
use crate::id::SourceName;
use crate::ledger::{Ending, LedgerHandle, Record, Settlement, Step};
use crate::messages::Outcome;
use crate::workspace::{Decision, JobDir, Site};

/// The Archiver's side of the ledger; shared by all its threads.
///
/// **Invariant:** an archived job's folder is removed only after the ledger has committed that it is
/// archived. If the ledger cannot be written, the folder says so to the next start.
pub struct Books {
    ledger: Option<LedgerHandle>,
    waiting: Mutex<HashMap<SourceName, Vec<JobDir>>>,
}

impl Books {
    /// Books that end in this ledger; in none, for a pipeline without one.
    #[must_use]
    pub fn new(ledger: Option<LedgerHandle>) -> Self {
        Self { ledger, waiting: Mutex::default() }
    }

    /// Commits facts; what cannot be committed is kept and told later.
    pub(super) fn commit(&self, records: Vec<Record>) -> bool {
        self.ledger.as_ref().is_none_or(|ledger| ledger.commit(records))
    }

    /// Commits what became of a batch. The answer are the archived jobs whose folders may go now, those
    /// of earlier batches among them.
    pub(super) fn settle(
        &self,
        source: &SourceName,
        records: Vec<Record>,
        archived: Vec<JobDir>,
    ) -> Vec<JobDir> {
        let committed = self.commit(records);
        let mut waiting = self.waiting();
        if !committed {
            if !archived.is_empty() {
                waiting.entry(source.clone()).or_default().extend(archived);
            }
            return Vec::new();
        }
        let mut due = waiting.remove(source).unwrap_or_default();
        due.extend(archived);
        due
    }

    /// Sources with archived jobs that the ledger does not know of yet.
    pub(super) fn sources_behind(&self) -> Vec<SourceName> {
        self.waiting().keys().cloned().collect()
    }

    /// After what time to try again.
    pub(super) fn pause(&self) -> Duration {
        self.ledger.as_ref().map_or(Duration::ZERO, LedgerHandle::pause) + Duration::from_millis(10)
    }

    /// Whether there are such jobs.
    pub(super) fn is_behind(&self) -> bool {
        !self.waiting().is_empty()
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<SourceName, Vec<JobDir>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Case {
    fn record(&self, site: &Site, step: Step) -> Record {
        let (source, name) = (site.source().name.clone(), self.name.clone());
        Record::now(source, name, self.job, self.attempt, step)
    }

    fn settlement(&self, site: &Site, ending: Ending) -> Record {
        let (zip, notes) = (self.zip.clone(), self.notes.clone());
        self.record(site, Step::Settled(Settlement { ending, zip, notes }))
    }

    /// What is decided of a job and leaves nothing in the work area: the ledger is told before it is
    /// done, since nothing could tell it afterwards.
    pub(super) fn decided(&self, site: &Site, decision: &Decision) -> Option<Record> {
        let ending = match decision {
            Decision::Quarantine(reason) => Ending::Quarantined {
                path: site.source().quarantine.join(self.name.with_job(self.job)),
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

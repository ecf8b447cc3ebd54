//! [`Case`]: what is known of a job beside its folder, and the records that the ledger gets of it.

use crate::id::{JobId, NAME_MAX, PackageName};
use crate::ledger::{Ending, Record, Settlement, Step};
use crate::messages::Outcome;
use crate::package::ZipContents;
use crate::workspace::{Decision, Site};

/// What is known of a job besides its folder.
#[derive(Debug)]
pub struct Case {
    pub(super) job: JobId,
    pub(super) attempt: u32,
    pub(super) name: PackageName,
    pub(super) zip: Option<ZipContents>,
    pub(super) notes: Vec<(String, String)>,
    /// Code and message of the error that caused the job's failure.
    pub(super) reason: Option<(String, String)>,
}

impl Case {
    /// Creates a case about which nothing else is known.
    pub(super) fn bare(job: JobId, attempt: u32, name: PackageName) -> Self {
        Self { job, attempt, name, zip: None, notes: Vec::new(), reason: None }
    }

    fn record(&self, site: &Site, step: Step) -> Record {
        let (source, name) = (site.source().name.clone(), self.name.clone());
        Record::now(source, name, self.job, self.attempt, step)
    }

    fn settlement(&self, site: &Site, ending: Ending) -> Record {
        let zip = self.zip.as_ref().map(|zip| zip.facts.clone());
        self.record(site, Step::Settled(Settlement { ending, zip, notes: self.notes.clone() }))
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

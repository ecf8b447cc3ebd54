//! The entries of the ledger: [`JobEntry`] and [`AttemptEntry`], and how a [`Record`] changes them.
//!
//! **Invariant:** the rules are here and not in a store. A store loads the two entries that a record
//! is about, lets them [take](JobEntry::take) it, and saves the changes. So all stores agree, and a
//! record that arrives twice, late or out of order means the same in each.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::record::{Ending, Record, Settlement, Step};
use crate::id::{JobId, PackageName, SourceName};
use crate::package::ZipFacts;

/// The last state of a job that the ledger knows. For jobs in work the work area is right, and the ledger
/// may be behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum State {
    /// Claimed; being planned or unpacked.
    Extracting,
    /// With a stage.
    Processing,
    /// Unpacked; on its way to the archive.
    Archiving,
    /// In the work area until its next attempt.
    Retrying,
    /// Settled: in the archive.
    Archived,
    /// Settled: in quarantine.
    Quarantined,
    /// Settled: deleted as configured.
    Discarded,
    /// Settled: somebody removed its folder from the work area.
    Vanished,
}

impl State {
    /// All states, in the order of a job's life.
    pub const ALL: [Self; 8] = [
        Self::Extracting,
        Self::Processing,
        Self::Archiving,
        Self::Retrying,
        Self::Archived,
        Self::Quarantined,
        Self::Discarded,
        Self::Vanished,
    ];

    /// The word for it in tables, the API and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Extracting => "extracting",
            Self::Processing => "processing",
            Self::Archiving => "archiving",
            Self::Retrying => "retrying",
            Self::Archived => "archived",
            Self::Quarantined => "quarantined",
            Self::Discarded => "discarded",
            Self::Vanished => "vanished",
        }
    }

    /// Whether the job has ended.
    #[must_use]
    pub fn is_settled(self) -> bool {
        matches!(self, Self::Archived | Self::Quarantined | Self::Discarded | Self::Vanished)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text is not the name of a state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no state")]
pub struct UnknownState(pub String);

impl FromStr for State {
    type Err = UnknownState;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|state| state.as_str() == word);
        found.ok_or_else(|| UnknownState(word.to_owned()))
    }
}

/// One job: a package from its claim to its settlement. Times are in ms since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct JobEntry {
    /// The job's id.
    #[serde(serialize_with = "as_text")]
    pub job: JobId,
    /// The node that worked on it.
    pub node: String,
    /// The job's source.
    pub source: SourceName,
    /// The package's name as delivered.
    pub name: PackageName,
    /// The job's state.
    pub state: State,
    /// The latest attempt; counted from 1.
    pub attempt: u32,
    /// The code of the error that caused its quarantine or another attempt.
    pub code: Option<String>,
    /// That error and its causes; completes "failed to …".
    pub why: Option<String>,
    /// The final place of the package; absolute.
    pub path: Option<PathBuf>,
    /// The facts about its ZIP from its plan.
    pub zip: Option<ZipFacts>,
    /// The notes of stages, in their order.
    pub notes: Vec<(String, String)>,
    /// When it was claimed.
    pub claimed_ms: Option<i64>,
    /// When it was settled.
    pub settled_ms: Option<i64>,
    /// The time of the latest fact in this entry.
    pub updated_ms: i64,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AttemptEnd {
    /// The job ended with it, in this state.
    Final(State),
    /// It failed, and another one follows.
    Retry,
    /// It waits for a condition that is not the package's fault, and continues as the same attempt.
    Wait,
}

impl AttemptEnd {
    /// The word for it in tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Final(state) => state.as_str(),
            Self::Retry => "retry",
            Self::Wait => "wait",
        }
    }
}

impl Serialize for AttemptEnd {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}

impl FromStr for AttemptEnd {
    type Err = UnknownState;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "retry" => Ok(Self::Retry),
            "wait" => Ok(Self::Wait),
            _ => word.parse().map(Self::Final),
        }
    }
}

/// One attempt at a job. Times are in ms since 1970; `None` if the step was not reached, or the
/// ledger was not told of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AttemptEntry {
    /// The job.
    #[serde(serialize_with = "as_text")]
    pub job: JobId,
    /// The attempt; counted from 1.
    pub attempt: u32,
    /// When it started; if it waited or was interrupted, when it last started.
    pub begun_ms: Option<i64>,
    /// When its plan had passed every check.
    pub planned_ms: Option<i64>,
    /// When everything was unpacked and verified.
    pub unpacked_ms: Option<i64>,
    /// When it ended.
    pub ended_ms: Option<i64>,
    /// How it ended; `None` while it is running.
    pub end: Option<AttemptEnd>,
    /// The code of the error that ended it.
    pub code: Option<String>,
    /// That error and its causes.
    pub why: Option<String>,
}

fn as_text<S: serde::Serializer>(id: &JobId, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(id)
}

impl AttemptEntry {
    /// Creates an entry without any known facts.
    #[must_use]
    pub fn new(job: JobId, attempt: u32) -> Self {
        Self {
            job,
            attempt,
            begun_ms: None,
            planned_ms: None,
            unpacked_ms: None,
            ended_ms: None,
            end: None,
            code: None,
            why: None,
        }
    }
}

impl JobEntry {
    /// Creates the entry of a job that was unknown before `first`. The caller still has to let it take `first`.
    #[must_use]
    pub fn new(node: &str, first: &Record) -> Self {
        Self {
            job: first.job,
            node: node.to_owned(),
            source: first.source.clone(),
            name: first.name.clone(),
            state: State::Extracting,
            attempt: first.attempt,
            code: None,
            why: None,
            path: None,
            zip: None,
            notes: Vec::new(),
            claimed_ms: None,
            settled_ms: None,
            updated_ms: first.at_ms,
        }
    }

    /// Takes a fact about this job's `attempt`.
    ///
    /// A settlement that is already known changes nothing. Another settlement replaces it, because it is the
    /// later report about the same folder. A late fact (a step of a settled job, or of an earlier attempt)
    /// adds missing values and takes nothing back.
    pub fn take(&mut self, attempt: &mut AttemptEntry, record: &Record) {
        let at = record.at_ms;
        let current = !self.state.is_settled() && record.attempt >= self.attempt;
        if let Step::Settled(settlement) = &record.step {
            if self.settle(attempt, record.attempt, at, settlement) {
                self.updated_ms = self.updated_ms.max(at);
            }
            return;
        }
        match &record.step {
            Step::Claimed => {
                self.claimed_ms.get_or_insert(at);
                attempt.begun_ms.get_or_insert(at);
            }
            Step::Reopened => attempt.begun_ms = attempt.begun_ms.max(Some(at)),
            Step::Planned(zip) => {
                attempt.planned_ms = attempt.planned_ms.max(Some(at));
                self.know(zip);
            }
            Step::Unpacked => attempt.unpacked_ms = attempt.unpacked_ms.max(Some(at)),
            Step::Noted { key, value } => {
                let note = (key.clone(), value.clone());
                if !self.notes.contains(&note) {
                    self.notes.push(note);
                }
            }
            Step::Entered | Step::Settled(_) => {}
        }
        let pending = attempt.ended_ms.is_none_or(|ended| ended <= at);
        if current && pending && !matches!(record.step, Step::Noted { .. }) {
            self.attempt = record.attempt;
            self.state = match record.step {
                Step::Entered => State::Processing,
                Step::Unpacked => State::Archiving,
                // Reported after it, though it happened before.
                _ if attempt.unpacked_ms > Some(at) => self.state,
                _ => State::Extracting,
            };
        }
        self.updated_ms = self.updated_ms.max(at);
    }

    fn know(&mut self, zip: &ZipFacts) {
        let before = self.zip.take().filter(|before| before.digest == zip.digest);
        let mut zip = zip.clone();
        zip.hash = zip.hash.or(before.and_then(|before| before.hash));
        self.zip = Some(zip);
    }

    /// Returns false if all of it was already known.
    fn settle(
        &mut self,
        attempt: &mut AttemptEntry,
        number: u32,
        at: i64,
        settlement: &Settlement,
    ) -> bool {
        let (end, code, why, path) = match &settlement.ending {
            Ending::Archived { path } => (State::Archived.into(), None, None, Some(path)),
            Ending::Quarantined { path, code, why } => {
                (State::Quarantined.into(), Some(code), Some(why), Some(path))
            }
            Ending::Discarded { reason } => {
                let reason = reason.as_ref();
                let (code, why) = (reason.map(|r| &r.0), reason.map(|r| &r.1));
                (State::Discarded.into(), code, why, None)
            }
            Ending::Vanished => (State::Vanished.into(), None, None, None),
            Ending::Retry { waits, code, why } => {
                let end = if *waits { AttemptEnd::Wait } else { AttemptEnd::Retry };
                (end, Some(code), Some(why), None)
            }
        };
        let known = match end {
            // After a restart the reason may be unknown.
            AttemptEnd::Final(state) => {
                self.state == state
                    && self.path.as_ref() == path
                    && (code.is_none() || self.code.as_ref() == code)
            }
            _ => {
                self.state.is_settled()
                    || number < self.attempt
                    || attempt.ended_ms.is_some_and(|ended| ended >= at)
            }
        };
        if known {
            return false;
        }
        if let Some(zip) = &settlement.zip {
            self.know(zip);
        }
        if !settlement.notes.is_empty() {
            self.notes.clone_from(&settlement.notes);
        }
        self.attempt = self.attempt.max(number);
        (self.code, self.why) = (code.cloned(), why.cloned());
        (attempt.code, attempt.why) = (self.code.clone(), self.why.clone());
        (attempt.end, attempt.ended_ms) = (Some(end), Some(at));
        if let AttemptEnd::Final(state) = end {
            self.state = state;
            self.path = path.cloned();
            self.settled_ms = Some(at);
        } else {
            self.state = State::Retrying;
        }
        true
    }
}

impl From<State> for AttemptEnd {
    fn from(state: State) -> Self {
        Self::Final(state)
    }
}

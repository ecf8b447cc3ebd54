//! The queues of one source in the schedule.

use std::collections::{HashMap, HashSet, VecDeque};

use super::fair::Fair;
use crate::id::{JobId, PackageName, SourceName};

/// A participant in the turns of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// Open the next package.
    Open,
    /// Deal a slice of this one.
    Slice(JobId),
}

pub(super) struct SourceQueue {
    pub(super) name: SourceName,
    /// How many packages may be with the extractors and the stages at the same time.
    pub(super) ahead: usize,
    /// Accepted packages in the landing, oldest first.
    pub(super) waiting: VecDeque<JobId>,
    /// Jobs that an earlier run left.
    pub(super) recovered: VecDeque<JobId>,
    /// Jobs before their next attempt.
    pub(super) retrying: VecDeque<JobId>,
    /// Jobs to be run while no other is in work.
    pub(super) alone: VecDeque<JobId>,
    /// The order of the participants.
    pub(super) turns: Fair<Turn>,
    /// Every job of this source, except the heirs.
    pub(super) by_name: HashMap<PackageName, JobId>,
    /// Recovered jobs whose name another job has: after a redelivery, two jobs with the same name can be in
    /// the work area.
    pub(super) heirs: Vec<JobId>,
    /// Jobs that wait for space or for the archive; while there are any, nothing new is claimed.
    pub(super) blocked: HashSet<JobId>,
    /// Names that were delivered again while in work.
    pub(super) look_again: HashSet<PackageName>,
    /// Whether the Watcher was told that the queue is full.
    pub(super) refused: bool,
    /// Whether the Watcher should scan again.
    pub(super) vacant: bool,
}

impl SourceQueue {
    pub(super) fn new(name: SourceName, ahead: usize) -> Self {
        Self {
            name,
            ahead,
            waiting: VecDeque::new(),
            recovered: VecDeque::new(),
            retrying: VecDeque::new(),
            alone: VecDeque::new(),
            turns: Fair::new([Turn::Open]),
            by_name: HashMap::new(),
            heirs: Vec::new(),
            blocked: HashSet::new(),
            look_again: HashSet::new(),
            refused: false,
            vacant: false,
        }
    }

    pub(super) fn forget(&mut self, id: JobId, name: &PackageName) {
        if self.by_name.get(name) == Some(&id) {
            self.by_name.remove(name);
        }
        self.heirs.retain(|heir| *heir != id);
        self.blocked.remove(&id);
        self.turns.leave(Turn::Slice(id));
    }
}

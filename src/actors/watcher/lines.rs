//! The queues of names: the names of a landing in the order in which they are needed.
//!
//! In: every transition of an [`Entry`] from one [`Stage`] to another. Out: the next name to offer, the
//! next name to look at, and the deferred names.
//!
//! **Invariant:** a name is in the queue of its entry's stage, and in no other. So no query walks over the
//! whole landing, where a hundred thousand names may wait.

use std::collections::{BTreeSet, HashSet};
use std::ffi::{OsStr, OsString};
use std::time::{Instant, SystemTime};

use super::entry::{Entry, Stage};

/// The ordered names; their entries are in the [`Book`](super::book::Book).
#[derive(Debug, Default)]
pub(super) struct Lines {
    queued: BTreeSet<(SystemTime, OsString)>,
    due: BTreeSet<(Instant, OsString)>,
    deferred: HashSet<OsString>,
}

impl Lines {
    /// Moves `entry` to `to`.
    pub(super) fn step(&mut self, name: &OsStr, entry: &mut Entry, to: Stage) {
        if entry.stage == to {
            return;
        }
        self.leave(name, entry.stage);
        entry.stage = to;
        match to {
            Stage::Queued { newest } => drop(self.queued.insert((newest, name.to_owned()))),
            Stage::Deferred => drop(self.deferred.insert(name.to_owned())),
            _ => {}
        }
        self.due.extend(to.due().map(|due| (due, name.to_owned())));
    }

    /// Records that a name is no longer at a stage.
    pub(super) fn leave(&mut self, name: &OsStr, from: Stage) {
        match from {
            Stage::Queued { newest } => drop(self.queued.remove(&(newest, name.to_owned()))),
            Stage::Deferred => drop(self.deferred.remove(name)),
            _ => {}
        }
        if let Some(due) = from.due() {
            self.due.remove(&(due, name.to_owned()));
        }
    }

    /// Returns the names to be offered and when each changed, oldest first.
    pub(super) fn queued(&self) -> impl Iterator<Item = (SystemTime, &OsStr)> {
        self.queued.iter().map(|(newest, name)| (*newest, name.as_os_str()))
    }

    /// Returns the names that are deferred until the next vacancy.
    pub(super) fn deferred(&self) -> Vec<OsString> {
        self.deferred.iter().cloned().collect()
    }

    /// Returns when the first name is to be looked at again.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Returns the names that are to be looked at again by now.
    pub(super) fn due(&self, now: Instant) -> Vec<OsString> {
        let due = self.due.iter().take_while(|(due, _)| *due <= now);
        due.map(|(_, name)| name.clone()).collect()
    }
}

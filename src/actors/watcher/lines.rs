//! Who waits for what: the names of a landing in the order in which they are asked for.
//!
//! In: every step of an [`Entry`] from one [`Stage`] to another. Out: the next to offer, the next to
//! look at, those that were put off.
//!
//! **Invariant:** a name stands where its entry's stage says, and nowhere else. So no question about a
//! landing walks over all of it: a hundred thousand names may wait there.

use std::collections::{BTreeSet, HashSet};
use std::ffi::{OsStr, OsString};
use std::time::{Instant, SystemTime};

use super::entry::{Entry, Stage};

/// The names in their order; their entries are with the [`Book`](super::book::Book).
#[derive(Debug, Default)]
pub(super) struct Lines {
    queued: BTreeSet<(SystemTime, OsString)>,
    due: BTreeSet<(Instant, OsString)>,
    deferred: HashSet<OsString>,
}

impl Lines {
    /// Has an entry go on to a stage.
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

    /// Takes in that a name is no longer at a stage.
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

    /// What is to be offered and when it changed, oldest first.
    pub(super) fn queued(&self) -> impl Iterator<Item = (SystemTime, &OsStr)> {
        self.queued.iter().map(|(newest, name)| (*newest, name.as_os_str()))
    }

    /// What was put off until the next vacancy.
    pub(super) fn deferred(&self) -> Vec<OsString> {
        self.deferred.iter().cloned().collect()
    }

    /// When the first is to be looked at again.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Those that are to be looked at again by now.
    pub(super) fn due(&self, now: Instant) -> Vec<OsString> {
        let due = self.due.iter().take_while(|(due, _)| *due <= now);
        due.map(|(_, name)| name.clone()).collect()
    }
}

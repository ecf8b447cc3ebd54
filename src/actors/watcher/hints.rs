//! Events of inotify as hints: names to look at, or "look at everything".
//!
//! In: notify's events, on its own thread. Out: the names gathered since the last [`Hints::take`].
//!
//! **Invariants:** the notify thread never waits for the actor, and a burst of events costs one message. A
//! hint only says where to look; the look decides. Events that our own looks cause (open, close after
//! reading) are no hints, or a look would cause the next look.

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind, RenameMode};

/// How a name was noticed. Of several events, the last one that tells the origin of the name counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    /// Something about it changed, or it is gone.
    Touched,
    /// It was created in place.
    Made,
    /// It was renamed to this name.
    Moved,
}

/// The hints since the last [`Hints::take`].
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Gathered {
    /// Names to look at.
    pub(super) names: HashMap<OsString, Arrival>,
    /// Whether events were lost, or something is wrong with the landing itself.
    pub(super) everything: bool,
}

/// With more names than this, a scan is cheaper than a look at each name.
const NAMES_MAX: usize = 100_000;

/// Hints on their way from notify's thread to the actor.
#[derive(Debug)]
pub(super) struct Hints {
    landing: PathBuf,
    gathered: Mutex<Gathered>,
}

impl Hints {
    pub(super) fn new(landing: PathBuf) -> Self {
        Self { landing, gathered: Mutex::default() }
    }

    /// Adds an event. Returns whether the actor has to be woken: it has taken all earlier hints.
    pub(super) fn note(&self, event: notify::Result<notify::Event>) -> bool {
        let mut gathered = self.lock();
        let awake = gathered.everything || !gathered.names.is_empty();
        match event {
            Ok(event) if !event.need_rescan() => {
                if let Some(arrival) = arrival(event.kind) {
                    for path in &event.paths {
                        gathered.add(&self.landing, path, arrival);
                    }
                }
            }
            _ => gathered.everything = true,
        }
        !awake && (gathered.everything || !gathered.names.is_empty())
    }

    /// Removes and returns the gathered hints.
    pub(super) fn take(&self) -> Gathered {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Gathered> {
        // Nothing can panic in the middle of a change of these two fields.
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gathered {
    fn add(&mut self, landing: &Path, path: &Path, arrival: Arrival) {
        if path == landing {
            self.everything = true;
            return;
        }
        let Some(name) = path.file_name().filter(|name| name.as_bytes().first() != Some(&b'.'))
        else {
            return;
        };
        if self.names.len() >= NAMES_MAX {
            self.everything = true;
            return;
        }
        let known = self.names.entry(name.to_owned()).or_insert(arrival);
        if arrival != Arrival::Touched {
            *known = arrival;
        }
    }
}

/// Returns what an event means for its name; `None` if it means nothing new.
fn arrival(kind: EventKind) -> Option<Arrival> {
    match kind {
        EventKind::Create(_) => Some(Arrival::Made),
        EventKind::Modify(ModifyKind::Name(RenameMode::To)) => Some(Arrival::Moved),
        // Each half of a rename has its own event as well. `Data` means that the file is still being
        // written; a close event follows.
        EventKind::Modify(ModifyKind::Name(RenameMode::Both) | ModifyKind::Data(_)) => None,
        EventKind::Access(AccessKind::Close(AccessMode::Write))
        | EventKind::Modify(_)
        | EventKind::Remove(_) => Some(Arrival::Touched),
        EventKind::Access(_) | EventKind::Any | EventKind::Other => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use notify::Event;
    use notify::event::{CreateKind, DataChange, Flag, MetadataKind, RemoveKind};

    const TO: EventKind = EventKind::Modify(ModifyKind::Name(RenameMode::To));
    const FROM: EventKind = EventKind::Modify(ModifyKind::Name(RenameMode::From));
    const MADE: EventKind = EventKind::Create(CreateKind::Folder);

    fn noted(events: &[(EventKind, &str)]) -> (Vec<bool>, Gathered) {
        let hints = Hints::new("/landing".into());
        let wakes = events
            .iter()
            .map(|(kind, path)| hints.note(Ok(Event::new(*kind).add_path(path.into()))))
            .collect();
        (wakes, hints.take())
    }

    #[test]
    fn hints_of_a_burst_wake_once() {
        let (wakes, gathered) = noted(&[(MADE, "/landing/a"), (TO, "/landing/b")]);
        assert_eq!(wakes, [true, false]);
        assert_eq!(gathered.names.len(), 2);
        assert!(!gathered.everything);
    }

    #[test]
    fn hints_of_one_name_keep_the_last_word_on_where_it_came_from() {
        let metadata = EventKind::Modify(ModifyKind::Metadata(MetadataKind::Any));
        let last = |events: &[(EventKind, &str)]| noted(events).1.names.values().copied().next();
        assert_eq!(last(&[(TO, "/landing/a"), (metadata, "/landing/a")]), Some(Arrival::Moved));
        assert_eq!(
            last(&[(TO, "/landing/a"), (FROM, "/landing/a"), (MADE, "/landing/a")]),
            Some(Arrival::Made)
        );
    }

    #[test]
    fn hints_of_our_own_looks_are_none() {
        let open = EventKind::Access(AccessKind::Open(AccessMode::Any));
        let close = EventKind::Access(AccessKind::Close(AccessMode::Read));
        let data = EventKind::Modify(ModifyKind::Data(DataChange::Any));
        let (wakes, gathered) = noted(&[
            (open, "/landing"),
            (open, "/landing/a"),
            (close, "/landing/a"),
            (data, "/landing/a.zip"),
            (MADE, "/landing/.longshore"),
        ]);
        assert_eq!((wakes, gathered), (vec![false; 5], Gathered::default()));
    }

    #[test]
    fn hints_of_lost_events_or_of_the_landing_itself_ask_for_everything() {
        let hints = Hints::new("/landing".into());
        assert!(hints.note(Ok(Event::new(EventKind::Other).set_flag(Flag::Rescan))));
        assert!(hints.take().everything);
        assert!(hints.note(Err(notify::Error::generic("read"))));
        assert!(hints.take().everything);
        let (_, gathered) = noted(&[(EventKind::Remove(RemoveKind::Folder), "/landing")]);
        assert!(gathered.everything);
    }
}

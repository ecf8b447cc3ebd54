//! How the pipeline is: who answers, who gets on, and how much is where.

use std::time::Duration;

use actix::Message;
use serde::Serialize;

use crate::progress::Task;

/// Supervisor → all: are you there? An actor that hangs does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct Ping;

/// A test → an actor: panic. What a fault of an actor's own does to the pipeline can be seen with it.
#[cfg(any(test, feature = "testkit"))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct Panic;

/// Anyone → Supervisor: does every actor answer, and does every thread get on?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Message)]
#[rtype(result = "Health")]
pub struct GetHealth;

/// Whether every actor answers, and whether every thread of the pool gets on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Health {
    /// In the order of the data's way.
    pub actors: Vec<ActorHealth>,
    /// The threads of the extractor pool, which are not asked but watched.
    pub threads: Vec<ThreadHealth>,
    /// How often the pipeline was started again within the last minute that it was.
    pub restarts: usize,
}

impl Health {
    /// Whether every actor answers and every thread gets on.
    #[must_use]
    pub fn is_well(&self) -> bool {
        !self.actors.iter().any(|actor| actor.hangs)
            && !self.threads.iter().any(|thread| thread.stalled)
    }
}

/// Whether one thread of the pool gets on with its work.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ThreadHealth {
    /// What it works on; none: it waits for work, and is well.
    pub task: Option<Task>,
    /// Since it was last seen to get on, to the nearest 10 s; zero where it waits for work.
    pub still_for: Duration,
    /// Whether that is too long for one that works, be it on a slow disk.
    pub stalled: bool,
}

/// Whether one actor answers.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ActorHealth {
    /// As in the log; a Watcher's has its source's name.
    pub name: String,
    /// Since its last answer; each is asked every 10 s.
    pub silent_for: Duration,
    /// Whether that is too long for one that works.
    pub hangs: bool,
}

/// Anyone → Supervisor or Dispatcher: how much is where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Message)]
#[rtype(result = "Status")]
pub struct GetStatus;

/// How much is where, since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Status {
    /// Whether packages are left in the landings, as somebody has asked for.
    pub paused: bool,
    /// Accepted and still in the landing.
    pub waiting: usize,
    /// Being claimed, planned or unpacked.
    pub extracting: usize,
    /// With a stage.
    pub processing: usize,
    /// Held back by a stage until something else comes.
    pub parked: usize,
    /// With the Archiver.
    pub archiving: usize,
    /// In the work area, until their next attempt.
    pub retrying: usize,
    /// Settled: in the archive.
    pub archived: u64,
    /// Settled: in quarantine.
    pub quarantined: u64,
    /// Settled: deleted as asked.
    pub discarded: u64,
    /// Of those that are extracting, processing or archiving: all but the ones whose attempts end the
    /// same way each time.
    pub moving: usize,
    /// Grows with each step of a package, but not while its attempts end the same way each time.
    pub moves: u64,
}

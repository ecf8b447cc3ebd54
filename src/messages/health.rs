//! The health and status of the pipeline: which actors answer, which threads advance, how many packages
//! are in each state.

use std::time::Duration;

use actix::Message;
use serde::Serialize;

use crate::progress::Task;

/// Supervisor → every actor: answer. An actor that hangs does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct Ping;

/// A test → an actor: panic. Shows the effect of an actor's own fault on the pipeline.
#[cfg(any(test, feature = "testkit"))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct Panic;

/// Any caller → Supervisor: does every actor answer, and does every thread advance?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Message)]
#[rtype(result = "Health")]
pub struct GetHealth;

/// Whether every actor answers, and whether every thread of the pool advances.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Health {
    /// One entry per actor, in no particular order.
    pub actors: Vec<ActorHealth>,
    /// The threads of the extractor pool, which are observed instead of asked.
    pub threads: Vec<ThreadHealth>,
    /// Restarts within the minute that ended with the last restart, which is included.
    pub restarts: usize,
}

impl Health {
    /// Whether every actor answers and every thread advances.
    #[must_use]
    pub fn is_well(&self) -> bool {
        !self.actors.iter().any(|actor| actor.hangs)
            && !self.threads.iter().any(|thread| thread.stalled)
    }
}

/// Whether one thread of the pool advances with its work.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ThreadHealth {
    /// Its task; `None` if it waits for work, and is healthy.
    pub task: Option<Task>,
    /// Time since it was last seen to advance, to the nearest 10 s; zero if it waits for work.
    pub still_for: Duration,
    /// Whether that is too long for a working thread, even on a slow disk.
    pub stalled: bool,
}

/// Whether one actor answers.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ActorHealth {
    /// As in the log; the name of a Watcher includes its source.
    pub name: String,
    /// Time since its last answer; each actor is asked every 10 s.
    pub silent_for: Duration,
    /// Whether that is too long for a working actor.
    pub hangs: bool,
}

/// Any caller → Supervisor or Dispatcher: how many packages are in each state?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Message)]
#[rtype(result = "Status")]
pub struct GetStatus;

/// How many packages are in each state, since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Status {
    /// Whether packages are left in the landings because a pause was requested.
    pub paused: bool,
    /// Accepted and still in the landing.
    pub waiting: usize,
    /// Being claimed, planned or unpacked.
    pub extracting: usize,
    /// With a stage.
    pub processing: usize,
    /// Parked by a stage until something else arrives.
    pub parked: usize,
    /// With the Archiver.
    pub archiving: usize,
    /// In the work area, until their next attempt.
    pub retrying: usize,
    /// Settled: in the archive.
    pub archived: u64,
    /// Settled: in quarantine.
    pub quarantined: u64,
    /// Settled: deleted as configured.
    pub discarded: u64,
    /// Packages that are extracting, processing or archiving, except those whose attempts end the same way
    /// each time.
    pub moving: usize,
    /// Increases with each step of a package, but not while its attempts end the same way each time.
    pub moves: u64,
}

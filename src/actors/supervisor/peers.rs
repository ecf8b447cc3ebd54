//! [`Peers`]: the actors that a Supervisor watches and stops; and how that can end.

use std::sync::Arc;

use actix::{Arbiter, Recipient};
use tokio::sync::oneshot;

use crate::actors::lifeline::Ending;
use crate::messages::{Drain, GetStatus, Ping, SetIntake, Shutdown};
use crate::progress::Roster;

/// How the pipeline ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ended {
    /// Everything in flight was finished.
    Drained,
    /// The grace period ended before that: the rest is in the work area, for the next start.
    GraceOver,
    /// Stopped at once, as requested.
    Immediately,
    /// An actor was lost, and the pipeline could not be restarted or was restarted too often.
    Failed {
        /// The lost actor.
        actor: &'static str,
    },
}

/// The actors of a running pipeline.
#[derive(Default)]
pub struct Peers {
    /// The Watchers; after their stop no package is offered.
    pub watchers: Vec<Recipient<Shutdown>>,
    /// The Watchers' threads, stopped at the end.
    pub arbiters: Vec<Arbiter>,
    /// The Dispatcher; it answers when nothing is in flight.
    pub dispatcher: Option<Recipient<Shutdown>>,
    /// Reports how many packages are in each state.
    pub status: Option<Recipient<GetStatus>>,
    /// Controls whether packages are taken out of the landings.
    pub intake: Option<(Recipient<SetIntake>, Recipient<Drain>)>,
    /// The Processors; their commands are killed once nothing waits for them.
    pub processors: Vec<Recipient<Shutdown>>,
    /// The Archiver; it answers when every job that it has is settled.
    pub archiver: Option<Recipient<Shutdown>>,
    /// The event bus and the actors behind it, which no longer have anything to do.
    pub rest: Vec<(&'static str, Recipient<Shutdown>)>,
    /// Every actor that is pinged at intervals.
    pub pulses: Vec<(String, Recipient<Ping>)>,
    /// The threads of the pool, which are observed, not pinged.
    pub pool: Arc<Roster>,
    /// The actors that panic when a test asks for it.
    #[cfg(any(test, feature = "testkit"))]
    pub fragile: Vec<(String, Recipient<crate::messages::Panic>)>,
    /// Begins when these actors are stopped.
    pub ending: Ending,
    /// Resolves when nothing works on the work areas any longer.
    pub released: Option<oneshot::Receiver<()>>,
}

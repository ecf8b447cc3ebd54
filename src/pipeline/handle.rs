//! The handle to a running pipeline.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::{Addr, AsyncContext, Context, Recipient};
use tokio::sync::oneshot;

use super::blueprint::{Blueprint, Ground};
use super::error::explain;
use super::wiring;
use crate::actors::Supervisor;
use crate::actors::post::post_to;
use crate::actors::supervisor::signals::StopActions;
use crate::actors::supervisor::{Ended, Raise, StopRequested};
use crate::ledger::LedgerHandle;
use crate::messages::{Drain, GetHealth, GetStatus, Health, SetIntake, Status, StopMode};
use crate::workspace::Recovery;

/// How long a graceful stop may take beyond its grace: each hanging actor is waited for, some seconds.
const STOP_SLACK: Duration = Duration::from_secs(10);

/// A running pipeline. Dropping it leaves the pipeline running.
pub struct PipelineHandle {
    ground: Arc<Ground>,
    pub(super) supervisor: Addr<Supervisor>,
    ended: oneshot::Receiver<Ended>,
}

impl PipelineHandle {
    /// Starts the actors.
    pub(super) fn of(blueprint: Blueprint, recovered: Vec<Recovery>) -> Self {
        let (ground, blueprint) = (Arc::clone(&blueprint.ground), Rc::new(blueprint));
        let ctx = Context::<Supervisor>::new();
        let supervisor = ctx.address();
        let peers = wiring::raise(&blueprint, recovered, &supervisor);
        let (ended_tx, ended) = oneshot::channel();
        let (grace, log) = (ground.config.grace, ground.log_of("supervisor"));
        let raise = raise_again(blueprint, supervisor.clone());
        ctx.run(Supervisor::new(peers, raise, grace, ended_tx, log));
        Self { ground, supervisor, ended }
    }

    /// Returns the receiver of stop requests, for a signal thread for example.
    #[must_use]
    pub fn stopper(&self) -> Recipient<StopRequested> {
        self.supervisor.clone().recipient()
    }

    /// Requests a stop; [`PipelineHandle::ended`] resolves when it is done.
    pub fn stop(&self, mode: StopMode) {
        let ground = Arc::clone(&self.ground);
        // A separate thread: a hanging file server must not delay the caller. If no thread can be created,
        // the end of the stop is still recorded.
        let record = move || ground.mark_stopping();
        std::thread::Builder::new().name("stop-note".to_owned()).spawn(record).ok();
        post_to(&self.supervisor, StopRequested { mode, by: "the program" });
    }

    /// Leaves packages in their landings, once the Dispatcher has handled the request (`Status::paused`).
    /// Packages already taken continue, and so do their retries. The pause survives a restart of the
    /// actors, but not the pipeline.
    pub fn pause(&self) {
        self.ground.pause(true);
        post_to(&self.supervisor, SetIntake { open: false });
    }

    /// Takes packages again. A caller that awaits [`PipelineHandle::drain`] gets false.
    pub fn resume(&self) {
        self.ground.pause(false);
        post_to(&self.supervisor, SetIntake { open: true });
    }

    /// Pauses, and waits until every package taken is settled, except those that a stage has parked. The
    /// pipeline stays paused. Returns false if it was resumed, ended, or was restarted before that.
    pub async fn drain(&self) -> bool {
        self.pause();
        self.supervisor.send(Drain).await.unwrap_or(false)
    }

    /// Returns the receiver of status requests.
    #[must_use]
    pub fn status(&self) -> Recipient<GetStatus> {
        self.supervisor.clone().recipient()
    }

    /// Returns how many packages are in each state; `None` if the pipeline has ended.
    pub async fn get_status(&self) -> Option<Status> {
        self.supervisor.send(GetStatus).await.ok()
    }

    /// Returns whether every actor answers; `None` if the pipeline has ended.
    pub async fn get_health(&self) -> Option<Health> {
        self.supervisor.send(GetHealth).await.ok()
    }

    /// Returns the records of packages; `None` for a pipeline without a ledger. Its methods block: an actor
    /// must not call them on its arbiter.
    #[must_use]
    pub fn ledger(&self) -> Option<LedgerHandle> {
        self.ground.ledger.clone()
    }

    /// Makes an actor panic, for tests of the consequences: `dispatcher`, `archiver`, `event bus`,
    /// `extractor`, `watcher of SOURCE`, and so on. Returns false if no actor of that name exists at the
    /// moment.
    #[cfg(any(test, feature = "testkit"))]
    pub async fn have_panic(&self, actor: &str) -> bool {
        let actor = actor.to_owned();
        self.supervisor.send(crate::actors::supervisor::HavePanic { actor }).await.unwrap_or(false)
    }

    /// Returns how many actors, stages and packages in work are left; 0 soon after the end.
    #[cfg(any(test, feature = "testkit"))]
    #[must_use]
    pub fn left(&self) -> usize {
        self.ground.census.others()
    }

    /// Returns the actions of signals on this pipeline, for
    /// [`SignalThreads::listen`](crate::actors::supervisor::signals::SignalThreads::listen).
    #[must_use]
    pub fn stop_actions(&self) -> StopActions {
        let (ground, kills, stopping) =
            (Arc::clone(&self.ground), Arc::clone(&self.ground), Arc::clone(&self.ground));
        StopActions {
            stop: self.stopper(),
            kill_commands: Arc::new(move || kills.processing.kill_all()),
            record_stopping: Arc::new(move || stopping.mark_stopping()),
            limit: ground.config.grace.saturating_add(STOP_SLACK),
            record_stopped: Arc::new(move || ground.mark_stopped()),
            before_exit: None,
        }
    }

    /// Waits until the pipeline has ended.
    pub async fn ended(&mut self) -> Ended {
        let ended = (&mut self.ended).await.unwrap_or(Ended::Failed { actor: "supervisor" });
        // However the actors ended, the processes that they started must not outlive them.
        self.ground.processing.kill_all();
        if !matches!(ended, Ended::Failed { .. }) {
            self.ground.mark_stopped();
        }
        if ended == Ended::Drained {
            self.ground.release();
        }
        ended
    }
}

/// Recovers on a separate thread, because it blocks, and starts the actors on this one.
///
/// The closure holds an address of the Supervisor, which holds the closure: both are dropped when the
/// Supervisor stops.
fn raise_again(blueprint: Rc<Blueprint>, supervisor: Addr<Supervisor>) -> Raise {
    Box::new(move || {
        let (blueprint, supervisor) = (Rc::clone(&blueprint), supervisor.clone());
        Box::pin(async move {
            let ground = Arc::clone(&blueprint.ground);
            let (tell, told) = oneshot::channel();
            let recover = move || drop(tell.send(ground.recover()));
            let started = std::thread::Builder::new().name("recovery".to_owned()).spawn(recover);
            started.map_err(|error| format!("failed to start a thread for recovery: {error}"))?;
            let recovered = told.await.map_err(|_| "recovery panicked".to_owned())?;
            let recovered = recovered.map_err(|error| explain(&error))?;
            Ok(wiring::raise(&blueprint, recovered, &supervisor))
        })
    })
}

impl std::fmt::Debug for PipelineHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PipelineHandle").finish_non_exhaustive()
    }
}

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

/// What a graceful stop may take beyond its grace: actors that hang are waited for, some seconds each.
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

    /// Who may be asked to stop, by a signal thread for example.
    #[must_use]
    pub fn stopper(&self) -> Recipient<StopRequested> {
        self.supervisor.clone().recipient()
    }

    /// Asks for a stop; [`PipelineHandle::ended`] tells when it is done.
    pub fn stop(&self, mode: StopMode) {
        let ground = Arc::clone(&self.ground);
        // A thread of its own: a file server that hangs must not hold up the caller. Where there is none
        // to be had, the end of the stop is recorded all the same.
        let record = move || ground.mark_stopping();
        std::thread::Builder::new().name("stop-note".to_owned()).spawn(record).ok();
        post_to(&self.supervisor, StopRequested { mode, by: "the program" });
    }

    /// Leaves packages in their landings, from when the Dispatcher hears of it (`Status::paused`).
    /// What was taken out of them goes on, and so do its retries; this outlasts a restart of the
    /// actors, and not the pipeline.
    pub fn pause(&self) {
        self.ground.pause(true);
        post_to(&self.supervisor, SetIntake { open: false });
    }

    /// Takes packages again. Whoever awaits a [`PipelineHandle::drain`] is told false.
    pub fn resume(&self) {
        self.ground.pause(false);
        post_to(&self.supervisor, SetIntake { open: true });
    }

    /// Pauses, and waits until all that was taken is settled, but for packages that a stage holds
    /// back. It stays paused. False where it was resumed, ended, or had to start again before that.
    pub async fn drain(&self) -> bool {
        self.pause();
        self.supervisor.send(Drain).await.unwrap_or(false)
    }

    /// Who tells how much is where.
    #[must_use]
    pub fn status(&self) -> Recipient<GetStatus> {
        self.supervisor.clone().recipient()
    }

    /// How much is where; none where the pipeline has ended.
    pub async fn get_status(&self) -> Option<Status> {
        self.supervisor.send(GetStatus).await.ok()
    }

    /// Whether every actor answers; none where the pipeline has ended.
    pub async fn get_health(&self) -> Option<Health> {
        self.supervisor.send(GetHealth).await.ok()
    }

    /// What was recorded of packages; none for a pipeline without a ledger. It blocks: no actor is
    /// to ask it on its arbiter.
    #[must_use]
    pub fn ledger(&self) -> Option<LedgerHandle> {
        self.ground.ledger.clone()
    }

    /// Has one of the actors panic, for tests of what follows: `dispatcher`, `archiver`,
    /// `event bus`, `extractor`, `watcher of SOURCE`. False where there is none of that name at the
    /// moment.
    #[cfg(any(test, feature = "testkit"))]
    pub async fn have_panic(&self, actor: &str) -> bool {
        let actor = actor.to_owned();
        self.supervisor.send(crate::actors::supervisor::HavePanic { actor }).await.unwrap_or(false)
    }

    /// How many actors, stages and packages in work are left; 0 soon after the end.
    #[cfg(any(test, feature = "testkit"))]
    #[must_use]
    pub fn left(&self) -> usize {
        self.ground.census.others()
    }

    /// What a signal can do to this pipeline, for
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

    /// Waits for the end.
    pub async fn ended(&mut self) -> Ended {
        let ended = (&mut self.ended).await.unwrap_or(Ended::Failed { actor: "supervisor" });
        // Whatever became of the actors: what they started does not outlive them.
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

/// Recovers on a thread of its own, for that blocks, and starts the actors on this one.
///
/// The closure holds an address of the Supervisor that holds the closure: the two go when the
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

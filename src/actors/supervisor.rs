//! Keeps the pipeline up: stops it on a signal or on request, and restarts it when an actor is lost.
//!
//!
//! In: [`StopRequested`], [`ActorLost`], [`AllSettled`], [`GetStatus`], [`GetHealth`]. Out:
//! [`Shutdown`], to one actor after the other in the order of the data flow, so that each actor's
//! receivers are alive until it has stopped; [`Ping`](crate::messages::Ping) to each actor at intervals.
//!
//! **Why the whole pipeline is restarted, not only the lost actor:** a restarted actor has a new
//! address, and every `Recipient` of the old one is dead. So the pipeline is the unit of restart: work
//! on other threads is finished, the work areas are recovered as after a crash, and every actor is
//! created anew. The number of restarts is limited: a fault that recurs at once needs a person.
//!
//!
//! **Invariant:** there is never a live process that does no work: a caller that waits for the end of
//! the pipeline is told of it.

pub mod health;
mod peers;
mod pool;
pub mod signals;
mod stop;

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, ResponseFuture,
    WrapFuture,
};
use slog::{Logger, error, info};
use tokio::sync::oneshot;

use super::lifeline::ActorLost;
use super::post::post;
use crate::messages::{
    AllSettled, Drain, GetHealth, GetStatus, Health, SetIntake, Shutdown, Status, StopMode,
};
use health::Pulses;
pub use peers::{Ended, Peers};
use pool::Watch;

/// Asks the pipeline to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct StopRequested {
    /// Graceful or immediate.
    pub mode: StopMode,
    /// What asked for the stop, for the log.
    pub by: &'static str,
}

/// Recovers the work areas and creates every actor anew; the error says why that failed.
pub type Raise = Box<dyn FnMut() -> Pin<Box<dyn Future<Output = Result<Peers, String>>>>>;

/// Restarts within `RESTART_WINDOW`; one more, and the pipeline fails.
const RESTARTS: usize = 5;
/// See [`RESTARTS`].
const RESTART_WINDOW: Duration = Duration::from_secs(60);

/// The phase of the pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    /// The pipeline is being restarted, and is stopped after that if a stop was requested meanwhile.
    Restarting {
        then_stop: bool,
    },
    Stopping,
}

/// Restarts the pipeline, stops it, and reports how it ended.
pub struct Supervisor {
    peers: Peers,
    raise: Raise,
    grace: Duration,
    phase: Phase,
    restarts: VecDeque<Instant>,
    pulses: Pulses,
    watch: Watch,
    ended: Option<oneshot::Sender<Ended>>,
    log: Logger,
}

impl Supervisor {
    /// Creates a supervisor that sends how the pipeline ended to `ended`.
    #[must_use]
    pub fn new(
        peers: Peers,
        raise: Raise,
        grace: Duration,
        ended: oneshot::Sender<Ended>,
        log: Logger,
    ) -> Self {
        let pulses = Pulses::of(&peers.pulses);
        let (phase, restarts) = (Phase::Running, VecDeque::new());
        let (watch, ended) = (Watch::new(pool::STALL), Some(ended));
        Self { peers, raise, grace, phase, restarts, pulses, watch, ended, log }
    }

    fn finish(&mut self, how: Ended, ctx: &mut Context<Self>) {
        self.peers.ending.begin();
        for arbiter in &self.peers.arbiters {
            arbiter.stop();
        }
        if matches!(how, Ended::Immediately | Ended::Failed { .. }) {
            // The actors hold each other's addresses, and would live on in an embedding program.
            for actor in stop::receivers(&self.peers) {
                post(&actor, Shutdown { mode: StopMode::Immediate });
            }
        }
        if let Some(ended) = self.ended.take() {
            ended.send(how).ok(); // the receiver is gone: an embedding program dropped its handle
        }
        ctx.stop();
    }

    /// Stops the Watchers first. Then nothing new comes, and the Dispatcher waits for work in flight.
    fn stop_gracefully(&mut self, ctx: &mut Context<Self>) {
        match self.phase {
            Phase::Stopping => return,
            Phase::Restarting { .. } => {
                self.phase = Phase::Restarting { then_stop: true };
                return;
            }
            Phase::Running => self.phase = Phase::Stopping,
        }
        let stop = stop::in_order(&self.peers, self.grace, self.log.clone()).into_actor(self);
        ctx.spawn(stop.map(|how, supervisor, ctx| supervisor.finish(how, ctx)));
    }

    /// Counts a restart. Returns whether there were too many of them lately to try this one.
    fn is_hopeless(&mut self, now: Instant) -> bool {
        self.restarts.retain(|at| now.duration_since(*at) < RESTART_WINDOW);
        self.restarts.push_back(now);
        self.restarts.len() > RESTARTS
    }

    fn restart(&mut self, lost: &'static str, ctx: &mut Context<Self>) {
        self.phase = Phase::Restarting { then_stop: false };
        let old = std::mem::take(&mut self.peers);
        let (grace, log, raise) = (self.grace, self.log.clone(), (self.raise)());
        let again = async move {
            stop::for_restart(old, grace, log).await?;
            raise.await
        };
        ctx.spawn(again.into_actor(self).map(move |raised, supervisor, ctx| match raised {
            Ok(peers) => {
                info!(supervisor.log, "the pipeline runs again"; "lost" => lost);
                supervisor.pulses = Pulses::of(&peers.pulses);
                supervisor.watch = Watch::new(pool::STALL);
                supervisor.peers = peers;
                let phase = std::mem::replace(&mut supervisor.phase, Phase::Running);
                if phase == (Phase::Restarting { then_stop: true }) {
                    supervisor.stop_gracefully(ctx);
                }
            }
            Err(why) => {
                error!(supervisor.log, "the pipeline cannot be started again"; "why" => why);
                supervisor.finish(Ended::Failed { actor: lost }, ctx);
            }
        }));
    }
}

impl Actor for Supervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(health::PACE, |supervisor, ctx| {
            let seen = supervisor.peers.pool.look();
            for change in supervisor.watch.judge(tokio::time::Instant::now(), seen) {
                change.report(&supervisor.log);
            }
            let asked = supervisor.pulses.ask(&supervisor.log);
            ctx.spawn(asked.into_actor(supervisor).map(|answers, supervisor, _| {
                supervisor.pulses.note(&answers, &supervisor.log);
            }));
        });
    }
}

impl Handler<StopRequested> for Supervisor {
    type Result = ();

    fn handle(&mut self, stop: StopRequested, ctx: &mut Self::Context) {
        match stop.mode {
            StopMode::Graceful => {
                info!(self.log, "stopping"; "grace" => ?self.grace, "by" => stop.by);
                self.stop_gracefully(ctx);
            }
            StopMode::Immediate => self.finish(Ended::Immediately, ctx),
        }
    }
}

impl Handler<AllSettled> for Supervisor {
    type Result = ();

    fn handle(&mut self, _: AllSettled, ctx: &mut Self::Context) {
        self.stop_gracefully(ctx);
    }
}

impl Handler<ActorLost> for Supervisor {
    type Result = ();

    fn handle(&mut self, lost: ActorLost, ctx: &mut Self::Context) {
        if self.phase != Phase::Running {
            return; // an actor that is lost during a stop or a restart was about to end anyway
        }
        if self.is_hopeless(Instant::now()) {
            error!(self.log, "an actor is lost again and again, the pipeline ends; what is in work stays in the work area";
                    "times" => self.restarts.len(), "within" => ?RESTART_WINDOW, "actor" => lost.name);
            self.finish(Ended::Failed { actor: lost.name }, ctx);
        } else {
            error!(self.log, "an actor is lost, the pipeline starts again"; "actor" => lost.name);
            self.restart(lost.name, ctx);
        }
    }
}

impl Handler<GetStatus> for Supervisor {
    type Result = ResponseFuture<Status>;

    /// Asks the current Dispatcher; without a Dispatcher, every count is 0.
    fn handle(&mut self, _: GetStatus, _: &mut Self::Context) -> Self::Result {
        let dispatcher = self.peers.status.clone();
        Box::pin(async move {
            match dispatcher {
                Some(dispatcher) => dispatcher.send(GetStatus).await.unwrap_or_default(),
                None => Status::default(),
            }
        })
    }
}

impl Handler<SetIntake> for Supervisor {
    type Result = ();

    /// If there is no Dispatcher, `Raise` sets the intake of the next one.
    fn handle(&mut self, intake: SetIntake, _: &mut Self::Context) {
        if let Some((set, _)) = &self.peers.intake {
            post(set, intake);
        }
    }
}

impl Handler<Drain> for Supervisor {
    type Result = ResponseFuture<bool>;

    fn handle(&mut self, drain: Drain, _: &mut Self::Context) -> Self::Result {
        // Sent at once, so that a later request of the program cannot overtake it.
        let drained = self.peers.intake.as_ref().map(|(_, to)| to.send(drain));
        Box::pin(async move {
            match drained {
                Some(drained) => drained.await.unwrap_or(false),
                None => false,
            }
        })
    }
}

impl Handler<GetHealth> for Supervisor {
    type Result = Health;

    fn handle(&mut self, _: GetHealth, _: &mut Self::Context) -> Health {
        let threads = self.watch.health(tokio::time::Instant::now());
        Health { threads, ..self.pulses.health(self.restarts.len()) }
    }
}

/// A test → Supervisor: makes an actor panic. Returns whether an actor of that name exists.
#[cfg(any(test, feature = "testkit"))]
#[derive(Debug, Message)]
#[rtype(result = "bool")]
pub struct HavePanic {
    /// The name as in [`Health`]; `extractor` for a thread of the pool.
    pub actor: String,
}

#[cfg(any(test, feature = "testkit"))]
impl Handler<HavePanic> for Supervisor {
    type Result = bool;

    fn handle(&mut self, wanted: HavePanic, _: &mut Self::Context) -> bool {
        let found = self.peers.fragile.iter().find(|(name, _)| *name == wanted.actor);
        found.is_some_and(|(_, actor)| post(actor, crate::messages::Panic))
    }
}

#[cfg(test)]
mod tests;

//! Ends the pipeline: on a signal, on request, or when an actor is lost.
//!
//! In: [`StopRequested`], [`ActorLost`], [`AllSettled`]. Out: [`Shutdown`], to one actor after the
//! other along the data's way, so that each finds its receivers alive until it has stopped.
//!
//! **Invariant:** there is never a live process that does no work: an actor that is lost ends the
//! pipeline, and whoever waits for its end is told.

pub mod signals;

use std::time::Duration;

use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, Recipient,
    WrapFuture,
};
use slog::{Logger, error, info, warn};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::lifeline::{ActorLost, Ending};
use crate::messages::{AllSettled, Shutdown, StopMode};

/// Somebody wants the pipeline to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct StopRequested {
    /// Graceful or immediate.
    pub mode: StopMode,
    /// What asked for it, for the log.
    pub by: &'static str,
}

/// How the pipeline ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ended {
    /// Everything in flight was finished.
    Drained,
    /// The grace was over before that: the rest is in the work area, for the next start.
    GraceOver,
    /// At once, as asked.
    Immediately,
    /// An actor was lost.
    Failed {
        /** Which. */
        actor: &'static str,
    },
}

/// The actors that are stopped, along the data's way.
#[derive(Default)]
pub struct Peers {
    /// They take nothing new.
    pub watchers: Vec<Recipient<Shutdown>>,
    /// Answers when nothing is in flight.
    pub dispatcher: Option<Recipient<Shutdown>>,
    /// Stages, then the Archiver, then the event bus: each has nothing to do any more.
    pub rest: Vec<(&'static str, Recipient<Shutdown>)>,
}

/// How long an actor that has nothing to do may take to say so.
const PATIENCE: Duration = Duration::from_secs(5);

/// Stops the actors in order and tells how it ended.
pub struct Supervisor {
    peers: Peers,
    grace: Duration,
    ending: Ending,
    ended: Option<oneshot::Sender<Ended>>,
    stopping: bool,
    log: Logger,
}

impl Supervisor {
    /// One that tells `ended` when it is over.
    #[must_use]
    pub fn new(
        peers: Peers,
        grace: Duration,
        ending: Ending,
        ended: oneshot::Sender<Ended>,
        log: Logger,
    ) -> Self {
        Self { peers, grace, ending, ended: Some(ended), stopping: false, log }
    }

    fn finish(&mut self, how: Ended, ctx: &mut Context<Self>) {
        self.ending.begin();
        if let Some(ended) = self.ended.take() {
            ended.send(how).ok(); // nobody waits: an embedding program let its handle go
        }
        ctx.stop();
    }

    /// Watchers first; then nothing new comes, and the Dispatcher waits for what is in flight.
    fn stop_gracefully(&mut self, ctx: &mut Context<Self>) {
        if std::mem::replace(&mut self.stopping, true) {
            return;
        }
        let (peers, grace, ending) =
            (std::mem::take(&mut self.peers), self.grace, self.ending.clone());
        let log = self.log.clone();
        let stop = stop_in_order(peers, grace, ending, log).into_actor(self);
        ctx.spawn(stop.map(|how, supervisor, ctx| supervisor.finish(how, ctx)));
    }
}

async fn stop_in_order(peers: Peers, grace: Duration, ending: Ending, log: Logger) -> Ended {
    let graceful = Shutdown { mode: StopMode::Graceful };
    let now = Shutdown { mode: StopMode::Immediate };
    for watcher in &peers.watchers {
        // One that hangs in a dead file system is on an arbiter of its own, and is left behind.
        if timeout(PATIENCE, watcher.send(graceful)).await.is_err() {
            warn!(log, "a watcher does not answer, its landing may hang");
        }
    }
    let mut how = Ended::Drained;
    if let Some(dispatcher) = &peers.dispatcher {
        let drained = timeout(grace, dispatcher.send(graceful)).await;
        ending.begin();
        if drained.is_err() {
            how = Ended::GraceOver;
        }
        // A Dispatcher that is gone is as stopped as can be.
        dispatcher.send(now).await.ok();
    }
    ending.begin();
    for (name, actor) in &peers.rest {
        if timeout(PATIENCE, actor.send(now)).await.is_err() {
            warn!(log, "an actor does not stop"; "actor" => name);
        }
    }
    how
}

impl Actor for Supervisor {
    type Context = Context<Self>;
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
        error!(self.log, "an actor is lost, the pipeline ends; what is in work stays in the work area";
            "actor" => lost.name);
        self.finish(Ended::Failed { actor: lost.name }, ctx);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::Probe;
    use std::cell::RefCell;
    use std::rc::Rc;

    fn discard() -> Logger {
        Logger::root(slog::Discard, slog::o!())
    }

    #[actix::test]
    async fn supervisor_asked_to_stop_stops_along_the_datas_way() {
        let order = Rc::new(RefCell::new(Vec::new()));
        let probe = |name: &'static str| {
            let order = Rc::clone(&order);
            Probe::answering(move |stop: &Shutdown| order.borrow_mut().push((name, stop.mode)))
        };
        let (watcher, dispatcher, archiver) =
            (probe("watcher"), probe("dispatcher"), probe("archiver"));
        let peers = Peers {
            watchers: vec![watcher.recipient()],
            dispatcher: Some(dispatcher.recipient()),
            rest: vec![("archiver", archiver.recipient())],
        };
        let (tell, told) = oneshot::channel();
        let ending = Ending::default();
        let supervisor =
            Supervisor::new(peers, Duration::from_secs(30), ending.clone(), tell, discard())
                .start();
        supervisor.send(StopRequested { mode: StopMode::Graceful, by: "a test" }).await.unwrap();
        assert_eq!(told.await.unwrap(), Ended::Drained);
        let expected = [
            ("watcher", StopMode::Graceful),
            ("dispatcher", StopMode::Graceful),
            ("dispatcher", StopMode::Immediate),
            ("archiver", StopMode::Immediate),
        ];
        assert_eq!(*order.borrow(), expected);
        assert!(ending.has_begun());
    }

    #[actix::test]
    async fn supervisor_that_loses_an_actor_ends_and_names_it() {
        let (tell, told) = oneshot::channel();
        let supervisor =
            Supervisor::new(Peers::default(), Duration::ZERO, Ending::default(), tell, discard())
                .start();
        supervisor.send(ActorLost { name: "archiver" }).await.unwrap();
        assert_eq!(told.await.unwrap(), Ended::Failed { actor: "archiver" });
    }

    struct NeverQuiet;

    impl Actor for NeverQuiet {
        type Context = Context<Self>;
    }

    impl Handler<Shutdown> for NeverQuiet {
        type Result = actix::ResponseFuture<()>;

        fn handle(&mut self, stop: Shutdown, _: &mut Self::Context) -> Self::Result {
            match stop.mode {
                StopMode::Graceful => Box::pin(std::future::pending()),
                StopMode::Immediate => Box::pin(std::future::ready(())),
            }
        }
    }

    #[actix::test]
    async fn supervisor_whose_grace_is_over_leaves_the_rest_to_the_next_start() {
        tokio::time::pause();
        let (tell, told) = oneshot::channel();
        let dispatcher = Some(NeverQuiet.start().recipient());
        let peers = Peers { dispatcher, ..Peers::default() };
        let grace = Duration::from_secs(30);
        let supervisor = Supervisor::new(peers, grace, Ending::default(), tell, discard()).start();
        supervisor.send(StopRequested { mode: StopMode::Graceful, by: "a test" }).await.unwrap();
        assert_eq!(told.await.unwrap(), Ended::GraceOver);
    }
}

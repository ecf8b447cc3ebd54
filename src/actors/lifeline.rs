//! [`Lifeline`]: tells the Supervisor that an actor is gone, whatever the reason.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use actix::{Message, Recipient};
use tokio::sync::oneshot;

use super::post::post;

/// An actor has ended without being asked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct ActorLost {
    /// The name of the actor.
    pub name: &'static str,
}

/// Whether the pipeline is being stopped, so that actors end on purpose. Shared by all its actors.
#[derive(Debug, Clone, Default)]
pub struct Ending {
    begun: Arc<AtomicBool>,
    _counted: Census,
}

impl Ending {
    /// Creates an `Ending` whose holders are counted by `census`.
    #[must_use]
    pub fn counted(census: &Census) -> Self {
        Self { begun: Arc::default(), _counted: census.clone() }
    }

    /// Records that a stop has begun: from now on the end of an actor is no loss.
    pub fn begin(&self) {
        self.begun.store(true, Ordering::SeqCst);
    }

    /// Whether a stop has begun.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.begun.load(Ordering::SeqCst)
    }
}

/// Counts what is left of pipelines: every actor, stage and package in work has an [`Ending`].
#[derive(Debug, Clone, Default)]
pub struct Census(Arc<()>);

impl Census {
    /// Returns the number of other holders; 0 when nothing is left.
    #[must_use]
    pub fn others(&self) -> usize {
        Arc::strong_count(&self.0) - 1
    }
}

/// A field of every actor. If a handler panics, actix drops the actor and reports nothing; the drop of
/// this field reports it.
pub struct Lifeline {
    name: &'static str,
    lost: Option<Recipient<ActorLost>>,
    ending: Ending,
}

impl Lifeline {
    /// Creates a lifeline that reports to `lost`.
    #[must_use]
    pub fn new(name: &'static str, lost: Recipient<ActorLost>, ending: Ending) -> Self {
        Self { name, lost: Some(lost), ending }
    }

    /// Creates a lifeline that reports nothing, for an actor that is tested alone.
    #[must_use]
    pub fn loose() -> Self {
        Self { name: "loose", lost: None, ending: Ending::default() }
    }

    /// Whether the pipeline is being stopped, so that nothing waits for this actor any longer.
    pub(crate) fn is_ending(&self) -> bool {
        self.ending.has_begun()
    }

    /// Records that the actor was asked to end, so that its end is not reported as a loss.
    pub fn release(&mut self) {
        self.lost = None;
    }
}

impl Drop for Lifeline {
    fn drop(&mut self) {
        if let Some(lost) = self.lost.take().filter(|_| !self.ending.has_begun()) {
            // An actor is dropped before its mailbox. The package that it worked on is dropped by now and
            // costs an attempt. Packages that waited in the mailbox must not cost one: recovery takes them.
            self.ending.begin();
            post(&lost, ActorLost { name: self.name });
        }
    }
}

/// Held by every part of a pipeline that works on its own thread. When the last `Hold` is dropped, that
/// pipeline no longer touches the work area, and another can recover it.
#[derive(Debug, Clone)]
pub struct Hold {
    _last: Arc<Released>,
}

#[derive(Debug)]
struct Released(Option<oneshot::Sender<()>>);

impl Drop for Released {
    fn drop(&mut self) {
        if let Some(released) = self.0.take() {
            released.send(()).ok(); // nothing waits: the process ends
        }
    }
}

impl Hold {
    /// Creates the first hold, and a receiver that resolves when the last one is dropped.
    #[must_use]
    pub fn new() -> (Self, oneshot::Receiver<()>) {
        let (tell, told) = oneshot::channel();
        (Self { _last: Arc::new(Released(Some(tell))) }, told)
    }

    /// Creates a hold that nothing waits for, for an actor that is tested alone.
    #[must_use]
    pub fn loose() -> Self {
        Self { _last: Arc::new(Released(None)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::Probe;

    #[actix::test]
    async fn lifeline_dropped_before_a_stop_reports_its_actor() {
        let mut supervisor = Probe::<ActorLost>::start();
        let ending = Ending::default();
        drop(Lifeline::new("watcher", supervisor.recipient(), ending.clone()));
        assert_eq!(supervisor.drain().await, [ActorLost { name: "watcher" }]);
        let mut asked = Lifeline::new("watcher", supervisor.recipient(), ending.clone());
        asked.release();
        drop(asked);
        ending.begin();
        drop(Lifeline::new("watcher", supervisor.recipient(), ending));
        assert_eq!(supervisor.drain().await, []);
    }

    struct Fragile {
        _lifeline: Lifeline,
    }

    impl actix::Actor for Fragile {
        type Context = actix::Context<Self>;
    }

    #[derive(Message)]
    #[rtype(result = "()")]
    struct Break;

    impl actix::Handler<Break> for Fragile {
        type Result = ();

        fn handle(&mut self, _: Break, _: &mut Self::Context) {
            panic!("as the test wants it");
        }
    }

    #[actix::test]
    async fn lifeline_of_an_actor_that_panics_reports_it_wherever_it_runs() {
        let mut supervisor = Probe::<ActorLost>::start();
        let fragile = |lost| Fragile { _lifeline: Lifeline::new("x", lost, Ending::default()) };
        let here = actix::Actor::start(fragile(supervisor.recipient()));
        assert!(here.send(Break).await.is_err(), "it lived on");
        assert_eq!(supervisor.next().await, ActorLost { name: "x" });

        let (elsewhere, lost) = (actix::Arbiter::new(), supervisor.recipient());
        let there = <Fragile as actix::Actor>::start_in_arbiter(&elsewhere.handle(), move |_| {
            fragile(lost)
        });
        assert!(there.send(Break).await.is_err(), "it lived on");
        assert_eq!(supervisor.next().await, ActorLost { name: "x" });
        elsewhere.stop();
    }
}

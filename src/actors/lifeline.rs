//! [`Lifeline`]: tells the Supervisor that an actor is gone, however it went.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use actix::{Message, Recipient};
use tokio::sync::oneshot;

use super::post::post;

/// An actor has ended that nobody asked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct ActorLost {
    /// Which.
    pub name: &'static str,
}

/// Whether the pipeline is being stopped: what ends now was meant to. Shared by all its actors.
#[derive(Debug, Clone, Default)]
pub struct Ending {
    begun: Arc<AtomicBool>,
    _counted: Census,
}

impl Ending {
    /// One whose holders are counted.
    #[must_use]
    pub fn counted(census: &Census) -> Self {
        Self { begun: Arc::default(), _counted: census.clone() }
    }

    /// From now on actors end because they are asked to.
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
    /// How much is left, beside this one; 0 when all is gone.
    #[must_use]
    pub fn others(&self) -> usize {
        Arc::strong_count(&self.0) - 1
    }
}

/// A field of every actor. actix drops an actor whose handler panics without a word to anyone, but
/// it does drop it; so the drop is what speaks.
pub struct Lifeline {
    name: &'static str,
    lost: Option<Recipient<ActorLost>>,
    ending: Ending,
}

impl Lifeline {
    /// One that reports to `lost`.
    #[must_use]
    pub fn new(name: &'static str, lost: Recipient<ActorLost>, ending: Ending) -> Self {
        Self { name, lost: Some(lost), ending }
    }

    /// One that reports to nobody, for an actor that is tested alone.
    #[must_use]
    pub fn loose() -> Self {
        Self { name: "loose", lost: None, ending: Ending::default() }
    }

    /// Whether its pipeline is being stopped, and nobody waits for its actor any more.
    pub(crate) fn is_ending(&self) -> bool {
        self.ending.has_begun()
    }

    /// Its actor is asked to end: that is no loss.
    pub fn release(&mut self) {
        self.lost = None;
    }
}

impl Drop for Lifeline {
    fn drop(&mut self) {
        if let Some(lost) = self.lost.take().filter(|_| !self.ending.has_begun()) {
            // An actor goes before its mailbox. The package that it had in hand is gone by now, and pays
            // an attempt; those that only waited for it are not to pay, and are taken up by recovery.
            self.ending.begin();
            post(&lost, ActorLost { name: self.name });
        }
    }
}

/// Held by whatever of a pipeline works on threads of its own. When the last one is dropped, nothing
/// of that pipeline touches the work area any more, and another can recover it.
#[derive(Debug, Clone)]
pub struct Hold {
    _last: Arc<Released>,
}

#[derive(Debug)]
struct Released(Option<oneshot::Sender<()>>);

impl Drop for Released {
    fn drop(&mut self) {
        if let Some(released) = self.0.take() {
            released.send(()).ok(); // nobody waits: the process ends
        }
    }
}

impl Hold {
    /// The first one, and what tells when the last is gone.
    #[must_use]
    pub fn new() -> (Self, oneshot::Receiver<()>) {
        let (tell, told) = oneshot::channel();
        (Self { _last: Arc::new(Released(Some(tell))) }, told)
    }

    /// One that nobody waits for, for an actor that is tested alone.
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

//! Fans facts about packages out to all subscribers.
//!
//! In: [`PackageEvent`]. Out: [`PackageEvent`].
//!
//! **Invariant:** a slow subscriber delays no other actor: events are posted, never awaited.

use actix::{Actor, ActorContext, Context, Handler, Recipient};

use super::lifeline::Lifeline;
use super::post::post;
use crate::messages::{PackageEvent, Ping, Shutdown};

/// Passes every fact about packages on to the subscribers.
pub struct EventBus {
    subscribers: Vec<Recipient<PackageEvent>>,
    lifeline: Lifeline,
}

impl EventBus {
    /// Creates a bus with these subscribers from the start, so that they get the first event.
    #[must_use]
    pub fn new(subscribers: Vec<Recipient<PackageEvent>>, lifeline: Lifeline) -> Self {
        Self { subscribers, lifeline }
    }
}

impl Actor for EventBus {
    type Context = Context<Self>;
}

impl Handler<PackageEvent> for EventBus {
    type Result = ();

    fn handle(&mut self, event: PackageEvent, _: &mut Self::Context) {
        self.subscribers.retain(|subscriber| post(subscriber, event.clone()));
    }
}

impl Handler<Ping> for EventBus {
    type Result = ();

    fn handle(&mut self, _: Ping, _: &mut Self::Context) {}
}

impl Handler<Shutdown> for EventBus {
    type Result = ();

    /// Everything posted before has been passed on by now: a mailbox is first-in first-out.
    fn handle(&mut self, _: Shutdown, ctx: &mut Self::Context) {
        self.lifeline.release();
        ctx.stop();
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use actix::AsyncContext;

    use super::*;
    use crate::id::SourceName;
    use crate::messages::Fact;
    use crate::testkit::Probe;

    fn event(name: &str) -> PackageEvent {
        PackageEvent {
            at: SystemTime::UNIX_EPOCH,
            source: SourceName::default(),
            name: name.to_owned(),
            job: None,
            attempt: 0,
            fact: Fact::Vanished,
        }
    }

    #[actix::test]
    async fn event_reaches_every_subscriber_in_order_and_a_gone_one_stops_none() {
        let (mut first, mut second) = (Probe::<PackageEvent>::start(), Probe::start());
        let gone = Context::<EventBus>::new();
        let subscribers = vec![gone.address().recipient(), first.recipient(), second.recipient()];
        let bus = EventBus::new(subscribers, Lifeline::loose()).start();
        drop(gone);
        bus.send(event("a")).await.unwrap();
        bus.send(event("b")).await.unwrap();
        for probe in [&mut first, &mut second] {
            assert_eq!(probe.drain().await, [event("a"), event("b")]);
        }
    }
}

//! [`Probe`]: replaces an actor's peer, and returns the messages that it received.

use std::marker::PhantomData;
use std::time::Duration;

use actix::{Actor, Addr, Context, Handler, Message, MessageResult, Recipient};
use tokio::sync::mpsc;

/// How long [`Probe::next`] waits before it fails the test.
const PATIENCE: Duration = Duration::from_secs(20);

/// Records every message of one type, and answers by script.
///
/// A mailbox is first-in first-out, so every message that was sent before [`Probe::drain`] is in its
/// result.
pub struct Probe<M: Message + Send + 'static>
where
    M::Result: Send,
{
    recorder: Addr<Recorder<M>>,
    seen: mpsc::UnboundedReceiver<M>,
}

impl<M: Message + Send + 'static> Probe<M>
where
    M::Result: Send,
{
    /// Starts a probe that answers with the default value. Needs a running actix system.
    #[must_use]
    pub fn start() -> Self
    where
        M::Result: Default,
    {
        Self::answering(|_| M::Result::default())
    }

    /// Starts a probe that answers each message with the result of `answer`.
    #[must_use]
    pub fn answering(answer: impl FnMut(&M) -> M::Result + 'static) -> Self {
        let (seen_by, seen) = mpsc::unbounded_channel();
        let recorder = Recorder { seen_by, answer: Box::new(answer) }.start();
        Self { recorder, seen }
    }

    /// The address to give to the actor under test.
    #[must_use]
    pub fn recipient(&self) -> Recipient<M> {
        self.recorder.clone().recipient()
    }

    /// Takes all messages that were sent so far, in order.
    ///
    /// # Panics
    /// The probe's own actor has ended: `answer` panicked.
    pub async fn drain(&mut self) -> Vec<M> {
        #[expect(
            clippy::expect_used,
            reason = "a probe that is gone fails its test, as it should"
        )]
        self.recorder.send(Barrier(PhantomData)).await.expect("the probe is gone");
        std::iter::from_fn(|| self.seen.try_recv().ok()).collect()
    }

    /// Waits for the next message.
    ///
    /// # Panics
    /// None comes within 20 s, or the probe's own actor has ended.
    pub async fn next(&mut self) -> M {
        #[expect(clippy::expect_used, reason = "a probe that waits in vain fails its test")]
        let message = tokio::time::timeout(PATIENCE, self.seen.recv())
            .await
            .expect("no message came within 20 s");
        #[expect(clippy::expect_used, reason = "a probe that is gone fails its test, as it should")]
        message.expect("the probe is gone")
    }
}

type Answer<M> = Box<dyn FnMut(&M) -> <M as Message>::Result>;

struct Recorder<M: Message> {
    seen_by: mpsc::UnboundedSender<M>,
    answer: Answer<M>,
}

impl<M: Message + Send + 'static> Actor for Recorder<M> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // A probe accepts every message, also by `try_send`.
        ctx.set_mailbox_capacity(1 << 20);
    }
}

impl<M: Message + Send + 'static> Handler<M> for Recorder<M>
where
    M::Result: Send,
{
    type Result = MessageResult<M>;

    fn handle(&mut self, message: M, _: &mut Self::Context) -> Self::Result {
        let answer = (self.answer)(&message);
        // The probe may have been dropped.
        self.seen_by.send(message).ok();
        MessageResult(answer)
    }
}

/// Generic only so that it can never be the same type as `M`.
struct Barrier<M>(PhantomData<fn() -> M>);

impl<M> Message for Barrier<M> {
    type Result = ();
}

impl<M: Message + Send + 'static> Handler<Barrier<M>> for Recorder<M>
where
    M::Result: Send,
{
    type Result = ();

    fn handle(&mut self, _: Barrier<M>, _: &mut Self::Context) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Message)]
    #[rtype(result = "u32")]
    struct Asked(u32);

    #[actix::test]
    async fn probe_sent_three_messages_answers_and_gives_them_in_order() {
        let mut probe = Probe::answering(|asked: &Asked| asked.0 * 2);
        assert_eq!(probe.recipient().send(Asked(1)).await.unwrap(), 2);
        crate::actors::post::post(&probe.recipient(), Asked(2));
        crate::actors::post::post(&probe.recipient(), Asked(3));
        assert_eq!(probe.next().await, Asked(1));
        assert_eq!(probe.drain().await, [Asked(2), Asked(3)]);
    }
}

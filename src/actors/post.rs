//! The one way in which messages are sent that must not get lost.
//!
//! `try_send` refuses once 16 messages wait in a mailbox, so a report sent with it is lost just when
//! there is most to report. `send().await` needs a task, and a pool thread has none; awaiting it in
//! an actor that the receiver in turn waits for would deadlock. What is left is actix's `do_send`,
//! which puts the message behind the others whatever their number, and returns at once.
//!
//! **Why it loses nothing:** a message is dropped only when the receiver is gone. Then the pipeline
//! is being stopped or has failed, and what the message was about lies in the work area, from where
//! the next start goes on.
//!
//! **Why it cannot grow without bound:** everything posted is the answer to something counted. Each
//! `Extract` in flight gives one report, each package in work one `Unpacked` or `Rejected` and one
//! `JobSettled`, and a handful of events. The Dispatcher bounds the first two.

use actix::dev::ToEnvelope;
use actix::{Actor, Addr, Handler, Message, Recipient};

/// Puts `message` into the receiver's mailbox, however full it is. False where the receiver is gone.
#[expect(clippy::disallowed_methods, reason = "the module's purpose: see its head")]
pub fn post<M>(to: &Recipient<M>, message: M) -> bool
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    let alive = to.connected();
    to.do_send(message);
    alive
}

/// The same for an actor's own private messages, which have no recipient elsewhere.
#[expect(clippy::disallowed_methods, reason = "the module's purpose: see its head")]
pub(crate) fn post_to<A, M>(to: &Addr<A>, message: M) -> bool
where
    A: Actor + Handler<M>,
    A::Context: ToEnvelope<A, M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    let alive = to.connected();
    to.do_send(message);
    alive
}

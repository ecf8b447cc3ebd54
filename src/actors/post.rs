//! The only way to send messages that must not get lost.
//!
//! `try_send` refuses once 16 messages wait in a mailbox, so a report sent with it is lost exactly when
//! there is most to report. `send().await` needs a task, which a pool thread does not have; awaiting it
//! in an actor that the receiver in turn waits for would deadlock. The remaining way is actix's
//! `do_send`, which queues the message however many wait already, and returns at once.
//!
//! **Why no message is lost:** a message is dropped only if the receiver is gone. Then the pipeline is
//! being stopped or has failed, and the job that the message was about is in the work area, where the
//! next start resumes it.
//!
//! **Why the mailbox cannot grow without bound:** every posted message answers something counted. Each
//! `Extract` in flight causes one report. Each package in work causes one `Unpacked` or `Rejected`, one
//! `JobSettled`, and a handful of events. The Dispatcher bounds the first two.

use actix::dev::ToEnvelope;
use actix::{Actor, Addr, Handler, Message, Recipient};

/// Queues `message` in the receiver's mailbox, however full it is. Returns false if the receiver is gone.
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

/// Like [`post`], for an actor's own private messages, which have no recipient elsewhere.
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

//! Tells the ledger what happens to packages, as much at a time as gathered meanwhile.
//!
//! In: [`PackageEvent`] (it subscribes to the bus), [`Record`]. Out: transactions of the store.
//!
//! A shell around [`LedgerHandle`]: one flush at a time runs on a blocking thread, and what comes
//! meanwhile is the next one, so that a busy disk makes larger transactions and fewer of them. What is
//! told here is also taken along by whoever commits next, which is mostly the Archiver.
//!
//! **Invariant:** nobody waits for it. What became of a job the Archiver commits itself, through the
//! same handle, before it clears the job's folder away; if this actor's facts are lost, the times of
//! some steps are.

use std::time::Duration;

use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, ResponseFuture,
    SpawnHandle, WrapFuture,
};
use slog::{Logger, error, warn};
use tokio::sync::oneshot;

use super::lifeline::Lifeline;
use super::worker::{NO_THREAD_PAUSE, Worker};
use crate::ledger::{LedgerHandle, Record};
use crate::messages::{PackageEvent, Ping, Shutdown};

/// How long facts gather before they are written without more ado. In a busy hour it is the Archiver
/// that takes most of them along, in the transaction that it needs anyway.
const GATHER: Duration = Duration::from_millis(100);

/// Writes down what happens.
pub struct Ledger {
    handle: LedgerHandle,
    busy: bool,
    /// Whether the handle keeps facts that it could not commit.
    owes: bool,
    /// Runs while there is something to write, and no flush does.
    timer: Option<SpawnHandle>,
    /// Those who asked for a stop, answered when all is written that can be.
    stopping: Vec<oneshot::Sender<()>>,
    worker: Worker,
    log: Logger,
    lifeline: Lifeline,
}

impl Ledger {
    /// One that writes through this handle.
    #[must_use]
    pub fn new(handle: LedgerHandle, log: Logger, lifeline: Lifeline) -> Self {
        let (busy, owes, timer, stopping) = (false, false, None, Vec::new());
        let worker = Worker::new("ledger");
        Self { handle, busy, owes, timer, stopping, worker, log, lifeline }
    }

    fn take(&mut self, record: Record, ctx: &mut Context<Self>) {
        self.handle.tell(record);
        self.flush_later(ctx);
    }

    fn flush_later(&mut self, ctx: &mut Context<Self>) {
        if self.busy || self.timer.is_some() {
            return;
        }
        // A little longer than the handle's own pause, so that it tries again then.
        let pause = if self.owes { self.handle.pause() } else { Duration::ZERO };
        self.timer = Some(ctx.run_later(pause + GATHER, |ledger, ctx| {
            ledger.timer = None;
            ledger.flush(ctx);
        }));
    }

    /// Writes all that gathered. What comes meanwhile gathers for the next time.
    fn flush(&mut self, ctx: &mut Context<Self>) {
        if self.busy {
            return;
        }
        if self.worker.start().is_err() {
            // What gathered stays in the handle, and goes with the Archiver's next commit.
            ctx.run_later(NO_THREAD_PAUSE, |ledger, ctx| ledger.flush(ctx));
            return;
        }
        self.busy = true;
        let (handle, last) = (self.handle.clone(), !self.stopping.is_empty());
        let work = self.worker.run(move || match last {
            true => handle.flush_at_last(),
            false => handle.flush(),
        });
        ctx.spawn(work.into_actor(self).map(move |done, ledger, ctx| {
            ledger.busy = false;
            let Ok(done) = done else {
                error!(ledger.log, "writing the ledger panicked");
                ctx.stop(); // the Supervisor starts all again
                return;
            };
            ledger.owes = !done;
            match (last, ledger.stopping.is_empty()) {
                (true, _) => ledger.end(ctx),
                (false, false) => ledger.flush(ctx),
                (false, true) if ledger.owes || ledger.handle.has_told() => ledger.flush_later(ctx),
                (false, true) => {}
            }
        }));
    }

    fn end(&mut self, ctx: &mut Context<Self>) {
        if self.owes {
            warn!(
                self.log,
                "the ledger could not be written to the last; where it does not know a \
                package the archive is asked"
            );
        }
        for asker in self.stopping.drain(..) {
            asker.send(()).ok(); // one that no longer waits has decided otherwise
        }
        self.lifeline.release();
        ctx.stop();
    }
}

impl Actor for Ledger {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        self.worker.start().ok(); // it is tried again when there is something to write
    }
}

impl Handler<PackageEvent> for Ledger {
    type Result = ();

    fn handle(&mut self, event: PackageEvent, ctx: &mut Self::Context) {
        if let Some(record) = Record::of(&event) {
            self.take(record, ctx);
        }
    }
}

impl Handler<Record> for Ledger {
    type Result = ();

    fn handle(&mut self, record: Record, ctx: &mut Self::Context) {
        self.take(record, ctx);
    }
}

impl Handler<Ping> for Ledger {
    type Result = ();

    fn handle(&mut self, _: Ping, _: &mut Self::Context) {}
}

impl Handler<Shutdown> for Ledger {
    type Result = ResponseFuture<()>;

    /// The answer comes when what gathered is written, or could not be.
    fn handle(&mut self, _: Shutdown, ctx: &mut Self::Context) -> Self::Result {
        let (written, is_written) = oneshot::channel();
        self.stopping.push(written);
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        self.flush(ctx);
        Box::pin(async move {
            // An error is a Ledger that is gone: nothing is left to wait for.
            is_written.await.ok();
        })
    }
}

#[cfg(test)]
mod tests;

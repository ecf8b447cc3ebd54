//! Writes what happens to packages to the ledger, in batches.
//!
//! In: [`PackageEvent`] (it subscribes to the bus). Out: transactions of the store.
//!
//! A shell around [`LedgerHandle`]: one flush at a time runs on a blocking thread, and what comes
//! meanwhile is the next flush, so a busy disk makes larger and fewer transactions. A commit by another
//! user of the handle, mostly the Archiver, also includes what is queued here.
//!
//! **Invariant:** nothing waits for this actor. The Archiver itself commits the outcome of a job, through
//! the same handle, before it removes the job's folder. If this actor's facts are lost, only the times of
//! some steps are lost.

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

/// How long facts gather before they are written. Under load the Archiver commits most of them, in a
/// transaction that it needs anyway.
const GATHER: Duration = Duration::from_millis(100);

/// Writes events to the ledger.
pub struct Ledger {
    handle: LedgerHandle,
    busy: bool,
    /// Whether the handle holds facts that it could not commit.
    owes: bool,
    /// Runs while there is something to write and no flush runs.
    timer: Option<SpawnHandle>,
    /// Callers of `Shutdown`, answered when everything is written that can be.
    stopping: Vec<oneshot::Sender<()>>,
    worker: Worker,
    log: Logger,
    lifeline: Lifeline,
}

impl Ledger {
    /// Creates a ledger actor that writes through `handle`.
    #[must_use]
    pub fn new(handle: LedgerHandle, log: Logger, lifeline: Lifeline) -> Self {
        let (busy, owes, timer, stopping) = (false, false, None, Vec::new());
        let worker = Worker::new("ledger");
        Self { handle, busy, owes, timer, stopping, worker, log, lifeline }
    }

    fn flush_later(&mut self, ctx: &mut Context<Self>) {
        if self.busy || self.timer.is_some() {
            return;
        }
        // A little longer than the handle's own pause, so that the handle tries again then.
        let pause = if self.owes { self.handle.pause() } else { Duration::ZERO };
        self.timer = Some(ctx.run_later(pause + GATHER, |ledger, ctx| {
            ledger.timer = None;
            ledger.flush(ctx);
        }));
    }

    /// Writes everything gathered. What comes meanwhile gathers for the next flush.
    fn flush(&mut self, ctx: &mut Context<Self>) {
        if self.busy {
            return;
        }
        if self.worker.start().is_err() {
            // The gathered facts stay in the handle, and the Archiver's next commit includes them.
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
                ctx.stop(); // the Supervisor restarts the pipeline
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
            asker.send(()).ok(); // a caller that no longer waits has decided otherwise
        }
        self.lifeline.release();
        ctx.stop();
    }
}

impl Actor for Ledger {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        self.worker.start().ok(); // tried again when there is something to write
    }
}

impl Handler<PackageEvent> for Ledger {
    type Result = ();

    fn handle(&mut self, event: PackageEvent, ctx: &mut Self::Context) {
        if let Some(record) = Record::of(&event) {
            self.handle.tell(record);
            self.flush_later(ctx);
        }
    }
}

impl Handler<Ping> for Ledger {
    type Result = ();

    fn handle(&mut self, _: Ping, _: &mut Self::Context) {}
}

impl Handler<Shutdown> for Ledger {
    type Result = ResponseFuture<()>;

    /// The answer comes when the gathered facts are written, or could not be written.
    fn handle(&mut self, _: Shutdown, ctx: &mut Self::Context) -> Self::Result {
        let (written, is_written) = oneshot::channel();
        self.stopping.push(written);
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        self.flush(ctx);
        Box::pin(async move {
            // An error means that the Ledger is gone: nothing is left to wait for.
            is_written.await.ok();
        })
    }
}

#[cfg(test)]
mod tests;

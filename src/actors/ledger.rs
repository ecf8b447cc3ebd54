//! Tells the ledger what happens to packages, as much at a time as gathered meanwhile.
//!
//! In: [`PackageEvent`] (it subscribes to the bus), [`Record`]. Out: transactions of the store.
//!
//! A shell around [`LedgerHandle`]: one flush at a time runs on a blocking thread, and what comes
//! meanwhile is the next one, so that a busy disk makes larger transactions and fewer of them.
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
use crate::ledger::{LedgerHandle, Record};
use crate::messages::{PackageEvent, Ping, Shutdown};

/// Writes down what happens.
pub struct Ledger {
    handle: LedgerHandle,
    gathered: Vec<Record>,
    busy: bool,
    /// Whether the handle keeps facts that it could not commit.
    owes: bool,
    /// Runs after a flush that failed.
    pause: Option<SpawnHandle>,
    /// Those who asked for a stop, answered when all is written that can be.
    stopping: Vec<oneshot::Sender<()>>,
    log: Logger,
    lifeline: Lifeline,
}

impl Ledger {
    /// One that writes through this handle.
    #[must_use]
    pub fn new(handle: LedgerHandle, log: Logger, lifeline: Lifeline) -> Self {
        let (gathered, stopping) = (Vec::new(), Vec::new());
        let (busy, owes, pause) = (false, false, None);
        Self { handle, gathered, busy, owes, pause, stopping, log, lifeline }
    }

    /// Starts the next flush, if there is anything to write and nothing to wait for.
    fn flush(&mut self, ctx: &mut Context<Self>) {
        let last = !self.stopping.is_empty();
        let idle = self.gathered.is_empty() && !self.owes && !last;
        if self.busy || self.pause.is_some() || idle {
            return;
        }
        self.busy = true;
        let (handle, records) = (self.handle.clone(), std::mem::take(&mut self.gathered));
        let work = actix_rt::task::spawn_blocking(move || match last {
            true => handle.commit_at_last(records),
            false => handle.commit(records),
        });
        ctx.spawn(work.into_actor(self).map(move |done, ledger, ctx| {
            ledger.busy = false;
            let Ok(done) = done else {
                error!(ledger.log, "writing the ledger panicked");
                ctx.stop(); // the Supervisor ends the pipeline
                return;
            };
            ledger.owes = !done;
            if last && ledger.gathered.is_empty() {
                ledger.end(ctx);
                return;
            }
            if !done && ledger.stopping.is_empty() {
                // A little longer than the handle's own, so that it tries again then.
                let pause = ledger.handle.pause() + Duration::from_millis(10);
                ledger.pause = Some(ctx.run_later(pause, |ledger, ctx| {
                    ledger.pause = None;
                    ledger.flush(ctx);
                }));
            }
            ledger.flush(ctx);
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
}

impl Handler<PackageEvent> for Ledger {
    type Result = ();

    fn handle(&mut self, event: PackageEvent, ctx: &mut Self::Context) {
        self.gathered.extend(Record::of(&event));
        self.flush(ctx);
    }
}

impl Handler<Record> for Ledger {
    type Result = ();

    fn handle(&mut self, record: Record, ctx: &mut Self::Context) {
        self.gathered.push(record);
        self.flush(ctx);
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
        if let Some(pause) = self.pause.take() {
            ctx.cancel_future(pause);
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

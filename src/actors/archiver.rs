//! Settles jobs: archives or quarantines them, or schedules another attempt.
//!
//! In: [`Unpacked`], [`Rejected`], [`StageOverdue`]. Out: [`JobSettled`].
//!
//! A shell around [`batch`]: a blocking thread settles one batch at a time, and what comes meanwhile
//! gathers for the next batch, so a busy disk makes larger batches and fewer syncs. Jobs that must be
//! copied to another file system continue on separate threads, a few per archive or quarantine: no
//! rename waits for a copy.
//!
//! **Invariant:** this actor alone decides the outcome of a job, good or bad.

pub mod batch;
pub mod books;
mod case;
mod copies;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, Recipient,
    ResponseFuture, WrapFuture,
};
use slog::{Logger, debug, error, warn};
use tokio::sync::oneshot;

use super::lifeline::{Hold, Lifeline};
use super::post::post;
use super::worker::{NO_THREAD_PAUSE, Worker};
use crate::id::SourceName;
use crate::messages::{JobSettled, Ping, Rejected, Shutdown, StageOverdue, StopMode, Unpacked};
use crate::publish::Copying;
use crate::workspace::{Recovered, Site};
use batch::{Done, Pending, Verdict, ZipCheck};
use books::Books;
use copies::Copies;

/// Maximum number of jobs per batch, so that no job waits long behind very many others.
const BATCH: usize = 256;

/// Minimum time between the starts of two batches, so that each has several jobs: a batch costs a sync, a
/// transaction and a thread switch. A job that comes after a pause is settled at once.
const PACE: Duration = Duration::from_millis(4);

/// Start-up → Archiver: recovered jobs that were being archived or quarantined.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct SettleRecovered {
    /// The jobs; each resumes where it was interrupted.
    pub jobs: Vec<Recovered>,
}

/// Settles every package.
pub struct Archiver {
    sites: Arc<HashMap<SourceName, Arc<Site>>>,
    settled: Recipient<JobSettled>,
    books: Arc<Books>,
    /// Whether archived jobs wait for the ledger and a timer for them runs.
    behind: bool,
    gathered: Vec<Pending>,
    busy: bool,
    /// When the last batch started.
    last: Option<Instant>,
    /// Whether a timer for the next batch runs.
    is_due: bool,
    /// Callers of a graceful `Shutdown`, answered when nothing is left to settle.
    waiting: Vec<oneshot::Sender<()>>,
    copies: Copies,
    worker: Worker,
    /// Whether the system could not create a thread.
    short: bool,
    log: Logger,
    lifeline: Lifeline,
    hold: Hold,
}

impl Archiver {
    /// Creates an Archiver for these sources, which reports the outcome of each job to `settled`.
    #[must_use]
    pub fn new(
        sites: Arc<HashMap<SourceName, Arc<Site>>>,
        settled: Recipient<JobSettled>,
        copying: Copying,
        books: Books,
        log: Logger,
        lifeline: Lifeline,
        hold: Hold,
    ) -> Self {
        let books = Arc::new(books);
        let copies = Copies::new(copying, Arc::clone(&books), hold.clone());
        Self {
            sites,
            settled,
            books,
            behind: false,
            gathered: Vec::new(),
            busy: false,
            last: None,
            is_due: false,
            waiting: Vec::new(),
            copies,
            worker: Worker::new("archiver"),
            short: false,
            log,
            lifeline,
            hold,
        }
    }

    /// Sets the check for ZIPs that were touched while in work.
    #[must_use]
    pub fn with_check(mut self, check: ZipCheck) -> Self {
        self.copies.set_check(check);
        self
    }

    fn gather(&mut self, pending: Pending, ctx: &mut Context<Self>) {
        self.gathered.push(pending);
        self.settle(ctx);
    }

    /// Starts the next batch if there is one and no batch is running.
    fn settle(&mut self, ctx: &mut Context<Self>) {
        if self.busy {
            return;
        }
        if self.gathered.is_empty() {
            if !self.waiting.is_empty() && self.books.is_behind() && !self.books.is_failing() {
                self.run(ctx);
                return;
            }
            for asker in self.waiting.drain(..) {
                asker.send(()).ok(); // a caller that no longer waits has decided otherwise
            }
            return;
        }
        let wait = self.last.map_or(Duration::ZERO, |last| PACE.saturating_sub(last.elapsed()));
        if wait.is_zero() || self.gathered.len() >= BATCH || !self.waiting.is_empty() {
            self.run(ctx);
        } else if !self.is_due {
            self.is_due = true;
            ctx.run_later(wait, |archiver, ctx| {
                archiver.is_due = false;
                archiver.settle(ctx);
            });
        }
    }

    /// Settles what gathered. An empty batch is allowed: archived jobs may wait for the ledger.
    fn run(&mut self, ctx: &mut Context<Self>) {
        if self.busy {
            return;
        }
        if !self.has_thread(ctx) {
            return;
        }
        self.busy = true;
        self.last = Some(Instant::now());
        let next = self.gathered.drain(..self.gathered.len().min(BATCH)).collect();
        let (sites, log, hold) = (Arc::clone(&self.sites), self.log.clone(), self.hold.clone());
        let books = Arc::clone(&self.books);
        let work = self.worker.run(move || {
            let settled = batch::settle(&sites, next, None, &books, &log);
            drop(hold);
            settled
        });
        ctx.spawn(work.into_actor(self).map(|done, archiver, ctx| {
            archiver.busy = false;
            archiver.tell(done.ok(), ctx);
            archiver.settle(ctx);
        }));
    }

    /// Whether a thread for batches exists; if not, schedules another attempt.
    fn has_thread(&mut self, ctx: &mut Context<Self>) -> bool {
        match self.worker.start() {
            Ok(()) => {
                self.short = false;
                return true;
            }
            Err(error) if !std::mem::replace(&mut self.short, true) => {
                warn!(self.log, "the system has no thread to give; packages wait for one"; "error" => %error);
            }
            Err(_) => {}
        }
        ctx.run_later(NO_THREAD_PAUSE, |archiver, ctx| archiver.settle(ctx));
        false
    }

    /// Reports the outcome of a batch; `done` is `None` if the batch panicked.
    fn tell(&mut self, done: Option<Done>, ctx: &mut Context<Self>) {
        let Some(Done { settled, to_copy }) = done else {
            error!(self.log, "settling a batch panicked");
            ctx.stop(); // its jobs are in the work area; the Supervisor ends the pipeline
            return;
        };
        for job in settled {
            post(&self.settled, job);
        }
        for (target, pending) in to_copy {
            self.copies.push(&target, pending);
            self.copy(&target, ctx);
        }
        self.catch_up(ctx);
    }

    /// Sets a timer for settlements that are not in the ledger yet, because more may come or because the
    /// ledger cannot be written. The folders of archived jobs wait for that.
    fn catch_up(&mut self, ctx: &mut Context<Self>) {
        if !self.behind && self.books.is_behind() {
            self.behind = true;
            ctx.run_later(self.books.pause(), |archiver, ctx| {
                archiver.behind = false;
                archiver.run(ctx);
                archiver.catch_up(ctx);
            });
        }
    }

    /// Starts the next copies to a target, as long as there are any and threads are free.
    fn copy(&mut self, target: &std::path::Path, ctx: &mut Context<Self>) {
        while let Some(started) = self.copies.start(target, &self.sites, &self.log) {
            let target: PathBuf = target.into();
            let copied = match started {
                Ok(copied) => copied,
                Err(error) => {
                    debug!(self.log, "the system has no thread to give; copies wait for one"; "error" => %error);
                    ctx.run_later(NO_THREAD_PAUSE, move |archiver, ctx| {
                        archiver.copy(&target, ctx);
                    });
                    return;
                }
            };
            ctx.spawn(copied.into_actor(self).map(move |done, archiver, ctx| {
                archiver.copies.ended(&target);
                archiver.tell(done.ok(), ctx);
                archiver.copy(&target, ctx);
            }));
        }
    }
}

impl Actor for Archiver {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        self.worker.start().ok(); // tried again when there is work
    }
}

impl Handler<Unpacked> for Archiver {
    type Result = ();

    fn handle(&mut self, unpacked: Unpacked, ctx: &mut Self::Context) {
        self.gather(Pending::Held(unpacked.package, Verdict::Passed), ctx);
    }
}

impl Handler<Rejected> for Archiver {
    type Result = ();

    fn handle(&mut self, rejected: Rejected, ctx: &mut Self::Context) {
        self.gather(Pending::Held(rejected.package, Verdict::Failed(rejected.error)), ctx);
    }
}

impl Handler<StageOverdue> for Archiver {
    type Result = ();

    fn handle(&mut self, overdue: StageOverdue, ctx: &mut Self::Context) {
        self.gather(Pending::Overdue(overdue.spec, overdue.error), ctx);
    }
}

impl Handler<SettleRecovered> for Archiver {
    type Result = ();

    fn handle(&mut self, recovered: SettleRecovered, ctx: &mut Self::Context) {
        for job in recovered.jobs {
            self.gather(Pending::Recovered(job), ctx);
        }
    }
}

impl Handler<Ping> for Archiver {
    type Result = ();

    fn handle(&mut self, _: Ping, _: &mut Self::Context) {}
}

impl Handler<Shutdown> for Archiver {
    type Result = ResponseFuture<()>;

    /// Graceful: the answer comes when everything gathered is settled; the actor lives on until it is asked
    /// to stop at once. Immediate: a running batch ends on its thread, and gathered jobs stay in the work
    /// area. Copies are aborted, and the answer comes when their threads have ended.
    fn handle(&mut self, shutdown: Shutdown, ctx: &mut Self::Context) -> Self::Result {
        if shutdown.mode == StopMode::Graceful {
            let (idle, is_idle) = oneshot::channel();
            self.waiting.push(idle);
            self.books.close();
            self.settle(ctx);
            return Box::pin(async move {
                // An error means that the Archiver is gone: nothing is left to wait for.
                is_idle.await.ok();
            });
        }
        for pending in self.gathered.drain(..) {
            pending.leave();
        }
        self.lifeline.release();
        ctx.stop();
        Box::pin(self.copies.stop())
    }
}

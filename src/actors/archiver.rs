//! Settles jobs: the archive, quarantine, or another attempt.
//!
//! In: [`Unpacked`], [`Rejected`]. Out: [`JobSettled`].
//!
//! A shell around [`batch`]: one batch at a time is settled on a blocking thread, and what comes
//! meanwhile gathers for the next one, so that a busy disk makes larger batches and fewer syncs.
//!
//! **Invariant:** it alone decides what becomes of a job, good or bad.

pub mod batch;
pub mod books;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, Recipient,
    WrapFuture,
};
use slog::{Logger, error};

use super::lifeline::Lifeline;
use super::post::post;
use crate::id::SourceName;
use crate::messages::{JobSettled, Rejected, Shutdown, Unpacked};
use crate::workspace::{Recovered, Site};
use batch::{Pending, Verdict};
use books::Books;

/// Jobs in one batch: none waits long to be seen because very many came before it.
const BATCH: usize = 256;

/// Start-up → Archiver: jobs that were on their way to the archive or quarantine.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct SettleRecovered {
    /// Each goes on from where it stands.
    pub jobs: Vec<Recovered>,
}

/// The end of every package's way.
pub struct Archiver {
    sites: Arc<HashMap<SourceName, Arc<Site>>>,
    settled: Recipient<JobSettled>,
    books: Arc<Books>,
    /// Whether archived jobs wait for the ledger, and a timer for them runs.
    behind: bool,
    gathered: Vec<Pending>,
    busy: bool,
    log: Logger,
    lifeline: Lifeline,
}

impl Archiver {
    /// One for these sources, which tells `settled` what becomes of each job.
    #[must_use]
    pub fn new(
        sites: Arc<HashMap<SourceName, Arc<Site>>>,
        settled: Recipient<JobSettled>,
        books: Books,
        log: Logger,
        lifeline: Lifeline,
    ) -> Self {
        let (books, gathered) = (Arc::new(books), Vec::new());
        Self { sites, settled, books, behind: false, gathered, busy: false, log, lifeline }
    }

    fn gather(&mut self, pending: Pending, ctx: &mut Context<Self>) {
        self.gathered.push(pending);
        self.settle(ctx);
    }

    /// Starts the next batch, if there is one and none is running.
    fn settle(&mut self, ctx: &mut Context<Self>) {
        if !self.gathered.is_empty() {
            self.run(ctx);
        }
    }

    fn run(&mut self, ctx: &mut Context<Self>) {
        if self.busy {
            return;
        }
        self.busy = true;
        let next = self.gathered.drain(..self.gathered.len().min(BATCH)).collect();
        let (sites, log) = (Arc::clone(&self.sites), self.log.clone());
        let books = Arc::clone(&self.books);
        let work = move || batch::settle(&sites, next, &books, &log);
        let work = actix_rt::task::spawn_blocking(work);
        ctx.spawn(work.into_actor(self).map(|settled, archiver, ctx| {
            archiver.busy = false;
            let Ok(settled) = settled else {
                error!(archiver.log, "settling a batch panicked");
                ctx.stop(); // its jobs are in the work area; the Supervisor ends the pipeline
                return;
            };
            for job in settled {
                post(&archiver.settled, job);
            }
            archiver.settle(ctx);
            archiver.catch_up(ctx);
        }));
    }

    /// Has the folders of archived jobs cleared away that the ledger could not be told of yet.
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
}

impl Actor for Archiver {
    type Context = Context<Self>;
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

impl Handler<SettleRecovered> for Archiver {
    type Result = ();

    fn handle(&mut self, recovered: SettleRecovered, ctx: &mut Self::Context) {
        for job in recovered.jobs {
            self.gather(Pending::Recovered(job), ctx);
        }
    }
}

impl Handler<Shutdown> for Archiver {
    type Result = ();

    /// A batch that is running ends on its thread; what gathered is in the work area.
    fn handle(&mut self, _: Shutdown, ctx: &mut Self::Context) {
        for pending in self.gathered.drain(..) {
            pending.leave();
        }
        self.lifeline.release();
        ctx.stop();
    }
}

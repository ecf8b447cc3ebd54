//! Runs a command over each package: the built-in stage.
//!
//! In: [`Unpacked`]. Out, through its [`Outlet`]: the package, or its rejection.
//!
//! A shell: the [`Runner`] decides what is run, and how. At most `workers` commands run at the same time,
//! each on its own thread. Further packages wait in a queue, which the Dispatcher bounds.
//!
//! **Invariant:** a command that was ended by a stop says nothing about its package. The package stays in
//! the work area, and the next start restarts its attempt.

mod error;
mod runner;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, ResponseFuture, WrapFuture,
};
use slog::{Logger, error};
use tokio::sync::oneshot;

pub use error::ProcessorError;
pub use runner::CommandRunner;

use super::lifeline::Hold;
use super::outlet::Outlet;
use crate::messages::{Ping, Shutdown, StopMode, Unpacked};
use crate::package::{Package, PackageFacts, ZipStamp};

/// How often to remove what is kept of old runs.
const TIDY: Duration = Duration::from_secs(24 * 60 * 60);

/// The result of a command's run.
#[derive(Debug)]
pub struct Ran {
    /// How the command ended, or why its package cannot continue.
    pub verdict: Result<(), ProcessorError>,
    /// Whether our own stop ended the command; the verdict means nothing then.
    pub stopped: bool,
    /// The path of the command's log; absolute.
    pub log: Option<PathBuf>,
    /// Notes to record with the package: key, value.
    pub notes: Vec<(&'static str, String)>,
}

/// Runs a package's command. Its methods are called from several threads at the same time.
pub trait Runner: Send + Sync + 'static {
    /// Runs the command to its end; blocks. `stamp` is the state of the ZIP when it was opened.
    fn run(&self, package: &PackageFacts, stamp: Option<ZipStamp>) -> Ran;

    /// Ends every running command, and starts no more. Does not block.
    fn stop(&self);

    /// Removes what is no longer needed of earlier runs; blocks.
    fn tidy(&self);
}

/// The built-in stage.
pub struct Processor {
    runner: Arc<dyn Runner>,
    workers: usize,
    outlet: Outlet,
    queue: VecDeque<Package>,
    running: usize,
    stopping: bool,
    /// Callers of `Shutdown`, answered when the last command has ended.
    asked: Vec<oneshot::Sender<()>>,
    log: Logger,
    hold: Hold,
}

impl Processor {
    /// Creates a Processor that runs at most `workers` commands at the same time.
    #[must_use]
    pub fn new(
        runner: Arc<dyn Runner>,
        workers: usize,
        outlet: Outlet,
        log: Logger,
        hold: Hold,
    ) -> Self {
        let (queue, asked) = (VecDeque::new(), Vec::new());
        Self { runner, workers, outlet, queue, running: 0, stopping: false, asked, log, hold }
    }

    fn pump(&mut self, ctx: &mut Context<Self>) {
        while self.running < self.workers
            && let Some(package) = self.queue.pop_front()
        {
            self.running += 1;
            let (runner, hold) = (Arc::clone(&self.runner), self.hold.clone());
            let (facts, stamp) = (package.view(), package.stamp());
            let (tell, told) = oneshot::channel();
            let command = move || {
                let ran = runner.run(&facts, stamp);
                drop(hold);
                tell.send(ran).ok(); // after a stop nothing receives it
            };
            let started = thread::Builder::new().name("command".to_owned()).spawn(command);
            if let Err(source) = started {
                self.running -= 1;
                self.outlet.reject(package, ProcessorError::NoThread { source });
                continue;
            }
            // The package stays here: if the actor is lost, it drops the package, which reports itself.
            ctx.spawn(told.into_actor(self).map(|ran, processor, ctx| {
                processor.running -= 1;
                processor.conclude(package, ran.map_err(|_| ProcessorError::Panicked));
                processor.pump(ctx);
                processor.end_if_idle(ctx);
            }));
        }
    }

    fn conclude(&self, package: Package, ran: Result<Ran, ProcessorError>) {
        let Ran { verdict, stopped, log, notes } = match ran {
            Ok(ran) => ran,
            Err(error) => {
                error!(self.log, "running a command panicked"; "job" => %package.job());
                self.outlet.reject(package, error);
                return;
            }
        };
        if stopped || self.stopping {
            // The package stays in the work area for the next start. Dropped unsettled it would be reported as
            // lost, and an immediate stop leaves the Dispatcher time to count that as an attempt.
            package.settle();
            return;
        }
        let package =
            notes.into_iter().fold(package, |package, (key, value)| package.note(key, value));
        let package = match log {
            Some(log) => package.note("log", log.display()),
            None => package,
        };
        match verdict {
            Ok(()) => self.outlet.pass(package),
            Err(error) => self.outlet.reject(package, error),
        }
    }

    fn end_if_idle(&mut self, ctx: &mut Context<Self>) {
        if self.stopping && self.running == 0 {
            for asker in self.asked.drain(..) {
                asker.send(()).ok(); // a caller that no longer waits has decided otherwise
            }
            ctx.stop();
        }
    }

    fn tidy(&self) {
        let runner = Arc::clone(&self.runner);
        // Nothing waits for its end; if no thread can be created, the next interval does the work.
        thread::Builder::new().name("tidy".to_owned()).spawn(move || runner.tidy()).ok();
    }
}

impl Actor for Processor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.tidy();
        ctx.run_interval(TIDY, |processor, _| processor.tidy());
    }
}

impl Drop for Processor {
    /// Stops the commands however the actor ends: their results could no longer be received.
    fn drop(&mut self) {
        self.runner.stop();
    }
}

impl Handler<Unpacked> for Processor {
    type Result = ();

    fn handle(&mut self, Unpacked { package }: Unpacked, ctx: &mut Self::Context) {
        if !self.stopping {
            self.queue.push_back(package);
            self.pump(ctx);
        }
    }
}

impl Handler<Ping> for Processor {
    type Result = ();

    fn handle(&mut self, _: Ping, _: &mut Self::Context) {}
}

impl Handler<Shutdown> for Processor {
    type Result = ResponseFuture<()>;

    /// Graceful: does nothing, since the caller waits for the packages. Immediate: kills the running
    /// commands, and answers when they are gone; the packages stay in the work area.
    fn handle(&mut self, shutdown: Shutdown, ctx: &mut Self::Context) -> Self::Result {
        if shutdown.mode == StopMode::Graceful {
            return Box::pin(std::future::ready(()));
        }
        self.stopping = true;
        self.queue.clear();
        self.runner.stop();
        let (idle, is_idle) = oneshot::channel();
        self.asked.push(idle);
        self.end_if_idle(ctx);
        Box::pin(async move {
            // An error means that the Processor is gone, and its commands with it.
            is_idle.await.ok();
        })
    }
}

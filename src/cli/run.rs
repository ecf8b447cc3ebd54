//! `longshore run`: the daemon, or one pass over the packages in the landing.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Addr, Recipient};
use slog::{Level, Logger, error};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::args::RunArgs;
use super::complain::complain;
use super::progress::{GetTally, Progress, Tally};
use super::source::code_of;
use super::{exit, machine};
use crate::actors::supervisor::signals::SignalThreads;
use crate::actors::supervisor::{Ended, StopRequested};
use crate::config::Config;
use crate::error::Chain;
use crate::messages::{GetStatus, StopMode};
use crate::pipeline::{Pipeline, PipelineHandle, explain};
use crate::telemetry::log::{self, LogGuard};

/// Runs the command and returns the exit code.
pub(super) fn run(args: RunArgs) -> u8 {
    let config = match args.source.config(args.workers, args.process.as_ref()) {
        Ok(config) => config,
        Err(error) => {
            complain(format_args!("failed to {}", Chain(&error)));
            return code_of(&error);
        }
    };
    let bar = (args.once && std::io::stderr().is_terminal()).then(super::progress::bar);
    let ready = machine::check(&config).and_then(|()| machine::runtime());
    let runtime = match ready {
        Ok(runtime) => runtime,
        Err(shortage) => {
            complain(format_args!("failed to {}", Chain(&shortage)));
            return exit::MACHINE;
        }
    };
    let (log, guard) = log::to_stderr(level(&args), bar.clone());
    let signals = match SignalThreads::start(log.clone()) {
        Ok(signals) => Signals { threads: signals, guard: guard.clone() },
        Err(error) => {
            complain(format_args!("failed to listen to signals: {error}"));
            return exit::MACHINE;
        }
    };
    let system = actix::System::with_tokio_rt(|| runtime);
    let code = system.block_on(async move {
        if args.once {
            let progress = Progress::new(bar).start();
            once(config, log, progress, &signals).await
        } else {
            daemon(config, log, &signals).await
        }
    });
    // The system is not dropped: the drop would wait for threads that hang in a dead file system. Nor is the
    // last handle on it: the drop would wake the system from a thread that is ending, where tokio panics.
    std::mem::forget((system, actix::System::try_current()));
    guard.flush();
    code
}

/// The signal threads, and the log to flush when a signal ends the process at once.
struct Signals {
    threads: SignalThreads,
    guard: LogGuard,
}

fn level(args: &RunArgs) -> Level {
    match args.verbose {
        _ if args.quiet => Level::Warning,
        // With `--once`, stdout gets one line per package.
        0 if args.once => Level::Warning,
        0 => Level::Info,
        1 => Level::Debug,
        _ => Level::Trace,
    }
}

async fn daemon(config: Config, log: Logger, signals: &Signals) -> u8 {
    let mut handle = match start(Pipeline::builder(config).logger(log.clone()), signals) {
        Ok(handle) => handle,
        Err(code) => return code,
    };
    code_of_end(&handle.ended().await, &log)
}

/// Runs one pass, which ends by itself; the summary and the exit code tell the outcome of the packages.
async fn once(config: Config, log: Logger, progress: Addr<Progress>, signals: &Signals) -> u8 {
    let patience = config.once_wait;
    let pipeline = Pipeline::builder(config)
        .logger(log.clone())
        .subscribe(progress.clone().recipient())
        .once();
    let mut handle = match start(pipeline, signals) {
        Ok(handle) => handle,
        Err(code) => return code,
    };
    let (status, stopper) = (handle.status(), handle.stopper());
    let end = tokio::select! {
        end = handle.ended() => Some(end),
        left = standstill(&status, patience) => {
            error!(log, "nothing has moved, giving up; what is left is kept for the next start";
                "left" => left, "for" => ?patience);
            None
        }
    };
    let Some(end) = end else {
        // The Supervisor lives until it has answered this request.
        stopper.send(StopRequested { mode: StopMode::Immediate, by: "--once" }).await.ok();
        handle.ended().await;
        summary(&progress).await;
        return exit::IO;
    };
    let tally = summary(&progress).await;
    match code_of_end(&end, &log) {
        exit::OK if tally.is_none_or(|tally| tally.failed() > 0) => exit::FAILED,
        code => code,
    }
}

/// Returns when nothing has moved for `patience`, with the number of packages left. A package that is being
/// unpacked, processed or archived may take any time, unless its earlier attempts failed in the same
/// way.
async fn standstill(status: &Recipient<GetStatus>, patience: Duration) -> usize {
    let mut look = interval(Duration::from_secs(1));
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut moves, mut since) = (None, Instant::now());
    loop {
        look.tick().await;
        // No answer: the pipeline is ending.
        let Ok(now) = status.send(GetStatus).await else { continue };
        if now.moving > 0 || moves != Some(now.moves) {
            (moves, since) = (Some(now.moves), Instant::now());
        } else if since.elapsed() >= patience {
            let in_work = now.extracting + now.processing + now.archiving + now.parked;
            return in_work + now.retrying + now.waiting;
        }
    }
}

async fn summary(progress: &Addr<Progress>) -> Option<Tally> {
    progress.send(GetTally).await.ok()
}

fn start(pipeline: Pipeline, signals: &Signals) -> Result<PipelineHandle, u8> {
    let handle = pipeline.adopt_orphans().start().map_err(|error| {
        complain(format_args!("failed to {}", explain(&error)));
        error.exit_code()
    })?;
    // After the extractors have been started: they must not inherit this policy.
    super::scheduling::never_interrupt();
    let guard = signals.guard.clone();
    let mut actions = handle.stop_actions();
    actions.before_exit = Some(Arc::new(move || guard.flush()));
    match signals.threads.listen(actions) {
        Ok(()) => Ok(handle),
        Err(error) => {
            complain(format_args!("failed to listen to signals: {error}"));
            Err(exit::MACHINE)
        }
    }
}

fn code_of_end(end: &Ended, log: &Logger) -> u8 {
    match end {
        Ended::Failed { actor } => {
            error!(log, "the pipeline failed"; "actor" => actor);
            exit::INTERNAL
        }
        _ => exit::OK,
    }
}

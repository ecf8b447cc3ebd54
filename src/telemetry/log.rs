//! The log: slog to stderr, through a thread of its own.
//!
//! A line that cannot be written (a closed pipe, a terminal that is gone) is dropped, and so are lines
//! that a reader does not take (a full pipe): the log must not be able to stop the work, nor its end.

use std::io;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use indicatif::ProgressBar;
use slog::{Drain, IgnoreResult, Level, LevelFilter, Logger, o};
use slog_async::{Async, AsyncGuard, OverflowStrategy};
use slog_term::{FullFormat, PlainDecorator, TermDecorator};

/// Lines that may wait to be written; more are dropped, and how many is said.
const QUEUE: usize = 4096;

/// How long the last lines may take.
const FLUSH: Duration = Duration::from_secs(2);

/// Writes what is still to be written when it is flushed or dropped, for 2 s at most.
#[derive(Clone)]
pub struct LogGuard(Arc<Mutex<Option<AsyncGuard>>>);

impl LogGuard {
    /// Writes what is still to be written. What is logged from now on is lost.
    pub fn flush(&self) {
        let Some(guard) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return;
        };
        let (done, is_done) = sync_channel(1);
        let flush = move || {
            drop(guard); // ends when the last line is written; never, where nobody reads
            done.send(()).ok();
        };
        // Where there is no thread to be had the lines are lost: this one must not wait for them.
        if thread::Builder::new().name("log-flush".to_owned()).spawn(flush).is_ok() {
            is_done.recv_timeout(FLUSH).ok();
        }
    }
}

impl std::fmt::Debug for LogGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogGuard").finish_non_exhaustive()
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        if Arc::strong_count(&self.0) == 1 {
            self.flush();
        }
    }
}

/// Makes the logger, down to `level`. Hold the guard to the end of the program.
///
/// With a progress bar, lines are printed above it.
pub fn to_stderr(level: Level, bar: Option<ProgressBar>) -> (Logger, LogGuard) {
    let drain = match bar {
        Some(bar) => queued(FullFormat::new(PlainDecorator::new(AboveBar(bar))).build(), level),
        None => queued(FullFormat::new(TermDecorator::new().stderr().build()).build(), level),
    };
    let guard = LogGuard(Arc::new(Mutex::new(Some(drain.1))));
    (Logger::root(drain.0.fuse(), o!()), guard)
}

fn queued<D>(format: D, level: Level) -> (IgnoreResult<LevelFilter<Async>>, AsyncGuard)
where
    D: Drain + Send + 'static,
{
    let (queue, guard) = Async::new(format.ignore_res())
        .chan_size(QUEUE)
        .overflow_strategy(OverflowStrategy::DropAndReport)
        .build_with_guard();
    // Before the queue: what is not written must cost neither its text nor the thread's waking.
    (LevelFilter::new(queue, level).ignore_res(), guard)
}

/// Writes to stderr while the bar is out of the way.
struct AboveBar(ProgressBar);

impl io::Write for AboveBar {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| io::stderr().write(line))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

//! The log: slog to stderr, through its own thread.
//!
//! A line that cannot be written (a closed pipe, a terminal that is gone) is dropped, and so are
//! lines that a reader does not read (a full pipe): the log must block neither the work nor its
//! end.

use std::io;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use indicatif::ProgressBar;
use slog::{Drain, IgnoreResult, Level, LevelFilter, Logger, o};
use slog_async::{Async, AsyncGuard, OverflowStrategy};
use slog_term::{FullFormat, PlainDecorator, TermDecorator};

/// The maximum number of queued lines. More lines are dropped, and their number is logged.
const QUEUE: usize = 4096;

/// How long a flush may take.
const FLUSH: Duration = Duration::from_secs(2);

/// Writes the queued lines when it is flushed or dropped, for at most 2 s.
#[derive(Clone)]
pub struct LogGuard(Arc<Mutex<Option<AsyncGuard>>>);

impl LogGuard {
    /// Writes the queued lines. Lines that are logged later are lost.
    pub fn flush(&self) {
        let Some(guard) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return;
        };
        let (done, is_done) = sync_channel(1);
        let flush = move || {
            drop(guard); // ends when the last line is written; never, if nothing reads
            done.send(()).ok();
        };
        // If no thread can be started, the lines are lost: this thread must not wait for them.
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

/// Creates the logger for lines down to `level`. The guard must be kept until the end of the program.
///
/// With a progress bar, lines are printed above the bar.
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
    // The filter is before the queue: a line that is not written must cost neither its formatting
    // nor a wake-up of the thread.
    (LevelFilter::new(queue, level).ignore_res(), guard)
}

/// Writes to stderr while the bar is hidden.
struct AboveBar(ProgressBar);

impl io::Write for AboveBar {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| io::stderr().write(line))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

//! The log: slog to stderr, through a thread of its own.
//!
//! A line that cannot be written (a closed pipe, a terminal that is gone) is dropped: the log must
//! not be able to stop the work.

use std::io;

use indicatif::ProgressBar;
use slog::{Drain, IgnoreResult, Level, LevelFilter, Logger, o};
use slog_async::{Async, AsyncGuard, OverflowStrategy};
use slog_term::{FullFormat, PlainDecorator, TermDecorator};

/// Lines that may wait to be written; more are dropped, and how many is said.
const QUEUE: usize = 4096;

/// Makes the logger, down to `level`. Hold the guard to the end of the program: what is still to be
/// written is written when it is dropped.
///
/// With a progress bar, lines are printed above it.
pub fn to_stderr(level: Level, bar: Option<ProgressBar>) -> (Logger, AsyncGuard) {
    let drain = match bar {
        Some(bar) => queued(FullFormat::new(PlainDecorator::new(AboveBar(bar))).build(), level),
        None => queued(FullFormat::new(TermDecorator::new().stderr().build()).build(), level),
    };
    (Logger::root(drain.0.fuse(), o!()), drain.1)
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

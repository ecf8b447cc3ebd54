//! Starts a command and waits for its end: the common part of a guard and an init.
//!
//! In: an [`Order`], and a socket on which data or the end of file means "stop". Out: how the
//! command ended. The caller kills the processes that the command left.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::sys::signalfd::SignalFd;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process_group, wait};

use super::error::Step;
use super::order::{Order, Report};
use super::signals;
use super::spec::Exit;

/// Runs a command until it ends or must be killed. Returns how it ended. The command itself and
/// processes that it started may still be alive.
pub(super) fn run(order: &Order, stop: &UnixStream, signals: &SignalFd) -> io::Result<Report> {
    let command = match order.command().spawn() {
        Ok(child) => child.id().cast_signed(),
        Err(error) => return Ok(Report::failed(Step::Start, &error)),
    };
    let mut deadline = order.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let mut timed_out = false;
    loop {
        if let Some(exit) = reap(command)? {
            return Ok(Report::Ended(if timed_out { Exit::TimedOut } else { exit }));
        }
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left == Some(Duration::ZERO) {
            if timed_out {
                return Ok(Report::Ended(Exit::TimedOut));
            }
            timed_out = true;
            ask_to_end(command);
            deadline = Instant::now().checked_add(order.kill_after);
            continue;
        }
        let mut ready = [
            PollFd::from_borrowed_fd(stop.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN),
        ];
        signals::poll(&mut ready, left)?;
        let stopped = !ready[0].revents().is_empty();
        if signals::drain(signals)? || stopped {
            return Ok(Report::Ended(Exit::Killed));
        }
    }
}

/// Sends SIGTERM to the command's group. Must be called before the command is reaped: after that,
/// the id of the group may be reused.
pub(super) fn ask_to_end(command: i32) {
    let Some(group) = Pid::from_raw(command) else { return };
    for signal in [Signal::TERM, Signal::CONT] {
        // A stopped process handles SIGTERM only after SIGCONT. The group may be empty.
        kill_process_group(group, signal).ok();
    }
}

/// Reaps children that have ended, up to the command. Returns how the command ended, if it did.
fn reap(command: i32) -> io::Result<Option<Exit>> {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid.as_raw_nonzero().get() == command => {
                return Ok(Some(exit_of(status)));
            }
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
}

fn exit_of(status: WaitStatus) -> Exit {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, signal) => Exit::Signal(signal.unwrap_or_default()),
    }
}

//! Starts a command and waits for its end: the part that a guard and an init have in common.
//!
//! In: an [`Order`], a socket whose data or end of file means "stop". Out: how it ended. What the
//! command left behind is the caller's to kill.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal as NixSignal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process_group, wait};
use serde::{Deserialize, Serialize};

use super::child;
use super::error::Step;
use super::isolation::Mode;
use super::reach::{Reach, ReachOrder, Unmounted};
use super::spec::{Exit, MARK_VARIABLE, Spec};

/// The signal that tells a guard that its daemon is dead. Nobody sends it by habit, unlike SIGTERM,
/// which a service manager sends to every process of a service that it stops.
pub(super) const DEATH: NixSignal = NixSignal::SIGUSR2;

/// What a daemon tells its guard: a [`Spec`] as it goes over the socket, as one line of JSON.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) mode: Mode,
    pub(super) reach: Option<ReachOrder>,
    argv: Vec<OsString>,
    // Text is an `OsString` here: a path that is no UTF-8 has no JSON.
    pub(super) cwd: OsString,
    env: Vec<(OsString, OsString)>,
    nice: Option<i32>,
    memory_bytes: Option<u64>,
    timeout: Option<Duration>,
    kill_after: Duration,
}

impl Order {
    pub(super) fn new(mode: Mode, spec: &Spec) -> Self {
        let mut env = spec.env.clone();
        env.push((MARK_VARIABLE.into(), spec.mark.to_string().into()));
        Self {
            mode,
            reach: spec.reach.as_ref().map(Reach::order),
            argv: spec.argv.clone(),
            cwd: spec.cwd.clone().into(),
            env,
            nice: spec.nice,
            memory_bytes: spec.memory_bytes,
            timeout: spec.timeout,
            kill_after: spec.kill_after,
        }
    }

    /// The command, ready to start; its output goes where this process's goes.
    pub(super) fn command(&self) -> Command {
        let (program, arguments) =
            self.argv.split_first().map_or((None, &[][..]), |(p, a)| (Some(p), a));
        let mut command = Command::new(program.map_or(OsString::new(), OsString::clone));
        command
            .args(arguments)
            .env_clear()
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.cwd)
            .stdin(Stdio::null())
            .process_group(0);
        child::arm(&mut command, self.nice, self.memory_bytes);
        command
    }
}

/// What a guard tells its daemon at the end, and an init its guard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Report {
    /// The command ran, and ended.
    Ended(Exit),
    /// It never ran.
    Failed { step: Step, errno: i32 },
    /// It never ran: a folder could not be mounted for it.
    Unmounted { path: OsString, errno: i32 },
    /// It ended and left processes that must not be killed.
    Left(u32),
}

impl Report {
    pub(super) fn failed(step: Step, error: &io::Error) -> Self {
        Self::Failed { step, errno: errno(error) }
    }

    pub(super) fn unmounted((path, error): Unmounted) -> Self {
        Self::Unmounted { path: path.into(), errno: errno(&error) }
    }
}

fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(Errno::IO.raw_os_error())
}

/// Blocks every signal and takes those that matter from a descriptor instead.
pub(super) fn take_signals() -> io::Result<SignalFd> {
    SigSet::all().thread_block()?;
    let mut wanted = SigSet::empty();
    wanted.add(NixSignal::SIGCHLD);
    wanted.add(DEATH);
    Ok(SignalFd::with_flags(&wanted, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?)
}

/// Takes what signals there are; answers whether the parent's death is among them.
pub(super) fn drain(signals: &SignalFd) -> io::Result<bool> {
    let mut death = false;
    while let Some(signal) = signals.read_signal()? {
        death |= signal.ssi_signo == DEATH as u32;
    }
    Ok(death)
}

/// Waits for a signal, no longer than `longest`, and takes it.
pub(super) fn await_signal(signals: &SignalFd, longest: Duration) -> io::Result<()> {
    poll(&mut [PollFd::new(signals, PollFlags::IN)], Some(longest))?;
    drain(signals)?;
    Ok(())
}

/// Waits until one of these is ready or the time is over. May return early.
pub(super) fn poll(descriptors: &mut [PollFd<'_>], longest: Option<Duration>) -> io::Result<()> {
    // A timeout beyond what the kernel counts is none.
    let longest = longest.and_then(|longest| Timespec::try_from(longest).ok());
    match rustix::event::poll(descriptors, longest.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Runs a command until it ends, or is to end; says how. Whoever it started may be alive still, and
/// so may it.
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
        poll(&mut ready, left)?;
        let stopped = !ready[0].revents().is_empty();
        if drain(signals)? || stopped {
            return Ok(Report::Ended(Exit::Killed));
        }
    }
}

/// Sends SIGTERM to the command's group. To be called before it is reaped: its group's id may pass to
/// another after that.
pub(super) fn ask_to_end(command: i32) {
    let Some(group) = Pid::from_raw(command) else { return };
    for signal in [Signal::TERM, Signal::CONT] {
        // Whoever is stopped acts on SIGTERM only when it goes on. There may be nobody left.
        kill_process_group(group, signal).ok();
    }
}

/// Reaps all children that have ended; answers how the command did, if it is among them.
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

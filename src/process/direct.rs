//! A command without a guard, for programs that never call `guard_main`.
//!
//! The command dies with the daemon, by a parent-death signal of its own. When the command ends,
//! its process group is killed; a process that has left the group survives.

use std::io;
use std::os::fd::AsFd;
use std::process::{Child, ExitStatus};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::io::ioctl_fionbio;
use rustix::process::{Pid, Signal, kill_process_group};

use super::error::{ProcessError, Step};
use super::mode::Mode;
use super::order::{Order, Report};
use super::pipe;
use super::procfs::{Handle, Stat};
use super::register::{KillHandle, Register};
use super::spec::{Exit, Spec};
use super::{runner, signals};

pub(super) fn run(
    register: &Arc<Register>,
    spec: &Spec,
    output: &mut dyn FnMut(&[u8]),
) -> Result<Exit, ProcessError> {
    let failed = |source| ProcessError::Output { source };
    let (printed, pipe) = io::pipe().map_err(failed)?;
    ioctl_fionbio(&printed, true).map_err(|error| failed(error.into()))?;
    let mut command = Order::new(Mode::Direct, spec).command();
    command.stderr(pipe.try_clone().map_err(failed)?).stdout(pipe);
    let child = register.spawn(command).map_err(|error| {
        let program = spec.argv.first().cloned().unwrap_or_default();
        match Report::failed(Step::Start, &error) {
            Report::Failed { step, errno } => {
                ProcessError::at(step, errno, program, spec.cwd.clone())
            }
            _ => failed(error),
        }
    })?;
    // Until the command is reaped, its pid and its group's id cannot be reused.
    let mut group = Group { child, ended: false };
    let pid = group.child.id().cast_signed();
    let stat = Stat::read(&pid.to_string()).map_err(failed)?;
    let gone = || failed(io::ErrorKind::NotFound.into());
    let watched = Handle::open(stat).ok_or_else(gone)?;
    let entry = register.enter(KillHandle::Direct(Handle::open(stat).ok_or_else(gone)?))?;
    let timed_out = attend(spec, pid, &watched, &printed, output).map_err(failed)?;
    let status = group.end().map_err(failed)?;
    drop(entry);
    pipe::drain(&printed, &mut pipe::chunk(), output).map_err(failed)?;
    Ok(match timed_out {
        true => Exit::TimedOut,
        false if register.is_closed() && killed(status) => Exit::Killed,
        false => exit_of(status),
    })
}

/// Passes on the output until the command ends or is to be killed. Returns whether the command
/// timed out.
fn attend(
    spec: &Spec,
    pid: i32,
    watched: &Handle,
    printed: &io::PipeReader,
    output: &mut dyn FnMut(&[u8]),
) -> io::Result<bool> {
    let mut chunk = pipe::chunk();
    let mut open = true;
    let mut deadline = spec.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let mut timed_out = false;
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left == Some(Duration::ZERO) {
            if timed_out {
                return Ok(true);
            }
            timed_out = true;
            runner::ask_to_end(pid);
            deadline = Instant::now().checked_add(spec.kill_after);
            continue;
        }
        let mut ready = vec![PollFd::new(watched.descriptor(), PollFlags::IN)];
        if open {
            ready.push(PollFd::from_borrowed_fd(printed.as_fd(), PollFlags::IN));
        }
        signals::poll(&mut ready, left)?;
        let ended = !ready[0].revents().is_empty();
        if ready.get(1).is_some_and(|printed| !printed.revents().is_empty()) {
            open = pipe::pass(printed, &mut chunk, output)? != Some(0);
        }
        if ended {
            return Ok(timed_out);
        }
    }
}

/// The command's process group. It is killed on drop.
struct Group {
    child: Child,
    ended: bool,
}

impl Group {
    /// Kills the rest of the group, then reaps the command.
    fn end(&mut self) -> io::Result<ExitStatus> {
        self.ended = true;
        if let Some(group) = Pid::from_raw(self.child.id().cast_signed()) {
            // Fails only if no process is left in the group that may be killed.
            kill_process_group(group, Signal::KILL).ok();
        }
        self.child.wait()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.ended {
            self.end().ok();
        }
    }
}

fn killed(status: ExitStatus) -> bool {
    exit_of(status) == Exit::Signal(Signal::KILL.as_raw())
}

fn exit_of(status: ExitStatus) -> Exit {
    use std::os::unix::process::ExitStatusExt;
    match status.code() {
        Some(code) => Exit::Code(code),
        None => Exit::Signal(status.signal().unwrap_or_default()),
    }
}

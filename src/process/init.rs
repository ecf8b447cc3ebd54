//! A PID namespace for one command: the guard's side of it, and its first process, the init.
//!
//! **Invariants:** the init dies with its guard, and everything in the namespace dies with the
//! init. Once the guard has reaped the init, the namespace is empty: the kernel ensures that first.
//!
//! Source: pid_namespaces(7), user_namespaces(7), mount_namespaces(7).

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::exit;

use nix::sched::{CloneFlags, unshare};
use nix::sys::signalfd::SignalFd;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::process::{
    Pid, Signal, WaitOptions, getegid, geteuid, kill_process, set_parent_process_death_signal,
    waitpid,
};

use super::child::{self, Fork};
use super::error::Step;
use super::mode::Mode;
use super::order::{Order, Report};
use super::spec::Exit;
use super::{runner, signals};

/// The step that failed, and its error.
type Failed = (Step, io::Error);

/// Runs a command in a namespace of its own.
///
/// # Errors
/// The init died before it reported how the command ended, or a system call failed.
pub(super) fn guard(order: Order, daemon: &UnixStream, signals: &SignalFd) -> io::Result<Report> {
    if let Err((step, error)) = leave(order.mode) {
        return Ok(Report::failed(step, &error));
    }
    let (ours, theirs) = UnixStream::pair()?;
    let init = match child::fork() {
        Ok(Fork::Parent { child }) => child,
        Ok(Fork::Child) => {
            drop(ours);
            exit(i32::from(init(order, &theirs).is_err()));
        }
        Err(error) => return Ok(Report::failed(Step::Fork, &error)),
    };
    drop(theirs);
    let stopped = attend(&ours, daemon, signals)?;
    if stopped {
        kill_process(init, Signal::KILL)?;
    }
    // The init's end of the socket stays open as long as the init lives.
    let mut report = Vec::new();
    (&ours).read_to_end(&mut report)?;
    reap(init)?;
    if stopped {
        return Ok(Report::Ended(Exit::Killed));
    }
    Ok(serde_json::from_slice(&report)?)
}

/// Waits until the init reports or must be killed. Returns whether it must be killed.
fn attend(init: &UnixStream, daemon: &UnixStream, signals: &SignalFd) -> io::Result<bool> {
    loop {
        let mut ready = [
            PollFd::from_borrowed_fd(init.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(daemon.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN),
        ];
        signals::poll(&mut ready, None)?;
        let (said, stopped) = (!ready[0].revents().is_empty(), !ready[1].revents().is_empty());
        if signals::drain(signals)? || stopped {
            return Ok(true);
        }
        if said {
            return Ok(false);
        }
    }
}

fn reap(init: Pid) -> io::Result<()> {
    loop {
        match waitpid(Some(init), WaitOptions::empty()) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Makes the guard's next child the first process of a PID namespace.
fn leave(mode: Mode) -> Result<(), Failed> {
    if mode != Mode::UserNamespace {
        return unshare(CloneFlags::CLONE_NEWPID).map_err(|error| (Step::Unshare, error.into()));
    }
    let (user, group) = (geteuid().as_raw(), getegid().as_raw());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWPID)
        .map_err(|error| (Step::Unshare, error.into()))?;
    let map = || {
        fs::write("/proc/self/setgroups", "deny")?;
        fs::write("/proc/self/uid_map", format!("{user} {user} 1"))?;
        fs::write("/proc/self/gid_map", format!("{group} {group} 1"))?;
        // The new credentials cleared the death signal. If the daemon died meanwhile, it closed the
        // socket.
        signals::arm()
    };
    map().map_err(|error| (Step::MapIds, error))
}

/// Runs as the first process of the namespace. Everything else in the namespace ends with it.
fn init(mut order: Order, guard: &UnixStream) -> io::Result<()> {
    rustix::thread::set_name(c"longshore-init")?;
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // If the guard died before the death signal was armed, the signal never comes. The parent's pid
    // does not tell: from inside the namespace it is always 0.
    let mut ready = [PollFd::from_borrowed_fd(guard.as_fd(), PollFlags::IN)];
    signals::poll(&mut ready, Some(std::time::Duration::ZERO))?;
    if !ready[0].revents().is_empty() {
        return Ok(());
    }
    let report = match mount_all(&mut order) {
        Ok(()) => runner::run(&order, guard, &signals::take_signals()?)?,
        Err(report) => report,
    };
    let mut guard = guard;
    guard.write_all(&serde_json::to_vec(&report)?)
}

/// Creates the mounts that the command sees.
fn mount_all(order: &mut Order) -> Result<(), Report> {
    mount_proc().map_err(|error| Report::failed(Step::MountProc, &error))?;
    if let Some(reach) = &order.reach {
        reach.apply(Path::new(&order.cwd)).map_err(Report::unmounted)?;
        // The process has entered the folder. Its path could lead to another one by now.
        order.cwd = ".".into();
    }
    Ok(())
}

/// Mounts a `/proc` that shows the namespace's own processes, in a mount namespace whose mounts do
/// not reach the machine's.
fn mount_proc() -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    // Mounts and unmounts outside stay visible inside, but not the other way round.
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("proc", "/proc", "proc", flags, None)?;
    Ok(())
}

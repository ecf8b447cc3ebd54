//! The unsafe calls of this crate: forking, running code between fork and exec, and changing signal
//! dispositions. No other file has one.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::signal::{SigHandler, SigSet, Signal as NixSignal, signal};
use nix::unistd::ForkResult;
use rustix::process::{
    Pid, Resource, Rlimit, Signal, getppid, getrlimit, set_parent_process_death_signal, setrlimit,
};

/// Which side of a fork this is.
pub(super) enum Fork {
    Parent { child: Pid },
    Child,
}

/// Forks this process.
///
/// # Errors
/// `Unsupported` if this process has more than one thread; otherwise the error of the system call.
pub(super) fn fork() -> io::Result<Fork> {
    if fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::ErrorKind::Unsupported.into());
    }
    #[expect(unsafe_code, reason = "an init must not be executed afresh: exec drops capabilities")]
    // SAFETY: a fork is unsafe if another thread holds a lock at that moment. The check above found
    // no other thread in this process, and only this thread could start one.
    let side = unsafe { nix::unistd::fork() }?;
    match side {
        ForkResult::Parent { child } => match Pid::from_raw(child.as_raw()) {
            Some(child) => Ok(Fork::Parent { child }),
            None => Err(io::ErrorKind::Other.into()),
        },
        ForkResult::Child => Ok(Fork::Child),
    }
}

/// Prepares a command to start with every signal unblocked and at its default, to die with the
/// thread that starts it, and to keep to its limits. Must be called by the process that starts the
/// command.
pub(super) fn arm(command: &mut Command, nice: Option<i32>, memory_bytes: Option<u64>) {
    let parent = Pid::from_raw(std::process::id().cast_signed());
    let prepare = move || -> io::Result<()> {
        // A guard blocks signals, and the mask is inherited through exec. So are ignored signals,
        // whether the daemon's own parent (`nohup`, a shell's background job) or Rust's runtime
        // ignores them.
        reset_signals()?;
        SigSet::empty().thread_set_mask()?;
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // If the parent died before the death signal was armed, the signal never comes.
        if getppid() != parent {
            return Err(rustix::io::Errno::SRCH.into());
        }
        if let Some(bytes) = memory_bytes {
            let highest = getrlimit(Resource::As).maximum;
            let bytes = Some(highest.map_or(bytes, |highest| bytes.min(highest)));
            setrlimit(Resource::As, Rlimit { current: bytes, maximum: bytes })?;
        }
        if let Some(nice) = nice {
            rustix::process::setpriority_process(None, nice)?;
        }
        Ok(())
    };
    #[expect(unsafe_code, reason = "a death signal can only be armed between fork and exec")]
    // SAFETY: another thread may have held a lock at the fork. The closure makes system calls only: it
    // neither allocates nor locks, and its errors are error numbers.
    unsafe {
        command.pre_exec(prepare);
    }
}

/// Resets every signal to its default disposition.
fn reset_signals() -> io::Result<()> {
    for of in NixSignal::iterator() {
        if matches!(of, NixSignal::SIGKILL | NixSignal::SIGSTOP) {
            continue;
        }
        #[expect(unsafe_code, reason = "the library calls every change of a disposition unsafe")]
        // SAFETY: only a handler can be unsound, and the default disposition installs none.
        unsafe { signal(of, SigHandler::SigDfl) }?;
    }
    Ok(())
}

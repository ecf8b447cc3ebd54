//! The two things that the standard library calls unsafe: to fork, and to run code between fork and
//! exec. They are here and nowhere else.

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

/// Splits this process in two.
///
/// # Errors
/// `Unsupported` where it has more than one thread; else what the system says.
pub(super) fn fork() -> io::Result<Fork> {
    if fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::ErrorKind::Unsupported.into());
    }
    #[expect(unsafe_code, reason = "an init must not be executed afresh: exec drops capabilities")]
    // SAFETY: what makes a fork unsafe is a lock that another thread held at that moment. It was seen
    // just above that this process has no other thread, and none can appear but by this one's doing.
    let side = unsafe { nix::unistd::fork() }?;
    match side {
        ForkResult::Parent { child } => match Pid::from_raw(child.as_raw()) {
            Some(child) => Ok(Fork::Parent { child }),
            None => Err(io::ErrorKind::Other.into()),
        },
        ForkResult::Child => Ok(Fork::Child),
    }
}

/// Lets a command start with no signal blocked, die with the thread that starts it, and keep to its
/// bounds. To be called by the process that starts it.
pub(super) fn arm(command: &mut Command, nice: Option<i32>, memory_bytes: Option<u64>) {
    let parent = Pid::from_raw(std::process::id().cast_signed());
    let prepare = move || -> io::Result<()> {
        // A guard blocks signals, and a mask is inherited through exec. So is what is ignored: by the
        // daemon's own parent (`nohup`, a shell's background job), or by Rust's runtime.
        reset_signals()?;
        SigSet::empty().thread_set_mask()?;
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // Armed too late where the parent has died already.
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

/// Gives every signal its default meaning.
fn reset_signals() -> io::Result<()> {
    for of in NixSignal::iterator() {
        if matches!(of, NixSignal::SIGKILL | NixSignal::SIGSTOP) {
            continue;
        }
        #[expect(unsafe_code, reason = "the library calls every change of a disposition unsafe")]
        // SAFETY: what can go wrong is a handler, and the default is none.
        unsafe { signal(of, SigHandler::SigDfl) }?;
    }
    Ok(())
}

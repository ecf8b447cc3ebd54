//! The signals of a guard: taken from a descriptor, and waited for with others.

use std::io;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal as NixSignal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{Signal, set_parent_process_death_signal};

/// The signal that tells a guard that its daemon is dead. Nobody sends it by habit, unlike SIGTERM,
/// which a service manager sends to every process of a service that it stops.
pub(super) const DEATH: NixSignal = NixSignal::SIGUSR2;

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

/// Asks the kernel to tell of the daemon's death. A change of credentials undoes it.
pub(super) fn arm() -> io::Result<()> {
    let death = Signal::from_named_raw(DEATH as i32);
    set_parent_process_death_signal(death)?;
    Ok(())
}

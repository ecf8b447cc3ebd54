//! The signals of a guard: read from a descriptor, and polled together with others.

use std::io;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal as NixSignal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{Signal, set_parent_process_death_signal};

/// The signal that tells a guard that its daemon is dead. Not SIGTERM: a service manager sends that
/// to every process of a service that it stops. SIGUSR2 is sent by no such habit.
pub(super) const DEATH: NixSignal = NixSignal::SIGUSR2;

/// Blocks every signal, and returns a descriptor for those that matter.
pub(super) fn take_signals() -> io::Result<SignalFd> {
    SigSet::all().thread_block()?;
    let mut wanted = SigSet::empty();
    wanted.add(NixSignal::SIGCHLD);
    wanted.add(DEATH);
    Ok(SignalFd::with_flags(&wanted, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?)
}

/// Reads all pending signals. Returns whether the parent's death is among them.
pub(super) fn drain(signals: &SignalFd) -> io::Result<bool> {
    let mut death = false;
    while let Some(signal) = signals.read_signal()? {
        death |= signal.ssi_signo == DEATH as u32;
    }
    Ok(death)
}

/// Waits for a signal, at most for `longest`, and reads it.
pub(super) fn await_signal(signals: &SignalFd, longest: Duration) -> io::Result<()> {
    poll(&mut [PollFd::new(signals, PollFlags::IN)], Some(longest))?;
    drain(signals)?;
    Ok(())
}

/// Waits until a descriptor is ready or `longest` has passed. May return early.
pub(super) fn poll(descriptors: &mut [PollFd<'_>], longest: Option<Duration>) -> io::Result<()> {
    // A timeout that the kernel's type cannot hold counts as no timeout.
    let longest = longest.and_then(|longest| Timespec::try_from(longest).ok());
    match rustix::event::poll(descriptors, longest.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Asks the kernel to signal the daemon's death. A change of credentials clears this request.
pub(super) fn arm() -> io::Result<()> {
    let death = Signal::from_named_raw(DEATH as i32);
    set_parent_process_death_signal(death)?;
    Ok(())
}

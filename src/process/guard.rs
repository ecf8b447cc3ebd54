//! The guard: the process between a daemon and its command.
//!
//! In: an [`Order`] on standard input, which is a socket. Out: a [`Report`] on the same socket. The
//! guard's output is the command's output.
//!
//! **Invariant:** a guard exits, and reports the end to the daemon, only after everything below it
//! has ended. The exception is a process that it may not kill: then it sends [`Report::Left`].

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, exit};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signalfd::SignalFd;
use rustix::process::{Pid, getpid, getppid, set_child_subreaper};

use super::error::Step;
use super::mode::Mode;
use super::order::{Order, Report};
use super::spec::{Exit, MARK_VARIABLE};
use super::{descend, init};
use super::{runner, signals};

/// The name of a guard in a list of processes.
const NAME: &str = "longshore-guard";
/// This program, even if its file was replaced or removed.
const SELF: &str = "/proc/self/exe";
const GUARD: &str = "__guard";
const PROBE: &str = "__probe";

/// Whether [`guard_main`] was called.
///
/// The one static of the crate: it describes the process itself, not a value in it. A program that
/// never checks whether it is a guard would, if it were executed as one, do its own work again.
static ASKED: AtomicBool = AtomicBool::new(false);

/// Becomes a guard if this process was started as one, and then never returns.
///
/// Call this at the top of `main`, before anything that takes time and before any thread. A program
/// that uses [`Guards`](super::Guards) and never calls this has [`Mode::Direct`] only: its commands
/// die with it, but processes that they started may survive.
pub fn guard_main() {
    ASKED.store(true, Ordering::Relaxed);
    let mut arguments = env::args_os();
    let (name, role) = (arguments.next(), arguments.next());
    let is = |what: &Option<OsString>, value: &str| what.as_deref() == Some(OsStr::new(value));
    if is(&name, SELF) && is(&role, PROBE) {
        exit(0);
    }
    if is(&name, NAME) && is(&role, GUARD) {
        let parent = arguments.next().and_then(|pid| pid.to_str()?.parse().ok());
        exit(i32::from(serve(parent).is_err()));
    }
}

/// Whether this program, if executed again, can become a guard.
pub(super) fn can_be_started() -> bool {
    ASKED.load(Ordering::Relaxed)
}

/// Returns the command that starts a guard.
pub(super) fn command() -> Command {
    let mut command = Command::new(SELF);
    command
        .arg0(NAME)
        .arg(GUARD)
        .arg(std::process::id().to_string())
        // A daemon that itself runs inside a command must not pass on the mark of that command.
        .env_remove(MARK_VARIABLE)
        // Ctrl-C in a terminal goes to the whole group. Only the daemon decides what happens to its
        // commands.
        .process_group(0);
    command
}

/// Returns a command that does nothing, for trying out a mode.
pub(super) fn probe_command() -> Vec<OsString> {
    vec![SELF.into(), PROBE.into()]
}

fn serve(parent: Option<i32>) -> io::Result<()> {
    let signals = signals::take_signals()?;
    // If SIGCHLD is ignored, which is inherited, the kernel discards every exit status. A handler
    // prevents that.
    let noticed = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGCHLD, noticed)?;
    rustix::thread::set_name(c"longshore-guard")?;
    signals::arm()?;
    if getppid() != parent.and_then(Pid::from_raw) {
        return Ok(());
    }
    let daemon = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    let report = match read_order(&daemon) {
        Ok(Some(order)) => match order.mode {
            Mode::PidNamespace | Mode::UserNamespace => init::guard(order, &daemon, &signals)?,
            Mode::Group | Mode::Direct => guard(&order, &daemon, &signals)?,
        },
        Ok(None) => Report::Ended(Exit::Killed),
        Err(error) => Report::failed(Step::ReadOrder, &error),
    };
    (&daemon).write_all(&serde_json::to_vec(&report)?)?;
    daemon.shutdown(Shutdown::Both)
}

fn guard(order: &Order, daemon: &UnixStream, signals: &SignalFd) -> io::Result<Report> {
    set_child_subreaper(Some(getpid()))?;
    let report = runner::run(order, daemon, signals);
    match descend::kill_descendants(signals)? {
        0 => report,
        left => Ok(Report::Left(left)),
    }
}

/// Reads the order. `None` if the request to stop came with it.
fn read_order(mut daemon: &UnixStream) -> io::Result<Option<Order>> {
    let mut text = Vec::new();
    let mut chunk = [0; 16 * 1024];
    loop {
        let n = daemon.read(&mut chunk)?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let end = memchr::memchr(b'\n', &chunk[..n]);
        text.extend_from_slice(&chunk[..end.unwrap_or(n)]);
        match end {
            Some(end) if end + 1 < n => return Ok(None),
            Some(_) => return Ok(Some(serde_json::from_slice(&text)?)),
            None => {}
        }
    }
}

//! The guard: the process between a daemon and its command.
//!
//! In: an [`Order`] on its standard input, a socket. Out: a [`Report`] on the same. Its output is the
//! command's output.
//!
//! **Invariant:** it ends only after everything below it has, and the daemon hears of the end only
//! then.

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

/// What a guard is called in a list of processes.
const NAME: &str = "longshore-guard";
/// This program, whatever has become of its file.
const SELF: &str = "/proc/self/exe";
const GUARD: &str = "__guard";
const PROBE: &str = "__probe";

/// Whether [`guard_main`] was called.
///
/// The one static of the crate: it tells of the process itself, not of any value in it. A program
/// that never asks whether it is a guard would, executed as one, do its own work again.
static ASKED: AtomicBool = AtomicBool::new(false);

/// Becomes a guard if this process was started as one, and then never returns.
///
/// For the top of `main`, before anything that takes time and before any thread. A program that uses
/// [`Guards`](super::Guards) and never calls this has [`Mode::Direct`] only: its commands die with it,
/// what they started does not.
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

/// Whether this program, executed afresh, can become a guard.
pub(super) fn can_be_started() -> bool {
    ASKED.load(Ordering::Relaxed)
}

/// The command that starts a guard.
pub(super) fn command() -> Command {
    let mut command = Command::new(SELF);
    command
        .arg0(NAME)
        .arg(GUARD)
        .arg(std::process::id().to_string())
        // A daemon that is itself part of some command passes that mark on to nobody.
        .env_remove(MARK_VARIABLE)
        // Ctrl-C in a terminal goes to the group; what becomes of commands is the daemon's decision.
        .process_group(0);
    command
}

/// A command that does nothing, for trying out a mode.
pub(super) fn probe_command() -> Vec<OsString> {
    vec![SELF.into(), PROBE.into()]
}

fn serve(parent: Option<i32>) -> io::Result<()> {
    let signals = signals::take_signals()?;
    // An ignored SIGCHLD is inherited and would take away every status; a handler ends that.
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

/// Reads what to run; none where the word to stop came with it.
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

//! The messages between a daemon and its guard: an [`Order`] and a [`Report`], as JSON on a socket.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::child;
use super::error::Step;
use super::mode::Mode;
use super::reach::{Reach, ReachOrder, Unmounted};
use super::spec::{Exit, MARK_VARIABLE, Spec};

/// The order of a daemon to its guard: a [`Spec`] as one line of JSON.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) mode: Mode,
    pub(super) reach: Option<ReachOrder>,
    pub(super) argv: Vec<OsString>,
    // Text is an `OsString` here, because JSON cannot hold a path that is not UTF-8.
    pub(super) cwd: OsString,
    pub(super) env: Vec<(OsString, OsString)>,
    pub(super) nice: Option<i32>,
    pub(super) memory_bytes: Option<u64>,
    pub(super) timeout: Option<Duration>,
    pub(super) kill_after: Duration,
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

    /// Creates the command, ready to start. Its output goes to this process's output.
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

/// The report of a guard to its daemon, or of an init to its guard, at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Report {
    /// The command ran and ended.
    Ended(Exit),
    /// The command never ran.
    Failed { step: Step, errno: i32 },
    /// The command never ran: a folder could not be mounted for it.
    Unmounted { path: OsString, errno: i32 },
    /// The command ended and left processes that may not be killed.
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

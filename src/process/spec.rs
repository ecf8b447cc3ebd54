//! The description of a command, how it ended, and the mark that all its processes carry.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::procfs;
use super::reach::Reach;

/// The environment variable that holds a [`Mark`].
pub const MARK_VARIABLE: &str = "LONGSHORE_RUN";

/// A command and its limits.
#[derive(Debug, Clone)]
pub struct Spec {
    /// Program and arguments, with placeholders filled in; not empty. A program without a slash is
    /// searched for in the `PATH` of `env`.
    pub argv: Vec<OsString>,
    /// Working directory; absolute.
    pub cwd: PathBuf,
    /// The whole environment except the mark, which is added.
    pub env: Vec<(OsString, OsString)>,
    /// Niceness, -20 to 19. `None`: the daemon's own.
    pub nice: Option<i32>,
    /// The limit of each process's address space, in bytes (`RLIMIT_AS`).
    pub memory_bytes: Option<u64>,
    /// How long the command may run before SIGTERM.
    pub timeout: Option<Duration>,
    /// How long the command may continue after SIGTERM before SIGKILL.
    pub kill_after: Duration,
    /// What the command can change, in a mode with a namespace. In other modes, and with `None`, it
    /// can change everything that its user can.
    pub reach: Option<Reach>,
    /// The job and attempt that the command belongs to.
    pub mark: Mark,
}

/// How a command ended. Nothing that it started is alive then, except in
/// [`Mode::Direct`](super::Mode::Direct).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Exit {
    /// The command exited with this code, 0 to 255.
    Code(i32),
    /// The command was killed by this signal, which longshore did not send.
    Signal(i32),
    /// The command ran longer than its timeout and was ended. Its own exit status is ignored.
    TimedOut,
    /// The command was ended by [`Guards::kill_all`](super::Guards::kill_all).
    Killed,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
            Self::TimedOut => f.write_str("timed out"),
            Self::Killed => f.write_str("killed by the daemon"),
        }
    }
}

/// Identifies the attempt and the job that a process belongs to, and the daemon that started it.
///
/// All processes that a command starts inherit the mark through the environment, so that leftovers
/// can be distinguished from unrelated processes. As text: `JOB/ATTEMPT/PID/START/BOOT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    pub(super) job: String,
    pub(super) attempt: u32,
    pub(super) daemon: Daemon,
}

/// One process of one boot. Pids are reused; this identity is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Daemon {
    pub(super) pid: i32,
    /// When the process started, in clock ticks since the boot.
    pub(super) start: u64,
    /// The kernel's id of the boot; empty if there is none.
    pub(super) boot: String,
}

impl Daemon {
    /// Returns the identity of this process.
    pub(super) fn this() -> io::Result<Self> {
        let this = procfs::Stat::read("self")?;
        Ok(Self { pid: this.pid, start: this.start, boot: procfs::boot_id() })
    }
}

impl Mark {
    /// Creates a mark for a command that this process starts.
    ///
    /// # Errors
    /// `/proc` cannot be read.
    pub fn new(job: impl Into<String>, attempt: u32) -> io::Result<Self> {
        Ok(Self { job: job.into(), attempt, daemon: Daemon::this()? })
    }

    /// Returns the id of the job, as text.
    #[must_use]
    pub fn job(&self) -> &str {
        &self.job
    }

    /// Returns the attempt, counted from 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Parses the text of [`Display`](fmt::Display). `None` if the text is not a mark.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut fields = text.rsplitn(5, '/');
        let boot = fields.next()?.to_owned();
        let start = fields.next()?.parse().ok()?;
        let pid = fields.next()?.parse().ok()?;
        let attempt = fields.next()?.parse().ok()?;
        let job = fields.next()?.to_owned();
        Some(Self { job, attempt, daemon: Daemon { pid, start, boot } })
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Daemon { pid, start, boot } = &self.daemon;
        write!(f, "{}/{}/{pid}/{start}/{boot}", self.job, self.attempt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mark_of_any_job_name_is_read_back_as_written() {
        for job in ["01JD0000000000000000000000", "", "a/b", "with space"] {
            let mark = Mark::new(job, 3).unwrap();
            assert_eq!(Mark::parse(&mark.to_string()), Some(mark), "job {job:?}");
        }
    }

    #[test]
    fn text_that_is_no_mark_is_not_read_as_one() {
        for text in ["", "a", "a/1/2/3", "a/one/2/3/b", "a/1/-/3/b", "a/1/2/-3/b"] {
            assert_eq!(Mark::parse(text), None, "{text:?}");
        }
    }
}

//! What is run, how it ended, and the mark that every process of it carries.

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

/// A command, and the bounds that it runs in.
#[derive(Debug, Clone)]
pub struct Spec {
    /// Program and arguments, expanded; not empty. A program without a slash is looked for in the
    /// `PATH` of `env`.
    pub argv: Vec<OsString>,
    /// Working directory; absolute.
    pub cwd: PathBuf,
    /// The whole environment but the mark, which is added.
    pub env: Vec<(OsString, OsString)>,
    /// Niceness, -20 to 19; none: the daemon's own.
    pub nice: Option<i32>,
    /// Address space of each process, in bytes (`RLIMIT_AS`).
    pub memory_bytes: Option<u64>,
    /// How long it may run before SIGTERM.
    pub timeout: Option<Duration>,
    /// How long it may go on after SIGTERM before SIGKILL.
    pub kill_after: Duration,
    /// What it can change, in a mode with a namespace. In others, and with `None`, it can change
    /// whatever its user can.
    pub reach: Option<Reach>,
    /// Whose it is.
    pub mark: Mark,
}

/// How a command ended. By then nothing that it started is alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Exit {
    /// It exited with this code, 0 to 255.
    Code(i32),
    /// It was killed by this signal, which was not ours.
    Signal(i32),
    /// It ran longer than its timeout and was ended, whatever it exited with then.
    TimedOut,
    /// It was ended by [`Guards::kill_all`](super::Guards::kill_all).
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

/// Says of a process which attempt at which job it belongs to, and which daemon started it.
///
/// It is inherited through the environment by all that a command starts, so that leftovers can be
/// told from a stranger's processes. As text: `JOB/ATTEMPT/PID/START/BOOT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    pub(super) job: String,
    pub(super) attempt: u32,
    pub(super) daemon: Daemon,
}

/// One process of one boot: pids come again, this does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Daemon {
    pub(super) pid: i32,
    /// When it started, in clock ticks since the boot.
    pub(super) start: u64,
    /// The kernel's id of the boot; empty where it has none.
    pub(super) boot: String,
}

impl Daemon {
    /// This process.
    pub(super) fn this() -> io::Result<Self> {
        let this = procfs::Stat::read("self")?;
        Ok(Self { pid: this.pid, start: this.start, boot: procfs::boot_id() })
    }
}

impl Mark {
    /// One for a command that this process starts.
    ///
    /// # Errors
    /// `/proc` cannot be read.
    pub fn new(job: impl Into<String>, attempt: u32) -> io::Result<Self> {
        Ok(Self { job: job.into(), attempt, daemon: Daemon::this()? })
    }

    /// The id of the job, as text.
    #[must_use]
    pub fn job(&self) -> &str {
        &self.job
    }

    /// The attempt, counted from 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Reads what [`Display`](fmt::Display) wrote; none where it is no mark.
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

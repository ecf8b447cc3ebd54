//! What can go wrong with running a command, apart from how it ends.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::spec::Exit;
use crate::error::{Disposition, Failure, is_shortage};

/// Why a command was not run to its end. Completes "failed to …".
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ProcessError {
    /// No folder of `PATH` holds the program.
    #[error("find the command {program:?} in PATH")]
    CommandNotFound {
        /// As configured.
        program: OsString,
    },
    /// The program is no file, or must not be executed.
    #[error("execute {path:?}")]
    NotExecutable {
        /// Where it was found.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The program is a script whose `#!` line cannot be followed.
    #[error("execute {path:?}: its first line names {word:?}, {why}")]
    FirstLine {
        /// Where the script was found.
        path: PathBuf,
        /// The program that the line names, or the argument that it hands to it.
        word: OsString,
        /// What is wrong with it.
        why: FirstLineFault,
    },
    /// A namespace is asked for and there is none to be had.
    #[error("isolate commands in a namespace: {why}")]
    IsolationUnavailable {
        /// What was tried and what it said.
        why: String,
    },
    /// A mode was tried out, and what ran in it did not end well.
    #[error("run a trial command: it ended with {exit}")]
    Probe {
        /// How it ended.
        exit: Exit,
    },
    /// The guard could not be started, or not be talked to.
    #[error("start the guard of a command")]
    Guard {
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The guard could not make the surroundings that the command is to run in.
    #[error("{step} for a command")]
    Isolate {
        /// What it was about.
        step: Step,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// One of longshore's folders could not be mounted for the command: read-only, or writable where
    /// it is the command's own.
    #[error("mount {path:?} for a command")]
    Mount {
        /// The folder, or what is mounted below it.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The command itself could not be started.
    #[error("start {program:?} in {cwd:?}")]
    Start {
        /// As configured.
        program: OsString,
        /// Its working directory.
        cwd: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The guard died before it said how the command ended. What is known by its mark was killed.
    #[error("hear how a command ended: its guard was killed")]
    GuardLost {
        /// Processes that were still alive then and were killed.
        killed: usize,
    },
    /// The command left processes of another user, which must not be killed.
    #[error("kill {left} processes that a command left")]
    Unkillable {
        /// How many there are.
        left: u32,
    },
    /// The output of the command could not be read.
    #[error("read the output of a command")]
    Output {
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// Nothing is started any more: everything was killed, on the way out.
    #[error("start a command: longshore is stopping")]
    Stopping,
}

/// What is wrong with the program that a script's `#!` line names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FirstLineFault {
    /// There is no such file.
    NotFound,
    /// It is no file that this user may execute.
    NotExecutable,
    /// The line ends in a carriage return, which is taken for a part of the name.
    CarriageReturn,
}

impl fmt::Display for FirstLineFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotFound => "and there is no such program",
            Self::NotExecutable => "which this user cannot execute",
            Self::CarriageReturn => {
                "with a carriage return: its lines end in CRLF, convert them to LF (dos2unix)"
            }
        })
    }
}

/// What a guard does before its command runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Step {
    /// Leaving the daemon's namespaces.
    Unshare,
    /// Giving the user and the group their own ids in the user namespace.
    MapIds,
    /// Starting the first process of the PID namespace.
    Fork,
    /// Mounting the namespace's own `/proc`.
    MountProc,
    /// Reading what to run.
    ReadOrder,
    /// Executing the command.
    Start,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unshare => "unshare the namespaces",
            Self::MapIds => "map the user and the group",
            Self::Fork => "fork the first process of the namespace",
            Self::MountProc => "mount /proc",
            Self::ReadOrder => "read what to run",
            Self::Start => "execute the program",
        })
    }
}

impl Failure for ProcessError {
    fn code(&self) -> &'static str {
        match self {
            Self::CommandNotFound { .. } => "command_not_found",
            Self::NotExecutable { .. } => "command_not_executable",
            Self::FirstLine { .. } => "command_not_executable",
            Self::IsolationUnavailable { .. } => "isolation_unavailable",
            Self::Probe { .. } => "isolation_probe",
            Self::Guard { .. } => "guard_not_started",
            Self::Isolate { .. } | Self::Mount { .. } => "command_not_isolated",
            Self::Start { .. } => "command_not_started",
            Self::GuardLost { .. } => "guard_lost",
            Self::Unkillable { .. } => "command_left_processes",
            Self::Output { .. } => "command_output",
            Self::Stopping => "stopping",
        }
    }

    fn disposition(&self) -> Disposition {
        match self {
            // A fault of the configuration or of the machine: no package is to blame, and the next
            // one would fare no better.
            Self::CommandNotFound { .. }
            | Self::NotExecutable { .. }
            | Self::FirstLine { .. }
            | Self::IsolationUnavailable { .. }
            | Self::Probe { .. }
            | Self::Guard { .. }
            | Self::Isolate { .. }
            | Self::Mount { .. }
            | Self::Stopping => Disposition::Wait,
            // The kernel refuses an argument list or a file name that is too long for it.
            Self::Start { source, .. } => match source.kind() {
                io::ErrorKind::ArgumentListTooLong | io::ErrorKind::InvalidFilename => {
                    Disposition::Quarantine
                }
                _ => Disposition::Wait,
            },
            Self::Output { source } if is_shortage(source) => Disposition::Wait,
            Self::GuardLost { .. } | Self::Unkillable { .. } | Self::Output { .. } => {
                Disposition::Retry
            }
        }
    }
}

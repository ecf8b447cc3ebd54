//! The errors of running a command. How a command ends is not one of them.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::spec::Exit;
use crate::error::{Disposition, Failure, is_shortage};

/// Why running a command failed. Completes "failed to …".
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ProcessError {
    /// No folder of `PATH` holds the program.
    #[error("find the command {program:?} in PATH")]
    CommandNotFound {
        /// As configured.
        program: OsString,
    },
    /// The program is not a regular file, or may not be executed.
    #[error("execute {path:?}")]
    NotExecutable {
        /// Where it was found.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The program is a script whose `#!` line the kernel cannot follow.
    #[error("execute {path:?}: its first line names {word:?}, {why}")]
    FirstLine {
        /// Where the script was found.
        path: PathBuf,
        /// The program that the line names, or the argument that the line passes to it.
        word: OsString,
        /// What is wrong with it.
        why: FirstLineFault,
    },
    /// A namespace is required, and none is available.
    #[error("isolate commands in a namespace: {why}")]
    IsolationUnavailable {
        /// The modes that were tried, and their errors.
        why: String,
    },
    /// A trial command was run in a mode and did not exit with 0.
    #[error("run a trial command: it ended with {exit}")]
    Probe {
        /// How it ended.
        exit: Exit,
    },
    /// The guard could not be started, or communication with it failed.
    #[error("start the guard of a command")]
    Guard {
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The guard could not set up the environment of the command.
    #[error("{step} for a command")]
    Isolate {
        /// The step that failed.
        step: Step,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// One of longshore's folders could not be mounted for the command: read-only, or writable if
    /// it is the command's own.
    #[error("mount {path:?} for a command")]
    Mount {
        /// The folder, or a mount below it.
        path: PathBuf,
        /// The system's error.
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
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The guard died before it reported how the command ended. The processes of the command that
    /// could be found were killed.
    #[error("hear how a command ended: its guard was killed")]
    GuardLost {
        /// How many processes were still alive then and were killed.
        killed: usize,
    },
    /// The command left processes of another user, which the guard may not kill.
    #[error("kill {left} processes that a command left")]
    Unkillable {
        /// How many there are.
        left: u32,
    },
    /// The output of the command could not be read.
    #[error("read the output of a command")]
    Output {
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// No command can start: all commands were killed because longshore is stopping.
    #[error("start a command: longshore is stopping")]
    Stopping,
}

/// What is wrong with the program that a script's `#!` line names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FirstLineFault {
    /// There is no such file.
    NotFound,
    /// This user may not execute the file, or it is not a regular file.
    NotExecutable,
    /// The line ends in a carriage return, which the kernel takes as part of the name.
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

/// What a guard does to start its command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Step {
    /// Leaving the daemon's namespaces.
    Unshare,
    /// Giving the user and the group their own ids in the user namespace.
    MapIds,
    /// Forking the first process of the PID namespace.
    Fork,
    /// Mounting the namespace's own `/proc`.
    MountProc,
    /// Reading the order.
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
            // The configuration or the machine is at fault, not the package: the next package would
            // fail, too.
            Self::CommandNotFound { .. }
            | Self::NotExecutable { .. }
            | Self::FirstLine { .. }
            | Self::IsolationUnavailable { .. }
            | Self::Probe { .. }
            | Self::Guard { .. }
            | Self::Isolate { .. }
            | Self::Mount { .. }
            | Self::Stopping => Disposition::Wait,
            // The kernel refuses an argument list or a file name that is too long.
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

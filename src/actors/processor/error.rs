//! Why a package's command rejected or could not process the package.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use crate::error::{Disposition, Failure};
use crate::process::ProcessError;

/// Why a package's command rejected or could not process the package. Completes "failed to …".
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ProcessorError {
    /// The command exited with a code that is neither 0 nor 75.
    #[error("process it: the command exited with {code}")]
    Failed {
        /// 1 to 255.
        code: i32,
        /// The last lines of its output.
        output: Vec<String>,
    },
    /// The command asks for another attempt: it exited with 75 (`EX_TEMPFAIL`).
    #[error("process it now: the command asks for another attempt (exit code 75)")]
    Deferred {
        /// The last lines of its output.
        output: Vec<String>,
    },
    /// The command was killed by a signal that is not ours.
    #[error("process it: the command was killed by {}", name(*signal))]
    Killed {
        /// The number of the signal.
        signal: i32,
        /// The last lines of its output.
        output: Vec<String>,
    },
    /// The command ran longer than its `timeout`.
    #[error(
        "process it in {}: the command did not end by itself",
        humantime::format_duration(*timeout)
    )]
    TimedOut {
        /// As configured.
        timeout: Duration,
        /// The last lines of its output.
        output: Vec<String>,
    },
    /// The delivered files differ from those before the command.
    #[error("keep {path:?} as it was delivered: it is {how} after its command ran")]
    DeliveryChanged {
        /// The path that changed.
        path: PathBuf,
        /// "gone" or "another".
        how: &'static str,
    },
    /// The output folder with the unpacked files is gone.
    #[error("go on with {path:?}: the command removed or moved the folder that it works in")]
    OutputGone {
        /// The folder.
        path: PathBuf,
    },
    /// Something else has replaced the output folder with the unpacked files.
    #[error("go on with {path:?}: it is no folder any more after its command ran")]
    OutputReplaced {
        /// The folder.
        path: PathBuf,
    },
    /// The command's log cannot be written, or the effects of the command could not be checked.
    #[error("{action} {path:?}")]
    Io {
        /// The action that failed.
        action: &'static str,
        /// The path it was tried on.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The command could not be run to its end.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The system cannot create a thread for the command.
    #[error("start a thread for its command")]
    NoThread {
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// Running the command panicked.
    #[error("process it: longshore itself panicked; its standard error has more")]
    Panicked,
}

fn name(signal: i32) -> String {
    match signal_hook::low_level::signal_name(signal) {
        Some(name) => format!("signal {signal} ({name})"),
        None => format!("signal {signal}"),
    }
}

impl Failure for ProcessorError {
    fn code(&self) -> &'static str {
        match self {
            Self::Failed { .. } => "command_failed",
            Self::Deferred { .. } => "command_deferred",
            Self::Killed { .. } => "command_killed",
            Self::TimedOut { .. } => "command_timed_out",
            Self::DeliveryChanged { .. } => "command_changed_delivery",
            Self::OutputGone { .. } => "command_removed_output",
            Self::OutputReplaced { .. } => "command_replaced_output",
            Self::Io { .. } => "command_io",
            Self::Process(error) => error.code(),
            Self::NoThread { .. } => "no_thread",
            Self::Panicked => "processor_panicked",
        }
    }

    fn disposition(&self) -> Disposition {
        match self {
            Self::Failed { .. }
            | Self::Killed { .. }
            | Self::TimedOut { .. }
            | Self::DeliveryChanged { .. }
            | Self::OutputGone { .. }
            | Self::OutputReplaced { .. } => Disposition::Quarantine,
            Self::Deferred { .. } | Self::Panicked => Disposition::Retry,
            // A full or missing state folder, or a machine short of threads: no package is at fault.
            Self::Io { .. } | Self::NoThread { .. } => Disposition::Wait,
            Self::Process(error) => error.disposition(),
        }
    }

    fn output(&self) -> &[String] {
        match self {
            Self::Failed { output, .. }
            | Self::Deferred { output }
            | Self::Killed { output, .. }
            | Self::TimedOut { output, .. } => output,
            _ => &[],
        }
    }
}

//! Why a package's command did not let it through.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use crate::error::{Disposition, Failure};
use crate::process::ProcessError;

/// Why a package's command did not let it through. Completes "failed to …".
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ProcessorError {
    /// The command exited with a code that is neither 0 nor 75.
    #[error("process it: the command exited with {code}")]
    Failed {
        /** 1 to 255. */
        code: i32,
        /** The last lines of its output. */
        output: Vec<String>,
    },
    /// The command asks for another attempt: it exited with 75 (`EX_TEMPFAIL`).
    #[error("process it now: the command asks for another attempt (exit code 75)")]
    Deferred {
        /** The last lines of its output. */
        output: Vec<String>,
    },
    /// A signal killed the command, and it was not ours.
    #[error("process it: the command was killed by {}", name(*signal))]
    Killed {
        /** Its number. */
        signal: i32,
        /** The last lines of its output. */
        output: Vec<String>,
    },
    /// The command ran longer than its `timeout`.
    #[error(
        "process it in {}: the command did not end by itself",
        humantime::format_duration(*timeout)
    )]
    TimedOut {
        /** As configured. */
        timeout: Duration,
        /** The last lines of its output. */
        output: Vec<String>,
    },
    /// What was delivered is not what it was before the command.
    #[error("keep {path:?} as it was delivered: it is {how} after its command ran")]
    DeliveryChanged {
        /** What. */
        path: PathBuf,
        /** "gone" or "another". */
        how: &'static str,
    },
    /// The folder with what was unpacked is gone.
    #[error("go on with {path:?}: the command removed or moved the folder that it works in")]
    OutputGone {
        /** The folder. */
        path: PathBuf,
    },
    /// Something else has the place of the folder with what was unpacked.
    #[error("go on with {path:?}: it is no folder any more after its command ran")]
    OutputReplaced {
        /** The folder. */
        path: PathBuf,
    },
    /// The command's log cannot be written, or what the command did not be looked at.
    #[error("{action} {path:?}")]
    Io {
        /** What was tried. */
        action: &'static str,
        /** With what. */
        path: PathBuf,
        /** What the system said. */
        #[source]
        source: io::Error,
    },
    /// The command could not be run to its end.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The system has no thread for it.
    #[error("start a thread for its command")]
    NoThread {
        /** What the system said. */
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
            // A state folder that is full or gone, a machine that is short of threads: no package is to
            // blame.
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

//! Why a pipeline did not start.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::stages::StageFault;
use crate::actors::extractor::options::OptionsError;
use crate::error::Chain;
use crate::id::SourceName;
use crate::ledger::LedgerError;
use crate::workspace::{StartError, WorkspaceError};

/// Why a pipeline did not start. Completes "failed to …".
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PipelineError {
    /// A source's folders cannot be used.
    #[error("start source {name}: {source}")]
    Source {
        /// The source.
        name: SourceName,
        /// The problem, its place, and the remedy.
        #[source]
        source: StartError,
    },
    /// The program's stages do not fit together.
    #[error(transparent)]
    Stages(#[from] StageFault),
    /// Two sources cannot run side by side.
    #[error("run these sources side by side: {0}")]
    Together(StartError),
    /// A source's work area cannot be recovered.
    #[error("recover the work area of source {name}")]
    Recover {
        /// The source.
        name: SourceName,
        /// The problem.
        #[source]
        source: WorkspaceError,
    },
    /// The state folder (the ledger, the logs of commands) cannot be used.
    #[error(transparent)]
    State(StartError),
    /// The ledger cannot be used.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A source's charset, zone or password cannot be used to read its ZIPs.
    #[error("configure source {name}")]
    Options {
        /// The source.
        name: SourceName,
        /// Why.
        #[source]
        source: OptionsError,
    },
    /// A source's command cannot be run: the program does not exist, or cannot be isolated as configured.
    #[error("run the command of source {name}")]
    Command {
        /// The source.
        name: SourceName,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Processes left by an earlier run's commands cannot be searched for, or no commands can be started.
    #[error("look for processes that an earlier run left")]
    Leftovers {
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The folder for the logs of commands cannot be created.
    #[error("make the folder {path:?} for the logs of commands")]
    Logs {
        /// The folder.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
}

impl PipelineError {
    /// Returns the exit code for this kind of error.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Source { source, .. } | Self::Together(source) | Self::State(source) => {
                source.exit_code()
            }
            Self::Recover { .. } | Self::Leftovers { .. } | Self::Logs { .. } => 74,
            Self::Options { .. } | Self::Command { .. } => 78,
            Self::Stages(_) => 70, // a fault of the program
            Self::Ledger(error) => error.exit_code(),
        }
    }
}

/// Returns an error with its causes on one line, for a caller that only prints it.
#[must_use]
pub fn explain(error: &PipelineError) -> String {
    match error {
        // The message of `Source` already contains its cause.
        PipelineError::Source { name, source } => {
            format!("start source {name}: {}", Chain(source))
        }
        _ => Chain(error).to_string(),
    }
}

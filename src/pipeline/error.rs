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
        /** The source. */
        name: SourceName,
        /** What is wrong, where, and what to do. */
        #[source]
        source: StartError,
    },
    /// The program's stages cannot be as it added them.
    #[error(transparent)]
    Stages(#[from] StageFault),
    /// Two sources cannot run side by side.
    #[error("run these sources side by side: {0}")]
    Together(StartError),
    /// A source's work area cannot be recovered.
    #[error("recover the work area of source {name}")]
    Recover {
        /** The source. */
        name: SourceName,
        /** What is wrong. */
        #[source]
        source: WorkspaceError,
    },
    /// The state folder (the ledger, the logs of commands) cannot be used.
    #[error(transparent)]
    State(StartError),
    /// The ledger cannot be used.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A source's ZIPs cannot be read as it is configured: its charset, zone or password.
    #[error("configure source {name}")]
    Options {
        /** The source. */
        name: SourceName,
        /** Why. */
        #[source]
        source: OptionsError,
    },
    /// A source's command cannot be run: there is no such program, or it cannot be isolated as asked.
    #[error("run the command of source {name}")]
    Command {
        /** The source. */
        name: SourceName,
        /** Why. */
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What an earlier run's commands left cannot be looked for, or no more can be started.
    #[error("look for processes that an earlier run left")]
    Leftovers {
        /** What the system said. */
        #[source]
        source: io::Error,
    },
    /// There is no place for the logs of commands.
    #[error("make the folder {path:?} for the logs of commands")]
    Logs {
        /** The folder. */
        path: PathBuf,
        /** What the system said. */
        #[source]
        source: io::Error,
    },
}

impl PipelineError {
    /// The exit code that tells this kind of error.
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

/// An error with its causes on one line, for whoever only prints it.
#[must_use]
pub fn explain(error: &PipelineError) -> String {
    match error {
        // Its message has its cause in it.
        PipelineError::Source { name, source } => {
            format!("start source {name}: {}", Chain(source))
        }
        _ => Chain(error).to_string(),
    }
}

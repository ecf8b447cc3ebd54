//! Why a pipeline did not start.

use thiserror::Error;

use crate::actors::extractor::options::OptionsError;
use crate::error::Chain;
use crate::id::SourceName;
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
    /// A source's ZIPs cannot be read as it is configured: its charset, zone or password.
    #[error("configure source {name}")]
    Options {
        /** The source. */
        name: SourceName,
        /** Why. */
        #[source]
        source: OptionsError,
    },
}

impl PipelineError {
    /// The exit code that tells this kind of error.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Source { source, .. } | Self::Together(source) => source.exit_code(),
            Self::Recover { .. } => 74,
            Self::Options { .. } => 78,
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
        PipelineError::Together(_)
        | PipelineError::Options { .. }
        | PipelineError::Recover { .. } => Chain(error).to_string(),
    }
}

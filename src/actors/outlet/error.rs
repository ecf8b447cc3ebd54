//! Errors of the pipeline itself about a package that a stage did not finish properly.

use thiserror::Error;

use crate::error::{Disposition, Failure};

/// A stage did not handle a package as it must. Completes "failed to …".
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StageError {
    /// The holder of the package dropped it, or panicked.
    #[error("keep hold of it: a stage dropped it or panicked; the log may say more")]
    Lost,
    /// The stage has had the package for as long as it is allowed to.
    #[error("process it in time: stage {stage} has not answered")]
    Overdue {
        /// The stage.
        stage: String,
    },
    /// The stage has parked the package for as long as it is allowed to: what it waits for did not come.
    #[error(
        "go on with it in time: stage {stage} has held it back, and what it waits for did not come"
    )]
    ParkedTooLong {
        /// The stage.
        stage: String,
    },
}

impl Failure for StageError {
    fn code(&self) -> &'static str {
        match self {
            Self::Lost => "package_lost",
            Self::Overdue { .. } => "stage_overdue",
            Self::ParkedTooLong { .. } => "parked_too_long",
        }
    }

    fn disposition(&self) -> Disposition {
        match self {
            Self::Lost | Self::Overdue { .. } => Disposition::Retry,
            Self::ParkedTooLong { .. } => Disposition::Quarantine,
        }
    }
}

//! [`Answer`]: what a stage did with a package.

use std::fmt;

use crate::error::{Chain, Disposition, Failure};
use crate::package::Package;

/// What a stage did with a package.
#[derive(Debug)]
#[non_exhaustive]
pub enum Answer {
    /// It passed the package on.
    Passed(Package),
    /// It rejected the package.
    Rejected(Rejection),
    /// It holds the package back.
    Parked,
    /// It dropped the package, or panicked: in a pipeline, the package loses an attempt.
    Lost,
    /// It did nothing within its time.
    Nothing,
}

/// Why a stage rejected a package.
#[derive(Debug)]
#[non_exhaustive]
pub struct Rejection {
    /// The package, with its folders.
    pub package: Package,
    /// The error's code.
    pub code: &'static str,
    /// How the package would continue.
    pub disposition: Disposition,
    /// The error and its causes on one line; completes "failed to …".
    pub message: String,
}

impl Rejection {
    pub(super) fn of(package: Package, error: &dyn Failure) -> Self {
        let (code, disposition) = (error.code(), error.disposition());
        Self { package, code, disposition, message: Chain(error).to_string() }
    }
}

impl Answer {
    /// Returns the package that was passed on, with its notes and its folders.
    ///
    /// # Panics
    /// The stage did something else.
    #[track_caller]
    pub fn passed(self) -> Package {
        match self {
            Self::Passed(package) => package,
            other => panic!("the package was not passed on: {other}"),
        }
    }

    /// Returns why the package was rejected.
    ///
    /// # Panics
    /// The stage did something else.
    #[track_caller]
    pub fn rejected(self) -> Rejection {
        match self {
            Self::Rejected(rejection) => rejection,
            other => panic!("the package was not rejected: {other}"),
        }
    }

    /// Whether the package is held back.
    #[must_use]
    pub fn is_parked(&self) -> bool {
        matches!(self, Self::Parked)
    }

    /// Whether the stage dropped the package, or panicked.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        matches!(self, Self::Lost)
    }

    /// Whether the stage did nothing within its time.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing)
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed(_) => f.write_str("it was passed on"),
            Self::Rejected(Rejection { code, message, .. }) => {
                write!(f, "it was rejected as {code}: failed to {message}")
            }
            Self::Parked => f.write_str("it is held back"),
            Self::Lost => f.write_str("it was dropped, or its stage panicked"),
            Self::Nothing => f.write_str("nothing came in time"),
        }
    }
}

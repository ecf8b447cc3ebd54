//! The contract of every error that can end an attempt at a package.
//!
//! Each stage has its own enum (`ExtractError`, `PublishError`, a user's). This module has the
//! common part: a stable code, and the disposition of the package.

use std::error::Error;
use std::fmt;
use std::io;

use rustix::io::Errno;

/// What happens to a package after an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Disposition {
    /// The error is transient: another attempt may succeed, and this one counts.
    Retry,
    /// The error is not the package's fault and does not count as an attempt (no space, the archive
    /// is gone). The package waits, and the intake of its source is paused.
    Wait,
    /// Like `Wait`, for a cause that only this package has. It is tried again after 5 s at first,
    /// then less and less often, up to every `backoff_max`. Other packages continue.
    WaitAlone,
    /// The error is the package's own fault: the whole package goes to quarantine.
    Quarantine,
    /// The package is not wanted, and is to be deleted (an identical delivery with
    /// `identical = "discard"`).
    Discard,
}

/// An error that ends an attempt at a package. Its message completes "failed to …".
///
/// Implement this for the error of your own stage. All of longshore's own errors implement it.
pub trait Failure: Error + Send + Sync + 'static {
    /// Returns the name of this error in the ledger, metrics and `reason.json`: stable, in snake case.
    fn code(&self) -> &'static str;

    /// Returns what happens to the package.
    fn disposition(&self) -> Disposition;

    /// Returns the last lines of a program's output about the error, for `reason.json`; mostly empty.
    fn output(&self) -> &[String] {
        &[]
    }
}

/// Whether an error shows a temporary shortage of the machine: files, memory, threads. No package
/// is at fault.
#[must_use]
pub(crate) fn is_shortage(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::AGAIN)
    )
}

/// Shows an error with all its causes on one line, joined by `: `.
#[derive(Debug)]
pub struct Chain<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("write the manifest")]
    struct Outer(#[source] io::Error);

    #[test]
    fn shortage_is_the_machines_and_not_what_a_path_or_a_disk_says() {
        let is = |error: Errno| is_shortage(&error.into());
        assert!([Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::AGAIN].into_iter().all(is));
        assert!(![Errno::NOENT, Errno::IO, Errno::ACCESS, Errno::NOSPC].into_iter().any(is));
        assert!(!is_shortage(&io::Error::other("no number")));
    }

    #[test]
    fn chain_of_two_errors_names_both() {
        let outer = Outer(io::Error::other("disk on fire"));
        assert_eq!(Chain(&outer).to_string(), "write the manifest: disk on fire");
    }
}

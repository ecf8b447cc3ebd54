//! The contract of every error that can end an attempt at a package.
//!
//! Each stage has an enum of its own (`ExtractError`, `PublishError`, a user's); what they have in
//! common is here: a stable code, and what becomes of the package.

use std::error::Error;
use std::fmt;
use std::io;

use rustix::io::Errno;

/// What becomes of a package after an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Disposition {
    /// Transient: another attempt may succeed, and this one counts.
    Retry,
    /// Not the package's fault and not worth an attempt (no space, the archive is gone): it waits,
    /// and with it the intake of its source.
    Wait,
    /// Like `Wait`, for a cause that is this package's alone: it is tried again after 5 s at first, then
    /// more and more rarely, up to every `backoff_max`. Other packages continue.
    WaitAlone,
    /// The package's own fault: it goes to quarantine, whole.
    Quarantine,
    /// Not wanted and asked to be deleted (an identical delivery under `identical = "discard"`).
    Discard,
}

/// An error that ends an attempt at a package. Its message completes "failed to …".
///
/// Implement it for the error of your own stage; everything longshore raises has it.
pub trait Failure: Error + Send + Sync + 'static {
    /// Stable and in snake case: what the ledger, metrics and `reason.json` call this error.
    fn code(&self) -> &'static str;

    /// What becomes of the package.
    fn disposition(&self) -> Disposition;

    /// The last lines that a program said about it, for `reason.json`; mostly none.
    fn output(&self) -> &[String] {
        &[]
    }
}

/// Whether an error says that the machine is short of something at the moment: files, memory, threads.
/// No package is to blame for it, and it passes.
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

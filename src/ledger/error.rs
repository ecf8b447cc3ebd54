//! Errors of the ledger, and their consequences for a start.

use std::error::Error;
use std::path::PathBuf;

use crate::error::{Disposition, Failure};

/// The error of a store's own library.
pub type Cause = Box<dyn Error + Send + Sync>;

/// Why an operation of the ledger failed. Completes "failed to …".
///
/// None of these loses a package: packages in work are in the work area.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// Another process holds the lock, and did not release it in time.
    #[error("get at the ledger {path:?}: another process has it locked")]
    Locked {
        /// The file.
        path: PathBuf,
        /// The error of the store.
        #[source]
        source: Cause,
    },
    /// It cannot be opened, read or written.
    #[error("reach the ledger {path:?}")]
    Unreachable {
        /// The file.
        path: PathBuf,
        /// The error of the store.
        #[source]
        source: Cause,
    },
    /// The disk has no space for it.
    #[error("write the ledger {path:?}: its disk is full; make room, and start again")]
    NoSpace {
        /// The file.
        path: PathBuf,
        /// The error of the store.
        #[source]
        source: Cause,
    },
    /// The content of the file cannot be parsed.
    #[error(
        "read the ledger {path:?}: it is damaged ({what}). No package is lost with it. Put a backup \
         in its place, or set `on_corrupt = \"move_aside\"` under [ledger] to begin a new one"
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The entry with the name of one of its files is not this user's own regular file.
    #[error("trust {path:?}: {what}; look where it comes from, and move it away")]
    NotOurs {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The file is a database of another program.
    #[error("use {path:?} as the ledger: it is a database of another program")]
    NotALedger {
        /// The file.
        path: PathBuf,
    },
    /// A newer longshore wrote it.
    #[error(
        "read the ledger {path:?}: a newer longshore wrote it (version {found} of its tables; this \
         one knows up to {known})"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The version of the file.
        found: i64,
        /// The newest version that is known.
        known: i64,
    },
    /// A damaged ledger could not be moved aside.
    #[error("move the damaged ledger {path:?} aside")]
    MoveAside {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        #[source]
        source: std::io::Error,
    },
    /// The file for the backup already exists.
    #[error("back the ledger up to {path:?}: there is a file of that name")]
    BackupExists {
        /// The file.
        path: PathBuf,
    },
    /// This kind of store does not support the operation.
    #[error("{what}: this kind of ledger has no such thing; {remedy}")]
    Unsupported {
        /// The requested operation.
        what: &'static str,
        /// What to do instead.
        remedy: &'static str,
    },
    /// A pattern of names is invalid.
    #[error("understand the pattern {pattern:?}: {why}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        why: String,
    },
}

impl LedgerError {
    /// The exit code for this kind of error: 69 if another try can help, 74 for a full disk, 78
    /// if the operator has to change something.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Locked { .. } | Self::Unreachable { .. } | Self::Unsupported { .. } => 69,
            Self::NoSpace { .. } | Self::MoveAside { .. } => 74,
            Self::NotOurs { .. } => 77,
            Self::Corrupt { .. } | Self::NotALedger { .. } | Self::Newer { .. } => 78,
            Self::BackupExists { .. } => 74,
            Self::Pattern { .. } => 2,
        }
    }
}

impl Failure for LedgerError {
    fn code(&self) -> &'static str {
        match self {
            Self::Locked { .. } => "ledger_locked",
            Self::Unreachable { .. } => "ledger_unreachable",
            Self::NoSpace { .. } => "ledger_no_space",
            Self::Corrupt { .. } => "ledger_corrupt",
            Self::NotALedger { .. } => "not_a_ledger",
            Self::NotOurs { .. } => "ledger_not_ours",
            Self::Newer { .. } => "ledger_newer",
            Self::MoveAside { .. } => "ledger_move_aside",
            Self::BackupExists { .. } => "backup_exists",
            Self::Unsupported { .. } => "ledger_unsupported",
            Self::Pattern { .. } => "bad_pattern",
        }
    }

    /// It is never the package's fault, and never costs an attempt.
    fn disposition(&self) -> Disposition {
        Disposition::Wait
    }
}

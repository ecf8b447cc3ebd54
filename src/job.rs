//! Plain values about jobs: where a package is, which attempt is next, what became of it.
//!
//! Rules (`landing`, `schedule`, `workspace`) use them as they are; `messages` carries them between actors.

use std::fmt;
use std::path::PathBuf;
use std::time::Instant;

use serde::Serialize;

use crate::id::{JobId, PackageName, SourceName};
use crate::package::FolderId;
use crate::progress::Progress;

/// How the Watcher found a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FoundBy {
    /// An inotify event named it.
    Event,
    /// A scan of the landing found it.
    Scan,
}

/// The form of a package in its landing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Form {
    /// `NAME/`, with `NAME.zip` in it.
    Folder,
    /// A bare `NAME.zip`.
    Zip,
}

/// Where a job's package is at the start of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// In the landing, to be claimed.
    Landing {
        /// The offered folder or file: another one of the same name is not claimed in its place.
        identity: FolderId,
        /// Folder or bare ZIP.
        form: Form,
    },
    /// In the work area, claimed by an earlier attempt or an earlier run.
    WorkArea,
}

/// One attempt at one package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobSpec {
    /// The job.
    pub id: JobId,
    /// Its source.
    pub source: SourceName,
    /// Its package's name.
    pub name: PackageName,
    /// Counted from 1.
    pub attempt: u32,
    /// Unclean ends of the daemon while this job was active.
    pub crashes: u32,
    /// Landing or work area.
    pub origin: Origin,
}

/// A job that was active at this many unclean ends runs with nothing else in work, so that the next unclean
/// end must be attributable to this job alone.
pub(crate) const ALONE_FROM: u32 = 2;

impl JobSpec {
    /// Whether the job may only run with nothing else in work.
    #[must_use]
    pub fn runs_alone(&self) -> bool {
        self.crashes >= ALONE_FROM
    }

    /// Whether the package is still to be claimed.
    #[must_use]
    pub fn is_in_landing(&self) -> bool {
        matches!(self.origin, Origin::Landing { .. })
    }
}

/// A part of a package's entries that any extractor can write.
///
/// **Invariant:** dropping a part without running it (a panic, a pool that is gone) counts as its end and
/// fails its job. The last part to end, however it ends, settles the extraction.
pub trait SliceWork: Send {
    /// Unpacks the part, and counts steps in `progress`, the progress of the current thread.
    fn run(self: Box<Self>, progress: &Progress);
    /// Unpacked size in bytes.
    fn bytes(&self) -> u64;
}

/// Work for an extractor.
pub enum Work {
    /// Claim the package, plan it, and cut it into slices; a plan of one slice is finished on the spot.
    Open(JobSpec),
    /// Write one slice of a planned package.
    Slice(JobId, Box<dyn SliceWork>),
}

impl Work {
    /// Returns the unpacked size in bytes, as far as it is known before the work is done.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Open(_) => 0,
            Self::Slice(_, slice) => slice.bytes(),
        }
    }
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(spec) => f.debug_tuple("Open").field(spec).finish(),
            Self::Slice(job, slice) => {
                f.debug_tuple("Slice").field(job).field(&slice.bytes()).finish()
            }
        }
    }
}

/// The name of a stage in the log, the status and the ledger.
pub type StageName = std::sync::Arc<str>;

/// The outcome of a job or an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// In the archive.
    Archived {
        /// The folder.
        path: PathBuf,
    },
    /// In quarantine, with a `reason.json`.
    Quarantined {
        /// The error's code.
        code: String,
        /// The error and its causes.
        why: String,
        /// The folder.
        path: PathBuf,
    },
    /// Deleted, as configured for identical deliveries.
    Discarded,
    /// Its folder was removed from the work area by something else.
    Vanished,
    /// Another attempt, from the work area.
    Retry {
        /// The earliest time of the attempt.
        at: Instant,
        /// The number of that attempt.
        attempt: u32,
        /// The error's code.
        code: String,
        /// The error and its causes.
        why: String,
        /// Whether the source's intake pauses until then (no space, the archive is gone).
        pause_source: bool,
    },
}

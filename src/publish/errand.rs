//! A job that goes to another file system, and the state of its copy.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::io::Errno;

use super::copy::TreeCopy;
use crate::folder::Folder;
use crate::names::{COPIED, FINAL, Q, Q_COPIED};
use crate::workspace::{JobDir, Reason, Target};

/// A job that is to be copied, or has been copied.
pub(super) struct Errand {
    pub(super) job: JobDir,
    pub(super) load: Load,
}

/// The folder that is copied.
pub(super) enum Load {
    /// `.final`, into the archive.
    Package,
    /// `.q`, into quarantine; the reason, if it is already known.
    Quarantine(Option<Box<Reason>>),
}

impl Errand {
    pub(super) fn new(job: JobDir, load: Load) -> Self {
        Self { job, load }
    }

    pub(super) fn target(&self) -> Target {
        match self.load {
            Load::Package => Target::Archive,
            Load::Quarantine(_) => Target::Quarantine,
        }
    }

    /// The name of the copied folder in the job's folder.
    pub(super) fn original(&self) -> &'static str {
        match self.load {
            Load::Package => FINAL,
            Load::Quarantine(_) => Q,
        }
    }

    /// The name of that folder after its copy is complete.
    pub(super) fn mark(&self) -> &'static str {
        match self.load {
            Load::Package => COPIED,
            Load::Quarantine(_) => Q_COPIED,
        }
    }
}

/// A copy that was made now, or found.
pub(super) struct StagedCopy {
    pub(super) errand: Errand,
    /// The archive or quarantine that contains the copy.
    pub(super) target: Arc<Folder>,
    /// Its path as configured, for messages and results; absolute.
    pub(super) target_path: PathBuf,
    /// The folder in the target that holds the copy until it gets its name, and its temporary name there;
    /// `None` if it already has its name.
    pub(super) staging: Option<(Arc<Folder>, String)>,
    /// The expected content of the copy, if it was made now.
    pub(super) made: Option<TreeCopy>,
    /// Its name in the target, after it got one.
    pub(super) name: Option<String>,
}

impl StagedCopy {
    /// The copy under its temporary name.
    pub(super) fn copy(&self) -> io::Result<Folder> {
        let (staging, copy) = self.staging.as_ref().ok_or(Errno::NOENT)?;
        staging.folder(copy)
    }
}

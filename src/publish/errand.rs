//! A job on its way to another file system, and how far it is.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::io::Errno;

use super::copy::TreeCopy;
use crate::folder::Folder;
use crate::names::{COPIED, FINAL, Q, Q_COPIED};
use crate::workspace::{JobDir, Reason, Target};

/// A job that is to be copied, or that has been.
pub(super) struct Errand {
    pub(super) job: JobDir,
    pub(super) load: Load,
}

/// What is copied.
pub(super) enum Load {
    /// `.final`, into the archive.
    Package,
    /// `.q`, into quarantine; the reason, where it is known already.
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

    /// What is copied, in the job's folder.
    pub(super) fn original(&self) -> &'static str {
        match self.load {
            Load::Package => FINAL,
            Load::Quarantine(_) => Q,
        }
    }

    /// What that is called once its copy is complete.
    pub(super) fn mark(&self) -> &'static str {
        match self.load {
            Load::Package => COPIED,
            Load::Quarantine(_) => Q_COPIED,
        }
    }
}

/// A copy that has been made, or one that was found.
pub(super) struct StagedCopy {
    pub(super) errand: Errand,
    /// The archive or quarantine that the copy is in.
    pub(super) target: Arc<Folder>,
    /// Its path as configured, for what is told of it; absolute.
    pub(super) target_path: PathBuf,
    /// The folder in it that has the copy until that gets its name, and what it is called there; `None`
    /// if it has got it.
    pub(super) staging: Option<(Arc<Folder>, String)>,
    /// What it should be, where it was made just now.
    pub(super) made: Option<TreeCopy>,
    /// Its name in the target, once it has one.
    pub(super) name: Option<String>,
}

impl StagedCopy {
    /// The copy under its temporary name.
    pub(super) fn copy(&self) -> io::Result<Folder> {
        let (staging, copy) = self.staging.as_ref().ok_or(Errno::NOENT)?;
        staging.folder(copy)
    }
}

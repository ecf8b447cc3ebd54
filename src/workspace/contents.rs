//! The contents of a job's folder, listed once to determine the job's state.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::{JobDir, JobKey};
use crate::folder::Folder;
use crate::id::PackageName;
use crate::names::{
    APART, CLAIM, COPIED, COPY, DISCARD, DONE, FINAL, NAME_MARK, OUT, PASSED, Q, Q_COPIED,
    is_hidden,
};

/// The names in a job's folder, sorted into those that longshore creates and those that it does not know.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Contents {
    /// Folders that can be the delivered one; normally at most one.
    pub(crate) delivered: Vec<String>,
    /// The package's name, if a mark file records it.
    pub(crate) marked: Option<PackageName>,
    pub(crate) out: bool,
    pub(crate) done: bool,
    pub(crate) final_: bool,
    /// The record of what was verified, and of the folder to be archived.
    pub(crate) passed: bool,
    pub(crate) q: bool,
    /// `.copied` or `.q-copied`: the job's copy on another file system is complete.
    pub(crate) copied: bool,
    pub(crate) q_copied: bool,
    pub(crate) claim: bool,
    pub(crate) discard: bool,
    /// Files and folders that longshore did not create; absolute.
    pub(crate) strays: Vec<PathBuf>,
}

impl Contents {
    /// Lists a job's folder.
    pub(crate) fn read(home: &Folder) -> io::Result<Self> {
        let mut contents = Self::default();
        home.list(|name, kind| {
            let is_dir = kind.is_dir();
            match name.to_str() {
                Some(OUT) if is_dir => contents.out = true,
                Some(DONE) if is_dir => contents.done = true,
                Some(FINAL) if is_dir => contents.final_ = true,
                Some(Q) if is_dir => contents.q = true,
                Some(COPIED) if is_dir => contents.copied = true,
                Some(Q_COPIED) if is_dir => contents.q_copied = true,
                Some(PASSED) if kind.is_file() => contents.passed = true,
                Some(COPY | APART) if kind.is_file() => {}
                Some(CLAIM) if is_dir => contents.claim = true,
                Some(DISCARD) if is_dir => contents.discard = true,
                Some(text) if is_dir && !is_hidden(name) => contents.delivered.push(text.into()),
                Some(text) => match text.strip_prefix(NAME_MARK).map(PackageName::new) {
                    Some(Ok(marked)) if contents.marked.is_none() => contents.marked = Some(marked),
                    _ => contents.strays.push(home.join(name)),
                },
                None => contents.strays.push(home.join(name)),
            }
        })?;
        Ok(contents)
    }

    /// Whether an attempt had started and had not been abandoned.
    pub(crate) fn is_active(&self) -> bool {
        self.out || self.done || self.final_ || self.q || self.copied || self.q_copied
    }

    /// Returns the job by its folder's name and contents; `None` if they do not say which package the
    /// job is for.
    pub(crate) fn job(&self, part: &Arc<Folder>, key: JobKey) -> Option<JobDir> {
        let (id, attempt, crashes) = key;
        let [folder] = &self.delivered[..] else {
            let name = self.delivered.is_empty().then(|| self.marked.clone())??;
            return Some(JobDir::new(part, id, attempt, crashes, name));
        };
        let name = match &self.marked {
            Some(name) => name.clone(),
            None => PackageName::new(folder).ok()?,
        };
        Some(JobDir::new(part, id, attempt, crashes, name).with_target(folder.clone()))
    }
}

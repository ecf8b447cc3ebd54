//! What is in a job's folder: the one look that says where the job stands.

use std::fs;
use std::io;
use std::path::Path;

use super::paths::{is_hidden, lstat};
use super::{JobDir, NAME_MARK, parse_folder};
use crate::id::PackageName;

/// The names in a job's folder, sorted into what longshore makes and what it does not know.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Contents {
    /// Folders that can be the delivered one: there should be one at most.
    pub(crate) delivered: Vec<String>,
    /// The package's name, where a mark keeps it.
    pub(crate) marked: Option<PackageName>,
    pub(crate) out: bool,
    pub(crate) done: bool,
    pub(crate) final_: bool,
    pub(crate) q: bool,
    /// `.copied` or `.q-copied`: its copy on another file system is whole.
    pub(crate) copied: bool,
    pub(crate) q_copied: bool,
    pub(crate) claim: bool,
    pub(crate) discard: bool,
    /// What longshore did not make.
    pub(crate) strays: Vec<std::path::PathBuf>,
}

impl Contents {
    /// Looks into a job's folder; none where there is no folder.
    pub(crate) fn read(path: &Path) -> io::Result<Option<Self>> {
        let entries = match fs::read_dir(path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut contents = Self::default();
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let is_dir = entry.file_type()?.is_dir();
            match name.to_str() {
                Some(".out") if is_dir => contents.out = true,
                Some(".done") if is_dir => contents.done = true,
                Some(".final") if is_dir => contents.final_ = true,
                Some(".q") if is_dir => contents.q = true,
                Some(".copied") if is_dir => contents.copied = true,
                Some(".q-copied") if is_dir => contents.q_copied = true,
                Some(super::staging::RECORD) if !is_dir => {}
                Some(".claim") if is_dir => contents.claim = true,
                Some(".discard") if is_dir => contents.discard = true,
                Some(text) if is_dir && !is_hidden(&name) => contents.delivered.push(text.into()),
                Some(text) => match text.strip_prefix(NAME_MARK).map(PackageName::new) {
                    Some(Ok(marked)) if contents.marked.is_none() => contents.marked = Some(marked),
                    _ => contents.strays.push(entry.path()),
                },
                None => contents.strays.push(entry.path()),
            }
        }
        Ok(Some(contents))
    }

    /// Whether an attempt had begun and had not been given up.
    pub(crate) fn is_active(&self) -> bool {
        self.out || self.done || self.final_ || self.q || self.copied || self.q_copied
    }

    /// The job by its folder's name and what is in it; none where that does not say which package
    /// it is about.
    pub(crate) fn job(&self, path: &Path) -> Option<JobDir> {
        let (id, attempt, crashes) = parse_folder(path.file_name()?.to_str()?)?;
        let [folder] = &self.delivered[..] else {
            let name = self.delivered.is_empty().then(|| self.marked.clone())??;
            return Some(JobDir::new(path.parent()?, id, attempt, crashes, name));
        };
        let name = match &self.marked {
            Some(name) => name.clone(),
            None => PackageName::new(folder).ok()?,
        };
        let job = JobDir::new(path.parent()?, id, attempt, crashes, name);
        Some(job.with_target(folder.clone()))
    }
}

/// Whether the ZIP has been gathered: from then on the job can only be archived.
pub(crate) fn is_gathered(job: &JobDir) -> io::Result<bool> {
    Ok(lstat(&job.gathered_zip())?.is_some())
}

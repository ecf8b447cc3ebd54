//! The work area: where a package is from its claim to its settlement, and what a restart makes of it.
//!
//! ```text
//! work/FORMAT                    version of this layout
//! work/SOURCE/.boot              boot id of the last run, and how it ended
//! work/SOURCE/JOB.A.C/           one job: attempt A, crashes C
//!   NAME/                        as delivered
//!   .out/ → .done/ → .final/     unpacking → unpacked and verified → stages passed
//!   .q/                          on its way to quarantine
//!   .copied/, .q-copied/         `.final` or `.q`, once its copy on another file system is whole
//!   .copy.json                   which copy that is
//!   .claim/                      a bare ZIP on its way in, before it is `NAME/`
//!   .discard/                    a delivery that is being deleted as asked
//!   .=NAME                       the package's name, where the emptied folder has its target's
//! ```
//!
//! In: a [`JobSpec`](crate::messages::JobSpec). Out: a [`JobDir`], and at the start a [`Recovery`].
//!
//! **Invariants:** each transition is one atomic rename, so that the folders alone say what is to be
//! done next. A claimed job has `.out` before it has `NAME/`: an emptied `NAME/` alone can only be
//! one that was archived. Nothing in the work area that longshore did not make is ever deleted.

mod boot;
mod claim;
mod contents;
mod error;
mod layout;
mod lock;
mod originals;
mod paths;
mod reason;
mod recover;
mod site;
mod space;
mod staging;
mod state;
mod together;

#[cfg(test)]
mod claim_tests;
#[cfg(test)]
mod recover_tests;
#[cfg(test)]
mod start_tests;
#[cfg(test)]
pub(crate) mod testing;

pub use claim::Shelved;
pub use error::{ClaimError, StartError, WorkspaceError};
pub(crate) use originals::Delivery;
pub use originals::{Kind, Original};
pub use reason::{Decision, Reason, Settling};
pub use recover::{Recovered, Recovery};
pub use site::{Return, Site};
pub use space::{Amount, Free, Reservation, Space, SpaceError};
pub use state::state_folder;
pub use together::{keep_apart, strangers};

pub(crate) use contents::Contents;
pub(crate) use error::transient;
pub(crate) use paths::{
    errno, lstat, make_private, remove_empty, remove_file, remove_tree, rename_new,
};
pub(crate) use staging::{CopyRecord, Staging, Target};

use std::path::{Path, PathBuf};

use crate::id::{JobId, PackageName};
use crate::package::PackageFacts;

/// One job's folder in the work area, by name: `JOB.A.C`.
///
/// A name and nothing more: it holds nothing open, and says nothing about what is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobDir {
    path: PathBuf,
    id: JobId,
    attempt: u32,
    crashes: u32,
    name: PackageName,
    /// What the delivered folder is called now, where it was renamed to its target in the archive.
    target: Option<String>,
}

impl JobDir {
    pub(crate) fn new(
        root: &Path,
        id: JobId,
        attempt: u32,
        crashes: u32,
        name: PackageName,
    ) -> Self {
        let path = root.join(folder_name(id, attempt, crashes));
        Self { path, id, attempt, crashes, name, target: None }
    }

    /// The folder of a package in work; none where `home` is not a job's folder.
    #[must_use]
    pub fn of(facts: &PackageFacts) -> Option<Self> {
        let (id, attempt, crashes) = parse_folder(facts.home.file_name()?.to_str()?)?;
        let name = facts.name.clone();
        Some(Self { path: facts.home.clone(), id, attempt, crashes, name, target: None })
    }

    pub(crate) fn with_target(mut self, target: String) -> Self {
        self.target = Some(target).filter(|target| target != self.name.as_str());
        self
    }

    /// The job's folder; absolute.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The job.
    #[must_use]
    pub fn id(&self) -> JobId {
        self.id
    }

    /// Counted from 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Unclean ends of the daemon while this job was active.
    #[must_use]
    pub fn crashes(&self) -> u32 {
        self.crashes
    }

    /// The package's name as delivered.
    #[must_use]
    pub fn name(&self) -> &PackageName {
        &self.name
    }

    /// What the delivered folder is called: the package's name until a revision is archived.
    #[must_use]
    pub fn target(&self) -> &str {
        self.target.as_deref().unwrap_or(self.name.as_str())
    }

    /// The folder as delivered; absolute.
    #[must_use]
    pub fn delivered(&self) -> PathBuf {
        self.path.join(self.target())
    }

    /// The ZIP as delivered; absolute.
    #[must_use]
    pub fn zip(&self) -> PathBuf {
        let mut path = self.delivered();
        path.push(self.name.zip());
        path
    }

    /// Where it is being unpacked; absolute.
    #[must_use]
    pub fn out(&self) -> PathBuf {
        self.path.join(".out")
    }

    /// Where it is unpacked and verified, and stages work; absolute.
    #[must_use]
    pub fn done(&self) -> PathBuf {
        self.path.join(".done")
    }

    /// Where it has passed all stages; absolute.
    #[must_use]
    pub fn final_(&self) -> PathBuf {
        self.path.join(".final")
    }

    pub(crate) fn gathered_zip(&self) -> PathBuf {
        let mut path = self.final_();
        path.push(self.name.zip());
        path
    }

    pub(crate) fn q(&self) -> PathBuf {
        self.path.join(".q")
    }

    /// What was `.final`, once its copy on another file system is whole.
    pub(crate) fn copied(&self) -> PathBuf {
        self.path.join(".copied")
    }

    /// What was `.q`, once its copy on another file system is whole.
    pub(crate) fn q_copied(&self) -> PathBuf {
        self.path.join(".q-copied")
    }

    /// Says which copy is this job's.
    pub(crate) fn copy_record(&self) -> PathBuf {
        self.path.join(staging::RECORD)
    }

    pub(crate) fn claim(&self) -> PathBuf {
        self.path.join(".claim")
    }

    pub(crate) fn discard(&self) -> PathBuf {
        self.path.join(".discard")
    }

    /// Keeps the package's name while its folder has its target's; absolute.
    pub(crate) fn name_mark(&self) -> PathBuf {
        self.path.join(format!("{NAME_MARK}{}", self.name))
    }

    /// The same job's folder for another attempt.
    pub(crate) fn renumbered(&self, attempt: u32, crashes: u32) -> Self {
        let path = self.path.with_file_name(folder_name(self.id, attempt, crashes));
        Self { path, attempt, crashes, ..self.clone() }
    }
}

/// Two bytes, so that the longest package name still fits a file system's 255.
const NAME_MARK: &str = ".=";

fn folder_name(id: JobId, attempt: u32, crashes: u32) -> String {
    format!("{id}.{attempt}.{crashes}")
}

/// Reads `JOB.A.C`, in the one spelling that [`folder_name`] writes.
fn parse_folder(name: &str) -> Option<(JobId, u32, u32)> {
    let mut parts = name.splitn(3, '.');
    let id = parts.next()?.parse().ok()?;
    let attempt = parts.next()?.parse().ok()?;
    let crashes = parts.next()?.parse().ok()?;
    (folder_name(id, attempt, crashes) == name && attempt > 0).then_some((id, attempt, crashes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn job_folder_reads_back_only_in_the_spelling_that_it_writes() {
        let id = JobId::generate();
        assert_eq!(parse_folder(&folder_name(id, 3, 12)), Some((id, 3, 12)));
        for odd in [
            "JOB.1.0".to_owned(),
            format!("{id}"),
            format!("{id}.1"),
            format!("{id}.01.0"),
            format!("{id}.+1.0"),
            format!("{id}.0.0"),
            format!("{id}.1.0.bak"),
        ] {
            assert_eq!(parse_folder(&odd), None, "{odd}");
        }
    }
}

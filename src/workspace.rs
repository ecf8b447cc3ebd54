//! The work area: holds a package from its claim to its settlement, and is what a restart recovers from.
//!
//! ```text
//! work/FORMAT                    version of this layout
//! work/SOURCE/.boot              boot id of the last run, and how it ended
//! work/SOURCE/.refused           refused claims, for `explain`
//! work/SOURCE/.quarantine/       packages that the quarantine's file system cannot hold
//! work/SOURCE/JOB.A.C/           one job: attempt A, crashes C
//!   NAME/                        as delivered
//!   .out/ → .done/ → .final/     unpacking → unpacked and verified → stages passed
//!   .q/                          on its way to quarantine
//!   .passed.json                 the folder to be archived, and its ZIP
//!   .copied/, .q-copied/         `.final` or `.q` after its copy on another file system is complete
//!   .copy.json                   the identity of that copy
//!   .claim/                      a bare ZIP that is being claimed, before it becomes `NAME/`
//!   .discard/                    a delivery that is being deleted as configured
//!   .apart                       a copy of a delivered file that has a hard link elsewhere
//!   .=NAME                       the package's name, while the emptied folder has its target's name
//! ```
//!
//! In: a [`JobSpec`](crate::job::JobSpec). Out: a [`JobDir`], and at the start a [`Recovery`].
//!
//! **Invariants:** each transition is one atomic rename, so the folders alone determine the next step.
//! Everything is accessed beneath handles that were opened and checked at the start, never by a path
//! that somebody could exchange. A job counts as archived if the archive has the folder that
//! `.passed.json` names, and never because something is missing here. Nothing in the work area is
//! deleted unless longshore created it.

mod adopt;
mod boot;
mod claim;
mod contents;
mod error;
mod layout;
pub(crate) mod lock;
mod made;
mod originals;
mod ownership;
mod passed;
pub mod places;
pub(crate) mod probe;
mod reason;
mod recover;
mod refusals;
mod site;
mod space;
mod staging;
mod state;
mod tally;
mod together;
mod trust;

#[cfg(test)]
mod claim_tests;
#[cfg(test)]
mod recover_tests;
#[cfg(test)]
mod start_tests;
#[cfg(test)]
pub(crate) mod testing;

pub use claim::{Begun, OpenHome, Shelved};
pub use error::{ClaimError, Held, StartError, WorkspaceError};
pub(crate) use originals::Delivery;
pub use originals::{Kind, OpenDelivery, Original};
pub use places::{find_work, state_folder};
pub use reason::{Decision, Reason, Settling};
pub use recover::{Recovered, Recovery};
pub use site::{Return, Site};
pub use space::{Amount, Free, Reservation, Space, SpaceError, Total};
pub use state::State;
pub use together::{keep_apart, strangers};
pub use trust::Writer;

pub(crate) use claim::{IN_LOWER_LAYER, is_gathered};
pub(crate) use contents::Contents;
pub(crate) use error::transient;
pub(crate) use ownership::is_this_user;
pub(crate) use passed::Passed;
pub(crate) use refusals::{Refusal, refusal_of};
pub(crate) use staging::{CopyRecord, Target, copy_name};

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::folder::Folder;
use crate::id::{JobId, PackageName};
use crate::names::{self, NAME_MARK, job_folder, parse_job_folder};
use crate::package::PackageFacts;

/// A job, its attempt and its crash count, as encoded in the name of its folder.
pub(crate) type JobKey = (JobId, u32, u32);

/// One job's folder in the work area, by name: `JOB.A.C`.
///
/// It holds no handle, and says nothing about the folder's contents.
#[derive(Debug, Clone)]
pub struct JobDir {
    part: Arc<Folder>,
    path: PathBuf,
    id: JobId,
    attempt: u32,
    crashes: u32,
    name: PackageName,
    /// The current name of the delivered folder, if it was renamed to its target in the archive.
    target: Option<String>,
}

impl PartialEq for JobDir {
    fn eq(&self, other: &Self) -> bool {
        (&self.path, &self.name, &self.target) == (&other.path, &other.name, &other.target)
    }
}

impl Eq for JobDir {}

impl JobDir {
    pub(crate) fn new(
        part: &Arc<Folder>,
        id: JobId,
        attempt: u32,
        crashes: u32,
        name: PackageName,
    ) -> Self {
        let path = part.join(job_folder(id, attempt, crashes));
        Self { part: Arc::clone(part), path, id, attempt, crashes, name, target: None }
    }

    /// The folder of a package in work; `None` if its home is not a job's folder of this site.
    #[must_use]
    pub fn of(site: &Site, facts: &PackageFacts) -> Option<Self> {
        let key = parse_job_folder(facts.home.file_name()?.to_str()?)?;
        let (id, attempt, crashes) = key;
        Some(Self::new(&site.part(), id, attempt, crashes, facts.name.clone()))
    }

    pub(crate) fn with_target(mut self, target: String) -> Self {
        self.target = Some(target).filter(|target| target != self.name.as_str());
        self
    }

    /// Opens the job's folder.
    pub(crate) fn open(&self) -> io::Result<Folder> {
        self.part.folder(self.folder_name())
    }

    /// The source's part of the work area, which contains the job's folder.
    pub(crate) fn part(&self) -> &Arc<Folder> {
        &self.part
    }

    pub(crate) fn key(&self) -> JobKey {
        (self.id, self.attempt, self.crashes)
    }

    /// The name of the job's folder.
    pub(crate) fn folder_name(&self) -> String {
        job_folder(self.id, self.attempt, self.crashes)
    }

    /// The path of the job's folder; absolute.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The job's id.
    #[must_use]
    pub fn id(&self) -> JobId {
        self.id
    }

    /// The attempt; counted from 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// How often the daemon ended uncleanly while this job was active.
    #[must_use]
    pub fn crashes(&self) -> u32 {
        self.crashes
    }

    /// The package's name as delivered.
    #[must_use]
    pub fn name(&self) -> &PackageName {
        &self.name
    }

    /// The current name of the delivered folder: the package's name until a revision is archived.
    #[must_use]
    pub fn target(&self) -> &str {
        self.target.as_deref().unwrap_or(self.name.as_str())
    }

    /// The path of the delivered folder; absolute.
    #[must_use]
    pub fn delivered(&self) -> PathBuf {
        self.path.join(self.target())
    }

    /// The path of the delivered ZIP; absolute.
    #[must_use]
    pub fn zip(&self) -> PathBuf {
        let mut path = self.delivered();
        path.push(self.name.zip());
        path
    }

    /// The folder that the package is being unpacked into; absolute.
    #[must_use]
    pub fn out(&self) -> PathBuf {
        self.path.join(names::OUT)
    }

    /// The folder of the unpacked and verified package, where stages work; absolute.
    #[must_use]
    pub fn done(&self) -> PathBuf {
        self.path.join(names::DONE)
    }

    /// The folder of the package after all stages have passed; absolute.
    #[must_use]
    pub fn final_(&self) -> PathBuf {
        self.path.join(names::FINAL)
    }

    pub(crate) fn gathered_zip(&self) -> PathBuf {
        let mut path = self.final_();
        path.push(self.name.zip());
        path
    }

    pub(crate) fn discard(&self) -> PathBuf {
        self.path.join(names::DISCARD)
    }

    /// The name of the file that records the package's name while its folder has its target's name.
    pub(crate) fn name_mark(&self) -> String {
        format!("{NAME_MARK}{}", self.name)
    }

    /// Returns the same job's folder for another attempt.
    pub(crate) fn renumbered(&self, attempt: u32, crashes: u32) -> Self {
        let path = self.path.with_file_name(job_folder(self.id, attempt, crashes));
        Self { path, attempt, crashes, ..self.clone() }
    }
}

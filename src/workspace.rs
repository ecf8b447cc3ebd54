//! The work area: where a package is from its claim to its settlement, and what a restart makes of it.
//!
//! ```text
//! work/FORMAT                    version of this layout
//! work/SOURCE/.boot              boot id of the last run, and how it ended
//! work/SOURCE/.refused           claims that were refused, for `explain`
//! work/SOURCE/.quarantine/       packages that the quarantine's file system cannot hold
//! work/SOURCE/JOB.A.C/           one job: attempt A, crashes C
//!   NAME/                        as delivered
//!   .out/ → .done/ → .final/     unpacking → unpacked and verified → stages passed
//!   .q/                          on its way to quarantine
//!   .passed.json                 which folder is to be archived, and with which ZIP
//!   .copied/, .q-copied/         `.final` or `.q`, once its copy on another file system is complete
//!   .copy.json                   which copy that is
//!   .claim/                      a bare ZIP on its way in, before it is `NAME/`
//!   .discard/                    a delivery that is being deleted as asked
//!   .apart                       a copy of a delivered file that has another name elsewhere
//!   .=NAME                       the package's name, where the emptied folder has its target's
//! ```
//!
//! In: a [`JobSpec`](crate::messages::JobSpec). Out: a [`JobDir`], and at the start a [`Recovery`].
//!
//! **Invariants:** each transition is one atomic rename, so that the folders alone say what is to be
//! done next. Everything is reached beneath handles that were opened and checked at the start, never
//! by a path that somebody could exchange. A job is archived if the archive has the folder that
//! `.passed.json` names, and not because something is missing here. Nothing in the work area that
//! longshore did not make is ever deleted.

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

/// A job, its attempt, and how many crashes it has seen: what the name of its folder says.
pub(crate) type JobKey = (JobId, u32, u32);

/// One job's folder in the work area, by name: `JOB.A.C`.
///
/// It holds no handle of its own, and says nothing about what is there.
#[derive(Debug, Clone)]
pub struct JobDir {
    part: Arc<Folder>,
    path: PathBuf,
    id: JobId,
    attempt: u32,
    crashes: u32,
    name: PackageName,
    /// What the delivered folder is called now, where it was renamed to its target in the archive.
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

    /// The folder that the job's is in.
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
        self.path.join(names::OUT)
    }

    /// Where it is unpacked and verified, and stages work; absolute.
    #[must_use]
    pub fn done(&self) -> PathBuf {
        self.path.join(names::DONE)
    }

    /// Where it has passed all stages; absolute.
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

    /// The name of the file that keeps the package's name while its folder has its target's.
    pub(crate) fn name_mark(&self) -> String {
        format!("{NAME_MARK}{}", self.name)
    }

    /// The same job's folder for another attempt.
    pub(crate) fn renumbered(&self, attempt: u32, crashes: u32) -> Self {
        let path = self.path.with_file_name(job_folder(self.id, attempt, crashes));
        Self { path, attempt, crashes, ..self.clone() }
    }
}

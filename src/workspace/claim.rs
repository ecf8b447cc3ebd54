//! The begin of an attempt: claim a package from the landing, or take up a job again.

use std::fs;
use std::io;
use std::path::Path;

use rustix::io::Errno;

use super::contents::is_gathered;
use super::error::{ClaimError, WorkspaceError};
use super::paths::{
    errno, identity, lstat, make_private, remove_empty, remove_file, remove_tree, rename_new,
};
use super::{JobDir, Site};
use crate::messages::{Form, JobSpec, Origin};
use crate::package::FolderId;

/// Where a job stands that was put aside for another attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shelved {
    /// It is to be unpacked afresh: only what was delivered is left of it.
    Extract(JobDir),
    /// It is past that: it can only be settled, from where it stands.
    Settle(JobDir),
}

impl Site {
    /// Begins an attempt: claims the package or takes up its job, and makes an empty `.out`.
    ///
    /// # Errors
    /// [`ClaimError::Vanished`] and [`ClaimError::Refused`] for a package in the landing, which
    /// stays there; [`ClaimError::WorkArea`] for either.
    pub fn begin(&self, spec: &JobSpec) -> Result<JobDir, ClaimError> {
        match spec.origin {
            Origin::Landing { identity, form } => self.claim(spec, identity, form),
            Origin::WorkArea => Ok(self.resume(spec)?),
        }
    }

    fn claim(&self, spec: &JobSpec, offered: FolderId, form: Form) -> Result<JobDir, ClaimError> {
        let name = spec.name.clone();
        let job = JobDir::new(self.root(), spec.id, spec.attempt, spec.crashes, name);
        let landing = &self.source().landing;
        let from = match form {
            Form::Folder => landing.join(&spec.name),
            Form::Zip => landing.join(spec.name.zip()),
        };
        match identity(&from) {
            Ok(found) if found == offered => {}
            Ok(_) => return Err(ClaimError::Vanished { path: from }),
            Err(error) => return Err(refusal(&from, landing, error)),
        }
        make_private(job.path()).map_err(|error| self.refused("make", job.path(), error))?;
        let claimed = self.take(&job, &from, landing, offered, form);
        if claimed.is_err() {
            // In the opposite order of their making; what is not empty holds a package, and stays.
            for made in [job.claim(), job.out(), job.path().to_path_buf()] {
                remove_empty(&made).ok();
            }
        }
        claimed.map(|()| job)
    }

    fn take(
        &self,
        job: &JobDir,
        from: &Path,
        landing: &Path,
        offered: FolderId,
        form: Form,
    ) -> Result<(), ClaimError> {
        make_private(&job.out()).map_err(WorkspaceError::io("make", job.out()))?;
        let to = match form {
            Form::Folder => job.delivered(),
            Form::Zip => {
                make_private(&job.claim()).map_err(WorkspaceError::io("make", job.claim()))?;
                job.claim().join(job.name().zip())
            }
        };
        rename_new(from, &to, Some(offered.inode))
            .map_err(|error| refusal(from, landing, error))?;
        // Another one can have taken its name between the look and the rename. Where it cannot go
        // back, because a third is there already, it is ours: nothing may be lost.
        if !identity(&to).is_ok_and(|found| found == offered) && rename_new(&to, from, None).is_ok()
        {
            return Err(ClaimError::Vanished { path: from.into() });
        }
        if form == Form::Zip {
            rename_new(&job.claim(), &job.delivered(), None)
                .map_err(WorkspaceError::io("end the claim in", job.claim()))?;
        }
        Ok(())
    }

    fn resume(&self, spec: &JobSpec) -> Result<JobDir, WorkspaceError> {
        let found = self.find(spec.id, &spec.name, spec.attempt, spec.crashes)?;
        let job = self.renumber(&found, spec.attempt, spec.crashes)?;
        if self.is_past_extraction(&job)? {
            return Err(WorkspaceError::PastExtraction { path: job.path().into() });
        }
        self.clear(&job)?;
        make_private(&job.out()).map_err(WorkspaceError::io("make", job.out()))?;
        Ok(job)
    }

    /// Puts a job aside until its next attempt: removes what was unpacked, and renames its folder
    /// to that attempt, so that a restart knows of it.
    ///
    /// # Errors
    /// [`WorkspaceError`]; the job stays where it is.
    pub fn shelve(&self, job: &JobDir, attempt: u32) -> Result<Shelved, WorkspaceError> {
        if lstat(job.path()).is_ok_and(|found| found.is_none()) {
            let found = self.find(job.id(), job.name(), attempt, job.crashes())?;
            return self.shelve_found(&found, attempt);
        }
        self.shelve_found(job, attempt)
    }

    fn shelve_found(&self, job: &JobDir, attempt: u32) -> Result<Shelved, WorkspaceError> {
        if self.is_past_extraction(job)? {
            return Ok(Shelved::Settle(job.clone()));
        }
        self.clear(job)?;
        self.renumber(job, attempt, job.crashes()).map(Shelved::Extract)
    }

    fn is_past_extraction(&self, job: &JobDir) -> Result<bool, WorkspaceError> {
        let look = || {
            Ok(lstat(&job.q().join("reason.json"))?.is_some()
                || is_gathered(job)?
                || lstat(&job.copied())?.is_some()
                || lstat(&job.q_copied())?.is_some()
                || (lstat(&job.delivered())?.is_none() && lstat(&job.discard())?.is_some()))
        };
        look().map_err(WorkspaceError::io("look at", job.path()))
    }

    /// Leaves only what was delivered.
    pub(super) fn clear(&self, job: &JobDir) -> Result<(), WorkspaceError> {
        for folder in [job.out(), job.done(), job.final_()] {
            remove_tree(&folder).map_err(WorkspaceError::io("remove", &folder))?;
        }
        // Without a reason.json nothing was decided, and nothing else can be in it.
        let q = job.q();
        remove_file(&q.join("reason.json.new"))
            .and_then(|()| std::fs::remove_dir(&q).or_else(not_found))
            .map_err(WorkspaceError::io("remove", q))
    }

    pub(super) fn renumber(
        &self,
        job: &JobDir,
        attempt: u32,
        crashes: u32,
    ) -> Result<JobDir, WorkspaceError> {
        let wanted = job.renumbered(attempt, crashes);
        if wanted.path() != job.path() {
            rename_new(job.path(), wanted.path(), None)
                .map_err(|error| self.refused("renumber", job.path(), error))?;
        }
        Ok(wanted)
    }
}

fn not_found(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// Says what to change so that a package can be claimed.
pub(super) fn refusal(path: &Path, landing: &Path, source: io::Error) -> ClaimError {
    use std::os::unix::fs::MetadataExt;

    let sticky = || fs::metadata(landing).is_ok_and(|found| found.mode() & 0o1000 != 0);
    let advice = match errno(&source) {
        Some(Errno::NOENT | Errno::NOTDIR) => {
            return ClaimError::Vanished { path: path.into() };
        }
        Some(Errno::PERM) if sticky() => {
            "the landing is sticky, so that only its own user may move it; \
             run as that user, or chmod -t the landing"
        }
        Some(Errno::ACCESS | Errno::PERM) => {
            "moving a folder needs write permission on the folder itself, too; \
             let its sender give it (umask 002 and a shared group), or run as its user"
        }
        Some(Errno::BUSY | Errno::XDEV) => {
            "it is a mount point, or on another file system than the work area; deliver into the \
             landing's own file system"
        }
        Some(Errno::ROFS) => "the landing's file system is read-only; mount it writable",
        _ => "the file system refused to move it; it is tried again at each rescan",
    };
    ClaimError::Refused { path: path.into(), advice, source }
}

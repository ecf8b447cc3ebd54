//! The start of an attempt: claims a package from the landing, or resumes a job.

use std::ffi::OsString;
use std::io;
use std::path::Path;

use rustix::fs::{AtFlags, StatxAttributes, StatxFlags, fstatfs, statx};
use rustix::io::Errno;

use super::JobDir;
use super::error::{ClaimError, WorkspaceError};
use super::refusals::Refusal;
use super::site::Site;
use crate::error::{Chain, Failure};
use crate::folder::{Folder, Metadata};
use crate::job::{Form, JobSpec, Origin};
use crate::names::{
    APART, CLAIM, COPIED, DISCARD, DONE, FINAL, OUT, PASSED, Q, Q_COPIED, REASON, REASON_NEW,
};
use crate::package::FolderId;

/// The state of a job that was set aside for another attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shelved {
    /// It is to be unpacked again: only the delivered files are left of it.
    Extract(JobDir),
    /// It is past extraction: it can only be settled, from its current state.
    Settle(JobDir),
}

/// An attempt that has started.
#[derive(Debug)]
pub struct Begun {
    /// The job.
    pub job: JobDir,
    /// The job's folder, still open.
    pub home: OpenHome,
}

/// A job's folder, held open between the claim and the check of the delivered files.
#[derive(Debug)]
pub struct OpenHome {
    pub(super) home: Folder,
    /// The delivered folder in it, if it was opened to check that it is the offered one.
    pub(super) delivered: Option<(Folder, Metadata)>,
}

impl Site {
    /// Starts an attempt: claims the package or resumes its job, and creates an empty `.out`.
    ///
    /// A refused claim is remembered, so that a repeated refusal is reported only once.
    ///
    /// # Errors
    /// [`ClaimError::Vanished`] and [`ClaimError::Refused`] for a package in the landing, which
    /// stays there; [`ClaimError::WorkArea`] for a package in either place.
    pub fn begin(&self, spec: &JobSpec) -> Result<Begun, ClaimError> {
        match spec.origin {
            Origin::Landing { identity, form } => {
                let claimed = self.claim(spec, identity, form);
                if matches!(claimed, Ok(_) | Err(ClaimError::Vanished { .. })) {
                    self.forget_refusal(&in_landing(spec, form));
                }
                claimed
            }
            Origin::WorkArea => Ok(self.resume(spec)?),
        }
    }

    /// Records that [`Site::begin`] refused a package in the landing; returns whether the reason is new.
    pub fn refused_anew(&self, spec: &JobSpec, error: &ClaimError) -> bool {
        let Origin::Landing { identity, form } = spec.origin else { return true };
        let cause = Chain(error.root()).to_string();
        let refusal = Refusal::new(identity, error.code(), Chain(error).to_string(), cause);
        self.note_refusal(&in_landing(spec, form), refusal)
    }

    fn claim(&self, spec: &JobSpec, offered: FolderId, form: Form) -> Result<Begun, ClaimError> {
        let (landing, part) = (self.landing(), self.part());
        let job = JobDir::new(&part, spec.id, spec.attempt, spec.crashes, spec.name.clone());
        let from: OsString = in_landing(spec, form).into();
        let path = landing.join(&from);
        match landing.id_of(&from) {
            Ok(found) if found == offered => {}
            Ok(_) => return Err(ClaimError::Vanished { path }),
            Err(error) => return Err(refusal(&path, &landing, error)),
        }
        let made = part.make(job.folder_name());
        made.map_err(|error| self.refused("make", job.path(), error))?;
        let home = job.open().map_err(|error| self.refused("open", job.path(), error))?;
        let claimed = take(&job, &home, (&landing, &from), offered, form);
        if claimed.is_err() {
            // Removed in reverse order of creation. A folder that is not empty holds a package, and stays.
            home.remove_empty(CLAIM).ok();
            home.remove_empty(OUT).ok();
            part.remove_empty(job.folder_name()).ok();
        }
        claimed.map(|delivered| Begun { job, home: OpenHome { home, delivered } })
    }

    fn resume(&self, spec: &JobSpec) -> Result<Begun, WorkspaceError> {
        let found = self.find(spec.id, &spec.name, spec.attempt, spec.crashes)?;
        let job = self.renumber(&found, spec.attempt, spec.crashes)?;
        let home = job.open().map_err(|error| self.refused("open", job.path(), error))?;
        if is_past_extraction(&job, &home)? {
            return Err(WorkspaceError::PastExtraction { path: job.path().into() });
        }
        clear(&home)?;
        home.make(OUT).map_err(WorkspaceError::io("make", job.out()))?;
        Ok(Begun { job, home: OpenHome { home, delivered: None } })
    }

    /// Sets a job aside until its next attempt: removes the unpacked files, and renames the job's folder
    /// to that attempt, so that a restart knows the attempt.
    ///
    /// # Errors
    /// [`WorkspaceError`]; the job stays where it is.
    pub fn shelve(&self, job: &JobDir, attempt: u32) -> Result<Shelved, WorkspaceError> {
        if self.part().has(job.folder_name()).is_ok_and(|there| !there) {
            let found = self.find(job.id(), job.name(), attempt, job.crashes())?;
            return self.shelve_found(&found, attempt);
        }
        self.shelve_found(job, attempt)
    }

    fn shelve_found(&self, job: &JobDir, attempt: u32) -> Result<Shelved, WorkspaceError> {
        let home = job.open().map_err(|error| self.refused("open", job.path(), error))?;
        if is_past_extraction(job, &home)? {
            return Ok(Shelved::Settle(job.clone()));
        }
        clear(&home)?;
        self.renumber(job, attempt, job.crashes()).map(Shelved::Extract)
    }

    pub(super) fn renumber(
        &self,
        job: &JobDir,
        attempt: u32,
        crashes: u32,
    ) -> Result<JobDir, WorkspaceError> {
        let wanted = job.renumbered(attempt, crashes);
        if wanted.path() != job.path() {
            let part = self.part();
            part.rename(job.folder_name(), &part, wanted.folder_name(), None)
                .map_err(|error| self.refused("renumber", job.path(), error))?;
        }
        Ok(wanted)
    }

    /// Completes the unpacking: renames `.out`, all of it verified, to `.done`.
    ///
    /// # Errors
    /// [`WorkspaceError::Io`].
    pub fn commit(&self, job: &JobDir) -> Result<(), WorkspaceError> {
        let failed = |action| WorkspaceError::io(action, job.out());
        let home = job.open().map_err(failed("open the folder of"))?;
        home.rename(OUT, &home, DONE, None).map_err(failed("end the unpacking in"))
    }

    /// Removes the files that an attempt has unpacked so far.
    ///
    /// # Errors
    /// [`WorkspaceError::Io`].
    pub fn clear_out(&self, job: &JobDir) -> Result<(), WorkspaceError> {
        let home = job.open().map_err(WorkspaceError::io("open", job.path()))?;
        for name in [OUT, DONE] {
            home.remove_tree(name).map_err(WorkspaceError::io("remove", home.join(name)))?;
        }
        Ok(())
    }
}

/// Returns the name of a package in its landing.
fn in_landing(spec: &JobSpec, form: Form) -> String {
    match form {
        Form::Folder => spec.name.as_str().to_owned(),
        Form::Zip => spec.name.zip(),
    }
}

/// Renames a package into its job's folder. Opens it there if it is a readable folder.
fn take(
    job: &JobDir,
    home: &Folder,
    (landing, from): (&Folder, &OsString),
    offered: FolderId,
    form: Form,
) -> Result<Option<(Folder, Metadata)>, ClaimError> {
    home.make(OUT).map_err(WorkspaceError::io("make", job.out()))?;
    let path = landing.join(from);
    let (to, name) = match form {
        Form::Folder => (None, job.name().as_str().to_owned()),
        Form::Zip => {
            home.make(CLAIM).map_err(WorkspaceError::io("make", home.join(CLAIM)))?;
            let claim = home.folder(CLAIM).map_err(WorkspaceError::io("open", home.join(CLAIM)))?;
            (Some(claim), job.name().zip())
        }
    };
    let to = to.as_ref().unwrap_or(home);
    landing
        .rename(from, to, &name, Some(offered.inode))
        .map_err(|error| refusal(&path, landing, error))?;
    let opened = match form {
        Form::Folder => to.folder(&name).and_then(|folder| Ok((folder.metadata()?, folder))).ok(),
        Form::Zip => None,
    };
    let id = opened.as_ref().map_or_else(|| to.id_of(&name), |(seen, _)| Ok(seen.id()));
    // Another folder can have taken its name between the look and the rename. If that folder cannot be
    // moved back because the name is taken again, we keep it: nothing may be lost.
    if !id.is_ok_and(|found| found == offered) && to.rename(&name, landing, from, None).is_ok() {
        return Err(ClaimError::Vanished { path });
    }
    if form == Form::Zip {
        home.rename(CLAIM, home, job.name().as_str(), None)
            .map_err(WorkspaceError::io("end the claim in", home.join(CLAIM)))?;
    }
    Ok(opened.map(|(seen, folder)| (folder, seen)))
}

fn is_past_extraction(job: &JobDir, home: &Folder) -> Result<bool, WorkspaceError> {
    let look = || {
        let is_decided = match home.folder_if_there(Q)? {
            Some(q) => q.has(REASON)?,
            None => false,
        };
        Ok(is_decided
            || is_gathered(job, home)?
            || home.has(COPIED)?
            || home.has(Q_COPIED)?
            || (!home.has(job.target())? && (home.has(DISCARD)? || home.has(PASSED)?)))
    };
    look().map_err(WorkspaceError::io("look at", job.path()))
}

/// Whether the ZIP has been gathered. From then on the job is on its way to the archive.
pub(crate) fn is_gathered(job: &JobDir, home: &Folder) -> io::Result<bool> {
    match home.folder_if_there(FINAL)? {
        Some(final_) => final_.has(job.name().zip()),
        None => Ok(false),
    }
}

/// Removes everything but the delivered files.
pub(super) fn clear(home: &Folder) -> Result<(), WorkspaceError> {
    for name in [OUT, DONE, FINAL] {
        home.remove_tree(name).map_err(WorkspaceError::io("remove", home.join(name)))?;
    }
    for name in [PASSED, APART] {
        home.remove_file(name).map_err(WorkspaceError::io("remove", home.join(name)))?;
    }
    let failed = || WorkspaceError::io("remove", home.join(Q));
    let Some(q) = home.folder_if_there(Q).map_err(failed())? else { return Ok(()) };
    // Without a reason.json nothing was decided, and `.q` can contain nothing else.
    q.remove_file(REASON_NEW).map_err(failed())?;
    match home.remove_empty(Q).map_err(failed())? {
        true => Ok(()),
        false => Err(failed()(Errno::NOTEMPTY.into())),
    }
}

/// Why a mount point, or a folder on another file system, cannot be claimed.
const MOUNTED: &str = "it is a mount point, or on another file system than the work area; deliver into \
                       the landing's own file system";

/// Why a folder on an overlay often cannot be claimed.
pub(crate) const IN_LOWER_LAYER: &str = "it lies in a lower layer of an overlay, from where nothing can be moved; copy it in the landing \
     (cp -a), or make the landing a volume of its own";

fn is_mount_point(landing: &Folder, path: &Path) -> bool {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    path.file_name().is_some_and(|name| {
        statx(landing, name, flags, StatxFlags::TYPE)
            // A kernel before 5.8 does not report mount points. There, EBUSY mostly means a mount point.
            .is_ok_and(|found| {
                found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)
                    || !found.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT)
            })
    })
}

/// `OVERLAYFS_SUPER_MAGIC` of `linux/magic.h`.
const OVERLAY: u32 = 0x794C_7630;

fn is_overlay(landing: &Folder) -> bool {
    fstatfs(landing).is_ok_and(|found| u32::try_from(found.f_type & 0xFFFF_FFFF) == Ok(OVERLAY))
}

/// Returns the refusal of a claim, with advice on what to change.
pub(super) fn refusal(path: &Path, landing: &Folder, source: io::Error) -> ClaimError {
    let sticky = || landing.seen().is_ok_and(|found| found.st_mode & 0o1000 != 0);
    let advice = match Errno::from_io_error(&source) {
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
        Some(Errno::BUSY) if is_mount_point(landing, path) => MOUNTED,
        Some(Errno::BUSY | Errno::TXTBSY) => {
            "another process has it open or uses it; it is tried again at each rescan"
        }
        Some(Errno::XDEV) if is_overlay(landing) => IN_LOWER_LAYER,
        Some(Errno::XDEV) => MOUNTED,
        Some(Errno::ROFS) => "the landing's file system is read-only; mount it writable",
        _ => "the file system refused to move it; it is tried again at each rescan",
    };
    ClaimError::Refused { path: path.into(), advice, source }
}

//! Into the archive: pass, gather, rename; and the end of a job, once the ledger has it.

use std::ffi::OsString;
use std::fs::{self, Metadata, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Gid, Stat, Timespec, Timestamps, chownat, utimensat};
use rustix::io::Errno;

use super::copy::{Listing, nanos};
use super::elsewhere::{Errand, Load};
use super::{PublishError, Settled, Step, quarantine};
use crate::failpoint;
use crate::package::ZipStamp;
use crate::workspace::{
    Delivery, JobDir, Original, Reason, Site, Target, WorkspaceError, errno, lstat, remove_empty,
    remove_file, remove_tree, rename_new,
};

/// A job that has passed: its unpacked folder is `.final`, what was delivered is beside it.
pub(super) struct Gathering {
    job: JobDir,
    /// The delivered folder as it was before anything was taken out of it.
    delivered: Stat,
    /// Of `.final` itself.
    group: u32,
    inode: u64,
    /// What is to be gathered besides the ZIP.
    others: Vec<OsString>,
    zip_gathered: bool,
}

impl Gathering {
    /// Passes a job whose stages are through, or that no stage had (`untouched`); none where what was
    /// unpacked is not there (any more).
    pub(super) fn pass(
        job: &JobDir,
        untouched: bool,
        stamp: Option<&ZipStamp>,
    ) -> Result<Option<Self>, PublishError> {
        let done = if untouched { job.out() } else { job.done() };
        let look = |path: &Path| lstat(path).map_err(WorkspaceError::io("look at", path));
        let Some(found) = look(&done)? else { return Ok(None) };
        if !found.is_dir() {
            // Through a link the originals would be gathered somewhere else.
            return Err(PublishError::NotAFolder { path: done });
        }
        make_own(&done, &found)?;
        let (group, inode) = (found.gid(), found.ino());
        let Delivery { seen: delivered, originals } = match job.delivery() {
            Err(_) if look(&job.delivered())?.is_none() => return Ok(None),
            other => other?,
        };
        let zip = job.name().zip();
        // No entry had the ZIP's name when it was planned, and nobody has added anything since.
        let unsure = originals.iter().filter(|original| !untouched || original.name != *zip);
        for Original { name, .. } in unsure {
            let path = done.join(name);
            if look(&path)?.is_some() {
                return Err(PublishError::OverwritesOriginal { name: name.clone(), path: done });
            }
        }
        if !originals.iter().any(|original| original.name == *zip) {
            return Err(WorkspaceError::ZipMissing { path: job.zip() }.into());
        }
        if let Some(stamp) = stamp {
            job.check_unchanged(stamp)?;
        }
        rename_new(&done, &job.final_(), None).map_err(WorkspaceError::io("pass", done))?;
        let others = originals.into_iter().map(|original| original.name);
        let others = others.filter(|name| *name != *zip).collect();
        Ok(Some(Self { job: job.clone(), delivered, group, inode, others, zip_gathered: false }))
    }

    /// Goes on with a job whose `.final` is there, gathered or not.
    pub(super) fn go_on(job: &JobDir) -> Result<Self, PublishError> {
        let look = |path: &Path| lstat(path).map_err(WorkspaceError::io("look at", path));
        let folder = job.delivered();
        let delivered = match rustix::fs::lstat(&folder) {
            Err(Errno::NOENT) => {
                return Err(PublishError::NotUnpacked { path: job.path().to_path_buf() });
            }
            other => other.map_err(|error| WorkspaceError::io("look at", &folder)(error.into()))?,
        };
        let final_ = job.final_();
        let found =
            fs::symlink_metadata(&final_).map_err(WorkspaceError::io("look at", &final_))?;
        make_own(&final_, &found)?;
        let (group, inode) = (found.gid(), found.ino());
        let zip_gathered = look(&job.gathered_zip())?.is_some();
        let zip = job.name().zip();
        let mut others = Vec::new();
        for entry in fs::read_dir(&folder).map_err(WorkspaceError::io("list", &folder))? {
            let entry = entry.map_err(WorkspaceError::io("list", &folder))?;
            let kind = entry.file_type().map_err(WorkspaceError::io("look at", entry.path()))?;
            // What is neither came after the originals were looked over: it stays, as late.
            if entry.file_name() != *zip && (kind.is_file() || kind.is_dir()) {
                others.push(entry.file_name());
            }
        }
        Ok(Self { job: job.clone(), delivered, group, inode, others, zip_gathered })
    }

    pub(super) fn needs_sync(&self) -> bool {
        // What is gathered was synced before that.
        !self.zip_gathered
    }

    /// Gathers the originals and makes it all visible in the archive.
    ///
    /// Where the archive is on another file system, what has been gathered is still to be copied.
    pub(super) fn publish(self, site: &Site) -> Result<Step, PublishError> {
        let final_ = self.job.final_();
        let copies = site.is_elsewhere(Target::Archive);
        if copies && !self.zip_gathered {
            Listing::of(&final_)?.check(&final_)?;
            let delivered = self.job.delivered();
            Listing::of(&delivered)?.check(&delivered)?;
        }
        self.gather(site)?;
        let mode = self.delivered.st_mode & 0o7777;
        // Moving a folder needs write permission on it: one without gets its mode afterwards.
        let early = mode & 0o300 == 0o300;
        if copies {
            // Once it is gathered the emptied folder's times are no longer those of the delivery.
            if !self.zip_gathered {
                self.dress(&final_, early.then_some(mode))?;
            }
            return Ok(Step::Copy(Errand::new(self.job, Load::Package)));
        }
        self.dress(&final_, early.then_some(mode))?;
        let archive = &site.source().archive;
        let (path, job) = into_archive(site, &self.job, &final_, self.inode, archive)?;
        if !early {
            // It is complete and visible: that its mode is not the delivered one is no reason to
            // have it published again.
            fs::set_permissions(&path, Permissions::from_mode(mode)).ok();
        }
        Ok(Step::Settled(Settled::Archived { path, job }))
    }

    fn gather(&self, site: &Site) -> Result<(), PublishError> {
        let (folder, final_) = (self.job.delivered(), self.job.final_());
        if !self.zip_gathered {
            let (from, to) = (self.job.zip(), self.job.gathered_zip());
            rename_new(&from, &to, None).map_err(|source| match errno(&source) {
                Some(Errno::ACCESS | Errno::PERM) => {
                    PublishError::FixedZip { path: from.clone(), source }
                }
                _ => PublishError::moving(site, &from, &to)(source),
            })?;
        }
        for name in &self.others {
            let (from, to) = (folder.join(name), final_.join(name));
            match rename_new(&from, &to, None) {
                Ok(()) => {}
                Err(error) => match errno(&error) {
                    // It can only be archived now: what cannot come along stays, as late.
                    Some(Errno::NOENT | Errno::EXIST | Errno::ACCESS | Errno::PERM) => {}
                    _ => return Err(PublishError::moving(site, &from, &to)(error)),
                },
            }
        }
        Ok(())
    }

    /// Gives `.final` the delivered folder's group, times and mode.
    fn dress(&self, final_: &Path, mode: Option<u32>) -> Result<(), PublishError> {
        let seen = &self.delivered;
        if self.group != seen.st_gid {
            // Where allowed, and no more: most senders' groups are not ours.
            chownat(CWD, final_, None, Some(Gid::from_raw(seen.st_gid)), AtFlags::SYMLINK_NOFOLLOW)
                .ok();
        }
        let times = Timestamps {
            last_access: Timespec { tv_sec: seen.st_atime, tv_nsec: nanos(seen.st_atime_nsec) },
            last_modification: Timespec {
                tv_sec: seen.st_mtime,
                tv_nsec: nanos(seen.st_mtime_nsec),
            },
        };
        let dated = utimensat(CWD, final_, &times, AtFlags::SYMLINK_NOFOLLOW);
        dated.map_err(|error| WorkspaceError::io("set the times of", final_)(error.into()))?;
        if let Some(mode) = mode {
            fs::set_permissions(final_, Permissions::from_mode(mode))
                .map_err(WorkspaceError::io("set the mode of", final_))?;
        }
        Ok(())
    }
}

/// Renames a package's folder to the first name that is free: `NAME`, `NAME.2`, ….
pub(super) fn into_archive(
    site: &Site,
    job: &JobDir,
    from: &Path,
    inode: u64,
    archive: &Path,
) -> Result<(PathBuf, JobDir), PublishError> {
    let mut job = job.clone();
    let mut number = 1;
    loop {
        let to = archive.join(job.target());
        match rename_new(from, &to, Some(inode)) {
            Ok(()) => return Ok((to, job)),
            Err(error) if errno(&error) == Some(Errno::EXIST) => {}
            Err(error) => return Err(PublishError::moving(site, from, &to)(error)),
        }
        let target = free_name(&job, archive, &mut number)?;
        job = retarget(site, &job, target)?;
    }
}

/// Gives this user the rights on a folder of its own that a stage took away.
fn make_own(folder: &Path, found: &Metadata) -> Result<(), PublishError> {
    if found.mode() & 0o700 != 0o700 {
        fs::set_permissions(folder, Permissions::from_mode(0o700))
            .map_err(WorkspaceError::io("set the mode of", folder))?;
    }
    Ok(())
}

/// The next revision's name that is free in the archive.
fn free_name(job: &JobDir, archive: &Path, number: &mut u32) -> Result<String, PublishError> {
    loop {
        *number += 1;
        let Some(name) = job.name().revision(*number) else {
            let (name, path) = (job.name().clone(), archive.to_path_buf());
            return Err(PublishError::NoFreeName { name, path });
        };
        let path = archive.join(&name);
        match lstat(&path) {
            Ok(None) => return Ok(name),
            Ok(Some(_)) => {}
            Err(source) => return Err(PublishError::Compare { path, source }),
        }
    }
}

/// Has the emptied delivered folder say where the job goes; a mark keeps the package's own name.
fn retarget(site: &Site, job: &JobDir, target: String) -> Result<JobDir, PublishError> {
    let mark = job.name_mark();
    let made = failpoint::pass(|| "create:mark".to_owned()).and_then(|()| fs::File::create(&mark));
    made.map_err(WorkspaceError::io("make", &mark))?;
    let wanted = job.clone().with_target(target);
    let (from, to) = (job.delivered(), wanted.delivered());
    rename_new(&from, &to, None).map_err(PublishError::moving(site, &from, &to))?;
    Ok(wanted)
}

/// What was left when a job ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finished {
    /// Where files are that came after the package was gathered; absolute, in quarantine.
    pub late: Option<PathBuf>,
    /// Files came late, and are still to be copied to a quarantine on another file system: settle
    /// the job once more, by `Decision::Resume`.
    pub to_copy: bool,
    /// A folder of the work area that something unknown lies in; it stays.
    pub left: Option<PathBuf>,
}

/// Why files are in quarantine whose package is in the archive. Completes "failed to …".
#[derive(Debug, thiserror::Error)]
#[error("archive these files with their package: they came after it was gathered")]
struct LateArrivals;

impl crate::error::Failure for LateArrivals {
    fn code(&self) -> &'static str {
        "late_arrivals"
    }

    fn disposition(&self) -> crate::error::Disposition {
        crate::error::Disposition::Quarantine
    }
}

/// Ends an archived job, once the ledger has it: removes its folder, which should be empty.
///
/// # Errors
/// [`PublishError`]; the job is archived all the same, and the next start tries again.
pub fn finish(site: &Site, job: &JobDir) -> Result<Finished, PublishError> {
    let mut finished = Finished::default();
    let folder = job.delivered();
    if !remove_empty(&folder).map_err(WorkspaceError::io("remove", &folder))? {
        let mut reason = Reason::new(&site.source().name, job, &LateArrivals, &[]);
        reason.archived = Some(site.source().archive.join(job.target()));
        let reason = quarantine::decide_late(job, &reason)?;
        match quarantine::publish(site, job, reason)? {
            Step::Settled(Settled::Quarantined { path, .. }) => finished.late = Some(path),
            Step::Settled(_) => {}
            Step::Copy(_) => {
                finished.to_copy = true;
                return Ok(finished);
            }
        }
    }
    if !remove_job(job)? {
        finished.left = Some(job.path().to_path_buf());
    }
    Ok(finished)
}

/// Removes a job's folder, with the mark that keeps its package's name; false where something else
/// is in it.
pub(super) fn remove_job(job: &JobDir) -> Result<bool, PublishError> {
    let gone = || remove_empty(job.path()).map_err(WorkspaceError::io("remove", job.path()));
    if gone()? {
        return Ok(true);
    }
    // What was copied goes before the record of its copy: without that nobody could tell what it is.
    for copied in [job.copied(), job.q_copied()] {
        remove_tree(&copied).map_err(WorkspaceError::io("remove", copied))?;
    }
    for mark in [job.name_mark(), job.copy_record()] {
        remove_file(&mark).map_err(WorkspaceError::io("remove", mark))?;
    }
    Ok(gone()?)
}

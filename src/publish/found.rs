//! Finds copies that earlier attempts have made, whatever their current name.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;

use super::errand::{Errand, Load, StagedCopy};
use super::error::PublishError;
use super::error::cannot_hold;
use super::quarantine::names_in;
use crate::folder::Folder;
use crate::workspace::{CopyRecord, JobDir, Site, Target, WorkspaceError};

/// Finds the copy of a job whose mark says that it is complete.
pub(super) fn find(site: &Site, errand: Errand, home: &Folder) -> Result<StagedCopy, PublishError> {
    let id = errand.job.id();
    let failed = |action| WorkspaceError::io(action, home.path());
    let Some(record) = CopyRecord::read(home).map_err(failed("read the record in"))? else {
        // The copy gets its name only after the record is on disk: nothing of this original was removed yet.
        home.rename(errand.mark(), home, errand.original(), None).map_err(failed("unmark"))?;
        return Err(PublishError::CopyUnknown { job: id });
    };
    let target_path = record.target();
    let unreachable = |source| PublishError::TargetGone { path: target_path.clone(), source };
    let target = open_target(site, errand.target(), &target_path).map_err(unreachable)?;
    let staging = record.staging_in(&target).map_err(unreachable)?;
    let copy = record.copy_name(id);
    let is_staged = match &staging {
        Some(staging) => record.is_at(staging, &copy).map_err(unreachable)?,
        None => false,
    };
    let mut name = None;
    if !is_staged {
        name = named(&errand, &record, &target).map_err(unreachable)?;
        if name.is_none() {
            if staging.is_none() {
                return Err(PublishError::CopyGone { job: id, path: target_path });
            }
            // The copy had got its name, and somebody has moved it away since.
            name = Some(match errand.load {
                Load::Package => errand.job.target().to_owned(),
                Load::Quarantine(_) => errand.job.name().with_job(id, target.name_max()),
            });
        }
    }
    let staging = staging.filter(|_| is_staged).map(|staging| (Arc::new(staging), copy));
    Ok(StagedCopy { errand, target, target_path, staging, made: None, name })
}

/// Returns the name of the copy in the target; `None` if it has none yet.
fn named(errand: &Errand, record: &CopyRecord, target: &Folder) -> io::Result<Option<String>> {
    let job = &errand.job;
    if matches!(errand.load, Load::Quarantine(_)) {
        for (at, name) in names_in(target, job).enumerate() {
            match record.is_at(target, &name) {
                Ok(true) => return Ok(Some(name)),
                Ok(false) => {}
                // The file system cannot hold such a name, so the copy does not have it.
                Err(error) if Errno::from_io_error(&error).is_some_and(cannot_hold) => {}
                Err(error) => return Err(error),
            }
            // The first name may be one that the file system cannot hold.
            if at > 0 && !target.has(&name)? {
                break;
            }
        }
        return Ok(None);
    }
    if record.is_at(target, job.target())? {
        return Ok(Some(job.target().to_owned()));
    }
    // After a power loss, the emptied folder can have its old name.
    for number in 1.. {
        let Some(name) = job.name().revision(number) else { break };
        if record.is_at(target, &name)? {
            return Ok(Some(name));
        }
        if !target.has(&name)? {
            break;
        }
    }
    Ok(None)
}

/// Returns the place of a package that was copied, or that a publisher took; `None` if it is no longer
/// there.
pub(super) fn find_copied(
    site: &Site,
    job: &JobDir,
    record: &CopyRecord,
) -> Result<Option<PathBuf>, PublishError> {
    if let Some(path) = record.published() {
        return Ok(Some(path)); // only the publisher knows whether it still is there
    }
    let path = record.target();
    let unreachable = |source| PublishError::TargetGone { path: path.clone(), source };
    let target = open_target(site, Target::Archive, &path).map_err(unreachable)?;
    let is_there = record.is_at(&target, job.target()).map_err(unreachable)?;
    Ok(is_there.then(|| path.join(job.target())))
}

/// Opens the folder that a job was copied to, which may differ from the currently configured one.
fn open_target(site: &Site, target: Target, path: &Path) -> io::Result<Arc<Folder>> {
    match path == site.path_of(target) {
        true => site.reach(target),
        false => path.canonicalize().and_then(|path| Folder::open(&path)).map(Arc::new),
    }
}

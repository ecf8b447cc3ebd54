//! Quarantines a job: first the reason, which is the decision, then everything that belongs to the job.

use std::io::{self, Write};
use std::path::PathBuf;

use rustix::fs::Mode;
use rustix::io::Errno;

use super::archive::reach;
use super::cleanup::remove_job;
use super::errand::{Errand, Load};
use super::error::PublishError;
use super::{Settled, Step};
use crate::config::Durability;
use crate::failpoint;
use crate::folder::Folder;
use crate::names::{DELIVERED, DONE, FINAL, KEPT, OUT, Q, REASON, REASON_NEW, UNPACKED};
use crate::workspace::{Contents, JobDir, Reason, Site, Target, WorkspaceError, is_gathered};

/// Decides that a job goes to quarantine. An earlier decision stands.
pub(super) fn decide(
    home: &Folder,
    job: &JobDir,
    reason: &Reason,
) -> Result<Box<Reason>, PublishError> {
    let gathered = is_gathered(job, home);
    if gathered.map_err(WorkspaceError::io("look at", job.gathered_zip()))? {
        return Err(PublishError::Gathered { path: job.path().to_path_buf() });
    }
    decide_late(home, job, reason)
}

/// Decides that the late arrivals of an archived job go to quarantine.
pub(super) fn decide_late(
    home: &Folder,
    job: &JobDir,
    reason: &Reason,
) -> Result<Box<Reason>, PublishError> {
    let failed = |path: PathBuf| move |source| PublishError::WriteReason { path, source };
    match home.make_with(Q, Mode::from_raw_mode(0o777)) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if let Some(reason) = decided(home, job)? {
                return Ok(reason);
            }
        }
        Err(error) => return Err(failed(home.join(Q))(error)),
    }
    let q = home.folder(Q).map_err(failed(home.join(Q)))?;
    write(&q, reason).map_err(failed(q.join(REASON_NEW)))?;
    q.rename(REASON_NEW, &q, REASON, None).map_err(failed(q.join(REASON)))?;
    Ok(Box::new(reason.clone()))
}

fn write(q: &Folder, reason: &Reason) -> io::Result<()> {
    q.remove_file(REASON_NEW)?;
    failpoint::pass(|| "write:reason.json.new".to_owned())?;
    let mut text = serde_json::to_vec_pretty(reason)?;
    text.push(b'\n');
    q.create(REASON_NEW, Mode::from_raw_mode(0o666))?.write_all(&text)
}

/// Returns the decision; `None` if none was made.
pub(super) fn decided(home: &Folder, job: &JobDir) -> Result<Option<Box<Reason>>, PublishError> {
    match home.folder_if_there(Q).map_err(WorkspaceError::io("open", home.join(Q)))? {
        Some(q) => read_reason(&q, job),
        None => Ok(None),
    }
}

/// Reads the `reason.json` in a folder; `None` if it is missing.
pub(super) fn read_reason(q: &Folder, job: &JobDir) -> Result<Option<Box<Reason>>, PublishError> {
    let text = q.read(REASON).map_err(WorkspaceError::io("read", q.join(REASON)))?;
    Ok(text.map(|text| {
        Box::new(serde_json::from_slice(&text).unwrap_or_else(|_| Reason::unreadable(job)))
    }))
}

/// Moves everything of a job into `.q`, and that into quarantine, if a rename works there.
pub(super) fn publish(
    site: &Site,
    job: &JobDir,
    reason: Box<Reason>,
) -> Result<Step, PublishError> {
    let failed = WorkspaceError::io("open the folders of", job.path());
    let opened = job.open().and_then(|home| Ok((home.folder(Q)?, home)));
    let (q, home) = opened.map_err(failed)?;
    // An `.out` without files is of no use to anyone.
    home.remove_empty(OUT).ok();
    take_delivered(site, job, &home, &q)?;
    for unpacked in [OUT, DONE, FINAL] {
        take(site, &home, unpacked, &q, UNPACKED)?;
    }
    if site.is_elsewhere(Target::Quarantine) {
        return Ok(Step::Copy(Errand::new(job.clone(), Load::Quarantine(Some(reason)))));
    }
    let quarantine = reach(site, Target::Quarantine)?;
    match into_quarantine(site, job, (&home, Q), &quarantine) {
        Ok(name) => {
            // The job is settled. A folder that cannot be removed now is removed at the next start if it is
            // empty; if it contains anything else, that start adds a remark.
            remove_job(job, &home).ok();
            let path = site.source().quarantine.join(name);
            Ok(Step::Settled(Settled::Quarantined { path, reason }))
        }
        Err(error) if error.turns_back() => keep_here(site, job, &home, reason).map(Step::Settled),
        Err(error) => Err(error),
    }
}

/// Keeps a package that the quarantine's file system cannot hold in the work area, where all of it
/// already is.
pub(super) fn keep_here(
    site: &Site,
    job: &JobDir,
    home: &Folder,
    reason: Box<Reason>,
) -> Result<Settled, PublishError> {
    if site.source().durability == Durability::Batch {
        let path = || site.root().to_path_buf();
        site.sync().map_err(|source| PublishError::Sync { path: path(), source })?;
    }
    let part = job.part();
    let kept = part.make_or_open(KEPT);
    let kept = kept.map_err(WorkspaceError::io("make", part.join(KEPT)))?;
    let name = into_quarantine(site, job, (home, Q), &kept)?;
    remove_job(job, home).ok(); // as above
    Ok(Settled::Quarantined { path: kept.join(name), reason })
}

/// Moves the delivered folder into `.q`: without it, nothing is published.
fn take_delivered(
    site: &Site,
    job: &JobDir,
    home: &Folder,
    q: &Folder,
) -> Result<(), PublishError> {
    take(site, home, job.target(), q, DELIVERED)?;
    let look = |what: io::Result<bool>| what.map_err(WorkspaceError::io("look into", q.path()));
    if look(q.has(DELIVERED))? {
        return Ok(());
    }
    let contents = Contents::read(home).map_err(WorkspaceError::io("list", home.path()))?;
    match &contents.delivered[..] {
        // Nothing of it is left anywhere in the job, and the reason says so.
        [] => {
            let made = q.make_with(DELIVERED, Mode::from_raw_mode(0o777));
            made.map_err(WorkspaceError::io("make", q.join(DELIVERED)))?;
        }
        // A command has renamed it.
        [other] => take(site, home, other, q, DELIVERED)?,
        _ => return Err(PublishError::DeliveredUnclear { path: home.path().to_path_buf() }),
    }
    match look(q.has(DELIVERED))? {
        true => Ok(()),
        false => Err(PublishError::DeliveredUnclear { path: home.path().to_path_buf() }),
    }
}

/// Moves an entry if it exists; a missing one was moved before.
fn take(site: &Site, home: &Folder, from: &str, q: &Folder, to: &str) -> Result<(), PublishError> {
    let moved = match home.rename(from, q, to, None) {
        // Moving a folder needs write permission on it; our own folder is given that permission.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => match home.open_up(from) {
            Ok(()) => home.rename(from, q, to, None),
            Err(_) => Err(error),
        },
        other => other,
    };
    match moved {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(PublishError::moving(site, &home.join(from), &q.join(to))),
    }
}

/// Renames a job's folder to its name in quarantine; returns the name.
pub(super) fn into_quarantine(
    site: &Site,
    job: &JobDir,
    (folder, from): (&Folder, &str),
    quarantine: &Folder,
) -> Result<String, PublishError> {
    let found = folder.stat(from).map_err(WorkspaceError::io("look at", folder.join(from)))?;
    let inode = found.map(|found| found.st_ino);
    let mut names = names_in(quarantine, job);
    let mut to = names.next().unwrap_or_default();
    loop {
        let moved = folder.rename(from, quarantine, &to, inode);
        let Err(error) = moved else { return Ok(to) };
        let path = quarantine.join(&to);
        let taken = |error| {
            matches!(error, Errno::EXIST | Errno::NAMETOOLONG | Errno::INVAL | Errno::ILSEQ)
        };
        to = match names.next().filter(|_| Errno::from_io_error(&error).is_some_and(taken)) {
            Some(next) => next,
            None => return Err(PublishError::moving(site, &folder.join(from), &path)(error)),
        };
    }
}

/// Returns the names that a job can have in quarantine, in order of preference: `NAME.JOB`, `JOB.2`, ….
/// The job gets the first that is free and that the file system can hold. It has only one entry there,
/// unless someone creates another by hand. The package's full name is in its reason.json.
pub(super) fn names_in(quarantine: &Folder, job: &JobDir) -> impl Iterator<Item = String> {
    let id = job.id();
    let first = job.name().with_job(id, quarantine.name_max());
    std::iter::once(first).chain((2..=100).map(move |number| format!("{id}.{number}")))
}

//! Into quarantine: the reason first, which is the decision, then everything that belongs to it.

use std::io::{self, Write};
use std::path::PathBuf;

use rustix::fs::Mode;
use rustix::io::Errno;

use super::archive::reach;
use super::cleanup::remove_job;
use super::elsewhere::{Errand, Load};
use super::{PublishError, Settled, Step};
use crate::failpoint;
use crate::folder::Folder;
use crate::names::{DELIVERED, DONE, FINAL, OUT, Q, REASON, REASON_NEW, UNPACKED};
use crate::workspace::{JobDir, Reason, Site, Target, WorkspaceError, is_gathered};

/// Decides that a job goes to quarantine. A decision that was taken before stands.
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

/// Decides it for what came late to a job that is archived.
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

/// The decision that was taken, if one was.
pub(super) fn decided(home: &Folder, job: &JobDir) -> Result<Option<Box<Reason>>, PublishError> {
    match home.folder_if_there(Q).map_err(WorkspaceError::io("open", home.join(Q)))? {
        Some(q) => read_reason(&q, job),
        None => Ok(None),
    }
}

/// Reads the `reason.json` in a folder; `None` if there is none.
pub(super) fn read_reason(q: &Folder, job: &JobDir) -> Result<Option<Box<Reason>>, PublishError> {
    let text = q.read(REASON).map_err(WorkspaceError::io("read", q.join(REASON)))?;
    Ok(text.map(|text| {
        Box::new(serde_json::from_slice(&text).unwrap_or_else(|_| Reason::unreadable(job)))
    }))
}

/// Moves everything of a job under `.q`, and that into quarantine, where a rename leads there.
pub(super) fn publish(
    site: &Site,
    job: &JobDir,
    reason: Box<Reason>,
) -> Result<Step, PublishError> {
    let failed = WorkspaceError::io("open the folders of", job.path());
    let opened = job.open().and_then(|home| Ok((home.folder(Q)?, home)));
    let (q, home) = opened.map_err(failed)?;
    // An `.out` that nothing was written to tells nobody anything.
    home.remove_empty(OUT).ok();
    take(site, &home, job.target(), &q, DELIVERED)?;
    for unpacked in [OUT, DONE, FINAL] {
        take(site, &home, unpacked, &q, UNPACKED)?;
    }
    if site.is_elsewhere(Target::Quarantine) {
        return Ok(Step::Copy(Errand::new(job.clone(), Load::Quarantine(Some(reason)))));
    }
    let quarantine = reach(site, Target::Quarantine)?;
    let name = into_quarantine(site, job, (&home, Q), &quarantine)?;
    // It is settled: an empty folder that cannot go now is cleaned up by the next start, which remarks
    // on what else lies in it.
    remove_job(job, &home).ok();
    let path = site.source().quarantine.join(name);
    Ok(Step::Settled(Settled::Quarantined { path, reason }))
}

/// Moves what is there; what is not has been moved before.
fn take(site: &Site, home: &Folder, from: &str, q: &Folder, to: &str) -> Result<(), PublishError> {
    match home.rename(from, q, to, None) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(PublishError::moving(site, &home.join(from), &q.join(to))),
    }
}

/// Gives a job's folder its name in quarantine; returns the name.
pub(super) fn into_quarantine(
    site: &Site,
    job: &JobDir,
    (folder, from): (&Folder, &str),
    quarantine: &Folder,
) -> Result<String, PublishError> {
    let found = folder.stat(from).map_err(WorkspaceError::io("look at", folder.join(from)))?;
    let inode = found.map(|found| found.st_ino);
    let mut to = job.name().with_job(job.id());
    let mut number = 1;
    loop {
        match folder.rename(from, quarantine, &to, inode) {
            Ok(()) => return Ok(to),
            // A job has one name there: only by hand can there be another. The whole name of the
            // package is in its reason.json.
            Err(error) if Errno::from_io_error(&error) == Some(Errno::EXIST) && number < 100 => {
                number += 1;
                to = format!("{}.{number}", job.id());
            }
            Err(error) => {
                let to = quarantine.join(&to);
                return Err(PublishError::moving(site, &folder.join(from), &to)(error));
            }
        }
    }
}

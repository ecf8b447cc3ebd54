//! Into quarantine: the reason first, which is the decision, then everything that belongs to it.

use std::fs::{self, DirBuilder};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::elsewhere::{Errand, Load};
use super::{PublishError, Settled, Step};
use crate::failpoint;
use crate::workspace::{
    JobDir, Reason, Site, Target, WorkspaceError, errno, lstat, remove_file, rename_new,
};

/// Decides that a job goes to quarantine. A decision that was taken before stands.
pub(super) fn decide(job: &JobDir, reason: &Reason) -> Result<Box<Reason>, PublishError> {
    let zip = job.gathered_zip();
    if lstat(&zip).map_err(WorkspaceError::io("look at", zip))?.is_some() {
        return Err(PublishError::Gathered { path: job.path().to_path_buf() });
    }
    decide_late(job, reason)
}

/// Decides it for what came late to a job that is archived.
pub(super) fn decide_late(job: &JobDir, reason: &Reason) -> Result<Box<Reason>, PublishError> {
    let q = job.q();
    let failed = |path: PathBuf| move |source| PublishError::WriteReason { path, source };
    let made =
        failpoint::pass(|| "mkdir:.q".to_owned()).and_then(|()| DirBuilder::new().create(&q));
    match made {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if let Some(reason) = decided(job)? {
                return Ok(reason);
            }
        }
        Err(error) => return Err(failed(q)(error)),
    }
    let (fresh, path) = (q.join("reason.json.new"), q.join("reason.json"));
    write(&fresh, reason).map_err(failed(fresh.clone()))?;
    rename_new(&fresh, &path, None).map_err(failed(path))?;
    Ok(Box::new(reason.clone()))
}

fn write(path: &Path, reason: &Reason) -> io::Result<()> {
    remove_file(path)?;
    failpoint::pass(|| "write:reason.json.new".to_owned())?;
    let mut text = serde_json::to_vec_pretty(reason)?;
    text.push(b'\n');
    let mut file = fs::File::options().write(true).create_new(true).mode(0o666).open(path)?;
    file.write_all(&text)
}

/// The decision that was taken, if one was.
pub(super) fn decided(job: &JobDir) -> Result<Option<Box<Reason>>, PublishError> {
    read_reason(&job.q().join("reason.json"), job)
}

/// Reads a `reason.json`; none where there is none.
pub(super) fn read_reason(path: &Path, job: &JobDir) -> Result<Option<Box<Reason>>, PublishError> {
    match fs::read(path) {
        Ok(text) => Ok(Some(Box::new(
            serde_json::from_slice(&text).unwrap_or_else(|_| Reason::unreadable(job)),
        ))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(WorkspaceError::io("read", path)(source).into()),
    }
}

/// Moves everything of a job under `.q`, and that into quarantine, where a rename leads there.
pub(super) fn publish(
    site: &Site,
    job: &JobDir,
    reason: Box<Reason>,
) -> Result<Step, PublishError> {
    let q = job.q();
    // An `.out` that nothing was written to tells nobody anything.
    fs::remove_dir(job.out()).ok();
    take(site, job.delivered(), q.join("delivered"))?;
    for unpacked in [job.out(), job.done(), job.final_()] {
        take(site, unpacked, q.join("unpacked"))?;
    }
    if site.is_elsewhere(Target::Quarantine) {
        return Ok(Step::Copy(Errand::new(job.clone(), Load::Quarantine(Some(reason)))));
    }
    let path = into_quarantine(site, job, &q, &site.source().quarantine)?;
    // It is settled: an empty folder that cannot go now is cleaned up by the next start, which remarks
    // on what else lies in it.
    super::archive::remove_job(job).ok();
    Ok(Step::Settled(Settled::Quarantined { path, reason }))
}

/// Moves what is there; what is not has been moved before.
fn take(site: &Site, from: PathBuf, to: PathBuf) -> Result<(), PublishError> {
    match rename_new(&from, &to, None) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(PublishError::moving(site, &from, &to)),
    }
}

/// Gives a job's folder its name in quarantine.
pub(super) fn into_quarantine(
    site: &Site,
    job: &JobDir,
    from: &Path,
    quarantine: &Path,
) -> Result<PathBuf, PublishError> {
    let inode = lstat(from).map_err(WorkspaceError::io("look at", from))?;
    let inode = inode.map(|found| std::os::unix::fs::MetadataExt::ino(&found));
    let mut to = quarantine.join(job.name().with_job(job.id()));
    let mut number = 1;
    loop {
        match rename_new(from, &to, inode) {
            Ok(()) => return Ok(to),
            // A job has one name there: only by hand can there be another. The whole name of the
            // package is in its reason.json.
            Err(error) if errno(&error) == Some(Errno::EXIST) && number < 100 => {
                number += 1;
                to = quarantine.join(format!("{}.{number}", job.id()));
            }
            Err(error) => return Err(PublishError::moving(site, from, &to)(error)),
        }
    }
}

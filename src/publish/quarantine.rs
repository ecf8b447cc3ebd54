//! Into quarantine: the reason first, which is the decision, then everything that belongs to it.

use std::fs::{self, DirBuilder};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use rustix::io::Errno;

use super::{PublishError, Settled};
use crate::workspace::{
    JobDir, Reason, Site, WorkspaceError, errno, lstat, remove_file, rename_new,
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
    match DirBuilder::new().create(&q) {
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

fn write(path: &std::path::Path, reason: &Reason) -> io::Result<()> {
    remove_file(path)?;
    let mut text = serde_json::to_vec_pretty(reason)?;
    text.push(b'\n');
    let mut file = fs::File::options().write(true).create_new(true).mode(0o666).open(path)?;
    file.write_all(&text)
}

/// The decision that was taken, if one was.
pub(super) fn decided(job: &JobDir) -> Result<Option<Box<Reason>>, PublishError> {
    let path = job.q().join("reason.json");
    match fs::read(&path) {
        Ok(text) => Ok(Some(Box::new(
            serde_json::from_slice(&text).unwrap_or_else(|_| Reason::unreadable(job)),
        ))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(WorkspaceError::io("read", path)(source).into()),
    }
}

/// Moves everything of a job under `.q`, and that into quarantine.
pub(super) fn publish(
    site: &Site,
    job: &JobDir,
    reason: Box<Reason>,
) -> Result<Settled, PublishError> {
    let q = job.q();
    // An `.out` that nothing was written to tells nobody anything.
    fs::remove_dir(job.out()).ok();
    take(site, job.delivered(), q.join("delivered"))?;
    for unpacked in [job.out(), job.done(), job.final_()] {
        take(site, unpacked, q.join("unpacked"))?;
    }
    let path = into_quarantine(site, job)?;
    // What else lies in it is remarked on at the next start.
    super::archive::remove_job(job)?;
    Ok(Settled::Quarantined { path, reason })
}

/// Moves what is there; what is not has been moved before.
fn take(site: &Site, from: PathBuf, to: PathBuf) -> Result<(), PublishError> {
    match rename_new(&from, &to, None) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(PublishError::moving(site, &from, &to)),
    }
}

fn into_quarantine(site: &Site, job: &JobDir) -> Result<PathBuf, PublishError> {
    let (q, quarantine) = (job.q(), &site.source().quarantine);
    let inode = lstat(&q).map_err(WorkspaceError::io("look at", &q))?;
    let inode = inode.map(|found| std::os::unix::fs::MetadataExt::ino(&found));
    let mut to = quarantine.join(job.name().with_job(job.id()));
    let mut number = 1;
    loop {
        match rename_new(&q, &to, inode) {
            Ok(()) => return Ok(to),
            // A job has one name there: only by hand can there be another. The whole name of the
            // package is in its reason.json.
            Err(error) if errno(&error) == Some(Errno::EXIST) && number < 100 => {
                number += 1;
                to = quarantine.join(format!("{}.{number}", job.id()));
            }
            Err(error) => return Err(PublishError::moving(site, &q, &to)(error)),
        }
    }
}

//! Puts gathered originals back into the delivered folder, and finds free names for originals.

use std::ffi::{OsStr, OsString};
use std::io;

use rustix::fs::FileType;
use rustix::io::Errno;

use super::error::PublishError;
use super::judge::SET_ID;
use crate::folder::Folder;
use crate::names::FINAL;
use crate::workspace::{JobDir, Original, Passed, WorkspaceError};

/// Puts an entry back if it is a special or setuid file: the sender exchanged the original for it between
/// the check and the rename. It is a late arrival, and stays out of the archive.
pub(super) fn keep_only_ordinary(
    final_: &Folder,
    delivered: &Folder,
    (name, back): (&OsStr, &OsStr),
) -> Result<(), PublishError> {
    let found = final_.stat(name).map_err(WorkspaceError::io("look at", final_.join(name)))?;
    let is_ordinary = found.is_some_and(|found| {
        let kind = FileType::from_raw_mode(found.st_mode);
        kind.is_dir() || (kind.is_file() && found.st_mode & SET_ID == 0)
    });
    if is_ordinary { Ok(()) } else { put_back(final_, delivered, (name, back)) }
}

/// Moves an original back into the delivered folder. If its sender has created another file with that name
/// meanwhile, the original gets another name beside it: neither is deleted, and neither is archived.
fn put_back(
    final_: &Folder,
    delivered: &Folder,
    (name, back): (&OsStr, &OsStr),
) -> Result<(), PublishError> {
    let mut free = back.to_owned();
    for number in 2..100 {
        match final_.rename(name, delivered, &free, None) {
            // It was not gathered.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                free = format!("gathered-{number}").into();
            }
            other => {
                let moved = other.map_err(WorkspaceError::io("put back", final_.join(name)));
                return Ok(moved?);
            }
        }
    }
    let error = Errno::EXIST.into();
    Err(WorkspaceError::io("find a free name for", final_.join(name))(error).into())
}

/// Puts the originals back into the delivered folder: the package is not archived after all. The ZIP is
/// moved last, so that the job counts as gathered until then.
pub(super) fn ungather(job: &JobDir, home: &Folder, passed: &Passed) -> Result<(), PublishError> {
    let failed = |action| WorkspaceError::io(action, job.path());
    let final_ = home.folder(FINAL).map_err(failed("open what is gathered in"))?;
    let delivered = home.folder(job.target()).map_err(failed("open what was delivered in"))?;
    let zip = job.name().zip();
    let zip = OsStr::new(&zip);
    let mut names = passed.beside().chain([(zip, zip)]);
    names.try_for_each(|(from, to)| put_back(&final_, &delivered, (to, from)))
}

/// Returns a free name for an original beside the ZIP whose own name is also in the ZIP: `NAME.2`, ….
pub(super) fn free_beside(
    done: &Folder,
    originals: &[Original],
    name: &OsStr,
) -> io::Result<OsString> {
    for number in 2..=100 {
        let mut free = name.to_owned();
        free.push(format!(".{number}"));
        let is_delivered = originals.iter().any(|original| original.name == free);
        if !is_delivered && !done.has(&free)? {
            return Ok(free);
        }
    }
    Err(Errno::EXIST.into())
}

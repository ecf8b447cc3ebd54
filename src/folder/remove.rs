//! Removes everything in a folder, with two handles whatever its depth.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, fchmod, fstat, openat, unlinkat};
use rustix::io::Errno;

use super::FOLDER;
use super::metadata::metadata_at;

/// A folder on the current path that is being emptied.
struct Level {
    /// Its name in its parent.
    name: Vec<u8>,
    inode: u64,
    /// Subfolders that are still to be emptied.
    rest: Vec<Vec<u8>>,
}

/// Removes everything in a folder. Returns to a parent by `..`, so that a tree takes two handles, whatever
/// its depth. An entry that is not on `mount` belongs to somebody else, and stops the removal.
pub(super) fn empty_out(top: OwnedFd, mount: Option<u64>) -> Result<(), Errno> {
    let first = Level { name: Vec::new(), inode: inode_on(&top, mount)?, rest: clear_level(&top)? };
    let (mut at, mut way) = (top, vec![first]);
    while let Some(level) = way.last_mut() {
        if let Some(name) = level.rest.pop() {
            at = enter(at.as_fd(), OsStr::from_bytes(&name))?;
            let inode = inode_on(&at, mount)?;
            way.push(Level { name, inode, rest: clear_level(&at)? });
            continue;
        }
        let name = std::mem::take(&mut level.name);
        way.pop();
        let Some(parent) = way.last() else { break };
        at = openat(&at, "..", FOLDER, Mode::empty())?;
        if fstat(&at)?.st_ino != parent.inode {
            return Err(Errno::STALE); // the folder was moved meanwhile
        }
        match unlinkat(&at, OsStr::from_bytes(&name), AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Returns the inode of a folder; an error if it is on another mount.
fn inode_on(folder: &OwnedFd, mount: Option<u64>) -> Result<u64, Errno> {
    let found = metadata_at(folder.as_fd(), OsStr::new(""))?;
    if found.mount != mount { Err(Errno::BUSY) } else { Ok(found.inode) }
}

/// Removes files and empty folders; returns the names of the folders that are not empty.
fn clear_level(at: &OwnedFd) -> Result<Vec<Vec<u8>>, Errno> {
    let mut rest = Vec::new();
    let mut entries = Dir::read_from(at)?;
    while let Some(entry) = entries.read() {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        if entry.file_type() != FileType::Directory {
            match unlinkat(at, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => continue,
                // A folder: some listings do not report types.
                Err(Errno::ISDIR | Errno::PERM) if entry.file_type() == FileType::Unknown => {}
                Err(error) => return Err(error),
            }
        }
        match unlinkat(at, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::NOTEMPTY | Errno::EXIST) => rest.push(name.to_bytes().to_vec()),
            Err(error) => return Err(error),
        }
    }
    Ok(rest)
}

/// Opens a folder that is to be emptied; a folder that denies its owner access gets the permissions first.
pub(super) fn enter(at: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd, Errno> {
    let opened = openat(at, name, FOLDER, Mode::empty());
    let folder = match opened {
        Err(Errno::ACCESS) => {
            let path = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let handle = openat(at, name, path, Mode::empty())?;
            // fchmod does not work on this kind of handle.
            let own = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&handle));
            rustix::fs::chmod(own, Mode::RWXU)?;
            return openat(at, name, FOLDER, Mode::empty());
        }
        other => other?,
    };
    let mode = fstat(&folder)?.st_mode & 0o7777;
    if mode & 0o700 != 0o700 {
        fchmod(&folder, Mode::RWXU)?;
    }
    Ok(folder)
}

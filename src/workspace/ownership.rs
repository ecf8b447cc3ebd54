//! Makes delivered files this user's own: the sender may still hold handles on them.
//!
//! Each use of a handle on a folder is checked against the folder's mode. So a folder that is ours and
//! that only we can write to is frozen, even if others have it open. A file that its sender has open
//! for writing stays writable as long as that handle lives: only a copy helps against that.
//!
//! This needs `CAP_CHOWN`, which root has. Without it, and for files that are already ours, little is done.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::LazyLock;

use rustix::fs::{Mode, RawMode, Stat, Timespec, Timestamps, Uid, fchmod, fchown, fstat, futimens};
use rustix::io::Errno;

use crate::folder::{Folder, Metadata};
use crate::names::APART;

/// Mode bits that only a file's owner may have; also the sticky bit and the set-group-ID of a folder.
const OTHERS: RawMode = 0o7022;
/// Mode bits that other users may not have on files that belonged to this user before.
const EVERYONE: RawMode = 0o7002;

/// The user that this process runs as. Queried once: the process never changes its user.
static THIS_USER: LazyLock<Uid> = LazyLock::new(rustix::process::geteuid);

/// Whether an entry is this user's own, so that no other user can change it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owned {
    /// It was this user's own before.
    Already,
    Now,
    /// This user may not change owners.
    NotAllowed,
    /// The file has another hard link of unknown purpose: it must stay unchanged.
    HardLinked,
}

/// Whether this process runs as `user`.
pub(crate) fn is_this_user(user: u32) -> bool {
    user == THIS_USER.as_raw()
}

/// Whether a file or folder belongs to this user and is not world-writable.
pub(super) fn is_own(seen: &Metadata) -> bool {
    is_this_user(seen.user) && seen.mode & EVERYONE == 0
}

/// Makes a folder this user's own; `seen` is the metadata of the handle.
pub(super) fn own_folder(folder: BorrowedFd<'_>, seen: &Metadata) -> io::Result<Owned> {
    if is_own(seen) {
        return Ok(Owned::Already);
    }
    own(folder, seen, 0o700)
}

/// Makes a file this user's own, unless it has other hard links; `seen` is the metadata of the handle.
pub(super) fn own_file(file: &File, seen: &Metadata) -> io::Result<Owned> {
    if is_own(seen) {
        return Ok(Owned::Already);
    }
    if seen.links > 1 {
        let may = THIS_USER.is_root();
        return Ok(if may { Owned::HardLinked } else { Owned::NotAllowed });
    }
    own(file.as_fd(), seen, 0o400)
}

fn own(handle: BorrowedFd<'_>, seen: &Metadata, least: RawMode) -> io::Result<Owned> {
    let user = *THIS_USER;
    let was_ours = is_this_user(seen.user);
    if !was_ours {
        match fchown(handle, Some(user), None) {
            Ok(()) => {}
            Err(Errno::PERM | Errno::ACCESS | Errno::INVAL | Errno::OPNOTSUPP | Errno::ROFS) => {
                return Ok(Owned::NotAllowed);
            }
            Err(error) => return Err(error.into()),
        }
    }
    let wanted = seen.mode & !(if was_ours { EVERYONE } else { OTHERS }) | least;
    match fchmod(handle, Mode::from_raw_mode(wanted)) {
        // Some network file systems do not support modes.
        Ok(()) | Err(Errno::PERM | Errno::OPNOTSUPP) => Ok(Owned::Now),
        Err(error) => Err(error.into()),
    }
}

/// Replaces a file by a copy that has no other hard link. The folder must be this user's own.
pub(super) fn copy_apart(
    home: &Folder,
    folder: &Folder,
    name: impl AsRef<OsStr>,
) -> io::Result<()> {
    let name = name.as_ref();
    let mut original = folder.open_file(name)?;
    let seen = fstat(&original)?;
    home.remove_file(APART)?;
    let mut copy = home.create(APART, Mode::RUSR | Mode::WUSR)?;
    io::copy(&mut original, &mut copy)?;
    let mode = seen.st_mode & 0o7777 & !OTHERS | 0o400;
    fchmod(&copy, Mode::from_raw_mode(mode))?;
    futimens(&copy, &times(&seen))?;
    Ok(rustix::fs::renameat(home, APART, folder, name)?)
}

fn times(seen: &Stat) -> Timestamps {
    let nanos = |nsec: u64| i64::try_from(nsec).unwrap_or(0);
    Timestamps {
        last_access: Timespec { tv_sec: seen.st_atime, tv_nsec: nanos(seen.st_atime_nsec) },
        last_modification: Timespec { tv_sec: seen.st_mtime, tv_nsec: nanos(seen.st_mtime_nsec) },
    }
}

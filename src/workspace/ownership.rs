//! Makes what was delivered this user's own: its sender may still hold handles on it.
//!
//! A handle on a folder is worth what the folder's mode allows at each use of it. So a folder that is
//! ours and that only we can write to is frozen, whoever has it open. A file that its sender has open
//! for writing stays writable for as long as that handle lives: nothing but a copy helps against that.
//!
//! Needs `CAP_CHOWN`, which root has. Without it, and for what is ours already, little is done.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::LazyLock;

use rustix::fs::{Mode, RawMode, Stat, Timespec, Timestamps, Uid, fchmod, fchown, fstat, futimens};
use rustix::io::Errno;

use crate::folder::{Folder, Metadata};
use crate::names::APART;

/// What nobody but a file's owner may be allowed; the sticky bit and set-group-ID of a folder, too.
const OTHERS: RawMode = 0o7022;
/// What everybody else may not be allowed on what was this user's before.
const EVERYONE: RawMode = 0o7002;

/// The user that this process runs as. Asked for once: the process never becomes another.
static THIS_USER: LazyLock<Uid> = LazyLock::new(rustix::process::geteuid);

/// Whether something is this user's own, so that nobody else can change it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owned {
    /// It was before.
    Already,
    Now,
    /// This user may not change owners.
    NotAllowed,
    /// It has another name, of which nobody knows what it is good for: it must be left as it is.
    HardLinked,
}

/// Whether this process runs as that user.
pub(crate) fn is_this_user(user: u32) -> bool {
    user == THIS_USER.as_raw()
}

/// Whether a file or folder belongs to this user, and its mode lets not everybody write to it.
pub(super) fn is_own(seen: &Metadata) -> bool {
    is_this_user(seen.user) && seen.mode & EVERYONE == 0
}

/// Makes a folder this user's own; `seen` is what the handle was found to be.
pub(super) fn own_folder(folder: BorrowedFd<'_>, seen: &Metadata) -> io::Result<Owned> {
    if is_own(seen) {
        return Ok(Owned::Already);
    }
    own(folder, seen, 0o700)
}

/// Makes a file this user's own, unless it has other names; `seen` is what the handle was found to be.
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
        // Some network file systems have no modes of their own.
        Ok(()) | Err(Errno::PERM | Errno::OPNOTSUPP) => Ok(Owned::Now),
        Err(error) => Err(error.into()),
    }
}

/// Puts a copy of a file in its place that has no other name. The folder must be this user's own.
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

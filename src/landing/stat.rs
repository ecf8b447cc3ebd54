//! The system calls of a look, each with the flags that keep it from following, blocking or being misled.

use std::ffi::OsStr;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{Access, AtFlags, FileType, Mode, OFlags, Statx, StatxAttributes, StatxFlags};
use rustix::io::Errno;

use crate::package::FolderId;

/// The kind of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A real folder.
    Folder,
    /// A regular file.
    File,
    /// A symbolic link, whatever it leads to.
    Symlink,
    /// A FIFO, a socket or a device.
    Special,
    /// It could not be inspected.
    Unknown,
}

/// The fields that a look needs.
pub(super) const WANTED: StatxFlags = StatxFlags::BASIC_STATS.union(StatxFlags::BTIME);

/// Bypasses a network client's cached attributes: by them, a folder that is being written would be quiet.
pub(super) fn freshness(network: bool) -> AtFlags {
    if network { AtFlags::STATX_FORCE_SYNC } else { AtFlags::empty() }
}

pub(super) fn stat_of(file: BorrowedFd<'_>, network: bool) -> Result<Statx, Errno> {
    rustix::fs::statx(file, "", AtFlags::EMPTY_PATH | freshness(network), WANTED)
}

pub(super) fn open_folder(at: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd, Errno> {
    let flags =
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::openat(at, name, flags, Mode::empty())
}

pub(super) fn access(folder: BorrowedFd<'_>, name: &OsStr) -> Result<(), Errno> {
    let access = Access::WRITE_OK | Access::EXEC_OK;
    match rustix::fs::accessat(folder, name, access, AtFlags::EACCESS) {
        // A kernel before 5.8 cannot report it: the claim will.
        Err(Errno::NOSYS | Errno::INVAL) => Ok(()),
        answer => answer,
    }
}

pub(super) fn folder_id(stat: &Statx) -> FolderId {
    let birth = stat.stx_btime;
    let known = stat.stx_mask & StatxFlags::BTIME.bits() != 0;
    let birth_ns = i128::from(birth.tv_sec) * 1_000_000_000 + i128::from(birth.tv_nsec);
    FolderId { inode: stat.stx_ino, birth_ns: if known { birth_ns } else { 0 } }
}

pub(super) fn kind_of(stat: &Statx) -> Kind {
    match FileType::from_raw_mode(stat.stx_mode.into()) {
        FileType::Directory => Kind::Folder,
        FileType::RegularFile => Kind::File,
        FileType::Symlink => Kind::Symlink,
        _ => Kind::Special,
    }
}

/// Whether an entry is a mount point, which no rename moves. A kernel before 5.8 does not report that.
pub(super) fn is_mount_point(stat: &Statx) -> bool {
    stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)
}

/// Whether the sticky bit does not restrict this process: it has `CAP_FOWNER` (number 3).
pub(super) fn may_ignore_owners() -> bool {
    std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| {
            let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
            u64::from_str_radix(line.trim(), 16).ok()
        })
        .map_or(rustix::process::geteuid().is_root(), |capabilities| capabilities & (1 << 3) != 0)
}

//! [`Metadata`]: what a name stands for, on which mount, and whether it can be moved.

use std::ffi::OsStr;
use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, FileType, StatxAttributes, StatxFlags, StatxTimestamp, Timespec, statx};
use rustix::io::Errno;

use crate::package::{FolderId, ZipStamp};

/// What a name stands for: the thing itself, never what a link leads to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Metadata {
    pub(crate) kind: FileType,
    /// Permission bits, set-ID bits and the sticky bit.
    pub(crate) mode: u32,
    pub(crate) user: u32,
    pub(crate) group: u32,
    pub(crate) inode: u64,
    /// How many names it has.
    pub(crate) links: u32,
    /// Bytes.
    pub(crate) len: u64,
    /// Bytes on disk.
    pub(crate) taken: u64,
    pub(crate) accessed: Timespec,
    /// Last change of its content.
    pub(crate) modified: Timespec,
    /// Last change of its content or inode.
    changed: Timespec,
    /// Birth time in ns since the epoch; 0 where the file system keeps none, or it was not asked for.
    birth_ns: i128,
    /// The mount that it is on; `None` if the system does not tell.
    pub(crate) mount: Option<u64>,
    /// It is immutable or append-only: not even root can rename it.
    pub(crate) is_fixed: bool,
}

impl Metadata {
    /// Inode and birth time of what was looked at by a handle on it.
    pub(crate) fn id(&self) -> FolderId {
        FolderId { inode: self.inode, birth_ns: self.birth_ns }
    }
}

impl From<&Metadata> for ZipStamp {
    fn from(found: &Metadata) -> Self {
        Self {
            inode: found.inode,
            len: found.len,
            mtime_ns: ns(found.modified),
            ctime_ns: ns(found.changed),
        }
    }
}

/// Reads the metadata of a name in a folder; of what `at` is a handle on, and its birth time, for an
/// empty name.
pub(crate) fn metadata_at(at: BorrowedFd<'_>, name: &OsStr) -> Result<Metadata, Errno> {
    let basic = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
    let (flags, wanted) = match name.is_empty() {
        true => (AtFlags::EMPTY_PATH, basic | StatxFlags::BTIME),
        false => (AtFlags::SYMLINK_NOFOLLOW, basic),
    };
    let found = statx(at, name, flags, wanted)?;
    let known = StatxFlags::from_bits_retain(found.stx_mask);
    let birth_ns = if known.contains(StatxFlags::BTIME) { ns(time(found.stx_btime)) } else { 0 };
    let fixed = StatxAttributes::IMMUTABLE | StatxAttributes::APPEND;
    Ok(Metadata {
        kind: FileType::from_raw_mode(found.stx_mode.into()),
        mode: u32::from(found.stx_mode) & 0o7777,
        user: found.stx_uid,
        group: found.stx_gid,
        inode: found.stx_ino,
        links: found.stx_nlink,
        len: found.stx_size,
        taken: found.stx_blocks.saturating_mul(512),
        accessed: time(found.stx_atime),
        modified: time(found.stx_mtime),
        changed: time(found.stx_ctime),
        birth_ns,
        mount: known.contains(StatxFlags::MNT_ID).then_some(found.stx_mnt_id),
        is_fixed: found.stx_attributes.intersects(fixed),
    })
}

fn time(found: StatxTimestamp) -> Timespec {
    Timespec { tv_sec: found.tv_sec, tv_nsec: found.tv_nsec.into() }
}

fn ns(time: Timespec) -> i128 {
    i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
}

//! [`Metadata`]: the metadata of an entry, its mount, and whether it can be moved.

use std::ffi::OsStr;
use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, FileType, StatxAttributes, StatxFlags, StatxTimestamp, Timespec, statx};
use rustix::io::Errno;

use crate::package::{FolderId, ZipStamp};

/// The metadata of an entry, never of a link's target.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Metadata {
    pub(crate) kind: FileType,
    /// Permission bits, set-ID bits and the sticky bit.
    pub(crate) mode: u32,
    pub(crate) user: u32,
    pub(crate) group: u32,
    pub(crate) inode: u64,
    /// The number of hard links.
    pub(crate) links: u32,
    /// The size in bytes.
    pub(crate) len: u64,
    /// The bytes on disk.
    pub(crate) taken: u64,
    pub(crate) accessed: Timespec,
    /// When the content last changed.
    pub(crate) modified: Timespec,
    /// When the content or the inode last changed.
    changed: Timespec,
    /// Birth time in ns since the epoch; 0 if the file system keeps none, or it was not requested.
    birth_ns: i128,
    /// The mount of the entry; `None` if the system does not report it.
    pub(crate) mount: Option<u64>,
    /// Whether it is immutable or append-only: not even root can rename it.
    pub(crate) is_fixed: bool,
}

impl Metadata {
    /// Inode and birth time; only for metadata that was read by a handle.
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

/// Reads the metadata of a name in a folder. For an empty name, reads that of the entry that `at` refers
/// to, including its birth time.
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

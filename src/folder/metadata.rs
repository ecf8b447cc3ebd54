//! [`Metadata`]: what a name stands for, on which mount, and whether it can be moved.

use std::ffi::OsStr;
use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, FileType, StatxAttributes, StatxFlags, statx};
use rustix::io::Errno;

/// What a name stands for: the thing itself, never what a link leads to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Metadata {
    pub(crate) kind: FileType,
    /// Permission bits, set-ID bits and the sticky bit.
    pub(crate) mode: u32,
    pub(crate) user: u32,
    pub(crate) inode: u64,
    /// Bytes.
    pub(crate) len: u64,
    /// Bytes on disk.
    pub(crate) taken: u64,
    /// The mount that it is on; `None` if the system does not tell.
    pub(crate) mount: Option<u64>,
    /// It is immutable or append-only: not even root can rename it.
    pub(crate) is_fixed: bool,
}

/// Reads the metadata of a name in a folder; of the folder itself for an empty name.
pub(crate) fn metadata_at(at: BorrowedFd<'_>, name: &OsStr) -> Result<Metadata, Errno> {
    let wanted = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
    let flags = match name.is_empty() {
        true => AtFlags::EMPTY_PATH,
        false => AtFlags::SYMLINK_NOFOLLOW,
    };
    let found = statx(at, name, flags, wanted)?;
    let knows_mount = StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::MNT_ID);
    let fixed = StatxAttributes::IMMUTABLE | StatxAttributes::APPEND;
    Ok(Metadata {
        kind: FileType::from_raw_mode(found.stx_mode.into()),
        mode: u32::from(found.stx_mode) & 0o7777,
        user: found.stx_uid,
        inode: found.stx_ino,
        len: found.stx_size,
        taken: found.stx_blocks.saturating_mul(512),
        mount: knows_mount.then_some(found.stx_mnt_id),
        is_fixed: found.stx_attributes.intersects(fixed),
    })
}

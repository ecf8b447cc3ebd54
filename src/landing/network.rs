//! File systems that other hosts can change without an event on this host.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

/// `f_type` of network and cluster file systems, and of FUSE, which may hide one.
///
/// Source: `linux/magic.h` and the file systems' own headers.
const NETWORK: [u32; 23] = [
    0x0000_6969, // NFS
    0x0000_517B, // SMB
    0xFF53_4D42, // CIFS
    0xFE53_4D42, // SMB 2
    0x6573_5546, // FUSE, virtiofs
    0x0102_1997, // 9p
    0x00C3_6400, // Ceph
    0x0BD0_0BD0, // Lustre
    0x5346_414F, // AFS
    0x6B41_4653, // kAFS
    0x7375_7245, // Coda
    0x0000_564C, // NCP
    0x4750_4653, // GPFS
    0x7461_636F, // OCFS2
    0x0116_1970, // GFS2
    0xAAD7_AAEA, // PanFS
    0x786F_4256, // VirtualBox shared folders
    0xBACB_ACBC, // VMware shared folders
    0x1983_0326, // BeeGFS
    0x2003_0528, // OrangeFS
    0x0131_11A8, // IBRIX
    0x6163_6673, // ACFS
    0x7C7C_6673, // Parallels
];

/// Whether the file system of `folder` is in `NETWORK`.
///
/// # Errors
/// Those of `fstatfs`.
pub(crate) fn is_network(folder: BorrowedFd<'_>) -> io::Result<bool> {
    let kind = rustix::fs::fstatfs(folder)?.f_type;
    // The type's width and sign differ by platform; the numbers have 32 bits.
    Ok(u32::try_from(kind & 0xFFFF_FFFF).is_ok_and(|kind| NETWORK.contains(&kind)))
}

/// Whether a folder lies on a file system that other hosts can change.
///
/// # Errors
/// The folder cannot be opened or queried.
pub fn is_on_network(folder: &Path) -> io::Result<bool> {
    is_network(File::open(folder)?.as_fd())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_of_a_temporary_folder_is_told_without_error() {
        let folder = std::fs::File::open("/proc").unwrap();
        assert!(!is_network(folder.as_fd()).unwrap(), "proc is no network file system");
    }
}

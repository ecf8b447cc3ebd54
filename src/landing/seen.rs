//! The values of a look, and their conversion from `stat`.

use std::ffi::{OsStr, OsString};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, SystemTime};

use rustix::fs::Statx;
use rustix::io::Errno;

use super::stat::{Kind, folder_id, kind_of};
use crate::package::FolderId;

/// The result of one look at a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// The name in the landing.
    pub name: OsString,
    /// The folder (or file) itself; zeros if it could not be inspected.
    pub identity: FolderId,
    /// The kind of the entry.
    pub kind: Kind,
    /// Values that differ after a change.
    pub trace: Trace,
    /// Whether it could be renamed out of the landing.
    pub access: Reach,
    /// `NAME.zip` inside; for a bare ZIP, the file itself.
    pub zip: Zip,
    /// Signs of the sender, by the names inside.
    pub signs: Signs,
}

/// Signs of a folder's sender, by the names inside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Signs {
    /// A file that exists only while a sender fills the folder, at any depth.
    pub unfinished: Option<OsString>,
    /// The file that says that the sender is done exists.
    pub said_complete: bool,
}

/// Values that differ after a change to a folder or to anything in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace {
    /// The newest ctime of the folder and everything in it, recursively.
    pub newest: SystemTime,
    /// The number of files and folders, including itself; counted up to a bound.
    pub entries: u32,
    /// The sum of their sizes.
    pub bytes: u64,
    /// A digest of the times and the size of each entry. The newest time alone does not change if another
    /// host whose clock is behind writes.
    pub digest: u64,
}

/// Whether a package could be moved out of its landing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Nothing prevents it.
    Free,
    /// This user may not read it.
    Unreadable(Errno),
    /// This user may not write to it: moving a folder to another parent needs that permission.
    Unwritable(Errno),
    /// The landing has the sticky bit, and neither it nor the package is ours.
    Sticky,
    /// It is a mount point, which no rename moves.
    MountPoint,
}

/// The state of a package's ZIP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Zip {
    /// No file has the expected name.
    Missing {
        /// A ZIP with another name.
        other: Option<OsString>,
    },
    /// It is missing, but a subfolder contains a ZIP of the subfolder's name.
    Below {
        /// The subfolder.
        folder: OsString,
    },
    /// The entry with its name is not a regular file.
    NotAFile(Kind),
    /// This user may not read it.
    Unreadable(Errno),
    /// A regular file.
    File {
        /// Its size in bytes.
        size: u64,
        /// Whether it has an end record.
        end_record: bool,
    },
}

impl Zip {
    /// Whether it exists and has an end record.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        matches!(self, Self::File { end_record: true, .. })
    }
}

impl Look {
    pub(super) fn new(name: &OsStr, stat: &Statx) -> Self {
        let mut trace = Trace::NOTHING;
        trace.add(stat);
        Self {
            name: name.to_owned(),
            identity: folder_id(stat),
            kind: kind_of(stat),
            trace,
            access: Reach::Free,
            zip: Zip::Missing { other: None },
            signs: Signs::default(),
        }
    }

    pub(super) fn unseen(name: &OsStr, error: Errno) -> Self {
        Self {
            name: name.to_owned(),
            identity: FolderId { inode: 0, birth_ns: 0 },
            kind: Kind::Unknown,
            trace: Trace::NOTHING,
            access: Reach::Unreadable(error),
            zip: Zip::Missing { other: None },
            signs: Signs::default(),
        }
    }
}

impl Trace {
    const NOTHING: Self = Self { newest: SystemTime::UNIX_EPOCH, entries: 0, bytes: 0, digest: 0 };

    pub(super) fn add(&mut self, stat: &Statx) {
        self.newest = self.newest.max(changed(stat));
        self.entries += 1;
        self.bytes = self.bytes.wrapping_add(stat.stx_size);
        let mut digest = DefaultHasher::new();
        let (ctime, mtime) = (stat.stx_ctime, stat.stx_mtime);
        (ctime.tv_sec, ctime.tv_nsec, mtime.tv_sec, mtime.tv_nsec, stat.stx_size).hash(&mut digest);
        // A sum, because a listing has no order.
        self.digest = self.digest.wrapping_add(digest.finish());
    }
}

/// Returns when an entry last changed, by its ctime.
pub(super) fn changed(stat: &Statx) -> SystemTime {
    let time = stat.stx_ctime;
    let seconds = Duration::from_secs(time.tv_sec.unsigned_abs());
    let nanos = Duration::from_nanos(time.tv_nsec.into());
    let changed = match time.tv_sec {
        0.. => SystemTime::UNIX_EPOCH.checked_add(seconds + nanos),
        _ => SystemTime::UNIX_EPOCH.checked_sub(seconds),
    };
    changed.unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Whether a name ends in `.zip`, in upper or lower case.
pub(super) fn has_zip_ending(name: &OsStr) -> bool {
    let name = name.as_bytes();
    name.len() > 4 && name[name.len() - 4..].eq_ignore_ascii_case(b".zip")
}

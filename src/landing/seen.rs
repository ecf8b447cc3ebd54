//! What a look sees: values, and how a `stat` becomes one.

use std::ffi::{OsStr, OsString};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, SystemTime};

use rustix::fs::Statx;
use rustix::io::Errno;

use super::stat::{folder_id, kind_of};
use crate::package::FolderId;

/// What one look at a name saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// The name in the landing.
    pub name: OsString,
    /// The folder (or file) itself; zeros where even that could not be seen.
    pub identity: FolderId,
    /// What the name stands for.
    pub kind: Kind,
    /// What would be different after a change.
    pub trace: Trace,
    /// Whether it could be renamed away.
    pub access: Reach,
    /// `NAME.zip` inside; for a bare ZIP the file itself.
    pub zip: Zip,
    /// What the names inside say about the sender.
    pub signs: Signs,
}

/// What the names inside a folder say about its sender.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Signs {
    /// A file that senders have only while they fill a folder, at any depth.
    pub unfinished: Option<OsString>,
    /// The file with which the sender says that it is done is there.
    pub said_complete: bool,
}

/// What a name stands for.
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
    /// It could not be seen.
    Unknown,
}

/// What would be different after a change to a folder or to anything in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace {
    /// The newest ctime of the folder and everything in it, deeply.
    pub newest: SystemTime,
    /// Files and folders, itself included; counted up to a bound.
    pub entries: u32,
    /// Their sizes together.
    pub bytes: u64,
    /// A digest of the times and the size of each. The newest time alone does not change if another
    /// host with a clock that is behind writes.
    pub digest: u64,
}

/// Whether a package could be taken out of its landing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Nothing speaks against it.
    Free,
    /// It may not be looked into.
    Unreadable(Errno),
    /// Renaming a folder to another parent needs write permission on the folder itself.
    Unwritable(Errno),
    /// The landing has the sticky bit, and neither it nor the package is ours.
    Sticky,
    /// It is a mount point, which no rename moves.
    MountPoint,
}

/// What is to be seen of a package's ZIP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Zip {
    /// There is none of the right name.
    Missing {
        /** One of another name. */
        other: Option<OsString>,
    },
    /// There is none, but a folder in it holds one of that folder's name.
    Below {
        /** The folder inside. */
        folder: OsString,
    },
    /// The name is there and is not a regular file.
    NotAFile(Kind),
    /// It may not be read.
    Unreadable(Errno),
    /// A regular file.
    File {
        /** In bytes. */
        size: u64,
        /** Whether it ends as a ZIP does. */
        end_record: bool,
    },
}

impl Zip {
    /// Whether it is there and ends as a ZIP does.
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
        // A sum: a listing has no order.
        self.digest = self.digest.wrapping_add(digest.finish());
    }
}

/// When something changed last, by its ctime.
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

/// Whether a name ends in `.zip`, in capitals or not.
pub(super) fn has_zip_ending(name: &OsStr) -> bool {
    let name = name.as_bytes();
    name.len() > 4 && name[name.len() - 4..].eq_ignore_ascii_case(b".zip")
}

//! Lists a tree that is to be copied, and walks through it.
//!
//! In: a folder by handle. Out: a [`Listing`], and a [`Cursor`] that follows it in another tree of the
//! same shape.
//!
//! **Invariants:** a tree takes memory for its names, not for its paths, and two handles whatever its
//! depth. No link is followed and no mount point is entered.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    Access, AtFlags, FileType, Mode, OFlags, SeekFrom, accessat, fstat, openat, seek,
};
use rustix::io::Errno;

use super::error::PublishError;
use crate::folder::{Closed, Entered, Folder, Found, Metadata, WalkError};
use crate::workspace::Amount;

/// The minimum space for a file or folder, whatever its size.
const BLOCK: u64 = 4096;

/// A file is searched for holes if at least this many of its bytes are not on disk.
const HOLES_FROM: u64 = 1 << 20;

/// How many parts of sparse files are recorded for one tree; later parts are copied with their holes
/// filled.
const RANGES: usize = 1 << 20;

/// The limit for the files and folders of a package that is copied to quarantine; a larger package stays
/// in the work area. Each entry takes about 100 bytes of memory during the copy.
const QUARANTINED: usize = 1_000_000;

/// Follows no link, and waits for no FIFO.
pub(super) const READ: OFlags =
    OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

/// The destination of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Only files, folders and links.
    Archive,
    /// FIFOs, sockets and devices, too.
    Quarantine,
}

/// The entries of a folder, depth first: each folder comes before its contents, and the other entries of
/// a folder come before its subfolders.
pub(super) struct Listing {
    pub(super) nodes: Vec<Node>,
    need: Amount,
}

/// Parts of a file, as start and end, in ascending order.
pub(super) type Parts = Box<[(u64, u64)]>;

/// One entry of a tree.
pub(super) struct Node {
    /// The depth of the entry's parent folder below the top.
    pub(super) depth: usize,
    pub(super) name: Box<OsStr>,
    pub(super) kind: FileType,
    /// The length of a file in bytes.
    pub(super) len: u64,
    /// The parts of a file that are not holes; `None`: the whole file.
    pub(super) data: Option<Parts>,
}

impl Node {
    /// Returns the parts of a file that have to be copied, as start and end.
    pub(super) fn parts(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let all = self.data.is_none().then_some((0, self.len));
        self.data.iter().flat_map(|data| data.iter().copied()).chain(all)
    }

    /// Returns the space that the entry's copy needs.
    pub(super) fn need(&self) -> u64 {
        match self.kind {
            FileType::RegularFile => self.parts().fold(0, |sum: u64, (start, end)| {
                sum.saturating_add((end - start).div_ceil(BLOCK).saturating_mul(BLOCK))
            }),
            _ => BLOCK,
        }
    }
}

impl Listing {
    /// Lists a folder recursively. If this user's own folder denies access, its permissions are extended
    /// first.
    ///
    /// # Errors
    /// [`PublishError::MountPoint`], [`PublishError::Unreadable`], for an archive
    /// [`PublishError::SpecialFile`], for quarantine [`PublishError::TooManyToCopy`];
    /// [`PublishError::CopyFrom`].
    pub(super) fn of(base: &Folder, purpose: Purpose) -> Result<Self, PublishError> {
        let failed = |path: PathBuf| move |source| PublishError::CopyFrom { path, source };
        let mount = base.metadata().map_err(failed(base.path().into()))?.mount;
        let mut ranges = RANGES;
        let nodes = std::cell::RefCell::new(Vec::new());
        let enter = |folder: &Entered<'_>| {
            if !folder.is_top() {
                let (depth, name) = (folder.depth(), folder.name.into());
                let kind = FileType::Directory;
                nodes.borrow_mut().push(Node { depth, name, kind, len: 0, data: None });
            }
            Ok(())
        };
        let walked = base.walk::<WalkError<PublishError>>(Closed::Refused, enter, |found| {
            let look = match found.metadata() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                other => other.map_err(failed(found.path()))?,
            };
            if look.mount != mount {
                return Err(PublishError::MountPoint { path: found.path() }.into());
            }
            judge(found, purpose)?;
            if purpose == Purpose::Quarantine && nodes.borrow().len() >= QUARANTINED {
                let path = base.path().to_path_buf();
                return Err(PublishError::TooManyToCopy { path, limit: QUARANTINED }.into());
            }
            if !look.kind.is_dir() {
                let data = data_of(found, &look, &mut ranges).map_err(failed(found.path()))?;
                let (depth, name, kind) = (found.depth(), found.name.into(), look.kind);
                nodes.borrow_mut().push(Node { depth, name, kind, len: look.len, data });
            }
            Ok(())
        });
        walked.map_err(|error| error.into_error(failed(base.path().into())))?;
        let nodes = nodes.into_inner();
        let bytes = nodes.iter().map(Node::need).fold(BLOCK, u64::saturating_add);
        let need = Amount { bytes, inodes: nodes.len() as u64 + 1 };
        Ok(Self { nodes, need })
    }

    /// Returns the approximate space that a copy needs.
    pub(super) fn need(&self) -> Amount {
        self.need
    }
}

/// Refuses an entry that cannot be copied.
fn judge(found: &Found<'_>, purpose: Purpose) -> Result<(), WalkError<PublishError>> {
    let access = match found.kind {
        FileType::RegularFile => Access::READ_OK,
        FileType::Directory => Access::READ_OK | Access::EXEC_OK,
        FileType::Symlink => return Ok(()),
        _ if purpose == Purpose::Quarantine => return Ok(()),
        _ => return Err(PublishError::SpecialFile { path: found.path() }.into()),
    };
    match accessat(found.parent, found.name, access, AtFlags::EACCESS) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::ACCESS) if found.kind.is_dir() && found.open_up().is_ok() => Ok(()),
        Err(Errno::ACCESS | Errno::PERM) => {
            Err(PublishError::Unreadable { path: found.path() }.into())
        }
        Err(error) => {
            Err(PublishError::CopyFrom { path: found.path(), source: error.into() }.into())
        }
    }
}

/// Returns the parts of a file that are not holes; `None` if it has few holes, or is not a file.
fn data_of(found: &Found<'_>, look: &Metadata, ranges: &mut usize) -> io::Result<Option<Parts>> {
    if !look.kind.is_file() || look.len.saturating_sub(look.taken) < HOLES_FROM {
        return Ok(None);
    }
    let file = match openat(found.parent, found.name, READ, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(None),
        other => File::from(other?),
    };
    let mut parts = Vec::new();
    let mut at = 0;
    while at < look.len {
        let start = match seek(&file, SeekFrom::Data(at)) {
            Err(Errno::NXIO) => break, // only a hole is left
            // This file system does not report holes.
            Err(_) if at == 0 => return Ok(None),
            other => other?.min(look.len),
        };
        let end = match *ranges {
            0 => look.len,
            _ => seek(&file, SeekFrom::Hole(start))?.min(look.len),
        };
        *ranges = ranges.saturating_sub(1);
        if end > start {
            parts.push((start, end));
        }
        at = end.max(start + 1);
    }
    Ok(Some(parts.into()))
}

impl From<PublishError> for WalkError<PublishError> {
    fn from(error: PublishError) -> Self {
        Self::Judged(error)
    }
}

/// A position in a tree, which moves from one node of a [`Listing`] to the next.
pub(super) struct Cursor<'a> {
    base: &'a Folder,
    /// `None`: the top.
    at: Option<OwnedFd>,
    /// The folders on the path to this position, each with the inode of its parent.
    way: Vec<(&'a OsStr, u64)>,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(base: &'a Folder) -> Self {
        Self { base, at: None, way: Vec::new() }
    }

    /// The depth of this position below the top.
    pub(super) fn depth(&self) -> usize {
        self.way.len()
    }

    /// The current folder.
    pub(super) fn here(&self) -> BorrowedFd<'_> {
        self.at.as_ref().map_or(self.base.as_fd(), AsFd::as_fd)
    }

    /// Returns the path of a name in the current folder; for messages.
    pub(super) fn path(&self, name: &OsStr) -> PathBuf {
        let mut path = self.base.path().to_path_buf();
        path.extend(self.way.iter().map(|(name, _)| Path::new(name)));
        path.extend(Some(Path::new(name)).filter(|_| !name.is_empty()));
        path
    }

    /// Enters a subfolder of the current folder.
    pub(super) fn enter(&mut self, name: &'a OsStr) -> Result<(), Errno> {
        let below = openat(self.here(), name, READ | OFlags::DIRECTORY, Mode::empty())?;
        self.way.push((name, fstat(self.here())?.st_ino));
        self.at = Some(below);
        Ok(())
    }

    /// Returns to the parent folder; returns the folder that was left.
    pub(super) fn leave(&mut self) -> Result<Option<OwnedFd>, Errno> {
        let Some((_, above)) = self.way.pop() else { return Ok(None) };
        let up = openat(self.here(), "..", READ | OFlags::DIRECTORY, Mode::empty())?;
        if fstat(&up)?.st_ino != above {
            return Err(Errno::STALE); // it was moved meanwhile
        }
        Ok(self.at.replace(up))
    }
}

//! What is in a tree that is to be copied, and the way through it.
//!
//! In: a folder by handle. Out: a [`Listing`], and a [`Cursor`] that follows it in another tree of the
//! same shape.
//!
//! **Invariants:** a tree takes memory for its names, not for its paths, and two handles whatever its
//! depth. No link is followed and no mount point entered.

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

/// What a file or folder takes at least, whatever its size.
const BLOCK: u64 = 4096;

/// A file is looked through for holes if so many bytes of it are not on disk.
const HOLES_FROM: u64 = 1 << 20;

/// Parts of sparse files that are remembered for one tree; what comes after them is copied with its
/// holes filled.
const RANGES: usize = 1 << 20;

/// Files and folders of a package that are copied to quarantine; one with more is kept where it is. Each
/// takes some 100 bytes of memory while it is copied.
const QUARANTINED: usize = 1_000_000;

/// Opens no link, and waits for no FIFO.
pub(super) const READ: OFlags =
    OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

/// Where a tree is to be copied to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Only files, folders and links.
    Archive,
    /// FIFOs, sockets and devices, too.
    Quarantine,
}

/// Everything in a folder, depth first: each folder comes before what is in it, and what else is in the
/// same folder before the folders in it.
pub(super) struct Listing {
    pub(super) nodes: Vec<Node>,
    need: Amount,
}

/// Parts of a file, as start and end, in their order.
pub(super) type Parts = Box<[(u64, u64)]>;

/// One thing in a tree.
pub(super) struct Node {
    /// How many folders below the top the folder is that it is in.
    pub(super) depth: usize,
    pub(super) name: Box<OsStr>,
    pub(super) kind: FileType,
    /// Bytes of a file.
    pub(super) len: u64,
    /// The parts of a file that are not holes; `None`: all of it.
    pub(super) data: Option<Parts>,
}

impl Node {
    /// The parts of a file that have to be copied, as start and end.
    pub(super) fn parts(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let all = self.data.is_none().then_some((0, self.len));
        self.data.iter().flat_map(|data| data.iter().copied()).chain(all)
    }

    /// What its copy takes.
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
    /// Lists a folder with all that is in it. A folder of this user's that does not let it in is opened
    /// up.
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

    /// What a copy takes, about.
    pub(super) fn need(&self) -> Amount {
        self.need
    }
}

/// Refuses what cannot be copied.
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

/// The parts of a file that are not holes; `None` for one that has few, or that is no file.
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
            Err(Errno::NXIO) => break, // nothing but a hole is left
            // This file system tells no holes.
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

/// A place in a tree, which goes from one node of a [`Listing`] to the next.
pub(super) struct Cursor<'a> {
    base: &'a Folder,
    /// `None`: the top.
    at: Option<OwnedFd>,
    /// The folders on the way here, each with the inode of the one above it.
    way: Vec<(&'a OsStr, u64)>,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(base: &'a Folder) -> Self {
        Self { base, at: None, way: Vec::new() }
    }

    /// How many folders below the top it is.
    pub(super) fn depth(&self) -> usize {
        self.way.len()
    }

    /// The folder that it is in.
    pub(super) fn here(&self) -> BorrowedFd<'_> {
        self.at.as_ref().map_or(self.base.as_fd(), AsFd::as_fd)
    }

    /// The path of a name here; for messages.
    pub(super) fn path(&self, name: &OsStr) -> PathBuf {
        let mut path = self.base.path().to_path_buf();
        path.extend(self.way.iter().map(|(name, _)| Path::new(name)));
        path.extend(Some(Path::new(name)).filter(|_| !name.is_empty()));
        path
    }

    /// Goes down into a folder here.
    pub(super) fn enter(&mut self, name: &'a OsStr) -> Result<(), Errno> {
        let below = openat(self.here(), name, READ | OFlags::DIRECTORY, Mode::empty())?;
        self.way.push((name, fstat(self.here())?.st_ino));
        self.at = Some(below);
        Ok(())
    }

    /// Goes up into the folder above; returns the one that it was in.
    pub(super) fn leave(&mut self) -> Result<Option<OwnedFd>, Errno> {
        let Some((_, above)) = self.way.pop() else { return Ok(None) };
        let up = openat(self.here(), "..", READ | OFlags::DIRECTORY, Mode::empty())?;
        if fstat(&up)?.st_ino != above {
            return Err(Errno::STALE); // somebody has moved it meanwhile
        }
        Ok(self.at.replace(up))
    }
}

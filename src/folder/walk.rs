//! Walks through everything below a folder, with two handles whatever its depth.

use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use rustix::fs::{AtFlags, FileType, Mode, RawDir, SeekFrom, Stat, fstat, openat, seek, statat};
use rustix::io::Errno;

use super::metadata::{Metadata, metadata_at};
use super::{FOLDER, Folder, remove};

/// The buffer for a listing: enough for the names of most folders; longer listings are read in parts.
const LISTING_BYTES: usize = 4096;

/// An entry below the folder that is walked through.
pub(crate) struct Found<'a> {
    /// The folder that contains it.
    pub(crate) parent: BorrowedFd<'a>,
    pub(crate) name: &'a OsStr,
    pub(crate) kind: FileType,
    way: &'a [Step],
    top: &'a Path,
}

impl Found<'_> {
    /// Its path; built only for entries that are reported.
    pub(crate) fn path(&self) -> PathBuf {
        let mut path = self.top.to_path_buf();
        path.extend(self.way.iter().skip(1).map(|step| &step.name));
        path.push(self.name);
        path
    }

    /// Whether it is directly in the folder that is walked through.
    pub(crate) fn is_top(&self) -> bool {
        self.way.len() == 1
    }

    /// The name of its first component below the top, which may be its own.
    pub(crate) fn first(&self) -> &OsStr {
        self.way.get(1).map_or(self.name, |step| &step.name)
    }

    /// The depth of its parent folder; 0 for an entry directly in the top.
    pub(crate) fn depth(&self) -> usize {
        self.way.len().saturating_sub(1)
    }

    /// Reads its metadata, without following a link.
    pub(crate) fn metadata(&self) -> io::Result<Metadata> {
        Ok(metadata_at(self.parent, self.name)?)
    }

    /// Gives its owner all permissions on it, if it is a folder of this user's.
    pub(crate) fn open_up(&self) -> io::Result<()> {
        Ok(remove::enter(self.parent, self.name).map(drop)?)
    }

    /// Reads its owner, mode and inode, without following a link.
    pub(crate) fn stat(&self) -> io::Result<Stat> {
        Ok(statat(self.parent, self.name, AtFlags::SYMLINK_NOFOLLOW)?)
    }
}

/// A folder that is entered during a walk.
pub(crate) struct Entered<'a> {
    /// A handle on it.
    pub(crate) at: BorrowedFd<'a>,
    /// Its name; empty for the top.
    pub(crate) name: &'a OsStr,
    way: &'a [Step],
    top: &'a Path,
}

impl Entered<'_> {
    /// Its path; built only for folders that are reported.
    pub(crate) fn path(&self) -> PathBuf {
        let mut path = self.top.to_path_buf();
        path.extend(self.way.iter().skip(1).map(|step| &step.name));
        // Not for the top: an empty name would add a slash.
        path.extend(Some(self.name).filter(|name| !name.is_empty()));
        path
    }

    /// Whether it is the top of the walk.
    pub(crate) fn is_top(&self) -> bool {
        self.way.is_empty()
    }

    /// The name of its first component below the top, which may be its own.
    pub(crate) fn first(&self) -> &OsStr {
        self.way.get(1).map_or(self.name, |step| &step.name)
    }

    /// The length in bytes of its path below the top, with a slash at the end; 0 for the top.
    pub(crate) fn path_bytes(&self) -> usize {
        let above = self.way.iter().skip(1).map(|step| step.name.len() + 1).sum::<usize>();
        above + if self.name.is_empty() { 0 } else { self.name.len() + 1 }
    }

    /// The depth of its parent folder below the top.
    pub(crate) fn depth(&self) -> usize {
        self.way.len().saturating_sub(1)
    }
}

/// How a walk handles a folder that this user may not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closed {
    /// It is skipped.
    Skipped,
    /// It ends the walk, with `EACCES`.
    Refused,
}

/// The error that ended a walk.
pub(crate) enum WalkError<E> {
    /// An error of the caller's `enter` or `each`.
    Judged(E),
    /// An I/O error.
    Io(io::Error),
}

impl<E> WalkError<E> {
    /// Returns the caller's error, or the result of `failed` for an I/O error.
    pub(crate) fn into_error(self, failed: impl FnOnce(io::Error) -> E) -> E {
        match self {
            Self::Judged(error) => error,
            Self::Io(error) => failed(error),
        }
    }
}

impl<E> From<io::Error> for WalkError<E> {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A folder on the current path.
struct Step {
    name: OsString,
    /// Its inode, to recognize it on return; set only if it has subfolders.
    inode: u64,
    /// Subfolders that are still to be entered.
    rest: Vec<OsString>,
}

impl Folder {
    /// Calls `enter` with each folder, this one first, before it is listed, and `each` with every entry of
    /// these folders. Takes two handles, whatever the depth. No other thread may walk through the same handle
    /// at the same time: the handle has a single position.
    ///
    /// # Errors
    /// Those of `enter` and `each`; I/O errors, `ESTALE` if a folder was moved meanwhile.
    pub(crate) fn walk<E: From<io::Error>>(
        &self,
        closed: Closed,
        mut enter: impl FnMut(&Entered<'_>) -> Result<(), E>,
        mut each: impl FnMut(&Found<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut way: Vec<Step> = Vec::new();
        // `None`: this folder itself.
        let mut below: Option<OwnedFd> = None;
        let mut name = OsString::new();
        // Folders below are opened again for each listing.
        if self.is_read.swap(true, Ordering::Relaxed) {
            seek(self, SeekFrom::Start(0)).map_err(io::Error::from)?;
        }
        loop {
            let at = below.as_ref().map_or(self.as_fd(), AsFd::as_fd);
            enter(&Entered { at, name: &name, way: &way, top: &self.path })?;
            way.push(Step { name: std::mem::take(&mut name), inode: 0, rest: Vec::new() });
            let rest = self.walk_level(at, &way, &mut each)?;
            if let Some(step) = way.last_mut().filter(|_| !rest.is_empty()) {
                step.inode = fstat(at).map_err(io::Error::from)?.st_ino;
                step.rest = rest;
            }
            // The next folder: in this one, or in the nearest parent that has one left.
            loop {
                let Some(step) = way.last_mut() else { return Ok(()) };
                let at = below.as_ref().map_or(self.as_fd(), AsFd::as_fd);
                if let Some(next) = step.rest.pop() {
                    below = match openat(at, &next, FOLDER, Mode::empty()) {
                        Err(Errno::ACCESS) if closed == Closed::Skipped => continue,
                        other => Some(other.map_err(io::Error::from)?),
                    };
                    name = next;
                    break;
                }
                way.pop();
                let Some(above) = way.last() else { return Ok(()) };
                let up = openat(at, "..", FOLDER, Mode::empty()).map_err(io::Error::from)?;
                if fstat(&up).map_err(io::Error::from)?.st_ino != above.inode {
                    return Err(io::Error::from(Errno::STALE).into());
                }
                below = Some(up);
            }
        }
    }

    /// Calls `each` with the entries of one folder; returns the names of its subfolders.
    fn walk_level<E: From<io::Error>>(
        &self,
        at: BorrowedFd<'_>,
        way: &[Step],
        each: &mut impl FnMut(&Found<'_>) -> Result<(), E>,
    ) -> Result<Vec<OsString>, E> {
        let mut rest = Vec::new();
        let mut buffer = [MaybeUninit::uninit(); LISTING_BYTES];
        let mut entries = RawDir::new(at, &mut buffer);
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(io::Error::from)?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::Unknown => match statat(at, name, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(found) => FileType::from_raw_mode(found.st_mode),
                    Err(Errno::NOENT) => continue, // it disappeared after it was listed
                    Err(error) => return Err(io::Error::from(error).into()),
                },
                known => known,
            };
            each(&Found { parent: at, name, kind, way, top: &self.path })?;
            if kind == FileType::Directory {
                rest.push(name.to_owned());
            }
        }
        Ok(rest)
    }
}

//! A walk through everything below a folder, with two handles whatever its depth.

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

/// Enough for the names of most folders; more are read in parts.
const LISTING_BYTES: usize = 4096;

/// One thing below a folder that is walked through.
pub(crate) struct Found<'a> {
    /// The folder that it is in.
    pub(crate) parent: BorrowedFd<'a>,
    pub(crate) name: &'a OsStr,
    pub(crate) kind: FileType,
    way: &'a [Step],
    top: &'a Path,
}

impl Found<'_> {
    /// Its path; built only for those that somebody is told of.
    pub(crate) fn path(&self) -> PathBuf {
        let mut path = self.top.to_path_buf();
        path.extend(self.way.iter().skip(1).map(|step| &step.name));
        path.push(self.name);
        path
    }

    /// Whether it is right in the folder that is walked through.
    pub(crate) fn is_top(&self) -> bool {
        self.way.len() == 1
    }

    /// The name in the top that it is below, or that it has itself.
    pub(crate) fn first(&self) -> &OsStr {
        self.way.get(1).map_or(self.name, |step| &step.name)
    }

    /// How many folders below the top it is in; 0 for what is right in the top.
    pub(crate) fn depth(&self) -> usize {
        self.way.len().saturating_sub(1)
    }

    /// One look at it, itself and not what it links to.
    pub(crate) fn metadata(&self) -> io::Result<Metadata> {
        Ok(metadata_at(self.parent, self.name)?)
    }

    /// Gives its owner every right on it, if it is a folder of this user's.
    pub(crate) fn open_up(&self) -> io::Result<()> {
        Ok(remove::enter(self.parent, self.name).map(drop)?)
    }

    /// Owner, mode and inode of it, itself and not what it links to.
    pub(crate) fn stat(&self) -> io::Result<Stat> {
        Ok(statat(self.parent, self.name, AtFlags::SYMLINK_NOFOLLOW)?)
    }
}

/// A folder that is entered on a walk.
pub(crate) struct Entered<'a> {
    /// A handle on it.
    pub(crate) at: BorrowedFd<'a>,
    /// Empty for the top.
    pub(crate) name: &'a OsStr,
    way: &'a [Step],
    top: &'a Path,
}

impl Entered<'_> {
    /// Its path; built only for those that somebody is told of.
    pub(crate) fn path(&self) -> PathBuf {
        let mut path = self.top.to_path_buf();
        path.extend(self.way.iter().skip(1).map(|step| &step.name));
        // Not of the top: nothing added would be a slash.
        path.extend(Some(self.name).filter(|name| !name.is_empty()));
        path
    }

    /// Whether it is the folder that is walked through.
    pub(crate) fn is_top(&self) -> bool {
        self.way.is_empty()
    }

    /// The name in the top that it is below, or that it has itself.
    pub(crate) fn first(&self) -> &OsStr {
        self.way.get(1).map_or(self.name, |step| &step.name)
    }

    /// Bytes of its path below the top, with a slash at the end; 0 for the top.
    pub(crate) fn path_bytes(&self) -> usize {
        let above = self.way.iter().skip(1).map(|step| step.name.len() + 1).sum::<usize>();
        above + if self.name.is_empty() { 0 } else { self.name.len() + 1 }
    }

    /// How many folders below the top the folder is that it is in.
    pub(crate) fn depth(&self) -> usize {
        self.way.len().saturating_sub(1)
    }
}

/// What becomes of a folder that does not let this user in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closed {
    /// It is passed over.
    Skipped,
    /// It ends the walk, with `EACCES`.
    Refused,
}

/// What ended a walk.
pub(crate) enum WalkError<E> {
    /// An error of the caller's `enter` or `each`.
    Judged(E),
    /// An error of the system's.
    Io(io::Error),
}

impl<E> WalkError<E> {
    /// The caller's error, or what `failed` makes of the system's.
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

/// A folder on the way down.
struct Step {
    name: OsString,
    /// Known where it is to be come back to: of one that has folders in it.
    inode: u64,
    /// Folders in it that are still to be entered.
    rest: Vec<OsString>,
}

impl Folder {
    /// Tells `enter` of each folder, this one first, before what is in it is listed, and `each` of
    /// everything in them. Takes two handles, whatever the depth. No other thread may walk through the
    /// same handle meanwhile: it has one position.
    ///
    /// # Errors
    /// Those of `enter` and `each`; those of the system, `ESTALE` if a folder was moved meanwhile.
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
        // Folders below are opened anew for each listing.
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
            // The next folder: in this one, or in the nearest above that has one left.
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

    /// Tells `each` of what is in one folder; returns the names of the folders in it.
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
                    Err(Errno::NOENT) => continue, // it went between the list and the look
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

//! What was delivered: the ZIP, and the files and folders beside it. None of it is to be trusted.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{Access, Dir, FileType, Mode, OFlags, Stat, access};
use rustix::io::Errno;

use super::error::WorkspaceError;
use super::paths::{errno, lstat};
use super::{JobDir, Site};
use crate::package::ZipStamp;

/// What kind of thing a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[expect(missing_docs, reason = "they are the file types that everybody knows")]
pub enum Kind {
    File,
    Folder,
    Link,
    Fifo,
    Socket,
    Device,
}

impl Kind {
    fn of(found: FileType) -> Self {
        match found {
            FileType::RegularFile => Self::File,
            FileType::Directory => Self::Folder,
            FileType::Symlink => Self::Link,
            FileType::Fifo => Self::Fifo,
            FileType::Socket => Self::Socket,
            FileType::CharacterDevice | FileType::BlockDevice | FileType::Unknown => Self::Device,
        }
    }

    fn seen(found: &Metadata) -> Self {
        Self::of(FileType::from_raw_mode(found.mode()))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File => "file",
            Self::Folder => "folder",
            Self::Link => "symbolic link",
            Self::Fifo => "FIFO",
            Self::Socket => "socket",
            Self::Device => "device",
        })
    }
}

/// The delivered folder, looked over.
#[derive(Debug)]
pub(crate) struct Delivery {
    /// The folder itself.
    pub(crate) seen: Stat,
    /// What is in it.
    pub(crate) originals: Vec<Original>,
}

/// One name in the delivered folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Original {
    /// As on disk; it need not be UTF-8, and it may start with a dot.
    pub name: OsString,
    /// File or folder.
    pub kind: Kind,
}

impl JobDir {
    /// What was delivered, the ZIP among it; in no order.
    ///
    /// # Errors
    /// [`WorkspaceError::OddOriginal`] where one of them, however deep, is neither file nor folder,
    /// [`WorkspaceError::FixedOriginal`] where a folder cannot be moved.
    pub fn originals(&self) -> Result<Vec<Original>, WorkspaceError> {
        Ok(self.delivery()?.originals)
    }

    /// What was delivered, and the folder itself.
    ///
    /// # Errors
    /// Those of [`JobDir::originals`].
    pub(crate) fn delivery(&self) -> Result<Delivery, WorkspaceError> {
        let top = self.delivered();
        let mut originals = Vec::new();
        let mut rest = Vec::new();
        let folder = list(&top, |name, kind| {
            if kind == Kind::Folder {
                rest.push(top.join(&name));
            }
            originals.push(Original { name, kind });
        })?;
        // Rare: most packages are a ZIP and nothing else.
        while let Some(folder) = rest.pop() {
            let all = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
            if access(&folder, all).is_err() {
                return Err(WorkspaceError::FixedOriginal { path: folder });
            }
            list(&folder, |name, kind| {
                if kind == Kind::Folder {
                    rest.push(folder.join(name));
                }
            })?;
        }
        let seen =
            folder.stat().map_err(|error| WorkspaceError::io("look at", &top)(error.into()))?;
        Ok(Delivery { seen, originals })
    }

    /// Opens the ZIP for reading with `pread`; what it looks like now is to be compared later on.
    ///
    /// # Errors
    /// [`WorkspaceError::ZipMissing`], [`WorkspaceError::ZipNotAFile`] and
    /// [`WorkspaceError::ZipUnreadable`], which are the package's own fault; else
    /// [`WorkspaceError::Io`].
    pub fn open_zip(&self) -> Result<(File, ZipStamp), WorkspaceError> {
        let path = self.zip();
        // A FIFO would block the open without NONBLOCK; a link fails with NOFOLLOW.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY).bits();
        #[expect(clippy::cast_possible_wrap, reason = "flags are bits in an int of that size")]
        let opened = File::options().read(true).custom_flags(flags as i32).open(&path);
        let file = match opened {
            Ok(file) => file,
            Err(source) => return Err(unopened(&path, source)),
        };
        let found = file.metadata().map_err(WorkspaceError::io("look at", &path))?;
        if !found.is_file() {
            let kind = Kind::seen(&found);
            return Err(WorkspaceError::ZipNotAFile { path, kind });
        }
        let stamp = ZipStamp::from(&found);
        Ok((file, stamp))
    }

    /// Compares the ZIP with what it looked like when it was opened.
    ///
    /// # Errors
    /// [`WorkspaceError::ZipChanged`], or [`WorkspaceError::ZipMissing`] where it is gone.
    pub fn check_unchanged(&self, stamp: &ZipStamp) -> Result<(), WorkspaceError> {
        let path = self.zip();
        match lstat(&path).map_err(WorkspaceError::io("look at", &path))? {
            None => Err(WorkspaceError::ZipMissing { path }),
            Some(found) if ZipStamp::from(&found) == *stamp => Ok(()),
            Some(_) => Err(WorkspaceError::ZipChanged { path }),
        }
    }
}

fn unopened(path: &Path, source: io::Error) -> WorkspaceError {
    match errno(&source) {
        Some(Errno::NOENT) => WorkspaceError::ZipMissing { path: path.into() },
        Some(Errno::ACCESS | Errno::PERM) => {
            WorkspaceError::ZipUnreadable { path: path.into(), source }
        }
        // A link, or a socket or device without anyone behind it.
        Some(Errno::LOOP | Errno::NXIO | Errno::NODEV) => match fs::symlink_metadata(path) {
            Ok(found) => {
                WorkspaceError::ZipNotAFile { path: path.into(), kind: Kind::seen(&found) }
            }
            Err(source) => WorkspaceError::Io { action: "look at", path: path.into(), source },
        },
        _ => WorkspaceError::Io { action: "open", path: path.into(), source },
    }
}

/// Tells `each` of what is in a folder. The answer is the folder, opened.
fn list(folder: &Path, mut each: impl FnMut(OsString, Kind)) -> Result<Dir, WorkspaceError> {
    let failed = |error: Errno| WorkspaceError::io("list", folder)(error.into());
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::open(folder, flags, Mode::empty()).map_err(failed)?;
    // The standard library's listing takes 32 KiB for what is mostly one name.
    let mut dir = Dir::new(opened).map_err(failed)?;
    while let Some(entry) = dir.read() {
        let entry = entry.map_err(failed)?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name == "." || name == ".." {
            continue;
        }
        let path = || folder.join(name);
        let kind = match entry.file_type() {
            // This file system's listings tell no kinds.
            FileType::Unknown => {
                match lstat(&path()).map_err(WorkspaceError::io("look at", path()))? {
                    Some(found) => Kind::seen(&found),
                    None => continue, // it went between the list and the look
                }
            }
            known => Kind::of(known),
        };
        if !matches!(kind, Kind::File | Kind::Folder) {
            return Err(WorkspaceError::OddOriginal { path: path(), kind });
        }
        each(name.to_owned(), kind);
    }
    Ok(dir)
}

impl Site {
    /// Ends the unpacking: `.out` becomes `.done`, all of it verified.
    ///
    /// # Errors
    /// [`WorkspaceError::Io`].
    pub fn commit(&self, job: &JobDir) -> Result<(), WorkspaceError> {
        super::rename_new(&job.out(), &job.done(), None)
            .map_err(WorkspaceError::io("end the unpacking in", job.out()))
    }

    /// Removes what an attempt has unpacked so far.
    ///
    /// # Errors
    /// [`WorkspaceError::Io`].
    pub fn clear_out(&self, job: &JobDir) -> Result<(), WorkspaceError> {
        for folder in [job.out(), job.done()] {
            super::remove_tree(&folder).map_err(WorkspaceError::io("remove", &folder))?;
        }
        Ok(())
    }
}

//! [`Folder`]: an open folder, and operations on the names in it.
//!
//! In: a path, once. Out: operations on single names beneath the handle.
//!
//! **Invariants:** whatever happens to the path, an operation reaches the folder that was opened. A
//! name is one component: no path is resolved, so no folder on it can be exchanged. No link is
//! followed, nothing is replaced, and no operation blocks on a FIFO.

mod metadata;
mod remove;
mod walk;

pub(crate) use metadata::{Metadata, metadata_at};
pub(crate) use walk::{Closed, Entered, Found, WalkError};

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags, Stat, StatxFlags, fstat, mkdirat,
    openat, renameat_with, statat, statx, unlinkat,
};
use rustix::io::Errno;

use crate::failpoint;
use crate::id::NAME_MAX;
use crate::names::role;
use crate::package::FolderId;

/// The maximum size of one of our records; a larger file is not read.
const RECORD_BYTES: u64 = 16 << 20;

const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::CLOEXEC);

/// An open folder.
#[derive(Debug)]
pub struct Folder {
    handle: OwnedFd,
    /// The path at which it was opened; for messages, and for other programs that need a path.
    path: PathBuf,
    /// Whether the handle is no longer at the start of the listing.
    is_read: AtomicBool,
}

impl AsFd for Folder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

impl From<Folder> for OwnedFd {
    fn from(folder: Folder) -> Self {
        folder.handle
    }
}

impl Folder {
    fn new(handle: OwnedFd, path: PathBuf) -> Self {
        Self { handle, path, is_read: AtomicBool::new(false) }
    }

    /// Opens the folder at `path`, which must not be a link itself.
    ///
    /// # Errors
    /// I/O errors; `ELOOP` or `ENOTDIR` for a link.
    pub fn open(path: &Path) -> io::Result<Self> {
        let handle = openat(CWD, path, FOLDER, Mode::empty())?;
        Ok(Self::new(handle, path.to_path_buf()))
    }

    /// Opens a subfolder of this folder.
    ///
    /// # Errors
    /// I/O errors; `ELOOP` or `ENOTDIR` for a link.
    pub fn folder(&self, name: impl AsRef<OsStr>) -> io::Result<Self> {
        let name = one(name.as_ref())?;
        let handle = openat(self, name, FOLDER, Mode::empty())?;
        Ok(Self::new(handle, self.path.join(name)))
    }

    /// Opens a subfolder of this folder; `None` if it does not exist.
    ///
    /// # Errors
    /// Those of [`Folder::folder`].
    pub fn folder_if_there(&self, name: impl AsRef<OsStr>) -> io::Result<Option<Self>> {
        absent(self.folder(name))
    }

    /// Opens another folder by a handle on it. Its path, used in messages, is this folder's.
    ///
    /// # Errors
    /// I/O errors.
    pub(crate) fn again(&self, folder: BorrowedFd<'_>) -> io::Result<Self> {
        let handle = openat(folder, ".", FOLDER, Mode::empty())?;
        Ok(Self::new(handle, self.path.clone()))
    }

    /// Returns the same folder with the path that it has after it was renamed within its parent.
    pub(crate) fn renamed(mut self, name: &str) -> Self {
        self.path.set_file_name(name);
        self
    }

    /// The path at which it was opened; absolute if it was opened with an absolute path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a name in this folder.
    #[must_use]
    pub fn join(&self, name: impl AsRef<OsStr>) -> PathBuf {
        self.path.join(name.as_ref())
    }

    /// Returns the metadata of the folder itself: owner, mode, inode.
    ///
    /// # Errors
    /// I/O errors.
    pub fn seen(&self) -> io::Result<Stat> {
        Ok(fstat(self)?)
    }

    /// Returns the metadata of the folder itself with its birth time and its mount.
    ///
    /// # Errors
    /// I/O errors.
    pub(crate) fn metadata(&self) -> io::Result<Metadata> {
        Ok(metadata_at(self.as_fd(), OsStr::new(""))?)
    }

    /// Returns inode and birth time of the folder itself.
    ///
    /// # Errors
    /// I/O errors.
    pub fn own_id(&self) -> io::Result<FolderId> {
        id_at(self.as_fd(), OsStr::new(""), AtFlags::EMPTY_PATH)
    }

    /// Returns the metadata of an entry, without following a link; `None` if it does not exist.
    ///
    /// # Errors
    /// I/O errors.
    pub fn stat(&self, name: impl AsRef<OsStr>) -> io::Result<Option<Stat>> {
        let name = one(name.as_ref())?;
        match statat(self, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => Ok(Some(found)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns the metadata of an entry and its mount, without following a link; `None` if it does not
    /// exist.
    ///
    /// # Errors
    /// I/O errors.
    pub(crate) fn metadata_of(&self, name: impl AsRef<OsStr>) -> io::Result<Option<Metadata>> {
        match metadata_at(self.as_fd(), one(name.as_ref())?) {
            Ok(found) => Ok(Some(found)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether an entry with this name exists.
    ///
    /// # Errors
    /// I/O errors.
    pub fn has(&self, name: impl AsRef<OsStr>) -> io::Result<bool> {
        Ok(self.stat(name)?.is_some())
    }

    /// Returns inode and birth time of an entry, without following a link.
    ///
    /// # Errors
    /// I/O errors, including `ENOENT`.
    pub fn id_of(&self, name: impl AsRef<OsStr>) -> io::Result<FolderId> {
        id_at(self.as_fd(), one(name.as_ref())?, AtFlags::SYMLINK_NOFOLLOW)
    }

    /// The maximum length in bytes of a name in this folder.
    pub(crate) fn name_max(&self) -> usize {
        let found = rustix::fs::fstatvfs(self).map_or(0, |found| found.f_namemax);
        match usize::try_from(found) {
            Ok(max) if max > 0 => max.min(NAME_MAX),
            _ => NAME_MAX,
        }
    }

    /// Calls `each` with every name in this folder and its type; in no order.
    ///
    /// # Errors
    /// I/O errors.
    pub fn list(&self, mut each: impl FnMut(&OsStr, FileType)) -> io::Result<()> {
        let mut entries = Dir::new(openat(self, ".", FOLDER, Mode::empty())?)?;
        while let Some(entry) = entries.read() {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            let kind = match entry.file_type() {
                // This file system's listings do not report types.
                FileType::Unknown => match self.stat(name)? {
                    Some(found) => FileType::from_raw_mode(found.st_mode),
                    None => continue, // it disappeared after it was listed
                },
                known => known,
            };
            each(name, kind);
        }
        Ok(())
    }

    /// Creates a folder that only this user can enter.
    ///
    /// # Errors
    /// I/O errors; `EEXIST` if the name is taken.
    pub fn make(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        self.make_with(name, Mode::RWXU)
    }

    /// Creates a folder with this mode, reduced by the umask.
    ///
    /// # Errors
    /// I/O errors; `EEXIST` if the name is taken.
    pub fn make_with(&self, name: impl AsRef<OsStr>, mode: Mode) -> io::Result<()> {
        let name = one(name.as_ref())?;
        failpoint::pass(|| format!("mkdir:{}", role(&self.join(name))))?;
        Ok(mkdirat(self, name, mode)?)
    }

    /// Opens a folder; creates it first if it is missing, so that only this user can enter it.
    ///
    /// # Errors
    /// I/O errors.
    pub fn make_or_open(&self, name: impl AsRef<OsStr>) -> io::Result<Self> {
        let name = name.as_ref();
        match mkdirat(self, one(name)?, Mode::RWXU) {
            Err(error) if error != Errno::EXIST => return Err(error.into()),
            _ => {}
        }
        self.folder(name)
    }

    /// Opens a file for reading; anything but a regular file is an error.
    ///
    /// # Errors
    /// I/O errors; `ELOOP` for a link, `EINVAL` for another kind of entry.
    pub fn open_file(&self, name: impl AsRef<OsStr>) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let name = one(name.as_ref())?;
        let file = File::from(openat(self, name, flags | OFlags::CLOEXEC, Mode::empty())?);
        if !FileType::from_raw_mode(fstat(&file)?.st_mode).is_file() {
            return Err(Errno::INVAL.into());
        }
        Ok(file)
    }

    /// Creates a new file.
    ///
    /// # Errors
    /// I/O errors; `EEXIST` if the name is taken.
    pub fn create(&self, name: impl AsRef<OsStr>, mode: Mode) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        Ok(File::from(openat(self, one(name.as_ref())?, flags | OFlags::CLOEXEC, mode)?))
    }

    /// Reads one of our records; `None` if it does not exist.
    ///
    /// # Errors
    /// Those of [`Folder::open_file`], and `EFBIG` for a file that is too large for a record.
    pub fn read(&self, name: impl AsRef<OsStr>) -> io::Result<Option<Vec<u8>>> {
        let Some(file) = absent(self.open_file(name))? else { return Ok(None) };
        let mut bytes = Vec::new();
        file.take(RECORD_BYTES + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > RECORD_BYTES {
            return Err(Errno::FBIG.into());
        }
        Ok(Some(bytes))
    }

    /// Writes a record that only this user can read. An existing one is removed first.
    ///
    /// # Errors
    /// I/O errors.
    pub fn write(&self, name: impl AsRef<OsStr>, bytes: &[u8]) -> io::Result<()> {
        let name = one(name.as_ref())?;
        failpoint::pass(|| format!("write:{}", role(&self.join(name))))?;
        let mut file = match self.create(name, Mode::RUSR | Mode::WUSR) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                unlinkat(self, name, AtFlags::empty())?;
                self.create(name, Mode::RUSR | Mode::WUSR)?
            }
            other => other?,
        };
        file.write_all(bytes)
    }

    /// Renames one of our files over another one of ours in this folder.
    ///
    /// # Errors
    /// I/O errors.
    pub fn replace(&self, from: &str, to: &str) -> io::Result<()> {
        failpoint::pass(|| format!("rename:{}:{}", role(&self.join(from)), role(&self.join(to))))?;
        Ok(rustix::fs::renameat(self, one(from.as_ref())?, self, one(to.as_ref())?)?)
    }

    /// Renames an entry without ever replacing another; `inode` is the entry's inode, if the caller knows it.
    ///
    /// After an error, checks both names: a network file system can report failure for a rename that had
    /// succeeded and was then retried.
    ///
    /// # Errors
    /// I/O errors; `EEXIST` if the name is taken.
    pub fn rename(
        &self,
        from: impl AsRef<OsStr>,
        target: &Self,
        to: impl AsRef<OsStr>,
        inode: Option<u64>,
    ) -> io::Result<()> {
        let (from, to) = (one(from.as_ref())?, one(to.as_ref())?);
        failpoint::pass(|| {
            let (from, to) = (self.join(from), target.join(to));
            format!("rename:{}:{}", role(&from), role(&to))
        })?;
        rename_by(
            |flags| renameat_with(self, from, target, to, flags),
            (self, from),
            (target, to),
            inode,
        )
    }

    /// Removes a file; a missing file is not an error.
    ///
    /// # Errors
    /// I/O errors.
    pub fn remove_file(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        let name = one(name.as_ref())?;
        failpoint::pass(|| format!("unlink:{}", role(&self.join(name))))?;
        match unlinkat(self, name, AtFlags::empty()) {
            Err(error) if error != Errno::NOENT => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Removes a folder if it is empty. Returns whether it no longer exists; false if it contains anything.
    ///
    /// # Errors
    /// I/O errors.
    pub fn remove_empty(&self, name: impl AsRef<OsStr>) -> io::Result<bool> {
        let name = one(name.as_ref())?;
        failpoint::pass(|| format!("rmdir:{}", role(&self.join(name))))?;
        match unlinkat(self, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(true),
            Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives the owner all permissions on a subfolder of this folder.
    ///
    /// # Errors
    /// I/O errors.
    pub(crate) fn open_up(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        Ok(remove::enter(self.as_fd(), one(name.as_ref())?).map(drop)?)
    }

    /// Removes a folder recursively, at any depth, without following links; a missing folder is not an error.
    ///
    /// Folders that deny their owner access get the permissions first. Mount points are not entered.
    ///
    /// # Errors
    /// I/O errors, `EBUSY` for a mount point; entries that were not removed before it still exist.
    pub fn remove_tree(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        let name = one(name.as_ref())?;
        failpoint::pass(|| format!("rmtree:{}", role(&self.join(name))))?;
        let top = match remove::enter(self.as_fd(), name) {
            Err(Errno::NOENT) => return Ok(()),
            Err(Errno::NOTDIR | Errno::LOOP) => return Ok(unlinkat(self, name, AtFlags::empty())?),
            other => other?,
        };
        let mount = self.metadata()?.mount;
        remove::empty_out(top, mount)?;
        match unlinkat(self, name, AtFlags::REMOVEDIR) {
            Err(error) if error != Errno::NOENT => Err(error.into()),
            _ => Ok(()),
        }
    }
}

/// The same with another system call, for the tests: not every test machine has a file system that
/// returns the tested errors.
fn rename_by(
    rename: impl Fn(RenameFlags) -> Result<(), Errno>,
    (source, from): (&Folder, &OsStr),
    (target, to): (&Folder, &OsStr),
    inode: Option<u64>,
) -> io::Result<()> {
    let renamed = match rename(RenameFlags::NOREPLACE) {
        // The file system supports no flags: check first. No other user writes to the target's name.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => match target.stat(to)? {
            Some(_) => Err(Errno::EXIST),
            None => rename(RenameFlags::empty()),
        },
        other => other,
    };
    // Another folder was created between the check and the rename: a plain rename reports that so.
    let renamed = renamed.map_err(|error| match error {
        Errno::NOTEMPTY => Errno::EXIST,
        other => other,
    });
    let Err(error) = renamed else { return Ok(()) };
    if source.stat(from)?.is_none()
        && let Some(there) = target.stat(to)?
        && inode.is_none_or(|inode| inode == there.st_ino)
    {
        return Ok(());
    }
    Err(error.into())
}

fn id_at(at: BorrowedFd<'_>, name: &OsStr, flags: AtFlags) -> io::Result<FolderId> {
    let wanted = StatxFlags::INO | StatxFlags::BTIME;
    let found = statx(at, name, flags, wanted)?;
    let known = StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::BTIME);
    let birth = found.stx_btime;
    let birth_ns = i128::from(birth.tv_sec) * 1_000_000_000 + i128::from(birth.tv_nsec);
    Ok(FolderId { inode: found.stx_ino, birth_ns: if known { birth_ns } else { 0 } })
}

/// Checks that a name is a single component: a path with a slash would be resolved, and `..` leads out.
fn one(name: &OsStr) -> io::Result<&OsStr> {
    let bytes = name.as_bytes();
    let is_path = memchr::memchr(b'/', bytes).is_some();
    if is_path || bytes.is_empty() || bytes == b"." || bytes == b".." {
        return Err(Errno::INVAL.into());
    }
    Ok(name)
}

/// Converts the error for a missing entry to `None`.
pub(crate) fn absent<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;

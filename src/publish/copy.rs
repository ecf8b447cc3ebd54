//! Copies a tree to another file system, and compares the copy with what was read.
//!
//! In: two folders by handle. Out: the same tree, and the BLAKE3 of each file as it was read.
//!
//! **Invariants:** it works beneath the two handles and follows no link: whoever delivered a folder
//! may still hold it open. Nothing in the target is replaced. Between any two parts of 1 MiB it can
//! be stopped.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use blake3::Hash;
use rustix::fs::{
    Advice, AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, fadvise,
    fchmod, fchown, fstat, futimens, mkdirat, mknodat, openat, readlinkat, statat, symlinkat,
};
use rustix::io::Errno;

use super::PublishError;
use super::judge::SET_ID;
use crate::folder::Folder;
use crate::workspace::{Amount, Reservation};

/// Read and written at once: larger parts are slower, and stop later.
const PART: usize = 1 << 20;

/// What a file or folder takes at least, whatever its size.
const BLOCK: u64 = 4096;

/// Everything in a folder, each folder before what is in it; paths are relative to it.
pub(super) struct Listing {
    nodes: Vec<Node>,
}

struct Node {
    path: PathBuf,
    kind: FileType,
    len: u64,
}

/// A copy, and what it should be.
pub(super) struct TreeCopy {
    files: Vec<(PathBuf, Hash)>,
}

/// What may interrupt a copy, and what it takes.
pub(super) struct Terms<'a> {
    pub(super) stop: &'a AtomicBool,
    pub(super) room: &'a Reservation,
}

impl Listing {
    /// Lists a folder with all that is in it.
    pub(super) fn of(base: &Folder) -> Result<Self, PublishError> {
        let top = base.path();
        let mut nodes: Vec<Node> = Vec::new();
        let mut next = 0;
        let mut folder = PathBuf::new();
        loop {
            let failed = || failed(top, &folder);
            let handle = beneath(base, &folder).map_err(failed())?;
            let mut entries = Dir::read_from(&handle).map_err(failed())?;
            while let Some(entry) = entries.read() {
                let entry = entry.map_err(failed())?;
                let name = OsStr::from_bytes(entry.file_name().to_bytes());
                if name == "." || name == ".." {
                    continue;
                }
                let found = match statat(&handle, name, AtFlags::SYMLINK_NOFOLLOW) {
                    Err(Errno::NOENT) => continue, // its owner has taken it away again
                    other => other.map_err(failed())?,
                };
                let kind = FileType::from_raw_mode(found.st_mode);
                let len = u64::try_from(found.st_size).unwrap_or(0);
                nodes.push(Node { path: folder.join(name), kind, len });
            }
            let rest = nodes[next..].iter().position(|node| node.kind.is_dir());
            let Some(at) = rest else { return Ok(Self { nodes }) };
            next += at + 1;
            folder.clone_from(&nodes[next - 1].path);
        }
    }

    /// What a copy takes, about.
    pub(super) fn need(&self) -> Amount {
        let taken = |node: &Node| match node.kind {
            FileType::RegularFile => node.len.div_ceil(BLOCK).saturating_mul(BLOCK),
            _ => BLOCK,
        };
        let bytes = self.nodes.iter().map(taken).fold(BLOCK, u64::saturating_add);
        Amount { bytes, inodes: self.nodes.len() as u64 + 1 }
    }

    /// Refuses what could not be copied into the archive, while its package can still be turned
    /// back: anything but files, folders and links, and what this user may not read.
    pub(super) fn check(&self, base: &Folder) -> Result<(), PublishError> {
        use rustix::fs::{Access, accessat};

        let top = base.path();
        let mut parent = Parent::default();
        for node in &self.nodes {
            let access = match node.kind {
                FileType::RegularFile => Access::READ_OK,
                FileType::Directory => Access::READ_OK | Access::EXEC_OK,
                FileType::Symlink => continue,
                _ => return Err(PublishError::SpecialFile { path: top.join(&node.path) }),
            };
            let (folder, name) = parent.of(base, &node.path).map_err(failed(top, &node.path))?;
            match accessat(folder, name, access, AtFlags::EACCESS) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(Errno::ACCESS | Errno::PERM) => {
                    return Err(PublishError::Unreadable { path: top.join(&node.path) });
                }
                Err(error) => return Err(failed(top, &node.path)(error)),
            }
        }
        Ok(())
    }

    /// Copies it into the empty folder `to`. Modes, times, and owner and group where allowed, are
    /// those of the originals, without set-uid and set-gid bits. What is not readable is an error, and so is a device that this user may not make.
    pub(super) fn copy(
        &self,
        source: &Folder,
        target: &Folder,
        terms: &Terms<'_>,
    ) -> Result<TreeCopy, PublishError> {
        let (from, to) = (source.path(), target.path());
        let (mut parent_from, mut parent_to) = (Parent::default(), Parent::default());
        let mut files = Vec::new();
        let mut buffer = vec![0; PART];
        for node in &self.nodes {
            if terms.stop.load(Ordering::Relaxed) {
                return Err(PublishError::Stopped);
            }
            let broken = || failed(from, &node.path);
            let (there, name) = parent_from.of(source, &node.path).map_err(broken())?;
            let (here, _) = parent_to.of(target, &node.path).map_err(refused(to, &node.path))?;
            let made = match node.kind {
                FileType::Directory => mkdirat(here, name, Mode::RWXU),
                FileType::RegularFile => {
                    if let Some(hash) =
                        file(there, here, name, &mut buffer, terms, (from, to, &node.path))?
                    {
                        files.push((node.path.clone(), hash));
                        let bytes = node.len.div_ceil(BLOCK).saturating_mul(BLOCK);
                        terms.room.written(Amount { bytes, inodes: 1 });
                    }
                    Ok(())
                }
                FileType::Symlink => link(there, here, name),
                // A device that this user may not make is the package's own.
                _ => {
                    special(there, here, name).map_err(broken())?;
                    Ok(())
                }
            };
            made.map_err(refused(to, &node.path))?;
        }
        // Last, and the innermost first: what is made in a folder changes its times.
        for node in self.nodes.iter().rev().filter(|node| node.kind.is_dir()) {
            let there = beneath(source, &node.path).map_err(failed(from, &node.path))?;
            let here = beneath(target, &node.path).map_err(refused(to, &node.path))?;
            let seen = fstat(&there).map_err(failed(from, &node.path))?;
            dress(&here, &seen).map_err(refused(to, &node.path))?;
        }
        let seen = fstat(source).map_err(failed(from, Path::new("")))?;
        dress(target, &seen).map_err(refused(to, Path::new("")))?;
        Ok(TreeCopy { files })
    }
}

impl TreeCopy {
    /// Reads each file of the copy and compares it with what was copied.
    ///
    /// What was synced is read from the disk or the server again, where the file system lets go of
    /// its pages; else from memory.
    pub(super) fn verify(&self, target: &Folder, stop: &AtomicBool) -> Result<(), PublishError> {
        let to = target.path();
        let mut parent = Parent::default();
        let mut buffer = vec![0; PART];
        for (path, wanted) in &self.files {
            let broken = || refused(to, path);
            let (folder, name) = parent.of(target, path).map_err(broken())?;
            let opened = openat(folder, name, READ | OFlags::NOATIME, Mode::empty());
            let opened = match opened {
                Err(Errno::PERM) => openat(folder, name, READ, Mode::empty()),
                other => other,
            };
            let mut copy = File::from(opened.map_err(broken())?);
            // Where it is not heeded the comparison proves less, and costs less.
            fadvise(&copy, 0, None, Advice::DontNeed).ok();
            let mut hasher = blake3::Hasher::new();
            loop {
                if stop.load(Ordering::Relaxed) {
                    return Err(PublishError::Stopped);
                }
                match copy.read(&mut buffer).map_err(|error| io_failed(to, path, error))? {
                    0 => break,
                    read => hasher.update(&buffer[..read]),
                };
            }
            if hasher.finalize() != *wanted {
                return Err(PublishError::CopyDiffers { path: to.join(path) });
            }
        }
        Ok(())
    }
}

const READ: OFlags =
    OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

/// Copies a file; none where it is gone from its folder by now.
fn file(
    there: BorrowedFd<'_>,
    here: BorrowedFd<'_>,
    name: &OsStr,
    buffer: &mut [u8],
    terms: &Terms<'_>,
    (from, to, path): (&Path, &Path, &Path),
) -> Result<Option<Hash>, PublishError> {
    let opened = match openat(there, name, READ, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(None),
        Err(Errno::ACCESS | Errno::PERM) => {
            return Err(PublishError::Unreadable { path: from.join(path) });
        }
        other => other.map_err(failed(from, path))?,
    };
    let mut original = File::from(opened);
    let seen = fstat(&original).map_err(failed(from, path))?;
    if !FileType::from_raw_mode(seen.st_mode).is_file() {
        return Err(PublishError::SpecialFile { path: from.join(path) });
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = openat(here, name, flags, Mode::RUSR | Mode::WUSR);
    let mut copy = File::from(made.map_err(refused(to, path))?);
    let mut hasher = blake3::Hasher::new();
    loop {
        if terms.stop.load(Ordering::Relaxed) {
            return Err(PublishError::Stopped);
        }
        let read = original.read(buffer).map_err(|error| io_failed(from, path, error))?;
        if read == 0 {
            break;
        }
        hasher.update(&buffer[..read]);
        copy.write_all(&buffer[..read]).map_err(|error| io_failed(to, path, error))?;
    }
    dress(&copy, &seen).map_err(refused(to, path))?;
    Ok(Some(hasher.finalize()))
}

fn link(there: BorrowedFd<'_>, here: BorrowedFd<'_>, name: &OsStr) -> Result<(), Errno> {
    let to = match readlinkat(there, name, Vec::new()) {
        Err(Errno::NOENT) => return Ok(()),
        other => other?,
    };
    symlinkat(OsString::from_vec(to.into_bytes()), here, name)
}

/// A FIFO, socket or device, in a package on its way to quarantine: there is nothing in it to copy.
fn special(there: BorrowedFd<'_>, here: BorrowedFd<'_>, name: &OsStr) -> Result<(), Errno> {
    let seen = match statat(there, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(()),
        other => other?,
    };
    let mode = Mode::from_raw_mode(seen.st_mode);
    mknodat(here, name, FileType::from_raw_mode(seen.st_mode), mode, seen.st_rdev)
}

/// Gives a copy the owner, mode and times of its original, as far as this user may.
fn dress(copy: impl AsFd, seen: &Stat) -> Result<(), Errno> {
    let own = fstat(&copy)?;
    if (own.st_uid, own.st_gid) != (seen.st_uid, seen.st_gid) {
        let (owner, group) = (Uid::from_raw(seen.st_uid), Gid::from_raw(seen.st_gid));
        if fchown(&copy, Some(owner), Some(group)).is_err() {
            // The group alone is often allowed.
            fchown(&copy, None, Some(group)).ok();
        }
    }
    let now = fstat(&copy)?;
    // Nothing that lends out its owner's rights is archived, and quarantine has no use for it.
    let mode = seen.st_mode & 0o7777 & !SET_ID;
    if now.st_mode & 0o7777 != mode {
        match fchmod(&copy, Mode::from_raw_mode(mode)) {
            // Some network file systems have no modes of their own.
            Err(Errno::PERM | Errno::OPNOTSUPP) => {}
            other => other?,
        }
    }
    let times = Timestamps {
        last_access: Timespec { tv_sec: seen.st_atime, tv_nsec: nanos(seen.st_atime_nsec) },
        last_modification: Timespec { tv_sec: seen.st_mtime, tv_nsec: nanos(seen.st_mtime_nsec) },
    };
    match futimens(&copy, &times) {
        Err(Errno::PERM | Errno::ACCESS) => Ok(()), // it is another's now: that came first
        other => other,
    }
}

/// The type's width differs by platform; it is below 1,000,000,000.
pub(super) fn nanos(nsec: impl TryInto<i64>) -> i64 {
    nsec.try_into().unwrap_or(0)
}

/// The folder of the last path that was asked for: what is listed together is opened once.
#[derive(Default)]
struct Parent(Option<(PathBuf, OwnedFd)>);

impl Parent {
    fn of<'a, 'p>(
        &'a mut self,
        base: &Folder,
        path: &'p Path,
    ) -> Result<(BorrowedFd<'a>, &'p OsStr), Errno> {
        let folder = path.parent().unwrap_or(Path::new(""));
        let name = path.file_name().ok_or(Errno::INVAL)?;
        let known = self.0.take().filter(|(known, _)| known == folder);
        let found = match known {
            Some(known) => known,
            None => (folder.to_path_buf(), beneath(base, folder)?),
        };
        let (_, handle) = &*self.0.insert(found);
        Ok((handle.as_fd(), name))
    }
}

/// Opens a folder beneath another, name by name, so that no path is too long and no link followed.
fn beneath(base: &Folder, path: &Path) -> Result<OwnedFd, Errno> {
    let mut at = open_folder(base, Path::new("."))?;
    for part in path.components() {
        if let Component::Normal(name) = part {
            at = open_folder(&at, Path::new(name))?;
        }
    }
    Ok(at)
}

fn open_folder(at: impl AsFd, path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(at, path, flags, Mode::empty())
}

/// A fail point of this module's kind of error.
fn pass(point: &str) -> Result<(), Errno> {
    crate::failpoint::pass(|| point.to_owned())
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

/// Syncs the file system of a folder.
pub(super) fn sync_all(folder: &Folder) -> Result<(), Errno> {
    pass("sync:target")?;
    rustix::fs::syncfs(folder)
}

/// Syncs a folder's names.
pub(super) fn sync_folder(folder: &Folder) -> Result<(), Errno> {
    pass("fsync:target")?;
    rustix::fs::fsync(folder)
}

fn failed(top: &Path, path: &Path) -> impl FnOnce(Errno) -> PublishError {
    let path = top.join(path);
    move |error| match error {
        Errno::ACCESS | Errno::PERM => PublishError::CopyDenied { path, source: error.into() },
        _ => PublishError::Copy { path, source: error.into() },
    }
}

/// The same of the target: there a permission that lacks is nobody's fault.
fn refused(top: &Path, path: &Path) -> impl FnOnce(Errno) -> PublishError {
    let path = top.join(path);
    move |error| match error {
        Errno::ACCESS | Errno::PERM => PublishError::TargetDenied { path, source: error.into() },
        _ => PublishError::Copy { path, source: error.into() },
    }
}

fn io_failed(top: &Path, path: &Path, source: std::io::Error) -> PublishError {
    PublishError::Copy { path: top.join(path), source }
}

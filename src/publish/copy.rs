//! Copies a tree to another file system, and compares the copy with the content that was read.
//!
//! In: two folders by handle, and the [`Listing`] of the first. Out: the same tree, and the BLAKE3 of
//! each file as it was read.
//!
//! **Invariants:** the copy works beneath the two handles and follows no link: the sender of a folder
//! may still hold it open. Of each file, the listed parts are read, and no more. Nothing in the target
//! is replaced. The copy can be stopped between any two parts of 1 MiB.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use blake3::Hash;
use rustix::fs::{
    Advice, AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, fadvise, fchmod,
    fchown, fstat, futimens, mkdirat, mknodat, openat, readlinkat, statat, symlinkat,
};
use rustix::io::Errno;
use ulid::Ulid;

use super::error::PublishError;
use super::error::cannot_hold;
use super::judge::SET_ID;
use super::listing::{Cursor, Listing, Node, READ};
use crate::folder::Folder;
use crate::names::PROBE;
use crate::workspace::{Amount, Reservation};

/// Bytes per read and write: larger parts are slower, and delay a stop.
const PART: usize = 1 << 20;

/// A copy, and its expected content.
pub(super) struct TreeCopy {
    listing: Listing,
    /// The hash of each node that is a file and was copied.
    hashes: Vec<Option<Hash>>,
}

/// The stop flag of a copy, and its reserved space.
pub(super) struct Terms<'a> {
    pub(super) stop: &'a AtomicBool,
    pub(super) room: &'a Reservation,
}

impl Terms<'_> {
    fn go_on(&self) -> Result<(), PublishError> {
        go_on(self.stop)
    }
}

fn go_on(stop: &AtomicBool) -> Result<(), PublishError> {
    if stop.load(Ordering::Relaxed) { Err(PublishError::Stopped) } else { Ok(()) }
}

/// Copies the listed entries of `source` into the empty folder `target`. Modes, times, and owner and group
/// if permitted, are those of the originals, without set-uid and set-gid bits. Holes stay holes.
pub(super) fn copy(
    listing: Listing,
    source: &Folder,
    target: &Folder,
    terms: &Terms<'_>,
) -> Result<TreeCopy, PublishError> {
    let mut hashes = Vec::with_capacity(listing.nodes.len());
    let mut way = Way { from: Cursor::new(source), to: Cursor::new(target), target };
    let mut buffer = vec![0; PART];
    for node in &listing.nodes {
        terms.go_on()?;
        way.climb(node.depth)?;
        hashes.push(way.copy(node, &mut buffer, terms)?);
        if node.kind.is_dir() {
            way.enter(&node.name)?;
        }
    }
    way.climb(0)?;
    let seen = fstat(source).map_err(|error| way.failed("".as_ref(), error))?;
    dress(target, &seen).map_err(|error| way.refused("".as_ref(), error))?;
    Ok(TreeCopy { listing, hashes })
}

/// The current position in both trees.
struct Way<'a> {
    from: Cursor<'a>,
    to: Cursor<'a>,
    target: &'a Folder,
}

impl<'a> Way<'a> {
    fn enter(&mut self, name: &'a OsStr) -> Result<(), PublishError> {
        self.from.enter(name).map_err(|error| self.failed(name, error))?;
        self.to.enter(name).map_err(|error| self.refused(name, error))
    }

    /// Leaves folders until `depth` is reached. Each folder is complete then, so its times can be set:
    /// creating an entry in a folder would change them.
    fn climb(&mut self, depth: usize) -> Result<(), PublishError> {
        let none = OsStr::new("");
        while self.from.depth() > depth {
            let there = self.from.leave().map_err(|error| self.failed(none, error))?;
            let here = self.to.leave().map_err(|error| self.refused(none, error))?;
            let (Some(there), Some(here)) = (there, here) else { return Ok(()) };
            let seen = fstat(&there).map_err(|error| self.failed(none, error))?;
            dress(&here, &seen).map_err(|error| self.refused(none, error))?;
        }
        Ok(())
    }

    fn copy(
        &self,
        node: &Node,
        buffer: &mut [u8],
        terms: &Terms<'_>,
    ) -> Result<Option<Hash>, PublishError> {
        let name = &*node.name;
        let (there, here) = (self.from.here(), self.to.here());
        let made = match node.kind {
            FileType::Directory => mkdirat(here, name, Mode::RWXU),
            FileType::RegularFile => return self.file(node, buffer, terms),
            FileType::Symlink => match target_of(there, name) {
                Ok(None) => Ok(()),
                Ok(Some(to)) => symlinkat(to, here, name),
                Err(error) => return Err(self.failed(name, error)),
            },
            _ => special(there, here, name),
        };
        made.map_err(|error| self.refused(name, error))?;
        Ok(None)
    }

    /// Copies a file and returns its hash; `None` if it is no longer in its folder.
    fn file(
        &self,
        node: &Node,
        buffer: &mut [u8],
        terms: &Terms<'_>,
    ) -> Result<Option<Hash>, PublishError> {
        let name = &*node.name;
        let failed =
            |error: io::Error| PublishError::CopyFrom { path: self.from.path(name), source: error };
        let changed = || PublishError::OriginalChanged { path: self.from.path(name) };
        let opened = match openat(self.from.here(), name, READ, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::ACCESS | Errno::PERM) => {
                return Err(PublishError::Unreadable { path: self.from.path(name) });
            }
            other => other.map_err(|error| failed(error.into()))?,
        };
        let mut original = File::from(opened);
        let seen = fstat(&original).map_err(|error| failed(error.into()))?;
        if !FileType::from_raw_mode(seen.st_mode).is_file() {
            return Err(PublishError::SpecialFile { path: self.from.path(name) });
        }
        if u64::try_from(seen.st_size) != Ok(node.len) {
            return Err(changed());
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let mode = Mode::RUSR | Mode::WUSR;
        let made = openat(self.to.here(), name, flags | OFlags::CLOEXEC, mode);
        let mut copy = File::from(made.map_err(|error| self.refused(name, error))?);
        let mut hasher = blake3::Hasher::new();
        for (start, end) in node.parts() {
            let to_start = SeekFrom::Start(start);
            if start > 0 {
                original.seek(to_start).map_err(failed)?;
                copy.seek(to_start).map_err(|error| self.unwritten(name, error))?;
            }
            let mut rest = end - start;
            while rest > 0 {
                terms.go_on()?;
                let part = buffer.len().min(usize::try_from(rest).unwrap_or(usize::MAX));
                let read = original.read(&mut buffer[..part]).map_err(failed)?;
                if read == 0 {
                    return Err(changed());
                }
                hasher.update(&buffer[..read]);
                copy.write_all(&buffer[..read]).map_err(|error| self.unwritten(name, error))?;
                rest -= read as u64;
            }
        }
        if node.data.is_some() {
            copy.set_len(node.len).map_err(|error| self.unwritten(name, error))?;
        }
        let now = fstat(&original).map_err(|error| failed(error.into()))?;
        if now.st_size != seen.st_size {
            return Err(changed());
        }
        dress(&copy, &seen).map_err(|error| self.refused(name, error))?;
        terms.room.written(Amount { bytes: node.need(), inodes: 1 });
        Ok(Some(hasher.finalize()))
    }

    /// Returns the error for a failure in the source tree.
    fn failed(&self, name: &OsStr, error: Errno) -> PublishError {
        let (path, source) = (self.from.path(name), error.into());
        match error {
            Errno::ACCESS | Errno::PERM => PublishError::Unreadable { path },
            _ => PublishError::CopyFrom { path, source },
        }
    }

    /// Returns the error for a failure in the target tree. If permission is denied for a single name, in a
    /// folder that accepts others, then the file system cannot hold that name, or that kind of file.
    fn refused(&self, name: &OsStr, error: Errno) -> PublishError {
        let (path, source) = (self.to.path(name), error.into());
        match error {
            Errno::ACCESS | Errno::PERM if takes_files(self.target) => {
                PublishError::CannotHold { path, source }
            }
            Errno::ACCESS | Errno::PERM => PublishError::TargetDenied { path, source },
            _ if cannot_hold(error) => PublishError::CannotHold { path, source },
            _ => PublishError::Copy { path, source },
        }
    }

    fn unwritten(&self, name: &OsStr, error: io::Error) -> PublishError {
        match Errno::from_io_error(&error) {
            Some(errno) => self.refused(name, errno),
            None => PublishError::Copy { path: self.to.path(name), source: error },
        }
    }
}

/// Whether a file with a plain name can be created in a folder.
fn takes_files(folder: &Folder) -> bool {
    let name = format!("{PROBE}{}", Ulid::generate());
    let made = folder.create(&name, Mode::RUSR | Mode::WUSR).is_ok();
    made && folder.remove_file(&name).is_ok()
}

impl TreeCopy {
    /// Reads each file of the copy and compares it with the original.
    ///
    /// Synced files are read again from the disk or the server if the file system drops its cached pages;
    /// otherwise from memory.
    pub(super) fn verify(&self, target: &Folder, stop: &AtomicBool) -> Result<(), PublishError> {
        let mut at = Cursor::new(target);
        let mut buffer = vec![0; PART];
        for (node, hash) in self.listing.nodes.iter().zip(&self.hashes) {
            let name = &*node.name;
            let broken = |path: PathBuf| move |error: Errno| unread(path, error.into());
            while at.depth() > node.depth {
                at.leave().map_err(broken(at.path(name)))?;
            }
            if node.kind.is_dir() {
                at.enter(name).map_err(broken(at.path(name)))?;
            } else if let Some(hash) = hash
                && hash_of(&at, node, &mut buffer, stop)? != *hash
            {
                return Err(PublishError::CopyDiffers { path: at.path(name) });
            }
        }
        Ok(())
    }
}

/// Returns the hash of those parts of a copy that were copied.
fn hash_of(
    at: &Cursor<'_>,
    node: &Node,
    buffer: &mut [u8],
    stop: &AtomicBool,
) -> Result<Hash, PublishError> {
    let name = &*node.name;
    let failed = |error: io::Error| unread(at.path(name), error);
    let opened = match openat(at.here(), name, READ | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => openat(at.here(), name, READ, Mode::empty()),
        other => other,
    };
    let mut copy = File::from(opened.map_err(|error| failed(error.into()))?);
    // If the kernel ignores this, cached pages are compared: that proves less, and costs less.
    fadvise(&copy, 0, None, Advice::DontNeed).ok();
    let mut hasher = blake3::Hasher::new();
    for (start, end) in node.parts() {
        if start > 0 {
            copy.seek(SeekFrom::Start(start)).map_err(failed)?;
        }
        let mut part = (&mut copy).take(end - start);
        loop {
            go_on(stop)?;
            match part.read(buffer).map_err(failed)? {
                0 => break,
                read => hasher.update(&buffer[..read]),
            };
        }
    }
    let seen = fstat(&copy).map_err(|error| failed(error.into()))?;
    if u64::try_from(seen.st_size) != Ok(node.len) {
        return Err(PublishError::CopyDiffers { path: at.path(name) });
    }
    Ok(hasher.finalize())
}

fn unread(path: PathBuf, source: io::Error) -> PublishError {
    match source.kind() {
        io::ErrorKind::PermissionDenied => PublishError::TargetDenied { path, source },
        _ => PublishError::Copy { path, source },
    }
}

/// Returns the target of a link; `None` if the link has disappeared.
fn target_of(there: BorrowedFd<'_>, name: &OsStr) -> Result<Option<OsString>, Errno> {
    match readlinkat(there, name, Vec::new()) {
        Err(Errno::NOENT) => Ok(None),
        other => Ok(Some(OsString::from_vec(other?.into_bytes()))),
    }
}

/// Creates a FIFO, socket or device, in a package on its way to quarantine: it has no content to copy.
fn special(there: BorrowedFd<'_>, here: BorrowedFd<'_>, name: &OsStr) -> Result<(), Errno> {
    let seen = match statat(there, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(()),
        other => other?,
    };
    let mode = Mode::from_raw_mode(seen.st_mode);
    mknodat(here, name, FileType::from_raw_mode(seen.st_mode), mode, seen.st_rdev)
}

/// Sets owner, mode and times of a copy to those of its original, as far as permitted.
fn dress(copy: impl AsFd, seen: &Stat) -> Result<(), Errno> {
    let own = fstat(&copy)?;
    if (own.st_uid, own.st_gid) != (seen.st_uid, seen.st_gid) {
        let (owner, group) = (Uid::from_raw(seen.st_uid), Gid::from_raw(seen.st_gid));
        if fchown(&copy, Some(owner), Some(group)).is_err() {
            // Setting only the group is often permitted.
            fchown(&copy, None, Some(group)).ok();
        }
    }
    let now = fstat(&copy)?;
    // No setuid or setgid file is archived, and quarantine does not need those bits.
    let mode = seen.st_mode & 0o7777 & !SET_ID;
    if now.st_mode & 0o7777 != mode {
        match fchmod(&copy, Mode::from_raw_mode(mode)) {
            // Some network file systems do not support modes.
            Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS) => {}
            other => other?,
        }
    }
    let times = Timestamps {
        last_access: Timespec { tv_sec: seen.st_atime, tv_nsec: nanos(seen.st_atime_nsec) },
        last_modification: Timespec { tv_sec: seen.st_mtime, tv_nsec: nanos(seen.st_mtime_nsec) },
    };
    match futimens(&copy, &times) {
        Err(Errno::PERM | Errno::ACCESS) => Ok(()), // it belongs to another user since the chown above
        // The package is copied even if the file system does not support such times.
        Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        other => other,
    }
}

/// Converts nanoseconds: the type's width differs by platform; the value is below 1,000,000,000.
pub(super) fn nanos(nsec: impl TryInto<i64>) -> i64 {
    nsec.try_into().unwrap_or(0)
}

/// Runs a fail point, and returns this module's kind of error.
fn pass(point: &str) -> Result<(), Errno> {
    crate::failpoint::pass(|| point.to_owned())
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

/// Syncs the file system of a folder.
pub(super) fn sync_all(folder: &Folder) -> Result<(), Errno> {
    pass("sync:target")?;
    rustix::fs::syncfs(folder)
}

/// Syncs the entries of a folder.
pub(super) fn sync_folder(folder: &Folder) -> Result<(), Errno> {
    pass("fsync:target")?;
    rustix::fs::fsync(folder)
}

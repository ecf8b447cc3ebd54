//! The folders of a plan on disk: created once, opened when needed, never through a link.
//!
//! In: the plan's tree and a handle on an empty folder that only longshore uses. Out: handles to
//! write under.
//!
//! **Invariant:** only this user can enter the output folder (0700), and it holds no link:
//! everything in it was created here. Even so, handles are opened with `RESOLVE_BENEATH` and
//! `RESOLVE_NO_SYMLINKS`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, Mode, OFlags, ResolveFlags, Timespec, Timestamps, mkdirat, openat, openat2,
};
use rustix::io::Errno;

use super::entry::{EntryKind, Modified, PlannedEntry};
use super::error::ExtractError;
use super::options::Modes;
use super::tree::Tree;
use crate::progress::Steps;

/// The maximum number of handles per thread; a power of two.
const HANDLES: usize = 64;
/// The length of a path that certainly fits one system call.
const PATH_SAFE: usize = 4000;

const FOLDER: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Handles of recently used folders, at most [`HANDLES`], by the folder's index.
#[derive(Debug, Default)]
pub(super) struct Handles {
    slots: Vec<Option<(u32, OwnedFd)>>,
}

impl Handles {
    /// Returns the handle of a plan's folder. Opens it if it is not open.
    pub(super) fn get<'h>(
        &'h mut self,
        root: BorrowedFd<'h>,
        plan: (&Tree, &[PlannedEntry]),
        index: u32,
    ) -> io::Result<BorrowedFd<'h>> {
        if index == 0 {
            return Ok(root);
        }
        if self.slots.is_empty() {
            self.slots.resize_with(HANDLES, || None);
        }
        let slot = &mut self.slots[index as usize % HANDLES];
        let kept = slot.take().filter(|(of, _)| *of == index);
        let kept = match kept {
            Some(kept) => kept,
            None => (index, open(root, plan.0.path(plan.1, index))?),
        };
        Ok(slot.insert(kept).1.as_fd())
    }

    /// Closes all handles: the next package has other folders.
    pub(super) fn clear(&mut self) {
        self.slots.iter_mut().for_each(|slot| *slot = None);
    }
}

/// Opens `path` beneath `root` in one call, and follows no link. `None` if the system has no such
/// call, or if the path may be too long for it. Creating a file this way is cheaper than through
/// the handle of a folder that is opened only for it.
pub(super) fn open_beneath(
    root: BorrowedFd<'_>,
    path: &str,
    flags: OFlags,
    mode: Mode,
) -> io::Result<Option<OwnedFd>> {
    if path.len() > PATH_SAFE {
        return Ok(None);
    }
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    match openat2(root, path, flags, mode, resolve) {
        // Old kernels lack the call, and sandboxes forbid it.
        Err(Errno::NOSYS | Errno::PERM | Errno::INVAL) => Ok(None),
        result => Ok(Some(result?)),
    }
}

/// Opens a folder beneath `root`, and follows no link.
fn open(root: BorrowedFd<'_>, path: &str) -> io::Result<OwnedFd> {
    if let Some(handle) = open_beneath(root, path, FOLDER, Mode::empty())? {
        return Ok(handle);
    }
    let mut handle = root.try_clone_to_owned()?;
    for name in path.split('/') {
        handle = openat(&handle, name, FOLDER, Mode::empty())?;
    }
    Ok(handle)
}

/// Creates all folders, parents first.
pub(super) fn make(
    root: BorrowedFd<'_>,
    tree: &Tree,
    entries: &[PlannedEntry],
    modes: Modes,
    steps: &Steps,
) -> Result<(), ExtractError> {
    let mut handles = Handles::default();
    for (index, folder) in tree.folders.iter().enumerate().skip(1) {
        steps.add();
        let bits = match (modes, folder.mode) {
            (Modes::Zip, Some(bits)) => bits | 0o700,
            _ => 0o777,
        };
        let mode = Mode::from_raw_mode(u32::from(bits & 0o777));
        handles
            .get(root, (tree, entries), folder.parent)
            .and_then(|parent| Ok(mkdirat(parent, tree.leaf(entries, index as u32), mode)?))
            .map_err(|error| ExtractError::write(tree.path(entries, index as u32), error))?;
    }
    Ok(())
}

/// Sets the times that the archive has for folders. Must be called after everything in them exists.
pub(super) fn set_times(
    root: BorrowedFd<'_>,
    tree: &Tree,
    entries: &[PlannedEntry],
    steps: &Steps,
) -> Result<(), ExtractError> {
    let mut handles = Handles::default();
    for (index, folder) in tree.folders.iter().enumerate().skip(1) {
        let Some(modified) = folder.modified else { continue };
        let times = timestamps(modified);
        steps.add();
        handles
            .get(root, (tree, entries), folder.parent)
            .and_then(|parent| {
                let (name, flags) = (tree.leaf(entries, index as u32), AtFlags::SYMLINK_NOFOLLOW);
                Ok(rustix::fs::utimensat(parent, name, &times, flags)?)
            })
            .map_err(|error| ExtractError::write(tree.path(entries, index as u32), error))?;
    }
    Ok(())
}

/// Removes everything that the plan has created so far.
pub(super) fn clear(
    root: BorrowedFd<'_>,
    tree: &Tree,
    entries: &[PlannedEntry],
) -> Result<(), ExtractError> {
    let mut handles = Handles::default();
    let mut remove = |folder: u32, name: &str, flags: AtFlags| {
        let gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        let result = handles
            .get(root, (tree, entries), folder)
            .and_then(|parent| Ok(rustix::fs::unlinkat(parent, name, flags)?));
        match result {
            Err(error) if !gone(&error) => Err(ExtractError::write(name, error)),
            _ => Ok(()),
        }
    };
    for entry in entries.iter().filter(|entry| entry.kind == EntryKind::File) {
        remove(entry.folder, entry.leaf(), AtFlags::empty())?;
    }
    for (index, folder) in tree.folders.iter().enumerate().skip(1).rev() {
        remove(folder.parent, tree.leaf(entries, index as u32), AtFlags::REMOVEDIR)?;
    }
    Ok(())
}

/// Returns the times to set. The access time is the modification time, too: the archive has no other.
pub(super) fn timestamps(modified: Modified) -> Timestamps {
    let time = Timespec { tv_sec: modified.seconds, tv_nsec: i64::from(modified.nanos) as _ };
    Timestamps { last_access: time, last_modification: time }
}

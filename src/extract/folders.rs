//! The folders of a plan on disk: made once, opened when needed, never through a link.
//!
//! In: the plan's tree and the handle of an empty folder of ours. Out: handles to write under.
//!
//! **Invariant:** the output folder is ours alone (0700) and holds no link: what is in it was made here.
//! Handles are opened so all the same (`RESOLVE_BENEATH`, `RESOLVE_NO_SYMLINKS`).

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

/// Handles kept per thread; a power of two.
const HANDLES: usize = 64;
/// A path that surely fits one system call.
const PATH_SAFE: usize = 4000;

const FOLDER: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Handles of folders, at most [`HANDLES`]: those used last, by index.
#[derive(Debug, Default)]
pub(super) struct Handles {
    slots: Vec<Option<(u32, OwnedFd)>>,
}

impl Handles {
    /// The handle of a plan's folder, opening it if need be.
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

    /// Closes them: they are another package's next time.
    pub(super) fn clear(&mut self) {
        self.slots.iter_mut().for_each(|slot| *slot = None);
    }
}

/// Opens what is beneath `root`, through no link, in one call; none where the system has no such
/// call. To create a file that way is cheaper than by the handle of a folder opened for it alone.
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
        // Old kernels do not have it, and sandboxes forbid it.
        Err(Errno::NOSYS | Errno::PERM | Errno::INVAL) => Ok(None),
        result => Ok(Some(result?)),
    }
}

/// Opens a folder beneath `root`, through no link.
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

/// Makes all folders, parents first.
pub(super) fn make(
    root: BorrowedFd<'_>,
    tree: &Tree,
    entries: &[PlannedEntry],
    modes: Modes,
) -> Result<(), ExtractError> {
    let mut handles = Handles::default();
    for (index, folder) in tree.folders.iter().enumerate().skip(1) {
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

/// Gives folders the times that the archive has for them; after everything in them exists.
pub(super) fn set_times(
    root: BorrowedFd<'_>,
    tree: &Tree,
    entries: &[PlannedEntry],
) -> Result<(), ExtractError> {
    let mut handles = Handles::default();
    for (index, folder) in tree.folders.iter().enumerate().skip(1) {
        let Some(modified) = folder.modified else { continue };
        let times = timestamps(modified);
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

/// Removes everything that a plan has made, as far as it got.
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

/// For access time too: what was just unpacked has no other.
pub(super) fn timestamps(modified: Modified) -> Timestamps {
    let time = Timespec { tv_sec: modified.seconds, tv_nsec: i64::from(modified.nanos) as _ };
    Timestamps { last_access: time, last_modification: time }
}

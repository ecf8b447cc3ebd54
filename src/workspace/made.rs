//! [`Made`]: an open folder, created if it was missing.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::Mode;

use crate::folder::Folder;

/// An open folder, and the folders that were created on its path.
pub(super) struct Made {
    pub(super) folder: Folder,
    /// The created folders, the innermost last.
    made: Vec<PathBuf>,
}

impl Made {
    /// Opens a folder, and creates missing parts of its path so that only this user can enter them.
    pub(super) fn private(path: &Path) -> io::Result<Self> {
        Self::with(path, |folder, name| folder.make(name))
    }

    /// Opens a folder, and creates missing parts of its path with the umask's mode.
    pub(super) fn public(path: &Path) -> io::Result<Self> {
        Self::with(path, |folder, name| folder.make_with(name, Mode::from_raw_mode(0o777)))
    }

    fn with(path: &Path, make: impl Fn(&Folder, &OsStr) -> io::Result<()>) -> io::Result<Self> {
        let there = path.ancestors().find(|path| path.symlink_metadata().is_ok());
        let there = there.unwrap_or(Path::new("/"));
        // A link in the path may belong to anyone. Other writers of the path are checked separately.
        let mut folder = Folder::open(&there.canonicalize()?)?;
        let mut made = Vec::new();
        for name in path.strip_prefix(there).into_iter().flat_map(Path::iter) {
            match make(&folder, name) {
                Ok(()) => made.push(folder.join(name)),
                // Another start created it first.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
            folder = folder.folder(name)?;
        }
        Ok(Self { folder, made })
    }

    /// Removes the created folders that are still empty.
    pub(super) fn undo(self) {
        for path in self.made.iter().rev() {
            std::fs::remove_dir(path).ok();
        }
    }
}

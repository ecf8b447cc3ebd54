//! [`Made`]: a folder that was opened, and made if it was missing.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::Mode;

use crate::folder::Folder;

/// A folder, opened, and what had to be made on the way to it.
pub(super) struct Made {
    pub(super) folder: Folder,
    /// The innermost last.
    made: Vec<PathBuf>,
}

impl Made {
    /// Opens a folder, and makes what is missing of its path so that only this user can enter it.
    pub(super) fn private(path: &Path) -> io::Result<Self> {
        Self::with(path, |folder, name| folder.make(name))
    }

    /// Opens a folder, and makes what is missing of its path as the umask says.
    pub(super) fn public(path: &Path) -> io::Result<Self> {
        Self::with(path, |folder, name| folder.make_with(name, Mode::from_raw_mode(0o777)))
    }

    fn with(path: &Path, make: impl Fn(&Folder, &OsStr) -> io::Result<()>) -> io::Result<Self> {
        let there = path.ancestors().find(|path| path.symlink_metadata().is_ok());
        let there = there.unwrap_or(Path::new("/"));
        // A link on the way may be anyone's: who else can replace it is checked separately.
        let mut folder = Folder::open(&there.canonicalize()?)?;
        let mut made = Vec::new();
        for name in path.strip_prefix(there).into_iter().flat_map(Path::iter) {
            match make(&folder, name) {
                Ok(()) => made.push(folder.join(name)),
                // Another start was faster.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
            folder = folder.folder(name)?;
        }
        Ok(Self { folder, made })
    }

    /// Removes what was made, as far as it is empty.
    pub(super) fn undo(self) {
        for path in self.made.iter().rev() {
            std::fs::remove_dir(path).ok();
        }
    }
}

//! Counts the files and folders beside a ZIP and checks the limits. A delivery that exceeds a limit would
//! cost memory and time at each step that follows.

use std::cell::Cell;

use super::error::WorkspaceError;
use crate::config::Limits;
use crate::folder::{Entered, Folder, Found, Metadata};

/// The counts so far.
pub(super) struct Tally<'a> {
    delivered: &'a Folder,
    limits: &'a Limits,
    count: Cell<u64>,
    bytes: Cell<u64>,
    /// Length of the relative path of the folder that is being listed, with a slash at its end.
    path_bytes: Cell<usize>,
}

impl<'a> Tally<'a> {
    pub(super) fn new(delivered: &'a Folder, limits: &'a Limits) -> Self {
        let (count, bytes, path_bytes) = (Cell::new(0), Cell::new(0), Cell::new(0));
        Self { delivered, limits, count, bytes, path_bytes }
    }

    pub(super) fn enter(&self, folder: &Entered<'_>) -> Result<(), WorkspaceError> {
        if !folder.is_top() && folder.depth() >= self.limits.beside_depth {
            return Err(WorkspaceError::OriginalsTooDeep {
                path: self.delivered.path().to_path_buf(),
                name: folder.first().to_owned(),
                limit: self.limits.beside_depth,
            });
        }
        self.path_bytes.set(folder.path_bytes());
        Ok(())
    }

    pub(super) fn count(&self, found: &Found<'_>, look: &Metadata) -> Result<(), WorkspaceError> {
        let path = || self.delivered.path().to_path_buf();
        self.count.set(self.count.get() + 1);
        if self.count.get() > self.limits.beside_entries {
            let limit = self.limits.beside_entries;
            return Err(WorkspaceError::TooManyOriginals { path: path(), limit });
        }
        let limit_bytes = self.limits.beside_path.as_u64();
        if (self.path_bytes.get() + found.name.len()) as u64 > limit_bytes {
            let name = found.first().to_owned();
            return Err(WorkspaceError::OriginalPathTooLong { path: path(), name, limit_bytes });
        }
        if look.kind.is_file() {
            self.bytes.set(self.bytes.get().saturating_add(look.len));
        }
        let limit_bytes = self.limits.beside_total.as_u64();
        if self.bytes.get() > limit_bytes {
            return Err(WorkspaceError::OriginalsTooLarge { path: path(), limit_bytes });
        }
        Ok(())
    }
}

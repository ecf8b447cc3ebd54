//! [`Stamp`]: metadata that shows whether a file may have changed.

use std::fs::File;
use std::os::unix::fs::MetadataExt;

use super::error::ExtractError;

/// The metadata of a file that changes when the file changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) len: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    place: (u64, u64),
}

impl Stamp {
    pub(super) fn of(file: &File) -> Result<Self, ExtractError> {
        let seen = file.metadata().map_err(|error| ExtractError::read(0, error))?;
        Ok(Self {
            len: seen.len(),
            modified: (seen.mtime(), seen.mtime_nsec()),
            changed: (seen.ctime(), seen.ctime_nsec()),
            place: (seen.dev(), seen.ino()),
        })
    }

    /// Returns the property that differs, ignoring ctime.
    pub(super) fn difference(&self, now: &Self) -> Option<&'static str> {
        if self.place != now.place {
            Some("it is another file")
        } else if self.len != now.len {
            Some("its size")
        } else if self.modified != now.modified {
            Some("its mtime")
        } else {
            None
        }
    }
}

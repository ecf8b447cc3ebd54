//! Room on disk, promised to jobs before they write: two of them must not pass the same check.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use thiserror::Error;

use crate::error::{Disposition, Failure};

/// How much room there is at a path: an id of the file system, and its free bytes.
type Probe = dyn Fn(&Path) -> io::Result<(u64, u64)> + Send + Sync;

/// What is promised of each file system; one for the whole program.
pub struct Space {
    probe: Box<Probe>,
    promised: Mutex<HashMap<u64, u64>>,
}

impl Space {
    /// Asks the system for what is free.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Self::with_probe(|path| {
            let device = rustix::fs::stat(path)?.st_dev;
            let found = rustix::fs::statvfs(path)?;
            Ok((device, found.f_bavail.saturating_mul(found.f_frsize)))
        })
    }

    /// Asks `probe` for a file system's id and its free bytes.
    pub fn with_probe(
        probe: impl Fn(&Path) -> io::Result<(u64, u64)> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self { probe: Box::new(probe), promised: Mutex::default() })
    }

    /// Promises `bytes` of the file system of `path`, if `min_free` bytes stay free besides.
    ///
    /// # Errors
    /// [`SpaceError::TooLittle`]; [`SpaceError::Unknown`] where the system does not say.
    pub fn reserve(
        self: &Arc<Self>,
        path: &Path,
        bytes: u64,
        min_free: u64,
    ) -> Result<Reservation, SpaceError> {
        let mut promised = self.promised();
        let (device, free_bytes) = (self.probe)(path)
            .map_err(|source| SpaceError::Unknown { path: path.into(), source })?;
        let reserved_bytes = promised.get(&device).copied().unwrap_or(0);
        let needed = bytes.saturating_add(min_free).saturating_add(reserved_bytes);
        if needed > free_bytes {
            return Err(SpaceError::TooLittle {
                path: path.into(),
                bytes,
                min_free,
                free_bytes,
                reserved_bytes,
            });
        }
        promised.insert(device, reserved_bytes + bytes);
        Ok(Reservation { space: Arc::clone(self), device, bytes: Mutex::new(bytes) })
    }

    fn give_back(&self, device: u64, bytes: u64) {
        let mut promised = self.promised();
        if let Some(sum) = promised.get_mut(&device) {
            *sum = sum.saturating_sub(bytes);
        }
    }

    fn promised(&self) -> MutexGuard<'_, HashMap<u64, u64>> {
        self.promised.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Space").field("promised", &self.promised).finish_non_exhaustive()
    }
}

/// Bytes promised to one job; given back when it is dropped.
#[derive(Debug)]
pub struct Reservation {
    space: Arc<Space>,
    device: u64,
    bytes: Mutex<u64>,
}

impl Reservation {
    /// So many bytes are on disk now, and no longer counted twice.
    pub fn written(&self, bytes: u64) {
        let mut left = self.left();
        let spent = bytes.min(*left);
        *left -= spent;
        self.space.give_back(self.device, spent);
    }

    /// What is still promised, in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        *self.left()
    }

    fn left(&self) -> MutexGuard<'_, u64> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let left = *self.left();
        self.space.give_back(self.device, left);
    }
}

/// Why no room was promised. Completes "failed to …".
#[derive(Debug, Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are what the message says of them")]
pub enum SpaceError {
    /// Not enough is free.
    #[error(
        "find {bytes} bytes for it at {path:?}: {free_bytes} are free, {reserved_bytes} of them \
         promised to other packages, and {min_free} have to stay free; make room"
    )]
    TooLittle { path: PathBuf, bytes: u64, min_free: u64, free_bytes: u64, reserved_bytes: u64 },
    /// The system does not say how much is free.
    #[error("ask how much is free at {path:?}")]
    Unknown { path: PathBuf, source: io::Error },
}

impl Failure for SpaceError {
    fn code(&self) -> &'static str {
        match self {
            Self::TooLittle { .. } => "no_space",
            Self::Unknown { .. } => "space_unknown",
        }
    }

    fn disposition(&self) -> Disposition {
        Disposition::Wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn space_promised_to_one_job_is_not_promised_to_another() {
        let space = Space::with_probe(|_| Ok((1, 1000)));
        let first = space.reserve(Path::new("/a"), 600, 100).unwrap();
        let error = space.reserve(Path::new("/a"), 400, 100).unwrap_err();
        assert_eq!((error.code(), error.disposition()), ("no_space", Disposition::Wait));
        first.written(500);
        assert_eq!(first.bytes(), 100);
        drop(space.reserve(Path::new("/a"), 400, 100).unwrap());
        drop(first);
        drop(space.reserve(Path::new("/a"), 900, 100).unwrap());
        space.reserve(Path::new("/a"), 901, 100).unwrap_err();
    }

    #[test]
    fn space_is_counted_for_each_file_system_by_itself() {
        let space = Space::with_probe(|path| Ok((u64::from(path == Path::new("/b")), 1000)));
        let _a = space.reserve(Path::new("/a"), 1000, 0).unwrap();
        let _b = space.reserve(Path::new("/b"), 1000, 0).unwrap();
    }

    #[test]
    fn space_of_a_path_that_is_gone_is_unknown_and_waited_for() {
        let error = Space::new().reserve(Path::new("/no/such/path"), 1, 0).unwrap_err();
        assert_eq!((error.code(), error.disposition()), ("space_unknown", Disposition::Wait));
    }

    #[test]
    fn space_more_than_was_promised_written_gives_back_no_more_than_that() {
        let space = Space::with_probe(|_| Ok((1, 1000)));
        let _other = space.reserve(Path::new("/a"), 500, 0).unwrap();
        let one = space.reserve(Path::new("/a"), 100, 0).unwrap();
        one.written(300);
        drop(one);
        space.reserve(Path::new("/a"), 501, 0).unwrap_err();
    }
}

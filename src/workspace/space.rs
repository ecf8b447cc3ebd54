//! Space on disk, reserved for jobs before they write: two of them must not pass the same check.
//!
//! Space is bytes and inodes: a file system of small files can be full while gigabytes are free.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::error::{Disposition, Failure};
use crate::landing::is_on_network;

/// Inodes that stay free beyond the need of the packages in work: for longshore's own folders and notes.
const SPARE_INODES: u64 = 64;

/// `f_type` of ZFS, whose datasets share the space of a pool.
const POOLS: [u32; 1] = [0x2FC1_2FC1];

/// A disk with this much free above `min_free` is not full: smaller packages pass one that needs more.
const ROOM_FOR_OTHERS: u64 = 1 << 20;

/// The same for inodes.
const INODES_FOR_OTHERS: u64 = 128;

/// How long a measurement of the free space is reused, adjusted by what this program itself uses up.
const FRESH: Duration = Duration::from_millis(100);

/// Bytes and inodes that are needed, reserved, or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Amount {
    /// Bytes of files.
    pub bytes: u64,
    /// Files and folders.
    pub inodes: u64,
}

impl Amount {
    fn plus(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(other.bytes),
            inodes: self.inodes.saturating_add(other.inodes),
        }
    }

    fn minus(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_sub(other.bytes),
            inodes: self.inodes.saturating_sub(other.inodes),
        }
    }

    fn at_most(self, other: Self) -> Self {
        Self { bytes: self.bytes.min(other.bytes), inodes: self.inodes.min(other.inodes) }
    }
}

/// The free space of a file system for an ordinary user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Free {
    /// Identifies the file system.
    pub device: u64,
    /// Free bytes.
    pub bytes: u64,
    /// Free inodes; `None` if the file system has no fixed number.
    pub inodes: Option<u64>,
    /// The space for an ordinary user if the file system were empty; never more than its real size.
    pub total: Total,
}

/// The total space of a file system for an ordinary user, used or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Total {
    /// Total bytes.
    pub bytes: u64,
    /// Total inodes; `None` if the file system has no fixed number, or creates them on demand.
    pub inodes: Option<u64>,
}

impl Total {
    /// The total of a file system of unknown size: no package is too large for it.
    pub const UNKNOWN: Self = Self { bytes: u64::MAX, inodes: None };
}

/// Returns the free space at a path.
type Probe = dyn Fn(&Path) -> io::Result<Free> + Send + Sync;

/// The reservations on each file system; one per program.
pub struct Space {
    probe: Box<Probe>,
    books: Mutex<Books>,
}

#[derive(Debug, Default)]
struct Books {
    promised: HashMap<u64, Amount>,
    seen: HashMap<PathBuf, Seen>,
}

/// The free space at a path when it was measured.
#[derive(Debug)]
struct Seen {
    at: Instant,
    free: Free,
    /// Reserved at that time and since. Nothing beyond this can have been written since.
    promised: Amount,
}

impl Books {
    /// Returns the file system of `path` if it certainly has enough free space without a new measurement.
    fn ample(&self, path: &Path, wanted: Amount) -> Option<u64> {
        let seen = self.seen.get(path).filter(|seen| seen.at.elapsed() < FRESH)?;
        let wanted = wanted.plus(seen.promised);
        let enough = wanted.bytes <= seen.free.bytes
            && seen.free.inodes.is_none_or(|inodes| wanted.inodes <= inodes);
        enough.then_some(seen.free.device)
    }

    fn promise(&mut self, device: u64, need: Amount) {
        let sum = self.promised.entry(device).or_default();
        *sum = sum.plus(need);
        for seen in self.seen.values_mut().filter(|seen| seen.free.device == device) {
            seen.promised = seen.promised.plus(need);
        }
    }
}

impl Space {
    /// Measures the free space with `statvfs`.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Self::with_probe(|path| {
            let found = rustix::fs::statvfs(path)?;
            // Some file systems have no id of their own.
            let device = match found.f_fsid {
                0 => rustix::fs::stat(path)?.st_dev,
                id => id,
            };
            // Btrfs and the like create inodes on demand, and report a total of 0.
            let inodes = (found.f_files > 0).then_some(found.f_favail);
            let total = if is_size_known(path)? {
                // Some blocks are reserved for root: a package cannot count on them.
                let of_root = found.f_bfree.saturating_sub(found.f_bavail);
                let blocks = found.f_blocks.saturating_sub(of_root);
                let bytes = blocks.saturating_mul(found.f_frsize);
                Total { bytes, inodes: inodes.map(|_| found.f_files) }
            } else {
                Total::UNKNOWN
            };
            let bytes = found.f_bavail.saturating_mul(found.f_frsize);
            Ok(Free { device, bytes, inodes, total })
        })
    }

    /// Measures the free space with `probe`.
    pub fn with_probe(
        probe: impl Fn(&Path) -> io::Result<Free> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self { probe: Box::new(probe), books: Mutex::default() })
    }

    /// Reserves `need` on the file system of `path`, if `min_free` bytes stay free besides.
    ///
    /// # Errors
    /// [`SpaceError::TooLargeForDisk`] for a package that would not fit even if the file system were empty;
    /// [`SpaceError::TooLittle`], [`SpaceError::TooFewInodes`]; [`SpaceError::Unknown`] if the
    /// system does not report the free space.
    pub fn reserve(
        self: &Arc<Self>,
        path: &Path,
        need: Amount,
        min_free: u64,
    ) -> Result<Reservation, SpaceError> {
        let mut books = self.books();
        let keep = Amount { bytes: min_free, inodes: SPARE_INODES };
        if let Some(device) = books.ample(path, need.plus(keep)) {
            books.promise(device, need);
            return Ok(Reservation::of(self, device, need));
        }
        let free = (self.probe)(path)
            .map_err(|source| SpaceError::Unknown { path: path.into(), source })?;
        let least = need.plus(keep);
        let total = free.total;
        if least.bytes > total.bytes || total.inodes.is_some_and(|inodes| least.inodes > inodes) {
            let (path, total_bytes) = (path.into(), total.bytes);
            let (bytes, inodes) = (need.bytes, need.inodes);
            return Err(SpaceError::TooLargeForDisk { path, bytes, inodes, min_free, total_bytes });
        }
        let reserved = books.promised.get(&free.device).copied().unwrap_or_default();
        let wanted = least.plus(reserved);
        if wanted.bytes > free.bytes {
            return Err(SpaceError::TooLittle {
                path: path.into(),
                bytes: need.bytes,
                min_free,
                free_bytes: free.bytes,
                reserved_bytes: reserved.bytes,
            });
        }
        if let Some(free_inodes) = free.inodes.filter(|&free_inodes| wanted.inodes > free_inodes) {
            return Err(SpaceError::TooFewInodes {
                path: path.into(),
                inodes: need.inodes,
                min_free: SPARE_INODES,
                free_inodes,
                reserved_inodes: reserved.inodes,
            });
        }
        let seen = Seen { at: Instant::now(), free, promised: reserved };
        books.seen.insert(path.into(), seen);
        books.promise(free.device, need);
        Ok(Reservation::of(self, free.device, need))
    }

    fn give_back(&self, device: u64, amount: Amount) {
        if let Some(sum) = self.books().promised.get_mut(&device) {
            *sum = sum.minus(amount);
        }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Space").field("books", &self.books).finish_non_exhaustive()
    }
}

/// Whether a file system reports its own size. The size that a file server or a pool reports depends on
/// what else is stored there at the moment.
fn is_size_known(path: &Path) -> io::Result<bool> {
    let found = rustix::fs::statfs(path)?;
    // The type's width and sign differ by platform; the numbers have 32 bits.
    let is_pool = u32::try_from(found.f_type & 0xFFFF_FFFF).is_ok_and(|kind| POOLS.contains(&kind));
    Ok(found.f_blocks > 0 && !is_pool && !is_on_network(path)?)
}

/// Space reserved for one job; released when dropped.
#[derive(Debug)]
pub struct Reservation {
    space: Arc<Space>,
    device: u64,
    left: Mutex<Amount>,
}

impl Reservation {
    fn of(space: &Arc<Space>, device: u64, need: Amount) -> Self {
        Self { space: Arc::clone(space), device, left: Mutex::new(need) }
    }

    /// Records that `amount` is on disk now: it is no longer counted twice.
    pub fn written(&self, amount: Amount) {
        let mut left = self.left();
        let spent = amount.at_most(*left);
        *left = left.minus(spent);
        self.space.give_back(self.device, spent);
    }

    /// The amount that is still reserved.
    #[must_use]
    pub fn promised(&self) -> Amount {
        *self.left()
    }

    fn left(&self) -> MutexGuard<'_, Amount> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let left = *self.left();
        self.space.give_back(self.device, left);
    }
}

/// Why no space was reserved. Completes "failed to …".
#[derive(Debug, Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are what the message says of them")]
pub enum SpaceError {
    /// The package would not fit even if the file system were empty.
    #[error(
        "find {bytes} bytes and {inodes} inodes for it at {path:?}: the whole file system has room for \
         {total_bytes} bytes, of which {min_free} have to stay free"
    )]
    TooLargeForDisk { path: PathBuf, bytes: u64, inodes: u64, min_free: u64, total_bytes: u64 },
    /// Too few bytes are free.
    #[error(
        "find {bytes} bytes for it at {path:?}: {free_bytes} are free, {reserved_bytes} of them \
         promised to other packages, and {min_free} have to stay free; make room"
    )]
    TooLittle { path: PathBuf, bytes: u64, min_free: u64, free_bytes: u64, reserved_bytes: u64 },
    /// Enough bytes are free, but not enough inodes for the files and folders.
    #[error(
        "find {inodes} inodes for its files and folders at {path:?}: {free_inodes} are free, \
         {reserved_inodes} of them promised to other packages, and {min_free} have to stay free; \
         remove files there"
    )]
    TooFewInodes {
        path: PathBuf,
        inodes: u64,
        min_free: u64,
        free_inodes: u64,
        reserved_inodes: u64,
    },
    /// The system does not report the free space.
    #[error("ask how much is free at {path:?}")]
    Unknown { path: PathBuf, source: io::Error },
}

impl Failure for SpaceError {
    fn code(&self) -> &'static str {
        match self {
            Self::TooLargeForDisk { .. } => "too_large_for_disk",
            Self::TooLittle { .. } | Self::TooFewInodes { .. } => "no_space",
            Self::Unknown { .. } => "space_unknown",
        }
    }

    /// A full disk is full for every package, so the source waits. If the disk has room for others, and no
    /// package in work holds a reservation that it could release, only this package waits.
    fn disposition(&self) -> Disposition {
        match self {
            Self::TooLargeForDisk { .. } => Disposition::Quarantine,
            Self::TooLittle { free_bytes, reserved_bytes: 0, min_free, .. }
                if free_bytes.saturating_sub(*min_free) >= ROOM_FOR_OTHERS =>
            {
                Disposition::WaitAlone
            }
            Self::TooFewInodes { free_inodes, reserved_inodes: 0, min_free, .. }
                if free_inodes.saturating_sub(*min_free) >= INODES_FOR_OTHERS =>
            {
                Disposition::WaitAlone
            }
            Self::TooLittle { .. } | Self::TooFewInodes { .. } | Self::Unknown { .. } => {
                Disposition::Wait
            }
        }
    }
}

#[cfg(test)]
#[path = "space_tests.rs"]
mod tests;

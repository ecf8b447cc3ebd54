//! Limits on the number of jobs and pieces of work in each phase.

/// Unpacked bytes of small packages in flight for each thread. A thread unpacks them within the few
/// milliseconds that a busy system may take to run the Dispatcher. Another source waits for its turn no
/// longer than for one slice.
const SMALL_BYTES: u64 = 4 << 20;

/// The bounds of a [`Schedule`](super::Schedule); each at least 1, except `small_bytes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bounds {
    /// Pieces of work that the pool has received and not reported on.
    pub in_flight: usize,
    /// If there are only packages to open, more than `in_flight` of them may be in flight, as long as their
    /// expected sum of unpacked bytes is within this bound. Recent packages determine the expected size.
    pub small_bytes: u64,
    /// Packages of one source that wait in the landing to be claimed.
    pub waiting: usize,
    /// Packages that are open at the same time: claimed, and not yet completely unpacked.
    pub open: usize,
    /// Packages of one source that are with the Archiver. The bound is per source, so that a source with a
    /// slow archive delays no other.
    pub archiving: usize,
    /// Packages of one source that are being unpacked or are with its stages.
    pub ahead: usize,
}

impl Bounds {
    /// Returns the bounds for a pool of `workers` threads: twice the pool in flight, so that no extractor
    /// waits for a wake-up, and enough small packages for a few milliseconds.
    #[must_use]
    pub fn for_pool(workers: usize) -> Self {
        Self {
            in_flight: 2 * workers,
            small_bytes: SMALL_BYTES * workers as u64,
            waiting: 1024,
            open: (4 * workers).max(16),
            archiving: 256,
            ahead: 256,
        }
    }
}

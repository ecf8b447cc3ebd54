//! How much may be where at the same time.

/// Unpacked bytes of small packages in flight for each thread. It unpacks them within the few
/// milliseconds that a busy system may take to run the Dispatcher; another source waits no longer for
/// its turn than for one slice.
const SMALL_BYTES: u64 = 4 << 20;

/// The bounds of a [`Schedule`](super::Schedule); each at least 1, but for `small_bytes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bounds {
    /// Pieces of work that the pool has and has not reported on.
    pub in_flight: usize,
    /// While there are only packages to open, more of them than that are in flight, as long as they
    /// unpack to no more bytes than this together, going by those before them.
    pub small_bytes: u64,
    /// Packages of one source that wait in the landing to be claimed.
    pub waiting: usize,
    /// Packages that are open at the same time: claimed, and not yet all unpacked.
    pub open: usize,
    /// Packages of one source that are with the Archiver. Not of all: one whose archive is slow holds
    /// up nobody else.
    pub archiving: usize,
    /// Packages of one source that are being unpacked or are with its stages.
    pub ahead: usize,
}

impl Bounds {
    /// The bounds for a pool of `workers` threads: twice the pool in flight, so that no extractor
    /// waits for a wake-up, and of small packages enough for a few milliseconds.
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

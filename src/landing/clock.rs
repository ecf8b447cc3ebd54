//! [`DiskClock`]: the age of a change, by the clock that the file system itself uses.

use std::time::{Duration, Instant, SystemTime};

/// The time of a landing's file system, read once and advanced by a monotonic clock.
///
/// A file server has its own clock, and this host's clock can be set while the daemon runs. So file times
/// are compared only with the time of a file that was created on the same file system, and the time that
/// passes after that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskClock {
    disk: SystemTime,
    read: Instant,
}

impl DiskClock {
    /// Creates a clock that showed `disk` at the moment `read`.
    #[must_use]
    pub fn new(disk: SystemTime, read: Instant) -> Self {
        Self { disk, read }
    }

    /// Returns how long ago a change was.
    ///
    /// # Errors
    /// How far in the future the change is.
    pub fn age(&self, changed: SystemTime, now: Instant) -> Result<Duration, Duration> {
        let disk = self.disk + now.saturating_duration_since(self.read);
        disk.duration_since(changed).map_err(|ahead| ahead.duration())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn clock_of_a_disk_goes_on_steadily_whatever_this_hosts_shows() {
        let (noon, read) = (SystemTime::UNIX_EPOCH + 1_800_000_000 * SECOND, Instant::now());
        let clock = DiskClock::new(noon, read);
        assert_eq!(clock.age(noon - SECOND, read), Ok(SECOND));
        assert_eq!(clock.age(noon, read + 5 * SECOND), Ok(5 * SECOND));
        assert_eq!(clock.age(noon + 9 * SECOND, read + 5 * SECOND), Err(4 * SECOND));
    }
}

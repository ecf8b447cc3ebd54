//! [`DiskClock`]: how old a change is, by the clock that the file system itself writes.

use std::time::{Duration, Instant, SystemTime};

/// The time of a landing's file system, read once and carried on by a steady clock.
///
/// A file server has a clock of its own, and this host's can be set while the daemon runs. So file times
/// are compared only with the time of a file that was made on the same file system, and what passes
/// after that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskClock {
    disk: SystemTime,
    read: Instant,
}

impl DiskClock {
    /// A clock that showed `disk` at the moment `read`.
    #[must_use]
    pub fn new(disk: SystemTime, read: Instant) -> Self {
        Self { disk, read }
    }

    /// How long ago something changed.
    ///
    /// # Errors
    /// How far the change lies in the future.
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

//! [`until`]: waits for what other threads do.

use std::time::{Duration, Instant};

/// How long [`until`] waits before it fails the test.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `condition` holds, looking every few milliseconds, and lets actors work meanwhile.
///
/// For what happens outside of the test's reach: a folder that appears in the archive, a process that
/// ends. What an actor is sent is better awaited by a [`Probe`](super::Probe).
///
/// # Panics
/// Where it does not hold within 30 s; `what` completes "waited in vain until ".
pub async fn until(what: &str, condition: impl FnMut() -> bool) {
    until_within(PATIENCE, what, condition).await;
}

/// The same with another patience.
pub(super) async fn until_within(
    patience: Duration,
    what: &str,
    mut condition: impl FnMut() -> bool,
) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < patience, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

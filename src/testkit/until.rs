//! [`until`]: waits for an effect of other threads.

use std::time::{Duration, Instant};

/// How long [`until`] waits before it fails the test.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `condition` holds; checks it every few milliseconds, and lets actors work meanwhile.
///
/// For effects outside of the test's control: a folder that appears in the archive, a process that
/// ends. To wait for a message to an actor, use a [`Probe`](super::Probe).
///
/// # Panics
/// It does not hold within 30 s; `what` completes "waited in vain until ".
pub async fn until(what: &str, condition: impl FnMut() -> bool) {
    until_within(PATIENCE, what, condition).await;
}

/// The same with another time limit.
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

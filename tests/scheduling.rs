//! Where the daemon stands with the kernel's scheduler, on the real binary.

mod common;

use std::fs;
use std::time::Duration;

use common::daemon::Daemon;
use common::processes::poll_until;
use common::{Place, zips};

/// The scheduling policy of a process, or of its first thread: field 41 of proc(5)'s `stat`.
fn policy(stat: &str) -> Option<u32> {
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(38)?.parse().ok()
}

#[test]
fn daemon_interrupts_nobody_and_its_commands_are_scheduled_as_always() {
    const OTHER: Option<u32> = Some(0);
    const BATCH: Option<u32> = Some(3);
    const LONGEST: Duration = Duration::from_secs(60);
    let own = policy(&fs::read_to_string("/proc/self/stat").unwrap());
    assert_eq!(own, OTHER, "these tests run under a policy that somebody has chosen");
    let place = Place::new();
    let seen = place.path("seen");
    place.deliver("plate", &zips::deflated(&zips::sample(1)));
    let text = place.script(&format!("cat /proc/self/stat >{}", seen.display()), "");
    let daemon = Daemon::start(place.run_with(&text, &[]));
    let own = || fs::read_to_string(format!("/proc/{}/stat", daemon.pid())).unwrap();
    let batch = || (policy(&own()) == BATCH).then_some(());
    poll_until("the daemon's main thread is of another policy", LONGEST, batch);
    let archived = || place.archive().join("plate").exists().then_some(());
    poll_until("the package is archived", LONGEST, archived);
    assert_eq!(policy(&fs::read_to_string(&seen).unwrap()), OTHER);
}

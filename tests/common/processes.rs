//! Looks at `/proc` for processes that carry a marker, and waits for what it sees there.

use std::fs;
use std::time::{Duration, Instant};

use super::daemon::{DEADLINE, PACE, pause};

/// The variable that carries a marker, inherited by all that a command starts.
pub(crate) const MARKER: &str = "TEST_MARKER";

/// The environment that gives a command a marker, and a `PATH`.
pub(crate) fn environment(marker: &str) -> Vec<(String, String)> {
    vec![
        ("PATH".into(), std::env::var("PATH").unwrap_or("/usr/bin:/bin".into())),
        (MARKER.into(), marker.into()),
    ]
}

/// A process, as `/proc/PID/status` has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) parent: i32,
    pub(crate) name: String,
    pub(crate) state: String,
}

impl Process {
    pub(crate) fn read(pid: i32) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let field = |name: &str| {
            let line = status.lines().find(|line| line.split(':').next() == Some(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        Some(Self {
            pid,
            parent: field("PPid")?.parse().ok()?,
            name: field("Name")?,
            state: field("State")?,
        })
    }
}

fn pids() -> impl Iterator<Item = i32> {
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// Every live process with this marker in its environment. The dead have none there.
pub(crate) fn marked(marker: &str) -> Vec<Process> {
    let wanted = format!("{MARKER}={marker}");
    let carries = |pid: &i32| {
        fs::read(format!("/proc/{pid}/environ"))
            .is_ok_and(|environ| environ.split(|&b| b == 0).any(|v| v == wanted.as_bytes()))
    };
    pids().filter(carries).filter_map(Process::read).collect()
}

/// Every child of a process.
pub(crate) fn children(parent: i32) -> Vec<Process> {
    pids().filter_map(Process::read).filter(|process| process.parent == parent).collect()
}

/// Asks until there is an answer.
pub(crate) fn poll_until<T>(
    what: &str,
    longest: Duration,
    mut ask: impl FnMut() -> Option<T>,
) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begun.elapsed() < longest, "waited {longest:?} in vain for {what}");
        pause(PACE);
    }
}

/// Waits until this many processes carry a marker.
pub(crate) fn wait_for(marker: &str, count: usize) -> Vec<Process> {
    poll_until(&format!("{count} processes of {marker}"), DEADLINE, || {
        Some(marked(marker)).filter(|found| found.len() >= count)
    })
}

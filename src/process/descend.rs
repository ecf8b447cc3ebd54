//! Kills processes so that none can get away by forking.

use std::collections::{HashMap, HashSet};
use std::io;
use std::time::{Duration, Instant};

use nix::sys::signalfd::SignalFd;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, wait, waitpid};

use super::procfs::{Handle, Stat, processes};
use super::signals;

/// How long to wait for a death before looking again. Each death is told at once; this is for those
/// that are told to somebody else.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// How long processes that must not be killed are waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Kills and reaps everything below this process, which is a child subreaper.
///
/// Returns how many are left: those of another user, which must not be killed.
///
/// **Invariant:** whoever lost its parent below a subreaper is its child. So "no child" is "nobody".
pub(super) fn kill_descendants(signals: &SignalFd) -> io::Result<u32> {
    let this = std::process::id().cast_signed();
    let begun = Instant::now();
    loop {
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(Errno::CHILD) => return Ok(0),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let killed = kill_all(|| Ok(below(this, &processes()?)))?;
        if killed.handles.is_empty() && killed.refused > 0 && begun.elapsed() > PATIENCE {
            return Ok(killed.refused);
        }
        signals::await_signal(signals, LOOK_AGAIN)?;
    }
}

/// Kills and reaps the children of this process but for `spared`, and everything below them. Returns how
/// many were killed.
///
/// **Invariant:** no child of `spared` is waited for: each has somebody who waits for it.
pub(super) fn kill_adopted(spared: &HashSet<i32>) -> io::Result<usize> {
    let this = std::process::id().cast_signed();
    let begun = Instant::now();
    let mut count = 0;
    loop {
        let is_orphan = |process: &&Stat| process.parent == this && !spared.contains(&process.pid);
        let killed = kill_all(|| {
            let all = processes()?;
            let orphans = all.iter().filter(is_orphan);
            Ok(orphans
                .flat_map(|&orphan| [vec![orphan], below(orphan.pid, &all)].concat())
                .collect())
        })?;
        for (_, handle) in &killed.handles {
            let left = PATIENCE.saturating_sub(begun.elapsed());
            signals::poll(&mut [PollFd::new(handle.descriptor(), PollFlags::IN)], Some(left))?;
        }
        for dead in processes()?.iter().filter(is_orphan).filter(|process| process.is_dead()) {
            // Nobody else waits for it; should it be gone, it is reaped.
            Pid::from_raw(dead.pid).map(|pid| waitpid(Some(pid), WaitOptions::NOHANG).ok());
        }
        count += killed.handles.len();
        // Whoever was below one of them is a child of this process now.
        if killed.handles.is_empty() || begun.elapsed() > PATIENCE {
            return Ok(count);
        }
    }
}

/// Those of `all` that descend from a process.
pub(super) fn below(root: i32, all: &[Stat]) -> Vec<Stat> {
    let mut children: HashMap<i32, Vec<Stat>> = HashMap::new();
    for process in all {
        children.entry(process.parent).or_default().push(*process);
    }
    let mut found = Vec::new();
    let mut rest = vec![root];
    while let Some(parent) = rest.pop() {
        // Removed: pids that changed hands while they were listed could make a circle.
        for child in children.remove(&parent).unwrap_or_default() {
            rest.push(child.pid);
            found.push(child);
        }
    }
    found
}

/// What [`kill_all`] did.
pub(super) struct Killed {
    /// Who was sent SIGKILL.
    pub(super) handles: Vec<(Stat, Handle)>,
    /// How many must not be killed.
    pub(super) refused: u32,
}

/// Stops all that `find` finds until it finds nobody new, then kills them.
///
/// Whoever is stopped cannot fork, and a fork that a signal interrupts has not happened. So this
/// comes to an end even with one that forks without pause.
pub(super) fn kill_all(mut find: impl FnMut() -> io::Result<Vec<Stat>>) -> io::Result<Killed> {
    let mut held: HashMap<(i32, u64), Option<(Stat, Handle)>> = HashMap::new();
    loop {
        let mut fresh = false;
        for seen in find()? {
            if seen.is_dead() || held.contains_key(&(seen.pid, seen.start)) {
                continue;
            }
            let Some(handle) = Handle::open(seen) else { continue };
            fresh = true;
            let held_now = handle.send(Signal::STOP).is_ok().then_some((seen, handle));
            held.insert((seen.pid, seen.start), held_now);
        }
        if !fresh {
            break;
        }
    }
    let mut killed = Killed { handles: Vec::new(), refused: 0 };
    for held in held.into_values() {
        match held {
            Some((seen, handle)) if handle.send(Signal::KILL).is_ok() => {
                killed.handles.push((seen, handle));
            }
            _ => killed.refused += 1,
        }
    }
    Ok(killed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: i32, parent: i32) -> Stat {
        Stat { pid, parent, state: b'S', start: 0 }
    }

    #[test]
    fn descendants_of_a_process_are_all_generations_and_no_others() {
        let all = [(1, 0), (2, 1), (3, 2), (4, 3), (5, 1), (6, 5)].map(|(a, b)| process(a, b));
        let mut found: Vec<i32> = below(2, &all).iter().map(|found| found.pid).collect();
        found.sort_unstable();
        assert_eq!(found, [3, 4]);
    }

    #[test]
    fn descendants_in_a_circle_are_found_once() {
        let all = [process(3, 2), process(2, 3)];
        assert_eq!(below(2, &all).len(), 2, "the walk must end");
    }
}

//! Kills processes in a way that none can escape by forking.

use std::collections::{HashMap, HashSet};
use std::io;
use std::time::{Duration, Instant};

use nix::sys::signalfd::SignalFd;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, wait, waitpid};

use super::procfs::{Handle, Stat, processes};
use super::signals;

/// How long to wait for a death before the next look. Most deaths are signalled at once; this limit
/// is for those that are signalled to another process.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// How long to wait for processes that do not die, or that may not be killed.
const PATIENCE: Duration = Duration::from_secs(5);

/// Kills and reaps everything below this process, which is a child subreaper.
///
/// Returns how many are left: those of another user, which this process may not kill.
///
/// **Invariant:** a process that loses its parent below a subreaper becomes the subreaper's child.
/// So if there is no child, there is no descendant.
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

/// Kills and reaps the children of this process except `spared`, and everything below those
/// children. Returns how many were killed.
///
/// **Invariant:** this never waits for a child in `spared`: each of them has its own thread that
/// waits for it.
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
            // No other thread waits for this process. If it is gone, it was reaped.
            Pid::from_raw(dead.pid).map(|pid| waitpid(Some(pid), WaitOptions::NOHANG).ok());
        }
        count += killed.handles.len();
        // Processes below a killed one are now children of this process.
        if killed.handles.is_empty() || begun.elapsed() > PATIENCE {
            return Ok(count);
        }
    }
}

/// Returns the processes of `all` that descend from `root`.
pub(super) fn below(root: i32, all: &[Stat]) -> Vec<Stat> {
    let mut children: HashMap<i32, Vec<Stat>> = HashMap::new();
    for process in all {
        children.entry(process.parent).or_default().push(*process);
    }
    let mut found = Vec::new();
    let mut rest = vec![root];
    while let Some(parent) = rest.pop() {
        // `remove`, not `get`: pids that were reused during the listing could form a cycle.
        for child in children.remove(&parent).unwrap_or_default() {
            rest.push(child.pid);
            found.push(child);
        }
    }
    found
}

/// The result of [`kill_all`].
pub(super) struct Killed {
    /// The processes that were sent SIGKILL.
    pub(super) handles: Vec<(Stat, Handle)>,
    /// How many processes refused a signal: this process may not kill them.
    pub(super) refused: u32,
}

/// Stops every process that `find` returns until it returns no new one, then kills them.
///
/// A stopped process cannot fork, and a fork that a signal interrupts has not happened. So this
/// loop ends even against a process that forks without pause.
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

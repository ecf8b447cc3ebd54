//! Finds and kills processes that a dead daemon left, by the mark in their environment.
//!
//! A process that clears its environment, or overwrites it to change its title, is not found.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};

use super::descend::{below, kill_all};
use super::procfs::{Handle, Stat, boot_id, processes};
use super::signals;
use super::spec::{Daemon, MARK_VARIABLE, Mark};

/// How long killed processes may take to die. One that waits for an unreachable file server dies
/// only when the server is back.
const PATIENCE: Duration = Duration::from_secs(2);

/// A process that was left by an earlier run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// Its process id.
    pub pid: i32,
    /// The id of the job that the process worked for.
    pub job: String,
    /// The attempt at that job, counted from 1.
    pub attempt: u32,
}

/// Kills processes that the commands of an earlier run left, and everything below them: those whose
/// mark names a job of ours and a daemon that is gone. Call this at the start, before any command
/// runs.
///
/// `is_ours` gets the id of a job as text. The processes of another daemon must be left alone.
///
/// Returns the killed processes. They are dead by then, except those that hang in the kernel.
///
/// # Errors
/// `/proc` cannot be listed.
pub fn kill_leftovers(is_ours: &dyn Fn(&str) -> bool) -> io::Result<Vec<Leftover>> {
    let boot = boot_id();
    kill_marked(&|mark| mark.daemon.boot == boot && is_gone(&mark.daemon) && is_ours(&mark.job))
}

/// Returns the processes that work for a job of ours, whichever daemon started them. Kills none.
///
/// # Errors
/// `/proc` cannot be listed.
pub fn marked(is_ours: &dyn Fn(&str) -> bool) -> io::Result<Vec<Leftover>> {
    let living = processes()?.into_iter().filter(|process| !process.is_dead());
    let marked = living.filter_map(|process| {
        let Mark { job, attempt, .. } = mark_of(process.pid).filter(|mark| is_ours(&mark.job))?;
        Some(Leftover { pid: process.pid, job, attempt })
    });
    Ok(marked.collect())
}

/// Kills the remaining processes of one attempt.
pub(super) fn kill_run(run: &Mark) -> io::Result<Vec<Leftover>> {
    kill_marked(&|mark| mark == run)
}

/// Whether the daemon's process is gone. Its pid may belong to another process by now.
fn is_gone(daemon: &Daemon) -> bool {
    Stat::read(&daemon.pid.to_string())
        .map_or(true, |now| now.start != daemon.start || now.is_dead())
}

fn kill_marked(condemned: &dyn Fn(&Mark) -> bool) -> io::Result<Vec<Leftover>> {
    let mut found = Vec::new();
    let mut known = HashSet::new();
    let mut kill = || {
        kill_all(|| {
            let all = processes()?;
            let spared = lineage(&all);
            let mut seen = HashSet::new();
            let mut doomed = Vec::new();
            for process in &all {
                let Some(mark) = mark_of(process.pid).filter(|mark| condemned(mark)) else {
                    continue;
                };
                for member in std::iter::once(*process).chain(below(process.pid, &all)) {
                    if spared.contains(&member.pid) || !seen.insert(member.pid) {
                        continue;
                    }
                    if known.insert((member.pid, member.start)) {
                        let (job, attempt) = (mark.job.clone(), mark.attempt);
                        found.push(Leftover { pid: member.pid, job, attempt });
                    }
                    doomed.push(member);
                }
            }
            Ok(doomed)
        })
    };
    let begun = Instant::now();
    let killed = kill()?;
    for (_, handle) in &killed.handles {
        await_end(handle, PATIENCE.saturating_sub(begun.elapsed()))?;
    }
    Ok(found)
}

fn await_end(handle: &Handle, longest: Duration) -> io::Result<()> {
    signals::poll(&mut [PollFd::new(handle.descriptor(), PollFlags::IN)], Some(longest))
}

/// Returns this process and its ancestors: a daemon may itself run inside a command.
fn lineage(all: &[Stat]) -> HashSet<i32> {
    let mut line = HashSet::new();
    let mut next = std::process::id().cast_signed();
    while line.insert(next) {
        match all.iter().find(|process| process.pid == next) {
            Some(process) => next = process.parent,
            None => break,
        }
    }
    line
}

/// Reads the mark of a process. `None` if it has none, or if its environment may not be read.
fn mark_of(pid: i32) -> Option<Mark> {
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    environment.split(|&byte| byte == 0).find_map(|variable| {
        let value = variable.strip_prefix(MARK_VARIABLE.as_bytes())?.strip_prefix(b"=")?;
        Mark::parse(str::from_utf8(value).ok()?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_of_a_job_is_found_while_it_lives() {
        let job = format!("job-of-{}", std::process::id());
        let is_ours = |id: &str| id == job;
        let mut sleeper = std::process::Command::new("sleep");
        sleeper.arg("60").env(MARK_VARIABLE, Mark::new(job.as_str(), 2).unwrap().to_string());
        let mut child = sleeper.spawn().unwrap();
        // Between fork and exec, a child still has its parent's environment.
        let begun = Instant::now();
        let mut found = Vec::new();
        while found.is_empty() && begun.elapsed() < PATIENCE {
            found = marked(&is_ours).unwrap();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let pid = child.id().cast_signed();
        assert_eq!(found, [Leftover { pid, job: job.clone(), attempt: 2 }]);
        assert_eq!(marked(&is_ours).unwrap(), []);
    }
}

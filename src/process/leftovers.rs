//! Finds and kills what a dead daemon left behind, by the mark in its environment.
//!
//! Whoever clears its environment, or overwrites it to change its title, is not found.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};

use super::descend::{below, kill_all};
use super::procfs::{Handle, Stat, boot_id, processes};
use super::signals;
use super::spec::{Daemon, MARK_VARIABLE, Mark};

/// How long the killed may take to die. One that waits for a dead file server dies when that is back.
const PATIENCE: Duration = Duration::from_secs(2);

/// A process that was left behind, and killed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// Its process id.
    pub pid: i32,
    /// The id of the job that it worked for.
    pub job: String,
    /// The attempt at it, counted from 1.
    pub attempt: u32,
}

/// Kills what an earlier run's commands left: processes whose mark names a job of ours and a daemon
/// that is gone; and everything below those. For the start, before anything runs.
///
/// `is_ours` is asked about the id of a job, as text: another daemon's must be left alone.
///
/// Answers whom it killed. They are dead by then, but for those that hang in the kernel.
///
/// # Errors
/// `/proc` cannot be listed.
pub fn kill_leftovers(is_ours: &dyn Fn(&str) -> bool) -> io::Result<Vec<Leftover>> {
    let boot = boot_id();
    kill_marked(&|mark| mark.daemon.boot == boot && is_gone(&mark.daemon) && is_ours(&mark.job))
}

/// Who works for a job of ours, whatever daemon started it; kills nobody.
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

/// Kills what is left of one attempt.
pub(super) fn kill_run(run: &Mark) -> io::Result<Vec<Leftover>> {
    kill_marked(&|mark| mark == run)
}

/// Whether the process that had this pid then is not there any more.
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

/// This process and those above it: a daemon may itself run in some command.
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

/// The mark of a process; none where it has none, or its environment must not be read.
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
        // Between fork and exec a child has its parent's environment.
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

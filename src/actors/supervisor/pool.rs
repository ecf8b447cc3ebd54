//! Whether every thread of the extractor pool makes progress.
//!
//! A working thread answers no message, so it is observed: a thread whose step count has not grown for
//! long hangs, in a dead file system for example. That is reported and waited out: this process cannot
//! help a thread that is stuck in the kernel. A slow thread that advances is healthy, however long it
//! takes.

use std::time::Duration;

use slog::{Logger, info, warn};
use tokio::time::Instant;

use crate::messages::ThreadHealth;
use crate::progress::{Sighting, Task};

/// A standstill that is reported.
pub(super) const STALL: Duration = Duration::from_secs(60);

/// The last sighting of each thread, and since when it has not changed.
pub(super) struct Watch {
    stall: Duration,
    threads: Vec<Thread>,
}

struct Thread {
    seen: Sighting,
    since: Instant,
    /// The task of a standstill that was reported and has not ended.
    stuck: Option<Task>,
}

/// A thread has stalled, or advances again.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    Stalled { thread: usize, task: Task, still_for: Duration },
    Moves { thread: usize, task: Task, after: Duration },
}

impl Watch {
    pub(super) fn new(stall: Duration) -> Self {
        Self { stall, threads: Vec::new() }
    }

    /// Compares the current sightings, thread by thread, with the previous ones. Each standstill is
    /// reported once, and so is its end.
    pub(super) fn judge(&mut self, now: Instant, seen: Vec<Sighting>) -> Vec<Change> {
        let mut changes = Vec::new();
        for (number, seen) in seen.into_iter().enumerate() {
            let Some(thread) = self.threads.get_mut(number) else {
                self.threads.push(Thread { seen, since: now, stuck: None });
                continue;
            };
            let still_for = now.duration_since(thread.since);
            if seen != thread.seen {
                (thread.seen, thread.since) = (seen, now);
                if let Some(task) = thread.stuck.take() {
                    changes.push(Change::Moves { thread: number, task, after: still_for });
                }
            } else if let Some(task) = &seen.task
                && still_for >= self.stall
                && thread.stuck.is_none()
            {
                thread.stuck = Some(task.clone());
                let task = task.clone();
                changes.push(Change::Stalled { thread: number, task, still_for });
            }
        }
        changes
    }

    pub(super) fn health(&self, now: Instant) -> Vec<ThreadHealth> {
        let health = |thread: &Thread| {
            let task = thread.seen.task.clone();
            let still_for =
                if task.is_some() { now.duration_since(thread.since) } else { Duration::ZERO };
            ThreadHealth { task, still_for, stalled: still_for >= self.stall }
        };
        self.threads.iter().map(health).collect()
    }
}

impl Change {
    pub(super) fn report(&self, log: &Logger) {
        let (Self::Stalled { thread, task, .. } | Self::Moves { thread, task, .. }) = self;
        let (source, name) = match &task.package {
            Some((source, name)) => (source.to_string(), name.to_string()),
            None => Default::default(),
        };
        let facts = slog::o!("thread" => *thread, "job" => task.job.to_string(), "name" => name,
            "source" => source);
        let log = log.new(facts);
        match self {
            Self::Stalled { still_for, .. } => {
                warn!(log, "an extractor does not get on, the file system that it works on may hang";
                    "still_for" => ?still_for, "code" => "pool_stalled");
            }
            Self::Moves { after, .. } => {
                info!(log, "an extractor gets on again"; "after" => ?after);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::JobId;

    fn at(steps: u64, task: &Task) -> Vec<Sighting> {
        vec![Sighting { steps, task: Some(task.clone()) }]
    }

    fn task() -> Task {
        Task { job: JobId::generate(), package: None }
    }

    #[test]
    fn thread_that_moves_by_one_step_a_round_is_well_however_long_it_takes() {
        let (mut watch, task, start) = (Watch::new(STALL), task(), Instant::now());
        for round in 0..1000 {
            let now = start + 59 * round * Duration::from_secs(1);
            assert_eq!(watch.judge(now, at(round.into(), &task)), [], "round {round}");
            assert!(!watch.health(now)[0].stalled, "round {round}");
        }
    }

    #[test]
    fn thread_that_stands_still_is_told_of_once_and_again_once_it_moves() {
        let (mut watch, task, start) = (Watch::new(STALL), task(), Instant::now());
        let second = |n| start + n * Duration::from_secs(1);
        let mut changes = Vec::new();
        for round in 0..20 {
            changes.extend(watch.judge(second(round * 10), at(7, &task)));
        }
        let stalled =
            Change::Stalled { thread: 0, task: task.clone(), still_for: Duration::from_secs(60) };
        assert_eq!(changes, [stalled], "a standstill is one loud line");
        assert!(watch.health(second(190))[0].stalled);
        let after = Duration::from_secs(200);
        let moves = Change::Moves { thread: 0, task: task.clone(), after };
        assert_eq!(watch.judge(second(200), at(8, &task)), [moves]);
        assert!(!watch.health(second(200))[0].stalled);
    }

    #[test]
    fn thread_that_waits_for_work_is_well_and_its_wait_does_not_count_against_its_next_job() {
        let (mut watch, start) = (Watch::new(STALL), Instant::now());
        let second = |n| start + n * Duration::from_secs(1);
        let idle = || vec![Sighting { steps: 7, task: None }];
        assert_eq!(watch.judge(second(0), idle()), []);
        assert_eq!(watch.judge(second(3600), idle()), []);
        assert!(!watch.health(second(3600))[0].stalled);
        let task = task();
        assert_eq!(watch.judge(second(3610), at(8, &task)), []);
        assert_eq!(watch.judge(second(3669), at(8, &task)), []);
        assert_eq!(watch.judge(second(3670), at(8, &task)).len(), 1);
    }

    #[test]
    fn thread_that_stands_still_beside_one_that_moves_is_the_one_that_is_named() {
        let (mut watch, start) = (Watch::new(STALL), Instant::now());
        let (one, other) = (task(), task());
        let mut seen = |n: u64| {
            let both = [at(n, &one), at(5, &other)].concat();
            watch.judge(start + Duration::from_secs(n), both)
        };
        assert_eq!(seen(0), []);
        let changes = seen(60);
        assert!(
            matches!(&changes[..], [Change::Stalled { thread: 1, task, .. }] if *task == other)
        );
    }
}

//! Whether a thread of a pool gets on: what it works on, and a count that grows with whatever it does.
//!
//! In: [`Steps::add`], from the loops of the work itself. Out: [`Sighting`]s, for whoever compares
//! them over time. A thread cannot be asked as an actor can: while it works it answers nobody, be it
//! for a copy of 100 GiB or for a file system that has died. The count tells the two apart.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::id::{JobId, PackageName, SourceName};

/// Counts what was done: a buffer read or written, an entry made. Never goes back.
#[derive(Debug, Default)]
pub struct Steps(AtomicU64);

impl Steps {
    /// One more. Costs about a nanosecond while only one thread counts.
    pub fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// All of them so far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a thread works on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// The job.
    pub job: JobId,
    /// The source and the name of its package; none before the thread has looked.
    pub package: Option<(SourceName, PackageName)>,
}

/// How far one thread has come.
#[derive(Debug, Default)]
pub struct Progress {
    steps: Arc<Steps>,
    task: Mutex<Option<Task>>,
}

impl Progress {
    /// What the thread counts with, also where a part of its work is done on another one.
    #[must_use]
    pub fn steps(&self) -> &Arc<Steps> {
        &self.steps
    }

    /// The thread begins with something.
    pub fn take_up(&self, task: Task) {
        self.steps.add();
        *self.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
    }

    /// The thread has nothing to do.
    pub fn rest(&self) {
        self.steps.add();
        *self.task.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// What is to be seen of the thread at the moment.
    #[must_use]
    pub fn look(&self) -> Sighting {
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Sighting { steps: self.steps.get(), task }
    }
}

/// What was seen of one thread at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// Its count.
    pub steps: u64,
    /// What it works on; none: it waits for work.
    pub task: Option<Task>,
}

/// The threads of a pool, in the order in which they joined it. None leaves before the pool ends.
#[derive(Debug, Default)]
pub struct Roster(Mutex<Vec<Arc<Progress>>>);

impl Roster {
    /// One more thread.
    #[must_use]
    pub fn join(&self) -> Arc<Progress> {
        let progress = Arc::<Progress>::default();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&progress));
        progress
    }

    /// One sighting for each thread, in their order.
    #[must_use]
    pub fn look(&self) -> Vec<Sighting> {
        let threads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        threads.iter().map(|thread| thread.look()).collect()
    }
}

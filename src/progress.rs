//! Shows whether a thread of a pool makes progress: its task, and a count that grows with each step.
//!
//! In: [`Steps::add`], from the loops of the work itself. Out: [`Sighting`]s, for a caller that
//! compares them over time. A thread cannot be queried like an actor: while it works it answers no
//! messages, whether it copies 100 GiB or hangs in a dead file system. The count distinguishes the
//! two.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::id::{JobId, PackageName, SourceName};

/// Counts steps of work: a buffer read or written, an entry created. Never decreases.
#[derive(Debug, Default)]
pub struct Steps(AtomicU64);

impl Steps {
    /// Adds one step. Costs about a nanosecond while only one thread counts.
    pub fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the number of steps so far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The task of a thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// The job.
    pub job: JobId,
    /// The source and the name of the job's package. `None` until the thread has read them.
    pub package: Option<(SourceName, PackageName)>,
}

/// The progress of one thread.
#[derive(Debug, Default)]
pub struct Progress {
    steps: Arc<Steps>,
    task: Mutex<Option<Task>>,
}

impl Progress {
    /// Returns the thread's counter, also for a part of its work that runs on another thread.
    #[must_use]
    pub fn steps(&self) -> &Arc<Steps> {
        &self.steps
    }

    /// Records that the thread starts a task.
    pub fn take_up(&self, task: Task) {
        self.steps.add();
        *self.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
    }

    /// Records that the thread is idle.
    pub fn rest(&self) {
        self.steps.add();
        *self.task.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Returns the current state of the thread.
    #[must_use]
    pub fn look(&self) -> Sighting {
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Sighting { steps: self.steps.get(), task }
    }
}

/// The state of one thread at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// The number of steps.
    pub steps: u64,
    /// The task. `None` if the thread waits for work.
    pub task: Option<Task>,
}

/// The threads of a pool, in the order in which they joined it. No thread leaves before the pool ends.
#[derive(Debug, Default)]
pub struct Roster(Mutex<Vec<Arc<Progress>>>);

impl Roster {
    /// Adds a thread, and returns its progress.
    #[must_use]
    pub fn join(&self) -> Arc<Progress> {
        let progress = Arc::<Progress>::default();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&progress));
        progress
    }

    /// Returns one sighting for each thread, in the order in which they joined.
    #[must_use]
    pub fn look(&self) -> Vec<Sighting> {
        let threads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        threads.iter().map(|thread| thread.look()).collect()
    }
}

//! Copies to other file systems: the queue and the running copies of each target.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use slog::Logger;
use tokio::sync::{mpsc, oneshot};

use super::batch::{self, Done, Pending, Slowly, ZipCheck};
use super::books::Books;
use crate::actors::lifeline::Hold;
use crate::id::SourceName;
use crate::publish::Copying;
use crate::workspace::Site;

/// Threads that copy to one target: one waits for the target's disk while the other reads.
const THREADS: usize = 2;

/// Maximum number of jobs that are copied together, with one sync.
const BATCH: usize = 32;

/// The copies that a pipeline has to make.
pub(super) struct Copies {
    copying: Copying,
    books: Arc<Books>,
    check: ZipCheck,
    /// Keeps another pipeline out of the work area while a copy is being made.
    hold: Hold,
    targets: HashMap<PathBuf, Queue>,
    /// Each thread holds a clone: the channel closes when the last thread has ended.
    alive: Option<mpsc::Sender<Infallible>>,
    gone: Option<mpsc::Receiver<Infallible>>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Pending>,
    running: usize,
}

impl Copies {
    pub(super) fn new(copying: Copying, books: Arc<Books>, hold: Hold) -> Self {
        let (alive, gone) = mpsc::channel(1);
        let targets = HashMap::new();
        let check: ZipCheck = Arc::new(|_, _, _| Ok(false));
        Self { copying, books, check, hold, targets, alive: Some(alive), gone: Some(gone) }
    }

    /// Sets the check for touched ZIPs; without a check they count as changed.
    pub(super) fn set_check(&mut self, check: ZipCheck) {
        self.check = check;
    }

    pub(super) fn push(&mut self, target: &Path, pending: Pending) {
        self.targets.entry(target.into()).or_default().waiting.push_back(pending);
    }

    /// Starts a thread with the next jobs for a target. `None` if there are no jobs, or if the maximum
    /// number of threads runs. The receiver ends without a value if the thread panicked. `Err` if the
    /// system cannot create a thread; the jobs stay in the queue.
    pub(super) fn start(
        &mut self,
        target: &Path,
        sites: &Arc<HashMap<SourceName, Arc<Site>>>,
        log: &Logger,
    ) -> Option<io::Result<oneshot::Receiver<Done>>> {
        let alive = self.alive.clone()?;
        let queue = self.targets.get_mut(target)?;
        let free = THREADS.saturating_sub(queue.running);
        if free == 0 || queue.waiting.is_empty() {
            return None;
        }
        queue.running += 1;
        // The waiting jobs are shared among the free threads, so that a large package among them delays at
        // most half of the others.
        let count = queue.waiting.len().div_ceil(free).min(BATCH);
        let next: Vec<Pending> = queue.waiting.drain(..count).collect();
        // Shared, so that the jobs are not lost with a thread that could not be started.
        let next = Arc::new(Mutex::new(next));
        let taken = Arc::clone(&next);
        let (tell, told) = oneshot::channel();
        let (sites, log, copying) = (Arc::clone(sites), log.clone(), self.copying.clone());
        let hold = self.hold.clone();
        let (books, check) = (Arc::clone(&self.books), Arc::clone(&self.check));
        let work = move || {
            let next = std::mem::take(&mut *taken.lock().unwrap_or_else(PoisonError::into_inner));
            let done = batch::settle(
                &sites,
                next,
                Some(Slowly { copying: &copying, check: &check }),
                &books,
                &log,
            );
            tell.send(done).ok(); // after a stop nothing receives it, and the next start continues
            drop((alive, hold));
        };
        // A separate thread, not the Archiver's: a hanging file server must not delay the Archiver's end.
        match std::thread::Builder::new().name("copier".to_owned()).spawn(work) {
            Ok(_) => Some(Ok(told)),
            Err(error) => {
                queue.running -= 1;
                let mut next = next.lock().unwrap_or_else(PoisonError::into_inner);
                for pending in next.drain(..).rev() {
                    queue.waiting.push_front(pending);
                }
                Some(Err(error))
            }
        }
    }

    /// Records that a thread for a target has ended.
    pub(super) fn ended(&mut self, target: &Path) {
        if let Some(queue) = self.targets.get_mut(target) {
            queue.running = queue.running.saturating_sub(1);
        }
    }

    /// Aborts the running copies; resolves when the threads have ended.
    pub(super) fn stop(&mut self) -> impl Future<Output = ()> + use<> {
        self.copying.stop();
        self.alive = None;
        for queue in self.targets.values_mut() {
            queue.waiting.drain(..).for_each(Pending::leave);
        }
        let gone = self.gone.take();
        async move {
            if let Some(mut gone) = gone {
                gone.recv().await; // no value is ever sent
            }
        }
    }
}

impl Drop for Copies {
    /// Aborts the copies of an Archiver that panicked: it is restarted, and its copies with it.
    fn drop(&mut self) {
        self.copying.stop();
    }
}

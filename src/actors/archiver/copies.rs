//! Copies to other file systems: which wait, and which are being made, for each target by itself.

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

/// Threads that copy to one target: one waits for its disk while the other reads.
const THREADS: usize = 2;

/// Jobs that are copied together, with one sync.
const BATCH: usize = 32;

/// The copies that a pipeline has to make.
pub(super) struct Copies {
    copying: Copying,
    books: Arc<Books>,
    check: ZipCheck,
    /// Keeps another pipeline from the work area while a copy is being made.
    hold: Hold,
    targets: HashMap<PathBuf, Queue>,
    /// Each thread holds one: when the last is gone, so are they.
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

    /// Has ZIPs that were touched looked into; without it they count as changed.
    pub(super) fn set_check(&mut self, check: ZipCheck) {
        self.check = check;
    }

    pub(super) fn push(&mut self, target: &Path, pending: Pending) {
        self.targets.entry(target.into()).or_default().waiting.push_back(pending);
    }

    /// Starts a thread with the next jobs for a target; `None` if there are none, or as many threads as
    /// may be. What it gives ends without a value if the thread panicked. An error says that the system has
    /// no thread to give; the jobs wait on.
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
        // What is there is shared among the threads that are free, so that a large package in it
        // holds up half of the others at most.
        let count = queue.waiting.len().div_ceil(free).min(BATCH);
        let next: Vec<Pending> = queue.waiting.drain(..count).collect();
        // Shared, so that they are not lost with a thread that could not be started.
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
            tell.send(done).ok(); // after a stop nobody listens, and the next start goes on
            drop((alive, hold));
        };
        // Not the Archiver's own thread: a file server that hangs must not hold up its end.
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

    /// A thread for a target has ended.
    pub(super) fn ended(&mut self, target: &Path) {
        if let Some(queue) = self.targets.get_mut(target) {
            queue.running = queue.running.saturating_sub(1);
        }
    }

    /// Breaks off what is being copied; resolves when the threads have ended.
    pub(super) fn stop(&mut self) -> impl Future<Output = ()> + use<> {
        self.copying.stop();
        self.alive = None;
        for queue in self.targets.values_mut() {
            queue.waiting.drain(..).for_each(Pending::leave);
        }
        let gone = self.gone.take();
        async move {
            if let Some(mut gone) = gone {
                gone.recv().await; // nothing is ever sent
            }
        }
    }
}

impl Drop for Copies {
    /// An Archiver that panicked is started again, and its copies with it.
    fn drop(&mut self) {
        self.copying.stop();
    }
}

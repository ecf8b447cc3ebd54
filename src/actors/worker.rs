//! [`Worker`]: a thread of an actor's own for what blocks, one piece after the other.
//!
//! It is kept for as long as its actor lives. The runtime's own threads end when they have nothing to
//! do, and the runtime panics when the system has no new one to give.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;

/// How long to wait before the system is asked for a thread once more.
pub(super) const NO_THREAD_PAUSE: Duration = Duration::from_secs(1);

type Piece = Box<dyn FnOnce() + Send>;

/// A thread that works for one actor; it ends after its last piece when this is dropped.
pub(super) struct Worker {
    name: &'static str,
    pieces: Option<Sender<Piece>>,
}

impl Worker {
    /// One whose thread is still to be started.
    pub(super) fn new(name: &'static str) -> Self {
        Self { name, pieces: None }
    }

    /// Starts the thread, if there is none yet.
    ///
    /// # Errors
    /// The system has none to give.
    pub(super) fn start(&mut self) -> io::Result<()> {
        if self.pieces.is_some() {
            return Ok(());
        }
        let (to, pieces) = channel::<Piece>();
        thread::Builder::new().name(self.name.to_owned()).spawn(move || {
            for piece in pieces {
                // What a panic leaves undone is seen by whoever waits for it.
                drop(catch_unwind(AssertUnwindSafe(piece)));
            }
        })?;
        self.pieces = Some(to);
        Ok(())
    }

    /// Has a piece done. What is returned ends without a value where the piece panicked, and where the
    /// thread was not started.
    pub(super) fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> oneshot::Receiver<T> {
        let (tell, told) = oneshot::channel();
        if let Some(pieces) = &self.pieces {
            let piece = Box::new(move || drop(tell.send(work())));
            pieces.send(piece).ok(); // the thread lives as long as this does
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix::test]
    async fn worker_does_one_piece_after_the_other_and_outlives_a_panic() {
        let mut worker = Worker::new("test");
        assert!(worker.run(|| 1).await.is_err(), "it was not started");
        worker.start().unwrap();
        let thread = worker.run(|| thread::current().id()).await.unwrap();
        assert!(worker.run(|| panic!("as the test wants it")).await.is_err());
        assert_eq!(worker.run(|| thread::current().id()).await.unwrap(), thread);
    }
}

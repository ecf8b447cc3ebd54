//! [`Worker`]: one thread per actor for blocking work; runs one piece after the other.
//!
//! The thread is kept for as long as its actor lives. The runtime's own threads end when idle, and the
//! runtime panics if the system cannot create a new one.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;

/// The pause before another attempt to create a thread.
pub(super) const NO_THREAD_PAUSE: Duration = Duration::from_secs(1);

type Piece = Box<dyn FnOnce() + Send>;

/// A thread that works for one actor; when this is dropped, the thread ends after its last piece.
pub(super) struct Worker {
    name: &'static str,
    pieces: Option<Sender<Piece>>,
}

impl Worker {
    /// Creates a worker; its thread is not started yet.
    pub(super) fn new(name: &'static str) -> Self {
        Self { name, pieces: None }
    }

    /// Starts the thread if it is not running yet.
    ///
    /// # Errors
    /// The system cannot create a thread.
    pub(super) fn start(&mut self) -> io::Result<()> {
        if self.pieces.is_some() {
            return Ok(());
        }
        let (to, pieces) = channel::<Piece>();
        thread::Builder::new().name(self.name.to_owned()).spawn(move || {
            for piece in pieces {
                // After a panic, a caller that waits for the piece gets an error.
                drop(catch_unwind(AssertUnwindSafe(piece)));
            }
        })?;
        self.pieces = Some(to);
        Ok(())
    }

    /// Runs `work` on the thread. The receiver ends without a value if `work` panicked, or if the thread
    /// was not started.
    pub(super) fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> oneshot::Receiver<T> {
        let (tell, told) = oneshot::channel();
        if let Some(pieces) = &self.pieces {
            let piece = Box::new(move || drop(tell.send(work())));
            pieces.send(piece).ok(); // the thread lives as long as `self`
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

//! Decodes on one thread and writes on another, for entries that are large enough.
//!
//! In: decoded parts. Out: the same parts, in order, on the writing thread. The buffers are reused:
//! at most [`BUFFERS`] exist.

use std::panic;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;

use super::decode::Parts;
use super::error::ExtractError;

/// How many parts can be between the two threads.
const BUFFERS: usize = 8;

/// Runs `decode` on this thread and `write` on a new one, or both on this thread if the system
/// cannot start another. Returns when both have ended.
pub(super) fn overlap(
    decode: impl FnOnce(&mut dyn Parts) -> Result<(), ExtractError>,
    mut write: impl FnMut(&[u8]) -> Result<(), ExtractError> + Send,
) -> Result<(), ExtractError> {
    let (full_sender, full) = mpsc::sync_channel::<(Vec<u8>, usize)>(BUFFERS);
    let (empty_sender, empty) = mpsc::sync_channel(BUFFERS);
    let mut decode = Some(decode);
    let to = &mut write;
    let both = thread::scope(|scope| {
        let writer = thread::Builder::new().spawn_scoped(scope, move || {
            for (part, len) in full {
                to(&part[..len])?;
                // Fails once decoding has ended, which may be before the last parts are written.
                drop(empty_sender.try_send(part));
            }
            Ok(())
        });
        let writer = writer.ok()?;
        let decode = decode.take()?;
        let mut relay = Relay { full: full_sender, empty, made: 1 };
        let decoded = decode(&mut relay);
        drop(relay);
        // If writing failed, decoding only knows that its parts are no longer accepted.
        Some(writer.join().unwrap_or_else(|payload| panic::resume_unwind(payload)).and(decoded))
    });
    match (both, decode) {
        (Some(done), _) => done,
        (None, Some(decode)) => decode(&mut Here(write)),
        (None, None) => Err(ExtractError::Stopped), // cannot happen: it was not taken
    }
}

/// Writes on the decoding thread.
struct Here<F>(F);

impl<F: FnMut(&[u8]) -> Result<(), ExtractError>> Parts for Here<F> {
    fn take(&mut self, part: &mut Vec<u8>, len: usize) -> Result<(), ExtractError> {
        (self.0)(&part[..len])
    }
}

struct Relay {
    full: SyncSender<(Vec<u8>, usize)>,
    empty: Receiver<Vec<u8>>,
    made: usize,
}

impl Parts for Relay {
    fn take(&mut self, part: &mut Vec<u8>, len: usize) -> Result<(), ExtractError> {
        let next = match self.empty.try_recv() {
            Ok(next) => next,
            Err(_) if self.made < BUFFERS => {
                self.made += 1;
                Vec::new()
            }
            Err(_) => self.empty.recv().map_err(|_| ExtractError::Stopped)?,
        };
        let sent = std::mem::replace(part, next);
        self.full.send((sent, len)).map_err(|_| ExtractError::Stopped)
    }
}

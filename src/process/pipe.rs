//! The output of a command: passed on from its pipe in chunks, without waiting.

use std::io::{self, PipeReader};

use rustix::io::Errno;

/// Bytes that are taken from a command's output at a time: what a pipe holds.
const CHUNK_BYTES: usize = 64 * 1024;

/// What is read, at most, of an output that goes on though nobody of the command is alive: somebody
/// else was given it.
const LATE_BYTES: usize = 1024 * 1024;

/// Passes on what is left in the pipe, without waiting for more.
pub(super) fn drain(
    printed: &PipeReader,
    chunk: &mut [u8],
    output: &mut dyn FnMut(&[u8]),
) -> io::Result<()> {
    let mut late = 0;
    while late < LATE_BYTES {
        match pass(printed, chunk, output)? {
            None | Some(0) => break,
            Some(n) => late += n,
        }
    }
    Ok(())
}

/// Passes on one chunk; answers its length, 0 at the end of the output, nothing if there is none now.
pub(super) fn pass(
    printed: &PipeReader,
    chunk: &mut [u8],
    output: &mut dyn FnMut(&[u8]),
) -> io::Result<Option<usize>> {
    match rustix::io::read(printed, &mut *chunk) {
        Ok(n) => {
            if n > 0 {
                output(&chunk[..n]);
            }
            Ok(Some(n))
        }
        Err(Errno::AGAIN | Errno::INTR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A vector for [`pass`].
pub(super) fn chunk() -> Vec<u8> {
    vec![0; CHUNK_BYTES]
}

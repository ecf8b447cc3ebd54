//! Passes on the output of a command from its pipe in chunks, without waiting.

use std::io::{self, PipeReader};

use rustix::io::Errno;

/// How many bytes of a command's output are read at a time: the capacity of a pipe.
const CHUNK_BYTES: usize = 64 * 1024;

/// How many bytes are read at most after the command's processes are dead, if the output continues
/// because another process has the pipe.
const LATE_BYTES: usize = 1024 * 1024;

/// Passes on the remaining bytes in the pipe, without waiting for more.
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

/// Passes on one chunk. Returns its length, 0 at the end of the output, or `None` if there is no
/// output now.
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

/// Creates a buffer for [`pass`].
pub(super) fn chunk() -> Vec<u8> {
    vec![0; CHUNK_BYTES]
}

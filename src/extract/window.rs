//! [`Window`]: a file read by `pread` in pieces larger than what is asked for.
//!
//! In: offsets that mostly grow. Out: the bytes there. Small neighbours cost one call together.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// The part of a file that was read last.
///
/// **Invariant:** its memory is bounded by the largest `len` or `ahead` it was asked for; callers
/// bound both by constants, never by what an archive declares.
#[derive(Debug, Default)]
pub(super) struct Window {
    buffer: Vec<u8>,
    start: u64,
    filled: usize,
}

thread_local! {
    /// A small buffer that is not in use: most archives are small, and read by the thread that writes
    /// them.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

impl Window {
    /// An empty one, with the buffer of the last that this thread is through with.
    pub(super) fn recycled() -> Self {
        Self { buffer: SPARE.take(), ..Self::default() }
    }

    /// Leaves the buffer to the next one.
    pub(super) fn recycle(mut self) {
        self.release();
        SPARE.set(self.buffer);
    }

    /// Forgets what was read; it may be another file's.
    pub(super) fn clear(&mut self) {
        self.filled = 0;
    }

    /// Forgets what was read and gives back a large buffer.
    pub(super) fn release(&mut self) {
        self.clear();
        shrink(&mut self.buffer);
    }

    /// Bytes from `offset` on that need no call.
    pub(super) fn held(&self, offset: u64) -> usize {
        let known = offset.checked_sub(self.start).and_then(|at| usize::try_from(at).ok());
        known.map_or(0, |at| self.filled.saturating_sub(at))
    }

    /// The `len` bytes at `offset`, reading up to `ahead` bytes from there, not beyond `end`.
    ///
    /// # Errors
    /// `UnexpectedEof` where the range goes beyond `end` or the file is shorter.
    pub(super) fn view(
        &mut self,
        file: &File,
        offset: u64,
        len: usize,
        ahead: usize,
        end: u64,
    ) -> io::Result<&mut [u8]> {
        let known = offset.checked_sub(self.start).and_then(|at| usize::try_from(at).ok());
        if let Some(at) = known
            && at <= self.filled
            && self.filled - at >= len
        {
            return Ok(&mut self.buffer[at..at + len]);
        }
        let left = end.saturating_sub(offset);
        let want = (len.max(ahead) as u64).min(left) as usize;
        if want < len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        grow(&mut self.buffer, want);
        self.filled = 0;
        file.read_exact_at(&mut self.buffer[..want], offset)?;
        (self.start, self.filled) = (offset, want);
        Ok(&mut self.buffer[..len])
    }
}

/// A buffer of more than this is a large one.
const SMALL: usize = 1 << 20;
/// What a large buffer has room for at least. The allocator maps what is over 32 MiB, and unmaps it
/// when it is dropped; less it may keep, where it is of no use to a larger one.
const LARGE: usize = 33 << 20;

/// Makes a buffer at least `len` long. Only what was filled once takes memory.
pub(super) fn grow(buffer: &mut Vec<u8>, len: usize) {
    if buffer.len() < len {
        if len > SMALL {
            buffer.reserve_exact(len.max(LARGE) - buffer.len());
        }
        buffer.resize(len, 0);
    }
}

/// Gives back a large buffer.
pub(super) fn shrink(buffer: &mut Vec<u8>) {
    if buffer.capacity() > SMALL {
        *buffer = Vec::new();
    }
}

/// Little-endian, at a place that the caller has checked.
pub(super) fn le16(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

/// Little-endian, at a place that the caller has checked.
pub(super) fn le32(bytes: &[u8], at: usize) -> u32 {
    u32::from(le16(bytes, at)) | u32::from(le16(bytes, at + 2)) << 16
}

/// Little-endian, at a place that the caller has checked.
pub(super) fn le64(bytes: &[u8], at: usize) -> u64 {
    u64::from(le32(bytes, at)) | u64::from(le32(bytes, at + 4)) << 32
}

//! [`Window`]: a file that is read with `pread` in pieces larger than requested.
//!
//! In: offsets that mostly increase. Out: the bytes there. Small neighbours are read with one call.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// The most recently read part of a file.
///
/// **Invariant:** memory is bounded by the largest `len` or `ahead` that was requested. Callers
/// bound both by constants, never by what an archive declares.
#[derive(Debug, Default)]
pub(super) struct Window {
    buffer: Vec<u8>,
    start: u64,
    filled: usize,
}

thread_local! {
    /// A small buffer that is not in use: most archives are small, and are read by the thread that
    /// writes them.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

impl Window {
    /// Creates an empty window with the last buffer that this thread recycled.
    pub(super) fn recycled() -> Self {
        Self { buffer: SPARE.take(), ..Self::default() }
    }

    /// Keeps the buffer for the next window of this thread.
    pub(super) fn recycle(mut self) {
        self.release();
        SPARE.set(self.buffer);
    }

    /// Discards what was read, because the next reads may be of another file.
    pub(super) fn clear(&mut self) {
        self.filled = 0;
    }

    /// Discards what was read and frees a large buffer.
    pub(super) fn release(&mut self) {
        self.clear();
        shrink(&mut self.buffer);
    }

    /// Returns the number of bytes from `offset` on that need no system call.
    pub(super) fn held(&self, offset: u64) -> usize {
        let known = offset.checked_sub(self.start).and_then(|at| usize::try_from(at).ok());
        known.map_or(0, |at| self.filled.saturating_sub(at))
    }

    /// Returns the `len` bytes at `offset`. Reads up to `ahead` bytes from there, but not beyond `end`.
    ///
    /// # Errors
    /// `UnexpectedEof` if the range goes beyond `end` or the file is shorter; other I/O errors.
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

/// The capacity above which a buffer is large, in bytes.
const SMALL: usize = 1 << 20;
/// The minimum capacity of a large buffer. The allocator maps blocks of more than 32 MiB, and
/// unmaps them when they are dropped. It may keep smaller blocks, which are of no use to a larger
/// buffer.
const LARGE: usize = 33 << 20;

/// Grows a buffer to at least `len` bytes. Only bytes that were filled once take memory.
pub(super) fn grow(buffer: &mut Vec<u8>, len: usize) {
    if buffer.len() < len {
        if len > SMALL {
            buffer.reserve_exact(len.max(LARGE) - buffer.len());
        }
        buffer.resize(len, 0);
    }
}

/// Frees a large buffer.
pub(super) fn shrink(buffer: &mut Vec<u8>) {
    if buffer.capacity() > SMALL {
        *buffer = Vec::new();
    }
}

/// Reads a little-endian number at an index that the caller has checked.
pub(super) fn le16(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

/// Reads a little-endian number at an index that the caller has checked.
pub(super) fn le32(bytes: &[u8], at: usize) -> u32 {
    u32::from(le16(bytes, at)) | u32::from(le16(bytes, at + 2)) << 16
}

/// Reads a little-endian number at an index that the caller has checked.
pub(super) fn le64(bytes: &[u8], at: usize) -> u64 {
    u64::from(le32(bytes, at)) | u64::from(le32(bytes, at + 4)) << 32
}

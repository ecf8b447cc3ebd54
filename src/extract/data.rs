//! [`Data`]: the compressed bytes of one entry as a stream.

use std::fs::File;
use std::io::{self, BufRead, Read};

use super::window::Window;

/// Bytes read at a time.
const PIECE: usize = 256 << 10;

/// The bytes from `at` to `end` of a file.
pub(super) struct Data<'a> {
    file: &'a File,
    window: &'a mut Window,
    at: u64,
    end: u64,
}

impl<'a> Data<'a> {
    pub(super) fn new(file: &'a File, window: &'a mut Window, at: u64, end: u64) -> Self {
        Self { file, window, at, end }
    }

    /// Offset of the next byte.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// Bytes that are left.
    pub(super) fn left(&self) -> u64 {
        self.end - self.at
    }
}

impl BufRead for Data<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let len = (self.left().min(PIECE as u64)) as usize;
        // The next piece begins where this one ends; within it every call is a hit.
        let have = self.window.held(self.at);
        let len = if have > 0 { len.min(have) } else { len };
        let read = self.window.view(self.file, self.at, len, 0, self.end);
        read.map(|bytes| &*bytes).map_err(|error| match error.kind() {
            // Not the stream's end: the file is shorter than it was.
            io::ErrorKind::UnexpectedEof => io::Error::other(Shrunk),
            _ => error,
        })
    }

    fn consume(&mut self, amount: usize) {
        self.at += amount as u64;
    }
}

impl Read for Data<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let bytes = self.fill_buf()?;
        let len = bytes.len().min(out.len());
        out[..len].copy_from_slice(&bytes[..len]);
        self.consume(len);
        Ok(len)
    }
}

/// The file ended before the entry's data did.
#[derive(Debug, thiserror::Error)]
#[error("the file became shorter")]
pub(super) struct Shrunk;

//! [`Data`]: the compressed bytes of one entry as a stream.

use std::fs::File;
use std::io::{self, BufRead, Read, Seek, SeekFrom};

use super::window::Window;

/// How many bytes are read at a time.
const PIECE: usize = 256 << 10;

/// The bytes from `at` to `end` of a file.
pub(super) struct Data<'a> {
    file: &'a File,
    window: &'a mut Window,
    at: u64,
    end: u64,
    /// The system's error if the file could not be read, kept apart from the errors of a decoder.
    pub(super) failed: Option<io::Error>,
}

impl<'a> Data<'a> {
    pub(super) fn new(file: &'a File, window: &'a mut Window, at: u64, end: u64) -> Self {
        Self { file, window, at, end, failed: None }
    }

    /// Returns the offset of the next byte.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// Returns the number of bytes left.
    pub(super) fn left(&self) -> u64 {
        self.end - self.at
    }
}

impl BufRead for Data<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let piece = self.left().min(PIECE as u64) as usize;
        // The next piece starts where this one ends. Calls within a piece need no system call.
        let len = match self.window.held(self.at) {
            0 => piece,
            held => held.min(self.left() as usize),
        };
        match self.window.view(self.file, self.at, len, 0, self.end) {
            Ok(bytes) => Ok(bytes),
            Err(error) => {
                self.failed = Some(error);
                Err(io::Error::other("the ZIP cannot be read"))
            }
        }
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

/// [`Data`] between bytes that longshore made, with a position of its own.
pub(super) struct Framed<'a> {
    head: Vec<u8>,
    data: Data<'a>,
    data_start: u64,
    tail: Vec<u8>,
    at: u64,
}

impl<'a> Framed<'a> {
    pub(super) fn new(head: Vec<u8>, data: Data<'a>, tail: Vec<u8>) -> Self {
        let data_start = data.at;
        Self { head, data, data_start, tail, at: 0 }
    }

    fn len(&self) -> u64 {
        (self.head.len() + self.tail.len()) as u64 + (self.data.end - self.data_start)
    }
}

impl Read for Framed<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let (head, data) = (self.head.len() as u64, self.data.end - self.data_start);
        let mut own = |bytes: &[u8], from: u64| {
            let rest = bytes.get(from as usize..).unwrap_or_default();
            let len = rest.len().min(out.len());
            out[..len].copy_from_slice(&rest[..len]);
            len
        };
        let len = if self.at < head {
            own(&self.head, self.at)
        } else if self.at < head + data {
            self.data.at = self.data_start + (self.at - head);
            self.data.read(out)?
        } else {
            own(&self.tail, self.at - head - data)
        };
        self.at += len as u64;
        Ok(len)
    }
}

impl Seek for Framed<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.len().checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

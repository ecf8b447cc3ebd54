//! The raw inflaters. Here their output is bounded and their end is exact.
//!
//! In: compressed bytes. Out: at most as many bytes as the caller has room for. Deflate data that
//! continues after its end, or stops before it, is never accepted as complete.

use std::io::{self, BufRead, Read};

use flate2::{FlushDecompress, Status};

/// The number of bytes before the data that [`Whole::inflate`] overwrites.
pub(super) const HEAD: usize = 10;
/// The number of bytes after the data that [`Whole::inflate`] overwrites.
pub(super) const FOOT: usize = 8;

const GZIP_HEADER: [u8; HEAD] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// Inflates a whole entry at once: the fastest way for an entry that fits a buffer.
#[expect(clippy::disallowed_types, reason = "this is the module that may")]
pub(super) struct Whole(libdeflater::Decompressor);

impl Default for Whole {
    fn default() -> Self {
        #[expect(clippy::disallowed_types, reason = "this is the module that may")]
        Self(libdeflater::Decompressor::new())
    }
}

impl Whole {
    /// Inflates `framed`, which is the data with [`HEAD`] bytes before it and [`FOOT`] bytes after
    /// it, and fills `out`. Overwrites both frames. Returns whether the output has exactly
    /// `out.len()` bytes with this CRC-32 and the stream ends exactly where the data does. If not,
    /// a [`Stream`] finds the fault, if there is one.
    ///
    /// libdeflate does not report where a stream ended. A gzip footer directly after the data makes
    /// it check exactly that, and the CRC-32, too: libdeflate finds the footer only if the stream
    /// ends with the data. The one exception is data that contains the eight bytes of the footer,
    /// so those are searched for first.
    pub(super) fn inflate(&mut self, framed: &mut [u8], crc: u32, out: &mut [u8]) -> bool {
        let Some(foot) = framed.len().checked_sub(FOOT).filter(|&foot| foot > HEAD) else {
            return false;
        };
        framed[..HEAD].copy_from_slice(&GZIP_HEADER);
        framed[foot..foot + 4].copy_from_slice(&crc.to_le_bytes());
        framed[foot + 4..].copy_from_slice(&(out.len() as u32).to_le_bytes());
        let (_, after) = framed.split_at(HEAD);
        let first = memchr::memmem::find(after, &framed[foot..]);
        first == Some(foot - HEAD)
            && self.0.gzip_decompress(framed, out).is_ok_and(|written| written == out.len())
    }
}

/// Inflates an entry that does not fit a buffer.
pub(super) struct Stream<R> {
    from: R,
    #[expect(clippy::disallowed_types, reason = "this is the module that may")]
    state: flate2::Decompress,
    ended: bool,
}

impl<R: BufRead> Stream<R> {
    pub(super) fn new(from: R) -> Self {
        #[expect(clippy::disallowed_types, reason = "this is the module that may")]
        let state = flate2::Decompress::new(false);
        Self { from, state, ended: false }
    }
}

impl<R: BufRead> Read for Stream<R> {
    /// # Errors
    /// `UnexpectedEof` if the data ends before the stream does; `InvalidData`.
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.ended || out.is_empty() {
            return Ok(0);
        }
        loop {
            let input = self.from.fill_buf()?;
            let (eof, before) = (input.is_empty(), (self.state.total_in(), self.state.total_out()));
            let status = self
                .state
                .decompress(input, out, FlushDecompress::None)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            self.from.consume((self.state.total_in() - before.0) as usize);
            let written = (self.state.total_out() - before.1) as usize;
            self.ended = status == Status::StreamEnd;
            if written > 0 || self.ended {
                return Ok(written);
            }
            if eof {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// Inflates Deflate64 and finds its exact end: the crate's own reader accepts truncated data as
/// complete.
pub(super) struct Stream64<R> {
    from: R,
    #[expect(clippy::disallowed_types, reason = "this is the module that may")]
    state: Box<deflate64::InflaterManaged>,
    /// The number of compressed bytes that have not been read.
    left: u64,
}

impl<R: BufRead> Stream64<R> {
    /// The inflater reads up to two bytes ahead, and does not report whether it used them. If it is
    /// given one byte at a time, it takes none before it needs it.
    const TAIL: u64 = 8;

    /// `len`: the number of compressed bytes in `from`.
    pub(super) fn new(from: R, len: u64) -> Self {
        #[expect(clippy::disallowed_types, reason = "this is the module that may")]
        let state = Box::new(deflate64::InflaterManaged::new());
        Self { from, state, left: len }
    }
}

impl<R: BufRead> Read for Stream64<R> {
    /// # Errors
    /// `UnexpectedEof` if the data ends before the stream does; `InvalidData`.
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        loop {
            let input = self.from.fill_buf()?;
            let most = self.left.saturating_sub(Self::TAIL).max(1);
            let input = &input[..input.len().min(usize::try_from(most).unwrap_or(usize::MAX))];
            let eof = input.is_empty();
            let result = self.state.inflate(input, out);
            self.from.consume(result.bytes_consumed);
            self.left = self.left.saturating_sub(result.bytes_consumed as u64);
            if result.data_error {
                return Err(io::ErrorKind::InvalidData.into());
            }
            if result.bytes_written > 0 || self.state.finished() {
                return Ok(result.bytes_written);
            }
            if eof {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

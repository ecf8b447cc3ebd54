//! Decodes one entry of any size and method as a stream, and verifies it.
//!
//! In: the place of an entry's data. Out: its bytes in parts, never more than it declares. At the
//! end, its size, the exact end of its data and its CRC-32 have been checked; otherwise an error
//! names the fault.
//!
//! **Invariant:** a decoder's memory is bounded by [`MEMORY`] and some tables, whatever its data
//! requests.

use std::io::{self, BufRead, BufReader, Read};

use super::data::Data;
use super::decrypt::Locked;
use super::entry::{Lock, Method, PlannedEntry};
use super::error::ExtractError;
use super::inflate::{Stream, Stream64};

/// The size of a part in bytes, and of a write: on ext4, one call with 32 MiB costs three to ten
/// times as much as its parts.
pub(super) const PART: usize = 256 << 10;
/// The most bytes that a decoder may use for its dictionary or model.
const MEMORY: usize = 64 << 20;

/// Receives decoded parts.
pub(super) trait Parts {
    /// Consumes the first `len` bytes of `part`. May replace the buffer, also by an empty one.
    fn take(&mut self, part: &mut Vec<u8>, len: usize) -> Result<(), ExtractError>;
}

/// Decodes `entry` from `data` into `parts`, through `buffer`.
///
/// # Errors
/// The fault of the entry; the errors of `parts`; [`ExtractError::Read`].
pub(super) fn decode(
    entry: &PlannedEntry,
    mut data: Data<'_>,
    password: Option<&[u8]>,
    buffer: &mut Vec<u8>,
    parts: &mut dyn Parts,
) -> Result<(), ExtractError> {
    let outcome = match (entry.lock, password) {
        (None, _) => run(entry, &mut data, buffer, parts)?,
        (Some(_), None) => return Err(ExtractError::Encrypted { entry: entry.name() }),
        (Some(lock), Some(password)) => {
            let mut locked = Locked::new(entry, lock, data)?;
            let mut plain = BufReader::with_capacity(PART, locked.open(entry, password)?);
            let mut outcome = run(entry, &mut plain, buffer, parts)?;
            if outcome.result.is_ok() {
                // The data is authenticated only at its end.
                match io::copy(&mut plain, &mut io::sink()) {
                    Ok(left) => outcome.left += left,
                    Err(_) => return Err(ExtractError::WrongPassword { entry: entry.name() }),
                }
            }
            return judge(entry, outcome, entry.data_offset);
        }
    };
    if let Some(error) = data.failed.take() {
        return Err(ExtractError::read(data.at(), error));
    }
    let left = outcome.left + data.left();
    judge(entry, Outcome { left, ..outcome }, data.at())
}

/// The result of decoding.
struct Outcome {
    result: io::Result<()>,
    found: u64,
    crc: u32,
    /// Compressed bytes that were read and not used.
    left: u64,
}

fn run<R: BufRead>(
    entry: &PlannedEntry,
    mut from: R,
    buffer: &mut Vec<u8>,
    parts: &mut dyn Parts,
) -> Result<Outcome, ExtractError> {
    let mut outcome = Outcome { result: Ok(()), found: 0, crc: 0, left: 0 };
    let mut decoder = match decoder(entry, &mut from) {
        Ok(decoder) => decoder,
        Err(error) => return Ok(Outcome { result: Err(error), ..outcome }),
    };
    let mut crc = libdeflater::Crc::new();
    loop {
        if buffer.len() < PART {
            buffer.resize(PART, 0);
        }
        let rest = entry.size - outcome.found;
        // PPMd data may have no end mark: no byte more than declared may be requested.
        let most = if entry.method == Method::Ppmd { rest.min(PART as u64) as usize } else { PART };
        let len = match decoder.read(&mut buffer[..most]) {
            Ok(0) => break,
            Ok(len) => len,
            Err(error) => {
                outcome.result = Err(error);
                break;
            }
        };
        outcome.found += len as u64;
        if outcome.found > entry.size {
            break;
        }
        crc.update(&buffer[..len]);
        parts.take(buffer, len)?;
    }
    outcome.crc = crc.sum();
    outcome.left = decoder.unused();
    Ok(outcome)
}

fn judge(entry: &PlannedEntry, outcome: Outcome, offset: u64) -> Result<(), ExtractError> {
    let (expected, found) = (entry.size, outcome.found);
    let name = || entry.name();
    if found > expected {
        return Err(ExtractError::TooLong { entry: name(), offset, expected });
    }
    if let Err(error) = outcome.result {
        return Err(match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                ExtractError::TooShort { entry: name(), offset, expected, found }
            }
            io::ErrorKind::OutOfMemory => {
                let feature = format!("a dictionary of over {} MiB", MEMORY >> 20);
                ExtractError::Unsupported { entry: name(), feature }
            }
            _ => ExtractError::Corrupt { entry: name(), offset },
        });
    }
    if found < expected {
        return Err(ExtractError::TooShort { entry: name(), offset, expected, found });
    }
    // PPMd's range coder may leave its last bytes unread.
    let slack = if entry.method == Method::Ppmd { 16 } else { 0 };
    if outcome.left > slack {
        return Err(ExtractError::DataAfterEnd { entry: name(), offset, bytes: outcome.left });
    }
    if entry.has_crc() && outcome.crc != entry.crc {
        let (expected, found) = (entry.crc, outcome.crc);
        let offset = entry.data_offset;
        return Err(ExtractError::CrcMismatch { entry: name(), offset, expected, found });
    }
    Ok(())
}

/// A decoder of any method. It reads 0 bytes only at a clean end.
trait Decoder: Read {
    /// Returns the number of compressed bytes that it has read and not used.
    fn unused(self: Box<Self>) -> u64 {
        0
    }
}

/// A decoder that reads no more than it uses.
struct Exact<R>(R);

impl<R: Read> Read for Exact<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.0.read(out)
    }
}

impl<R: Read> Decoder for Exact<R> {}

impl<R: Read> Decoder for lzma_rust2::LzmaReader<R> {
    fn unused(self: Box<Self>) -> u64 {
        self.into_parts().1.len() as u64
    }
}

fn decoder<'a, R: BufRead>(
    entry: &PlannedEntry,
    from: &'a mut R,
) -> io::Result<Box<dyn Decoder + 'a>> {
    Ok(match entry.method {
        Method::Stored => Box::new(Exact(from)),
        Method::Deflate => Box::new(Exact(Stream::new(from))),
        Method::Deflate64 => {
            let len = entry.compressed - entry.lock.map_or(0, Lock::overhead);
            Box::new(Exact(Stream64::new(from, len)))
        }
        Method::Bzip2 => Box::new(Exact(bzip2::bufread::BzDecoder::new(from))),
        Method::Zstd => {
            let mut decoder = zstd::Decoder::with_buffer(from)?;
            decoder.window_log_max(MEMORY.ilog2())?;
            Box::new(Exact(decoder))
        }
        Method::Xz => {
            let limit_kib = (MEMORY >> 10) as u32 + 1024;
            Box::new(Exact(lzma_rust2::XzReader::new_mem_limit(from, false, limit_kib)))
        }
        Method::Lzma => {
            // APPNOTE 5.8.8: version, length of the properties, the properties.
            let mut head = [0; 9];
            from.read_exact(&mut head)?;
            let [_, _, len, 0, props, d0, d1, d2, d3] = head else {
                return Err(io::ErrorKind::InvalidData.into());
            };
            if len != 5 {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let declared = u32::from_le_bytes([d0, d1, d2, d3]);
            // A dictionary never needs to be larger than the output.
            let needed = u64::from(declared).min(entry.size.max(4096)) as usize;
            if needed > MEMORY {
                return Err(io::ErrorKind::OutOfMemory.into());
            }
            let size = entry.size;
            let mut reader =
                lzma_rust2::LzmaReader::new_with_props(from, size, props, needed as u32, None)?;
            reader.set_relaxed_end_condition(false);
            Box::new(reader)
        }
        Method::Ppmd => {
            let mut head = [0; 2];
            from.read_exact(&mut head)?;
            let head = u32::from(u16::from_le_bytes(head));
            let (order, megabytes) = ((head & 0xf) + 1, ((head >> 4) & 0xff) + 1);
            let memory = megabytes << 20;
            if memory as usize > MEMORY {
                return Err(io::ErrorKind::OutOfMemory.into());
            }
            let restore = match head >> 12 {
                0 => ppmd_rust::RestoreMethod::Restart,
                1 => ppmd_rust::RestoreMethod::CutOff,
                _ => return Err(io::ErrorKind::InvalidData.into()),
            };
            let decoder = ppmd_rust::Ppmd8Decoder::new(from, order, memory, restore);
            Box::new(Exact(
                decoder.map_err(|error| {
                    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
                })?,
            ))
        }
    })
}

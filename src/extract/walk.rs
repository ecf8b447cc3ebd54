//! The walk over the local headers: each agrees with the central directory, and together with data
//! and descriptors they tile the file.
//!
//! In: entries with their place as the central directory gives it. Out: the same with the place of
//! their data, which is inside the file and nobody else's.

use std::fs::File;

use super::end::Directory;
use super::entry::PlannedEntry;
use super::error::ExtractError;
use super::header::{self, LOCAL, Local, flag};
use super::options::Framing;
use super::window::{Window, le32, le64};

/// Below so many bytes an entry, reading all of them is cheaper than a call for each header.
const DENSE: u64 = 16 << 10;
const AHEAD_DENSE: usize = 256 << 10;
const AHEAD_SPARSE: usize = 1 << 10;

/// What the walk needs to know.
pub(super) struct Walk<'a> {
    pub(super) file: &'a File,
    pub(super) window: &'a mut Window,
    pub(super) directory: Directory,
    pub(super) framing: Framing,
}

impl Walk<'_> {
    /// Visits `entries` in `order`, which is that of their headers; `raw_name` gives the name of an
    /// index as the central directory has it.
    pub(super) fn run<'n>(
        &mut self,
        entries: &mut [PlannedEntry],
        order: &[u32],
        raw_name: impl Fn(usize) -> &'n [u8],
    ) -> Result<(), ExtractError> {
        let end = self.directory.start;
        let dense = end / (order.len() as u64).max(1) < DENSE;
        let ahead = if dense { AHEAD_DENSE } else { AHEAD_SPARSE };
        let mut cursor = 0;
        for (position, &index) in order.iter().enumerate() {
            let next = order
                .get(position + 1)
                .map_or(end, |&next| entries[next as usize].header_offset.min(end));
            let entry = &mut entries[index as usize];
            let start = entry.header_offset;
            if start < cursor || start >= end {
                return Err(ExtractError::Overlap {
                    entry: entry.name(),
                    offset: cursor.min(start),
                });
            }
            if start > cursor && self.framing == Framing::Strict {
                let bytes = start - cursor;
                return Err(match position {
                    0 => ExtractError::PrefixData { bytes },
                    _ => ExtractError::Gap { offset: cursor, bytes },
                });
            }
            let data_end = self.header(entry, raw_name(index as usize), ahead)?;
            if data_end > next {
                return Err(ExtractError::Overlap { entry: entry.name(), offset: next });
            }
            let described = if entry.flags & flag::DESCRIPTOR != 0 {
                self.descriptor(entry, data_end, next, ahead)?
            } else {
                0
            };
            cursor = data_end + described;
        }
        if cursor < end && self.framing == Framing::Strict {
            let bytes = end - cursor;
            return Err(match order.len() {
                0 => ExtractError::PrefixData { bytes },
                _ => ExtractError::Gap { offset: cursor, bytes },
            });
        }
        Ok(())
    }

    /// Compares the local header with `entry`; returns where the data ends.
    fn header(
        &mut self,
        entry: &mut PlannedEntry,
        raw_name: &[u8],
        ahead: usize,
    ) -> Result<u64, ExtractError> {
        let start = entry.header_offset;
        let fixed = self.view(entry, start, LOCAL, ahead)?;
        let [name_len, extra_len] = header::local_lengths(fixed, start)?;
        let len = LOCAL + name_len + extra_len;
        let bytes = self.view(entry, start, len, ahead)?;
        let local_name = &bytes[LOCAL..LOCAL + name_len];
        if local_name != raw_name {
            let local = local_name.escape_ascii().to_string();
            return Err(ExtractError::LocalNameDiffers { entry: entry.name(), local });
        }
        let local = header::local(bytes, name_len, start)?;
        compare(entry, &local)?;
        if let Some((crc, name)) = &local.unicode_path
            && *crc == libdeflater::crc32(raw_name)
            && !same_path(name, &entry.path)
        {
            let local = name.escape_ascii().to_string();
            return Err(ExtractError::LocalNameDiffers { entry: entry.name(), local });
        }
        entry.data_offset = start + len as u64;
        entry
            .data_offset
            .checked_add(entry.compressed)
            .filter(|&data_end| data_end <= self.directory.start)
            .ok_or_else(|| ExtractError::Overlap {
                entry: entry.name(),
                offset: self.directory.start,
            })
    }

    /// Length of the descriptor at `at`, which has room up to `next`.
    fn descriptor(
        &mut self,
        entry: &PlannedEntry,
        at: u64,
        next: u64,
        ahead: usize,
    ) -> Result<u64, ExtractError> {
        let (room, framing) = (next - at, self.framing);
        let bytes = self.view(entry, at, room.min(24) as usize, ahead)?;
        let fits = |len: usize, signed: bool| {
            let Some(bytes) = bytes.get(..len) else { return false };
            let body = if signed { bytes.strip_prefix(b"PK\x07\x08") } else { Some(bytes) };
            body.is_some_and(|body| {
                le32(body, 0) == entry.crc
                    && match body.len() {
                        12 => {
                            u64::from(le32(body, 4)) == entry.compressed
                                && u64::from(le32(body, 8)) == entry.size
                        }
                        _ => le64(body, 4) == entry.compressed && le64(body, 12) == entry.size,
                    }
            })
        };
        let forms = [(24, true), (20, false), (16, true), (12, false)];
        let found = match framing {
            Framing::Strict => {
                forms.iter().find(|&&(len, signed)| len as u64 == room && fits(len, signed))
            }
            Framing::Lenient => forms.iter().find(|&&(len, signed)| fits(len, signed)),
        };
        match found {
            Some(&(len, _)) => Ok(len as u64),
            None => Err(ExtractError::Descriptor { entry: entry.name(), offset: at }),
        }
    }

    /// Bytes before the central directory: an entry that needs more reaches into it.
    fn view(
        &mut self,
        entry: &PlannedEntry,
        offset: u64,
        len: usize,
        ahead: usize,
    ) -> Result<&[u8], ExtractError> {
        let end = self.directory.start;
        if end - offset < len as u64 {
            return Err(ExtractError::Overlap { entry: entry.name(), offset: end });
        }
        match self.window.view(self.file, offset, len, ahead, end) {
            Ok(bytes) => Ok(bytes),
            Err(error) => Err(ExtractError::read(offset, error)),
        }
    }
}

/// Whether a local header's Unicode name is the one that was planned.
fn same_path(name: &[u8], path: &str) -> bool {
    let parts = |bytes: &[u8]| {
        let parts = bytes.split(|byte| matches!(byte, b'/' | b'\\'));
        parts.filter(|part| !matches!(*part, b"" | b".")).map(<[u8]>::to_vec).collect::<Vec<_>>()
    };
    parts(name) == parts(path.as_bytes())
}

/// Local equals central; behind a descriptor, sizes and CRC may be 0.
fn compare(entry: &PlannedEntry, local: &Local) -> Result<(), ExtractError> {
    let streamed = entry.flags & flag::DESCRIPTOR != 0;
    // Only for LZMA do the bits of effort mean something.
    let ignored = if entry.method_id == 14 { 0 } else { flag::EFFORT };
    let flags = |bits: u16| u64::from(bits & !ignored);
    // Info-ZIP leaves what it encrypted with in place of a CRC that it did not know yet: the time.
    let seeded = entry.flags & flag::ENCRYPTED != 0 && local.crc == u32::from(local.dos_time) << 16;
    let local_crc = if streamed && seeded { 0 } else { local.crc };
    let fields = [
        ("flags", flags(entry.flags), flags(local.flags), false),
        ("method", u64::from(entry.method_id), u64::from(local.method), false),
        ("CRC-32", u64::from(entry.crc), u64::from(local_crc), streamed),
        ("compressed size", entry.compressed, local.compressed, streamed),
        ("size", entry.size, local.size, streamed),
    ];
    for (field, central, local, may_be_zero) in fields {
        if central != local && !(may_be_zero && local == 0) {
            return Err(ExtractError::LocalDiffers { entry: entry.name(), field, central, local });
        }
    }
    Ok(())
}

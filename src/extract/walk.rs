//! Walks over the local headers: each agrees with the central directory, and headers, data and
//! descriptors fill the file without gaps.
//!
//! In: entries with their place as the central directory gives it. Out: the same entries with the
//! place of their data, which is inside the file and overlaps no other's.

use std::fs::File;

use super::end::Directory;
use super::entry::PlannedEntry;
use super::error::{EntryName, ExtractError};
use super::header::{self, LOCAL, Local, flag};
use super::inventory::Names;
use super::names::{BACKSLASH, is_same};
use super::options::Framing;
use super::window::{Window, le32, le64};

/// Below this many bytes per entry, reading all bytes is cheaper than a call for each header.
const DENSE: u64 = 16 << 10;
const AHEAD_DENSE: usize = 256 << 10;
const AHEAD_SPARSE: usize = 1 << 10;

/// Unused bytes.
const GAP: &str = "a gap";
/// The first bytes of a split archive, and of one that was to be split but stayed whole (APPNOTE
/// 8.5.3 and 8.5.4).
const MARKERS: [&[u8; 4]; 2] = [b"PK\x07\x08", b"PK00"];
/// The end of a signing block, which lies directly before the central directory of an APK.
const SIGNING_BLOCK: &[u8; 16] = b"APK Sig Block 42";

/// The inputs of the walk.
pub(super) struct Walk<'a> {
    pub(super) file: &'a File,
    pub(super) window: &'a mut Window,
    pub(super) directory: Directory,
    pub(super) framing: Framing,
}

impl Walk<'_> {
    /// Visits `entries` in `order`, the order of their headers. `names` are those of the central
    /// directory.
    pub(super) fn run(
        &mut self,
        entries: &mut [PlannedEntry],
        order: &[u32],
        names: &Names,
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
                if position > 0 {
                    return Err(ExtractError::Gap { what: GAP, offset: cursor, bytes });
                }
                if bytes != 4 || !self.is_marked(entry)? {
                    return Err(ExtractError::PrefixData { bytes });
                }
            }
            let (data_end, is_told) = self.header(entry, index as usize, names, ahead)?;
            if data_end > next {
                return Err(ExtractError::Overlap { entry: entry.name(), offset: next });
            }
            let described = if entry.flags & flag::DESCRIPTOR != 0 {
                self.descriptor(entry, data_end, next, is_told, ahead)?
            } else {
                0
            };
            cursor = data_end + described;
        }
        if cursor < end && self.framing == Framing::Strict {
            let bytes = end - cursor;
            return Err(match order.len() {
                0 => ExtractError::PrefixData { bytes },
                _ => ExtractError::Gap { what: self.gap(cursor)?, offset: cursor, bytes },
            });
        }
        Ok(())
    }

    /// Whether the file starts with the marker of a split archive.
    fn is_marked(&mut self, first: &PlannedEntry) -> Result<bool, ExtractError> {
        let marker = self.view(first, 0, 4, 0)?;
        Ok(MARKERS.iter().any(|known| marker == *known))
    }

    /// Returns the kind of the bytes between `from` and the central directory.
    fn gap(&mut self, from: u64) -> Result<&'static str, ExtractError> {
        let (len, end) = (SIGNING_BLOCK.len(), self.directory.start);
        if end - from < len as u64 {
            return Ok(GAP);
        }
        let at = end - len as u64;
        let bytes = self.window.view(self.file, at, len, 0, end);
        let bytes = bytes.map_err(|error| ExtractError::read(at, error))?;
        Ok(if bytes == SIGNING_BLOCK { "an APK signing block" } else { GAP })
    }

    /// Compares the local header with `entry`. Returns the end of the data, and whether the local
    /// header itself has the sizes and the CRC.
    fn header(
        &mut self,
        entry: &mut PlannedEntry,
        index: usize,
        names: &Names,
        ahead: usize,
    ) -> Result<(u64, bool), ExtractError> {
        let raw_name = names.get(index);
        let start = entry.header_offset;
        let fixed = self.view(entry, start, LOCAL, ahead)?;
        let [name_len, extra_len] = header::local_lengths(fixed, start)?;
        let len = LOCAL + name_len + extra_len;
        let bytes = self.view(entry, start, len, ahead)?;
        let local_name = &bytes[LOCAL..LOCAL + name_len];
        if local_name != raw_name {
            let (entry, local) = (EntryName::raw(raw_name), EntryName::raw(local_name));
            return Err(ExtractError::LocalNameDiffers { entry, local });
        }
        let local = header::local(bytes, name_len, start)?;
        compare(entry, &local, raw_name.is_ascii())?;
        compare_unicode(names.unicode(index), &local, raw_name)?;
        if local.needed_host != 0 && is_separated(names.unicode(index), raw_name, &entry.path) {
            let entry = EntryName::raw(raw_name);
            return Err(ExtractError::BadName { entry, problem: BACKSLASH });
        }
        let is_told =
            (local.crc, local.compressed, local.size) == (entry.crc, entry.compressed, entry.size);
        entry.data_offset = start + len as u64;
        let data_end = entry
            .data_offset
            .checked_add(entry.compressed)
            .filter(|&data_end| data_end <= self.directory.start)
            .ok_or_else(|| ExtractError::Overlap {
                entry: entry.name(),
                offset: self.directory.start,
            })?;
        Ok((data_end, is_told))
    }

    /// Returns the length of the descriptor at `at`, which has room up to `next`. It may be missing
    /// if the local header already has its values (`is_told`) and the next record follows directly:
    /// then nothing can be hidden there.
    fn descriptor(
        &mut self,
        entry: &PlannedEntry,
        at: u64,
        next: u64,
        is_told: bool,
        ahead: usize,
    ) -> Result<u64, ExtractError> {
        let room = next - at;
        if room == 0 && is_told {
            return Ok(0);
        }
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
        // A shorter form leaves bytes, which are then reported as a gap.
        let exact = forms.iter().find(|&&(len, signed)| len as u64 == room && fits(len, signed));
        match exact.or_else(|| forms.iter().find(|&&(len, signed)| fits(len, signed))) {
            Some(&(len, _)) => Ok(len as u64),
            None if is_told && next == self.directory.start && self.gap(at)? != GAP => Ok(0),
            None => Err(ExtractError::Descriptor { entry: entry.name(), offset: at }),
        }
    }

    /// Reads bytes before the central directory. An entry that needs more overlaps the directory.
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

/// Checks Info-ZIP's name: it is equal in both headers or missing in both, and it equals a name
/// that is marked as UTF-8.
fn compare_unicode(central: Option<&str>, local: &Local, raw: &[u8]) -> Result<(), ExtractError> {
    let (other, place) = match (central, local.unicode_path.as_deref()) {
        (None, None) => return Ok(()),
        (Some(central), None) => (central, ", in the central directory alone"),
        (None, Some(local)) => (local, ", in its local header alone"),
        (Some(central), Some(local)) if central != local => {
            (local, " in its local header, and another in the central directory")
        }
        (Some(central), Some(_)) if local.flags & flag::UTF_8 != 0 && !is_same(central, raw) => {
            (central, ", and the name itself is marked as UTF-8")
        }
        _ => return Ok(()),
    };
    let (entry, other) = (EntryName::raw(raw), EntryName::new(other));
    Err(ExtractError::UnicodeName { entry, other, place })
}

/// Whether a `\` was taken for a separator: no path has a `\`, and half a letter is not a separator.
fn is_separated(unicode: Option<&str>, raw: &[u8], path: &str) -> bool {
    match unicode {
        Some(name) => name.contains('\\'),
        None => raw.ends_with(b"\\") || raw.contains(&b'\\') && path.contains('/'),
    }
}

/// Checks that the local header equals the central header. With a descriptor, sizes and CRC may be
/// 0, and the sizes may be unknown to zip64.
fn compare(entry: &PlannedEntry, local: &Local, is_ascii: bool) -> Result<(), ExtractError> {
    let streamed = entry.flags & flag::DESCRIPTOR != 0;
    // The bits of effort have a meaning only for LZMA. For an ASCII name, the UTF-8 flag has none.
    let ignored = if entry.method_id == 14 { 0 } else { flag::EFFORT }
        | if is_ascii { flag::UTF_8 } else { 0 };
    let flags = |bits: u16| u64::from(bits & !ignored);
    // Info-ZIP encrypts before it knows the CRC, and leaves its substitute in this field: the time.
    let seeded = entry.flags & flag::ENCRYPTED != 0 && local.crc == u32::from(local.dos_time) << 16;
    let local_crc = if streamed && seeded { 0 } else { local.crc };
    let fields = [
        ("flags", flags(entry.flags), flags(local.flags), &[][..]),
        ("method", u64::from(entry.method_id), u64::from(local.method), &[]),
        ("CRC-32", u64::from(entry.crc), u64::from(local_crc), &[0]),
        ("compressed size", entry.compressed, local.compressed, &[0, u64::MAX]),
        ("size", entry.size, local.size, &[0, u64::MAX]),
    ];
    for (field, central, local, unknown) in fields {
        if central != local && !(streamed && unknown.contains(&local)) {
            return Err(ExtractError::LocalDiffers { entry: entry.name(), field, central, local });
        }
    }
    Ok(())
}

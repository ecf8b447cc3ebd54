//! Finds the end of the archive and its central directory.
//!
//! In: the file's tail. Out: the [`Directory`], if exactly one reading of the end records is possible.
//!
//! Source: APPNOTE 4.3.14 to 4.3.16.

use std::fs::File;
use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::error::ExtractError;
use super::options::Framing;
use super::sniff;
use super::window::{Window, le16, le32, le64};

const END: usize = 22;
const END_SIGNATURE: [u8; 4] = *b"PK\x05\x06";
const LOCATOR: u64 = 20;
const LOCATOR_SIGNATURE: [u8; 4] = *b"PK\x06\x07";
const END64: u64 = 56;
const END64_SIGNATURE: [u8; 4] = *b"PK\x06\x06";
/// Built once: building it takes as long as searching a small archive.
static END_FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(&END_SIGNATURE));
/// The end record with the longest comment, and the zip64 records before it.
const TAIL: u64 = END as u64 + 0xffff + LOCATOR + END64;
/// NULs after the end record are read in pieces of `NULS` bytes, and up to `NULS_MAX` bytes in all.
const NULS: u64 = 64 << 10;
const NULS_MAX: u64 = 64 << 20;
/// In an archive without zip64, offsets are modulo this number.
const WRAP: u64 = 1 << 32;

/// The place of the central directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Directory {
    /// The offset of its first byte.
    pub(super) start: u64,
    /// The offset after its last byte.
    pub(super) end: u64,
    /// The number of records in it, as declared.
    pub(super) entries: u64,
    /// Whether `entries` is only modulo 65,536, as it is without zip64: macOS Finder writes any number.
    pub(super) is_modular: bool,
    /// What to add to the offsets that the archive declares: above 0 after a prefix.
    pub(super) shift: u64,
}

/// The values of the end record, or of both end records together.
struct Said {
    entries: u64,
    is_zip64: bool,
    size: u64,
    offset: u64,
    /// The offset of the first end record.
    at: u64,
}

/// Finds the central directory.
///
/// # Errors
/// [`ExtractError::NoEndRecord`], [`ExtractError::SeveralEndRecords`], [`ExtractError::TrailingData`],
/// [`ExtractError::PrefixData`], [`ExtractError::Gap`], [`ExtractError::NoZip64`],
/// [`ExtractError::EndRecord`], [`ExtractError::MultiDisk`] or [`ExtractError::Read`].
pub(super) fn locate(
    file: &File,
    len: u64,
    window: &mut Window,
    framing: Framing,
) -> Result<Directory, ExtractError> {
    let mut bytes = Bytes { file, len, window };
    let at = match bytes.find(framing)? {
        Some(at) => at,
        None => {
            let head = bytes.view(0, len.min(sniff::HEAD as u64))?;
            return Err(ExtractError::NoEndRecord { len, what: sniff::what(head) });
        }
    };
    let record: [u8; END] = bytes.view(at, at + END as u64)?.try_into().unwrap_or([0; END]);
    let locator = match at.checked_sub(LOCATOR) {
        Some(start) => Some(bytes.view(start, at)?.to_vec()),
        None => None,
    };
    let locator = locator.filter(|bytes| bytes.starts_with(&LOCATOR_SIGNATURE));
    let said = said(file, at, &record, locator.as_deref(), window, framing)?;
    place(file, said, window, framing, len)
}

/// A file and the window through which it is read.
struct Bytes<'a> {
    file: &'a File,
    len: u64,
    window: &'a mut Window,
}

impl Bytes<'_> {
    fn view(&mut self, from: u64, to: u64) -> Result<&[u8], ExtractError> {
        match self.window.view(self.file, from, (to - from) as usize, 0, self.len) {
            Ok(bytes) => Ok(bytes),
            Err(error) => Err(ExtractError::read(from, error)),
        }
    }

    /// Returns the offset of the only end record; `None` if there is none.
    fn find(&mut self, framing: Framing) -> Result<Option<u64>, ExtractError> {
        let (len, from) = (self.len, self.len.saturating_sub(TAIL));
        let tail = self.view(from, len)?;
        if let Some(at) = end_record(tail, from, len, framing)? {
            return Ok(Some(from + at as u64));
        }
        if tail.last() != Some(&0) {
            return Ok(None);
        }
        let last = self.before_nuls()?;
        // The record itself may end in NULs.
        let (from, to) = (last.saturating_sub(TAIL), len.min(last + END as u64 + 0xffff));
        let found = end_record(self.view(from, to)?, from, len, framing)?;
        Ok(found.map(|at| from + at as u64))
    }

    /// Returns the offset after the last byte that is not NUL. Stops after `NULS_MAX` bytes: no
    /// program pads with that many.
    fn before_nuls(&mut self) -> Result<u64, ExtractError> {
        let mut to = self.len;
        while to > self.len.saturating_sub(NULS_MAX) {
            let start = to.saturating_sub(NULS);
            if let Some(at) = self.view(start, to)?.iter().rposition(|&byte| byte != 0) {
                return Ok(start + at as u64 + 1);
            }
            to = start;
        }
        Ok(to)
    }
}

/// Returns the index of the only end record in `tail`, which starts at `from` and is followed only
/// by NULs; `None` if there is none.
fn end_record(
    tail: &[u8],
    from: u64,
    len: u64,
    framing: Framing,
) -> Result<Option<usize>, ExtractError> {
    let is_whole = from + tail.len() as u64 == len;
    let mut whole = None;
    let mut cut = None;
    let mut around = None;
    // The records are searched forward, which is faster, and judged from the last to the first.
    let found: Vec<usize> = END_FINDER.find_iter(tail).collect();
    for at in found.into_iter().rev() {
        let Some(record) = tail.get(at..at + END) else { continue };
        let end = at + END + usize::from(le16(record, 20));
        if end == tail.len() && is_whole {
            if let Some(first) = whole.replace(at) {
                let (first, second) = (from + at as u64, from + first as u64);
                return Err(ExtractError::SeveralEndRecords { first, second });
            }
        } else if end <= tail.len() {
            let &mut (last, _) = cut.get_or_insert((at, end));
            if end > last && at < last {
                around = Some(at);
            }
        }
    }
    match (whole, cut) {
        // A second record inside the comment: some readers use that one.
        (Some(first), Some((second, _))) if second > first => {
            let (first, second) = (from + first as u64, from + second as u64);
            Err(ExtractError::SeveralEndRecords { first, second })
        }
        (Some(at), _) => Ok(Some(at)),
        (None, Some((at, _))) if framing == Framing::Lenient => Ok(Some(at)),
        (None, Some((at, end))) if is_silent(&tail[end..]) => match around {
            None => Ok(Some(at)),
            Some(first) => {
                let (first, second) = (from + first as u64, from + at as u64);
                Err(ExtractError::SeveralEndRecords { first, second })
            }
        },
        (None, Some((_, end))) => {
            let offset = from + end as u64;
            Err(ExtractError::TrailingData { offset, bytes: len - offset })
        }
        (None, None) => Ok(None),
    }
}

/// Whether the bytes after the end record have no meaning: NULs, with which programs pad, or a line
/// end that a text tool added.
fn is_silent(rest: &[u8]) -> bool {
    matches!(rest, b"\n" | b"\r\n") || rest.iter().all(|&byte| byte == 0)
}

/// Reads the end record at `at`, and the zip64 end record if there is a locator.
fn said(
    file: &File,
    at: u64,
    record: &[u8; END],
    locator: Option<&[u8]>,
    window: &mut Window,
    framing: Framing,
) -> Result<Said, ExtractError> {
    let (disk, directory_disk) = (le16(record, 4), le16(record, 6));
    let (here, entries) = (u64::from(le16(record, 8)), u64::from(le16(record, 10)));
    let (size, offset) = (u64::from(le32(record, 12)), u64::from(le32(record, 16)));
    let Some(locator) = locator else {
        if disk != 0 || directory_disk != 0 {
            return Err(ExtractError::MultiDisk);
        }
        equal("the entries on this disk", here, entries)?;
        return Ok(Said { entries, is_zip64: false, size, offset, at });
    };
    let locator_at = at - LOCATOR;
    if le32(locator, 4) != 0 || le32(locator, 16) > 1 {
        return Err(ExtractError::MultiDisk);
    }
    let malformed = |problem| ExtractError::Malformed {
        record: "zip64 end record",
        offset: le64(locator, 8),
        problem,
    };
    // At the offset in the locator; or, after a prefix, directly before the locator.
    let adjoining = locator_at.checked_sub(END64);
    let declared = Some(le64(locator, 8)).filter(|&offset| Some(offset) <= adjoining);
    let candidates = match framing {
        Framing::Strict => [declared, None],
        Framing::Lenient => [declared, adjoining],
    };
    let mut found = None;
    for start in candidates.into_iter().flatten() {
        let bytes = window
            .view(file, start, END64 as usize, 0, locator_at)
            .map_err(|error| ExtractError::read(start, error))?;
        if bytes.starts_with(&END64_SIGNATURE) {
            found = Some((start, bytes.to_vec()));
            break;
        }
    }
    let Some((start, end64)) = found else {
        let what = if declared.is_some() { "it has no signature" } else { "it lies outside" };
        return Err(malformed(what));
    };
    if start.checked_add(12).and_then(|body| body.checked_add(le64(&end64, 4))) != Some(locator_at)
    {
        return Err(malformed("its length does not reach its locator"));
    }
    if le64(&end64, 4) != END64 - 12 {
        return Err(malformed("it has an extensible data sector"));
    }
    if le32(&end64, 16) != 0 || le32(&end64, 20) != 0 {
        return Err(ExtractError::MultiDisk);
    }
    let wide = |at| le64(&end64, at);
    equal("the zip64 entries on this disk", wide(24), wide(32))?;
    agree("the disk", u64::from(disk), 0, 0xffff)?;
    agree("the directory's disk", u64::from(directory_disk), 0, 0xffff)?;
    agree("the entries on this disk", here, wide(24), 0xffff)?;
    agree("the entries", entries, wide(32), 0xffff)?;
    agree("the directory's size", size, wide(40), 0xffff_ffff)?;
    agree("the directory's offset", offset, wide(48), 0xffff_ffff)?;
    Ok(Said { entries: wide(32), is_zip64: true, size: wide(40), offset: wide(48), at: start })
}

/// Determines the place of the directory and how far the archive's offsets are shifted.
fn place(
    file: &File,
    said: Said,
    window: &mut Window,
    framing: Framing,
    len: u64,
) -> Result<Directory, ExtractError> {
    let Some(adjoining) = said.at.checked_sub(said.size) else {
        return Err(ExtractError::EndRecord {
            field: "the directory's size",
            declared: said.size,
            found: said.at,
        });
    };
    let (entries, is_modular) = (said.entries, !said.is_zip64);
    let end = said.offset.saturating_add(said.size);
    let direct = Directory { start: said.offset, end, entries, is_modular, shift: 0 };
    if said.offset == adjoining {
        return Ok(direct);
    }
    if said.offset > adjoining {
        return Err(ExtractError::EndRecord {
            field: "the directory's offset",
            declared: said.offset,
            found: adjoining,
        });
    }
    let bytes = adjoining - said.offset;
    if !said.is_zip64 && bytes.is_multiple_of(WRAP) {
        return Err(ExtractError::NoZip64 { len });
    }
    let shifted = Directory { start: adjoining, end: said.at, entries, is_modular, shift: bytes };
    let mut central_at = |at: u64| -> Result<bool, ExtractError> {
        if at + 4 > len {
            return Ok(false);
        }
        let bytes = window.view(file, at, 4, 0, len).map_err(|e| ExtractError::read(at, e))?;
        Ok(bytes.starts_with(b"PK\x01\x02"))
    };
    let behind_prefix = entries == 0 || central_at(adjoining)?;
    match (framing, behind_prefix) {
        (Framing::Strict, true) => Err(ExtractError::PrefixData { bytes }),
        (Framing::Strict, false) => {
            Err(ExtractError::Gap { what: "a gap", offset: direct.end, bytes })
        }
        (Framing::Lenient, true) => Ok(shifted),
        (Framing::Lenient, false) => Ok(direct),
    }
}

fn equal(field: &'static str, declared: u64, found: u64) -> Result<(), ExtractError> {
    if declared == found { Ok(()) } else { Err(ExtractError::EndRecord { field, declared, found }) }
}

/// Checks a field of the short record: it equals the zip64 value, or says that the value does not fit.
fn agree(field: &'static str, short: u64, wide: u64, full: u64) -> Result<(), ExtractError> {
    if short == full { Ok(()) } else { equal(field, short, wide) }
}

//! Central and local headers: their bytes as values, nothing judged beyond their own form.
//!
//! Source: APPNOTE 4.3.7, 4.3.12, 4.4 and 4.5.

use std::ops::Range;

use super::error::ExtractError;
use super::window::{le16, le32, le64};

/// Bytes of a central header before its name.
pub(super) const CENTRAL: usize = 46;
/// Bytes of a local header before its name.
pub(super) const LOCAL: usize = 30;

const CENTRAL_SIGNATURE: [u8; 4] = *b"PK\x01\x02";
const LOCAL_SIGNATURE: [u8; 4] = *b"PK\x03\x04";

/// Bits of the general-purpose flag.
pub(super) mod flag {
    /// The data is encrypted.
    pub(in crate::extract) const ENCRYPTED: u16 = 1 << 0;
    /// Sizes and CRC are in a descriptor after the data.
    pub(in crate::extract) const DESCRIPTOR: u16 = 1 << 3;
    /// The data is a patch to another file.
    pub(in crate::extract) const PATCH: u16 = 1 << 5;
    /// Strong encryption.
    pub(in crate::extract) const STRONG: u16 = 1 << 6;
    /// The name is UTF-8.
    pub(in crate::extract) const UTF_8: u16 = 1 << 11;
    /// Local headers are masked.
    pub(in crate::extract) const MASKED: u16 = 1 << 13;
    /// How hard deflate tried: of no interest to a reader.
    pub(in crate::extract) const EFFORT: u16 = 0b110;
}

/// Ids of extra fields.
mod extra {
    pub(super) const ZIP64: u16 = 0x0001;
    pub(super) const NTFS: u16 = 0x000a;
    pub(super) const TIMESTAMP: u16 = 0x5455;
    pub(super) const UNICODE_PATH: u16 = 0x7075;
    pub(super) const AES: u16 = 0x9901;
}

/// A central header.
#[derive(Debug)]
pub(super) struct Central {
    /// Where the writer ran: 0 DOS, 3 Unix, 10 NTFS, 19 macOS.
    pub(super) host: u8,
    pub(super) flags: u16,
    pub(super) method: u16,
    pub(super) dos_time: u16,
    pub(super) dos_date: u16,
    pub(super) crc: u32,
    pub(super) compressed: u64,
    pub(super) size: u64,
    pub(super) attributes: u32,
    /// As given: to be shifted behind a prefix.
    pub(super) offset: u64,
    pub(super) extra: Extra,
}

/// What is used of the extra fields; ranges are within the extra field.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Extra {
    zip64: Option<Range<usize>>,
    /// Modification time in seconds since 1970.
    pub(super) unix_seconds: Option<i64>,
    /// Modification time in 100 ns since 1601.
    pub(super) ntfs_ticks: Option<u64>,
    /// Info-ZIP's: CRC-32 of the raw name, and the name as UTF-8.
    pub(super) unicode_path: Option<(u32, Range<usize>)>,
    /// `WinZip`'s: vendor version, strength (1 to 3), the method behind it.
    pub(super) aes: Option<Aes>,
}

/// `WinZip`'s AES extra field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Aes {
    /// 1: with a CRC-32; 2: without.
    pub(super) version: u16,
    /// 1, 2, 3: 128, 192, 256 bits.
    pub(super) strength: u8,
    /// The method of what is encrypted.
    pub(super) method: u16,
}

impl Extra {
    fn parse(bytes: &[u8]) -> Result<Self, &'static str> {
        let mut this = Self::default();
        let mut at = 0;
        while bytes.len() - at >= 4 {
            let (id, len) = (le16(bytes, at), usize::from(le16(bytes, at + 2)));
            let range = at + 4..at + 4 + len;
            let Some(body) = bytes.get(range.clone()) else {
                return Err("an extra field is longer than all of them");
            };
            match id {
                extra::ZIP64 if this.zip64.is_some() => {
                    return Err("it has two zip64 extra fields");
                }
                extra::ZIP64 => this.zip64 = Some(range.clone()),
                extra::TIMESTAMP if len >= 5 && body[0] & 1 != 0 => {
                    this.unix_seconds = Some(i64::from(le32(body, 1).cast_signed()));
                }
                extra::NTFS => this.ntfs_ticks = ntfs_ticks(body),
                extra::UNICODE_PATH if this.unicode_path.is_some() => {
                    return Err("it has two Unicode names");
                }
                extra::UNICODE_PATH if len < 5 || body[0] != 1 => {
                    return Err("it has a Unicode name of an unknown version");
                }
                extra::UNICODE_PATH => {
                    this.unicode_path = Some((le32(body, 1), range.start + 5..range.end));
                }
                extra::AES if this.aes.is_some() => return Err("it has two AES extra fields"),
                extra::AES if len >= 7 => {
                    this.aes = Some(Aes {
                        version: le16(body, 0),
                        strength: body[4],
                        method: le16(body, 5),
                    });
                }
                _ => {}
            }
            at = range.end;
        }
        // Up to three bytes are left: zipalign and others pad with fewer than a field has.
        Ok(this)
    }
}

fn ntfs_ticks(body: &[u8]) -> Option<u64> {
    let mut at = 4;
    while at + 4 <= body.len() {
        let (tag, len) = (le16(body, at), usize::from(le16(body, at + 2)));
        if tag == 1 && len >= 24 && at + 4 + len <= body.len() {
            return Some(le64(body, at + 4));
        }
        at += 4 + len;
    }
    None
}

/// Lengths of name, extra field and comment of the central header that starts with `fixed`.
pub(super) fn central_lengths(fixed: &[u8], offset: u64) -> Result<[usize; 3], ExtractError> {
    if !fixed.starts_with(&CENTRAL_SIGNATURE) {
        return Err(malformed("central header", offset, "it has no signature"));
    }
    Ok([28, 30, 32].map(|at| usize::from(le16(fixed, at))))
}

/// Parses a whole central header at `offset`.
pub(super) fn central(
    bytes: &[u8],
    name_len: usize,
    extra_len: usize,
    offset: u64,
) -> Result<Central, ExtractError> {
    let fail = |problem| malformed("central header", offset, problem);
    let extra_bytes = &bytes[CENTRAL + name_len..CENTRAL + name_len + extra_len];
    let extra = Extra::parse(extra_bytes).map_err(fail)?;
    let mut this = Central {
        host: bytes[5],
        flags: le16(bytes, 8),
        method: le16(bytes, 10),
        dos_time: le16(bytes, 12),
        dos_date: le16(bytes, 14),
        crc: le32(bytes, 16),
        compressed: u64::from(le32(bytes, 20)),
        size: u64::from(le32(bytes, 24)),
        attributes: le32(bytes, 38),
        offset: u64::from(le32(bytes, 42)),
        extra,
    };
    let mut disk = u64::from(le16(bytes, 34));
    if let Some(range) = this.extra.zip64.clone() {
        let mut wide = &extra_bytes[range];
        for field in [&mut this.size, &mut this.compressed, &mut this.offset] {
            if *field == u64::from(u32::MAX) {
                *field =
                    take(&mut wide, 8).ok_or_else(|| fail("its zip64 extra field is too short"))?;
            } else if wide.len() >= 8 && le64(wide, 0) == *field {
                // Some writers give a value twice.
                wide = &wide[8..];
            }
        }
        if disk == 0xffff {
            disk = take(&mut wide, 4).ok_or_else(|| fail("its zip64 extra field is too short"))?;
        } else if wide.len() == 4 && le32(wide, 0) == 0 {
            wide = &[];
        }
        if !wide.is_empty() {
            return Err(fail("its zip64 extra field is longer than what it is for"));
        }
    }
    if disk != 0 {
        return Err(ExtractError::MultiDisk);
    }
    Ok(this)
}

fn take(bytes: &mut &[u8], len: usize) -> Option<u64> {
    let (head, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(if len == 8 { le64(head, 0) } else { u64::from(le32(head, 0)) })
}

/// A local header, as far as it is compared with the central one.
#[derive(Debug)]
pub(super) struct Local {
    pub(super) flags: u16,
    pub(super) method: u16,
    pub(super) dos_time: u16,
    pub(super) crc: u32,
    pub(super) compressed: u64,
    pub(super) size: u64,
    /// Its Unicode name: CRC-32 of the raw one, and UTF-8.
    pub(super) unicode_path: Option<(u32, Vec<u8>)>,
}

/// Lengths of name and extra field of the local header that starts with `fixed`.
pub(super) fn local_lengths(fixed: &[u8], offset: u64) -> Result<[usize; 2], ExtractError> {
    if !fixed.starts_with(&LOCAL_SIGNATURE) {
        return Err(malformed("local header", offset, "it has no signature"));
    }
    Ok([26, 28].map(|at| usize::from(le16(fixed, at))))
}

/// Parses a whole local header at `offset`.
pub(super) fn local(bytes: &[u8], name_len: usize, offset: u64) -> Result<Local, ExtractError> {
    let fail = |problem| malformed("local header", offset, problem);
    let extra_bytes = &bytes[LOCAL + name_len..];
    let mut this = Local {
        flags: le16(bytes, 6),
        method: le16(bytes, 8),
        dos_time: le16(bytes, 10),
        crc: le32(bytes, 14),
        compressed: u64::from(le32(bytes, 18)),
        size: u64::from(le32(bytes, 22)),
        unicode_path: None,
    };
    if extra_bytes.is_empty() {
        return Ok(this);
    }
    let extra = Extra::parse(extra_bytes).map_err(fail)?;
    this.unicode_path = extra.unicode_path.map(|(crc, range)| (crc, extra_bytes[range].to_vec()));
    if let Some(range) = extra.zip64 {
        let mut wide = &extra_bytes[range];
        for field in [&mut this.size, &mut this.compressed] {
            if *field == u64::from(u32::MAX) {
                *field =
                    take(&mut wide, 8).ok_or_else(|| fail("its zip64 extra field is too short"))?;
            }
        }
    }
    Ok(this)
}

fn malformed(record: &'static str, offset: u64, problem: &'static str) -> ExtractError {
    ExtractError::Malformed { record, offset, problem }
}

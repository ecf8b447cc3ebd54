//! Parses central and local headers. Judges nothing but their own form.
//!
//! Source: APPNOTE 4.3.7, 4.3.12, 4.4 and 4.5.

use std::ops::Range;

use super::error::ExtractError;
use super::window::{le16, le32, le64};

/// The length of a central header before its name, in bytes.
pub(super) const CENTRAL: usize = 46;
/// The length of a local header before its name, in bytes.
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
    /// The effort of the deflate compressor: readers can ignore it.
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
    /// The host of the writer: 0 DOS, 3 Unix, 10 NTFS, 19 macOS.
    pub(super) host: u8,
    /// The host as some writers record it in the field "version needed"; mostly 0.
    pub(super) needed_host: u8,
    pub(super) flags: u16,
    pub(super) method: u16,
    pub(super) dos_time: u16,
    pub(super) dos_date: u16,
    pub(super) crc: u32,
    pub(super) compressed: u64,
    pub(super) size: u64,
    pub(super) attributes: u32,
    /// The offset as recorded. It must be shifted if the archive has a prefix.
    pub(super) offset: u64,
    pub(super) extra: Extra,
}

/// The extra fields that are used. Ranges are relative to the start of the extra field.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Extra {
    zip64: Option<Range<usize>>,
    /// Modification time in seconds since 1970.
    pub(super) unix_seconds: Option<i64>,
    /// Modification time in 100 ns since 1601.
    pub(super) ntfs_ticks: Option<u64>,
    /// Info-ZIP's Unicode name: the CRC-32 of the raw name, and the name as UTF-8.
    unicode_path: Option<(u32, Range<usize>)>,
    /// `WinZip`'s AES field.
    pub(super) aes: Option<Aes>,
}

/// `WinZip`'s AES extra field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Aes {
    /// 1: with a CRC-32; 2: without.
    pub(super) version: u16,
    /// The key length: 1, 2 and 3 are 128, 192 and 256 bits.
    pub(super) strength: u8,
    /// The compression method of the encrypted data.
    pub(super) method: u16,
}

impl Extra {
    /// Returns Info-ZIP's name from these `bytes`, unchanged. `None` if it belongs to another raw
    /// name: a tool that does not know the field has changed the raw name.
    pub(super) fn unicode_path<'b>(
        &self,
        raw: &[u8],
        bytes: &'b [u8],
    ) -> Result<Option<&'b str>, &'static str> {
        let Some((crc, range)) = &self.unicode_path else { return Ok(None) };
        if libdeflater::crc32(raw) != *crc {
            return Ok(None);
        }
        let name = bytes.get(range.clone()).and_then(|name| std::str::from_utf8(name).ok());
        name.map(Some).ok_or("its Unicode name is not UTF-8")
    }

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
        // Up to three bytes may be left: zipalign and others pad with fewer bytes than a field has.
        // The padding must be meaningless.
        if ![0, 0xff].iter().any(|pad| bytes[at..].iter().all(|byte| byte == pad)) {
            return Err("its extra field ends in bytes that are no field");
        }
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

/// Returns the lengths of name, extra field and comment of the central header that starts with `fixed`.
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
        needed_host: bytes[7],
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
        let fields = [
            (&mut this.size, LONG),
            (&mut this.compressed, LONG),
            (&mut this.offset, LONG),
            (&mut disk, SHORT),
        ];
        widen(&extra_bytes[range], fields).map_err(fail)?;
    }
    if disk != 0 {
        return Err(ExtractError::MultiDisk);
    }
    Ok(this)
}

/// The value of a header field that refers to the zip64 extra field, and the length of the field
/// there in bytes.
type Full = (u64, usize);
const LONG: Full = (u32::MAX as u64, 8);
const SHORT: Full = (u16::MAX as u64, 4);

/// Sets the fields whose values are in a zip64 extra field. The extra field must have exactly the
/// values that the header leaves to it; or, as some writers do, all fields up to one of them. Then
/// a value that the header has itself must be the same in both.
fn widen<const N: usize>(
    wide: &[u8],
    mut fields: [(&mut u64, Full); N],
) -> Result<(), &'static str> {
    let asked = |(value, (full, _)): &(&mut u64, Full)| **value == *full;
    let asked_len: usize =
        fields.iter().filter(|field| asked(field)).map(|&(_, (_, len))| len).sum();
    let only_asked = wide.len() == asked_len;
    let (mut at, mut is_over) = (0, false);
    for field in &mut fields {
        let is_asked = asked(field);
        let (value, (_, len)) = field;
        if only_asked && !is_asked {
            continue;
        }
        let bytes = wide.get(at..at + *len).filter(|_| !is_over);
        let Some(bytes) = bytes else {
            if is_asked {
                return Err("its zip64 extra field is too short");
            }
            is_over = true;
            continue;
        };
        at += *len;
        let found = if *len == 8 { le64(bytes, 0) } else { u64::from(le32(bytes, 0)) };
        if is_asked {
            **value = found;
        } else if **value != found {
            return Err("its zip64 extra field has values that are not asked for");
        }
    }
    if at == wide.len() { Ok(()) } else { Err("its zip64 extra field is longer than its values") }
}

/// A local header, reduced to the fields that are compared with the central header.
#[derive(Debug)]
pub(super) struct Local {
    /// See [`Central::needed_host`].
    pub(super) needed_host: u8,
    pub(super) flags: u16,
    pub(super) method: u16,
    pub(super) dos_time: u16,
    pub(super) crc: u32,
    pub(super) compressed: u64,
    pub(super) size: u64,
    /// The Unicode name, if it belongs to the raw name.
    pub(super) unicode_path: Option<Box<str>>,
}

/// Returns the lengths of name and extra field of the local header that starts with `fixed`.
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
        needed_host: bytes[5],
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
    let raw = &bytes[LOCAL..LOCAL + name_len];
    this.unicode_path = extra.unicode_path(raw, extra_bytes).map_err(fail)?.map(Box::from);
    if let Some(range) = extra.zip64 {
        // Values after the sizes have no meaning here.
        let wide = &extra_bytes[range];
        let mut asked = [&mut this.size, &mut this.compressed];
        let asked = asked.iter_mut().filter(|value| ***value == LONG.0);
        for (at, value) in asked.enumerate() {
            let bytes = wide.get(at * 8..at * 8 + 8);
            **value = le64(bytes.ok_or_else(|| fail("its zip64 extra field is too short"))?, 0);
        }
    }
    Ok(this)
}

fn malformed(record: &'static str, offset: u64, problem: &'static str) -> ExtractError {
    ExtractError::Malformed { record, offset, problem }
}

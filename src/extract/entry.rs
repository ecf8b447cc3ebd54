//! [`PlannedEntry`]: one entry of an archive as it will be written, with its kind, mode and time.
//!
//! In: a central header, written on any host. Out: values that do not depend on that host.

use jiff::civil;
use jiff::tz::TimeZone;

use super::error::{EntryName, ExtractError};
use super::header::Central;

/// The kind of file that an entry becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link, which is left out (`symlinks = "skip"`).
    SkippedLink,
}

/// How an entry's data is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Method {
    /// Not compressed.
    Stored,
    /// Deflate, which nearly all archives use.
    Deflate,
    /// Deflate with a window of 64 KiB, which Windows uses for large files.
    Deflate64,
    /// bzip2.
    Bzip2,
    /// LZMA, without a container.
    Lzma,
    /// Zstandard.
    Zstd,
    /// LZMA2 in an XZ container.
    Xz,
    /// `PPMd` version I, revision 1.
    Ppmd,
}

impl Method {
    /// Returns the method with this number in the format. `None` if longshore does not support it.
    pub(super) fn from_id(id: u16) -> Option<Self> {
        Some(match id {
            0 => Self::Stored,
            8 => Self::Deflate,
            9 => Self::Deflate64,
            12 => Self::Bzip2,
            14 => Self::Lzma,
            93 => Self::Zstd,
            95 => Self::Xz,
            98 => Self::Ppmd,
            _ => return None,
        })
    }

    /// Whether its decoder may need as much memory as the whole-entry buffers.
    pub(super) fn has_dictionary(self) -> bool {
        matches!(self, Self::Lzma | Self::Zstd | Self::Xz | Self::Ppmd)
    }
}

/// How an entry's data is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Lock {
    /// PKWARE's old cipher. `check` is the expected value of the twelfth byte after decryption.
    ZipCrypto { check: u8 },
    /// `WinZip`'s AES, with its version (2 has no CRC-32) and strength.
    Aes { version: u8, strength: u8 },
}

impl Lock {
    /// Returns the number of bytes that encryption adds to the data: salt, verifier, authentication
    /// code.
    pub(super) fn overhead(self) -> u64 {
        match self {
            Self::ZipCrypto { .. } => 12,
            Self::Aes { strength, .. } => 4 + 4 * u64::from(strength) + 2 + 10,
        }
    }
}

/// A time in seconds and ns since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Modified {
    /// Seconds; negative before 1970.
    pub seconds: i64,
    /// Below 1,000,000,000; counts forward also before 1970.
    pub nanos: u32,
}

/// One entry as it will be written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlannedEntry {
    /// Relative, with components joined by one `/` and without `.` or `..`. Empty for the output
    /// folder itself.
    pub path: Box<str>,
    /// The kind of file that the entry becomes.
    pub kind: EntryKind,
    /// The unpacked size in bytes; 0 for a folder.
    pub size: u64,
    /// The size in the archive in bytes.
    pub compressed: u64,
    /// CRC-32 of the unpacked bytes.
    pub crc: u32,
    /// How the data is compressed.
    pub method: Method,
    /// Permission bits, if the archive was made on a system that has them.
    pub mode: Option<u16>,
    /// The modification time, if the entry has one.
    pub modified: Option<Modified>,
    /// The offset of its local header.
    pub(super) header_offset: u64,
    /// The offset of its data.
    pub(super) data_offset: u64,
    /// The index of the folder that the entry is, or that contains it.
    pub(super) folder: u32,
    pub(super) flags: u16,
    pub(super) method_id: u16,
    pub(super) lock: Option<Lock>,
}

impl PlannedEntry {
    /// Returns the last component of the path.
    #[must_use]
    pub fn leaf(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// Returns the path without its last component; empty at the top.
    #[must_use]
    pub fn parent(&self) -> &str {
        self.path.rsplit_once('/').map_or("", |(parent, _)| parent)
    }

    /// Whether the entry is encrypted.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.lock.is_some()
    }

    /// Returns the number of bytes that will be written for the entry.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        if self.kind == EntryKind::File { self.size } else { 0 }
    }

    /// Whether the CRC-32 is to be checked: AE-2 has an authentication code instead.
    pub(super) fn has_crc(&self) -> bool {
        !matches!(self.lock, Some(Lock::Aes { version: 2, .. }))
    }

    /// Returns the path in the form for an error.
    pub(super) fn name(&self) -> EntryName {
        EntryName::new(&self.path)
    }
}

/// File type bits of a Unix mode.
const TYPE: u32 = 0o170_000;
const FOLDER: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const LINK: u32 = 0o120_000;
const FIFO: u32 = 0o010_000;
/// The DOS attribute of a folder.
const DOS_FOLDER: u32 = 0x10;
/// p7zip's mark in the DOS attributes: their upper half is a Unix mode, whatever the host.
const UNIX_EXTENSION: u32 = 0x8000;

/// The kind of an entry, by its attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attributes {
    File,
    Folder,
    Link,
    Special(u32),
}

/// Returns the kind and the permission bits. `folder_name`: whether the name ends in a separator.
pub(super) fn attributes(central: &Central, folder_name: bool) -> (Attributes, Option<u16>) {
    let unix = matches!(central.host, 3 | 19)
        || (central.host == 0 && central.attributes & UNIX_EXTENSION != 0);
    let mode = if unix { central.attributes >> 16 } else { 0 };
    let bits = (mode != 0).then_some((mode & 0o777) as u16);
    let kind = match mode & TYPE {
        LINK => Attributes::Link,
        FOLDER => Attributes::Folder,
        _ if folder_name => Attributes::Folder,
        // On other hosts this bit means nothing. It takes precedence over a Unix mode, as in bsdtar
        // and 7-Zip. An entry with data that is a folder by this rule is refused.
        0 | REGULAR | FIFO if central.host == 0 && central.attributes & DOS_FOLDER != 0 => {
            Attributes::Folder
        }
        REGULAR => Attributes::File,
        0 => Attributes::File,
        // Info-ZIP's entry `-`: the content of a pipe, with the file type of the pipe.
        FIFO if central.size > 0 => Attributes::File,
        special => Attributes::Special(special),
    };
    (kind, bits)
}

/// Whether an entry without a trailing slash is a folder to some readers only: by DOS attributes of
/// hosts for which only 7-Zip reads them (HPFS, NTFS in Info-ZIP's numbering, VFAT), or by a Unix
/// mode of macOS, which most readers ignore.
pub(super) fn is_folder_to_some(central: &Central, kind: Attributes, folder_name: bool) -> bool {
    match kind {
        _ if folder_name => false,
        Attributes::File => {
            matches!(central.host, 6 | 11 | 14) && central.attributes & DOS_FOLDER != 0
        }
        Attributes::Folder => central.host == 19,
        Attributes::Link | Attributes::Special(_) => false,
    }
}

/// Returns the best modification time that the entry has: Unix, then NTFS, then DOS in `zone`.
pub(super) fn modified(central: &Central, zone: &TimeZone) -> Option<Modified> {
    if let Some(seconds) = central.extra.unix_seconds {
        return Some(Modified { seconds, nanos: 0 });
    }
    if let Some(ticks) = central.extra.ntfs_ticks.filter(|&ticks| ticks != 0) {
        let seconds = (ticks / 10_000_000).cast_signed() - 11_644_473_600;
        return Some(Modified { seconds, nanos: (ticks % 10_000_000) as u32 * 100 });
    }
    dos_time(central.dos_date, central.dos_time, zone)
}

/// Converts a DOS time. A field out of range becomes the nearest valid value. `None` if there is no
/// date.
fn dos_time(date: u16, time: u16, zone: &TimeZone) -> Option<Modified> {
    if date == 0 {
        return None;
    }
    let part = |value: u16, shift: u32, mask: u16| ((value >> shift) & mask) as i8;
    let year = 1980 + (date >> 9).cast_signed();
    let month = part(date, 5, 0xf).clamp(1, 12);
    let first = civil::Date::new(year, month, 1).ok()?;
    let day = part(date, 0, 0x1f).clamp(1, first.days_in_month());
    let (hour, minute) = (part(time, 11, 0x1f).min(23), part(time, 5, 0x3f).min(59));
    let second = (part(time, 0, 0x1f) * 2).min(59);
    let local = civil::DateTime::new(year, month, day, hour, minute, second, 0).ok()?;
    let stamp = zone.to_ambiguous_timestamp(local).compatible().ok()?;
    Some(Modified { seconds: stamp.as_second(), nanos: 0 })
}

/// Refuses features that are not supported, by their names. Otherwise returns the compression method.
pub(super) fn unsupported(central: &Central, raw: &[u8]) -> Result<Method, ExtractError> {
    use super::header::flag;
    let refuse = |feature: &str| {
        Err(ExtractError::Unsupported { entry: EntryName::raw(raw), feature: feature.to_owned() })
    };
    if central.flags & flag::STRONG != 0 {
        return refuse("strong encryption");
    }
    if central.flags & flag::MASKED != 0 {
        return refuse("masked local headers");
    }
    if central.flags & flag::PATCH != 0 {
        return refuse("patch data");
    }
    let id = match (central.method, central.extra.aes) {
        (99, Some(aes)) => aes.method,
        (99, None) => return refuse("AES without its extra field"),
        (id, _) => id,
    };
    match Method::from_id(id) {
        Some(method) => Ok(method),
        None => refuse(&format!("compression method {id}")),
    }
}

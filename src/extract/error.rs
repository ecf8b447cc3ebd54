//! [`ExtractError`]: why a ZIP was not unpacked. Its code, its disposition and the advice to a
//! person are in [`verdict`].

mod shown;
mod verdict;

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use thiserror::Error;

pub use shown::EntryName;
#[cfg(test)]
pub(super) use verdict::CODES;

/// Why a ZIP was not unpacked. Completes "failed to …".
///
/// Offsets are bytes from the start of the file. `entry` is the decoded name; it is the raw name if
/// the charset was not known yet, or if the raw names differ.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ExtractError {
    /// The ZIP cannot be read. This is often temporary.
    #[error("read the ZIP at byte {offset}")]
    Read {
        /// The offset of the read.
        offset: u64,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// A write failed. This is often temporary.
    #[error("write {}", shown(.path))]
    Write {
        /// Relative to the output folder.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// Less space or fewer inodes are free than the plan needs.
    #[error("find room for {needed} {unit}, {free} are free")]
    NoSpace {
        /// `bytes` or `inodes`.
        unit: &'static str,
        /// What the plan needs.
        needed: u64,
        /// What is free.
        free: u64,
    },
    /// The disk or a quota became full, of bytes or of inodes, during the work.
    #[error(
        "write {}: the disk or a quota is full, of bytes (df) or of files (df -i)",
        shown(.path)
    )]
    DiskFull {
        /// The path of the write, as far as it is known.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The ZIP changed while it was read.
    #[error("rely on the ZIP: it changed while it was unpacked ({what})")]
    Changed {
        /// The property that differs: its size, its mtime, its contents.
        what: &'static str,
    },
    /// Another slice failed, or a stop was requested. Never the original cause.
    #[error("go on after a stop")]
    Stopped,
    /// The path exists already in the output folder, which must be empty at the start.
    #[error("create {}, which exists already in the output folder", shown(.path))]
    Occupied {
        /// Relative to the output folder.
        path: PathBuf,
    },
    /// The written files differ from the plan: a bug in longshore.
    #[error("account for what was written: {found} of {expected} {unit}")]
    Unaccounted {
        /// `entries` or `bytes`.
        unit: &'static str,
        /// The planned number.
        expected: u64,
        /// The actual number.
        found: u64,
    },

    /// There is no end-of-central-directory record at the end of the file: the file was cut short,
    /// or is not a ZIP.
    #[error("find the end record of a ZIP in {len} bytes: {what}")]
    NoEndRecord {
        /// The size of the file in bytes.
        len: u64,
        /// The type of the file by its first bytes.
        what: &'static str,
    },
    /// There are two possible ends of the archive: readers would see different contents.
    #[error("tell which of the end records at {first} and {second} counts")]
    SeveralEndRecords {
        /// The offset of the earlier record.
        first: u64,
        /// The offset of the later record.
        second: u64,
    },
    /// Bytes after the end record.
    #[error("accept {bytes} bytes after the end record at {offset}")]
    TrailingData {
        /// The offset of the first of these bytes.
        offset: u64,
        /// The number of bytes.
        bytes: u64,
    },
    /// Bytes before the first entry, as in a self-extracting archive.
    #[error("accept {bytes} bytes before the first entry")]
    PrefixData {
        /// The number of bytes.
        bytes: u64,
    },
    /// The ZIP is too large for the fields of a ZIP without zip64, as macOS Finder writes it.
    #[error(
        "find the entries of a ZIP of {len} bytes: it is larger than 4 GiB and has no zip64 records"
    )]
    NoZip64 {
        /// The size of the file in bytes.
        len: u64,
    },
    /// Unused bytes between two entries, or before the central directory.
    #[error("accept {what} of {bytes} bytes at {offset}")]
    Gap {
        /// The kind of gap: `a gap`, or `an APK signing block`.
        what: &'static str,
        /// The offset of the gap.
        offset: u64,
        /// The number of bytes.
        bytes: u64,
    },
    /// Two entries, or an entry and the central directory, share bytes.
    #[error("accept entry {entry}, which overlaps what is before {offset}")]
    Overlap {
        /// The entry's name.
        entry: EntryName,
        /// The offset where the overlap is found.
        offset: u64,
    },
    /// The end records contradict each other or the central directory.
    #[error("match {field} in the end record, {declared}, with what the archive has, {found}")]
    EndRecord {
        /// The name of the field.
        field: &'static str,
        /// The declared value.
        declared: u64,
        /// The actual value.
        found: u64,
    },
    /// A record is invalid in itself: no signature, a wrong length, or invalid or ambiguous fields.
    #[error("parse the {record} at {offset}: {problem}")]
    Malformed {
        /// The kind of record.
        record: &'static str,
        /// The offset of the record.
        offset: u64,
        /// The fault.
        problem: &'static str,
    },
    /// An entry's local header contradicts the central directory.
    #[error(
        "match {field} of entry {entry}: {central:#x} in the central directory, {local:#x} in its local header"
    )]
    LocalDiffers {
        /// The entry's name.
        entry: EntryName,
        /// The name of the field.
        field: &'static str,
        /// The value in the central directory.
        central: u64,
        /// The value in the local header.
        local: u64,
    },
    /// A local header names another file than the central directory.
    #[error("match the name of entry {entry}: its local header says {local}")]
    LocalNameDiffers {
        /// The name in the central directory, raw.
        entry: EntryName,
        /// The name in the local header, raw.
        local: EntryName,
    },
    /// Info-ZIP's Unicode name (extra field 0x7075) differs between the two headers, or contradicts
    /// the entry's own name: readers would see different names.
    #[error("tell the name of entry {entry}: its Unicode name is {other}{place}")]
    UnicodeName {
        /// The entry's name, raw.
        entry: EntryName,
        /// The name in the extra field.
        other: EntryName,
        /// The header that has this name, or what the name contradicts.
        place: &'static str,
    },
    /// The data descriptor after an entry is missing or contradicts the central directory.
    #[error(
        "find a data descriptor of entry {entry} at {offset} that agrees with the central directory"
    )]
    Descriptor {
        /// The entry's name.
        entry: EntryName,
        /// The offset of the descriptor.
        offset: u64,
    },
    /// The archive, or a part of it, is on another disk.
    #[error("read one part of a split ZIP without the others")]
    MultiDisk,
    /// The entry needs a feature of the format that longshore does not support.
    #[error("unpack entry {entry}: {feature} is not supported")]
    Unsupported {
        /// The entry's name.
        entry: EntryName,
        /// The name of the feature.
        feature: String,
    },
    /// The entry is encrypted, and no password is configured.
    #[error("decrypt entry {entry} without a password")]
    Encrypted {
        /// The entry's name.
        entry: EntryName,
    },
    /// The entry is encrypted with another password, or damaged.
    #[error("decrypt entry {entry} with the password given")]
    WrongPassword {
        /// The entry's name.
        entry: EntryName,
    },

    /// A byte of a name is a backslash or half a letter, and only the charset can decide. No
    /// charset fits, or several fit and differ.
    #[error("decode the name of entry {entry}: {readings}")]
    AmbiguousCharset {
        /// The entry's name, raw.
        entry: EntryName,
        /// The readings in the charsets that fit.
        readings: String,
    },

    /// An entry would land outside the output folder: `..`, an absolute path, a drive.
    #[error("place entry {entry} inside the output folder")]
    EntryEscapes {
        /// The entry's name.
        entry: EntryName,
    },
    /// A name cannot be used: for example, it is empty, has a control character, or contradicts its
    /// flag.
    #[error("use the name of entry {entry}: {problem}")]
    BadName {
        /// The entry's name.
        entry: EntryName,
        /// The fault.
        problem: &'static str,
    },
    /// A component or a whole path is too long for a file system, or for the limit.
    #[error("use the name of entry {entry}: more than {limit_bytes} bytes")]
    NameTooLong {
        /// The entry's name.
        entry: EntryName,
        /// The limit.
        limit_bytes: u64,
    },
    /// Folders are nested too deeply.
    #[error("place entry {entry} no deeper than {limit} folders")]
    TooDeep {
        /// The entry's name.
        entry: EntryName,
        /// The limit.
        limit: u64,
    },
    /// Two entries have the same name.
    #[error("unpack entry {entry}, which is in the ZIP twice")]
    Duplicate {
        /// The entry's name.
        entry: EntryName,
    },
    /// A name belongs to a file and to a folder.
    #[error("unpack {entry} as a file and as a folder")]
    FileAgainstFolder {
        /// The entry's name.
        entry: EntryName,
    },
    /// A folder has data.
    #[error("unpack folder {entry} with its {bytes} bytes of data")]
    FolderWithData {
        /// The entry's name.
        entry: EntryName,
        /// The number of bytes.
        bytes: u64,
    },
    /// Two names are equal if case and Unicode normal form are ignored.
    #[error("tell {entry} from {other} where case or normal form do not count")]
    Collision {
        /// The entry's name.
        entry: EntryName,
        /// The other name.
        other: EntryName,
    },
    /// The entry is a symbolic link.
    #[error("accept symbolic link {entry}")]
    Symlink {
        /// The entry's name.
        entry: EntryName,
    },
    /// The entry is a FIFO, device or socket.
    #[error("accept special file {entry} of type {kind:#o}")]
    SpecialFile {
        /// The entry's name.
        entry: EntryName,
        /// The file type bits of its Unix mode.
        kind: u32,
    },

    /// More entries than `limits.entries`.
    #[error("accept {found} entries where {limit} is the limit")]
    TooManyEntries {
        /// The actual number of entries.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// The names are longer on average than `limits.mean_name_bytes`.
    #[error("accept {bytes} bytes of names where {limit_bytes} is the limit")]
    NamesTooLarge {
        /// The number of bytes.
        bytes: u64,
        /// The limit.
        limit_bytes: u64,
    },
    /// More bytes in all files together than `limits.total_bytes`.
    #[error("accept {bytes} bytes unpacked where {limit_bytes} is the limit")]
    TotalTooLarge {
        /// The number of bytes.
        bytes: u64,
        /// The limit.
        limit_bytes: u64,
    },
    /// A file has more bytes than `limits.entry_bytes`.
    #[error("accept entry {entry} of {bytes} bytes where {limit_bytes} is the limit")]
    EntryTooLarge {
        /// The entry's name.
        entry: EntryName,
        /// The number of bytes.
        bytes: u64,
        /// The limit.
        limit_bytes: u64,
    },
    /// The archive or an entry has `limits.ratio` or more unpacked bytes per packed byte.
    #[error("accept {bytes} bytes out of {packed_bytes}, over {limit} times as much")]
    RatioTooHigh {
        /// The number of unpacked bytes.
        bytes: u64,
        /// The number of bytes in the archive.
        packed_bytes: u64,
        /// The limit.
        limit: u64,
    },

    /// The data cannot be decoded by its method.
    #[error("decode entry {entry}, damaged near byte {offset}")]
    Corrupt {
        /// The entry's name.
        entry: EntryName,
        /// The offset near which decoding failed.
        offset: u64,
    },
    /// The data ends before the entry is complete.
    #[error(
        "complete entry {entry}: its data ends at {offset}, {found} of {expected} bytes came out"
    )]
    TooShort {
        /// The entry's name.
        entry: EntryName,
        /// The offset where the data ends.
        offset: u64,
        /// The declared size.
        expected: u64,
        /// The actual size.
        found: u64,
    },
    /// An entry unpacks to more bytes than it declares.
    #[error("keep entry {entry} within the {expected} bytes that it declares")]
    TooLong {
        /// The entry's name.
        entry: EntryName,
        /// The offset where this was found.
        offset: u64,
        /// The declared size.
        expected: u64,
    },
    /// Data continues after the end of its compressed stream.
    #[error("accept {bytes} bytes after the compressed stream of entry {entry} at {offset}")]
    DataAfterEnd {
        /// The entry's name.
        entry: EntryName,
        /// The offset where this was found.
        offset: u64,
        /// The number of bytes.
        bytes: u64,
    },
    /// The unpacked data has another CRC-32.
    #[error("verify entry {entry}: CRC-32 is {found:08x}, expected {expected:08x}")]
    CrcMismatch {
        /// The entry's name.
        entry: EntryName,
        /// The offset of the entry's data.
        offset: u64,
        /// The declared value.
        expected: u32,
        /// The actual value.
        found: u32,
    },
}

/// Returns a path in the form for a message.
fn shown(path: &Path) -> EntryName {
    EntryName::raw(path.as_os_str().as_bytes())
}

impl ExtractError {
    /// Creates the error of a failed read. A ZIP that ends before its original size has changed.
    pub(super) fn read(offset: u64, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::UnexpectedEof => Self::Changed { what: "its size" },
            _ => Self::Read { offset, source },
        }
    }

    /// Creates the error of a failed write under the output folder. A full disk or quota is not the
    /// attempt's fault.
    pub(super) fn write(path: impl Into<PathBuf>, source: impl Into<io::Error>) -> Self {
        let (path, source) = (path.into(), source.into());
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::DiskFull { path, source }
            }
            io::ErrorKind::AlreadyExists => Self::Occupied { path },
            _ => Self::Write { path, source },
        }
    }
}

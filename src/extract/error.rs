//! [`ExtractError`]: why a ZIP was not unpacked. What it means to the pipeline, and what a person can
//! do, is in [`verdict`].

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
/// Offsets are bytes from the start of the file. `entry` is the name decoded, or as the archive has it
/// where the charset was not known yet, or where the raw names are what differs.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ExtractError {
    /// The ZIP cannot be read; often passes by itself.
    #[error("read the ZIP at byte {offset}")]
    Read {
        /// Where.
        offset: u64,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The disk refused; often passes by itself.
    #[error("write {}", shown(.path))]
    Write {
        /// Relative to the output folder.
        path: PathBuf,
        /// What the system said.
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
        /// What there is.
        free: u64,
    },
    /// The disk or a quota became full meanwhile, of bytes or of inodes.
    #[error(
        "write {}: the disk or a quota is full, of bytes (df) or of files (df -i)",
        shown(.path)
    )]
    DiskFull {
        /// What was to be written, as far as it is known.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The ZIP became another while it was read.
    #[error("rely on the ZIP: it changed while it was unpacked ({what})")]
    Changed {
        /// What of it differs: its size, its mtime, its contents.
        what: &'static str,
    },
    /// Another slice failed, or a stop was asked for. Never the cause of anything.
    #[error("go on after a stop")]
    Stopped,
    /// The output folder had something in it already.
    #[error("create {}, which exists already in the output folder", shown(.path))]
    Occupied {
        /// Relative to the output folder.
        path: PathBuf,
    },
    /// What was written is not what was planned; an error of ours.
    #[error("account for what was written: {found} of {expected} {unit}")]
    Unaccounted {
        /// `entries` or `bytes`.
        unit: &'static str,
        /// What was declared.
        expected: u64,
        /// What there is.
        found: u64,
    },

    /// No end-of-central-directory record at the end of the file: cut short, or no ZIP at all.
    #[error("find the end record of a ZIP in {len} bytes: {what}")]
    NoEndRecord {
        /// Bytes of the file.
        len: u64,
        /// What its first bytes say that it is.
        what: &'static str,
    },
    /// Two readings of where the archive ends; readers would see different contents.
    #[error("tell which of the end records at {first} and {second} counts")]
    SeveralEndRecords {
        /// The one that ends the file, or the earlier one.
        first: u64,
        /// The other.
        second: u64,
    },
    /// Bytes after the end record.
    #[error("accept {bytes} bytes after the end record at {offset}")]
    TrailingData {
        /// Where.
        offset: u64,
        /// How many.
        bytes: u64,
    },
    /// Bytes before the first entry, as in a self-extracting archive.
    #[error("accept {bytes} bytes before the first entry")]
    PrefixData {
        /// How many.
        bytes: u64,
    },
    /// Larger than the fields of a ZIP without zip64 can say, as macOS Finder writes them.
    #[error(
        "find the entries of a ZIP of {len} bytes: it is larger than 4 GiB and has no zip64 records"
    )]
    NoZip64 {
        /// Bytes of the file.
        len: u64,
    },
    /// Bytes between two entries, or before the central directory, that belong to nothing.
    #[error("accept {what} of {bytes} bytes at {offset}")]
    Gap {
        /// What it is: `a gap`, or `an APK signing block`.
        what: &'static str,
        /// Where.
        offset: u64,
        /// How many.
        bytes: u64,
    },
    /// Two entries, or an entry and the central directory, share bytes.
    #[error("accept entry {entry}, which overlaps what is before {offset}")]
    Overlap {
        /// The entry's name.
        entry: EntryName,
        /// Where.
        offset: u64,
    },
    /// The end records contradict each other or the central directory.
    #[error("match {field} in the end record, {declared}, with what the archive has, {found}")]
    EndRecord {
        /// Which one.
        field: &'static str,
        /// What was declared.
        declared: u64,
        /// What there is.
        found: u64,
    },
    /// A record has no signature or not the length that it declares.
    #[error("parse the {record} at {offset}: {problem}")]
    Malformed {
        /// Which kind of record.
        record: &'static str,
        /// Where.
        offset: u64,
        /// What is wrong.
        problem: &'static str,
    },
    /// An entry's local header contradicts the central directory.
    #[error(
        "match {field} of entry {entry}: {central:#x} in the central directory, {local:#x} in its local header"
    )]
    LocalDiffers {
        /// The entry's name.
        entry: EntryName,
        /// Which one.
        field: &'static str,
        /// In the central directory.
        central: u64,
        /// In the local header.
        local: u64,
    },
    /// A local header names another file than the central directory.
    #[error("match the name of entry {entry}: its local header says {local}")]
    LocalNameDiffers {
        /// In the central directory, raw.
        entry: EntryName,
        /// In the local header, raw.
        local: EntryName,
    },
    /// Info-ZIP's Unicode name (extra field 0x7075) is not the same in both headers, or is not the name
    /// that the entry is marked to have: readers would see different names.
    #[error("tell the name of entry {entry}: its Unicode name is {other}{place}")]
    UnicodeName {
        /// The entry's name, raw.
        entry: EntryName,
        /// What the extra field says.
        other: EntryName,
        /// Where it is said, or what it contradicts.
        place: &'static str,
    },
    /// The data descriptor after an entry is missing or contradicts the central directory.
    #[error(
        "find a data descriptor of entry {entry} at {offset} that agrees with the central directory"
    )]
    Descriptor {
        /// The entry's name.
        entry: EntryName,
        /// Where.
        offset: u64,
    },
    /// The archive, or a part of it, is on another disk.
    #[error("read one part of a split ZIP without the others")]
    MultiDisk,
    /// A feature of the format that longshore does not have.
    #[error("unpack entry {entry}: {feature} is not supported")]
    Unsupported {
        /// The entry's name.
        entry: EntryName,
        /// By name.
        feature: String,
    },
    /// Encrypted, and no password is known.
    #[error("decrypt entry {entry} without a password")]
    Encrypted {
        /// The entry's name.
        entry: EntryName,
    },
    /// Encrypted with another password, or damaged.
    #[error("decrypt entry {entry} with the password given")]
    WrongPassword {
        /// The entry's name.
        entry: EntryName,
    },

    /// A byte of a name is a backslash or half a letter, which only its charset can tell; none fits, or
    /// several that differ.
    #[error("decode the name of entry {entry}: {readings}")]
    AmbiguousCharset {
        /// The entry's name, raw.
        entry: EntryName,
        /// What the charsets say that fit.
        readings: String,
    },

    /// An entry would land outside the output folder: `..`, an absolute path, a drive.
    #[error("place entry {entry} inside the output folder")]
    EntryEscapes {
        /// The entry's name.
        entry: EntryName,
    },
    /// A name that is empty, has a control character, or is not what its flag says.
    #[error("use the name of entry {entry}: {problem}")]
    BadName {
        /// The entry's name.
        entry: EntryName,
        /// What is wrong.
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
    /// Too many folders within folders.
    #[error("place entry {entry} no deeper than {limit} folders")]
    TooDeep {
        /// The entry's name.
        entry: EntryName,
        /// The limit.
        limit: u64,
    },
    /// Two entries of the same name.
    #[error("unpack entry {entry}, which is in the ZIP twice")]
    Duplicate {
        /// The entry's name.
        entry: EntryName,
    },
    /// A name is a file's and a folder's.
    #[error("unpack {entry} as a file and as a folder")]
    FileAgainstFolder {
        /// The entry's name.
        entry: EntryName,
    },
    /// A folder that has data.
    #[error("unpack folder {entry} with its {bytes} bytes of data")]
    FolderWithData {
        /// The entry's name.
        entry: EntryName,
        /// How many.
        bytes: u64,
    },
    /// Two names that are one where case or Unicode normal form do not count.
    #[error("tell {entry} from {other} where case or normal form do not count")]
    Collision {
        /// The entry's name.
        entry: EntryName,
        /// The other name.
        other: EntryName,
    },
    /// A symbolic link.
    #[error("accept symbolic link {entry}")]
    Symlink {
        /// The entry's name.
        entry: EntryName,
    },
    /// A FIFO, device or socket.
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
        /// What there is.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// Longer names on average than `limits.mean_name_bytes`.
    #[error("accept {bytes} bytes of names where {limit_bytes} is the limit")]
    NamesTooLarge {
        /// How many.
        bytes: u64,
        /// The limit.
        limit_bytes: u64,
    },
    /// More bytes in all files together than `limits.total_bytes`.
    #[error("accept {bytes} bytes unpacked where {limit_bytes} is the limit")]
    TotalTooLarge {
        /// How many.
        bytes: u64,
        /// The limit.
        limit_bytes: u64,
    },
    /// A file of more bytes than `limits.entry_bytes`.
    #[error("accept entry {entry} of {bytes} bytes where {limit_bytes} is the limit")]
    EntryTooLarge {
        /// The entry's name.
        entry: EntryName,
        /// How many.
        bytes: u64,
        /// The limit.
        limit_bytes: u64,
    },
    /// More unpacked bytes for a packed one than `limits.ratio`.
    #[error("accept {bytes} bytes out of {packed_bytes}, over {limit} times as much")]
    RatioTooHigh {
        /// How many.
        bytes: u64,
        /// Bytes in the archive.
        packed_bytes: u64,
        /// The limit.
        limit: u64,
    },

    /// Data that its method cannot decode.
    #[error("decode entry {entry}, damaged near byte {offset}")]
    Corrupt {
        /// The entry's name.
        entry: EntryName,
        /// Where.
        offset: u64,
    },
    /// Data ends before the entry is complete.
    #[error(
        "complete entry {entry}: its data ends at {offset}, {found} of {expected} bytes came out"
    )]
    TooShort {
        /// The entry's name.
        entry: EntryName,
        /// Where.
        offset: u64,
        /// What was declared.
        expected: u64,
        /// What there is.
        found: u64,
    },
    /// More comes out of an entry than it declares.
    #[error("keep entry {entry} within the {expected} bytes that it declares")]
    TooLong {
        /// The entry's name.
        entry: EntryName,
        /// Where.
        offset: u64,
        /// What was declared.
        expected: u64,
    },
    /// Data goes on after its compressed stream has ended.
    #[error("accept {bytes} bytes after the compressed stream of entry {entry} at {offset}")]
    DataAfterEnd {
        /// The entry's name.
        entry: EntryName,
        /// Where.
        offset: u64,
        /// How many.
        bytes: u64,
    },
    /// What came out has another CRC-32.
    #[error("verify entry {entry}: CRC-32 is {found:08x}, expected {expected:08x}")]
    CrcMismatch {
        /// The entry's name.
        entry: EntryName,
        /// Where.
        offset: u64,
        /// What was declared.
        expected: u32,
        /// What there is.
        found: u32,
    },
}

/// A path as a message shows it.
fn shown(path: &Path) -> EntryName {
    EntryName::raw(path.as_os_str().as_bytes())
}

impl ExtractError {
    /// A failed read: a ZIP that ends before the size it had is one that changed.
    pub(super) fn read(offset: u64, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::UnexpectedEof => Self::Changed { what: "its size" },
            _ => Self::Read { offset, source },
        }
    }

    /// A failed write under the output folder; a full disk or quota is not the attempt's fault.
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

//! [`Options`] and its parts: the limits of an archive, and how it is read.

use std::fmt;

use jiff::tz::TimeZone;

use super::charset::Charset;

/// The limits of an archive. The defaults are above what real data needs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Files and folders together. Checked against the end record before memory is allocated for
    /// the entries.
    pub entries: u64,
    /// The average length of a name in bytes: all names together may have `entries` times as many,
    /// and at least 1 MiB, raw and decoded. With the defaults, a plan takes less than 64 MiB of
    /// memory.
    pub mean_name_bytes: u64,
    /// The total size of all files in bytes, unpacked.
    pub total_bytes: u64,
    /// The size of one file in bytes, unpacked.
    pub entry_bytes: u64,
    /// Unpacked bytes per packed byte. Checked only above `ratio_from_bytes`.
    pub ratio: u64,
    /// Archives and entries of up to this many unpacked bytes may have any ratio.
    pub ratio_from_bytes: u64,
    /// The depth of nested folders.
    pub depth: usize,
    /// The length of a path in bytes, raw and decoded.
    pub path_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entries: 100_000,
            mean_name_bytes: 128,
            total_bytes: 1 << 40,
            entry_bytes: 1 << 40,
            ratio: 200,
            ratio_from_bytes: 64 << 20,
            depth: 64,
            path_bytes: 4096,
        }
    }
}

/// How much an archive's framing may deviate from one unambiguous reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Framing {
    /// Entries, central directory and end record fill the file without gaps. The only exceptions
    /// are a marker of a split archive at the start, and NULs or one line end after the end record.
    #[default]
    Strict,
    /// A prefix, trailing bytes, gaps and signing blocks are skipped. All other rules are as in
    /// `Strict`.
    Lenient,
}

/// The source of the modes of unpacked files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Modes {
    /// 0666 for files and 0777 for folders, less the umask. A file that is executable in the
    /// archive gets 0777 less the umask.
    #[default]
    Umask,
    /// The archive's permission bits less the umask: files at least 0600, folders at least 0700.
    /// Never setuid, setgid or sticky.
    Zip,
}

/// The treatment of symbolic links.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Symlinks {
    /// The archive is refused.
    #[default]
    Refuse,
    /// They are left out.
    Skip,
}

/// The treatment of names that some file systems cannot distinguish or cannot hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Collisions {
    /// They are written unchanged.
    #[default]
    Allow,
    /// The archive is refused.
    Refuse,
}

/// A password. It is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Box<[u8]>);

impl Password {
    /// Creates a password from the bytes as the sender typed them.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// How an archive is read, and which of its properties are kept.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// The limits of the archive.
    pub limits: Limits,
    /// The strictness of its framing.
    pub framing: Framing,
    /// The source of the modes of files.
    pub modes: Modes,
    /// The treatment of symbolic links.
    pub symlinks: Symlinks,
    /// The treatment of names that differ only in case or in Unicode normal form.
    pub collisions: Collisions,
    /// The treatment of names that Windows cannot hold.
    pub reserved_names: Collisions,
    /// The charset of names that are neither marked nor valid UTF-8. `None`: it is detected.
    pub charset: Option<Charset>,
    /// The time zone of DOS times, which do not record one.
    pub zone: TimeZone,
    /// The password for encrypted entries.
    pub password: Option<Password>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            framing: Framing::default(),
            modes: Modes::default(),
            symlinks: Symlinks::default(),
            collisions: Collisions::default(),
            reserved_names: Collisions::default(),
            charset: None,
            zone: TimeZone::UTC,
            password: None,
        }
    }
}

//! What an archive may hold and how it is read: [`Options`] and its parts.

use std::fmt;

use jiff::tz::TimeZone;

use super::charset::Charset;

/// What an archive may hold. The defaults are beyond what real data has.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Files and folders together; judged by the end record, before anything is allocated for them.
    pub entries: u64,
    /// Bytes of a name on average: all names together may have `entries` times as many, raw and decoded.
    /// With the defaults a plan takes less than 64 MiB of memory.
    pub mean_name_bytes: u64,
    /// Bytes of all files together, unpacked.
    pub total_bytes: u64,
    /// Bytes of one file, unpacked.
    pub entry_bytes: u64,
    /// Unpacked bytes for a packed one, judged over `ratio_from_bytes` only.
    pub ratio: u64,
    /// Archives and entries of up to so many bytes unpacked may have any ratio.
    pub ratio_from_bytes: u64,
    /// Folders within folders.
    pub depth: usize,
    /// Bytes of a path, raw and decoded.
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
    /// Entries, central directory and end record tile the file; NULs may pad it to a multiple of 512
    /// bytes.
    #[default]
    Strict,
    /// A prefix, trailing bytes, gaps and signing blocks are skipped; everything else is as strict.
    Lenient,
}

/// Where the modes of unpacked files come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Modes {
    /// 0666 and 0777 less the umask; the archive's execute bits are kept.
    #[default]
    Umask,
    /// The archive's permission bits less the umask: files at least 0600, folders at least 0700;
    /// setuid, setgid and sticky never.
    Zip,
}

/// What becomes of symbolic links.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Symlinks {
    /// The archive is refused.
    #[default]
    Refuse,
    /// They are left out.
    Skip,
}

/// What becomes of names that some file systems cannot keep apart or cannot hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Collisions {
    /// They are written as they are.
    #[default]
    Allow,
    /// The archive is refused.
    Refuse,
}

/// A password; never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Box<[u8]>);

impl Password {
    /// Takes the bytes as the sender typed them.
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

/// How an archive is read and what of it is kept.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// What an archive may hold.
    pub limits: Limits,
    /// How exact its framing must be.
    pub framing: Framing,
    /// Where modes come from.
    pub modes: Modes,
    /// What becomes of symbolic links.
    pub symlinks: Symlinks,
    /// What becomes of names that differ only in case or in Unicode normal form.
    pub collisions: Collisions,
    /// What becomes of names that Windows cannot hold.
    pub reserved_names: Collisions,
    /// Charset of names that are neither marked nor valid UTF-8; none: it is detected.
    pub charset: Option<Charset>,
    /// Zone of DOS times, which have none of their own.
    pub zone: TimeZone,
    /// For encrypted entries.
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

//! The configuration of longshore: one TOML file, or no file and a few flags.
//!
//! [`Config`] is what the rest of the program reads: complete, with every default filled in and absolute
//! paths. [`ConfigFile`] is what a person writes: everything is optional, with `[defaults]` for what the
//! sources share and `[source.NAME]` for one source. Unknown keys are errors.

mod error;
mod file;
mod ledger;
mod patterns;
mod process;
mod template;

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

pub use error::ConfigError;
pub use file::{ConfigFile, SourceFile};
pub use ledger::{Ledger, OnCorrupt};
pub use patterns::{PatternError, Patterns};
pub use process::{Isolation, Process};
pub use template::{Placeholder, Template, TemplateError};

use crate::id::SourceName;

/// The daemon's configuration: complete, and with absolute paths.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// At least one; no two with the same landing.
    pub sources: Vec<Source>,
    /// Extractor threads; at least 1.
    pub workers: usize,
    /// How long a graceful stop waits for work in flight.
    pub grace: Duration,
    /// How long `--once` waits without any progress.
    pub once_wait: Duration,
    /// Where the ledger and the commands' logs are; absolute. `None`: in `.longshore` in the landing of the
    /// only source, or where senders cannot reach it.
    pub state: Option<PathBuf>,
    /// The record of every package, in the state folder.
    pub ledger: Ledger,
}

/// A landing with its rules.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Source {
    /// `default` if there is no config file.
    pub name: SourceName,
    /// Where senders deliver; absolute.
    pub landing: PathBuf,
    /// Where processed packages go; absolute.
    pub archive: PathBuf,
    /// Where packages go that cannot be processed; absolute. Default: `quarantine/` beside the archive.
    pub quarantine: PathBuf,
    /// The work area, shared with no other daemon; absolute. `None`: `landing/.longshore/work`, or where
    /// senders cannot reach it if others can write to the landing (docs/configuration.md).
    pub work: Option<PathBuf>,
    /// How long a folder that did not come by a rename must have been quiet.
    pub settle: Duration,
    /// How often the landing is scanned, regardless of events.
    pub rescan: Duration,
    /// How long a ZIP without an end record must have been quiet to be judged by extraction.
    pub broken_after: Duration,
    /// After what time a folder that does not become ready is reported.
    pub stale_after: Duration,
    /// Suffixes of folder names that mean "still arriving".
    pub incomplete: Vec<String>,
    /// Files in a folder that mean "still arriving" if only time says that the folder is complete.
    pub incomplete_inside: Patterns,
    /// The file with which a sender marks a folder as complete; `None`: no such file is awaited.
    pub ready_when: Option<Patterns>,
    /// Names that are never a delivery and never reported, in the landing and in packages.
    pub ignore: Patterns,
    /// What counts as a package.
    pub accept: Vec<Accept>,
    /// What to do with a delivery that is identical to an archived one.
    pub identical: Identical,
    /// What to do with a delivery that has the name of an archived one and other content.
    pub changed: Changed,
    /// Whether packages are on disk before they are visible in the archive.
    pub durability: Durability,
    /// Where the modes of unpacked files come from.
    pub modes: Modes,
    /// How exact a ZIP's framing must be.
    pub framing: Framing,
    /// What to do with symbolic links in a ZIP.
    pub symlinks: Symlinks,
    /// What to do with names that differ only in case or in Unicode normal form.
    pub collisions: Collisions,
    /// What to do with names that Windows cannot hold.
    pub reserved_names: Collisions,
    /// Charset of names that are neither marked nor valid UTF-8; `None`: the charset is detected.
    pub charset: Option<String>,
    /// IANA name of the time zone for DOS times, which do not state one.
    pub zone: String,
    /// Where the password for encrypted entries is read from, at the start.
    pub password: Option<PasswordFrom>,
    /// Attempts at one package before it is quarantined; at least 1.
    pub max_attempts: u32,
    /// Pause before the second attempt; doubled for each further attempt.
    pub backoff: Duration,
    /// The longest pause between two attempts.
    pub backoff_max: Duration,
    /// Deaths of the daemon while a package was alone in work, before that package is quarantined.
    pub max_crashes: u32,
    /// Bytes that stay free on the file systems of the work area and the archive.
    pub min_free: ByteSize,
    /// Whether the ledger gets a hash of each whole ZIP, which requires reading the ZIP once more.
    pub hash: bool,
    /// Limits for an archive.
    pub limits: Limits,
    /// The command that processes the unpacked files; `None`: they are archived as they are.
    pub process: Option<Process>,
}

impl Source {
    /// Creates a source with every default; `landing` and `archive` should be absolute.
    #[must_use]
    pub fn new(name: SourceName, landing: impl Into<PathBuf>, archive: impl Into<PathBuf>) -> Self {
        let (landing, archive) = (landing.into(), archive.into());
        Self {
            name,
            quarantine: beside(&archive, "quarantine"),
            work: None,
            landing,
            archive,
            settle: Duration::from_secs(1),
            rescan: Duration::from_secs(30),
            broken_after: Duration::from_secs(30),
            stale_after: Duration::from_secs(24 * 60 * 60),
            incomplete: vec!["-downloading".to_owned()],
            incomplete_inside: Patterns::unfinished(),
            ready_when: None,
            ignore: Patterns::litter(),
            accept: vec![Accept::Folder],
            identical: Identical::default(),
            changed: Changed::default(),
            durability: Durability::default(),
            modes: Modes::default(),
            framing: Framing::default(),
            symlinks: Symlinks::default(),
            collisions: Collisions::default(),
            reserved_names: Collisions::default(),
            charset: None,
            zone: "UTC".to_owned(),
            password: None,
            max_attempts: 3,
            backoff: Duration::from_secs(2),
            backoff_max: Duration::from_secs(10 * 60),
            max_crashes: 3,
            min_free: ByteSize::mib(64),
            hash: false,
            limits: Limits::default(),
            process: None,
        }
    }
}

impl Config {
    /// Creates a configuration with one source and every default.
    #[must_use]
    pub fn new(source: Source) -> Self {
        Self {
            sources: vec![source],
            workers: std::thread::available_parallelism().map_or(1, usize::from),
            grace: Duration::from_secs(30),
            once_wait: Duration::from_secs(60),
            state: None,
            ledger: Ledger::default(),
        }
    }
}

fn beside(path: &Path, name: &str) -> PathBuf {
    path.parent().unwrap_or(Path::new("/")).join(name)
}

/// What counts as a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Accept {
    /// A folder `NAME/` that holds `NAME.zip`.
    Folder,
    /// A bare `NAME.zip` in the landing.
    Zip,
}

/// What to do with a delivery that is identical to an archived package of its source and name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Identical {
    /// The delivery is quarantined as `duplicate`.
    #[default]
    Quarantine,
    /// The delivery is deleted.
    Discard,
    /// The delivery is processed like a revision.
    Process,
}

/// What to do with a delivery that has the name of an archived package and other content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Changed {
    /// The delivery is processed and archived as `NAME.2`, `NAME.3`, ….
    #[default]
    Process,
    /// The delivery is quarantined as `changed`.
    Quarantine,
}

/// Whether packages are on disk before they are visible in the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Durability {
    /// One `syncfs` for all packages that have gathered.
    #[default]
    Batch,
    /// Left to the system: a power loss may cost the packages archived in the last half minute.
    None,
}

/// Where the modes of unpacked files come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Modes {
    /// 0666 and 0777 minus the umask; the archive's execute bits are kept.
    #[default]
    Umask,
    /// The archive's modes, without setuid and the like, minus the umask.
    Zip,
}

/// How exact a ZIP's framing must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Framing {
    /// Entries, central directory and end record fill the whole file.
    #[default]
    Strict,
    /// A prefix, trailing bytes, gaps and signing blocks are skipped.
    Lenient,
}

/// What to do with symbolic links in a ZIP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Symlinks {
    /// The ZIP is refused.
    #[default]
    Refuse,
    /// The links are left out.
    Skip,
}

/// What to do with names that some file systems cannot distinguish or cannot hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Collisions {
    /// The names are written as they are.
    #[default]
    Allow,
    /// The ZIP is refused.
    Refuse,
}

/// Where a password is read from; never the password itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PasswordFrom {
    /// A file; its last line ending is ignored; absolute.
    File(PathBuf),
    /// An environment variable.
    Env(String),
}

/// Limits for an archive; a package that exceeds one is quarantined.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Limits {
    /// Number of files and folders.
    pub entries: u64,
    /// Bytes of all files together, unpacked.
    pub total: ByteSize,
    /// Bytes of one file, unpacked.
    pub entry: ByteSize,
    /// Unpacked bytes per packed byte; applies to archives of more than 64 MiB unpacked.
    pub ratio: u64,
    /// Levels of nested folders.
    pub depth: usize,
    /// Bytes of one path.
    pub path: ByteSize,
    /// Average bytes per name: all names together may have `entries` times this number.
    pub mean_name: ByteSize,
    /// Number of files and folders beside the ZIP.
    pub beside_entries: u64,
    /// Bytes of all files beside the ZIP together.
    pub beside_total: ByteSize,
    /// Levels of nested folders beside the ZIP.
    pub beside_depth: usize,
    /// Bytes of one path beside the ZIP.
    pub beside_path: ByteSize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entries: 100_000,
            total: ByteSize::tib(1),
            entry: ByteSize::tib(1),
            ratio: 200,
            depth: 64,
            path: ByteSize::kib(4),
            mean_name: ByteSize::b(128),
            beside_entries: 100_000,
            beside_total: ByteSize::tib(1),
            beside_depth: 64,
            beside_path: ByteSize::kib(4),
        }
    }
}

//! Errors of the work area, and their consequences for the package or the start.

use std::io;
use std::path::PathBuf;

use rustix::io::Errno;
use thiserror::Error;

use super::trust::Writer;
use crate::error::{Disposition, Failure, is_shortage};
use crate::id::{JobId, SourceName};

/// Why an operation in the work area failed. Completes "failed to …".
#[derive(Debug, Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are what the message says of them")]
pub enum WorkspaceError {
    /// A link, FIFO, socket or device lies beside the ZIP.
    #[error("take {path:?} along: it is a {kind}, and only files and folders are archived")]
    OddOriginal { path: PathBuf, kind: super::originals::Kind },
    /// A folder beside the ZIP cannot be moved by this user.
    #[error(
        "take the folder {path:?} along: this user needs read, write and search permission on it"
    )]
    FixedOriginal { path: PathBuf },
    /// A file or folder beside the ZIP is immutable or append-only, or is on a mount of its own.
    #[error("take {path:?} along: it {why}")]
    HeldOriginal { path: PathBuf, why: Held },
    /// More files and folders beside the ZIP than `limits.beside_entries`.
    #[error(
        "take what lies beside the ZIP in {path:?} along: it is more than {limit} files and folders"
    )]
    TooManyOriginals { path: PathBuf, limit: u64 },
    /// More bytes beside the ZIP than `limits.beside_total`.
    #[error("take what lies beside the ZIP in {path:?} along: it is more than {limit_bytes} bytes")]
    OriginalsTooLarge { path: PathBuf, limit_bytes: u64 },
    /// A folder beside the ZIP has more levels of folders than `limits.beside_depth`.
    #[error("take the folder {name:?} in {path:?} along: it is more than {limit} folders deep")]
    OriginalsTooDeep { path: PathBuf, name: std::ffi::OsString, limit: usize },
    /// The path of a file or folder beside the ZIP is longer than `limits.beside_path`.
    #[error(
        "take what is in the folder {name:?} in {path:?} along: a path in it is longer than \
         {limit_bytes} bytes"
    )]
    OriginalPathTooLong { path: PathBuf, name: std::ffi::OsString, limit_bytes: u64 },
    /// The package's ZIP is missing or has disappeared.
    #[error("find {path:?}")]
    ZipMissing { path: PathBuf },
    /// The entry with the ZIP's name is a link, a folder, a FIFO or the like.
    #[error("read {path:?}: it is a {kind} and no file")]
    ZipNotAFile { path: PathBuf, kind: super::originals::Kind },
    /// The ZIP's mode denies read access, even to its owner.
    #[error("read {path:?}: this user needs read permission on it")]
    ZipUnreadable { path: PathBuf, source: io::Error },
    /// The sender wrote to the ZIP while it was in work.
    #[error("rely on {path:?}: it changed while it was in work ({what})")]
    ZipChanged { path: PathBuf, what: &'static str },
    /// The ZIP was touched while it was in work: only its ctime differs. Its contents are to be compared.
    #[error("rely on {path:?}: it was touched while it was in work (its ctime)")]
    ZipTouched { path: PathBuf },
    /// The ZIP, or a file beside it, would give its owner's rights to any user who runs it.
    #[error("take {path:?} along: it has a setuid or setgid bit")]
    SetIdOriginal { path: PathBuf },
    /// The job is on its way to the archive or quarantine and cannot be unpacked again.
    #[error("unpack {path:?} again: it is already on its way to the archive or quarantine")]
    PastExtraction { path: PathBuf },
    /// The daemon died too often while this package was in work.
    #[error("get through this package: the daemon died {crashes} times while it was in work")]
    CrashesDaemon { crashes: u32 },
    /// The job's folder is missing, or does not say which package it holds.
    #[error("find job {id} in {path:?}")]
    JobGone { id: JobId, path: PathBuf },
    /// The work area is missing: unmounted or removed.
    #[error("reach the work area {path:?}: mount it again, or make it")]
    WorkGone { path: PathBuf, source: io::Error },
    /// An operation of the file system failed.
    #[error("{action} {path:?}")]
    Io { action: &'static str, path: PathBuf, source: io::Error },
}

impl WorkspaceError {
    /// Returns a constructor for `map_err`.
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}

impl Failure for WorkspaceError {
    fn code(&self) -> &'static str {
        match self {
            Self::OddOriginal { .. } => "odd_original",
            Self::FixedOriginal { .. } => "original_not_movable",
            Self::HeldOriginal { .. } => "original_not_movable",
            Self::TooManyOriginals { .. } => "too_many_originals",
            Self::OriginalsTooLarge { .. } => "originals_too_large",
            Self::OriginalsTooDeep { .. } => "originals_too_deep",
            Self::OriginalPathTooLong { .. } => "original_path_too_long",
            Self::ZipMissing { .. } => "zip_missing",
            Self::ZipNotAFile { .. } => "zip_not_a_file",
            Self::ZipUnreadable { .. } => "zip_unreadable",
            Self::ZipChanged { .. } | Self::ZipTouched { .. } => "zip_changed",
            Self::SetIdOriginal { .. } => "setid_original",
            Self::PastExtraction { .. } => "past_extraction",
            Self::CrashesDaemon { .. } => "crashes_daemon",
            Self::JobGone { .. } => "job_gone",
            Self::WorkGone { .. } => "work_gone",
            Self::Io { .. } => "work_io",
        }
    }

    fn disposition(&self) -> Disposition {
        match self {
            Self::OddOriginal { .. }
            | Self::FixedOriginal { .. }
            | Self::HeldOriginal { .. }
            | Self::TooManyOriginals { .. }
            | Self::OriginalsTooLarge { .. }
            | Self::OriginalsTooDeep { .. }
            | Self::OriginalPathTooLong { .. }
            | Self::SetIdOriginal { .. }
            | Self::ZipMissing { .. }
            | Self::ZipNotAFile { .. }
            | Self::ZipUnreadable { .. }
            | Self::CrashesDaemon { .. } => Disposition::Quarantine,
            Self::ZipChanged { .. } | Self::ZipTouched { .. } | Self::PastExtraction { .. } => {
                Disposition::Retry
            }
            Self::JobGone { .. } | Self::WorkGone { .. } => Disposition::Wait,
            Self::Io { source, .. } => transient(source),
        }
    }
}

/// Why a delivered file or folder cannot be moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Held {
    /// It is immutable or append-only.
    Fixed,
    /// It is a mount point.
    Mounted,
}

impl std::fmt::Display for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Fixed => "is immutable or append-only (chattr -i -a)",
            Self::Mounted => "is a mount point: unmount it",
        })
    }
}

/// Returns the disposition of an I/O error. A full or read-only disk, or a machine short of files,
/// memory or threads, concerns all packages, so the source waits. For a file in use only this package
/// waits. Any other error gets another attempt.
pub(crate) fn transient(error: &io::Error) -> Disposition {
    match Errno::from_io_error(error) {
        Some(Errno::NOSPC | Errno::DQUOT | Errno::ROFS) => Disposition::Wait,
        _ if is_shortage(error) => Disposition::Wait,
        Some(Errno::BUSY | Errno::TXTBSY) => Disposition::WaitAlone,
        _ => Disposition::Retry,
    }
}

/// Why an attempt did not start. Completes "failed to …".
///
/// A package from the landing is still in the landing, and one from the work area still in the work area.
#[derive(Debug, Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are what the message says of them")]
pub enum ClaimError {
    /// The package is no longer in the landing, or another package has its name.
    #[error("claim {path:?}: it is gone, or another has its name")]
    Vanished { path: PathBuf },
    /// The package exists, but cannot be moved.
    #[error("claim {path:?}: {advice}")]
    Refused { path: PathBuf, advice: &'static str, source: io::Error },
    /// An operation in the work area failed.
    #[error(transparent)]
    WorkArea(#[from] WorkspaceError),
}

impl ClaimError {
    /// Returns the root cause: it is the same for each attempt, while the folders have other names.
    pub(super) fn root(&self) -> &(dyn std::error::Error + 'static) {
        let mut root: &(dyn std::error::Error + 'static) = self;
        while let Some(source) = root.source() {
            root = source;
        }
        root
    }
}

impl Failure for ClaimError {
    fn code(&self) -> &'static str {
        match self {
            Self::Vanished { .. } => "vanished",
            Self::Refused { .. } => "claim_refused",
            Self::WorkArea(error) => error.code(),
        }
    }

    fn disposition(&self) -> Disposition {
        match self {
            // The package is not ours yet and the failure costs no attempt: each rescan tries again.
            Self::Vanished { .. } | Self::Refused { .. } => Disposition::Wait,
            Self::WorkArea(error) => error.disposition(),
        }
    }
}

/// Why a source cannot start. Completes "failed to …"; each says what, where and what to do.
#[derive(Debug, Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are what the message says of them")]
pub enum StartError {
    /// Two of the folders are the same.
    #[error("use {path:?} as {one} and as {other}: give each a folder of its own")]
    SameFolder { one: &'static str, other: &'static str, path: PathBuf },
    /// A folder lies inside another where it would be taken for a package or be moved with one.
    #[error("use {inner_path:?} as {inner}: it lies inside the {outer} {outer_path:?}; {advice}")]
    Inside {
        inner: &'static str,
        inner_path: PathBuf,
        outer: &'static str,
        outer_path: PathBuf,
        advice: &'static str,
    },
    /// Two sources would take each other's folders for packages.
    #[error(
        "use {landing:?} as the landing of {source_name}: it touches the {what} of {other}, {path:?}; give each source folders of its own"
    )]
    SharedFolder {
        source_name: SourceName,
        landing: PathBuf,
        other: SourceName,
        what: &'static str,
        path: PathBuf,
    },
    /// A file has the folder's name.
    #[error("use {path:?} as {what}: it is no folder")]
    NotAFolder { what: &'static str, path: PathBuf },
    /// A folder is missing and cannot be created.
    #[error(
        "make the {what} {path:?}: make it by hand, or let this user write to the folder above it"
    )]
    Make { what: &'static str, path: PathBuf, source: io::Error },
    /// This user lacks a permission.
    #[error("use the {what} {path:?}: this user needs read, write and search permission on it")]
    Denied { what: &'static str, path: PathBuf, source: io::Error },
    /// Others can write to a folder that must be longshore's own, so its contents cannot be trusted.
    #[error(
        "trust the {what} {path:?} (mode {mode:04o}): others can write to it; chmod it to 0700{}",
        or_another(what)
    )]
    Shared { what: &'static str, path: PathBuf, mode: u32 },
    /// The file system gives every file the same mode, and that mode lets others write.
    #[error(
        "trust the {what} {path:?} (mode {mode:04o}): others can write to it, and this file system has \
         fixed modes, so that chmod changes nothing; mount it with umask=077 (exFAT, vfat, NTFS) or \
         dir_mode=0700,file_mode=0600 (SMB){}",
        or_deliver_elsewhere(what)
    )]
    FixedModes { what: &'static str, path: PathBuf, mode: u32 },
    /// A folder that must be longshore's own belongs to another user.
    #[error(
        "trust the {what} {path:?}: it belongs to uid {owner}; chown it to uid {user}{}",
        or_another(what)
    )]
    Foreign { what: &'static str, path: PathBuf, owner: u32, user: u32 },
    /// Renames from the landing to the work area do not work.
    #[error(
        "move packages from {landing:?} to the work area {work:?}: they are on different file systems or mounts; name a folder beside the landing with --work"
    )]
    WorkElsewhere { landing: PathBuf, work: PathBuf },
    /// One of our folders was configured in a landing that others can write to.
    #[error(
        "use {path:?} as {what}: it lies in the landing, where {writer} could exchange it ({writer} can \
         write to {folder:?}); leave out {flag}, or name a folder outside of the landing"
    )]
    ExposedFolder {
        what: &'static str,
        flag: &'static str,
        path: PathBuf,
        writer: Writer,
        folder: PathBuf,
    },
    /// Others can write to the landing, and no place was found that they cannot write to.
    #[error(
        "find a work area for {landing:?} that nobody else can reach: {writer} can write to {folder:?}, \
         so that it cannot be in the landing, and no other place does ({tried}); name a folder of this \
         user's on the landing's file system with --work DIR, and another for the ledger with \
         --state DIR"
    )]
    NoSafePlace { landing: PathBuf, writer: Writer, folder: PathBuf, tried: String },
    /// The entry with the name of one of our records is a link, a folder, a FIFO or the like.
    #[error("read {path:?}: it is no regular file; move it away")]
    NotARecord { path: PathBuf },
    /// No place for the state folder is configured or can be derived.
    #[error(
        "find a place for the state of {landing:?}: it is on a network file system, and neither \
         STATE_DIRECTORY, XDG_STATE_HOME nor HOME says where state can be kept; name a folder with \
         --state DIR"
    )]
    NoStatePlace { landing: PathBuf },
    /// The work area was created by another version.
    #[error(
        "understand the work area's layout: {path:?} says {found:?}, and this version knows {known:?}; finish its jobs with the version that made it, or name another with --work"
    )]
    UnknownFormat { path: PathBuf, found: String, known: &'static str },
    /// Another process holds the lock.
    #[error("take the {what} {path:?}: {} holds it; stop that one first", holder(*pid))]
    Locked { what: &'static str, path: PathBuf, pid: Option<u32> },
    /// Another operation of the file system failed.
    #[error("{action} {path:?}")]
    Io { action: &'static str, path: PathBuf, source: io::Error },
}

/// Returns advice by folder: the work area can be elsewhere; the folder for copies is in its target.
fn or_another(what: &str) -> &'static str {
    if what == "work area" { ", or name another with --work" } else { "" }
}

/// Returns advice by folder: the work area is always on the landing's file system.
fn or_deliver_elsewhere(what: &str) -> &'static str {
    match what {
        "work area" | "landing" => {
            ", or deliver to a landing on another file system: the work area is on the landing's"
        }
        _ => "",
    }
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or("another process".to_owned(), |pid| format!("process {pid}"))
}

impl StartError {
    /// Returns a constructor for `map_err`.
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }

    /// The exit code for this kind of error: 74 I/O, 75 lock held, 77 permission, 78
    /// configuration.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::SameFolder { .. }
            | Self::Inside { .. }
            | Self::SharedFolder { .. }
            | Self::NotAFolder { .. }
            | Self::WorkElsewhere { .. }
            | Self::ExposedFolder { .. }
            | Self::NoSafePlace { .. }
            | Self::NoStatePlace { .. }
            | Self::NotARecord { .. }
            | Self::UnknownFormat { .. } => 78,
            Self::Denied { .. }
            | Self::Shared { .. }
            | Self::FixedModes { .. }
            | Self::Foreign { .. } => 77,
            Self::Locked { .. } => 75,
            Self::Make { source, .. } | Self::Io { source, .. } => {
                match Errno::from_io_error(source) {
                    Some(Errno::ACCESS | Errno::PERM | Errno::ROFS) => 77,
                    Some(Errno::NOTDIR | Errno::NAMETOOLONG | Errno::LOOP) => 78,
                    _ => 74,
                }
            }
        }
    }
}

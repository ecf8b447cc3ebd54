//! Reasons why a job was not settled.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use rustix::io::Errno;
use thiserror::Error;

use super::redelivery::Redelivered;
use crate::error::{Disposition, Failure};
use crate::folder::metadata_at;
use crate::id::{JobId, PackageName};
use crate::workspace::{Site, SpaceError, WorkspaceError, transient};

/// Why a job was not settled. Completes "failed to …". The job stays, and can be settled again.
#[derive(Debug, Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are what the message says of them")]
pub enum PublishError {
    /// An unpacked file, or a file that a stage made, has the name of a delivered file.
    #[error("keep {name:?} in {path:?} apart from the delivered file of that name")]
    OverwritesOriginal { name: OsString, path: PathBuf },
    /// The ZIP cannot be moved out of its folder.
    #[error(
        "take {path:?} along: this user needs write permission on its folder, and on a sticky one \
         must own the file"
    )]
    FixedZip { path: PathBuf, source: io::Error },
    /// A file or folder beside the ZIP cannot be moved out of the delivered folder.
    #[error("take {path:?} along: the file system does not let this user move it")]
    FixedOriginal { path: PathBuf, source: io::Error },
    /// A file or folder beside the ZIP is in use.
    #[error("take {path:?} along: it is in use; it is tried again until it is free")]
    OriginalBusy { path: PathBuf, source: io::Error },
    /// A file was written to while it was copied.
    #[error("copy {path:?}: it was written to while it was copied")]
    OriginalChanged { path: PathBuf },
    /// Something is mounted within the package: the mounted files do not belong to the package.
    #[error("take {path:?} along: it is a mount point: unmount it")]
    MountPoint { path: PathBuf },
    /// The file system of the archive or quarantine cannot hold a name, a size or a kind of file.
    #[error("make {path:?}: the file system there cannot hold this name, size or kind of file")]
    CannotHold { path: PathBuf, source: io::Error },
    /// Several folders in the job's folder could be the delivered one.
    #[error(
        "tell which folder in {path:?} was delivered: somebody made another one; leave the right one \
         alone there"
    )]
    DeliveredUnclear { path: PathBuf },
    /// A stage replaced the unpacked folder by something else.
    #[error("archive {path:?}: it is no folder any more; a stage replaced it")]
    NotAFolder { path: PathBuf },
    /// No unpacked folder exists that could be archived.
    #[error("archive {path:?}: it is not unpacked")]
    NotUnpacked { path: PathBuf },
    /// The job was to be quarantined or deleted, but part of it is already on its way to the archive.
    #[error("turn {path:?} back: its ZIP is gathered, so that it can only be archived")]
    Gathered { path: PathBuf },
    /// The written files could not be synced to disk.
    #[error("have the disk keep what was written in {path:?}")]
    Sync { path: PathBuf, source: io::Error },
    /// The archive or quarantine is missing: unmounted or removed.
    #[error("reach {path:?}: mount it again, or make it; the package waits")]
    TargetGone { path: PathBuf, source: io::Error },
    /// Another file system has been mounted at the archive's or quarantine's path.
    #[error(
        "use {path:?}: another file system is mounted here since the start: restart longshore to use it, \
         or unmount it; the package waits"
    )]
    TargetRemounted { path: PathBuf, source: io::Error },
    /// This user has no permission to write to the archive or quarantine, or no longer has it.
    #[error("write to {path:?}: give this user write permission on it; the package waits")]
    TargetDenied { path: PathBuf, source: io::Error },
    /// Every possible name for it in the archive is taken.
    #[error("find a free name for {name} in {path:?}: every revision's name is taken")]
    NoFreeName { name: PackageName, path: PathBuf },
    /// A rename failed.
    #[error("move {from:?} to {to:?}")]
    Move { from: PathBuf, to: PathBuf, source: io::Error },
    /// The reason for the quarantine could not be written.
    #[error("write {path:?}")]
    WriteReason { path: PathBuf, source: io::Error },
    /// The package could not be compared with an archived one.
    #[error("compare with {path:?}")]
    Compare { path: PathBuf, source: io::Error },
    /// A stage or command left a FIFO, a socket or a device.
    #[error("archive {path:?}: only files, folders and links within the package are archived")]
    SpecialFile { path: PathBuf },
    /// A stage or command left a link that leads out of the package.
    #[error("archive {path:?}: it is a link to {to:?}, which could lead out of the package")]
    LinkLeadsOut { path: PathBuf, to: PathBuf },
    /// A stage or command left a file that would give its owner's rights to any user who runs it.
    #[error("archive {path:?}: it has a setuid or setgid bit")]
    SetId { path: PathBuf },
    /// Another package has taken the name in the archive meanwhile.
    #[error(transparent)]
    Redelivered(#[from] Redelivered),
    /// A file cannot be read, and therefore not be copied to another file system.
    #[error("copy {path:?} to another file system: this user needs read permission on it")]
    Unreadable { path: PathBuf },
    /// Writing a part of a copy to the target failed.
    #[error("copy {path:?} from one file system to another")]
    Copy { path: PathBuf, source: io::Error },
    /// Reading a file to be copied failed.
    #[error("read {path:?}, to copy it to another file system")]
    CopyFrom { path: PathBuf, source: io::Error },
    /// A package on its way to quarantine has more files and folders than the limit for copies.
    #[error(
        "copy {path:?} from one file system to another: it has more than {limit} files and folders"
    )]
    TooManyToCopy { path: PathBuf, limit: usize },
    /// The content that was read back differs from the content that was written.
    #[error("find in {path:?} what was written to it: its BLAKE3 differs from the original's")]
    CopyDiffers { path: PathBuf },
    /// The copy has neither its temporary name nor its final name.
    #[error(
        "find the copy of {job} in {path:?}: mount what was there; if somebody deleted the copy, \
         rename .copied in the job's folder to .final, or .q-copied to .q, and it is copied again"
    )]
    CopyGone { job: JobId, path: PathBuf },
    /// The record that identifies the job's copy was not on disk when the machine went down.
    #[error("tell which copy is that of {job}: it is copied again")]
    CopyUnknown { job: JobId },
    /// The program's own publisher did not accept the package.
    #[error("hand {name} to the program's publisher; it is offered again")]
    Publisher { name: PackageName, source: super::publisher::Refusal },
    /// A stop was requested.
    #[error("copy it to the end: a stop was asked for, and the next start goes on")]
    Stopped,
    /// The target has too little space.
    #[error(transparent)]
    Space(#[from] SpaceError),
    /// An operation in the work area failed.
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
}

impl PublishError {
    /// Returns a constructor for `map_err` on a rename.
    pub(super) fn moving(site: &Site, from: &Path, to: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| {
            let folder = to.parent().unwrap_or(to).to_path_buf();
            let outside = !folder.starts_with(site.root());
            match Errno::from_io_error(&source) {
                // An unmounted mount point is an empty folder on another file system.
                Some(Errno::XDEV) if outside => Self::unreachable(folder, source),
                Some(Errno::NOENT | Errno::NOTDIR | Errno::STALE)
                    if outside && folder.symlink_metadata().is_err() =>
                {
                    Self::TargetGone { path: folder, source }
                }
                Some(Errno::ACCESS | Errno::PERM) if outside => {
                    Self::TargetDenied { path: folder, source }
                }
                Some(errno) if outside && cannot_hold(errno) => {
                    Self::CannotHold { path: to.into(), source }
                }
                _ => Self::Move { from: from.into(), to: to.into(), source },
            }
        }
    }

    /// Returns the error for an archive or quarantine that is missing, or another folder than before.
    pub(crate) fn unreachable(path: PathBuf, source: io::Error) -> Self {
        let missing = |error: io::Error| error.kind() == io::ErrorKind::NotFound;
        match source.kind() {
            io::ErrorKind::PermissionDenied => Self::TargetDenied { path, source },
            _ if path.metadata().is_err_and(missing) || !is_mounted(&path) => {
                Self::TargetGone { path, source }
            }
            _ => Self::TargetRemounted { path, source },
        }
    }

    /// Whether a gathered package goes to quarantine or to another attempt because of this error: the
    /// originals are put back first.
    pub(super) fn turns_back(&self) -> bool {
        match self {
            Self::OriginalChanged { .. } | Self::Redelivered(_) => true,
            // The package is unpacked and copied again.
            Self::CopyFrom { .. } => self.disposition() == Disposition::Retry,
            _ => matches!(self.disposition(), Disposition::Quarantine | Disposition::Discard),
        }
    }
}

/// Whether a path is a mount point of another file system.
fn is_mounted(path: &Path) -> bool {
    let mount = |path: &Path| metadata_at(CWD, path.as_os_str()).ok()?.mount;
    match (mount(path), path.parent().and_then(mount)) {
        (Some(own), Some(above)) => own != above,
        _ => false,
    }
}

/// Whether this error means that a file system cannot hold a name, a size or a kind of file, however
/// long the job waits.
pub(super) fn cannot_hold(error: Errno) -> bool {
    matches!(
        error,
        Errno::INVAL
            | Errno::NAMETOOLONG
            | Errno::FBIG
            | Errno::EXIST
            | Errno::ILSEQ
            | Errno::OVERFLOW
            | Errno::MLINK
            | Errno::OPNOTSUPP
            | Errno::NOSYS
    )
}

/// Whether this error means that a target is temporarily unreachable: its disk or its server is gone.
fn is_out_of_reach(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(
            Errno::IO
                | Errno::STALE
                | Errno::NOTCONN
                | Errno::TIMEDOUT
                | Errno::HOSTDOWN
                | Errno::HOSTUNREACH
                | Errno::NETDOWN
                | Errno::NETUNREACH
                | Errno::CONNRESET
                | Errno::CONNREFUSED
                | Errno::CONNABORTED
                | Errno::SHUTDOWN
                | Errno::REMOTEIO
                | Errno::NODEV
                | Errno::NXIO
        )
    )
}

impl Failure for PublishError {
    fn code(&self) -> &'static str {
        match self {
            Self::OverwritesOriginal { .. } => "overwrites_original",
            Self::FixedZip { .. } => "zip_not_movable",
            Self::FixedOriginal { .. } => "original_not_movable",
            Self::OriginalBusy { .. } => "original_busy",
            Self::OriginalChanged { .. } => "original_changed",
            Self::MountPoint { .. } => "mount_point",
            Self::CannotHold { .. } => "target_cannot_hold",
            Self::DeliveredUnclear { .. } => "delivered_unclear",
            Self::NotAFolder { .. } => "output_not_a_folder",
            Self::NotUnpacked { .. } => "not_unpacked",
            Self::Gathered { .. } => "gathered",
            Self::Sync { .. } => "sync",
            Self::TargetGone { .. } => "target_gone",
            Self::TargetRemounted { .. } => "target_remounted",
            Self::TargetDenied { .. } => "target_denied",
            Self::NoFreeName { .. } => "no_free_name",
            Self::Move { .. } => "move",
            Self::WriteReason { .. } => "write_reason",
            Self::Compare { .. } => "compare",
            Self::SpecialFile { .. } => "special_file",
            Self::LinkLeadsOut { .. } => "link_leads_out",
            Self::SetId { .. } => "set_id",
            Self::Redelivered(error) => error.code(),
            Self::Unreadable { .. } => "unreadable",
            Self::Copy { .. } => "copy",
            Self::CopyFrom { .. } => "copy_from",
            Self::TooManyToCopy { .. } => "too_many_to_copy",
            Self::CopyDiffers { .. } => "copy_differs",
            Self::CopyGone { .. } => "copy_gone",
            Self::CopyUnknown { .. } => "copy_unknown",
            Self::Publisher { .. } => "publisher",
            Self::Stopped => "stopped",
            Self::Space(error) => error.code(),
            Self::Workspace(error) => error.code(),
        }
    }

    fn disposition(&self) -> Disposition {
        match self {
            Self::OverwritesOriginal { .. }
            | Self::FixedZip { .. }
            | Self::FixedOriginal { .. }
            | Self::MountPoint { .. }
            | Self::CannotHold { .. }
            | Self::TooManyToCopy { .. }
            | Self::NoFreeName { .. }
            | Self::NotAFolder { .. }
            | Self::SpecialFile { .. }
            | Self::LinkLeadsOut { .. }
            | Self::SetId { .. }
            | Self::Unreadable { .. } => Disposition::Quarantine,
            Self::Redelivered(error) => error.disposition(),
            Self::NotUnpacked { .. } | Self::Gathered { .. } | Self::OriginalChanged { .. } => {
                Disposition::Retry
            }
            // A package that is copied has no other way to go.
            Self::CopyDiffers { .. }
            | Self::CopyGone { .. }
            | Self::CopyUnknown { .. }
            | Self::Stopped
            | Self::TargetGone { .. }
            | Self::TargetRemounted { .. }
            | Self::TargetDenied { .. } => Disposition::Wait,
            Self::Copy { source, .. } if is_out_of_reach(source) => Disposition::Wait,
            Self::Copy { source, .. } => match transient(source) {
                Disposition::Wait => Disposition::Wait,
                _ => Disposition::WaitAlone,
            },
            Self::OriginalBusy { .. } | Self::DeliveredUnclear { .. } | Self::Publisher { .. } => {
                Disposition::WaitAlone
            }
            Self::Space(error) => error.disposition(),
            Self::Sync { source, .. }
            | Self::Move { source, .. }
            | Self::CopyFrom { source, .. }
            | Self::WriteReason { source, .. }
            | Self::Compare { source, .. } => transient(source),
            Self::Workspace(error) => error.disposition(),
        }
    }
}

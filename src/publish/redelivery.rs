//! Redelivery of a name, judged by the archive itself.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use rustix::io::Errno;
use thiserror::Error;

use super::error::PublishError;
use crate::config::{Changed, Identical, Source};
use crate::error::{Disposition, Failure};
use crate::folder::Folder;
use crate::id::PackageName;
use crate::progress::Steps;
use crate::workspace::WorkspaceError;

/// The archive's entries for a package's name.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Redelivery {
    /// The archive has no entry with this name.
    New,
    /// A package with an identical ZIP, byte for byte.
    Identical {
        /// The archived folder; absolute.
        path: PathBuf,
    },
    /// A package with a ZIP of the same size and the same contents was archived, but its ZIP is no longer
    /// in its place.
    Remembered {
        /// The folder that it was archived as; absolute.
        path: PathBuf,
        /// When it was archived, in ms since 1970.
        archived_ms: i64,
    },
    /// One or more packages, all with another ZIP.
    Changed {
        /// The newest archived folder; absolute.
        path: PathBuf,
    },
}

/// Why a package whose name was delivered before is not processed. Completes "failed to …".
#[derive(Debug, Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are what the message says of them")]
pub enum Redelivered {
    /// An identical package is in the archive.
    #[error("accept a duplicate of {archived:?}")]
    Duplicate { archived: PathBuf, discard: bool },
    /// An identical package was in the archive once. It is no longer available for a comparison, so this
    /// delivery is never deleted.
    #[error(
        "accept a duplicate of {archived:?}, which was archived {when} and is no longer there: size and \
         contents are the same by the ledger"
    )]
    Remembered { archived: PathBuf, when: jiff::Timestamp },
    /// A package with the same name and other content is in the archive.
    #[error("accept other content under the name of {archived:?}")]
    Changed { archived: PathBuf },
}

impl Failure for Redelivered {
    fn code(&self) -> &'static str {
        match self {
            Self::Duplicate { .. } | Self::Remembered { .. } => "duplicate",
            Self::Changed { .. } => "changed",
        }
    }

    fn disposition(&self) -> Disposition {
        match self {
            Self::Duplicate { discard: true, .. } => Disposition::Discard,
            Self::Duplicate { .. } | Self::Remembered { .. } | Self::Changed { .. } => {
                Disposition::Quarantine
            }
        }
    }
}

impl Redelivery {
    /// Applies the configuration to a delivery whose name was delivered before.
    ///
    /// # Errors
    /// [`Redelivered`] if it is not to be processed.
    pub(crate) fn judge(self, source: &Source) -> Result<(), Redelivered> {
        match self {
            Self::Identical { path } if source.identical != Identical::Process => {
                let discard = source.identical == Identical::Discard;
                Err(Redelivered::Duplicate { archived: path, discard })
            }
            Self::Remembered { path, archived_ms } if source.identical != Identical::Process => {
                let when = jiff::Timestamp::from_millisecond(archived_ms).unwrap_or_default();
                Err(Redelivered::Remembered { archived: path, when })
            }
            Self::Changed { path } if source.changed == Changed::Quarantine => {
                Err(Redelivered::Changed { archived: path })
            }
            _ => Ok(()),
        }
    }
}

/// Compares a ZIP with the archived ZIPs of its package's name, revision by revision.
///
/// Sizes are compared first. Bytes are read only if the sizes match; `steps` counts them. A new name
/// costs one system call.
///
/// # Errors
/// [`PublishError::Compare`] if the archive cannot be read.
pub(crate) fn compare_with_archive(
    archive: &Folder,
    name: &PackageName,
    zip: &File,
    steps: &Steps,
) -> Result<Redelivery, PublishError> {
    let mut last = None;
    let mut len = None;
    for number in 1.. {
        let Some(revision) = name.revision(number) else { break };
        let path = || archive.join(&revision);
        let failed = |source| PublishError::Compare { path: path(), source };
        if !archive.has(&revision).map_err(failed)? {
            break;
        }
        let len = match len {
            Some(len) => len,
            None => *len.insert(zip.metadata().map_err(failed)?.len()),
        };
        if let Some(archived) = open(archive, &revision, name, len).map_err(failed)?
            && equal(zip, &archived, len, steps).map_err(failed)?
        {
            return Ok(Redelivery::Identical { path: path() });
        }
        last = Some(path());
    }
    Ok(last.map_or(Redelivery::New, |path| Redelivery::Changed { path }))
}

/// Compares a ZIP with one that was archived as `folder`, byte for byte; `None` if that does not exist.
///
/// # Errors
/// [`PublishError::Compare`] if either cannot be read.
pub(crate) fn compare_zip(
    archive: &Folder,
    folder: &str,
    name: &PackageName,
    zip: &File,
    steps: &Steps,
) -> Result<Option<bool>, PublishError> {
    let failed = |source| PublishError::Compare { path: archive.join(folder), source };
    let is_there = || match archive.folder_if_there(folder) {
        Ok(Some(archived)) => archived.has(name.zip()),
        Ok(None) => Ok(false),
        // An entry that is no longer a folder contains no ZIP, either.
        Err(error) if is_elsewhere(&error) => Ok(false),
        Err(error) => Err(error),
    };
    if !is_there().map_err(failed)? {
        return Ok(None);
    }
    let len = zip.metadata().map_err(failed)?.len();
    match open(archive, folder, name, len).map_err(failed)? {
        Some(archived) => equal(zip, &archived, len, steps).map(Some).map_err(failed),
        None => Ok(Some(false)),
    }
}

/// Refuses a package whose name in the archive was taken since it was compared, if the configuration
/// says so for the package that is there now.
pub(super) fn refuse_taken(
    source: &Source,
    name: &PackageName,
    archive: &Folder,
    package: &Folder,
) -> Result<(), PublishError> {
    if source.identical == Identical::Process && source.changed == Changed::Process {
        return Ok(());
    }
    let zip = package.open_file(name.zip());
    let zip = zip.map_err(WorkspaceError::io("open", package.join(name.zip())))?;
    let found = compare_with_archive(archive, name, &zip, &Steps::default())?;
    Ok(found.judge(source)?)
}

/// Opens an archived ZIP if it is a file of that size.
fn open(archive: &Folder, folder: &str, name: &PackageName, len: u64) -> io::Result<Option<File>> {
    let opened = archive.folder(folder).and_then(|folder| folder.open_file(name.zip()));
    match opened {
        Ok(file) => Ok((file.metadata()?.len() == len).then_some(file)),
        // A user of the archive may have removed it, or replaced it by something else.
        Err(error) if is_elsewhere(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_elsewhere(error: &io::Error) -> bool {
    let odd = [Errno::NOENT, Errno::NOTDIR, Errno::LOOP, Errno::NXIO, Errno::INVAL];
    Errno::from_io_error(error).is_some_and(|error| odd.contains(&error))
}

/// Compares two files of equal size, the end first: it has the names, sizes and CRCs of all entries.
fn equal(one: &File, other: &File, len: u64, steps: &Steps) -> io::Result<bool> {
    const BLOCK: usize = 128 * 1024;
    let (mut a, mut b) = (vec![0; BLOCK], vec![0; BLOCK]);
    let step = BLOCK as u64;
    let blocks = len.div_ceil(step);
    for block in (0..blocks).rev().take(1).chain(0..blocks.saturating_sub(1)) {
        steps.add();
        let at = block * step;
        let size = usize::try_from((len - at).min(step)).unwrap_or(BLOCK);
        let (a, b) = (&mut a[..size], &mut b[..size]);
        one.read_exact_at(a, at)?;
        other.read_exact_at(b, at)?;
        if a != b {
            return Ok(false);
        }
    }
    Ok(true)
}

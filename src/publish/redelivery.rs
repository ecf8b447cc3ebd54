//! A name that comes again: what the archive itself says of it.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::PublishError;
use crate::id::PackageName;
use crate::progress::Steps;
use crate::workspace::{errno, lstat};

/// What the archive has under a package's name.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Redelivery {
    /// Nothing.
    New,
    /// A package whose ZIP is the same, byte for byte.
    Identical {
        /** The archived folder; absolute. */
        path: PathBuf,
    },
    /// One with a ZIP of the same size and the same contents was archived, and its ZIP is no longer
    /// where it was.
    Remembered {
        /** The folder that it was archived as; absolute. */
        path: PathBuf,
        /** When, in ms since 1970. */
        archived_ms: i64,
    },
    /// One or more, all with another ZIP.
    Changed {
        /** The newest archived folder; absolute. */
        path: PathBuf,
    },
}

/// Compares a ZIP with those that the archive has under its package's name, revision by revision.
///
/// Sizes first; only where they match are bytes read, which `steps` counts. One system call where the
/// name is new.
///
/// # Errors
/// [`PublishError::Compare`] where the archive cannot be read.
pub fn compare_with_archive(
    archive: &Path,
    name: &PackageName,
    zip: &File,
    steps: &Steps,
) -> Result<Redelivery, PublishError> {
    let mut last = None;
    let mut len = None;
    for number in 1.. {
        let Some(revision) = name.revision(number) else { break };
        let path = archive.join(revision);
        let failed = |source| PublishError::Compare { path: path.clone(), source };
        if lstat(&path).map_err(failed)?.is_none() {
            break;
        }
        let len = match len {
            Some(len) => len,
            None => *len.insert(zip.metadata().map_err(failed)?.len()),
        };
        if let Some(archived) = open(&path.join(name.zip()), len).map_err(failed)?
            && equal(zip, &archived, len, steps).map_err(failed)?
        {
            return Ok(Redelivery::Identical { path });
        }
        last = Some(path);
    }
    Ok(last.map_or(Redelivery::New, |path| Redelivery::Changed { path }))
}

/// Compares a ZIP with an archived one, byte for byte; none where that is not there.
///
/// # Errors
/// [`PublishError::Compare`] where either cannot be read.
pub fn compare_zip(
    archived: &Path,
    zip: &File,
    steps: &Steps,
) -> Result<Option<bool>, PublishError> {
    let failed = |source| PublishError::Compare { path: archived.to_path_buf(), source };
    if lstat(archived).or_else(gone).map_err(failed)?.is_none() {
        return Ok(None);
    }
    let len = zip.metadata().map_err(failed)?.len();
    match open(archived, len).map_err(failed)? {
        Some(archived) => equal(zip, &archived, len, steps).map(Some).map_err(failed),
        None => Ok(Some(false)),
    }
}

/// A folder on the way that is no folder any more has no ZIP in it, either.
fn gone<T>(error: io::Error) -> io::Result<Option<T>> {
    match errno(&error) {
        Some(Errno::NOTDIR | Errno::LOOP) => Ok(None),
        _ => Err(error),
    }
}

/// Opens an archived ZIP if it is a file of that size.
fn open(path: &Path, len: u64) -> io::Result<Option<File>> {
    #[expect(clippy::cast_possible_wrap, reason = "flags are bits in an int of that size")]
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
    match File::options().read(true).custom_flags(flags).open(path) {
        Ok(file) => {
            let found = file.metadata()?;
            Ok((found.is_file() && found.len() == len).then_some(file))
        }
        Err(error) => match errno(&error) {
            // Whoever uses the archive may have taken it away, or put something else there.
            Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO) => Ok(None),
            _ => Err(error),
        },
    }
}

/// Compares two files of one size, the end first: there the names, sizes and CRCs of all entries are.
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

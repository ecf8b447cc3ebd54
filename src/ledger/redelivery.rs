//! Redelivery of a name, judged first by the ledger, then by the archive itself.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::handle::LedgerHandle;
use crate::extract::{ExtractError, Options, Plan, verify};
use crate::folder::Folder;
use crate::id::{Digest, PackageName, SourceName};
use crate::package::ZipFacts;
use crate::progress::Steps;
use crate::publish::{PublishError, Redelivery, compare_with_archive, compare_zip};

/// Returns the facts that distinguish a ZIP from others of its name. With `hash`, the whole ZIP is read.
///
/// The digest is BLAKE3 over, for each entry in the order of the file: the length of its name in bytes
/// (64 bits), the name as the archive has it, its unpacked size (64 bits), its CRC-32 (32 bits); all
/// numbers little-endian.
///
/// `steps` counts the bytes that are read.
///
/// # Errors
/// Only with `hash`: the ZIP cannot be read.
pub fn zip_facts(plan: &Plan, zip: &File, hash: bool, steps: &Steps) -> io::Result<ZipFacts> {
    let mut digest = blake3::Hasher::new();
    for (index, entry) in plan.entries().iter().enumerate() {
        let name = plan.raw_name(index);
        digest.update(&(name.len() as u64).to_le_bytes());
        digest.update(name);
        digest.update(&entry.size.to_le_bytes());
        digest.update(&entry.crc.to_le_bytes());
    }
    Ok(ZipFacts {
        zip_bytes: plan.zip_len(),
        digest: digest.finalize().into(),
        hash: if hash { Some(hash_of(zip, steps)?) } else { None },
        entries: plan.entries().len() as u64,
        bytes: plan.total_bytes(),
        charset: plan.charset().name().to_owned(),
    })
}

/// Whether a ZIP whose inode was touched still has the contents that these facts and these records of its
/// central directory describe. Reads the whole ZIP.
///
/// `steps` counts the bytes that are read.
///
/// # Errors
/// The ZIP cannot be read.
pub fn confirm(
    zip: &File,
    (facts, records): (&ZipFacts, &[u8; 32]),
    options: &Options,
    steps: &Steps,
) -> io::Result<bool> {
    match verify(zip, options, steps) {
        Err(ExtractError::Read { source, .. }) => Err(source),
        Err(_) => Ok(false),
        Ok(plan) if plan.records() != *records => Ok(false),
        Ok(plan) => Ok(zip_facts(&plan, zip, facts.hash.is_some(), steps)? == *facts),
    }
}

/// Returns the BLAKE3 of a whole file; the file's position does not matter.
fn hash_of(file: &File, steps: &Steps) -> io::Result<Digest> {
    let mut hasher = blake3::Hasher::new();
    let mut block = vec![0; 256 * 1024];
    let mut at = 0;
    loop {
        steps.add();
        match file.read_at(&mut block, at) {
            Ok(0) => return Ok(hasher.finalize().into()),
            Ok(read) => {
                hasher.update(&block[..read]);
                at += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Compares a ZIP with the packages that were archived under its source and name, and with those that the
/// archive has under its name.
///
/// A package that the ledger knows with the same size and digest is compared byte for byte if it is still
/// in its place. Otherwise size and digest decide (and the hash, if the ledger has one). If the ledger does
/// not know the package, or a query fails, the ZIP is compared with the archive itself.
///
/// Do not call this for a package that an operator has ordered to be processed again (released from
/// quarantine): the caller decides that by the job, not by the name.
///
/// `steps` counts the bytes that are read.
///
/// # Errors
/// [`PublishError::Compare`] if an archived ZIP cannot be read.
pub fn compare(
    ledger: Option<&LedgerHandle>,
    archive: &Folder,
    source: &SourceName,
    name: &PackageName,
    (zip, facts): (&File, &ZipFacts),
    steps: &Steps,
) -> Result<Redelivery, PublishError> {
    let known = ledger.filter(|ledger| ledger.may_know(source.as_str(), name.as_str()));
    let remembered = match known {
        Some(ledger) => remembered(ledger, archive, source, name, (zip, facts), steps)?,
        None => Redelivery::New,
    };
    if matches!(remembered, Redelivery::Identical { .. }) {
        return Ok(remembered);
    }
    let found = compare_with_archive(archive, name, zip, steps)?;
    Ok(match (&found, &remembered) {
        (Redelivery::Identical { .. }, _) | (_, Redelivery::New) => found,
        (Redelivery::Changed { .. }, Redelivery::Changed { .. }) => found,
        _ => remembered,
    })
}

fn remembered(
    ledger: &LedgerHandle,
    archive: &Folder,
    source: &SourceName,
    name: &PackageName,
    (zip, facts): (&File, &ZipFacts),
    steps: &Steps,
) -> Result<Redelivery, PublishError> {
    let answer = ledger.ask(|store| {
        let alike = store.archived_alike(source, name, facts.zip_bytes, facts.digest)?;
        Ok((alike, store.last_archived(source, name)?))
    });
    let (alike, last) = match answer {
        Ok(answer) => answer,
        Err(error) => {
            ledger.complain(&error, "a name that may have come before is looked up in the archive");
            return Ok(Redelivery::New);
        }
    };
    let (mut gone, mut own_hash) = (None, facts.hash);
    for job in alike {
        let Some(path) = job.path else { continue };
        let Some(folder) = in_archive(archive, &path) else { continue };
        match compare_zip(archive, folder, name, zip, steps)? {
            Some(true) => return Ok(Redelivery::Identical { path }),
            // The same contents, packed again.
            Some(false) => {}
            None => {
                if let Some(hash) = job.zip.and_then(|zip| zip.hash) {
                    let failed = |source| PublishError::Compare { path: path.clone(), source };
                    let own = match own_hash {
                        Some(own) => own,
                        None => *own_hash.insert(hash_of(zip, steps).map_err(failed)?),
                    };
                    if own != hash {
                        continue;
                    }
                }
                let archived_ms = job.settled_ms.unwrap_or(job.updated_ms);
                gone.get_or_insert(Redelivery::Remembered { path, archived_ms });
            }
        }
    }
    let last = last.and_then(|job| job.path).filter(|path| in_archive(archive, path).is_some());
    let changed = last.map(|path| Redelivery::Changed { path });
    Ok(gone.or(changed).unwrap_or(Redelivery::New))
}

/// Returns the name of a folder in this archive; `None` if the folder is elsewhere. The ledger may have
/// served a source of the same name with another archive, which says nothing about this one.
fn in_archive<'p>(archive: &Folder, path: &'p Path) -> Option<&'p str> {
    let parent = path.parent()?;
    let is_here = parent == archive.path()
        || parent.canonicalize().is_ok_and(|parent| parent == archive.path());
    path.file_name()?.to_str().filter(|_| is_here)
}

#[cfg(test)]
mod tests;

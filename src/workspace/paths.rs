//! The few file-system calls that `std` lacks, or does otherwise than the protocol needs.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, RenameFlags, StatxFlags, renameat_with, statx};
use rustix::io::Errno;

use super::staging::PROBE;
use super::{NAME_MARK, parse_folder};
use crate::failpoint;
use crate::package::FolderId;

/// Renames without ever replacing what is there; `inode` is what moves, where the caller knows it.
///
/// After an error it looks at both names: a network file system reports a rename that was retried
/// after it had succeeded as failed.
pub(crate) fn rename_new(from: &Path, to: &Path, inode: Option<u64>) -> io::Result<()> {
    failpoint::pass(|| format!("rename:{}:{}", role(from), role(to)))?;
    rename_by(|flags| renameat_with(CWD, from, CWD, to, flags), from, to, inode)
}

/// The same with another system call, for the tests: what a file system can answer is not to be had
/// everywhere.
fn rename_by(
    rename: impl Fn(RenameFlags) -> Result<(), Errno>,
    from: &Path,
    to: &Path,
    inode: Option<u64>,
) -> io::Result<()> {
    let renamed = match rename(RenameFlags::NOREPLACE) {
        // The file system knows no flags: look first. Nobody else writes to the target's name.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => match lstat(to)? {
            Some(_) => Err(Errno::EXIST),
            None => rename(RenameFlags::empty()),
        },
        other => other,
    };
    let Err(error) = renamed else { return Ok(()) };
    if lstat(from)?.is_none()
        && let Some(there) = lstat(to)?
        && inode.is_none_or(|inode| inode == there.ino())
    {
        return Ok(());
    }
    Err(error.into())
}

/// What is at `path`, itself and not what it links to; none where nothing is.
pub(crate) fn lstat(path: &Path) -> io::Result<Option<fs::Metadata>> {
    match fs::symlink_metadata(path) {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Inode and birth time of what is at `path`, itself and not what it links to.
pub(super) fn identity(path: &Path) -> io::Result<FolderId> {
    let wanted = StatxFlags::INO | StatxFlags::BTIME;
    let found = statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, wanted)?;
    let known = StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::BTIME);
    let birth = found.stx_btime;
    let birth_ns = i128::from(birth.tv_sec) * 1_000_000_000 + i128::from(birth.tv_nsec);
    Ok(FolderId { inode: found.stx_ino, birth_ns: if known { birth_ns } else { 0 } })
}

/// What a path is in the protocol: the same for every package, for the names of fail points.
pub(crate) fn role(path: &Path) -> &str {
    let mut names = path.ancestors().map(|path| path.file_name().and_then(OsStr::to_str));
    let mut next = || names.next().flatten().unwrap_or_default();
    let (own, parent, above) = (next(), next(), next());
    let is_job = |text: &str| parse_folder(text).is_some();
    match own {
        _ if own.starts_with(NAME_MARK) => "mark",
        _ if own.starts_with(".probe") || own.starts_with(PROBE) => ".probe",
        _ if own.starts_with('.') || own.starts_with("reason.json") => own,
        _ if is_job(own) => "job",
        _ if parent == ".claim" => "claimed",
        _ if parent == ".final" || parent == ".q" => "gathered",
        _ if parent == ".longshore" => "copy",
        _ if is_job(parent) => "delivered",
        _ if is_job(above) && own.ends_with(".zip") => "zip",
        _ if is_job(above) => "beside",
        _ => "outside",
    }
}

/// Makes a folder that only this user can enter.
pub(crate) fn make_private(path: &Path) -> io::Result<()> {
    failpoint::pass(|| format!("mkdir:{}", role(path)))?;
    DirBuilder::new().mode(0o700).create(path)
}

/// Removes a folder with all that is in it, following no link; nothing there is fine.
///
/// Folders that their archive made unreadable are made readable first.
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    failpoint::pass(|| format!("rmtree:{}", role(path)))?;
    // `remove_dir_all` goes by folder handles and follows no link.
    let mut removed = fs::remove_dir_all(path);
    if removed.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied) {
        open_up(path)?;
        removed = fs::remove_dir_all(path);
    }
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Gives the owner every right to each folder of a tree.
fn open_up(top: &Path) -> io::Result<()> {
    let mut rest = vec![top.to_path_buf()];
    while let Some(folder) = rest.pop() {
        let Some(found) = lstat(&folder)?.filter(fs::Metadata::is_dir) else { continue };
        if found.mode() & 0o700 != 0o700 {
            fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))?;
        }
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                rest.push(entry.path());
            }
        }
    }
    Ok(())
}

/// `rmdir`: whether the folder is gone now; false where something is in it.
pub(crate) fn remove_empty(path: &Path) -> io::Result<bool> {
    failpoint::pass(|| format!("rmdir:{}", role(path)))?;
    match fs::remove_dir(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes a file; nothing there is fine.
pub(crate) fn remove_file(path: &Path) -> io::Result<()> {
    failpoint::pass(|| format!("unlink:{}", role(path)))?;
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The error's number, for what `io::ErrorKind` does not tell apart.
pub(crate) fn errno(error: &io::Error) -> Option<Errno> {
    Errno::from_io_error(error)
}

/// Whether a name begins with a dot.
pub(super) fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file system without `RENAME_NOREPLACE`, as NFS is.
    fn flagless(from: &Path, to: &Path) -> io::Result<()> {
        let rename = |flags: RenameFlags| match flags.is_empty() {
            true => renameat_with(CWD, from, CWD, to, flags),
            false => Err(Errno::INVAL),
        };
        rename_by(rename, from, to, None)
    }

    #[test]
    fn rename_without_flags_still_replaces_nothing() {
        let top = tempfile::tempdir().unwrap();
        let (from, to) = (top.path().join("a"), top.path().join("b"));
        fs::write(&from, "new").unwrap();
        fs::write(&to, "old").unwrap();
        let error = flagless(&from, &to).unwrap_err();
        assert_eq!(errno(&error), Some(Errno::EXIST));
        assert_eq!(fs::read(&to).unwrap(), b"old");
        fs::remove_file(&to).unwrap();
        flagless(&from, &to).unwrap();
        assert_eq!(fs::read(&to).unwrap(), b"new");
    }

    #[test]
    fn rename_reported_as_failed_that_was_done_is_told_by_both_names() {
        let top = tempfile::tempdir().unwrap();
        let (from, to) = (top.path().join("a"), top.path().join("b"));
        let retried = |flags| {
            renameat_with(CWD, &from, CWD, &to, flags)?;
            Err(Errno::NOENT)
        };
        fs::write(&from, "").unwrap();
        let inode = fs::metadata(&from).unwrap().ino();
        rename_by(retried, &from, &to, Some(inode)).unwrap();
        // Neither did it happen where another has the target's name, nor where both are gone.
        rename_by(|_| Err(Errno::NOENT), &from, &to, Some(inode + 1)).unwrap_err();
        fs::remove_file(&to).unwrap();
        rename_by(|_| Err(Errno::NOENT), &from, &to, Some(inode)).unwrap_err();
    }
}

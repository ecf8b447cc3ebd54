//! Whether a rename works from one folder to another: only a rename can tell.
//!
//! Two mounts of one file system have the same device number, but the system refuses renames between them.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::time::{Duration, SystemTime};

use rustix::fs::{
    AtFlags, FileType, Mode, RenameFlags, StatxFlags, renameat_with, statx, unlinkat,
};
use rustix::io::Errno;
use ulid::Ulid;

use crate::failpoint;
use crate::folder::Folder;
use crate::landing::is_network;
use crate::names::PROBE;

/// How many names are tried for a probe.
const NAMES: usize = 16;

/// Returns the time that the file system of `ours` stamps on files now: a file server uses its own clock.
///
/// # Errors
/// I/O errors from creating the file and removing it.
pub(crate) fn disk_time(ours: &Folder) -> io::Result<SystemTime> {
    let name = format!("{PROBE}{}", Ulid::generate());
    let file = ours.create(&name, Mode::RUSR | Mode::WUSR)?;
    let seen = time_of(file, is_network(ours.as_fd())?);
    // Not a step of the protocol, so it has no fail point: a leftover probe is removed at the next start.
    unlinkat(ours, &name, AtFlags::empty())?;
    seen
}

fn time_of(mut file: File, network: bool) -> io::Result<SystemTime> {
    let mut flags = AtFlags::EMPTY_PATH;
    if network {
        // For an empty file, the client sets times of its own; for written data, the server sets them.
        file.write_all(b"?")?;
        file.sync_all()?;
        flags |= AtFlags::STATX_FORCE_SYNC;
    }
    let time = statx(&file, "", flags, StatxFlags::CTIME)?.stx_ctime;
    let seconds = u64::try_from(time.tv_sec).map_err(|_| Errno::RANGE)?;
    Ok(SystemTime::UNIX_EPOCH + Duration::new(seconds, time.tv_nsec))
}

/// Whether a file can be renamed from `ours`, which no other user can write to, into `other` and back.
///
/// The name cannot be predicted, and nothing is replaced: files that others have planted in `other`
/// do not interfere.
///
/// # Errors
/// I/O errors. It is not an error if the two are on different file systems or mounts.
pub(crate) fn reaches(other: &Folder, ours: &Folder) -> io::Result<bool> {
    for _ in 0..NAMES {
        let name = format!("{PROBE}{}", Ulid::generate());
        match ours.create(&name, Mode::RUSR | Mode::WUSR) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            Err(error) => return Err(error),
        }
        failpoint::pass(|| "rename:.probe:.probe".to_owned())?;
        let sent = rename(ours, other, &name).and_then(|()| rename(other, ours, &name));
        if !matches!(sent, Ok(()) | Err(Errno::XDEV)) {
            unlinkat(other, &name, AtFlags::empty()).ok();
        }
        ours.remove_file(&name)?;
        match sent {
            Ok(()) => return Ok(true),
            Err(Errno::XDEV) => return Ok(false),
            // Another process was faster: try another name.
            Err(Errno::EXIST | Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Errno::AGAIN.into())
}

fn rename(from: &Folder, to: &Folder, name: &str) -> Result<(), Errno> {
    match renameat_with(from, name, to, name, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            rustix::fs::renameat(from, name, to, name)
        }
        other => other,
    }
}

/// Removes probes of this user that killed starts have left behind. `ours` is a folder on the same file
/// system that only we write to; it provides the time.
pub(crate) fn clear(folder: &Folder, ours: &Folder) {
    let mut old = Vec::new();
    let listed = folder.list(|name, _| {
        if name.as_encoded_bytes().starts_with(PROBE.as_bytes()) {
            old.push(name.to_owned());
        }
    });
    if listed.is_err() {
        return; // leftover probes do no harm
    }
    if old.is_empty() {
        return;
    }
    let Ok(now) = disk_time(ours) else { return };
    for name in old {
        // Another daemon may be probing right now: a young probe belongs to it.
        let user = rustix::process::geteuid().as_raw();
        let is_old = folder.stat(&name).ok().flatten().is_some_and(|found| {
            let written = Duration::from_secs(u64::try_from(found.st_mtime).unwrap_or_default());
            let age = now.duration_since(SystemTime::UNIX_EPOCH + written).unwrap_or_default();
            let is_file = FileType::from_raw_mode(found.st_mode).is_file();
            is_file && found.st_size <= 1 && found.st_uid == user && age > Duration::from_secs(60)
        });
        if is_old {
            folder.remove_file(&name).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn disk_time_is_that_of_a_file_made_now_and_leaves_none() {
        let top = tempfile::tempdir().unwrap();
        let ours = Folder::open(top.path()).unwrap();
        fs::write(top.path().join("before"), "").unwrap();
        let ctime = |name: &str| {
            let found = fs::metadata(top.path().join(name)).unwrap();
            let nanos = u32::try_from(found.ctime_nsec()).unwrap();
            SystemTime::UNIX_EPOCH + Duration::new(u64::try_from(found.ctime()).unwrap(), nanos)
        };
        let time = disk_time(&ours).unwrap();
        fs::write(top.path().join("after"), "").unwrap();
        assert!(ctime("before") <= time && time <= ctime("after"));
        assert_eq!(fs::read_dir(top.path()).unwrap().count(), 2);
        // As on a file server.
        let file = File::create(top.path().join("server")).unwrap();
        assert!(time_of(file, true).unwrap() >= time);
    }

    #[test]
    fn probe_leaves_nothing_behind_and_old_ones_of_ours_are_removed() {
        let top = tempfile::tempdir().unwrap();
        let (one, two) = (top.path().join("one"), top.path().join("two"));
        fs::create_dir(&one).unwrap();
        fs::create_dir(&two).unwrap();
        let (landing, work) = (Folder::open(&one).unwrap(), Folder::open(&two).unwrap());
        assert!(reaches(&landing, &work).unwrap());
        assert_eq!(fs::read_dir(&one).unwrap().count() + fs::read_dir(&two).unwrap().count(), 0);
        let old = std::time::SystemTime::now() - std::time::Duration::from_secs(120);
        for (name, text) in [("old", ""), ("young", ""), ("full", "a sender's")] {
            let path = one.join(format!("{PROBE}{name}"));
            fs::write(&path, text).unwrap();
            if name != "young" {
                fs::File::open(&path).unwrap().set_modified(old).unwrap();
            }
        }
        clear(&landing, &work);
        let mut left: Vec<_> =
            fs::read_dir(&one).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, [format!("{PROBE}full"), format!("{PROBE}young")].map(OsString::from));
    }
}

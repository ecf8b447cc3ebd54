//! One daemon per landing, and one per source in a work area: `flock` on the folders themselves.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock, major, minor};
use rustix::io::Errno;

use super::error::StartError;

/// A folder that this process alone works on, until this is dropped.
#[derive(Debug)]
pub(super) struct Locked {
    /// The folder; or, where the file system locks no folders, a file in its stead.
    #[expect(dead_code, reason = "open is all that it has to be")]
    lock: File,
    /// The folder, for `syncfs` and the like.
    pub(super) folder: File,
    /// Device and inode of the folder.
    pub(super) identity: (u64, u64),
}

/// Locks a folder. `fallback` is the file that is locked where the file system does not lock
/// folders (NFS wants a handle that can write).
pub(super) fn lock(what: &'static str, path: &Path, fallback: &Path) -> Result<Locked, StartError> {
    let failed = |action| {
        let path = path.to_path_buf();
        move |source| StartError::Io { action, path, source }
    };
    let folder = open_folder(path).map_err(failed("open"))?;
    let found = folder.metadata().map_err(failed("look at"))?;
    let identity = (found.dev(), found.ino());
    let mut lock = folder.try_clone().map_err(failed("open"))?;
    let mut taken = flock(&lock, FlockOperation::NonBlockingLockExclusive);
    let mut locked = identity;
    if matches!(taken, Err(Errno::BADF | Errno::NOLCK | Errno::OPNOTSUPP | Errno::INVAL)) {
        lock = open_file(fallback).map_err(failed("make a lock file for"))?;
        let found = lock.metadata().map_err(failed("look at"))?;
        locked = (found.dev(), found.ino());
        taken = flock(&lock, FlockOperation::NonBlockingLockExclusive);
    }
    match taken {
        Ok(()) => Ok(Locked { lock, folder, identity }),
        Err(Errno::WOULDBLOCK) => {
            let pid = holder(locked);
            Err(StartError::Locked { what, path: path.into(), pid })
        }
        Err(error) => {
            Err(StartError::Io { action: "lock", path: path.into(), source: error.into() })
        }
    }
}

fn open_folder(path: &Path) -> io::Result<File> {
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::open(path, flags, rustix::fs::Mode::empty())?))
}

fn open_file(path: &Path) -> io::Result<File> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    File::options().write(true).create(true).truncate(false).open(path)
}

/// Device and inode of what is at a path now.
pub(super) fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::metadata(path).map(|found| (found.dev(), found.ino()))
}

fn holder(locked: (u64, u64)) -> Option<u32> {
    holder_in(&fs::read_to_string("/proc/locks").ok()?, locked)
}

/// Finds who holds a `flock`, in the text of `/proc/locks`:
/// `1: FLOCK  ADVISORY  WRITE 4711 fe:00:123456 0 EOF`, device in hexadecimal.
///
/// Some file systems show another device number there than `stat` does: then the inode alone has
/// to do, where only one lock has it.
fn holder_in(locks: &str, (device, inode): (u64, u64)) -> Option<u32> {
    let held: Vec<(&str, u32)> = locks
        .lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace().skip_while(|field| *field != "FLOCK").skip(3);
            let pid = fields.next()?.parse().ok()?;
            let (on, of) = fields.next()?.rsplit_once(':')?;
            (of.parse() == Ok(inode) && pid > 0).then_some((on, pid))
        })
        .collect();
    let device = format!("{:02x}:{:02x}", major(device), minor(device));
    let exact = held.iter().find(|(on, _)| *on == device);
    exact.or(if let [only] = &held[..] { Some(only) } else { None }).map(|(_, pid)| *pid)
}

/// The file that is locked in a folder's stead, where its file system locks no folders.
pub(super) fn fallback(landing: &Path) -> PathBuf {
    landing.join(".longshore").join("lock")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holder_of_a_lock_is_found_by_device_and_inode() {
        let locks = "1: FLOCK  ADVISORY  WRITE 101 fe:00:77 0 EOF\n\
                     1: -> FLOCK  ADVISORY  WRITE 104 fe:00:77 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 102 00:1b:77 0 EOF\n\
                     3: POSIX  ADVISORY  WRITE 103 fe:00:78 0 EOF\n\
                     4: FLOCK  ADVISORY  WRITE 105 00:30:79 0 EOF\n";
        let device = rustix::fs::makedev(0xfe, 0);
        assert_eq!(holder_in(locks, (device, 77)), Some(101));
        assert_eq!(holder_in(locks, (device, 78)), None, "a POSIX lock is not ours");
        assert_eq!(holder_in(locks, (device, 79)), Some(105), "btrfs shows another device");
        assert_eq!(holder_in(locks, (device, 80)), None);
    }
}

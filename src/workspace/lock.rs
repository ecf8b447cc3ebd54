//! One daemon per landing, one per source in a work area, one per state folder: `flock` on the folder
//! itself, or on a file in it if other hosts must see the lock.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{FileType, FlockOperation, Mode, OFlags, flock, fstat, major, minor, openat};
use rustix::io::Errno;

use super::error::StartError;
use crate::folder::Folder;
use crate::landing::is_network;

/// A folder that is locked for this process until the value is dropped.
#[derive(Debug)]
pub(crate) struct Locked {
    /// The locked folder; or a file instead, if the file system cannot lock folders.
    lock: File,
    /// The folder; everything in it is accessed through this handle.
    pub(crate) folder: Arc<Folder>,
    /// Device and inode of the folder.
    pub(crate) identity: (u64, u64),
}

impl Locked {
    /// Releases the lock, although this value still exists somewhere.
    pub(crate) fn release(&self) {
        // If the lock cannot be released now, it is released when the process ends.
        flock(&self.lock, FlockOperation::Unlock).ok();
    }
}

/// Locks a folder. `fallback` returns one of our folders and the name of a file in it. That file is locked
/// if a lock on a folder has no effect: on a network file system, or if folders cannot be locked at all.
///
/// NFS turns `flock` on a file into a lock on the server, but keeps `flock` on a folder local to this host,
/// or refuses it, depending on the kernel version. Lustre with `localflock` does the same. A successful
/// lock there says nothing about other hosts.
///
/// Source: docs/decisions/0006-lock-where-folders-cannot-be-locked.md.
pub(crate) fn lock(
    what: &'static str,
    folder: Folder,
    fallback: impl FnOnce(&Folder) -> io::Result<(Option<Folder>, &'static str)>,
) -> Result<Locked, StartError> {
    let network = is_network(folder.as_fd()).map_err(StartError::io("look at", folder.path()))?;
    lock_on(network, what, folder, fallback)
}

fn lock_on(
    network: bool,
    what: &'static str,
    folder: Folder,
    fallback: impl FnOnce(&Folder) -> io::Result<(Option<Folder>, &'static str)>,
) -> Result<Locked, StartError> {
    let path = folder.path().to_path_buf();
    let failed = |action| StartError::io(action, &path);
    let found = folder.seen().map_err(failed("look at"))?;
    let identity = (found.st_dev, found.st_ino);
    // The lock belongs to the open file description, not to the inode: this handle must be kept.
    let own =
        openat(&folder, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let own = File::from(own.map_err(|error| failed("open")(error.into()))?);
    // Also on a network file system: an earlier version on this host locks only the folder.
    let on_folder = flock(&own, FlockOperation::NonBlockingLockExclusive);
    let unlocked =
        matches!(on_folder, Err(Errno::BADF | Errno::NOLCK | Errno::OPNOTSUPP | Errno::INVAL));
    let (mut lock, mut taken, mut locked) = (own, on_folder, identity);
    if unlocked || (network && taken.is_ok()) {
        let file = fallback(&folder)
            .and_then(|(other, name)| open_lock_file(other.as_ref().unwrap_or(&folder), name));
        lock = file.map_err(failed("make a lock file for"))?;
        let found = lock.metadata().map_err(failed("look at"))?;
        locked = (found.dev(), found.ino());
        taken = flock(&lock, FlockOperation::NonBlockingLockExclusive);
    }
    match taken {
        Ok(()) => Ok(Locked { lock, folder: Arc::new(folder), identity }),
        Err(Errno::WOULDBLOCK) => {
            let pid = holder(locked);
            Err(StartError::Locked { what, path, pid })
        }
        Err(error) => Err(StartError::Io { action: "lock", path, source: error.into() }),
    }
}

fn open_lock_file(folder: &Folder, name: &str) -> io::Result<File> {
    let flags =
        OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(openat(folder, name, flags, Mode::RUSR | Mode::WUSR)?);
    if !FileType::from_raw_mode(fstat(&file)?.st_mode).is_file() {
        return Err(Errno::INVAL.into());
    }
    Ok(file)
}

/// Returns device and inode of the current entry at a path; follows links.
pub(super) fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::metadata(path).map(|found| (found.dev(), found.ino()))
}

fn holder(locked: (u64, u64)) -> Option<u32> {
    holder_in(&fs::read_to_string("/proc/locks").ok()?, locked)
}

/// Returns the process that holds a `flock`, from the text of `/proc/locks`:
/// `1: FLOCK  ADVISORY  WRITE 4711 fe:00:123456 0 EOF`, device in hexadecimal.
///
/// Some file systems show another device number there than `stat` does. Then the inode alone is
/// compared, if only one lock has it.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn locked(network: bool, at: &Path) -> Result<Locked, StartError> {
        lock_on(network, "landing", Folder::open(at).unwrap(), |_| Ok((None, "lock")))
    }

    #[test]
    fn lock_on_a_network_file_system_is_on_a_file_which_other_hosts_see() {
        let top = tempfile::tempdir().unwrap();
        let first = locked(true, top.path()).unwrap();
        let file = File::open(top.path().join("lock")).unwrap();
        let taken = flock(&file, FlockOperation::NonBlockingLockShared);
        assert_eq!(taken, Err(Errno::WOULDBLOCK), "a lock on the folder alone holds on one host");
        let second = locked(true, top.path()).unwrap_err();
        assert!(matches!(second, StartError::Locked { .. }), "{second}");
        first.release();
        drop(first);
        locked(true, top.path()).unwrap();
    }

    #[test]
    fn lock_on_a_local_file_system_leaves_no_file() {
        let top = tempfile::tempdir().unwrap();
        let _first = locked(false, top.path()).unwrap();
        assert!(!top.path().join("lock").exists());
        assert!(matches!(locked(false, top.path()), Err(StartError::Locked { .. })));
    }

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

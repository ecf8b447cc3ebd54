//! One daemon per landing, one per source in a work area, one per state folder: `flock` on the folders
//! themselves.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{FileType, FlockOperation, Mode, OFlags, flock, fstat, major, minor, openat};
use rustix::io::Errno;

use super::error::StartError;
use crate::folder::Folder;

/// A folder that this process alone works on, until this is dropped.
#[derive(Debug)]
pub(crate) struct Locked {
    /// The folder; or, where the file system locks no folders, a file in its stead.
    lock: File,
    /// The folder, which everything in it is reached through.
    pub(crate) folder: Arc<Folder>,
    /// Device and inode of the folder.
    pub(crate) identity: (u64, u64),
}

impl Locked {
    /// Lets another have it, although this is still open somewhere.
    pub(crate) fn release(&self) {
        // A lock that cannot be released goes with the process.
        flock(&self.lock, FlockOperation::Unlock).ok();
    }
}

/// Locks a folder. `fallback` gives a folder of ours, and the name of a file in it that is locked where
/// the file system does not lock folders (NFS wants a handle that can write).
pub(crate) fn lock(
    what: &'static str,
    folder: Folder,
    fallback: impl FnOnce(&Folder) -> io::Result<(Option<Folder>, &'static str)>,
) -> Result<Locked, StartError> {
    let path = folder.path().to_path_buf();
    let failed = |action| StartError::io(action, &path);
    let found = folder.seen().map_err(failed("look at"))?;
    let identity = (found.st_dev, found.st_ino);
    // The lock belongs to what was opened, not to its number: the same one must be kept.
    let own =
        openat(&folder, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let mut lock = File::from(own.map_err(|error| failed("open")(error.into()))?);
    let mut taken = flock(&lock, FlockOperation::NonBlockingLockExclusive);
    let mut locked = identity;
    if matches!(taken, Err(Errno::BADF | Errno::NOLCK | Errno::OPNOTSUPP | Errno::INVAL)) {
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

/// Device and inode of what is at a path now, seen through links.
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

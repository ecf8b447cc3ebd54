//! Limits which of longshore's folders a command can change: its own, and no other.
//!
//! In: the protected folders and the command's own, in a mount namespace in which nothing runs yet.
//! Out: in that namespace, the protected folders and all mounts below them are read-only, and the
//! command's own folder is writable.
//!
//! **Invariant:** each folder is mounted by a handle, never by its path. If its path is replaced
//! meanwhile, the folder that was opened is still the one that is mounted. The command's own folder
//! is opened again as the mount point, and its identity is compared both times.
//!
//! Source: `docs/decisions/0030-what-a-command-can-change.md`, mount_namespaces(7).

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags, makedev, open, statx};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, mount_change, mount_remount,
    move_mount, open_tree,
};
use rustix::process::fchdir;
use serde::{Deserialize, Serialize};

use crate::mountinfo::{LIST, Mount};

/// The restriction of a command to its own working directory: it cannot change longshore's other
/// folders.
#[derive(Debug, Clone)]
pub struct Reach {
    /// The folders that are read-only for the command, with everything below them. Absolute. A
    /// folder that does not exist is left out.
    protected: Arc<[PathBuf]>,
    /// The command's working directory, as it was when this value was created.
    folder: Identity,
}

/// Device and inode: they distinguish a folder from another one at the same path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    device: u64,
    inode: u64,
}

impl Reach {
    /// Creates a reach for a command that works in `folder`. The folder's identity is compared
    /// again before the mount.
    ///
    /// # Errors
    /// The metadata of the folder cannot be read, or it is not a folder.
    pub fn new(folder: &Path, protected: Arc<[PathBuf]>) -> io::Result<Self> {
        let found = fs::symlink_metadata(folder)?;
        if !found.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let folder = Identity { device: found.dev(), inode: found.ino() };
        Ok(Self { protected, folder })
    }

    /// Returns the form that is sent over the socket.
    pub(super) fn order(&self) -> ReachOrder {
        let protected = self.protected.iter().map(|path| path.clone().into()).collect();
        ReachOrder { protected, folder: self.folder }
    }
}

/// A [`Reach`] as JSON: text is an `OsString` there, as in the rest of an order.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ReachOrder {
    protected: Vec<OsString>,
    folder: Identity,
}

/// A folder that could not be mounted, and why.
pub(super) type Unmounted = (PathBuf, io::Error);

impl ReachOrder {
    /// Makes the protected folders read-only and `folder` writable in this process's mount
    /// namespace, and enters `folder`.
    pub(super) fn apply(&self, folder: &Path) -> Result<(), Unmounted> {
        let failed = |path: &Path, error: Errno| (path.to_path_buf(), error.into());
        // Copied first: once the protected folders are mounted, `folder` leads to a read-only view
        // of it.
        let own = self.open_own(folder).and_then(|opened| copy(&opened));
        let own = own.map_err(|error| failed(folder, error))?;
        let mut views = HashMap::new();
        for path in self.protected.iter().map(Path::new) {
            let view = view(path, &views).map_err(|error| failed(path, error))?;
            views.extend(view);
        }
        write_protect(&views)?;
        let enter = || {
            attach(&own, &self.open_own(folder)?)?;
            fchdir(&own)
        };
        enter().map_err(|error| failed(folder, error))
    }

    fn open_own(&self, folder: &Path) -> Result<OwnedFd, Errno> {
        let opened = open_folder(folder, OFlags::NOFOLLOW)?;
        let found = look(&opened)?;
        if found.identity == self.folder { Ok(opened) } else { Err(Errno::STALE) }
    }
}

/// The views of protected folders, by mount id.
type Views = HashMap<u64, OwnedFd>;

/// Mounts a folder over itself. `None` if it does not exist, or if another view contains it.
fn view(path: &Path, views: &Views) -> Result<Option<(u64, OwnedFd)>, Errno> {
    let opened = match open_folder(path, OFlags::empty()) {
        Ok(opened) => opened,
        // There is nothing that the command could change. Another source's archive that was just
        // unmounted must not block this source.
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        Err(error) => return Err(error),
    };
    if views.contains_key(&look(&opened)?.mount) {
        return Ok(None);
    }
    let view = copy(&opened)?;
    attach(&view, &opened)?;
    // Otherwise, mounts that the machine adds below it later would appear here and be writable.
    let alone = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change(through(view.as_fd()), alone)?;
    Ok(Some((look(&view)?.mount, view)))
}

/// Makes the views and all mounts below them read-only.
fn write_protect(views: &Views) -> Result<(), Unmounted> {
    let mounts = fs::read(LIST).map_err(|error| (LIST.into(), error))?;
    let mounts: Vec<Mounted> = Mount::all(&mounts).map(Mounted::of).collect();
    let ids = below(&mounts, views.keys().copied());
    for mount in mounts.iter().filter(|mount| ids.contains(&mount.id)) {
        let protect = || match views.get(&mount.id) {
            Some(view) => mount.write_protect(view.as_fd()),
            None => {
                let Some(opened) = mount.open(&ids)? else { return Ok(()) };
                mount.write_protect(opened.as_fd())
            }
        };
        protect().map_err(|error| (mount.path.clone(), error.into()))?;
    }
    Ok(())
}

/// Returns these mounts and all mounts below them.
fn below(mounts: &[Mounted], tops: impl Iterator<Item = u64>) -> HashSet<u64> {
    let mut ids: HashSet<u64> = tops.collect();
    loop {
        let known = ids.len();
        for mount in mounts {
            if ids.contains(&mount.parent) {
                ids.insert(mount.id);
            }
        }
        if ids.len() == known {
            return ids;
        }
    }
}

/// A mount, with the flags that are needed to make it read-only.
#[derive(Debug, PartialEq, Eq)]
struct Mounted {
    id: u64,
    parent: u64,
    path: PathBuf,
    /// The flags that the mount must keep when it becomes read-only.
    flags: MountFlags,
    read_only: bool,
}

impl Mounted {
    fn of(mount: Mount<'_>) -> Self {
        let flags = [
            ("nosuid", MountFlags::NOSUID),
            ("nodev", MountFlags::NODEV),
            ("noexec", MountFlags::NOEXEC),
            ("nosymfollow", MountFlags::NOSYMFOLLOW),
        ];
        let set = flags.iter().filter(|(name, _)| mount.has(name));
        let flags = set.fold(MountFlags::empty(), |flags, (_, flag)| flags | *flag);
        let read_only = mount.has("ro");
        Self { id: mount.id, parent: mount.parent, path: mount.path, flags, read_only }
    }

    /// Opens the mount point. `None` if it cannot be reached, so that nothing can be changed
    /// through it.
    fn open(&self, protected: &HashSet<u64>) -> Result<Option<OwnedFd>, Errno> {
        let opened = match open(&self.path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
            // A folder that this user may not enter. The command may not enter it, either.
            Err(Errno::ACCESS) => return Ok(None),
            opened => opened?,
        };
        match look(&opened)?.mount {
            mount if mount == self.id => Ok(Some(opened)),
            // Another mount covers this one, and is made read-only itself.
            mount if protected.contains(&mount) => Ok(None),
            _ => Err(Errno::STALE),
        }
    }

    fn write_protect(&self, mount: BorrowedFd<'_>) -> Result<(), Errno> {
        if self.read_only {
            return Ok(());
        }
        mount_remount(through(mount), MountFlags::BIND | MountFlags::RDONLY | self.flags, c"")
    }
}

/// The identity of an open folder.
struct Look {
    identity: Identity,
    /// The id of the mount through which the folder was opened.
    mount: u64,
}

fn look(opened: &OwnedFd) -> Result<Look, Errno> {
    // No request to a file server is needed: neither number ever changes.
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let found = statx(opened, c"", flags, StatxFlags::INO | StatxFlags::MNT_ID)?;
    if found.stx_mask & StatxFlags::MNT_ID.bits() == 0 {
        return Err(Errno::NOSYS);
    }
    let device = makedev(found.stx_dev_major, found.stx_dev_minor);
    Ok(Look { identity: Identity { device, inode: found.stx_ino }, mount: found.stx_mnt_id })
}

fn open_folder(path: &Path, more: OFlags) -> Result<OwnedFd, Errno> {
    open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | more, Mode::empty())
}

/// Copies the mount of a folder and all mounts below it. The copy is not attached anywhere yet.
fn copy(opened: &OwnedFd) -> Result<OwnedFd, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH
        | OpenTreeFlags::AT_RECURSIVE;
    open_tree(opened, c"", flags)
}

/// Mounts a copy on a folder.
fn attach(copy: &OwnedFd, place: &OwnedFd) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(copy, c"", place, c"", flags)
}

/// Returns a path for calls that take no handle.
fn through(opened: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", opened.as_raw_fd())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_keeps_its_flags_when_it_is_made_read_only() {
        let of = |line: &[u8]| Mounted::of(Mount::parse(line).unwrap());
        let mount = of(b"36 35 98:0 / /mnt rw,nosuid,noatime,noexec master:1 - ext3 /dev/root rw");
        let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
        let expected = Mounted { id: 36, parent: 35, path: "/mnt".into(), flags, read_only: false };
        assert_eq!(mount, expected);
        assert!(of(b"36 35 98:0 / /mnt ro,nodev - ext3 /dev/root rw").read_only);
    }

    #[test]
    fn mounts_below_others_are_found_in_any_order() {
        let mount = |id, parent| Mounted {
            id,
            parent,
            path: "/".into(),
            flags: MountFlags::empty(),
            read_only: false,
        };
        let mounts = [mount(5, 4), mount(4, 3), mount(3, 1), mount(2, 1)];
        assert_eq!(below(&mounts, [3].into_iter()), HashSet::from([3, 4, 5]));
    }

    #[test]
    fn reach_of_what_is_no_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(folder.path(), &link).unwrap();
        Reach::new(&link, Arc::new([])).unwrap_err();
        Reach::new(folder.path(), Arc::new([])).unwrap();
    }
}

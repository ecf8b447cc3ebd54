//! What a command can change of longshore's folders: its own, and no other.
//!
//! In: the protected folders and the command's own, in a mount namespace that nothing runs in yet.
//! Out: the protected ones are read-only there, with all that is mounted below them, and the
//! command's own is writable.
//!
//! **Invariant:** each folder is opened once and mounted by its handle. A path that is exchanged
//! meanwhile leads nothing astray: what is mounted is what was opened.
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

/// Of longshore's folders, a command can change its working directory and no other.
#[derive(Debug, Clone)]
pub struct Reach {
    /// Folders that are read-only for it, with everything below; absolute. One that is not there is
    /// left out.
    protected: Arc<[PathBuf]>,
    /// Its working directory, as it was when this was made.
    folder: Identity,
}

/// What tells a folder from another at its path: device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    device: u64,
    inode: u64,
}

impl Reach {
    /// One for a command that works in `folder`, which is compared once more before it is mounted.
    ///
    /// # Errors
    /// The folder cannot be looked at, or is none.
    pub fn new(folder: &Path, protected: Arc<[PathBuf]>) -> io::Result<Self> {
        let found = fs::symlink_metadata(folder)?;
        if !found.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let folder = Identity { device: found.dev(), inode: found.ino() };
        Ok(Self { protected, folder })
    }

    /// As it goes over the socket.
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
    /// Makes the protected folders read-only in this process's mount namespace and `folder`
    /// writable, and enters it.
    pub(super) fn apply(&self, folder: &Path) -> Result<(), Unmounted> {
        let failed = |path: &Path, error: Errno| (path.to_path_buf(), error.into());
        // Copied before the others: by then, only a read-only view of it can be reached.
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

/// The views of protected folders, by the ids of their mounts.
type Views = HashMap<u64, OwnedFd>;

/// Mounts a folder over itself; `None` if there is none, or if another view shows it.
fn view(path: &Path, views: &Views) -> Result<Option<(u64, OwnedFd)>, Errno> {
    let opened = match open_folder(path, OFlags::empty()) {
        Ok(opened) => opened,
        // Nothing is there that could be changed. Another source's archive, unmounted just now, must
        // not hold up this one.
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        Err(error) => return Err(error),
    };
    if views.contains_key(&look(&opened)?.mount) {
        return Ok(None);
    }
    let view = copy(&opened)?;
    attach(&view, &opened)?;
    // What the machine mounts on it from now on would be writable.
    let alone = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change(through(view.as_fd()), alone)?;
    Ok(Some((look(&view)?.mount, view)))
}

/// Makes the views read-only, and what is mounted below them.
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

/// These mounts, and all that are mounted below them.
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

/// A mount, and how it can be made read-only.
#[derive(Debug, PartialEq, Eq)]
struct Mounted {
    id: u64,
    parent: u64,
    path: PathBuf,
    /// What it must keep when it is made read-only.
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

    /// Opens it; `None` if it cannot be reached, so that nothing can be changed by it.
    fn open(&self, protected: &HashSet<u64>) -> Result<Option<OwnedFd>, Errno> {
        let opened = match open(&self.path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
            // A folder that this user may not enter, which the command may not, either.
            Err(Errno::ACCESS) => return Ok(None),
            opened => opened?,
        };
        match look(&opened)?.mount {
            mount if mount == self.id => Ok(Some(opened)),
            // One that lies on it, and is made read-only, too.
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

/// What an open folder is.
struct Look {
    identity: Identity,
    /// The mount that it was reached by.
    mount: u64,
}

fn look(opened: &OwnedFd) -> Result<Look, Errno> {
    // A server is not asked: neither number ever changes.
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

/// Copies a folder's mount, and what is mounted below; nothing shows the copy yet.
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

/// The path for calls that take no handle.
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

//! The I/O of readiness: inspects one name of a landing.
//!
//! **Invariant:** nothing here follows a link, blocks on a FIFO, or changes anything. Any entry may
//! disappear between two system calls: a sender may rename at any time.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::time::SystemTime;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Statx};
use rustix::io::Errno;

use super::Rules;
use super::end_record;
use super::inside::Inside;
use super::seen::{Look, Reach, Trace, Zip, changed};
use super::stat::{
    Kind, WANTED, access, folder_id, freshness, is_mount_point, kind_of, may_ignore_owners,
    open_folder, stat_of,
};
use crate::package::FolderId;

/// An open landing: looks go through the handle, so that all looks of one scan are into one folder.
#[derive(Debug)]
pub struct Landing {
    folder: OwnedFd,
    identity: LandingId,
    network: bool,
    /// The user whose packages may be renamed, if the sticky bit protects those of others.
    sticky_for: Option<u32>,
}

/// Distinguishes a landing folder from another one at the same path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LandingId {
    device: (u32, u32),
    inode: u64,
}

/// Folders below this depth, and entries beyond this number, are not checked for changes.
const DEPTH_MAX: u32 = 32;
const ENTRIES_MAX: u32 = 10_000;

impl Landing {
    /// Opens the folder.
    ///
    /// # Errors
    /// I/O errors: the folder is missing, not a folder, or not readable.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::openat(CWD, path, flags, Mode::empty())?;
        let stat = stat_of(folder.as_fd(), false)?;
        let ours = rustix::process::geteuid().as_raw();
        let sticky = u32::from(stat.stx_mode) & Mode::SVTX.bits() != 0;
        Ok(Self {
            identity: LandingId {
                device: (stat.stx_dev_major, stat.stx_dev_minor),
                inode: stat.stx_ino,
            },
            network: super::network::is_network(folder.as_fd())?,
            sticky_for: (sticky && stat.stx_uid != ours && !may_ignore_owners()).then_some(ours),
            folder,
        })
    }

    /// The identity of this folder.
    #[must_use]
    pub fn identity(&self) -> LandingId {
        self.identity
    }

    /// Whether other hosts can change it without an event on this host.
    #[must_use]
    pub fn is_network(&self) -> bool {
        self.network
    }

    /// Returns every name in it without a leading dot, in no order.
    ///
    /// # Errors
    /// I/O errors. A partial list is never returned: a missing name has a meaning.
    pub fn names(&self) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.folder)? {
            let name = entry?.file_name().to_bytes().to_vec();
            if name.first() != Some(&b'.') {
                names.push(OsString::from_vec(name));
            }
        }
        Ok(names)
    }

    /// Returns the identity of a folder or file, without a look into it; `None` if it has disappeared.
    #[must_use]
    pub fn identify(&self, name: &OsStr) -> Option<FolderId> {
        self.stat(self.folder.as_fd(), name).ok().map(|stat| folder_id(&stat))
    }

    /// Returns when the folder or file itself last changed, by its ctime; `None` if it has disappeared.
    #[must_use]
    pub fn changed(&self, name: &OsStr) -> Option<SystemTime> {
        self.stat(self.folder.as_fd(), name).ok().map(|stat| changed(&stat))
    }

    /// Looks at one name; `None` if it has disappeared.
    #[must_use]
    pub fn look(&self, name: &OsStr, rules: &Rules) -> Option<Look> {
        match open_folder(self.folder.as_fd(), name) {
            Ok(folder) => self.look_into(name, folder, rules),
            Err(Errno::NOENT | Errno::STALE) => None,
            Err(error) => self.look_from_outside(name, error, rules),
        }
    }

    fn look_into(&self, name: &OsStr, folder: OwnedFd, rules: &Rules) -> Option<Look> {
        let stat = stat_of(folder.as_fd(), self.network).ok()?;
        let mut look = Look::new(name, &stat);
        let mut zip_name = name.to_owned();
        zip_name.push(".zip");
        // Checked on the open folder: its name may lead to another folder by now.
        look.access = match access(folder.as_fd(), OsStr::new(".")) {
            Err(Errno::NOENT | Errno::STALE) => return None,
            Err(error) => Reach::Unwritable(error),
            Ok(()) => self.reach(&stat),
        };
        let mut inside = Inside::new(&zip_name, rules);
        let mut listing = match Dir::new(folder) {
            Ok(listing) => listing,
            Err(error) => {
                look.access = Reach::Unreadable(error);
                return Some(look);
            }
        };
        if let Err(error) = self.walk(&mut listing, &mut look.trace, &mut inside, 0) {
            look.access = Reach::Unreadable(error);
        } else if let Some(error) = inside.denied {
            look.access = Reach::Unreadable(error);
        }
        // Some file systems list a name differently from how they look it up, and a listing can have failed.
        if inside.lacks_zip()
            && let Ok(here) = listing.fd()
        {
            inside.zip_found(&zip_name, self.peek(here, &zip_name, false, &mut look.trace));
        }
        (look.zip, look.signs) = inside.found();
        Some(look)
    }

    /// Looks at an entry that is not a folder, or cannot be opened as one.
    fn look_from_outside(&self, name: &OsStr, error: Errno, rules: &Rules) -> Option<Look> {
        let stat = match self.stat(self.folder.as_fd(), name) {
            Ok(stat) => stat,
            Err(Errno::NOENT | Errno::STALE) => return None,
            Err(error) => return Some(Look::unseen(name, error)),
        };
        let mut look = Look::new(name, &stat);
        if look.kind == Kind::Folder {
            look.access = Reach::Unreadable(error);
        } else if look.kind == Kind::File && rules.takes_zip(name) {
            look.zip = self.peek(self.folder.as_fd(), name, true, &mut look.trace)?;
            look.access = self.reach(&stat);
        }
        Some(look)
    }

    fn reach(&self, stat: &Statx) -> Reach {
        if is_mount_point(stat) {
            return Reach::MountPoint;
        }
        match self.sticky_for {
            Some(ours) if stat.stx_uid != ours => Reach::Sticky,
            _ => Reach::Free,
        }
    }

    /// Adds everything in a folder to the trace, and evaluates the names.
    fn walk(
        &self,
        entries: &mut Dir,
        trace: &mut Trace,
        inside: &mut Inside<'_>,
        depth: u32,
    ) -> Result<(), Errno> {
        while let Some(entry) = entries.read() {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            let here = entries.fd()?;
            inside.read_name(name, depth);
            if depth == 0 && inside.is_the_zip(name) {
                // Counted by `peek` itself: an open file cannot be exchanged for another.
                if inside.wants(name) {
                    let listed = entry.file_type() == FileType::RegularFile;
                    inside.zip_found(name, self.peek(here, name, listed, trace));
                }
                continue;
            }
            if trace.entries >= ENTRIES_MAX {
                continue;
            }
            let stat = match self.stat(here, name) {
                Ok(stat) => stat,
                Err(Errno::ACCESS | Errno::PERM) => {
                    inside.denied = Some(Errno::ACCESS);
                    continue;
                }
                // It has disappeared since it was listed: the folder's own ctime shows that.
                Err(_) => continue,
            };
            trace.add(&stat);
            if kind_of(&stat) == Kind::Folder
                && depth < DEPTH_MAX
                && let Ok(below) = open_folder(here, name)
            {
                if depth == 0 && inside.wants_below() && self.holds_its_zip(below.as_fd(), name) {
                    inside.below = Some(name.to_owned());
                }
                // An unreadable subfolder still moves with the rest.
                Dir::new(below)
                    .and_then(|mut below| self.walk(&mut below, trace, inside, depth + 1))
                    .ok();
            }
        }
        Ok(())
    }

    /// Whether a subfolder is a package itself.
    fn holds_its_zip(&self, folder: BorrowedFd<'_>, name: &OsStr) -> bool {
        let mut zip = name.to_owned();
        zip.push(".zip");
        self.stat(folder, &zip).is_ok_and(|stat| kind_of(&stat) == Kind::File)
    }

    /// Inspects a ZIP; `is_file` says whether it is a regular file, if known. `None` if it has disappeared.
    fn peek(
        &self,
        folder: BorrowedFd<'_>,
        name: &OsStr,
        is_file: bool,
        trace: &mut Trace,
    ) -> Option<Zip> {
        // A device is not even opened: opening can have side effects.
        let kind = match is_file {
            true => Ok(Kind::File),
            false => self.stat(folder, name).map(|stat| kind_of(&stat)),
        };
        let kind = match kind {
            Ok(kind) => kind,
            Err(Errno::ACCESS) => return Some(Zip::Unreadable(Errno::ACCESS)),
            Err(_) => return None,
        };
        if kind != Kind::File {
            return Some(Zip::NotAFile(kind));
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(folder, name, flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT | Errno::STALE) => return None,
            Err(Errno::LOOP) => return Some(Zip::NotAFile(Kind::Symlink)),
            Err(Errno::NXIO) => return Some(Zip::NotAFile(Kind::Special)),
            Err(error) => return Some(Zip::Unreadable(error)),
        };
        let stat = match stat_of(file.as_fd(), self.network) {
            Ok(stat) => stat,
            Err(error) => return Some(Zip::Unreadable(error)),
        };
        trace.add(&stat);
        if kind_of(&stat) != Kind::File {
            return Some(Zip::NotAFile(kind_of(&stat)));
        }
        Some(match end_record::present(&File::from(file), stat.stx_size) {
            Ok(end_record) => Zip::File { size: stat.stx_size, end_record },
            Err(error) => Zip::Unreadable(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
        })
    }

    fn stat(&self, folder: BorrowedFd<'_>, name: &OsStr) -> Result<Statx, Errno> {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT | freshness(self.network);
        rustix::fs::statx(folder, name, flags, WANTED)
    }
}

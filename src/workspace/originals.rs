//! The delivered files: the ZIP, and the files and folders beside it. None of them is trusted.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Access, AtFlags, FileType, Mode, OFlags, accessat, openat};
use rustix::io::Errno;

use super::claim::OpenHome;
use super::error::{Held, WorkspaceError};
use super::tally::Tally;
use super::{JobDir, ownership};
use crate::config::Limits;
use crate::folder::{Closed, Entered, Folder, Found, Metadata, WalkError, metadata_at};
use crate::landing::is_alike;
use crate::names::OUT;
use crate::package::ZipStamp;

/// Set-user-ID and set-group-ID.
pub(crate) const SET_ID: u32 = 0o6000;

/// The type of a directory entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[expect(missing_docs, reason = "they are the file types that everybody knows")]
pub enum Kind {
    File,
    Folder,
    Link,
    Fifo,
    Socket,
    Device,
}

impl Kind {
    pub(crate) fn of(found: FileType) -> Self {
        match found {
            FileType::RegularFile => Self::File,
            FileType::Directory => Self::Folder,
            FileType::Symlink => Self::Link,
            FileType::Fifo => Self::Fifo,
            FileType::Socket => Self::Socket,
            FileType::CharacterDevice | FileType::BlockDevice | FileType::Unknown => Self::Device,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File => "file",
            Self::Folder => "folder",
            Self::Link => "symbolic link",
            Self::Fifo => "FIFO",
            Self::Socket => "socket",
            Self::Device => "device",
        })
    }
}

/// The delivered folder after its check.
#[derive(Debug)]
pub(crate) struct Delivery {
    /// The metadata of the folder itself, from before it was listed.
    pub(crate) seen: Metadata,
    /// The entries of the folder.
    pub(crate) originals: Vec<Original>,
}

/// An entry of the delivered folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Original {
    /// The name as on disk; it need not be UTF-8, and it may start with a dot.
    pub name: OsString,
    /// File or folder.
    pub kind: Kind,
}

/// A job's folder and the delivered folder in it, both open.
#[derive(Debug)]
pub struct OpenDelivery<'a> {
    job: &'a JobDir,
    home: Folder,
    delivered: Folder,
    /// The metadata of the delivered folder when it was opened.
    seen: Metadata,
}

impl JobDir {
    /// Opens the job's folder, and the delivered folder in it.
    ///
    /// # Errors
    /// [`WorkspaceError::Io`].
    pub fn open_delivery(&self) -> Result<OpenDelivery<'_>, WorkspaceError> {
        let home =
            self.open().map_err(WorkspaceError::io("open the folder of", self.delivered()))?;
        self.open_delivery_in(OpenHome { home, delivered: None })
    }

    /// Opens the delivered folder in the job's folder, which is already open.
    ///
    /// # Errors
    /// [`WorkspaceError::Io`].
    pub fn open_delivery_in(&self, home: OpenHome) -> Result<OpenDelivery<'_>, WorkspaceError> {
        let OpenHome { home, delivered } = home;
        let (delivered, seen) = match delivered {
            Some(opened) => opened,
            None => {
                let failed = |action| WorkspaceError::io(action, self.delivered());
                let delivered = home.folder(self.target()).map_err(failed("open"))?;
                let seen = delivered.metadata().map_err(failed("look at"))?;
                (delivered, seen)
            }
        };
        Ok(OpenDelivery { job: self, home, delivered, seen })
    }
}

impl OpenDelivery<'_> {
    /// Renames a ZIP whose name equals the folder's except for its Unicode normal form: it gets the
    /// folder's form.
    ///
    /// # Errors
    /// [`WorkspaceError::Io`].
    pub fn name_zip(&self) -> Result<(), WorkspaceError> {
        let Self { job, delivered, .. } = self;
        let failed = |action| WorkspaceError::io(action, job.zip());
        let zip = job.name().zip();
        if zip.is_ascii() || delivered.has(&zip).map_err(failed("look at"))? {
            return Ok(());
        }
        let mut alike = Vec::new();
        let listed = delivered.list(|name, _| {
            if is_alike(name, OsStr::new(&zip)) {
                alike.push(name.to_owned());
            }
        });
        listed.map_err(failed("look for"))?;
        match &alike[..] {
            [one] => delivered.rename(one, delivered, &zip, None).map_err(failed("rename to")),
            _ => Ok(()), // ambiguous: more than one candidate, or none
        }
    }

    /// Makes the delivery this user's own as far as permitted, and lists its entries, including the ZIP;
    /// in no order.
    ///
    /// # Errors
    /// [`WorkspaceError::OddOriginal`] if an entry at any depth is neither file nor folder,
    /// [`WorkspaceError::SetIdOriginal`] for a file with a setuid or setgid bit,
    /// [`WorkspaceError::FixedOriginal`] and [`WorkspaceError::HeldOriginal`] for an entry that cannot be
    /// moved, and one of the errors of `limits` for a delivery that exceeds them.
    pub fn take_over(&self, limits: &Limits) -> Result<Vec<Original>, WorkspaceError> {
        look_over(self.job, &self.delivered, &self.seen, Some((&self.home, limits)))
    }

    /// Opens the folder that is being unpacked into.
    pub(crate) fn open_out(&self) -> io::Result<OwnedFd> {
        Ok(self.home.folder(OUT)?.into())
    }

    /// Opens the ZIP for reading with `pread`, and returns its stamp for later comparison. Makes the ZIP
    /// this user's own, as far as permitted.
    ///
    /// # Errors
    /// [`WorkspaceError::ZipMissing`], [`WorkspaceError::ZipNotAFile`] and
    /// [`WorkspaceError::ZipUnreadable`], which are the package's own fault; otherwise
    /// [`WorkspaceError::Io`].
    pub fn open_zip(&self) -> Result<(File, ZipStamp), WorkspaceError> {
        let Self { job, home, delivered, seen } = self;
        let path = job.zip();
        let failed = |action| WorkspaceError::io(action, &path);
        let (mut file, mut found) = job.open_zip_in(delivered)?;
        if found.mount != seen.mount {
            return Err(WorkspaceError::HeldOriginal { path, why: Held::Mounted });
        }
        if found.mode & SET_ID != 0 {
            return Err(WorkspaceError::SetIdOriginal { path });
        }
        match ownership::own_file(&file, &found).map_err(failed("make this user's own"))? {
            ownership::Owned::Already => {}
            ownership::Owned::Now | ownership::Owned::NotAllowed => {
                found = look_at(&file).map_err(failed("look at"))?;
            }
            ownership::Owned::HardLinked => {
                let copied = ownership::copy_apart(home, delivered, job.name().zip());
                copied.map_err(failed("copy, which has another name outside of its package,"))?;
                (file, found) = job.open_zip_in(delivered)?;
            }
        }
        Ok((file, ZipStamp::from(&found)))
    }
}

impl JobDir {
    fn open_zip_in(&self, delivered: &Folder) -> Result<(File, Metadata), WorkspaceError> {
        let (name, path) = (self.name().zip(), self.zip());
        // Without NONBLOCK, the open would block on a FIFO. With NOFOLLOW, it fails on a link.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let opened = openat(delivered, &*name, flags | OFlags::CLOEXEC, Mode::empty());
        let file = match opened {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => return Err(WorkspaceError::ZipMissing { path }),
            Err(error @ (Errno::ACCESS | Errno::PERM)) => {
                return Err(WorkspaceError::ZipUnreadable { path, source: error.into() });
            }
            // A link, or a socket or device with no process or driver behind it.
            Err(error @ (Errno::LOOP | Errno::NXIO | Errno::NODEV)) => {
                let found = delivered.metadata_of(&name);
                return Err(match found.map_err(WorkspaceError::io("look at", &path))? {
                    Some(found) => WorkspaceError::ZipNotAFile { path, kind: Kind::of(found.kind) },
                    None => WorkspaceError::io("open", path)(error.into()),
                });
            }
            Err(error) => return Err(WorkspaceError::io("open", path)(error.into())),
        };
        let found = look_at(&file).map_err(WorkspaceError::io("look at", &path))?;
        match Kind::of(found.kind) {
            Kind::File => Ok((file, found)),
            kind => Err(WorkspaceError::ZipNotAFile { path, kind }),
        }
    }

    /// Compares the ZIP with the stamp of its opening, and returns its current stamp.
    ///
    /// # Errors
    /// [`WorkspaceError::ZipChanged`]; [`WorkspaceError::ZipTouched`] if only the ctime differs;
    /// [`WorkspaceError::HeldOriginal`] if another file is mounted over it; or
    /// [`WorkspaceError::ZipMissing`] if it has disappeared.
    pub(crate) fn check_unchanged(
        &self,
        delivered: &Folder,
        mount: Option<u64>,
        stamp: Option<&ZipStamp>,
    ) -> Result<ZipStamp, WorkspaceError> {
        let path = self.zip();
        let found = delivered.metadata_of(self.name().zip());
        let Some(found) = found.map_err(WorkspaceError::io("look at", &path))? else {
            return Err(WorkspaceError::ZipMissing { path });
        };
        if found.mount != mount {
            return Err(WorkspaceError::HeldOriginal { path, why: Held::Mounted });
        }
        let now = ZipStamp::from(&found);
        match (Kind::of(found.kind), stamp) {
            (Kind::File, None) => Ok(now),
            (Kind::File, Some(stamp)) if *stamp == now => Ok(now),
            (Kind::File, Some(stamp)) => Err(match stamp.difference(&now) {
                Some(what) => WorkspaceError::ZipChanged { path, what },
                None => WorkspaceError::ZipTouched { path },
            }),
            (kind, _) => Err(WorkspaceError::ZipNotAFile { path, kind }),
        }
    }
}

impl Delivery {
    /// Checks a delivered folder, except the ZIP in it.
    pub(crate) fn of(job: &JobDir, delivered: &Folder) -> Result<Self, WorkspaceError> {
        let seen = delivered.metadata();
        let seen = seen.map_err(WorkspaceError::io("look at", delivered.path()))?;
        let originals = look_over(job, delivered, &seen, None)?;
        Ok(Self { seen, originals })
    }
}

/// Lists and checks the entries of a delivered folder, except the ZIP, which is checked when it is opened
/// or compared. If `taking` is given, first makes the entries this user's own, as far as permitted, and
/// checks them against the limits. `seen` is the metadata of the folder itself.
fn look_over(
    job: &JobDir,
    delivered: &Folder,
    seen: &Metadata,
    taking: Option<(&Folder, &Limits)>,
) -> Result<Vec<Original>, WorkspaceError> {
    let (zip, mut originals) = (job.name().zip(), Vec::new());
    let tally = taking.map(|(_, limits)| Tally::new(delivered, limits));
    let enter = |folder: &Entered<'_>| {
        let Some(tally) = &tally else { return Ok(()) };
        tally.enter(folder)?;
        let owned = match folder.is_top() {
            true => ownership::own_folder(folder.at, seen),
            false => look_at(folder.at).and_then(|seen| ownership::own_folder(folder.at, &seen)),
        };
        let failed = WorkspaceError::io("make this user's own", folder.path());
        owned.map(drop).map_err(|error| failed(error).into())
    };
    delivered
        .walk(Closed::Refused, enter, |found| {
            let kind = Kind::of(found.kind);
            if !matches!(kind, Kind::File | Kind::Folder) {
                return Err(WorkspaceError::OddOriginal { path: found.path(), kind }.into());
            }
            let is_top = found.is_top();
            if is_top {
                originals.push(Original { name: found.name.to_owned(), kind });
            }
            let is_zip = is_top && found.name == &*zip;
            if is_zip && kind == Kind::File {
                return Ok(());
            }
            let look = match found.metadata() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                other => other?,
            };
            check_held(found, &look, seen.mount, is_top && !is_zip)?;
            if let Some(tally) = &tally {
                tally.count(found, &look)?;
            }
            match kind {
                Kind::Folder => check_movable(found),
                _ => judge_file(found, &look, delivered, taking.map(|(home, _)| home)),
            }
        })
        .map_err(|error| error.into_error(WorkspaceError::io("list", delivered.path())))?;
    Ok(originals)
}

/// Returns the metadata of the entry that a handle refers to.
fn look_at(handle: impl AsFd) -> io::Result<Metadata> {
    Ok(metadata_at(handle.as_fd(), OsStr::new(""))?)
}

/// Refuses mount points, and entries that no user can move (immutable or append-only). The
/// latter count only directly in the delivered folder (`moves`): deeper entries move along with their
/// folder. An immutable ZIP has its own error.
fn check_held(
    found: &Found<'_>,
    look: &Metadata,
    mount: Option<u64>,
    moves: bool,
) -> Result<(), WorkspaceError> {
    let why = match () {
        () if look.mount != mount => Held::Mounted,
        () if look.is_fixed && moves => Held::Fixed,
        () => return Ok(()),
    };
    Err(WorkspaceError::HeldOriginal { path: found.path(), why })
}

/// Checks that a folder beside the ZIP, and its contents, can be moved.
fn check_movable(found: &Found<'_>) -> Result<(), WalkError<WorkspaceError>> {
    let wanted = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
    match accessat(found.parent, found.name, wanted, AtFlags::EACCESS) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(_) => Err(WorkspaceError::FixedOriginal { path: found.path() }.into()),
    }
}

/// Checks a file beside the ZIP, and makes it this user's own.
fn judge_file(
    found: &Found<'_>,
    look: &Metadata,
    delivered: &Folder,
    home: Option<&Folder>,
) -> Result<(), WalkError<WorkspaceError>> {
    if look.mode & SET_ID != 0 {
        return Err(WorkspaceError::SetIdOriginal { path: found.path() }.into());
    }
    let Some(home) = home else { return Ok(()) };
    if ownership::is_own(look) {
        return Ok(());
    }
    let failed = |error| WorkspaceError::io("make this user's own", found.path())(error);
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match openat(found.parent, found.name, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        // The file can still be moved, and whether an unreadable file matters is not for us to judge.
        Err(Errno::ACCESS | Errno::PERM | Errno::NOENT) => return Ok(()),
        Err(error) => return Err(failed(error.into()).into()),
    };
    let seen = look_at(&file)?;
    if ownership::own_file(&file, &seen).map_err(failed)? == ownership::Owned::HardLinked {
        let folder = delivered.again(found.parent);
        ownership::copy_apart(home, &folder.map_err(failed)?, found.name).map_err(failed)?;
    }
    Ok(())
}

impl From<WorkspaceError> for WalkError<WorkspaceError> {
    fn from(error: WorkspaceError) -> Self {
        Self::Judged(error)
    }
}

//! Targets on another file system: how they are found, where copies to them are made, and what a job
//! remembers of its copy.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::Mode;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use super::error::StartError;
use super::trust::owned_by;
use super::{JobDir, probe};
use crate::folder::Folder;
use crate::id::{JobId, PackageName};
use crate::names::{COPY, OWN, PROBE};
use crate::package::FolderId;

/// Where a job goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    Archive,
    Quarantine,
}

impl Target {
    /// What messages call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Archive => "archive",
            Self::Quarantine => "quarantine",
        }
    }
}

/// The folder of a target on another file system in which copies are made: `TARGET/.longshore`.
#[derive(Debug, Clone)]
pub(crate) struct Staging {
    folder: Arc<Folder>,
    id: FolderId,
    /// Device and inode of the archive or quarantine.
    target_id: (u64, u64),
}

impl Staging {
    /// Makes it where it is missing, and checks that it is ours and that renames lead out of it.
    pub(super) fn open(what: &'static str, target: &Folder) -> Result<Self, StartError> {
        let path = target.join(OWN);
        let failed = |action| StartError::io(action, &path);
        let folder = target.make_or_open(OWN).map_err(|source| {
            match Errno::from_io_error(&source) {
                // A link would have the copies made wherever it leads.
                Some(Errno::LOOP | Errno::NOTDIR) => {
                    StartError::NotAFolder { what, path: path.clone() }
                }
                _ => StartError::Make { what, path: path.clone(), source },
            }
        })?;
        // A file server may know us by another user's number: what it made for us is ours.
        let name = format!("{PROBE}{}", Ulid::generate());
        let file = folder.create(&name, Mode::RUSR | Mode::WUSR).map_err(failed("write to"))?;
        let user =
            rustix::fs::fstat(&file).map_err(|error| failed("look at")(error.into()))?.st_uid;
        folder.remove_file(&name).map_err(failed("clear"))?;
        owned_by(what, &folder, user)?;
        probe::clear(&folder, &folder);
        match probe::reaches(target, &folder) {
            Ok(true) => {}
            Ok(false) => return Err(failed("try a rename from")(Errno::XDEV.into())),
            Err(error) => return Err(failed("try a rename from")(error)),
        }
        Self::of(target, folder).map_err(failed("look at"))
    }

    fn of(target: &Folder, folder: Folder) -> io::Result<Self> {
        let seen = target.seen()?;
        let target_id = (seen.st_dev, seen.st_ino);
        Ok(Self { id: folder.own_id()?, folder: Arc::new(folder), target_id })
    }

    /// The same in a target that was opened again: a mount that came back has it, the empty folder
    /// beneath it has not. One that was tidied away is made again.
    pub(super) fn again(&self, target: &Folder) -> io::Result<Self> {
        let seen = target.seen()?;
        let is_same = (seen.st_dev, seen.st_ino) == self.target_id;
        match target.folder_if_there(OWN)? {
            Some(folder) if is_same || folder.own_id()? == self.id => Self::of(target, folder),
            Some(_) => Err(io::Error::new(io::ErrorKind::NotFound, "another folder is there now")),
            None if is_same => Self::of(target, target.make_or_open(OWN)?),
            None => Err(Errno::NOENT.into()),
        }
    }

    /// The folder itself.
    pub(crate) fn folder(&self) -> &Arc<Folder> {
        &self.folder
    }
}

/// What the copy of a job is called in `TARGET/.longshore`: `JOB.OWNER`. The owner is the folder on this
/// machine that the job is in, so that a work area that was restored from a backup, or a machine that was
/// cloned, does not remove the copies of the other.
///
/// # Errors
/// Those of the system.
pub(crate) fn copy_name(job: &JobDir) -> io::Result<String> {
    let own = job.part().own_id()?;
    let mut hasher = blake3::Hasher::new();
    hasher.update(&own.inode.to_le_bytes()).update(&own.birth_ns.to_le_bytes());
    // Where there is none, the folder alone tells.
    hasher.update(&std::fs::read("/etc/machine-id").unwrap_or_default());
    let owner = &hasher.finalize().to_hex()[..16];
    Ok(format!("{}.{owner}", job.id()))
}

/// `.copy.json` in a job's folder: which copy is its own, whatever it is called by now.
///
/// **Invariant:** it is on disk before the copy gets its name. Until then the job's own folder is
/// whole, so that one without a record can be copied again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CopyRecord {
    /// Version of this record: 1.
    v: u32,
    /// The package.
    pub(crate) name: PackageName,
    target: Text,
    staging: Id,
    copy: Id,
    /// What the copy is called until it gets its name; `None`: the job's id, as earlier versions had it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    called: Option<String>,
    /// What the program's own publisher called its place; it has the package, and there is no copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    published: Option<Text>,
}

/// A path as text where it is text, else as bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum Text {
    Utf8(String),
    Bytes(Vec<u8>),
}

impl Text {
    fn of(path: &Path) -> Self {
        match path.to_str() {
            Some(text) => Self::Utf8(text.to_owned()),
            None => Self::Bytes(path.as_os_str().as_bytes().to_vec()),
        }
    }

    fn path(&self) -> PathBuf {
        match self {
            Self::Utf8(text) => text.into(),
            Self::Bytes(bytes) => OsStr::from_bytes(bytes).into(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Id {
    inode: u64,
    /// In ns since the epoch, as text: JSON has no numbers of that size.
    birth: BirthText,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
struct BirthText(i128);

impl From<BirthText> for String {
    fn from(birth: BirthText) -> Self {
        birth.0.to_string()
    }
}

impl TryFrom<String> for BirthText {
    type Error = std::num::ParseIntError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Self)
    }
}

impl From<FolderId> for Id {
    fn from(id: FolderId) -> Self {
        Self { inode: id.inode, birth: BirthText(id.birth_ns) }
    }
}

impl CopyRecord {
    /// For the copy of a job that is called so in the staging folder of a target.
    pub(crate) fn of(
        job: &JobDir,
        target: &Path,
        staging: &Folder,
        called: &str,
    ) -> io::Result<Self> {
        let copy = staging.id_of(called)?.into();
        let staging = staging.own_id()?.into();
        let (name, target) = (job.name().clone(), Text::of(target));
        let called = Some(called.to_owned());
        Ok(Self { v: 1, name, target, staging, copy, called, published: None })
    }

    /// What the copy is called until it gets its name.
    pub(crate) fn copy_name(&self, job: JobId) -> String {
        self.called.clone().unwrap_or_else(|| job.to_string())
    }

    /// For a job that a publisher has taken to this place.
    pub(crate) fn handed_over(job: &JobDir, path: &Path) -> Self {
        let none = Id { inode: 0, birth: BirthText(0) };
        let (name, place) = (job.name().clone(), Text::of(path));
        let (target, published) = (place.clone(), Some(place));
        Self { v: 1, name, target, staging: none, copy: none, called: None, published }
    }

    /// Where a publisher took it; `None` for one that was copied.
    pub(crate) fn published(&self) -> Option<PathBuf> {
        self.published.as_ref().map(Text::path)
    }

    /// The record in a job's folder; `None` if there is none that can be read.
    pub(crate) fn read(home: &Folder) -> io::Result<Option<Self>> {
        let Some(text) = home.read(COPY)? else { return Ok(None) };
        Ok(serde_json::from_slice(&text).ok().filter(|found: &Self| found.v == 1))
    }

    pub(crate) fn write(&self, home: &Folder) -> io::Result<()> {
        home.write(COPY, &serde_json::to_vec(self)?)
    }

    /// The archive or quarantine that the copy is in; absolute.
    pub(crate) fn target(&self) -> PathBuf {
        self.target.path()
    }

    /// Whether the copy is what has this name.
    pub(crate) fn is_at(&self, folder: &Folder, name: impl AsRef<OsStr>) -> io::Result<bool> {
        match folder.id_of(name) {
            Ok(found) => Ok(Id::from(found) == self.copy),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The staging folder in a target, if the target is the one that was copied to, and not an empty
    /// mount point, say.
    pub(crate) fn staging_in(&self, target: &Folder) -> io::Result<Option<Folder>> {
        let Some(found) = target.folder_if_there(OWN)? else { return Ok(None) };
        Ok((Id::from(found.own_id()?) == self.staging).then_some(found))
    }
}

//! Targets on another file system: how they are found, where copies to them are made, and what is
//! recorded of a job's copy.

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

/// The kind of target that a job goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    Archive,
    Quarantine,
}

impl Target {
    /// The name of the target in messages.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Archive => "archive",
            Self::Quarantine => "quarantine",
        }
    }
}

/// The folder for copies in a target on another file system: `TARGET/.longshore`.
#[derive(Debug, Clone)]
pub(crate) struct Staging {
    folder: Arc<Folder>,
    id: FolderId,
    /// Device and inode of the archive or quarantine.
    target_id: (u64, u64),
}

impl Staging {
    /// Creates the folder if it is missing, and checks that it is ours and that renames work out of it.
    pub(super) fn open(what: &'static str, target: &Folder) -> Result<Self, StartError> {
        let path = target.join(OWN);
        let failed = |action| StartError::io(action, &path);
        let folder = target.make_or_open(OWN).map_err(|source| {
            match Errno::from_io_error(&source) {
                // If it were a link, the copies would be made wherever it leads.
                Some(Errno::LOOP | Errno::NOTDIR) => {
                    StartError::NotAFolder { what, path: path.clone() }
                }
                _ => StartError::Make { what, path: path.clone(), source },
            }
        })?;
        // A file server may map us to another user: a folder that it creates for us is ours.
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

    /// Opens the same folder in a target that was opened again. A mount that came back contains the folder.
    /// The empty mount point beneath does not. If an operator has removed the folder, it is created again.
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

/// Returns the name of a job's copy in `TARGET/.longshore`: `JOB.OWNER`. The owner identifies the job's
/// folder and this machine, so that a work area that was restored from a backup, or a machine that was
/// cloned, does not remove the copies of the other.
///
/// # Errors
/// I/O errors.
pub(crate) fn copy_name(job: &JobDir) -> io::Result<String> {
    let own = job.part().own_id()?;
    let mut hasher = blake3::Hasher::new();
    hasher.update(&own.inode.to_le_bytes()).update(&own.birth_ns.to_le_bytes());
    // Without a machine id, only the folder identifies the owner.
    hasher.update(&std::fs::read("/etc/machine-id").unwrap_or_default());
    let owner = &hasher.finalize().to_hex()[..16];
    Ok(format!("{}.{owner}", job.id()))
}

/// `.copy.json` in a job's folder: identifies the job's own copy, whatever its current name.
///
/// **Invariant:** the record is on disk before the copy gets its final name. Until then the job's own
/// folder is complete, so a job without a record can be copied again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CopyRecord {
    /// Version of this record: 1.
    v: u32,
    /// The package.
    pub(crate) name: PackageName,
    target: Text,
    staging: Id,
    copy: Id,
    /// The name of the copy before it gets its final name; `None`: the job's id, as in earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    called: Option<String>,
    /// The place that the program's own publisher reported. That publisher has the package; there is no copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    published: Option<Text>,
}

/// A path: as text if it is UTF-8, otherwise as bytes.
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
    /// Creates the record for a job's copy with this name in the staging folder of a target.
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

    /// The name of the copy before it gets its final name.
    pub(crate) fn copy_name(&self, job: JobId) -> String {
        self.called.clone().unwrap_or_else(|| job.to_string())
    }

    /// Creates the record for a job that a publisher has moved to this place.
    pub(crate) fn handed_over(job: &JobDir, path: &Path) -> Self {
        let none = Id { inode: 0, birth: BirthText(0) };
        let (name, place) = (job.name().clone(), Text::of(path));
        let (target, published) = (place.clone(), Some(place));
        Self { v: 1, name, target, staging: none, copy: none, called: None, published }
    }

    /// Where a publisher moved the job; `None` if it was copied.
    pub(crate) fn published(&self) -> Option<PathBuf> {
        self.published.as_ref().map(Text::path)
    }

    /// Reads the record in a job's folder; `None` if it is missing or cannot be parsed.
    pub(crate) fn read(home: &Folder) -> io::Result<Option<Self>> {
        let Some(text) = home.read(COPY)? else { return Ok(None) };
        Ok(serde_json::from_slice(&text).ok().filter(|found: &Self| found.v == 1))
    }

    pub(crate) fn write(&self, home: &Folder) -> io::Result<()> {
        home.write(COPY, &serde_json::to_vec(self)?)
    }

    /// The archive or quarantine that contains the copy; absolute.
    pub(crate) fn target(&self) -> PathBuf {
        self.target.path()
    }

    /// Whether the entry with this name is the copy.
    pub(crate) fn is_at(&self, folder: &Folder, name: impl AsRef<OsStr>) -> io::Result<bool> {
        match folder.id_of(name) {
            Ok(found) => Ok(Id::from(found) == self.copy),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Returns the staging folder in a target, if the target is the one that was copied to, and not, for
    /// example, an empty mount point.
    pub(crate) fn staging_in(&self, target: &Folder) -> io::Result<Option<Folder>> {
        let Some(found) = target.folder_if_there(OWN)? else { return Ok(None) };
        Ok((Id::from(found.own_id()?) == self.staging).then_some(found))
    }
}

//! Targets on another file system: how they are found, where copies to them are made, and what a job
//! remembers of its copy.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::StartError;
use super::layout::ours_alone;
use super::lock;
use super::paths::{identity, remove_file};
use super::{JobDir, rename_new};
use crate::id::{JobId, PackageName};
use crate::package::FolderId;

/// Where a job goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    Archive,
    Quarantine,
}

/// The folder of a target on another file system in which copies are made: `TARGET/.longshore`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Staging {
    /// The archive or quarantine; absolute.
    target: PathBuf,
    target_id: (u64, u64),
    id: FolderId,
}

impl Staging {
    /// Makes it where it is missing, and checks that it is ours and that renames lead out of it.
    pub(super) fn open(
        what: &'static str,
        target: &Path,
        probe: &OsStr,
    ) -> Result<Self, StartError> {
        let path = target.join(FOLDER);
        let failed = |action, path: &Path| {
            let path = path.to_path_buf();
            move |source| StartError::Io { action, path, source }
        };
        make(&path).map_err(|source| StartError::Make { what, path: path.clone(), source })?;
        // A link would have the copies made wherever it leads.
        if !fs::symlink_metadata(&path).map_err(failed("look at", &path))?.is_dir() {
            return Err(StartError::NotAFolder { what, path });
        }
        let (here, there) = (path.join(probe), target.join(probe));
        remove_file(&there).map_err(failed("clear", &there))?;
        let file = File::create(&here).map_err(failed("write", &here))?;
        // A file server may know us by another user's number: what it made for us is ours.
        let user = file.metadata().map_err(failed("look at", &here))?.uid();
        let moved = rename_new(&here, &there, None);
        remove_file(if moved.is_ok() { &there } else { &here }).map_err(failed("clear", &path))?;
        moved.map_err(failed("try a rename from", &path))?;
        ours_alone(what, &path, user)?;
        clear_probes(&path);
        Self::look(target).map_err(failed("look at", &path))
    }

    fn look(target: &Path) -> io::Result<Self> {
        let (id, target_id) = (identity(&target.join(FOLDER))?, lock::identity(target)?);
        Ok(Self { target: target.into(), target_id, id })
    }

    /// The same, if it is still there: a mount that came back has it, the empty folder beneath it has
    /// not. One that was tidied away is made again.
    pub(super) fn again(&self) -> io::Result<Self> {
        match Self::look(&self.target) {
            Ok(found) if found.id == self.id || found.target_id == self.target_id => Ok(found),
            Ok(_) => Err(io::Error::new(io::ErrorKind::NotFound, "another folder is there now")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if lock::identity(&self.target)? != self.target_id {
                    return Err(error);
                }
                make(&self.path())?;
                Self::look(&self.target)
            }
            Err(error) => Err(error),
        }
    }

    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.target.join(FOLDER)
    }

    /// Where a job is copied to before it gets its name; absolute.
    pub(crate) fn copy_of(&self, job: JobId) -> PathBuf {
        self.path().join(job.to_string())
    }
}

/// Removes what starts that were killed have left. Another daemon may be at the same just now: what is
/// young is its own.
fn clear_probes(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let is_old = || {
            let age = entry.metadata().ok()?.modified().ok()?.elapsed().ok()?;
            Some(age > Duration::from_secs(60))
        };
        let is_probe = entry.file_name().as_encoded_bytes().starts_with(PROBE.as_bytes());
        if is_probe && is_old().unwrap_or(false) {
            remove_file(&entry.path()).ok(); // in nobody's way
        }
    }
}

/// No package has a name with a leading dot.
const FOLDER: &str = ".longshore";

fn make(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
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
    /// For the copy of a job that is in the staging folder of a target.
    pub(crate) fn of(job: &JobDir, target: &Path, staging: &Path) -> io::Result<Self> {
        let copy = identity(&staging.join(job.id().to_string()))?.into();
        let staging = identity(staging)?.into();
        let (name, target) = (job.name().clone(), Text::of(target));
        Ok(Self { v: 1, name, target, staging, copy, published: None })
    }

    /// For a job that a publisher has taken to this place.
    pub(crate) fn handed_over(job: &JobDir, path: &Path) -> Self {
        let none = Id { inode: 0, birth: BirthText(0) };
        let (name, place) = (job.name().clone(), Text::of(path));
        let (target, published) = (place.clone(), Some(place));
        Self { v: 1, name, target, staging: none, copy: none, published }
    }

    /// Where a publisher took it; none for one that was copied.
    pub(crate) fn published(&self) -> Option<PathBuf> {
        self.published.as_ref().map(Text::path)
    }

    /// The record in a job's folder; none where there is none that can be read.
    pub(crate) fn read(job: &Path) -> io::Result<Option<Self>> {
        match fs::read(job.join(RECORD)) {
            Ok(text) => Ok(serde_json::from_slice(&text).ok().filter(|found: &Self| found.v == 1)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn write(&self, job: &Path) -> io::Result<()> {
        crate::failpoint::pass(|| format!("write:{RECORD}"))?;
        fs::write(job.join(RECORD), serde_json::to_vec(self)?)
    }

    /// The archive or quarantine that the copy is in; absolute.
    pub(crate) fn target(&self) -> PathBuf {
        self.target.path()
    }

    pub(crate) fn staging_path(&self) -> PathBuf {
        self.target().join(FOLDER)
    }

    /// Whether the copy is what has this path.
    pub(crate) fn is_at(&self, path: &Path) -> io::Result<bool> {
        is(path, self.copy)
    }

    /// Whether the target is the one that was copied to, and not an empty mount point, say.
    pub(crate) fn is_there(&self) -> io::Result<bool> {
        is(&self.staging_path(), self.staging)
    }
}

/// How the names of probes begin.
pub(super) const PROBE: &str = ".longshore-probe-";

pub(super) const RECORD: &str = ".copy.json";

fn is(path: &Path, id: Id) -> io::Result<bool> {
    match identity(path) {
        Ok(found) => Ok(Id::from(found) == id),
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

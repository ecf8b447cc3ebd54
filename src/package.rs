//! [`Package`]: the value that moves through the system, from extraction to settlement.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::id::{Digest, JobId, PackageName, SourceName};
use crate::names::{DONE, OUT};

/// Distinguishes a folder from a later one with the same name: inode and birth time.
///
/// An inode number alone is reused as soon as its folder is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FolderId {
    /// Inode number.
    pub inode: u64,
    /// Birth time in ns since the epoch; 0 if the file system does not record it.
    pub birth_ns: i128,
}

/// The metadata of a ZIP when it was opened: its sender may still have a handle on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ZipStamp {
    /// Inode number.
    pub inode: u64,
    /// Size in bytes.
    pub len: u64,
    /// Last change of its content, in ns since the epoch.
    pub mtime_ns: i128,
    /// Last change of its content or inode, in ns since the epoch.
    pub ctime_ns: i128,
}

impl ZipStamp {
    /// Returns the property that differs, ignoring ctime: a change of mode, owner or number of
    /// names is not a change of contents.
    #[must_use]
    pub fn difference(&self, now: &Self) -> Option<&'static str> {
        if self.inode != now.inode {
            Some("it is another file")
        } else if self.len != now.len {
            Some("its size")
        } else if self.mtime_ns != now.mtime_ns {
            Some("its mtime")
        } else {
            None
        }
    }
}

impl From<&std::fs::Metadata> for ZipStamp {
    fn from(found: &std::fs::Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;

        let ns = |s: i64, ns: i64| i128::from(s) * 1_000_000_000 + i128::from(ns);
        Self {
            inode: found.ino(),
            len: found.len(),
            mtime_ns: ns(found.mtime(), found.mtime_nsec()),
            ctime_ns: ns(found.ctime(), found.ctime_nsec()),
        }
    }
}

impl From<&rustix::fs::Stat> for ZipStamp {
    fn from(found: &rustix::fs::Stat) -> Self {
        let ns = |s: i64, ns: i128| i128::from(s) * 1_000_000_000 + ns;
        // The types' widths differ by platform.
        let nanos = |nsec: u64| i128::from(nsec);
        Self {
            inode: found.st_ino,
            len: u64::try_from(found.st_size).unwrap_or(0),
            mtime_ns: ns(found.st_mtime, nanos(found.st_mtime_nsec)),
            ctime_ns: ns(found.st_ctime, nanos(found.st_ctime_nsec)),
        }
    }
}

/// The facts of a package's ZIP from its plan: those that distinguish it from another ZIP of the
/// same name, and its extent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZipFacts {
    /// Size of the ZIP in bytes.
    pub zip_bytes: u64,
    /// The digest of the names, sizes and CRCs of its entries. Two ZIPs with equal digests have the
    /// same contents, except for an intended collision of CRCs. Their bytes may still differ.
    pub digest: Digest,
    /// The digest of all its bytes, if the source has `hash = true`.
    pub hash: Option<Digest>,
    /// The number of files and folders in it.
    pub entries: u64,
    /// Their unpacked size in bytes.
    pub bytes: u64,
    /// The charset with which its names were decoded: `UTF-8`, `GBK`, `CP437`.
    pub charset: String,
}

/// The data that shows whether a ZIP still has the contents that it had when it was planned.
#[derive(Debug, Clone)]
pub struct ZipContents {
    /// The facts from its plan.
    pub facts: ZipFacts,
    /// BLAKE3 of the records of its central directory.
    pub records: [u8; 32],
}

/// The facts about a package in work. Shared, so that a view of them costs nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PackageFacts {
    /// The source that it came from.
    pub source: SourceName,
    /// The folder's name as delivered.
    pub name: PackageName,
    /// The job that works on it.
    pub job: JobId,
    /// The attempt, counted from 1.
    pub attempt: u32,
    /// The job's folder in the work area; absolute. It holds the delivered folder and the unpacked one.
    pub home: PathBuf,
    /// The number of files and folders that were unpacked; 0 before that.
    pub entries: u64,
    /// Their size in bytes.
    pub bytes: u64,
    /// Whether the package goes to no stage: the unpacked files are still in the folder where they
    /// were written.
    pub(crate) untouched: bool,
}

impl PackageFacts {
    /// Returns the folder with the unpacked files; absolute. A stage may change its contents.
    #[must_use]
    pub fn dir(&self) -> PathBuf {
        self.home.join(if self.untouched { OUT } else { DONE })
    }

    /// Returns the folder as delivered, with its ZIP; absolute. It stays unchanged.
    #[must_use]
    pub fn delivered(&self) -> PathBuf {
        self.home.join(&self.name)
    }

    /// Returns every file in [`dir`](Self::dir), including those that stages have created: relative
    /// to it, sorted. Reads the folders and follows no link.
    ///
    /// # Errors
    /// I/O errors.
    pub fn files(&self) -> io::Result<Vec<PathBuf>> {
        let top = self.dir();
        let (mut found, mut folders) = (Vec::new(), vec![PathBuf::new()]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(top.join(&folder))? {
                let entry = entry?;
                let path = folder.join(entry.file_name());
                let kind = entry.file_type()?;
                if kind.is_dir() {
                    folders.push(path);
                } else if kind.is_file() {
                    found.push(path);
                }
            }
        }
        found.sort();
        Ok(found)
    }
}

/// Receives a package that was dropped before it was settled.
pub type LostHandler = Arc<dyn Fn(Package) + Send + Sync>;

/// One package in work. It is moved from actor to actor, never cloned, and settled by the Archiver.
///
/// **Invariant:** an actor that holds a package passes it on or rejects it. A package that is
/// dropped all the same (a panic, a forgotten branch) reports itself as lost, which counts as an
/// attempt.
pub struct Package {
    facts: Arc<PackageFacts>,
    notes: Vec<(String, String)>,
    // Boxed, like the contents: a package is moved often, also inside an error.
    stamp: Option<Box<ZipStamp>>,
    zip: Option<Box<ZipContents>>,
    lost: Option<LostHandler>,
}

impl Package {
    /// Creates a package. If it is dropped before it is settled, `lost` is called with it.
    #[must_use]
    pub fn new(facts: PackageFacts, lost: Option<LostHandler>) -> Self {
        Self { facts: Arc::new(facts), notes: Vec::new(), stamp: None, zip: None, lost }
    }

    /// Returns the name of the folder as delivered.
    #[must_use]
    pub fn name(&self) -> &PackageName {
        &self.facts.name
    }

    /// Returns the name of the source.
    #[must_use]
    pub fn source(&self) -> &SourceName {
        &self.facts.source
    }

    /// Returns the job that works on the package.
    #[must_use]
    pub fn job(&self) -> JobId {
        self.facts.job
    }

    /// Returns the attempt, counted from 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.facts.attempt
    }

    /// Returns the folder with the unpacked files; absolute.
    #[must_use]
    pub fn dir(&self) -> PathBuf {
        self.facts.dir()
    }

    /// Returns the folder as delivered, with its ZIP; absolute.
    #[must_use]
    pub fn delivered(&self) -> PathBuf {
        self.facts.delivered()
    }

    /// Returns every file in [`dir`](Self::dir), including those that stages have created: relative
    /// to it, sorted. Reads the folders and follows no link.
    ///
    /// # Errors
    /// I/O errors.
    pub fn files(&self) -> io::Result<Vec<PathBuf>> {
        self.facts.files()
    }

    /// Returns the job's folder in the work area; absolute.
    #[must_use]
    pub fn home(&self) -> &Path {
        &self.facts.home
    }

    /// Returns the number of files and folders that were unpacked.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.facts.entries
    }

    /// Adds a remark that is kept with the package's record, in the order of the calls.
    #[must_use]
    pub fn note(mut self, key: impl Into<String>, value: impl fmt::Display) -> Self {
        self.add_note(key, value);
        self
    }

    /// Like [`note`](Self::note), without moving the package.
    pub(crate) fn add_note(&mut self, key: impl Into<String>, value: impl fmt::Display) {
        self.notes.push((key.into(), value.to_string()));
    }

    /// Returns the remarks so far, in the order of the calls.
    #[must_use]
    pub fn notes(&self) -> &[(String, String)] {
        &self.notes
    }

    /// Returns a read-only view for a caller that only observes.
    #[must_use]
    pub fn view(&self) -> PackageView {
        PackageView { facts: Arc::clone(&self.facts) }
    }

    /// Returns the metadata of the ZIP when it was opened; `None` before that.
    pub(crate) fn stamp(&self) -> Option<ZipStamp> {
        self.stamp.as_deref().copied()
    }

    pub(crate) fn set_stamp(&mut self, stamp: ZipStamp) {
        self.stamp = Some(Box::new(stamp));
    }

    /// Whether the package comes from the extractor and no stage has had it: it is in `.out`,
    /// complete and verified.
    pub(crate) fn is_untouched(&self) -> bool {
        self.facts.untouched
    }

    pub(crate) fn set_untouched(&mut self) {
        Arc::make_mut(&mut self.facts).untouched = true;
    }

    /// Records the facts from the package's plan. Called before the plan is judged, so that a
    /// package that goes to quarantine has a record, too.
    pub(crate) fn set_zip(&mut self, zip: ZipFacts, records: [u8; 32]) {
        let facts = Arc::make_mut(&mut self.facts);
        facts.entries = zip.entries;
        facts.bytes = zip.bytes;
        self.zip = Some(Box::new(ZipContents { facts: zip, records }));
    }

    /// Returns the facts from the package's plan; `None` before that, and `None` after a restart.
    pub(crate) fn zip(&self) -> Option<&ZipFacts> {
        self.zip.as_deref().map(|zip| &zip.facts)
    }

    /// Like [`zip`](Self::zip), with the data for comparing the contents of a ZIP that was touched.
    pub(crate) fn zip_contents(&self) -> Option<&ZipContents> {
        self.zip.as_deref()
    }

    /// Marks it settled and keeps all that is known of it, for a test: dropping it no longer
    /// reports it lost.
    #[cfg(any(test, feature = "testkit"))]
    pub(crate) fn out_of_work(mut self) -> Self {
        self.lost = None;
        self
    }

    /// Marks it settled, because the Archiver has decided or the pipeline is stopping: dropping it
    /// no longer reports it lost.
    pub(crate) fn settle(mut self) -> PackageView {
        self.lost = None;
        self.view()
    }
}

impl Drop for Package {
    fn drop(&mut self) {
        // The package for the handler has no handler itself: a package is reported once.
        if let Some(lost) = self.lost.take() {
            let notes = std::mem::take(&mut self.notes);
            let facts = Arc::clone(&self.facts);
            let (stamp, zip) = (self.stamp.take(), self.zip.take());
            lost(Package { facts, notes, stamp, zip, lost: None });
        }
    }
}

impl fmt::Debug for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Package")
            .field("facts", &self.facts)
            .field("notes", &self.notes)
            .finish_non_exhaustive()
    }
}

/// A read-only view of a [`Package`]; cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageView {
    facts: Arc<PackageFacts>,
}

impl std::ops::Deref for PackageView {
    type Target = PackageFacts;

    fn deref(&self) -> &PackageFacts {
        &self.facts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    fn package(seen: &Arc<Mutex<Vec<Package>>>) -> Package {
        let seen = Arc::clone(seen);
        let facts = PackageFacts {
            source: SourceName::default(),
            name: PackageName::new("sample").unwrap(),
            job: JobId::generate(),
            attempt: 1,
            home: "/work/default/job".into(),
            entries: 0,
            bytes: 0,
            untouched: false,
        };
        Package::new(facts, Some(Arc::new(move |package| seen.lock().unwrap().push(package))))
    }

    #[test]
    fn package_dropped_unsettled_reports_itself_once_with_its_notes() {
        let seen = Arc::default();
        drop(package(&seen).note("files", 3));
        let lost = seen.lock().unwrap().pop().unwrap();
        assert_eq!(lost.notes(), [("files".to_owned(), "3".to_owned())]);
        drop(lost);
        assert!(seen.lock().unwrap().is_empty(), "the lost package reported itself again");
    }

    #[test]
    fn package_settled_reports_nothing() {
        let seen = Arc::default();
        let view = package(&seen).settle();
        assert_eq!(view.dir(), Path::new("/work/default/job/.done"));
        assert!(seen.lock().unwrap().is_empty(), "a settled package reported itself");
    }
}

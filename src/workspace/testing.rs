//! A source on real folders, for the tests of the protocol.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;

use super::{JobDir, Site};
use crate::config::Source;
use crate::folder::Folder;
use crate::id::{JobId, PackageName, SourceName};
use crate::job::{Form, JobSpec, Origin};

/// Landing, archive, quarantine and work area in a temporary folder.
pub(crate) struct Bench {
    pub(crate) site: Arc<Site>,
    top: TempDir,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut Source)) -> Self {
        let top = tempfile::tempdir().unwrap();
        let mut source = source(top.path());
        change(&mut source);
        let site = Arc::new(Site::open(&source).unwrap());
        // As at the start of a run: without the record, nothing counts as a crash.
        site.mark_running().unwrap();
        Self { site, top }
    }

    /// With archive and quarantine on another file system; `None` if no other is available here.
    pub(crate) fn across(archive: bool, quarantine: bool) -> Option<(Self, TempDir)> {
        let there = elsewhere(&std::env::temp_dir())?;
        let bench = Self::with(|source| {
            if archive {
                source.archive = there.path().join("mv_zip");
            }
            if quarantine {
                source.quarantine = there.path().join("quarantine");
            }
        });
        Some((bench, there))
    }

    pub(crate) fn site(&self) -> Arc<Site> {
        Arc::clone(&self.site)
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.top.path().join(below)
    }

    /// Restarts after a kill; `stopped` says whether a stop was requested before.
    pub(crate) fn restarted(self, stopped: bool) -> Self {
        let Self { site, top } = self;
        let source = site.source().clone();
        if stopped {
            site.mark_stopped().unwrap();
        }
        drop(site);
        Self { site: Arc::new(Site::open(&source).unwrap()), top }
    }

    /// Restarts with another configuration.
    pub(crate) fn reconfigured(self, change: impl FnOnce(&mut Source)) -> Self {
        let Self { site, top } = self;
        let mut source = site.source().clone();
        change(&mut source);
        site.mark_stopped().unwrap();
        drop(site);
        Self { site: Arc::new(Site::open(&source).unwrap()), top }
    }

    /// Simulates a power loss: the last run was in another boot.
    pub(crate) fn in_a_new_boot(&self) {
        let path = self.site.root().join(".boot");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace(&super::boot::boot_id(), "another-boot")).unwrap();
    }

    /// Delivers a package into the landing.
    pub(crate) fn deliver(&self, name: &str) -> PackageName {
        let folder = self.path("zip").join(name);
        fs::create_dir(&folder).unwrap();
        // No two ZIPs are equal: they would be duplicates.
        let zip = format!("zip of {name} {}", JobId::generate());
        fs::write(folder.join(format!("{name}.zip")), zip).unwrap();
        PackageName::new(name).unwrap()
    }

    pub(crate) fn offer(&self, name: &PackageName, form: Form) -> JobSpec {
        let landing = &self.site.source().landing;
        let landing = Folder::open(landing).unwrap();
        let identity = match form {
            Form::Folder => landing.id_of(name.as_str()),
            Form::Zip => landing.id_of(name.zip()),
        };
        let identity = identity.unwrap();
        JobSpec {
            id: JobId::generate(),
            source: SourceName::default(),
            name: name.clone(),
            attempt: 1,
            crashes: 0,
            origin: Origin::Landing { identity, form },
        }
    }

    /// Delivers and claims a package.
    pub(crate) fn claimed(&self, name: &str) -> JobDir {
        let name = self.deliver(name);
        self.site.begin(&self.offer(&name, Form::Folder)).unwrap().job
    }

    /// Delivers, claims and unpacks a package: `data.txt` comes out of it.
    pub(crate) fn unpacked(&self, name: &str) -> JobDir {
        let job = self.claimed(name);
        fs::write(job.out().join("data.txt"), "data").unwrap();
        self.site.commit(&job).unwrap();
        job
    }

    /// Creates a job's folder: names that end in `/` are folders, the others files.
    pub(crate) fn lay_out(&self, name: &str, attempt: u32, crashes: u32, paths: &[&str]) -> JobDir {
        let name = PackageName::new(name).unwrap();
        let job = JobDir::new(&self.site.part(), JobId::generate(), attempt, crashes, name);
        fs::DirBuilder::new().mode(0o700).create(job.path()).unwrap();
        for path in paths {
            put(&job.path().join(path), path.ends_with('/'));
        }
        job
    }
}

/// Returns a folder that no rename from `here` can reach; prints a note if there is none.
pub(crate) fn elsewhere(here: &Path) -> Option<TempDir> {
    let from = tempfile::NamedTempFile::new_in(here).unwrap();
    let found = tempfile::tempdir_in("/dev/shm").ok().filter(|there| {
        let to = there.path().join("probe");
        fs::rename(from.path(), to)
            .is_err_and(|error| error.kind() == std::io::ErrorKind::CrossesDevices)
    });
    if found.is_none() {
        println!("SKIP: a rename leads from {here:?} to /dev/shm, or there is none");
    }
    found
}

fn put(path: &Path, folder: bool) {
    if folder {
        fs::create_dir_all(path).unwrap();
    } else {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "content").unwrap();
    }
}

/// Creates a source in `top`: `zip`, `mv_zip`, `quarantine`, and the default work area.
pub(crate) fn source(top: &Path) -> Source {
    Source::new(SourceName::default(), top.join("zip"), top.join("mv_zip"))
}

/// Returns every path below a folder, sorted, folders with a slash at the end.
pub(crate) fn tree(top: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = vec![top.to_path_buf()];
    while let Some(folder) = rest.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            let below = entry.path().strip_prefix(top).unwrap().to_str().unwrap().to_owned();
            if entry.file_type().unwrap().is_dir() {
                rest.push(entry.path());
                found.push(below + "/");
            } else {
                found.push(below);
            }
        }
    }
    found.sort();
    found
}

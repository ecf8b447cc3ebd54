//! [`Site`]: everything about one source's folders, checked and locked.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::boot::{Boot, State, boot_id};
use super::error::{StartError, WorkspaceError};
use super::layout::{self, Elsewhere};
use super::lock::{self, Locked};
use super::paths::lstat;
use super::{Contents, JobDir, Staging, Target, parse_folder};
use crate::config::Source;
use crate::id::{JobId, PackageName};

/// One source's landing, work area, archive and quarantine: checked, and locked until it is dropped.
///
/// Its methods block, and can be called from any thread.
#[derive(Debug)]
pub struct Site {
    source: Source,
    root: PathBuf,
    locks: Mutex<Locks>,
    run: Mutex<Run>,
    elsewhere: Mutex<Elsewhere>,
    /// Packages go to a publisher of the program's, and not into the archive.
    publishes: bool,
}

/// What `.boot` says, and whether that is about this run.
#[derive(Debug)]
struct Run {
    boot: Option<Boot>,
    /// `boot` is what this run wrote; else it is the last one's.
    ours: bool,
    /// A stop was asked for: however this run ends, it has not crashed.
    stopped: bool,
}

#[derive(Debug)]
struct Locks {
    landing: Locked,
    root: Locked,
}

/// What [`Site::reopen_after_return`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Return {
    /// Another folder has the landing's path now.
    pub landing_changed: bool,
    /// Another work area is there now, perhaps with jobs of its own: recover it.
    pub work_changed: bool,
}

impl Site {
    /// Makes what is missing, checks that the folders can work together, and locks the landing and
    /// the source's part of the work area.
    ///
    /// # Errors
    /// [`StartError`]: each says what is wrong, where, and what to do, and has an exit code.
    pub fn open(source: &Source) -> Result<Self, StartError> {
        let root = layout::prepare(source)?;
        let landing = lock::lock("landing", &source.landing, &lock::fallback(&source.landing))?;
        let work = lock::lock("work area", &root, &root.join(".lock"))?;
        let elsewhere = layout::probe(source, &root)?;
        let boot = Boot::read(&root.join(".boot")).map_err(|error| StartError::Io {
            action: "read",
            path: root.join(".boot"),
            source: error,
        })?;
        Ok(Self {
            source: source.clone(),
            root,
            locks: Mutex::new(Locks { landing, root: work }),
            run: Mutex::new(Run { boot, ours: false, stopped: false }),
            elsewhere: Mutex::new(elsewhere),
            publishes: false,
        })
    }

    /// The source.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// The source's part of the work area, which holds its jobs' folders; absolute.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Lets another pipeline have the folders. To be called when nothing is in flight any more:
    /// threads that still end hold on to this value, and so to the locks.
    pub fn release(&self) {
        let locks = self.locks();
        locks.landing.release();
        locks.root.release();
    }

    /// Whether landing and work area are where they were; false while they are unmounted.
    #[must_use]
    pub fn is_there(&self) -> bool {
        let locks = self.locks();
        lock::identity(&self.source.landing).is_ok_and(|id| id == locks.landing.identity)
            && lock::identity(&self.root).is_ok_and(|id| id == locks.root.identity)
    }

    /// Takes up a landing that had disappeared (unmounted, removed) and is back: locks the one that
    /// is there now, and makes its work area where it is missing.
    ///
    /// # Errors
    /// As [`Site::open`], and where the landing is still not there. The landing itself is not made.
    pub fn reopen_after_return(&self) -> Result<Return, StartError> {
        let failed = |path: &Path| {
            let path = path.to_path_buf();
            move |source| StartError::Io { action: "find", path, source }
        };
        let mut locks = self.locks();
        let landing = &self.source.landing;
        let there = lock::identity(landing).map_err(failed(landing))?;
        let landing_changed = there != locks.landing.identity;
        if landing_changed {
            locks.landing = lock::lock("landing", landing, &lock::fallback(landing))?;
        }
        layout::prepare_work(&self.source)?;
        let there = lock::identity(&self.root).map_err(failed(&self.root))?;
        let work_changed = there != locks.root.identity;
        if work_changed {
            locks.root = lock::lock("work area", &self.root, &self.root.join(".lock"))?;
        }
        if landing_changed || work_changed {
            *self.elsewhere() = layout::probe(&self.source, &self.root)?;
        }
        if work_changed {
            let path = self.boot_path();
            let found = Boot::read(&path).map_err(failed(&path))?;
            let mut run = self.run();
            (run.boot, run.ours) = (found, false);
        }
        Ok(Return { landing_changed, work_changed })
    }

    /// Puts down that this run ends as it was asked to: jobs that are active now have not crashed.
    ///
    /// Can be called from a signal thread, whatever the other threads do.
    ///
    /// # Errors
    /// [`WorkspaceError::Io`].
    pub fn mark_stopped(&self) -> Result<(), WorkspaceError> {
        let mut run = self.run();
        run.stopped = true;
        // Before recovery is through, what it has to count is not this run's.
        match run.boot.as_ref().filter(|_| run.ours) {
            Some(known) if known.state == State::Running => {
                let stopped = Boot::new(known.boot.clone(), State::Stopped);
                self.write(&mut run, stopped)
            }
            _ => Ok(()),
        }
    }

    /// Puts down that this run is at work from now on.
    pub(super) fn mark_running(&self) -> Result<(), WorkspaceError> {
        let mut run = self.run();
        run.ours = true;
        let state = if run.stopped { State::Stopped } else { State::Running };
        self.write(&mut run, Boot::new(boot_id(), state))
    }

    /// Puts down what recovery is about to count.
    pub(super) fn mark_recovering(&self, record: Boot) -> Result<(), WorkspaceError> {
        self.write(&mut self.run(), record)
    }

    fn write(&self, run: &mut Run, record: Boot) -> Result<(), WorkspaceError> {
        let path = self.boot_path();
        record.write(&path).map_err(WorkspaceError::io("write", path))?;
        run.boot = Some(record);
        Ok(())
    }

    /// The record of the last run.
    pub(super) fn last_run(&self) -> Option<Boot> {
        self.run().boot.clone()
    }

    fn boot_path(&self) -> PathBuf {
        self.root.join(".boot")
    }

    fn run(&self) -> MutexGuard<'_, Run> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn locks(&self) -> MutexGuard<'_, Locks> {
        self.locks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn elsewhere(&self) -> MutexGuard<'_, Elsewhere> {
        self.elsewhere.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has no package renamed into the archive: a publisher takes them.
    pub(crate) fn leave_to_publisher(&mut self) {
        self.publishes = true;
    }

    /// Whether no rename leads from the work area to it: packages are copied, or a publisher has them.
    #[must_use]
    pub(crate) fn is_elsewhere(&self, target: Target) -> bool {
        let elsewhere = self.elsewhere();
        match target {
            Target::Archive => self.publishes || elsewhere.archive.is_some(),
            Target::Quarantine => elsewhere.quarantine.is_some(),
        }
    }

    /// Where copies to it are made; none where renames reach it.
    ///
    /// # Errors
    /// Where it is not there (any more): unmounted, say.
    pub(crate) fn staging(&self, target: Target) -> io::Result<Option<Staging>> {
        let known = match target {
            Target::Archive => self.elsewhere().archive.clone(),
            Target::Quarantine => self.elsewhere().quarantine.clone(),
        };
        // Asked without the lock: a file server that is gone can hang.
        let Some(found) = known.map(|known| known.again()).transpose()? else { return Ok(None) };
        let mut elsewhere = self.elsewhere();
        match target {
            Target::Archive => elsewhere.archive = Some(found.clone()),
            Target::Quarantine => elsewhere.quarantine = Some(found.clone()),
        }
        Ok(Some(found))
    }

    /// The folder that is the target.
    pub(crate) fn target(&self, target: Target) -> &Path {
        match target {
            Target::Archive => &self.source.archive,
            Target::Quarantine => &self.source.quarantine,
        }
    }

    /// Has everything that was written to the work area's file system put on disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        crate::failpoint::pass(|| "sync:work".to_owned())?;
        // A handle of its own: a sync can take long, and must not hold up others.
        let folder = self.locks().root.folder.try_clone()?;
        rustix::fs::syncfs(&folder).map_err(Into::into)
    }

    /// Finds a job's folder, whatever attempt it is at.
    ///
    /// # Errors
    /// [`WorkspaceError::JobGone`] where there is none.
    pub fn find(
        &self,
        id: JobId,
        name: &PackageName,
        attempt: u32,
        crashes: u32,
    ) -> Result<JobDir, WorkspaceError> {
        let exact = JobDir::new(&self.root, id, attempt, crashes, name.clone());
        let path = exact.path();
        if lstat(path).map_err(WorkspaceError::io("look at", path))?.is_some() {
            return self.locate(exact);
        }
        let listed = std::fs::read_dir(&self.root);
        let listed = listed.map_err(|source| self.refused("list", &self.root, source))?;
        let newest = listed
            .filter_map(|entry| parse_folder(entry.ok()?.file_name().to_str()?))
            .filter(|(found, ..)| *found == id)
            .max();
        let Some((_, attempt, crashes)) = newest else {
            return Err(WorkspaceError::JobGone { id, path: self.root.clone() });
        };
        self.locate(JobDir::new(&self.root, id, attempt, crashes, name.clone()))
    }

    /// Looks up what the delivered folder is called now.
    fn locate(&self, job: JobDir) -> Result<JobDir, WorkspaceError> {
        if lstat(&job.delivered()).is_ok_and(|found| found.is_some()) {
            return Ok(job);
        }
        let contents = Contents::read(job.path());
        let contents = contents.map_err(WorkspaceError::io("list", job.path()))?;
        Ok(contents.and_then(|contents| contents.job(job.path())).unwrap_or(job))
    }

    /// An error in the work area: where that is gone as a whole, it says so.
    pub(super) fn refused(
        &self,
        action: &'static str,
        path: &Path,
        source: io::Error,
    ) -> WorkspaceError {
        let gone = source.kind() == io::ErrorKind::NotFound;
        if gone && lstat(&self.root).is_ok_and(|found| found.is_none()) {
            return WorkspaceError::WorkGone { path: self.root.clone(), source };
        }
        WorkspaceError::Io { action, path: path.into(), source }
    }
}

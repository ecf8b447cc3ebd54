//! [`Site`]: all folders of one source, checked, locked, and held open.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::JobDir;
use super::adopt;
use super::boot::{Boot, State, boot_id};
use super::contents::Contents;
use super::error::{StartError, WorkspaceError};
use super::layout::{self, Prepared};
use super::lock::{self, Locked};
use super::probe;
use super::refusals::{Refusal, Refusals};
use super::staging::{Staging, Target};
use super::trust::{other_writer, writer_above};
use crate::config::Source;
use crate::folder::Folder;
use crate::id::{JobId, PackageName};
use crate::names::{BOOT, parse_job_folder};

/// One source's landing, work area, archive and quarantine: checked, and locked until it is dropped.
///
/// Each folder is opened once, and everything in it is accessed through that handle: another folder
/// with the same path is never used before it has been checked. The methods block, and can be called
/// from any thread.
#[derive(Debug)]
pub struct Site {
    source: Source,
    work: PathBuf,
    root: PathBuf,
    held: Mutex<Held>,
    run: Mutex<Run>,
    refusals: Mutex<Refusals>,
    /// Packages go to a publisher of the embedding program, and not into the archive.
    publishes: bool,
    remarks: Vec<String>,
}

/// The content of `.boot`, and whether this run wrote it.
#[derive(Debug)]
struct Run {
    boot: Option<Boot>,
    /// Whether this run wrote `boot`; otherwise `boot` is the record of the last run.
    ours: bool,
    /// A stop was requested: however this run ends, it has not crashed.
    stopped: bool,
}

#[derive(Debug)]
struct Held {
    landing: Locked,
    part: Locked,
    archive: End,
    quarantine: End,
}

/// A folder that settled packages go to.
#[derive(Debug)]
struct End {
    folder: Arc<Folder>,
    /// Device and inode of the folder.
    identity: (u64, u64),
    /// The folder for copies to it; `None` if renames work from the work area to it.
    staging: Option<Staging>,
}

impl End {
    fn open(what: &'static str, folder: Folder, part: &Folder) -> Result<Self, StartError> {
        let staging = layout::staging(what, &folder, part)?;
        let found = folder.seen().map_err(StartError::io("look at", folder.path()))?;
        let identity = (found.st_dev, found.st_ino);
        Ok(Self { folder: Arc::new(folder), identity, staging })
    }
}

/// The result of [`Site::reopen_after_return`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Return {
    /// The landing's path now leads to another folder.
    pub landing_changed: bool,
    /// The work area is another one now, perhaps with jobs of its own: it needs a recovery.
    pub work_changed: bool,
}

impl Site {
    /// Creates missing folders, checks that the folders can work together, and locks the landing and
    /// the source's part of the work area.
    ///
    /// # Errors
    /// [`StartError`]: each says what is wrong, where, and what to do, and has an exit code.
    pub fn open(source: &Source) -> Result<Self, StartError> {
        let Prepared { landing, archive, quarantine, work } = layout::prepare(source)?;
        let mut remarks = exposed_ends(&[("archive", &archive), ("quarantine", &quarantine)]);
        remarks.extend(exposed_work(&work));
        let area = layout::open_work(&work, &landing)?;
        let landing = lock::lock("landing", landing, layout::landing_lock)?;
        remarks.extend(adopt::work_in_landing(&landing.folder, &area, source)?);
        let part = layout::lock_part(layout::open_part(&area, source)?)?;
        layout::check_reach(&landing.folder, &part.folder)?;
        let archive = End::open("archive", archive, &part.folder)?;
        let quarantine = End::open("quarantine", quarantine, &part.folder)?;
        let boot = read_boot(&part.folder)?;
        let refusals = Mutex::new(Refusals::start(&part.folder));
        let root = work.join(&source.name);
        Ok(Self {
            source: source.clone(),
            work,
            root,
            held: Mutex::new(Held { landing, part, archive, quarantine }),
            run: Mutex::new(Run { boot, ours: false, stopped: false }),
            refusals,
            publishes: false,
            remarks,
        })
    }

    /// The source.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// The work area; absolute.
    #[must_use]
    pub fn work(&self) -> &Path {
        &self.work
    }

    /// The source's part of the work area, which holds its jobs' folders; absolute.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Remarks about the folders for the operator: one line each.
    #[must_use]
    pub fn remarks(&self) -> &[String] {
        &self.remarks
    }

    /// The source's part of the work area.
    pub(crate) fn part(&self) -> Arc<Folder> {
        Arc::clone(&self.held().part.folder)
    }

    /// The landing.
    pub(super) fn landing(&self) -> Arc<Folder> {
        Arc::clone(&self.held().landing.folder)
    }

    /// Returns the time that the file system of the work area and the landing stamps on files now.
    ///
    /// # Errors
    /// I/O errors from creating a file in the work area, and from removing it.
    pub fn disk_time(&self) -> io::Result<SystemTime> {
        probe::disk_time(&self.part())
    }

    /// Releases the locks, so that another pipeline can use the folders. To be called when nothing is in
    /// flight: threads that have not ended yet keep this value, and the locks with it.
    pub fn release(&self) {
        let held = self.held();
        held.landing.release();
        held.part.release();
    }

    /// Whether landing and work area are still at their paths; false while they are unmounted.
    #[must_use]
    pub fn is_there(&self) -> bool {
        let held = self.held();
        lock::identity(&self.source.landing).is_ok_and(|id| id == held.landing.identity)
            && lock::identity(&self.root).is_ok_and(|id| id == held.part.identity)
    }

    /// Reopens a landing that had disappeared (unmounted, removed) and is back: locks the current one, and
    /// creates its work area if that is missing.
    ///
    /// # Errors
    /// As [`Site::open`], and if the landing is still missing. The landing itself is not created.
    pub fn reopen_after_return(&self) -> Result<Return, StartError> {
        let mut held = self.held();
        let path = &self.source.landing;
        let there = lock::identity(path).map_err(StartError::io("find", path))?;
        let landing_changed = there != held.landing.identity;
        if landing_changed {
            let landing = open_again(path, &held.landing.folder);
            let landing = landing.map_err(StartError::io("take up", path))?;
            held.landing = lock::lock("landing", landing, layout::landing_lock)?;
        }
        let area = layout::open_work(&self.work, &held.landing.folder)?;
        let part = layout::open_part(&area, &self.source)?;
        let found = part.seen().map_err(StartError::io("look at", part.path()))?;
        let work_changed = (found.st_dev, found.st_ino) != held.part.identity;
        if work_changed {
            held.part = layout::lock_part(part)?;
        }
        if landing_changed || work_changed {
            layout::check_reach(&held.landing.folder, &held.part.folder)?;
            for target in [Target::Archive, Target::Quarantine] {
                let what = target.name();
                let path = self.path_of(target);
                let folder = open_again(path, &held.end(target).folder);
                let folder = folder.map_err(StartError::io("take up", path))?;
                let end = End::open(what, folder, &held.part.folder)?;
                *held.end(target) = end;
            }
        }
        if work_changed {
            let found = read_boot(&held.part.folder)?;
            let mut run = self.run();
            (run.boot, run.ours) = (found, false);
        }
        Ok(Return { landing_changed, work_changed })
    }

    /// Records that this run was asked to stop: from now on its death is not a crash, however it dies.
    ///
    /// Blocks on the file system.
    ///
    /// # Errors
    /// [`WorkspaceError::Io`].
    pub fn mark_stopping(&self) -> Result<(), WorkspaceError> {
        self.mark_end(State::Stopping)
    }

    /// Records that this run ended as requested: jobs that are active now have not crashed.
    ///
    /// Blocks on the file system.
    ///
    /// # Errors
    /// [`WorkspaceError::Io`].
    pub fn mark_stopped(&self) -> Result<(), WorkspaceError> {
        self.mark_end(State::Stopped)
    }

    fn mark_end(&self, end: State) -> Result<(), WorkspaceError> {
        let mut run = self.run();
        run.stopped = true;
        // Until recovery is complete, the crashes to be counted are those of an earlier run.
        match run.boot.as_ref().filter(|_| run.ours) {
            Some(known) if matches!(known.state, State::Running | State::Stopping) => {
                let record = Boot::new(known.boot.clone(), end);
                self.write(&mut run, record)
            }
            _ => Ok(()),
        }
    }

    /// Records that this run is running from now on.
    pub(super) fn mark_running(&self) -> Result<(), WorkspaceError> {
        let mut run = self.run();
        run.ours = true;
        let state = if run.stopped { State::Stopping } else { State::Running };
        self.write(&mut run, Boot::new(boot_id(), state))
    }

    /// Records the crashes that recovery is about to count.
    pub(super) fn mark_recovering(&self, record: Boot) -> Result<(), WorkspaceError> {
        self.write(&mut self.run(), record)
    }

    fn write(&self, run: &mut Run, record: Boot) -> Result<(), WorkspaceError> {
        let part = self.part();
        record.write(&part).map_err(WorkspaceError::io("write", part.join(BOOT)))?;
        run.boot = Some(record);
        Ok(())
    }

    /// The record of the last run.
    pub(super) fn last_run(&self) -> Option<Boot> {
        self.run().boot.clone()
    }

    /// Records that a claim was refused; returns whether the refusal is new.
    pub(super) fn note_refusal(&self, name: &str, refusal: Refusal) -> bool {
        self.refusals().add(&self.part(), name, refusal)
    }

    /// Records that a name was claimed or has disappeared.
    pub(super) fn forget_refusal(&self, name: &str) {
        self.refusals().remove(name);
    }

    fn refusals(&self) -> MutexGuard<'_, Refusals> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) -> MutexGuard<'_, Run> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves the archiving of packages to a publisher: none is renamed into the archive.
    pub(crate) fn leave_to_publisher(&mut self) {
        self.publishes = true;
    }

    /// Whether no rename works from the work area to `target`: packages are copied, or a publisher
    /// takes them.
    #[must_use]
    pub(crate) fn is_elsewhere(&self, target: Target) -> bool {
        let copies = self.held().end(target).staging.is_some();
        copies || (self.publishes && target == Target::Archive)
    }

    /// Returns the folder of a target, if it is still the one at its path.
    ///
    /// # Errors
    /// If it is missing (unmounted or removed), or another folder has its path.
    pub(crate) fn reach(&self, target: Target) -> io::Result<Arc<Folder>> {
        self.reach_end(target).map(|(folder, _)| folder)
    }

    /// Returns the folder for copies to a target; `None` if renames work from the work area to the target.
    ///
    /// # Errors
    /// Those of [`Site::reach`].
    pub(crate) fn staging(&self, target: Target) -> io::Result<Option<Staging>> {
        self.reach_staged(target).map(|(_, staging)| staging)
    }

    /// Returns the folder of a target and the folder for copies to it, with a single look at its path.
    ///
    /// # Errors
    /// Those of [`Site::reach`].
    pub(crate) fn reach_staged(
        &self,
        target: Target,
    ) -> io::Result<(Arc<Folder>, Option<Staging>)> {
        let (folder, staging) = self.reach_end(target)?;
        // Looked up without the lock: an unreachable file server can hang.
        let Some(found) = staging.map(|known| known.again(&folder)).transpose()? else {
            return Ok((folder, None));
        };
        self.held().end(target).staging = Some(found.clone());
        Ok((folder, Some(found)))
    }

    fn reach_end(&self, target: Target) -> io::Result<(Arc<Folder>, Option<Staging>)> {
        let path = self.path_of(target);
        let (known, identity, staging) = {
            let mut held = self.held();
            let end = held.end(target);
            (Arc::clone(&end.folder), end.identity, end.staging.clone())
        };
        if lock::identity(path)? == identity {
            return Ok((known, staging));
        }
        let found = Arc::new(open_again(path, &known)?);
        let new = found.seen()?;
        let mut held = self.held();
        let end = held.end(target);
        (end.folder, end.identity) = (Arc::clone(&found), (new.st_dev, new.st_ino));
        Ok((found, staging))
    }

    /// The path of a target; absolute.
    pub(crate) fn path_of(&self, target: Target) -> &Path {
        match target {
            Target::Archive => &self.source.archive,
            Target::Quarantine => &self.source.quarantine,
        }
    }

    /// Syncs the file system of the work area.
    pub(crate) fn sync(&self) -> io::Result<()> {
        crate::failpoint::pass(|| "sync:work".to_owned())?;
        // Uses its own handle: a sync can take long, and must not block other callers.
        rustix::fs::syncfs(&*self.part()).map_err(Into::into)
    }

    /// Finds a job's folder, at whichever attempt it is.
    ///
    /// # Errors
    /// [`WorkspaceError::JobGone`] if there is none.
    pub fn find(
        &self,
        id: JobId,
        name: &PackageName,
        attempt: u32,
        crashes: u32,
    ) -> Result<JobDir, WorkspaceError> {
        let part = self.part();
        let exact = JobDir::new(&part, id, attempt, crashes, name.clone());
        let has = part.has(exact.folder_name());
        if has.map_err(WorkspaceError::io("look at", exact.path()))? {
            return locate(exact);
        }
        let mut newest = None;
        let listed = part.list(|name, _| {
            let found = name.to_str().and_then(parse_job_folder);
            newest = newest.max(found.filter(|(found, ..)| *found == id));
        });
        listed.map_err(|source| self.refused("list", &self.root, source))?;
        let Some((_, attempt, crashes)) = newest else {
            return Err(WorkspaceError::JobGone { id, path: self.root.clone() });
        };
        locate(JobDir::new(&part, id, attempt, crashes, name.clone()))
    }

    /// Returns the error of an operation in the work area; it tells if the whole work area is missing.
    pub(super) fn refused(
        &self,
        action: &'static str,
        path: &Path,
        source: io::Error,
    ) -> WorkspaceError {
        let gone = source.kind() == io::ErrorKind::NotFound;
        // A folder that was removed while it is open has no links left, and accepts no new names.
        let unlinked = || self.part().seen().is_ok_and(|found| found.st_nlink == 0);
        if gone && (unlinked() || lock::identity(&self.root).is_err()) {
            return WorkspaceError::WorkGone { path: self.root.clone(), source };
        }
        WorkspaceError::Io { action, path: path.into(), source }
    }
}

impl Held {
    fn end(&mut self, target: Target) -> &mut End {
        match target {
            Target::Archive => &mut self.archive,
            Target::Quarantine => &mut self.quarantine,
        }
    }
}

/// Opens the folder that is at a path now. A folder other than `known` is accepted only if it has the same
/// inode and birth time (it was mounted again), or lies on the same device and belongs to the same user (it
/// was created again), and if the path contains no link that it did not contain before.
fn open_again(path: &Path, known: &Folder) -> io::Result<Folder> {
    let real = path.canonicalize()?;
    let found = Folder::open(&real)?;
    let (old, new) = (known.seen()?, found.seen()?);
    let is_again = found.own_id()? == known.own_id()?;
    let is_made_again = new.st_dev == old.st_dev && new.st_uid == old.st_uid;
    if real != known.path() || !(is_again || is_made_again) {
        let why = "another folder is there now: mount the right one again, or restart to use it";
        return Err(io::Error::new(io::ErrorKind::NotFound, why));
    }
    Ok(found)
}

fn read_boot(part: &Folder) -> Result<Option<Boot>, StartError> {
    Boot::read(part).map_err(|source| layout::not_a_record(part.join(BOOT), source))
}

/// Looks up the current name of the delivered folder.
fn locate(job: JobDir) -> Result<JobDir, WorkspaceError> {
    let failed = |action| WorkspaceError::io(action, job.path());
    let home = match job.open() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(job),
        other => other.map_err(failed("open"))?,
    };
    if home.has(job.target()).map_err(failed("look at"))? {
        return Ok(job);
    }
    let contents = Contents::read(&home).map_err(failed("list"))?;
    Ok(contents.job(job.part(), job.key()).unwrap_or(job))
}

/// Returns remarks on targets that others can write to.
fn exposed_ends(ends: &[(&'static str, &Folder)]) -> Vec<String> {
    let found = ends.iter().filter_map(|(what, folder)| {
        let path = folder.path();
        let (at, writer) = match other_writer(path).ok()? {
            Some(writer) => (path.to_path_buf(), writer),
            None => writer_above(path).ok()??,
        };
        Some(format!(
            "{writer} can write to {at:?}, and so change what is in the {what}: what is there is only as \
             good as whoever can write there"
        ))
    });
    found.collect()
}

/// Returns a remark on a work area that others can exchange as a whole.
fn exposed_work(work: &Path) -> Option<String> {
    let (at, writer) = writer_above(work).ok()??;
    Some(format!(
        "{writer} can write to {at:?}, and so exchange the work area {work:?} below it: commands and \
         stages could be given another's files; name another with --work"
    ))
}

//! Into an archive or quarantine on another file system: copy, sync, compare, mark, rename, remove.
//!
//! ```text
//! TARGET/.longshore/JOB          the copy, until it gets its name
//! work/SOURCE/JOB.A.C/.final     is being copied: whatever lies under the temporary name is begun again
//! work/SOURCE/JOB.A.C/.copied    its copy is whole; `.copy.json` says which one it is
//! ```
//!
//! In: jobs that are gathered, or decided on. Out: a [`Settled`] or a [`PublishError`] for each.
//!
//! **Invariants:** the mark and its record are on disk before the copy gets its name, so that no
//! package is copied twice; the copy has its name, on disk, before a byte of the original is removed.
//! A target that is not the one that was copied to is waited for, never written to.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;

use super::archive::{into_archive, remove_job};
use super::copy::{Listing, Terms, TreeCopy, sync_all, sync_folder};
use super::quarantine::{into_quarantine, read_reason};
use super::{Publish, PublishError, Settled, Step, publisher, same};
use crate::config::Durability;
use crate::failpoint;
use crate::workspace::{
    CopyRecord, JobDir, Reason, Site, Space, Target, WorkspaceError, lstat, make_private,
    remove_file, remove_tree, rename_new,
};

/// What copies to other file systems need; one for the whole pipeline.
#[derive(Clone)]
pub struct Copying {
    space: Arc<Space>,
    publisher: Option<Arc<dyn Publish>>,
    stop: Arc<AtomicBool>,
}

impl Copying {
    /// Copies that reserve their room in `space`.
    #[must_use]
    pub fn new(space: Arc<Space>) -> Self {
        Self { space, publisher: None, stop: Arc::default() }
    }

    /// Hands packages to this publisher, in place of the archive.
    #[must_use]
    pub fn with_publisher(mut self, publisher: Option<Arc<dyn Publish>>) -> Self {
        self.publisher = publisher;
        self
    }

    /// Ends every copy at its next part. Their jobs stay, and are copied afresh by the next start.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for Copying {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Copying")
            .field("publishes", &self.publisher.is_some())
            .finish_non_exhaustive()
    }
}

/// A job that is to be copied, or that has been.
pub(super) struct Errand {
    job: JobDir,
    load: Load,
}

/// What is copied.
pub(super) enum Load {
    /// `.final`, into the archive.
    Package,
    /// `.q`, into quarantine; the reason, where it is known already.
    Quarantine(Option<Box<Reason>>),
}

impl Errand {
    pub(super) fn new(job: JobDir, load: Load) -> Self {
        Self { job, load }
    }

    pub(super) fn target(&self) -> Target {
        match self.load {
            Load::Package => Target::Archive,
            Load::Quarantine(_) => Target::Quarantine,
        }
    }

    /// What is copied; absolute.
    fn original(&self) -> PathBuf {
        match self.load {
            Load::Package => self.job.final_(),
            Load::Quarantine(_) => self.job.q(),
        }
    }

    /// What that is called once its copy is whole; absolute.
    fn mark(&self) -> PathBuf {
        match self.load {
            Load::Package => self.job.copied(),
            Load::Quarantine(_) => self.job.q_copied(),
        }
    }
}

/// A copy that has been made, or one that was found.
struct Stage {
    errand: Errand,
    /// The archive or quarantine that the copy is in; absolute.
    target: PathBuf,
    /// The copy under its temporary name; absolute.
    copy: PathBuf,
    /// What it should be, where it was made just now.
    made: Option<TreeCopy>,
    /// Its name in the target, once it has one; absolute.
    path: Option<PathBuf>,
}

/// One of a batch: settled, failed, or on its way.
enum Place {
    Ended(Result<Settled, PublishError>),
    Copied(Box<Stage>),
}

/// Copies what is to be copied and settles it; the answers are in the order of the batch.
pub(super) fn run(
    site: &Site,
    steps: Vec<Result<Step, PublishError>>,
    copying: &Copying,
) -> Vec<Result<Settled, PublishError>> {
    let durable = site.source().durability == Durability::Batch;
    let begun = steps.into_iter().map(|step| match step {
        Ok(Step::Copy(Errand { job, load: Load::Package }))
            if publisher::has_or_gets(&job, copying.publisher.as_deref()) =>
        {
            Place::Ended(publisher::hand_over(site, job, copying.publisher.as_deref()))
        }
        Ok(Step::Copy(errand)) => match begin(site, errand, copying) {
            Ok(stage) => Place::Copied(Box::new(stage)),
            Err(error) => Place::Ended(Err(error)),
        },
        Ok(Step::Settled(settled)) => Place::Ended(Ok(settled)),
        Err(error) => Place::Ended(Err(error)),
    });
    let mut batch = Batch(begun.collect());
    if durable {
        batch.sync_targets(|stage| stage.made.is_some(), sync_all);
    }
    let mut unnamed = false;
    batch.each(|stage| {
        unnamed |= stage.path.is_none();
        confirm(stage, copying)
    });
    if durable && unnamed {
        let synced = site.sync();
        batch.each(|_| {
            let path = || site.root().to_path_buf();
            let failed = |error| PublishError::Sync { path: path(), source: same(error) };
            synced.as_ref().map(drop).map_err(failed)
        });
    }
    batch.each(|stage| name(site, stage));
    if durable {
        batch.sync_targets(|_| true, sync_folder);
    }
    batch
        .0
        .into_iter()
        .map(|place| match place {
            Place::Ended(settled) => settled,
            Place::Copied(stage) => end(*stage),
        })
        .collect()
}

struct Batch(Vec<Place>);

impl Batch {
    /// Takes each that is on its way one step further.
    fn each(&mut self, mut step: impl FnMut(&mut Stage) -> Result<(), PublishError>) {
        for place in &mut self.0 {
            if let Place::Copied(stage) = place
                && let Err(error) = step(stage)
            {
                *place = Place::Ended(Err(error));
            }
        }
    }

    /// Syncs each target once, for all of those that lie in it and that `which` picks.
    fn sync_targets(
        &mut self,
        which: impl Fn(&Stage) -> bool,
        sync: impl Fn(&Path) -> Result<(), Errno>,
    ) {
        let mut synced: Vec<(PathBuf, Result<(), Errno>)> = Vec::new();
        self.each(|stage| {
            if !which(stage) {
                return Ok(());
            }
            let known = synced.iter().find(|(target, _)| *target == stage.target);
            let result = match known {
                Some((_, result)) => *result,
                None => {
                    let result = sync(&stage.target);
                    synced.push((stage.target.clone(), result));
                    result
                }
            };
            let path = stage.target.clone();
            result.map_err(|error| PublishError::Sync { path, source: error.into() })
        });
    }
}

/// Copies, or finds the copy that was made.
fn begin(site: &Site, errand: Errand, copying: &Copying) -> Result<Stage, PublishError> {
    let mark = errand.mark();
    if lstat(&mark).map_err(WorkspaceError::io("look at", &mark))?.is_some() {
        return find(errand);
    }
    let target = site.target(errand.target()).to_path_buf();
    let gone = |source| PublishError::TargetGone { path: target.clone(), source };
    // Renames reach it now: the next attempt goes that way.
    let moved_here = || gone(io::Error::other("renames lead there now"));
    let staging = site.staging(errand.target()).map_err(gone)?.ok_or_else(moved_here)?;
    let (original, copy) = (errand.original(), staging.copy_of(errand.job.id()));
    let clear = || remove_tree(&copy).map_err(WorkspaceError::io("remove", &copy));
    clear()?;
    let made = make(site, &original, &copy, copying);
    if made.as_ref().is_err_and(|error| !matches!(error, PublishError::Stopped)) {
        // It may be what filled the disk. What cannot be removed is, before the next copy is made.
        clear().ok();
    }
    let (target, copy) = (staging.target().to_path_buf(), copy.clone());
    Ok(Stage { errand, target, made: Some(made?), copy, path: None })
}

fn make(
    site: &Site,
    original: &Path,
    copy: &Path,
    copying: &Copying,
) -> Result<TreeCopy, PublishError> {
    let listing = Listing::of(original)?;
    let staging = copy.parent().unwrap_or(copy);
    let min_free = site.source().min_free.as_u64();
    let room = copying.space.reserve(staging, listing.need(), min_free)?;
    make_private(copy).map_err(|source| PublishError::Copy { path: copy.into(), source })?;
    failpoint::pass(|| "copy:tree".to_owned())
        .map_err(|source| PublishError::Copy { path: copy.into(), source })?;
    listing.copy(original, copy, &Terms { stop: &copying.stop, room: &room })
}

/// Finds the copy of a job whose mark says that it is whole.
fn find(errand: Errand) -> Result<Stage, PublishError> {
    let job = &errand.job;
    let read = CopyRecord::read(job.path());
    let Some(record) = read.map_err(WorkspaceError::io("read", job.copy_record()))? else {
        // The copy gets its name only once the record is on disk: nothing of this one was removed.
        rename_new(&errand.mark(), &errand.original(), None)
            .map_err(WorkspaceError::io("unmark", errand.mark()))?;
        return Err(PublishError::CopyUnknown { job: job.id() });
    };
    let target = record.target();
    let copy = record.staging_path().join(job.id().to_string());
    let unreachable = |source| PublishError::TargetGone { path: target.clone(), source };
    let mut path = None;
    if !record.is_at(&copy).map_err(unreachable)? {
        path = named(&errand, &record).map_err(unreachable)?;
        if path.is_none() {
            if !record.is_there().map_err(unreachable)? {
                return Err(PublishError::CopyGone { job: job.id(), path: target });
            }
            // It got its name, and somebody has fetched it since.
            path = Some(match errand.load {
                Load::Package => target.join(job.target()),
                Load::Quarantine(_) => target.join(job.name().with_job(job.id())),
            });
        }
    }
    Ok(Stage { errand, target, copy, made: None, path })
}

/// The name that the copy has got, if it has got one.
fn named(errand: &Errand, record: &CopyRecord) -> io::Result<Option<PathBuf>> {
    let (job, target) = (&errand.job, record.target());
    if matches!(errand.load, Load::Quarantine(_)) {
        let name = job.name().with_job(job.id());
        let others = (2..=100).map(|number| format!("{}.{number}", job.id()));
        for name in std::iter::once(name).chain(others) {
            let path = target.join(name);
            if record.is_at(&path)? {
                return Ok(Some(path));
            }
            if lstat(&path)?.is_none() {
                break;
            }
        }
        return Ok(None);
    }
    let path = target.join(job.target());
    if record.is_at(&path)? {
        return Ok(Some(path));
    }
    // After a power loss the emptied folder can have its old name.
    for number in 1.. {
        let Some(name) = job.name().revision(number) else { break };
        let path = target.join(name);
        if record.is_at(&path)? {
            return Ok(Some(path));
        }
        if lstat(&path)?.is_none() {
            break;
        }
    }
    Ok(None)
}

/// Compares a new copy with what was copied, and marks its job.
fn confirm(stage: &mut Stage, copying: &Copying) -> Result<(), PublishError> {
    let Some(made) = stage.made.take() else { return Ok(()) };
    failpoint::pass(|| "compare:copy".to_owned())
        .map_err(|source| PublishError::Copy { path: stage.copy.clone(), source })?;
    made.verify(&stage.copy, &copying.stop)?;
    let job = &stage.errand.job;
    let staging = stage.copy.parent().unwrap_or(&stage.copy);
    CopyRecord::of(job, &stage.target, staging)
        .and_then(|record| record.write(job.path()))
        .map_err(WorkspaceError::io("write", job.copy_record()))?;
    let (original, mark) = (stage.errand.original(), stage.errand.mark());
    Ok(rename_new(&original, &mark, None).map_err(WorkspaceError::io("mark", original))?)
}

/// Gives the copy its name.
fn name(site: &Site, stage: &mut Stage) -> Result<(), PublishError> {
    if stage.path.is_some() {
        return Ok(());
    }
    let (errand, copy) = (&mut stage.errand, &stage.copy);
    let failed = |source| PublishError::Copy { path: copy.clone(), source };
    match errand.load {
        Load::Package => {
            let own = fs::symlink_metadata(copy).map_err(failed)?;
            // Moving a folder needs write permission on it.
            if own.mode() & 0o300 != 0o300 {
                fs::set_permissions(copy, Permissions::from_mode(0o700)).map_err(failed)?;
            }
            let (path, job) = into_archive(site, &errand.job, copy, own.ino(), &stage.target)?;
            let mode = fs::symlink_metadata(job.delivered()).map(|seen| seen.mode() & 0o7777);
            if let Ok(mode) = mode
                && mode & 0o300 != 0o300
            {
                // As where it is renamed: no reason to have it published again.
                fs::set_permissions(&path, Permissions::from_mode(mode)).ok();
            }
            errand.job = job;
            stage.path = Some(path);
        }
        Load::Quarantine(_) => {
            stage.path = Some(into_quarantine(site, &errand.job, copy, &stage.target)?);
        }
    }
    Ok(())
}

/// Removes the original.
fn end(stage: Stage) -> Result<Settled, PublishError> {
    let Stage { errand, path, target, .. } = stage;
    let mark = errand.mark();
    let Errand { job, load } = errand;
    let path = path.unwrap_or(target); // it has one: `name` has gone before
    match load {
        Load::Package => {
            clear(&job, &mark);
            Ok(Settled::Archived { path, job })
        }
        Load::Quarantine(known) => {
            let reason = match known {
                Some(reason) => reason,
                None => match read_reason(&mark.join("reason.json"), &job)? {
                    Some(reason) => reason,
                    None => read_reason(&path.join("reason.json"), &job)
                        .ok()
                        .flatten()
                        .unwrap_or_else(|| Box::new(Reason::unreadable(&job))),
                },
            };
            clear(&job, &mark);
            remove_job(&job).ok(); // it is settled; the next start cleans up
            Ok(Settled::Quarantined { path, reason })
        }
    }
}

/// Removes what was copied, and only then the record. What cannot be removed stays, and is found by
/// the next start: the package is where it belongs.
pub(super) fn clear(job: &JobDir, mark: &Path) {
    if remove_tree(mark).is_ok() {
        remove_file(&job.copy_record()).ok();
    }
}

#[cfg(test)]
#[path = "elsewhere_tests.rs"]
mod tests;

//! Archives or quarantines on another file system: copy, sync, compare, mark, rename, remove.
//!
//! ```text
//! TARGET/.longshore/JOB.OWNER    the copy, until it gets its name; OWNER is the work area that it is from
//! work/SOURCE/JOB.A.C/.final     is being copied: a copy under the temporary name is started again
//! work/SOURCE/JOB.A.C/.copied    its copy is complete; `.copy.json` identifies the copy
//! ```
//!
//! In: jobs that are gathered, or whose quarantine is decided. Out: a [`Settled`] or a [`PublishError`]
//! for each.
//!
//! **Invariants:** the mark and its record are on disk before the copy gets its name, so that no
//! package is copied twice. The copy has its name, on disk, before a byte of the original is removed.
//! If the target is not the one that was copied to, the job waits, and the other one is never written to.
//! An error that is the package's own fault turns it back, and a package that the quarantine cannot hold
//! stays in the work area.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{Mode, fchmod};
use rustix::io::Errno;

use super::archive::into_archive;
use super::cleanup::{clear, remove_job};
use super::copy::{Terms, TreeCopy, copy, sync_all, sync_folder};
use super::errand::{Errand, Load, StagedCopy};
use super::error::PublishError;
use super::found::find;
use super::listing::{Listing, Purpose};
use super::publisher::Publish;
use super::put_back::ungather;
use super::quarantine::{decided, into_quarantine, keep_here, read_reason};
use super::{Settled, Step, home_of, publisher, same};
use crate::config::Durability;
use crate::failpoint;
use crate::folder::Folder;
use crate::names::{COPIED, COPY, FINAL, Q, Q_COPIED};
use crate::workspace::{
    CopyRecord, JobDir, Passed, Reason, Site, Space, Target, WorkspaceError, copy_name,
};

/// The resources for copies to other file systems; one per pipeline.
#[derive(Clone)]
pub struct Copying {
    space: Arc<Space>,
    publisher: Option<Arc<dyn Publish>>,
    stop: Arc<AtomicBool>,
}

impl Copying {
    /// Creates copies that reserve their space in `space`.
    #[must_use]
    pub fn new(space: Arc<Space>) -> Self {
        Self { space, publisher: None, stop: Arc::default() }
    }

    /// Sets a publisher that takes packages in place of the archive.
    #[must_use]
    pub fn with_publisher(mut self, publisher: Option<Arc<dyn Publish>>) -> Self {
        self.publisher = publisher;
        self
    }

    /// Stops every copy before its next part. The jobs stay, and the next start copies them afresh.
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

/// One job of a batch: settled, failed, or in progress.
enum Place {
    Ended(Result<Settled, PublishError>),
    Copied(Box<StagedCopy>),
}

/// Copies the jobs that are to be copied and settles them; the results are in the order of the batch.
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
        Ok(Step::Copy(errand)) => {
            let (job, target) = (errand.job.clone(), errand.target());
            match begin(site, errand, copying) {
                Ok(stage) => Place::Copied(Box::new(stage)),
                Err(error) => Place::Ended(give_up(site, &job, target, error)),
            }
        }
        Ok(Step::Settled(settled)) => Place::Ended(Ok(settled)),
        Err(error) => Place::Ended(Err(error)),
    });
    let mut batch = Batch(begun.collect());
    if durable {
        batch.sync_targets(|stage| stage.made.is_some(), sync_all);
    }
    let mut unnamed = false;
    batch.each(|stage| {
        unnamed |= stage.name.is_none();
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
    batch.name(site);
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
    /// Applies one step to each job in progress; a job whose step fails ends with the error.
    fn each(&mut self, mut step: impl FnMut(&mut StagedCopy) -> Result<(), PublishError>) {
        for place in &mut self.0 {
            if let Place::Copied(stage) = place
                && let Err(error) = step(stage)
            {
                *place = Place::Ended(Err(error));
            }
        }
    }

    /// Gives each copy its name. If the target cannot hold a copy under any name, its job is given up.
    fn name(&mut self, site: &Site) {
        for place in &mut self.0 {
            if let Place::Copied(stage) = place
                && let Err(error) = name(site, stage)
            {
                let (job, target) = (stage.errand.job.clone(), stage.errand.target());
                *place = Place::Ended(give_up(site, &job, target, error));
            }
        }
    }

    /// Syncs each target once, for all copies in it that `which` selects.
    fn sync_targets(
        &mut self,
        which: impl Fn(&StagedCopy) -> bool,
        sync: impl Fn(&Folder) -> Result<(), Errno>,
    ) {
        let mut synced: Vec<(PathBuf, Result<(), Errno>)> = Vec::new();
        self.each(|stage| {
            if !which(stage) {
                return Ok(());
            }
            let path = stage.target_path.clone();
            let known = synced.iter().find(|(target, _)| *target == path);
            let result = match known {
                Some((_, result)) => *result,
                None => {
                    let result = sync(&stage.target);
                    synced.push((path.clone(), result));
                    result
                }
            };
            result.map_err(|error| PublishError::Sync { path, source: error.into() })
        });
    }
}

/// Copies a job's folder, or finds its existing copy.
fn begin(site: &Site, errand: Errand, copying: &Copying) -> Result<StagedCopy, PublishError> {
    let home = home_of(&errand.job)?;
    let failed = |action| WorkspaceError::io(action, home.path());
    if home.has(errand.mark()).map_err(failed("look into"))? {
        return find(site, errand, &home);
    }
    let target_path = site.path_of(errand.target()).to_path_buf();
    let gone = |source| PublishError::TargetGone { path: target_path.clone(), source };
    // Renames work now: the next attempt uses a rename.
    let moved_here = || gone(io::Error::other("renames lead there now"));
    let unreachable = |source| PublishError::unreachable(target_path.clone(), source);
    let target = site.reach(errand.target()).map_err(unreachable)?;
    let staging = site.staging(errand.target()).map_err(unreachable)?.ok_or_else(moved_here)?;
    let staging = Arc::clone(staging.folder());
    let name = copy_name(&errand.job).map_err(failed("look at"))?;
    let clear = |name: &str| {
        staging.remove_tree(name).map_err(WorkspaceError::io("remove", staging.join(name)))
    };
    // The second is the name in an earlier version, which had not marked the copy.
    clear(&name)?;
    clear(&errand.job.id().to_string())?;
    let original =
        home.folder(errand.original()).map_err(failed("open what is to be copied in"))?;
    let purpose = match errand.load {
        Load::Package => Purpose::Archive,
        Load::Quarantine(_) => Purpose::Quarantine,
    };
    let made = make(site, (&original, purpose), (&staging, &name), copying);
    if made.as_ref().is_err_and(|error| !matches!(error, PublishError::Stopped)) {
        // The partial copy may have filled the disk. If it cannot be removed now, the next copy removes it.
        clear(&name).ok();
    }
    let made = Some(made?);
    Ok(StagedCopy { errand, target, target_path, staging: Some((staging, name)), made, name: None })
}

fn make(
    site: &Site,
    (original, purpose): (&Folder, Purpose),
    (staging, name): (&Folder, &str),
    copying: &Copying,
) -> Result<TreeCopy, PublishError> {
    let listing = Listing::of(original, purpose)?;
    let min_free = site.source().min_free.as_u64();
    let room = copying.space.reserve(staging.path(), listing.need(), min_free)?;
    let failed = |source| PublishError::Copy { path: staging.join(name), source };
    staging.make(name).map_err(failed)?;
    failpoint::pass(|| "copy:tree".to_owned()).map_err(failed)?;
    let made = staging.folder(name).map_err(failed)?;
    copy(listing, original, &made, &Terms { stop: &copying.stop, room: &room })
}

/// Handles a job whose copy cannot be made, or cannot get a name, because of the package itself. For the
/// archive, the originals are put back, and the error is returned. For quarantine, the package stays in
/// the work area, under a name of its own. Any other error is returned as it is.
fn give_up(
    site: &Site,
    job: &JobDir,
    target: Target,
    error: PublishError,
) -> Result<Settled, PublishError> {
    let home = home_of(job)?;
    match target {
        Target::Archive if error.turns_back() => {
            let passed = Passed::read(&home);
            let passed = passed.map_err(WorkspaceError::io("read the record in", home.path()))?;
            if let Some(passed) = passed
                && home.has(FINAL).map_err(WorkspaceError::io("look into", home.path()))?
            {
                ungather(job, &home, &passed)?;
            }
            Err(error)
        }
        Target::Quarantine if error.turns_back() => match decided(&home, job)? {
            Some(reason) => keep_here(site, job, &home, reason),
            None => Err(error),
        },
        _ => Err(error),
    }
}

/// Compares a new copy with its original, and marks its job.
fn confirm(stage: &mut StagedCopy, copying: &Copying) -> Result<(), PublishError> {
    let Some(made) = stage.made.take() else { return Ok(()) };
    let Some((staging, copy)) = &stage.staging else { return Ok(()) };
    let job = &stage.errand.job;
    let failed = |source| PublishError::Copy { path: staging.join(copy), source };
    failpoint::pass(|| "compare:copy".to_owned()).map_err(failed)?;
    made.verify(&stage.copy().map_err(failed)?, &copying.stop)?;
    let home = home_of(job)?;
    CopyRecord::of(job, &stage.target_path, staging, copy)
        .and_then(|record| record.write(&home))
        .map_err(WorkspaceError::io("write", home.join(COPY)))?;
    let (original, mark) = (stage.errand.original(), stage.errand.mark());
    let marked = home.rename(original, &home, mark, None);
    Ok(marked.map_err(WorkspaceError::io("mark", home.join(original)))?)
}

/// Gives the copy its name.
fn name(site: &Site, stage: &mut StagedCopy) -> Result<(), PublishError> {
    let Some((staging, id)) = stage.staging.clone().filter(|_| stage.name.is_none()) else {
        return Ok(());
    };
    let failed = |source| PublishError::Copy { path: staging.join(&id), source };
    let errand = &mut stage.errand;
    match errand.load {
        Load::Package => {
            let home = home_of(&errand.job)?;
            // Moving a folder needs write permission on it.
            staging.open_up(&id).map_err(failed)?;
            let copy = staging.folder(&id).map_err(failed)?;
            let own = copy.seen().map_err(failed)?;
            let from = (&*staging, id.as_str(), &copy);
            let moved = into_archive(site, &errand.job, &home, from, own.st_ino, &stage.target);
            let (target, job) = match moved {
                Ok(moved) => moved,
                Err(error) if error.turns_back() => {
                    unmark(&errand.job, &home, (COPIED, FINAL), (&staging, &id))?;
                    return Err(error);
                }
                Err(error) => return Err(error),
            };
            let delivered = home.stat(job.target()).ok().flatten();
            if let Some(mode) = delivered.map(|seen| seen.st_mode & 0o755)
                && mode & 0o300 != 0o300
            {
                // As after a rename: a different mode does not justify publishing it again.
                fchmod(&copy, Mode::from_raw_mode(mode)).ok();
            }
            errand.job = job;
            stage.name = Some(target);
        }
        Load::Quarantine(_) => {
            let named = into_quarantine(site, &errand.job, (&staging, &id), &stage.target);
            if named.as_ref().is_err_and(PublishError::turns_back) {
                let home = home_of(&errand.job)?;
                unmark(&errand.job, &home, (Q_COPIED, Q), (&staging, &id))?;
            }
            stage.name = Some(named?);
        }
    }
    Ok(())
}

/// Returns a job whose copy is not to be named after all to the state before the copy. After the first
/// rename, a restart copies it again and overwrites a copy that was left.
fn unmark(
    job: &JobDir,
    home: &Folder,
    (mark, original): (&str, &str),
    (staging, copy): (&Folder, &str),
) -> Result<(), PublishError> {
    let failed = |action| WorkspaceError::io(action, job.path());
    home.rename(mark, home, original, None).map_err(failed("unmark"))?;
    let removed = staging.remove_tree(copy);
    removed.map_err(WorkspaceError::io("remove a copy in", staging.path()))?;
    Ok(home.remove_file(COPY).map_err(failed("remove the record in"))?)
}

/// Removes the original.
fn end(stage: StagedCopy) -> Result<Settled, PublishError> {
    let StagedCopy { errand, name, target, target_path, .. } = stage;
    let mark = errand.mark();
    let Errand { job, load } = errand;
    let home = home_of(&job)?;
    let path = match &name {
        Some(name) => target_path.join(name),
        None => target_path, // cannot happen: `name` has set it before
    };
    match load {
        Load::Package => {
            clear(&home, mark);
            Ok(Settled::Archived { path, job })
        }
        Load::Quarantine(known) => {
            let reason_in = |folder: io::Result<Folder>| {
                folder.ok().and_then(|folder| read_reason(&folder, &job).ok().flatten())
            };
            let reason = known
                .or_else(|| reason_in(home.folder(mark)))
                .or_else(|| reason_in(target.folder(name.as_deref().unwrap_or_default())))
                .unwrap_or_else(|| Box::new(Reason::unreadable(&job)));
            clear(&home, mark);
            remove_job(&job, &home).ok(); // it is settled; the next start cleans up
            Ok(Settled::Quarantined { path, reason })
        }
    }
}

#[cfg(test)]
#[path = "elsewhere_tests.rs"]
mod tests;

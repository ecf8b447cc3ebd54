//! Settles jobs: archives, quarantines or deletes them.
//!
//! In: a batch of [`Settling`]. Out: a [`Settled`] or a [`PublishError`] for each, and later, after
//! the ledger has committed it, [`finish`].
//!
//! **Invariants:** a package that is visible in the archive is complete, and with `durability = "batch"`
//! on disk: one `syncfs` for the whole batch comes before the first rename. Every step checks the current
//! state, so that a job that stopped at any point continues from there. After its ZIP is gathered, a job
//! is archived unless the package itself is at fault: the last check finds another ZIP, an identical
//! package has taken the name, an original cannot be moved, or the target cannot hold the package. Then
//! the originals are put back first. The archive alone determines whether a job is archived. Nothing is
//! ever replaced. A copy to another file system never delays a rename: without [`Copying`], [`settle`]
//! returns the jobs that are still to be copied.

mod archive;
mod cleanup;
mod copy;
mod elsewhere;
mod errand;
mod error;
mod finish;
mod found;
mod judge;
mod listing;
mod publisher;
mod put_back;
mod quarantine;
mod redelivery;

pub use elsewhere::Copying;
pub use error::PublishError;
pub use finish::{Finished, finish};
pub use publisher::{Delivery, Publish, Refusal};
pub use redelivery::{Redelivered, Redelivery};
pub(crate) use redelivery::{compare_with_archive, compare_zip};

use std::io;
use std::path::PathBuf;

use archive::Gathering;
use errand::{Errand, Load};

use crate::config::Durability;
use crate::folder::Folder;
use crate::names::{COPIED, DISCARD, DONE, FINAL, OUT, Q_COPIED};
use crate::workspace::{
    Contents, CopyRecord, Decision, JobDir, Passed, Reason, Settling, Site, Target, WorkspaceError,
    is_gathered,
};

/// The result of settling a job.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Settled {
    /// It is in the archive. Call [`finish`] after the ledger has committed it.
    Archived {
        /// The folder in the archive; absolute.
        path: PathBuf,
        /// The job's folder in the work area, which now records the package's target.
        job: JobDir,
    },
    /// It is in quarantine; nothing is left in the work area.
    Quarantined {
        /// The folder in quarantine; absolute.
        path: PathBuf,
        /// The content of its `reason.json`.
        reason: Box<Reason>,
    },
    /// Its package is not here, and the archive's entry with its name is not this package. Call [`finish`]
    /// after the ledger has committed it.
    Vanished {
        /// The path that it would have in the archive; absolute.
        path: PathBuf,
        /// The job's folder in the work area.
        job: JobDir,
    },
    /// It is deleted.
    Discarded {
        /// A folder that could not be deleted, for the operator to check.
        left: Option<PathBuf>,
    },
    /// Its target is on another file system, and only the copy is left to do: settle it again, with
    /// [`Copying`].
    ToCopy {
        /// The archive or quarantine; absolute.
        target: PathBuf,
    },
}

/// How many jobs of a batch keep their folders open between the two halves of settling: three handles each.
const HELD: usize = 64;

/// The progress of a job without a copy.
enum Step {
    Settled(Settled),
    Copy(Errand),
}

/// A job between the two halves of settling, around the sync.
enum Prepared {
    Gather(Box<Gathering>),
    Quarantine(JobDir, Box<Reason>),
    /// Its copy is complete.
    Copied(Errand),
    Settled(Settled),
}

/// Settles a batch of jobs of one source. Blocks. The results are in the order of the batch; the failure
/// of one job does not affect the others. Without `copying`, nothing is copied to another file system.
#[must_use]
pub fn settle(
    site: &Site,
    batch: &[Settling],
    copying: Option<&Copying>,
) -> Vec<Result<Settled, PublishError>> {
    let mut prepared: Vec<_> = Vec::with_capacity(batch.len());
    for settling in batch {
        let mut next = prepare(site, settling);
        if let Ok(Prepared::Gather(gathering)) = &mut next
            && prepared.len() >= HELD
        {
            gathering.close();
        }
        prepared.push(next);
    }
    let unsynced = prepared.iter().flatten().any(|prepared| prepared.needs_sync(site));
    let synced = match site.source().durability {
        Durability::Batch if unsynced => site.sync(),
        _ => Ok(()),
    };
    let steps = prepared.into_iter().map(|prepared| match (prepared?, &synced) {
        (Prepared::Settled(settled), _) => Ok(Step::Settled(settled)),
        (prepared, Err(error)) if prepared.needs_sync(site) => {
            let path = site.root().to_path_buf();
            Err(PublishError::Sync { path, source: same(error) })
        }
        (Prepared::Gather(gathering), _) => gathering.publish(site),
        (Prepared::Quarantine(job, reason), _) => quarantine::publish(site, &job, reason),
        (Prepared::Copied(errand), _) => Ok(Step::Copy(errand)),
    });
    match copying {
        None => steps.map(|step| Ok(without_copy(site, step?))).collect(),
        Some(copying) => elsewhere::run(site, steps.collect(), copying),
    }
}

fn without_copy(site: &Site, step: Step) -> Settled {
    match step {
        Step::Settled(settled) => settled,
        Step::Copy(errand) => {
            Settled::ToCopy { target: site.path_of(errand.target()).to_path_buf() }
        }
    }
}

impl Prepared {
    fn needs_sync(&self, site: &Site) -> bool {
        match self {
            Self::Gather(gathering) => gathering.needs_sync(),
            // A copy is synced in its target.
            Self::Quarantine(..) => !site.is_elsewhere(Target::Quarantine),
            Self::Copied(_) | Self::Settled(_) => false,
        }
    }
}

fn prepare(site: &Site, settling: &Settling) -> Result<Prepared, PublishError> {
    let job = &settling.job;
    // A job that comes straight from its extraction or its stages is not copied yet.
    let is_fresh = matches!(settling.decision, Decision::Archive { stamp: Some(_), .. });
    if is_fresh && let Decision::Archive { stamp, untouched } = &settling.decision {
        return match Gathering::pass(&site.source().ignore, job, *untouched, stamp.as_ref())? {
            Some(gathering) => Ok(Prepared::Gather(Box::new(gathering))),
            None => resume(site, job),
        };
    }
    let home = home_of(job)?;
    let is_copied = || Ok(home.has(COPIED)? || home.has(Q_COPIED)?);
    if is_copied().map_err(WorkspaceError::io("look at", job.path()))? {
        return resume(site, job);
    }
    // A retried quarantine arrives with its original decision, but the quarantine is already decided.
    if matches!(settling.decision, Decision::Archive { .. })
        && quarantine::decided(&home, job)?.is_some()
    {
        return resume(site, job);
    }
    match &settling.decision {
        Decision::Archive { stamp, untouched } => {
            match Gathering::pass(&site.source().ignore, job, *untouched, stamp.as_ref())? {
                Some(gathering) => Ok(Prepared::Gather(Box::new(gathering))),
                None => resume(site, job),
            }
        }
        Decision::Quarantine(reason) => quarantine::decide(&home, job, reason)
            .map(|reason| Prepared::Quarantine(job.clone(), reason)),
        Decision::Discard => discard(site, job, &home).map(Prepared::Settled),
        Decision::Resume => resume(site, job),
    }
}

/// Opens a job's folder.
fn home_of(job: &JobDir) -> Result<Folder, PublishError> {
    job.open().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            WorkspaceError::JobGone { id: job.id(), path: job.path().to_path_buf() }.into()
        }
        _ => WorkspaceError::io("open", job.path())(error).into(),
    })
}

/// Continues from the state that the job's folder shows.
fn resume(site: &Site, job: &JobDir) -> Result<Prepared, PublishError> {
    let home = home_of(job)?;
    let failed = |action| WorkspaceError::io(action, job.path());
    let contents = Contents::read(&home).map_err(failed("list"))?;
    let job = contents.job(job.part(), job.key()).unwrap_or_else(|| job.clone());
    if contents.copied {
        return Ok(Prepared::Copied(Errand::new(job, Load::Package)));
    }
    if contents.q_copied {
        return Ok(Prepared::Copied(Errand::new(job, Load::Quarantine(None))));
    }
    if contents.q
        && let Some(reason) = quarantine::decided(&home, &job)?
    {
        return Ok(Prepared::Quarantine(job, reason));
    }
    if contents.discard && contents.delivered.is_empty() {
        return discard(site, &job, &home).map(Prepared::Settled);
    }
    if contents.final_ {
        return Gathering::go_on(&job).map(Box::new).map(Prepared::Gather);
    }
    let delivered = home.folder_if_there(job.target()).map_err(failed("look into"))?;
    let has_zip = match &delivered {
        Some(folder) => folder.has(job.name().zip()).map_err(failed("look into"))?,
        None => false,
    };
    let mut is_empty = true;
    if let Some(folder) = &delivered {
        folder.list(|_, _| is_empty = false).map_err(failed("look into"))?;
    }
    if contents.is_active() || has_zip || delivered.is_none() {
        return Err(PublishError::NotUnpacked { path: job.path().to_path_buf() });
    }
    match archived(site, &home, job)? {
        // The rest goes to quarantine, as a package without its ZIP.
        Settled::Vanished { job, .. } if !is_empty => {
            Err(PublishError::NotUnpacked { path: job.path().to_path_buf() })
        }
        settled => Ok(Prepared::Settled(settled)),
    }
}

/// Looks in the archive for a job of which only an emptied folder is left.
fn archived(site: &Site, home: &Folder, job: JobDir) -> Result<Settled, PublishError> {
    let record = CopyRecord::read(home);
    if let Some(record) = record.map_err(WorkspaceError::io("read the record in", job.path()))? {
        return Ok(match found::find_copied(site, &job, &record)? {
            Some(path) => Settled::Archived { path, job },
            None => Settled::Vanished { path: record.target().join(job.target()), job },
        });
    }
    let archive = archive::reach(site, Target::Archive)?;
    let path = site.source().archive.join(job.target());
    let look = || match Passed::read(home)? {
        Some(passed) => match archive.id_of(job.target()) {
            Ok(found) => Ok(passed.is_folder(found)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        },
        // Left by a version that wrote no record.
        None => match crate::folder::absent(archive.folder(job.target()))? {
            Some(found) => found.has(job.name().zip()),
            None => Ok(false),
        },
    };
    let failed = |source| PublishError::Compare { path: path.clone(), source };
    Ok(match look().map_err(failed)? {
        true => Settled::Archived { path, job },
        false => Settled::Vanished { path, job },
    })
}

/// Deletes a delivery. The rename records the decision.
fn discard(site: &Site, job: &JobDir, home: &Folder) -> Result<Settled, PublishError> {
    if is_gathered(job, home).unwrap_or(false) {
        return Err(PublishError::Gathered { path: job.path().to_path_buf() });
    }
    let moved = home.rename(job.target(), home, DISCARD, None);
    moved.map_err(PublishError::moving(site, &job.delivered(), &job.discard()))?;
    for name in [DISCARD, OUT, DONE, FINAL] {
        if home.remove_tree(name).is_err() {
            return Ok(Settled::Discarded { left: Some(home.join(name)) });
        }
    }
    let gone = cleanup::remove_job(job, home).unwrap_or(false);
    Ok(Settled::Discarded { left: (!gone).then(|| job.path().to_path_buf()) })
}

/// Copies an error: `io::Error` is not `Clone`, and each job of the batch gets one.
fn same(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(
        || io::Error::new(error.kind(), error.to_string()),
        io::Error::from_raw_os_error,
    )
}

#[cfg(test)]
mod own_fault_tests;
#[cfg(test)]
mod tests;

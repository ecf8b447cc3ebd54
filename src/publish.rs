//! Settles jobs: into the archive, into quarantine, or away.
//!
//! In: a batch of [`Settling`]. Out: for each a [`Settled`] or a [`PublishError`], and later, once
//! the ledger has it, [`finish`].
//!
//! **Invariants:** what is visible in the archive is complete, and with `durability = "batch"` on
//! disk: one `syncfs` for the whole batch comes before the first rename. Every step looks at what is
//! there, so that a job that stopped anywhere goes on from there. Once its ZIP is gathered a job can
//! only be archived. Nothing is ever replaced. A copy to another file system never holds up a rename:
//! whoever settles without [`Copying`] is told which jobs are still to be copied.

mod archive;
mod copy;
mod elsewhere;
mod error;
mod publisher;
mod quarantine;
mod redelivery;

pub use archive::{Finished, finish};
pub use elsewhere::Copying;
pub use error::PublishError;
pub use publisher::{Delivery, Publish, Refusal};
pub use redelivery::{Redelivery, compare_with_archive, compare_zip};

use std::io;
use std::path::PathBuf;

use archive::Gathering;
use elsewhere::{Errand, Load};

use crate::config::Durability;
use crate::workspace::{
    Contents, Decision, JobDir, Reason, Settling, Site, Target, WorkspaceError, lstat,
};

/// What became of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Settled {
    /// It is in the archive. [`finish`] it once the ledger knows.
    Archived {
        /** The folder in the archive; absolute. */
        path: PathBuf,
        /** Its folder in the work area, which now remembers where it went. */
        job: JobDir,
    },
    /// It is in quarantine; nothing is left in the work area.
    Quarantined {
        /** The folder in quarantine; absolute. */
        path: PathBuf,
        /** What its `reason.json` says. */
        reason: Box<Reason>,
    },
    /// It is deleted.
    Discarded {
        /** What could not be deleted, for a person to look at. */
        left: Option<PathBuf>,
    },
    /// Its target is on another file system, and nothing but the copy is left to do: settle it once
    /// more, with [`Copying`].
    ToCopy {
        /** The archive or quarantine; absolute. */
        target: PathBuf,
    },
}

/// How far a job came without a copy.
enum Step {
    Settled(Settled),
    Copy(Errand),
}

/// A job between the two halves of settling, around the sync.
enum Prepared {
    Gather(Gathering),
    Quarantine(JobDir, Box<Reason>),
    /// Its copy is whole.
    Copied(Errand),
    Settled(Settled),
}

/// Settles a batch of jobs of one source. Blocks. The answers are in the order of the batch; one
/// job's failure is its own. Without `copying` nothing is copied to another file system.
#[must_use]
pub fn settle(
    site: &Site,
    batch: &[Settling],
    copying: Option<&Copying>,
) -> Vec<Result<Settled, PublishError>> {
    let prepared: Vec<_> = batch.iter().map(|settling| prepare(site, settling)).collect();
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
            Settled::ToCopy { target: site.target(errand.target()).to_path_buf() }
        }
    }
}

impl Prepared {
    fn needs_sync(&self, site: &Site) -> bool {
        match self {
            Self::Gather(gathering) => gathering.needs_sync(),
            // A copy is synced where it is.
            Self::Quarantine(..) => !site.is_elsewhere(Target::Quarantine),
            Self::Copied(_) | Self::Settled(_) => false,
        }
    }
}

fn prepare(site: &Site, settling: &Settling) -> Result<Prepared, PublishError> {
    let job = &settling.job;
    // What comes straight from its extraction or its stages is not copied yet.
    let is_fresh = matches!(settling.decision, Decision::Archive { stamp: Some(_), .. });
    let is_copied = || Ok(lstat(&job.copied())?.is_some() || lstat(&job.q_copied())?.is_some());
    if !is_fresh && is_copied().map_err(WorkspaceError::io("look at", job.path()))? {
        return resume(site, job);
    }
    match &settling.decision {
        Decision::Archive { stamp, untouched } => {
            match Gathering::pass(job, *untouched, stamp.as_ref())? {
                Some(gathering) => Ok(Prepared::Gather(gathering)),
                None => resume(site, job),
            }
        }
        Decision::Quarantine(reason) => {
            quarantine::decide(job, reason).map(|reason| Prepared::Quarantine(job.clone(), reason))
        }
        Decision::Discard => discard(site, job).map(Prepared::Settled),
        Decision::Resume => resume(site, job),
    }
}

/// Goes on from where the job's folder says that it is.
fn resume(site: &Site, job: &JobDir) -> Result<Prepared, PublishError> {
    let contents = Contents::read(job.path()).map_err(WorkspaceError::io("list", job.path()))?;
    let Some(contents) = contents else {
        let path = job.path().to_path_buf();
        return Err(WorkspaceError::JobGone { id: job.id(), path }.into());
    };
    let job = contents.job(job.path()).unwrap_or_else(|| job.clone());
    if contents.copied {
        return Ok(Prepared::Copied(Errand::new(job, Load::Package)));
    }
    if contents.q_copied {
        return Ok(Prepared::Copied(Errand::new(job, Load::Quarantine(None))));
    }
    if contents.q
        && let Some(reason) = quarantine::decided(&job)?
    {
        return Ok(Prepared::Quarantine(job, reason));
    }
    if contents.discard && contents.delivered.is_empty() {
        return discard(site, &job).map(Prepared::Settled);
    }
    if contents.final_ {
        return Gathering::go_on(&job).map(Prepared::Gather);
    }
    let zip = job.zip();
    let has_zip = lstat(&zip).map_err(WorkspaceError::io("look at", zip))?.is_some();
    if contents.is_active() || has_zip || contents.delivered.is_empty() {
        return Err(PublishError::NotUnpacked { path: job.path().to_path_buf() });
    }
    let path = site.source().archive.join(job.target());
    Ok(Prepared::Settled(Settled::Archived { path, job }))
}

/// Deletes a delivery. The rename is the decision: without it a ZIP that is gone would look like
/// one that was archived.
fn discard(site: &Site, job: &JobDir) -> Result<Settled, PublishError> {
    use crate::workspace::{remove_tree, rename_new};

    if lstat(&job.gathered_zip()).is_ok_and(|zip| zip.is_some()) {
        return Err(PublishError::Gathered { path: job.path().to_path_buf() });
    }
    let (from, to) = (job.delivered(), job.discard());
    rename_new(&from, &to, None).map_err(PublishError::moving(site, &from, &to))?;
    for folder in [to, job.out(), job.done(), job.final_()] {
        if remove_tree(&folder).is_err() {
            return Ok(Settled::Discarded { left: Some(folder) });
        }
    }
    let gone = std::fs::remove_dir(job.path()).is_ok();
    Ok(Settled::Discarded { left: (!gone).then(|| job.path().to_path_buf()) })
}

/// `io::Error` cannot be cloned, and each job of the batch gets one.
fn same(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(
        || io::Error::new(error.kind(), error.to_string()),
        io::Error::from_raw_os_error,
    )
}

#[cfg(test)]
mod tests;

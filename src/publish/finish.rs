//! Removes the rest of an archived job, after the ledger has committed it.

use std::path::PathBuf;

use super::cleanup::remove_job;
use super::error::PublishError;
use super::{Settled, Step, quarantine};
use crate::error::{Disposition, Failure};
use crate::folder::absent;
use crate::workspace::{JobDir, Reason, Site, WorkspaceError};

/// Files and folders that were left when a job was finished.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finished {
    /// The folder of files that arrived after the package was gathered; absolute, in quarantine.
    pub late: Option<PathBuf>,
    /// Files arrived late, and are still to be copied to a quarantine on another file system: settle
    /// the job again, with `Decision::Resume`.
    pub to_copy: bool,
    /// A folder of the work area that contains an unknown file; it stays.
    pub left: Option<PathBuf>,
}

/// Why files are in quarantine although their package is in the archive. Completes "failed to …".
#[derive(Debug, thiserror::Error)]
#[error("archive these files with their package: they came after it was gathered")]
struct LateArrivals;

impl Failure for LateArrivals {
    fn code(&self) -> &'static str {
        "late_arrivals"
    }

    fn disposition(&self) -> Disposition {
        Disposition::Quarantine
    }
}

/// Finishes an archived job after the ledger has committed it: removes its folder, which should be empty.
///
/// # Errors
/// [`PublishError`]; the job is archived nevertheless, and the next start tries again.
pub fn finish(site: &Site, job: &JobDir) -> Result<Finished, PublishError> {
    let mut finished = Finished::default();
    let Some(home) = absent(job.open()).map_err(WorkspaceError::io("open", job.path()))? else {
        return Ok(finished);
    };
    let emptied = home.remove_empty(job.target());
    if !emptied.map_err(WorkspaceError::io("remove", job.delivered()))? {
        let mut reason = Reason::new(&site.source().name, job, &LateArrivals, &[]);
        reason.archived = Some(site.source().archive.join(job.target()));
        let reason = quarantine::decide_late(&home, job, &reason)?;
        match quarantine::publish(site, job, reason)? {
            Step::Settled(Settled::Quarantined { path, .. }) => finished.late = Some(path),
            Step::Settled(_) => {}
            Step::Copy(_) => {
                finished.to_copy = true;
                return Ok(finished);
            }
        }
    }
    if !remove_job(job, &home)? {
        finished.left = Some(job.path().to_path_buf());
    }
    Ok(finished)
}

//! What is removed of a job that is settled.

use super::error::PublishError;
use crate::folder::Folder;
use crate::names::{APART, COPIED, COPY, PASSED, Q_COPIED};
use crate::workspace::{JobDir, WorkspaceError};

/// Removes a job's folder, with the records of it; false where something else is in it.
pub(super) fn remove_job(job: &JobDir, home: &Folder) -> Result<bool, PublishError> {
    let gone = || {
        let gone = job.part().remove_empty(job.folder_name());
        gone.map_err(WorkspaceError::io("remove", job.path()))
    };
    // The one record that almost every job has.
    home.remove_file(PASSED).map_err(WorkspaceError::io("remove", home.join(PASSED)))?;
    if gone()? {
        return Ok(true);
    }
    // What was copied goes before the record of its copy: without that nobody could tell what it is.
    for name in [COPIED, Q_COPIED] {
        home.remove_tree(name).map_err(WorkspaceError::io("remove", home.join(name)))?;
    }
    for name in [&*job.name_mark(), COPY, APART] {
        home.remove_file(name).map_err(WorkspaceError::io("remove", home.join(name)))?;
    }
    Ok(gone()?)
}

/// Removes what was copied. The record stays until the job's folder goes: it says where the package is.
/// What cannot be removed stays, too, and is found by the next start.
pub(super) fn clear(home: &Folder, mark: &str) {
    home.remove_tree(mark).ok();
}

//! Removes the rest of a settled job.

use super::error::PublishError;
use crate::folder::Folder;
use crate::names::{APART, COPIED, COPY, PASSED, Q_COPIED};
use crate::workspace::{JobDir, WorkspaceError};

/// Removes a job's folder, with its records; returns false if the folder contains anything else.
pub(super) fn remove_job(job: &JobDir, home: &Folder) -> Result<bool, PublishError> {
    let gone = || {
        let gone = job.part().remove_empty(job.folder_name());
        gone.map_err(WorkspaceError::io("remove", job.path()))
    };
    // The only record that almost every job has.
    home.remove_file(PASSED).map_err(WorkspaceError::io("remove", home.join(PASSED)))?;
    if gone()? {
        return Ok(true);
    }
    // The copied original is removed before the record of its copy: without the record it is unidentifiable.
    for name in [COPIED, Q_COPIED] {
        home.remove_tree(name).map_err(WorkspaceError::io("remove", home.join(name)))?;
    }
    for name in [&*job.name_mark(), COPY, APART] {
        home.remove_file(name).map_err(WorkspaceError::io("remove", home.join(name)))?;
    }
    Ok(gone()?)
}

/// Removes the copied original. The record stays until the job's folder is removed: it says where the
/// package is. If the original cannot be removed, it stays, too, and the next start finds it.
pub(super) fn clear(home: &Folder, mark: &str) {
    home.remove_tree(mark).ok();
}

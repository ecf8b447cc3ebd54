//! What an earlier version, or a run with other folders, left in a landing: jobs that are moved to where
//! the work area is now.
//!
//! **Invariant:** only what is ours by owner and mode, folder by folder from the landing down, is
//! touched. A sender can neither make such a folder nor move one of ours out of the folder that it is in.

use std::io;

use super::error::StartError;
use super::layout::ours_alone;
use crate::config::Source;
use crate::folder::{Folder, absent};
use crate::names::{BOOT, BOOT_NEW, OWN, WORK, parse_job_folder};

/// Moves the jobs of a source from `landing/.longshore/work` to the work area; returns what a person
/// should look at. Nothing is done if that is the work area. The landing must be locked.
///
/// # Errors
/// Those of a rename in the middle: what was moved by then is in the new work area, and the next start
/// goes on.
pub(super) fn work_in_landing(
    landing: &Folder,
    work: &Folder,
    source: &Source,
) -> Result<Vec<String>, StartError> {
    let name = source.name.as_str();
    let path = landing.join(OWN).join(WORK).join(name);
    if work.path().join(name) == path {
        return Ok(Vec::new());
    }
    let mut at = None;
    for part in [OWN, WORK] {
        let next = match absent(at.as_ref().unwrap_or(landing).folder(part)) {
            Ok(Some(next)) if ours_alone("folder", &next).is_ok() => next,
            Ok(None) => return Ok(Vec::new()),
            _ => {
                let odd = at.as_ref().unwrap_or(landing).join(part);
                return Ok(vec![format!(
                    "{odd:?} is not longshore's: it is left alone, and nothing in it is used"
                )]);
            }
        };
        at = Some(next);
    }
    let Some(old_work) = at else { return Ok(Vec::new()) };
    let failed =
        |source| StartError::Io { action: "move the jobs out of", path: path.clone(), source };
    let Some(old) = absent(old_work.folder(name)).map_err(failed)? else { return Ok(Vec::new()) };
    if ours_alone("folder", &old).is_err() {
        return Ok(vec![format!("{path:?} is not longshore's: it is left alone")]);
    }
    // As a whole, where there is nothing in the new place: one rename, and its `.boot` comes along.
    if work.remove_empty(name).map_err(failed)? {
        return match old_work.rename(name, work, name, None) {
            Ok(()) => Ok(Vec::new()),
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => Ok(vec![format!(
                "jobs in {path:?} are on another file system than the work area: they stay there; \
                     run once with --work {:?} to finish them",
                old_work.path()
            )]),
            Err(error) => Err(failed(error)),
        };
    }
    let new = work.folder(name).map_err(failed)?;
    let mut jobs = Vec::new();
    old.list(|name, kind| {
        if kind.is_dir() && name.to_str().is_some_and(|name| parse_job_folder(name).is_some()) {
            jobs.push(name.to_owned());
        }
    })
    .map_err(failed)?;
    for job in jobs {
        old.rename(&job, &new, &job, None).map_err(failed)?;
    }
    for record in [BOOT, BOOT_NEW] {
        old.remove_file(record).map_err(failed)?;
    }
    old_work.remove_empty(name).map_err(failed)?;
    Ok(Vec::new())
}

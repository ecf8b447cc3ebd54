//! Moves jobs that an earlier version, or a run with other folders, left in a landing to the current
//! work area.
//!
//! **Invariant:** only folders that are ours by owner and mode, checked one by one from the landing
//! down, are touched. A sender can neither create such a folder nor move one of ours out of its parent.

use std::io;

use super::error::StartError;
use super::trust::ours_alone;
use crate::config::Source;
use crate::folder::{Folder, absent};
use crate::names::{BOOT, BOOT_NEW, KEPT, OWN, REFUSED, REFUSED_NEW, WORK, parse_job_folder};

/// Moves the jobs of a source from `landing/.longshore/work` to the work area. Returns remarks for the
/// operator. Does nothing if that folder is the work area. The landing must be locked.
///
/// # Errors
/// Those of a rename in the middle. Jobs moved before it are in the new work area, and the next start
/// continues.
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
    // Move the folder as a whole if the new place has none: one rename, which includes its `.boot`.
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
    if let Some(kept) = absent(old.folder(KEPT)).map_err(failed)? {
        let to = new.make_or_open(KEPT).map_err(failed)?;
        let mut packages = Vec::new();
        kept.list(|name, _| packages.push(name.to_owned())).map_err(failed)?;
        for package in packages {
            kept.rename(&package, &to, &package, None).map_err(failed)?;
        }
        old.remove_empty(KEPT).map_err(failed)?;
    }
    for record in [BOOT, BOOT_NEW, REFUSED, REFUSED_NEW] {
        if !old.has(record).map_err(failed)? {
            continue;
        }
        old.remove_file(record).map_err(failed)?;
    }
    old_work.remove_empty(name).map_err(failed)?;
    Ok(Vec::new())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use crate::workspace::testing::{Bench, tree};

    /// Jobs in every state.
    const STATES: [&[&str]; 8] = [
        &["a/a.zip"],
        &["a/a.zip", ".out/x"],
        &["a/a.zip", ".done/x"],
        &["a/a.zip", ".final/x", ".passed.json"],
        &["a/", ".final/a.zip", ".final/x", ".passed.json"],
        &["a.2/", ".=a", ".passed.json"],
        &["a/a.zip", ".q/reason.json"],
        &["a/", ".copied/a.zip", ".copy.json", ".passed.json"],
    ];

    #[test]
    fn jobs_in_every_state_go_on_where_the_work_area_is_now() {
        for has_jobs in [false, true] {
            let bench = Bench::new();
            let mut jobs: Vec<_> = STATES
                .iter()
                .map(|paths| bench.lay_out("a", 1, 0, paths).path().to_path_buf())
                .collect();
            let before: Vec<_> = jobs.iter().map(|job| tree(job)).collect();
            let kept = ".quarantine/a.JOB/delivered";
            fs::create_dir_all(bench.path("zip/.longshore/work/default").join(kept)).unwrap();
            let new = bench.path("work/default");
            if has_jobs {
                let other = new.join(format!("{}.1.0/b", crate::id::JobId::generate()));
                fs::create_dir_all(&other).unwrap();
                fs::write(other.join("b.zip"), "").unwrap();
                for folder in [other.parent().unwrap(), &new, new.parent().unwrap()] {
                    fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).unwrap();
                }
            }
            let bench = bench.reconfigured(|source| {
                source.work = Some(source.landing.with_file_name("work"));
            });
            for job in &mut jobs {
                *job = new.join(job.file_name().unwrap());
            }
            let after: Vec<_> = jobs.iter().map(|job| tree(job)).collect();
            assert_eq!(after, before);
            assert!(!bench.path("zip/.longshore/work/default").exists());
            assert!(new.join(kept).exists());
            let recovery = bench.site.recover().unwrap();
            let found = recovery.extract.len() + recovery.settle.len();
            assert_eq!(found, STATES.len() + usize::from(has_jobs), "{recovery:?}");
            assert!(bench.site.remarks().is_empty(), "{:?}", bench.site.remarks());
        }
    }

    #[test]
    fn folders_that_are_not_ours_are_left_alone_and_told() {
        for odd in ["link", "writable"] {
            let bench = Bench::new();
            bench.lay_out("a", 1, 0, &["a/a.zip"]);
            let own = bench.path("zip/.longshore");
            match odd {
                "link" => {
                    fs::rename(&own, bench.path("moved")).unwrap();
                    symlink(bench.path("moved"), &own).unwrap();
                }
                _ => fs::set_permissions(&own, fs::Permissions::from_mode(0o777)).unwrap(),
            }
            let bench = bench.reconfigured(|source| {
                source.work = Some(source.landing.with_file_name("work"));
            });
            let recovery = bench.site.recover().unwrap();
            assert_eq!(recovery.extract.len(), 0, "{odd}: a forged job was taken");
            let [remark] = bench.site.remarks() else { panic!("{:?}", bench.site.remarks()) };
            assert!(remark.contains("is not longshore's"), "{remark}");
        }
    }
}

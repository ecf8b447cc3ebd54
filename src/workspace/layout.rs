//! Checks once, at the start, whether a source's folders can work together. Each violation has its own
//! error.

use std::ffi::OsStr;
use std::io;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Access, AtFlags, accessat};
use rustix::io::Errno;

use super::error::StartError;
use super::made::Made;
use super::places::choose_work;
use super::staging::Staging;
use super::trust::{ours_alone, resolve};
use super::{lock, probe};
use crate::config::Source;
use crate::folder::Folder;
use crate::names::{self, OWN, is_hidden};

const FORMAT: &str = "1";

/// A source's folders, opened and checked.
pub(super) struct Prepared {
    pub(super) landing: Folder,
    pub(super) archive: Folder,
    pub(super) quarantine: Folder,
    /// The work area; absolute.
    pub(super) work: PathBuf,
}

/// Checks how the folders relate to each other, creates missing ones, and checks that all of them can
/// be used.
pub(super) fn prepare(source: &Source) -> Result<Prepared, StartError> {
    let inside = source.landing.join(OWN).join(names::WORK);
    apart(source, source.work.as_ref().unwrap_or(&inside))?;
    let open = |what, path: &Path| {
        let made = Made::public(path).map_err(|error| unmade(what, path, error))?;
        usable(what, path, &made.folder)?;
        Ok(made.folder)
    };
    let landing = open("landing", &source.landing)?;
    let archive = open("archive", &source.archive)?;
    let quarantine = open("quarantine", &source.quarantine)?;
    let work = choose_work(source, &landing)?;
    // Checked again, now that links and mounts can be resolved.
    apart(source, &work)?;
    one_each(&[("landing", &landing), ("archive", &archive), ("quarantine", &quarantine)])?;
    Ok(Prepared { landing, archive, quarantine, work })
}

/// Opens a work area, creates it if it is missing, and checks that it is ours alone.
pub(super) fn open_work(work: &Path, landing: &Folder) -> Result<Folder, StartError> {
    let what = "work area";
    let folder = match work.strip_prefix(landing.path()) {
        Ok(below) => beneath(what, landing, below)?,
        Err(_) => Made::private(work).map_err(|error| unmade(what, work, error))?.folder,
    };
    ours_alone(what, &folder)?;
    format(&folder)?;
    Ok(folder)
}

/// Opens a source's part of a work area, and creates it if it is missing.
pub(super) fn open_part(work: &Folder, source: &Source) -> Result<Folder, StartError> {
    let part = work.make_or_open(source.name.as_str());
    let part =
        part.map_err(|error| unmade("work area", &work.join(source.name.as_str()), error))?;
    ours_alone("work area", &part)?;
    Ok(part)
}

/// Opens our folders in a landing one name at a time: a link there may come from a sender.
pub(super) fn beneath(
    what: &'static str,
    landing: &Folder,
    below: &Path,
) -> Result<Folder, StartError> {
    let mut names = below.iter();
    let open = |at: &Folder, name: &OsStr| {
        let folder = at.make_or_open(name).map_err(|error| unmade(what, &at.join(name), error))?;
        ours_alone(what, &folder)?;
        Ok(folder)
    };
    let Some(first) = names.next() else {
        let path = landing.path().to_path_buf();
        return Err(StartError::SameFolder { one: "landing", other: what, path });
    };
    let mut at = open(landing, first)?;
    for name in names {
        at = open(&at, name)?;
    }
    Ok(at)
}

pub(super) fn unmade(what: &'static str, path: &Path, source: io::Error) -> StartError {
    match Errno::from_io_error(&source) {
        Some(Errno::EXIST | Errno::NOTDIR | Errno::LOOP) => {
            StartError::NotAFolder { what, path: path.into() }
        }
        _ => StartError::Make { what, path: path.into(), source },
    }
}

fn usable(what: &'static str, path: &Path, folder: &Folder) -> Result<(), StartError> {
    let wanted = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
    accessat(folder, ".", wanted, AtFlags::EACCESS).map_err(|error| {
        let (path, source) = (path.into(), error.into());
        match error {
            Errno::ACCESS | Errno::PERM | Errno::ROFS => StartError::Denied { what, path, source },
            _ => StartError::Io { action: "look at", path, source },
        }
    })
}

fn format(work: &Folder) -> Result<(), StartError> {
    let path = || work.join(names::FORMAT);
    let found = work.read(names::FORMAT).map_err(|source| not_a_record(path(), source))?;
    let found = found.map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned());
    match found {
        Some(found) if found == FORMAT => Ok(()),
        // The file can be empty after a crash: it is written without a sync.
        Some(found) if !found.is_empty() => {
            let found = found.chars().take(40).collect();
            Err(StartError::UnknownFormat { path: path(), found, known: FORMAT })
        }
        _ => work
            .write(names::FORMAT, format!("{FORMAT}\n").as_bytes())
            .map_err(StartError::io("write", path())),
    }
}

/// Returns the error for a record of ours that cannot be read, perhaps because another file has its name.
pub(super) fn not_a_record(path: PathBuf, source: io::Error) -> StartError {
    match Errno::from_io_error(&source) {
        Some(Errno::LOOP | Errno::INVAL | Errno::ISDIR | Errno::NXIO) => {
            StartError::NotARecord { path }
        }
        _ => StartError::Io { action: "read", path, source },
    }
}

/// Checks that no folder is another, or lies in another where it would be taken for a package or moved.
fn apart(source: &Source, work: &Path) -> Result<(), StartError> {
    let named = |what, path: &Path| (what, path.to_path_buf(), resolve(path));
    let all = [
        named("landing", &source.landing),
        named("archive", &source.archive),
        named("quarantine", &source.quarantine),
        named("work area", work),
    ];
    for (at, inner) in all.iter().enumerate() {
        for (other, outer) in all.iter().enumerate().filter(|(other, _)| *other != at) {
            let Ok(below) = inner.2.strip_prefix(&outer.2) else { continue };
            let Some(first) = below.components().next() else {
                let (one, other) = (all[at.min(other)].0, all[at.max(other)].0);
                return Err(StartError::SameFolder { one, other, path: inner.1.clone() });
            };
            let hidden = matches!(first, Component::Normal(name) if is_hidden(name));
            let advice = match (inner.0, outer.0) {
                ("landing", _) => "deliver somewhere else",
                (_, "work area") => "the work area is longshore's own",
                _ if hidden => continue,
                (_, "landing") => "move it out, or into a folder with a leading dot",
                _ => "put it beside",
            };
            return Err(StartError::Inside {
                inner: inner.0,
                inner_path: inner.1.clone(),
                outer: outer.0,
                outer_path: outer.1.clone(),
                advice,
            });
        }
    }
    Ok(())
}

/// Checks that no two of the opened folders are the same: two mounts of one folder have two paths.
fn one_each(folders: &[(&'static str, &Folder)]) -> Result<(), StartError> {
    let mut seen: Vec<(&'static str, (u64, u64))> = Vec::new();
    for (what, folder) in folders {
        let path = folder.path();
        let found = folder.seen().map_err(StartError::io("look at", path))?;
        let id = (found.st_dev, found.st_ino);
        if let Some((one, _)) = seen.iter().find(|(_, other)| *other == id) {
            return Err(StartError::SameFolder { one, other: what, path: path.into() });
        }
        seen.push((what, id));
    }
    Ok(())
}

/// Checks that renames work from the landing to the work area.
pub(super) fn check_reach(landing: &Folder, part: &Folder) -> Result<(), StartError> {
    probe::clear(landing, part);
    probe::clear(part, part);
    match probe::reaches(landing, part) {
        Ok(true) => Ok(()),
        Ok(false) => Err(StartError::WorkElsewhere {
            landing: landing.path().into(),
            work: part.path().into(),
        }),
        Err(error) => Err(unreached("landing", landing.path(), error)),
    }
}

/// Returns the folder for copies to a target; `None` if renames work from the work area to the target.
pub(super) fn staging(
    what: &'static str,
    target: &Folder,
    part: &Folder,
) -> Result<Option<Staging>, StartError> {
    match probe::reaches(target, part) {
        Ok(true) => Ok(None),
        Ok(false) => Staging::open(what, target).map(Some),
        Err(error) => Err(unreached(what, target.path(), error)),
    }
}

fn unreached(what: &'static str, path: &Path, source: io::Error) -> StartError {
    match Errno::from_io_error(&source) {
        Some(Errno::ACCESS | Errno::PERM | Errno::ROFS) => {
            StartError::Denied { what, path: path.into(), source }
        }
        _ => StartError::Io { action: "try a rename with", path: path.into(), source },
    }
}

/// For [`lock::lock`]: the place of the lock file if the landing's file system cannot lock folders.
pub(super) fn landing_lock(landing: &Folder) -> io::Result<(Option<Folder>, &'static str)> {
    Ok((Some(landing.make_or_open(OWN)?), "lock"))
}

/// For [`lock::lock`]: a lock file in the folder itself.
pub(super) fn own_lock(_: &Folder) -> io::Result<(Option<Folder>, &'static str)> {
    Ok((None, names::LOCK))
}

/// Locks a source's part of a work area.
pub(super) fn lock_part(part: Folder) -> Result<lock::Locked, StartError> {
    lock::lock("work area", part, own_lock)
}

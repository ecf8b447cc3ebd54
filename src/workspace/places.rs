//! The default places of a source's work area and of a configuration's state folder.
//!
//! In: a landing, and who can write to it. Out: one path for each.
//!
//! ```text
//! landing/.longshore/           only this user (and root) can write to the landing and exchange it
//! $STATE_DIRECTORY/KEY/         else the first of these that no other user can write to or replace;
//! /var/lib/longshore/KEY/       for a work area also: on the landing's file system
//! PARENT/.longshore-NAME/
//! ~/.local/state/longshore/KEY/
//! ```
//!
//! **Invariant:** a sender that can write to the landing cannot reach either of them.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::{env, io};

use rustix::fs::{Access, access};

use super::error::StartError;
use super::made::Made;
use super::probe;
use super::trust::{Writer, has_fixed_modes, other_writer, resolve, writer_above};
use crate::config::{Config, Source};
use crate::folder::Folder;
use crate::names::{LEDGER, OWN, WORK};

/// How many bytes of a landing's path go into the name of its folder among those of other landings.
const KEY_BYTES: usize = 200;

/// Who else can write to a landing, or exchange it for another folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Exposure {
    pub(crate) writer: Writer,
    /// The landing, or a folder above it.
    pub(crate) folder: PathBuf,
}

/// Returns who else can write to a landing; `None` if no other user can, or the landing does not exist yet.
///
/// # Errors
/// I/O errors from inspecting the landing and the folders above it.
pub(crate) fn exposure(landing: &Path) -> io::Result<Option<Exposure>> {
    let landing = resolve(landing);
    let own = match other_writer(&landing) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        other => other?,
    };
    Ok(match own {
        Some(writer) => Some(Exposure { writer, folder: landing }),
        None => writer_above(&landing)?.map(|(folder, writer)| Exposure { writer, folder }),
    })
}

/// The parts of the process's environment that determine places.
struct Surroundings {
    is_root: bool,
    /// The state folder of the systemd unit.
    unit: Option<PathBuf>,
    /// The state folder of the machine, shared by all programs.
    machine: PathBuf,
    /// The state folder of the user, shared by all programs.
    user: Option<PathBuf>,
}

impl Surroundings {
    fn of_process() -> Self {
        Self::of(rustix::process::geteuid().is_root(), |name| env::var_os(name))
    }

    fn of(is_root: bool, var: impl Fn(&str) -> Option<OsString>) -> Self {
        // systemd sets several folders, separated by colons; the first is the unit's main one.
        let unit = var("STATE_DIRECTORY")
            .and_then(|list| env::split_paths(&list).find(|path| path.is_absolute()));
        let user = var("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        let user = user.or_else(|| Some(PathBuf::from(var("HOME")?).join(".local/state")));
        Self { is_root, unit, machine: "/var/lib".into(), user }
    }

    /// Returns candidate folders outside of a landing, the best first; absolute. Creates none of them.
    fn outside(&self, landing: &Path) -> Vec<PathBuf> {
        let landing = resolve(landing);
        let key = key(&landing);
        let mut found = Vec::new();
        found.extend(self.unit.as_ref().map(|unit| unit.join(&key)));
        if self.is_root {
            found.push(self.machine.join("longshore").join(&key));
        }
        if let (Some(parent), Some(name)) = (landing.parent(), landing.file_name()) {
            let mut sibling = OsString::from(format!("{OWN}-"));
            sibling.push(name);
            if sibling.len() <= 255 {
                found.push(parent.join(sibling));
            }
        }
        if !self.is_root {
            found.extend(self.user.as_ref().map(|user| user.join("longshore").join(&key)));
        }
        found
    }
}

/// Encodes a landing's path as a file name.
fn key(landing: &Path) -> String {
    let path = landing.to_string_lossy();
    let name = path.trim_start_matches('/').replace('%', "%25").replace('/', "%2F");
    if name.len() <= KEY_BYTES {
        return name;
    }
    let hash = blake3::hash(landing.as_os_str().as_bytes()).to_hex();
    let cut = (0..=KEY_BYTES - 20).rev().find(|&at| name.is_char_boundary(at)).unwrap_or(0);
    format!("{}%{}", &name[..cut], &hash[..16])
}

/// Returns a source's work area: the configured one, or a safe place. Creates the missing parts of a
/// place that is not configured.
///
/// # Errors
/// [`StartError::ExposedFolder`] if senders can reach the configured one,
/// [`StartError::NoSafePlace`] if there is no place that they cannot reach.
pub(super) fn choose_work(source: &Source, landing: &Folder) -> Result<PathBuf, StartError> {
    choose_work_in(source, landing, &Surroundings::of_process())
}

fn choose_work_in(
    source: &Source,
    landing: &Folder,
    around: &Surroundings,
) -> Result<PathBuf, StartError> {
    let exposed = exposure(&source.landing).map_err(StartError::io("look at", &source.landing))?;
    if let Some(work) = &source.work {
        return refuse_inside("work area", "--work", work, &source.landing, exposed)
            .map(|()| work.clone());
    }
    let inside = source.landing.join(OWN).join(WORK);
    let mut outside = around.outside(&source.landing);
    // A place that already holds work of this source stays in use, even if another would be better today.
    let is_known = |base: &PathBuf| is_ours(&base.join(WORK).join(&source.name));
    outside.sort_by_key(|base| !is_known(base));
    let Some(Exposure { writer, folder }) = exposed else {
        let known = outside.first().filter(|base| is_known(base)).map(|base| base.join(WORK));
        return Ok(known.filter(|_| !is_ours(&inside.join(&source.name))).unwrap_or(inside));
    };
    let mut tried = Vec::new();
    for base in outside {
        match try_base(&base, landing) {
            Ok(()) => return Ok(base.join(WORK)),
            Err(why) => tried.push(format!("{base:?}: {why}")),
        }
    }
    if has_fixed_modes(landing) {
        let found = landing.seen().map_err(StartError::io("look at", landing.path()))?;
        let (path, mode) = (source.landing.clone(), found.st_mode & 0o7777);
        return Err(StartError::FixedModes { what: "landing", path, mode });
    }
    let tried = tried.join("; ");
    Err(StartError::NoSafePlace { landing: source.landing.clone(), writer, folder, tried })
}

/// Creates a place for a work area, and checks that it works.
fn try_base(base: &Path, landing: &Folder) -> Result<(), String> {
    match writer_above(&base.join(WORK)) {
        Ok(None) => {}
        Ok(Some((folder, writer))) => return Err(format!("{writer} can write to {folder:?}")),
        Err(error) => return Err(error.to_string()),
    }
    let made = Made::private(base).map_err(|error| error.to_string())?;
    let tried = made.folder.make_or_open(WORK).and_then(|work| probe::reaches(landing, &work));
    match tried {
        Ok(true) => Ok(()),
        Ok(false) => {
            made.folder.remove_empty(WORK).ok();
            made.undo();
            Err("it is on another file system than the landing".to_owned())
        }
        Err(error) => Err(error.to_string()),
    }
}

/// Returns the likely work area of a source, for commands that only read: nothing is created or tried.
#[must_use]
pub fn find_work(source: &Source) -> PathBuf {
    let inside = source.landing.join(OWN).join(WORK);
    let outside = Surroundings::of_process().outside(&source.landing);
    let mut known = outside.into_iter().map(|base| base.join(WORK));
    match &source.work {
        Some(work) => work.clone(),
        None if is_ours(&inside.join(&source.name)) && !is_exposed(&source.landing) => inside,
        None => known.find(|work| work.join(&source.name).is_dir()).unwrap_or(inside),
    }
}

fn is_exposed(landing: &Path) -> bool {
    exposure(landing).map_or(true, |exposed| exposed.is_some())
}

/// Returns the state folder of a configuration; absolute. Does not create it.
///
/// It is the configured one; otherwise a folder beside or in the landing of the first source (see the
/// module's table), but never on a network file system: a database's locks cannot be trusted there.
///
/// # Errors
/// [`StartError::ExposedFolder`] if senders can reach the configured one,
/// [`StartError::NoSafePlace`] if there is no place that they cannot reach.
pub fn state_folder(config: &Config) -> Result<PathBuf, StartError> {
    state_folder_in(config, &Surroundings::of_process())
}

fn state_folder_in(config: &Config, around: &Surroundings) -> Result<PathBuf, StartError> {
    if let Some(state) = &config.state {
        for source in &config.sources {
            let exposed = exposure(&source.landing);
            let exposed = exposed.map_err(StartError::io("look at", &source.landing))?;
            refuse_inside("state folder", "--state", state, &source.landing, exposed)?;
        }
        return Ok(state.clone());
    }
    let Some(source) = config.sources.first() else {
        return Err(StartError::NoStatePlace { landing: PathBuf::new() });
    };
    let landing = &source.landing;
    let exposed = exposure(landing).map_err(StartError::io("look at", landing))?;
    let is_remote = |path: &Path| {
        let there = path.ancestors().find(|path| path.exists());
        there.is_some_and(|there| crate::landing::is_on_network(there).unwrap_or(false))
    };
    let inside = landing.join(OWN);
    let mut outside = around.outside(landing);
    let has_ledger = |folder: &PathBuf| folder.join(LEDGER).exists();
    let Some(Exposure { writer, folder }) = exposed else {
        if !is_remote(landing) {
            let known = outside.into_iter().find(has_ledger);
            return Ok(known.filter(|_| !has_ledger(&inside)).unwrap_or(inside));
        }
        let key = key(&resolve(landing));
        let of_user = around.user.as_ref().map(|user| user.join("longshore"));
        let base = around.unit.clone().or(of_user);
        return match base {
            Some(base) => Ok(base.join(key)),
            None => Err(StartError::NoStatePlace { landing: landing.clone() }),
        };
    };
    outside.retain(|base| {
        !is_remote(base) && writer_above(&base.join(LEDGER)).is_ok_and(|found| found.is_none())
    });
    let known = outside.iter().find(|base| has_ledger(base));
    if let Some(found) = known.or_else(|| outside.iter().find(|base| can_make(base))) {
        return Ok(found.clone());
    }
    let tried = "no other folder is this user's own".to_owned();
    Err(StartError::NoSafePlace { landing: landing.clone(), writer, folder, tried })
}

/// Whether this user can write to a folder, or create it.
fn can_make(folder: &Path) -> bool {
    let there = folder.ancestors().find(|path| path.exists());
    let wanted = Access::WRITE_OK | Access::EXEC_OK;
    there.is_some_and(|there| there.is_dir() && access(there, wanted).is_ok())
}

/// Refuses a configured folder of ours that is in a landing that others can write to.
fn refuse_inside(
    what: &'static str,
    flag: &'static str,
    path: &Path,
    landing: &Path,
    exposed: Option<Exposure>,
) -> Result<(), StartError> {
    let Some(Exposure { writer, folder }) = exposed else { return Ok(()) };
    if !resolve(path).starts_with(resolve(landing)) {
        return Ok(());
    }
    Err(StartError::ExposedFolder { what, flag, path: path.into(), writer, folder })
}

/// Whether the path is a real folder that belongs to this user.
fn is_ours(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;

    let user = rustix::process::geteuid().as_raw();
    std::fs::symlink_metadata(path).is_ok_and(|found| found.is_dir() && found.uid() == user)
}

#[cfg(test)]
mod tests;

//! [`State`]: the state folder (the ledger, the logs of commands), held and locked.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::error::StartError;
use super::layout::{beneath, own_lock, unmade};
use super::lock::{Locked, lock};
use super::made::Made;
use super::places::state_folder;
use super::trust::{other_writer, resolve, shared};
use crate::config::Config;
use crate::folder::Folder;

/// A state folder that is locked for this process until the value is dropped.
#[derive(Debug)]
pub struct State {
    path: PathBuf,
    landings: Vec<PathBuf>,
    locked: Mutex<Locked>,
}

impl State {
    /// Determines the state folder of a configuration, creates it if it is missing, and locks it: two daemons
    /// with the same ledger would take each other's packages for duplicates.
    ///
    /// # Errors
    /// [`StartError`]: no safe place exists, the folder is not ours, or another process has locked it.
    pub fn open(config: &Config) -> Result<Self, StartError> {
        let landings = config.sources.iter().map(|source| source.landing.clone()).collect();
        Self::at(state_folder(config)?, landings)
    }

    /// Opens the state folder at `path`, which may lie in one of these landings.
    pub(crate) fn at(path: PathBuf, landings: Vec<PathBuf>) -> Result<Self, StartError> {
        let locked = Mutex::new(take(&path, &landings)?);
        Ok(Self { path, landings, locked })
    }

    /// The folder that is held.
    #[must_use]
    pub fn folder(&self) -> Arc<Folder> {
        Arc::clone(&self.locked().folder)
    }

    /// Returns the folder to be used now. If the held folder was removed, creates it again, with the checks
    /// of the start. A folder that was only moved or unmounted stays in use.
    ///
    /// # Errors
    /// Those of creating, checking and locking it.
    pub fn again(&self) -> io::Result<Arc<Folder>> {
        let mut locked = self.locked();
        if locked.folder.seen()?.st_nlink == 0 {
            *locked = take(&self.path, &self.landings).map_err(io::Error::other)?;
        }
        Ok(Arc::clone(&locked.folder))
    }

    /// Releases the lock, so that another pipeline can use the folder.
    pub fn release(&self) {
        self.locked().release();
    }

    fn locked(&self) -> MutexGuard<'_, Locked> {
        self.locked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn take(path: &Path, landings: &[PathBuf]) -> Result<Locked, StartError> {
    let what = "state folder";
    let folder = match in_landing(landings, path)? {
        Some(folder) => folder,
        None => Made::private(path).map_err(|error| unmade(what, path, error))?.folder,
    };
    check(what, &folder)?;
    lock(what, folder, own_lock)
}

/// Opens a state folder that lies in a landing, one name at a time: a link there may come from a sender.
fn in_landing(landings: &[PathBuf], path: &Path) -> Result<Option<Folder>, StartError> {
    let path = resolve(path);
    for named in landings {
        let landing = resolve(named);
        let Ok(below) = path.strip_prefix(&landing) else { continue };
        let landing = Folder::open(&landing).map_err(StartError::io("open", named))?;
        return beneath("state folder", &landing, below).map(Some);
    }
    Ok(None)
}

fn check(what: &'static str, folder: &Folder) -> Result<(), StartError> {
    let path = folder.path();
    let found = folder.seen().map_err(StartError::io("look at", path))?;
    let user = rustix::process::geteuid().as_raw();
    if found.st_uid != user {
        let (path, owner) = (path.to_path_buf(), found.st_uid);
        return Err(StartError::Foreign { what, path, owner, user });
    }
    match other_writer(path).map_err(StartError::io("look at", path))? {
        Some(_) => Err(shared(what, folder, found.st_mode & 0o7777)),
        None => Ok(()),
    }
}

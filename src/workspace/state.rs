//! [`State`]: the state folder (the ledger, the logs of commands), held and locked.

use std::path::Path;
use std::sync::Arc;

use super::error::StartError;
use super::layout::{beneath, own_lock, unmade};
use super::lock::{Locked, lock};
use super::made::Made;
use super::places::state_folder;
use super::trust::{other_writer, resolve, shared};
use crate::config::Config;
use crate::folder::Folder;

/// A state folder that this process alone works with, until this is dropped.
#[derive(Debug)]
pub struct State {
    locked: Locked,
}

impl State {
    /// Finds the state folder of a configuration, makes it where it is missing, and locks it: two daemons
    /// with one ledger would take each other's packages for duplicates.
    ///
    /// # Errors
    /// [`StartError`]: there is no safe place, it is not ours, or another process has it.
    pub fn open(config: &Config) -> Result<Self, StartError> {
        let what = "state folder";
        let path = state_folder(config)?;
        let folder = match in_landing(config, &path)? {
            Some(folder) => folder,
            None => Made::private(&path).map_err(|error| unmade(what, &path, error))?.folder,
        };
        check(what, &folder)?;
        Ok(Self { locked: lock(what, folder, own_lock)? })
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Arc<Folder> {
        &self.locked.folder
    }

    /// Lets another pipeline have the folder.
    pub fn release(&self) {
        self.locked.release();
    }
}

/// Opens a state folder that lies in a landing, name by name: a link there is a sender's.
fn in_landing(config: &Config, path: &Path) -> Result<Option<Folder>, StartError> {
    let path = resolve(path);
    for source in &config.sources {
        let landing = resolve(&source.landing);
        let Ok(below) = path.strip_prefix(&landing) else { continue };
        let landing = Folder::open(&landing).map_err(StartError::io("open", &source.landing))?;
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

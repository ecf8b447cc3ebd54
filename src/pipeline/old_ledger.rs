//! Moves the ledger that an earlier run kept in a landing to the current state folder.

use std::io;
use std::path::Path;

use rustix::fs::Mode;
use slog::{Logger, info, warn};

use crate::error::Chain;
use crate::folder::{Folder, absent};
use crate::ledger::SqliteStore;
use crate::names::{LEDGER, LEDGER_NEW, OWN};

/// Moves the ledger out of `landing/.longshore` if it is ours and the state folder has none yet. Only
/// history depends on it, so that failures are only logged.
pub(super) fn adopt(landing: &Path, state: &Folder, log: &Logger) {
    let (path, why) = match try_adopt(landing, state) {
        Ok(None) => return,
        Ok(Some(path)) => {
            info!(log, "ledger moved out of the landing"; "to" => ?state.path(), "from" => ?path);
            return;
        }
        Err((path, why)) => (path, why),
    };
    warn!(log, "the ledger of an earlier run stays in the landing, and a new one is begun";
        "why" => why, "path" => ?path);
}

type Failed = (std::path::PathBuf, String);

fn try_adopt(landing: &Path, state: &Folder) -> Result<Option<std::path::PathBuf>, Failed> {
    let path = landing.join(OWN).join(LEDGER);
    let failed = |error: io::Error| (path.clone(), error.to_string());
    let Ok(landing) = landing.canonicalize().and_then(|landing| Folder::open(&landing)) else {
        return Ok(None);
    };
    let old = match absent(landing.folder(OWN)) {
        Ok(Some(old)) => old,
        Ok(None) => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let is_here = old.own_id().map_err(failed)? == state.own_id().map_err(failed)?;
    let is_there = || old.has(LEDGER).map_err(failed);
    if is_here || state.has(LEDGER).map_err(failed)? || !is_there()? {
        return Ok(None);
    }
    let seen = old.seen().map_err(failed)?;
    let user = rustix::process::geteuid().as_raw();
    if seen.st_uid != user || seen.st_mode & 0o022 != 0 {
        return Err((path, "others can write to its folder".to_owned()));
    }
    // Without its write-ahead log the ledger is one file. `gather` refuses links and the like.
    let gathered = SqliteStore::gather(&old.join(LEDGER));
    gathered.map_err(|error| (path.clone(), Chain(&error).to_string()))?;
    match old.rename(LEDGER, state, LEDGER, None) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            copy(&old, state).map_err(failed)?;
        }
        other => other.map_err(failed)?,
    }
    Ok(Some(path))
}

fn copy(old: &Folder, state: &Folder) -> io::Result<()> {
    state.remove_file(LEDGER_NEW)?;
    let mut copy = state.create(LEDGER_NEW, Mode::RUSR | Mode::WUSR)?;
    io::copy(&mut old.open_file(LEDGER)?, &mut copy)?;
    copy.sync_all()?;
    state.rename(LEDGER_NEW, state, LEDGER, None)?;
    old.remove_file(LEDGER)
}

//! Where a pipeline's ledger is, and what is done where it is damaged.

use slog::{Logger, error, o};

use super::PipelineError;
use crate::config::{Config, OnCorrupt};
use crate::ledger::{LedgerError, LedgerHandle, SqliteStore, Store};
use crate::workspace::state_folder;

/// The ledger's file in the state folder.
pub const LEDGER_FILE: &str = "ledger.sqlite";

/// Whose entries this process's are. Nodes that share a ledger are to be told apart by it.
const NODE: &str = "local";

/// Where a pipeline keeps its ledger.
pub(super) enum Keeping {
    /// In a file of the state folder.
    InStateFolder,
    In(Box<dyn Store>),
    Nowhere,
}

impl Keeping {
    /// Opens it. Comes after the locks: another daemon's ledger is its own.
    pub(super) fn open(
        self,
        config: &Config,
        log: &Logger,
    ) -> Result<Option<LedgerHandle>, PipelineError> {
        let log = log.new(o!("actor" => "ledger"));
        let store: Box<dyn Store> = match self {
            Self::Nowhere => return Ok(None),
            Self::In(store) => store,
            Self::InStateFolder => Box::new(open_file(config, &log)?),
        };
        Ok(Some(LedgerHandle::new(store, log)?))
    }
}

fn open_file(config: &Config, log: &Logger) -> Result<SqliteStore, PipelineError> {
    let path = state_folder(config).map_err(PipelineError::State)?.join(LEDGER_FILE);
    match SqliteStore::open(&path, NODE) {
        Err(LedgerError::Corrupt { what, .. })
            if config.ledger.on_corrupt == OnCorrupt::MoveAside =>
        {
            let aside = SqliteStore::move_aside(&path)?;
            error!(log, "the ledger was damaged: it is moved aside, and a new one begins";
                "what" => what, "aside" => ?aside);
            Ok(SqliteStore::open(&path, NODE)?)
        }
        opened => Ok(opened?),
    }
}

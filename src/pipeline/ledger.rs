//! Where a pipeline's ledger is, and what happens if it is damaged.

use std::sync::Arc;

use slog::{Logger, error, o};

use super::error::PipelineError;
use super::old_ledger;
use crate::config::{Config, OnCorrupt};
use crate::ledger::{LedgerError, LedgerHandle, SqliteStore, Store};
use crate::names::LEDGER;
use crate::workspace::State;

/// The node of this process's entries. It must distinguish nodes that share a ledger.
const NODE: &str = "local";

/// Where a pipeline keeps its ledger.
pub(super) enum Keeping {
    /// In a file of the state folder.
    InStateFolder,
    In(Box<dyn Store>),
    Nowhere,
}

impl Keeping {
    /// Whether the ledger needs a state folder.
    pub(super) fn is_in_state_folder(&self) -> bool {
        matches!(self, Self::InStateFolder)
    }

    /// Opens the ledger. Called after the locks are taken: another daemon's ledger must not be opened.
    pub(super) fn open(
        self,
        config: &Config,
        state: Option<&Arc<State>>,
        log: &Logger,
    ) -> Result<Option<LedgerHandle>, PipelineError> {
        let log = log.new(o!("actor" => "ledger"));
        let store: Box<dyn Store> = match self {
            Self::Nowhere => return Ok(None),
            Self::In(store) => store,
            Self::InStateFolder => match state {
                Some(state) => Box::new(open_file(config, state, &log)?),
                None => return Ok(None), // impossible: checked before
            },
        };
        Ok(Some(LedgerHandle::new(store, log)?))
    }
}

fn open_file(
    config: &Config,
    state: &Arc<State>,
    log: &Logger,
) -> Result<SqliteStore, PipelineError> {
    let path = state.folder().join(LEDGER);
    for source in &config.sources {
        old_ledger::adopt(&source.landing, &state.folder(), log);
    }
    let state = Arc::clone(state);
    let store = match SqliteStore::open(&path, NODE) {
        Err(LedgerError::Corrupt { what, .. })
            if config.ledger.on_corrupt == OnCorrupt::MoveAside =>
        {
            let aside = SqliteStore::move_aside(&path)?;
            error!(log, "the ledger was damaged: it is moved aside, and a new one begins";
                "what" => what, "aside" => ?aside);
            SqliteStore::open(&path, NODE)?
        }
        opened => opened?,
    };
    Ok(store.with_home(move || state.again().map(drop)))
}

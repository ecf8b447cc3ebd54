//! `[ledger]`: the record of every package.

use serde::{Deserialize, Serialize};

/// The configuration of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Ledger {
    /// What a start does with a damaged ledger.
    pub on_corrupt: OnCorrupt,
}

/// What a start does with a ledger that cannot be read. No package is lost either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OnCorrupt {
    /// The daemon exits with 78. Longshore itself cannot damage the file, so a person should look for the
    /// cause; meanwhile no earlier delivery is mistaken for a new one.
    #[default]
    Refuse,
    /// The daemon moves the file aside, creates a new one and continues.
    MoveAside,
}

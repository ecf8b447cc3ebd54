//! `[ledger]`: the record of every package.

use serde::{Deserialize, Serialize};

/// What the daemon does about its ledger.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Ledger {
    /// What a start does that finds it damaged.
    pub on_corrupt: OnCorrupt,
}

/// What a start does about a ledger that cannot be understood. No package is lost either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OnCorrupt {
    /// It ends, with 78. Somebody looks why a file is damaged that longshore cannot damage, and what
    /// was delivered before is not taken for new meanwhile.
    #[default]
    Refuse,
    /// It moves the file aside, begins a new one and goes on.
    MoveAside,
}

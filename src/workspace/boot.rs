//! `.boot`: when the work area was last in use, and how that ended.
//!
//! **Invariants:** the boot id changes only once recovery is through, so that one that died halfway
//! judges by the same boot when it runs again. Which jobs a crash is counted for is written down
//! before the first of them is touched, so that no crash counts twice.

use std::collections::BTreeMap;
use std::fs;
use std::io;

use serde::{Deserialize, Serialize};

use crate::folder::Folder;
use crate::names::{BOOT, BOOT_NEW};

/// How the last run ended, as far as anyone could tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    /// It runs, or died.
    Running,
    /// It was asked to stop. If it died before it had stopped, that is no crash.
    Stopping,
    /// It ended as it was asked to.
    Stopped,
    /// It was counting the crashes of the run before it, or died over that.
    Recovering,
}

/// The content of `.boot`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Boot {
    /// Version of this record: 1.
    v: u32,
    /// The kernel's boot id in the last run; empty where the system has none.
    pub(super) boot: String,
    pub(super) state: State,
    /// While recovering: the crashes that each of these jobs has now, by id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) crashed: BTreeMap<String, u32>,
    /// Each job that is archived has a `.passed.json`; an earlier version wrote none.
    #[serde(default)]
    pub(super) records: bool,
}

impl Boot {
    pub(super) fn new(boot: String, state: State) -> Self {
        Self { v: 1, boot, state, crashed: BTreeMap::new(), records: true }
    }

    /// Reads the record in a work area; `None` if there is none that can be understood.
    pub(super) fn read(part: &Folder) -> io::Result<Option<Self>> {
        let Some(bytes) = part.read(BOOT)? else { return Ok(None) };
        Ok(serde_json::from_slice(&bytes).ok().filter(|boot: &Self| boot.v == 1))
    }

    /// Writes the record, whole or not at all.
    pub(super) fn write(&self, part: &Folder) -> io::Result<()> {
        part.write(BOOT_NEW, &serde_json::to_vec(self)?)?;
        part.replace(BOOT_NEW, BOOT)
    }
}

/// The kernel's id of this boot; empty where there is none, which equals no other.
pub(super) fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map_or(String::new(), |id| id.trim().to_owned())
}

//! `.boot`: when the work area was last in use, and how that run ended.
//!
//! **Invariants:** the boot id changes only after recovery is complete, so that a recovery that died
//! halfway judges by the same boot when it runs again. The jobs that a crash is counted for are recorded
//! before the first of them is touched, so that no crash is counted twice.

use std::collections::BTreeMap;
use std::fs;
use std::io;

use serde::{Deserialize, Serialize};

use crate::folder::Folder;
use crate::names::{BOOT, BOOT_NEW};

/// How the last run ended, as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    /// It is running, or it died.
    Running,
    /// It was asked to stop. Its death before the stop was complete is not a crash.
    Stopping,
    /// It ended as requested.
    Stopped,
    /// It was counting the crashes of the previous run, or died while doing so.
    Recovering,
}

/// The content of `.boot`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Boot {
    /// Version of this record: 1.
    v: u32,
    /// The kernel's boot id during the last run; empty if the system has none.
    pub(super) boot: String,
    pub(super) state: State,
    /// While recovering: the new crash count of each of these jobs, by id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) crashed: BTreeMap<String, u32>,
    /// Each archived job has a `.passed.json`; an earlier version wrote none.
    #[serde(default)]
    pub(super) records: bool,
}

impl Boot {
    pub(super) fn new(boot: String, state: State) -> Self {
        Self { v: 1, boot, state, crashed: BTreeMap::new(), records: true }
    }

    /// Reads the record in a work area; `None` if it is missing or cannot be parsed.
    pub(super) fn read(part: &Folder) -> io::Result<Option<Self>> {
        let Some(bytes) = part.read(BOOT)? else { return Ok(None) };
        Ok(serde_json::from_slice(&bytes).ok().filter(|boot: &Self| boot.v == 1))
    }

    /// Writes the record atomically.
    pub(super) fn write(&self, part: &Folder) -> io::Result<()> {
        part.write(BOOT_NEW, &serde_json::to_vec(self)?)?;
        part.replace(BOOT_NEW, BOOT)
    }
}

/// Returns the kernel's id of this boot; empty if there is none. An empty id equals no other.
pub(super) fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map_or(String::new(), |id| id.trim().to_owned())
}

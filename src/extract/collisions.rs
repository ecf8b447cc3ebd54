//! Names that are one where neither case nor Unicode normal form counts.
//!
//! In: files and folders, no two of them equal. Out: the first two that some file system cannot keep
//! apart.

use std::collections::HashMap;

use unicode_normalization::UnicodeNormalization;

use super::entry::{EntryKind, PlannedEntry};
use super::error::ExtractError;
use super::tree::Tree;

/// Compares within each folder.
///
/// # Errors
/// [`ExtractError::Collision`].
pub(super) fn check(entries: &[PlannedEntry], tree: &Tree) -> Result<(), ExtractError> {
    let mut seen: HashMap<(u32, String), String> = HashMap::new();
    let folders = tree.folders.iter().enumerate().skip(1);
    let folders = folders.map(|(index, folder)| (folder.parent, &*folder.name, index as u32));
    for (parent, name, index) in folders {
        if let Some(other) = seen.insert((parent, folded(name)), tree.path(index)) {
            return Err(ExtractError::Collision { entry: tree.path(index), other });
        }
    }
    for entry in entries.iter().filter(|entry| entry.kind == EntryKind::File) {
        if let Some(other) = seen.insert((entry.folder, folded(entry.leaf())), entry.name()) {
            return Err(ExtractError::Collision { entry: entry.name(), other });
        }
    }
    Ok(())
}

fn folded(name: &str) -> String {
    name.nfc().flat_map(char::to_lowercase).nfc().collect()
}

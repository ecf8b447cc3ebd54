//! Finds names that are equal if case and Unicode normal form are ignored.
//!
//! In: files and folders, no two of them equal. Out: the first two that some file system cannot
//! distinguish.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use unicode_normalization::UnicodeNormalization;

use super::entry::{EntryKind, PlannedEntry};
use super::error::{EntryName, ExtractError};
use super::tree::Tree;

/// Compares the names within each folder.
///
/// # Errors
/// [`ExtractError::Collision`].
pub(super) fn check(entries: &[PlannedEntry], tree: &Tree) -> Result<(), ExtractError> {
    // Stores hashes: the names would take the memory of all names once more.
    let (mut seen, hasher) = (HashMap::new(), RandomState::new());
    let folders = tree.folders.iter().enumerate().skip(1).map(|(index, folder)| {
        let index = index as u32;
        (folder.parent, tree.leaf(entries, index), tree.path(entries, index))
    });
    let files = entries.iter().filter(|entry| entry.kind == EntryKind::File);
    let files = files.map(|entry| (entry.folder, entry.leaf(), &*entry.path));
    for (parent, leaf, path) in folders.chain(files) {
        if let Some(other) = seen.insert((parent, hasher.hash_one(folded(leaf))), path) {
            return Err(ExtractError::Collision {
                entry: EntryName::new(path),
                other: EntryName::new(other),
            });
        }
    }
    Ok(())
}

fn folded(name: &str) -> String {
    name.nfc().flat_map(char::to_lowercase).nfc().collect()
}

//! [`Slice`]: a part of one plan's entries, the unit of work of the pool.

use std::ops::Range;

use super::entry::PlannedEntry;

/// A run of entries in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice {
    pub(super) range: Range<usize>,
    bytes: u64,
}

impl Slice {
    /// Returns the number of entries; 0 only for an empty archive.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.range.len()
    }

    /// Returns the number of bytes of its files, unpacked.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// Cuts entries into slices; see [`super::Plan::slices`].
pub(super) fn cut(entries: &[PlannedEntry], max_bytes: u64, max_entries: usize) -> Vec<Slice> {
    let mut slices = Vec::new();
    let mut slice = Slice { range: 0..0, bytes: 0 };
    for (index, entry) in entries.iter().enumerate() {
        let bytes = slice.bytes.saturating_add(entry.bytes());
        let full = slice.range.len() >= max_entries.max(1) || bytes > max_bytes;
        if full && !slice.range.is_empty() {
            slices.push(std::mem::replace(&mut slice, Slice { range: index..index, bytes: 0 }));
        }
        slice.range.end = index + 1;
        slice.bytes += entry.bytes();
    }
    slices.push(slice);
    slices
}

//! [`Plan`]: the whole result of unpacking an archive, judged before a byte of it is written.
//!
//! In: an open ZIP and [`Options`]. Out: entries in the order of the file, the folders that they
//! need, and totals; or the first rule that the archive breaks.
//!
//! **Invariant:** a plan is safe to write under its output folder: each path is relative and has no
//! `..`, no two files have the same path, no file is a folder, and each entry's data lies inside
//! the file and overlaps no other's.

use std::collections::HashSet;
use std::fs::File;
use std::sync::{Mutex, PoisonError};

use super::charset::Charset;
use super::choose::Remark;
use super::collisions;
use super::end;
use super::entry::{EntryKind, PlannedEntry};
use super::error::ExtractError;
use super::inventory::{self, Names};
use super::options::{Collisions, Limits, Options, Password};
use super::slice::{self, Slice};
use super::stamp::Stamp;
use super::tree::Tree;
use super::walk::Walk;
use super::window::Window;

/// An archive that passed every rule.
#[derive(Debug)]
pub struct Plan {
    pub(super) entries: Vec<PlannedEntry>,
    pub(super) tree: Tree,
    pub(super) stamp: Stamp,
    pub(super) limits: Limits,
    pub(super) modes: super::options::Modes,
    pub(super) password: Option<Password>,
    /// The options with which it was read: it may have to be read again in the same way.
    pub(super) options: Options,
    /// Raw names in the order of the central directory, and for each entry its index there. `None`
    /// if no path differs from its raw name.
    raw_names: Option<(Names, Vec<u32>)>,
    charset: Charset,
    total_bytes: u64,
    records: [u8; 32],
    /// The bytes of a small archive, so that it need not be read again. The first slice takes them.
    held: Mutex<Option<Window>>,
}

impl Plan {
    /// Reads and judges the archive in `zip`, regardless of the file's position. Drops remarks.
    ///
    /// # Errors
    /// [`ExtractError::Read`] or [`ExtractError::Changed`] if the file cannot be read; any other
    /// error if the archive breaks a rule.
    pub fn read(zip: &File, options: &Options) -> Result<Self, ExtractError> {
        Self::read_remarking(zip, options, &mut Vec::new())
    }

    /// Like [`Plan::read`], and adds remarks for the operator to `remarks`, even if the archive is
    /// refused.
    ///
    /// # Errors
    /// See [`Plan::read`].
    pub fn read_remarking(
        zip: &File,
        options: &Options,
        remarks: &mut Vec<Remark>,
    ) -> Result<Self, ExtractError> {
        let stamp = Stamp::of(zip)?;
        let mut window = Window::recycled();
        let directory = end::locate(zip, stamp.len, &mut window, options.framing)?;
        let mut found = inventory::read(zip, &mut window, directory, options, remarks)?;

        let in_order = |pair: &[PlannedEntry]| pair[0].header_offset <= pair[1].header_offset;
        let sorted = found.entries.windows(2).all(in_order);
        let mut order: Vec<u32> = (0..found.entries.len() as u32).collect();
        if !sorted {
            order.sort_by_key(|&index| found.entries[index as usize].header_offset);
        }
        let mut walk = Walk { file: zip, window: &mut window, directory, framing: options.framing };
        walk.run(&mut found.entries, &order, &found.names)?;
        found.names.forget_unicode();

        let inventory::Inventory { mut entries, names, respelt, charset, records } = found;
        // Done before the tree stores the names once more.
        let raw_names = respelt.then_some((names, order));
        if !sorted {
            entries.sort_by_key(|entry| entry.header_offset);
        }
        let tree = Tree::build(&mut entries, options.limits.entries)?;
        if options.collisions == Collisions::Refuse {
            collisions::check(&entries, &tree)?;
        }
        let total_bytes = total(&entries, &options.limits)?;
        Ok(Self {
            entries,
            tree,
            stamp,
            limits: options.limits.clone(),
            modes: options.modes,
            password: options.password.clone(),
            options: options.clone(),
            raw_names,
            charset,
            total_bytes,
            records,
            held: Mutex::new((window.held(0) as u64 == stamp.len).then_some(window)),
        })
    }

    /// Takes the archive's bytes, if all of them were read at once.
    pub(super) fn take_held(&self) -> Option<Window> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Returns all entries, in the order of the file. Folders that are only implied by paths are
    /// not among them.
    #[must_use]
    pub fn entries(&self) -> &[PlannedEntry] {
        &self.entries
    }

    /// Returns the number of bytes of all files together, unpacked.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    /// Returns the number of files and folders that will exist, including folders that are only
    /// implied by paths.
    #[must_use]
    pub fn inodes(&self) -> u64 {
        let files = self.entries.iter().filter(|entry| entry.kind == EntryKind::File).count();
        (files + self.tree.folders.len() - 1) as u64
    }

    /// Returns the BLAKE3 of the central directory's records, as recorded in the file: with all
    /// times, attributes, extra fields and comments.
    #[must_use]
    pub fn records(&self) -> [u8; 32] {
        self.records
    }

    /// Returns the size of the ZIP in bytes.
    #[must_use]
    pub fn zip_len(&self) -> u64 {
        self.stamp.len
    }

    /// Returns the charset of the names that are not valid UTF-8 and that neither a flag nor an
    /// extra field marks; UTF-8 if there are no such names.
    #[must_use]
    pub fn charset(&self) -> Charset {
        self.charset
    }

    /// Returns the name of the entry at `index`, as recorded in the archive.
    #[must_use]
    pub fn raw_name(&self, index: usize) -> &[u8] {
        match &self.raw_names {
            Some((names, order)) => order.get(index).map_or(&[], |&at| names.get(at as usize)),
            None => self.entries.get(index).map_or(&[], |entry| entry.path.as_bytes()),
        }
    }

    /// Returns the first components of all paths, each once: the top level of the output folder.
    pub fn top_level(&self) -> impl Iterator<Item = &str> {
        // The folder of a link that is left out still exists.
        let made = |entry: &&PlannedEntry| {
            entry.kind != EntryKind::SkippedLink || !entry.parent().is_empty()
        };
        let written = self.entries.iter().filter(made);
        let tops = written.filter_map(|entry| entry.path.split('/').next());
        let mut seen = HashSet::new();
        tops.filter(move |top| !top.is_empty() && seen.insert(*top))
    }

    /// Cuts the entries, in the order of the file, into slices. Each slice has at most
    /// `max_entries`, and at most `max_bytes` unpacked unless it has only one entry. Returns at
    /// least one slice, which may be empty.
    #[must_use]
    pub fn slices(&self, max_bytes: u64, max_entries: usize) -> Vec<Slice> {
        slice::cut(&self.entries, max_bytes, max_entries)
    }
}

fn total(entries: &[PlannedEntry], limits: &Limits) -> Result<u64, ExtractError> {
    let sum =
        |of: fn(&PlannedEntry) -> u64| entries.iter().map(of).fold(0_u64, u64::saturating_add);
    let (bytes, packed_bytes) = (sum(PlannedEntry::bytes), sum(|entry| entry.compressed));
    if bytes > limits.total_bytes {
        return Err(ExtractError::TotalTooLarge { bytes, limit_bytes: limits.total_bytes });
    }
    let too_much = |size: u64, packed: u64| {
        size > limits.ratio_from_bytes && size / packed.max(1) >= limits.ratio.max(1)
    };
    // One entry must not be hidden among others that do not compress.
    let worst = entries.iter().find(|entry| too_much(entry.size, entry.compressed));
    let worst = worst.map_or((bytes, packed_bytes), |entry| (entry.size, entry.compressed));
    if too_much(worst.0, worst.1) {
        let (bytes, packed_bytes) = worst;
        return Err(ExtractError::RatioTooHigh { bytes, packed_bytes, limit: limits.ratio });
    }
    Ok(bytes)
}

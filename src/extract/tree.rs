//! [`Tree`]: the folders of an archive, and the proof that no two files have the same path.
//!
//! In: normalised paths. Out: folders by index, parents before children, including implicit ones.

use std::collections::HashMap;

use super::entry::{EntryKind, Modified, PlannedEntry};
use super::error::ExtractError;

/// One folder. The output folder itself has index 0 and no name.
#[derive(Debug, Clone, Default)]
pub(super) struct Folder {
    /// The index of its parent, which is always smaller than its own.
    pub(super) parent: u32,
    /// The index of an entry that is this folder or is in it: the entry's path starts with the
    /// folder's path.
    entry: u32,
    /// The length of the folder's path within that entry's path, in bytes.
    len: u32,
    /// Permission bits, if the archive has an entry for the folder with permission bits.
    pub(super) mode: Option<u16>,
    /// The modification time, if the archive has an entry for the folder with a time.
    pub(super) modified: Option<Modified>,
    /// The number of files directly in the folder.
    pub(super) files: u32,
}

#[derive(Clone, Copy)]
enum Node {
    Folder(u32),
    File,
}

/// The folders of an archive.
#[derive(Debug, Default)]
pub(super) struct Tree {
    pub(super) folders: Vec<Folder>,
}

impl Tree {
    /// Builds the tree of at most `limit` folders, and sets the folder of every entry.
    ///
    /// # Errors
    /// [`ExtractError::Duplicate`], [`ExtractError::FileAgainstFolder`] or
    /// [`ExtractError::TooManyEntries`].
    pub(super) fn build(entries: &mut [PlannedEntry], limit: u64) -> Result<Self, ExtractError> {
        let mut places = Vec::with_capacity(entries.len());
        let mut builder = Builder {
            folders: vec![Folder::default()],
            nodes: HashMap::with_capacity(entries.len()),
            parents: HashMap::new(),
            last: ("", 0),
            at: 0,
            limit,
        };
        for (index, entry) in entries.iter().enumerate() {
            builder.at = index as u32;
            places.push(builder.add(entry)?);
        }
        let mut folders = builder.folders;
        for (entry, place) in entries.iter_mut().zip(places) {
            entry.folder = place;
            if entry.kind == EntryKind::File {
                folders[place as usize].files += 1;
            }
        }
        Ok(Self { folders })
    }

    /// Returns a folder's path; empty for the output folder. `entries` must be those from which the
    /// tree was built.
    pub(super) fn path<'e>(&self, entries: &'e [PlannedEntry], index: u32) -> &'e str {
        let folder = &self.folders[index as usize];
        match entries.get(folder.entry as usize) {
            Some(entry) if index != 0 => &entry.path[..folder.len as usize],
            _ => "",
        }
    }

    /// Returns the last component of a folder's path.
    pub(super) fn leaf<'e>(&self, entries: &'e [PlannedEntry], index: u32) -> &'e str {
        let path = self.path(entries, index);
        path.rsplit('/').next().unwrap_or(path)
    }
}

struct Builder<'a> {
    folders: Vec<Folder>,
    nodes: HashMap<(u32, &'a str), Node>,
    /// Folders by path: one look-up suffices if all components have been seen.
    parents: HashMap<&'a str, u32>,
    last: (&'a str, u32),
    /// The index of the entry that is being added.
    at: u32,
    limit: u64,
}

impl<'a> Builder<'a> {
    fn add(&mut self, entry: &'a PlannedEntry) -> Result<u32, ExtractError> {
        match entry.kind {
            EntryKind::Folder => {
                let index = self.folder(&entry.path, entry)?;
                let folder = &mut self.folders[index as usize];
                // Merged archives list a folder for each part. The last entry counts.
                folder.mode = entry.mode.or(folder.mode);
                folder.modified = entry.modified.or(folder.modified);
                Ok(index)
            }
            EntryKind::File | EntryKind::SkippedLink => {
                let (parent, leaf) = entry.path.rsplit_once('/').unwrap_or(("", &entry.path));
                let index = self.folder(parent, entry)?;
                match self.nodes.insert((index, leaf), Node::File) {
                    None => Ok(index),
                    Some(Node::File) => Err(ExtractError::Duplicate { entry: entry.name() }),
                    Some(Node::Folder(_)) => {
                        Err(ExtractError::FileAgainstFolder { entry: entry.name() })
                    }
                }
            }
        }
    }

    /// Returns the index of the folder at `path`, and creates missing folders. `path` is the path
    /// of `entry` or a start of it.
    fn folder(&mut self, path: &'a str, entry: &PlannedEntry) -> Result<u32, ExtractError> {
        if path.is_empty() {
            return Ok(0);
        }
        if self.last.0 == path {
            return Ok(self.last.1);
        }
        let mut index = 0;
        if let Some(&known) = self.parents.get(path) {
            index = known;
        } else {
            let mut len = 0;
            for name in path.split('/') {
                len += name.len();
                index = self.child(index, name, len, entry)?;
                len += 1;
            }
            self.parents.insert(path, index);
        }
        self.last = (path, index);
        Ok(index)
    }

    fn child(
        &mut self,
        parent: u32,
        name: &'a str,
        len: usize,
        entry: &PlannedEntry,
    ) -> Result<u32, ExtractError> {
        match self.nodes.get(&(parent, name)) {
            Some(&Node::Folder(index)) => return Ok(index),
            Some(Node::File) => {
                return Err(ExtractError::FileAgainstFolder { entry: entry.name() });
            }
            None => {}
        }
        let found = self.folders.len() as u64;
        let index = u32::try_from(self.folders.len()).unwrap_or(u32::MAX);
        if found > self.limit || index == u32::MAX {
            return Err(ExtractError::TooManyEntries { found, limit: self.limit });
        }
        self.nodes.insert((parent, name), Node::Folder(index));
        // No path is longer: names of more than 64 KiB cannot be recorded.
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        self.folders.push(Folder { parent, entry: self.at, len, ..Folder::default() });
        Ok(index)
    }
}

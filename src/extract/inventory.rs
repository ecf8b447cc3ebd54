//! Reads the central directory into entries, and decodes their names.
//!
//! In: the place of the directory. Out: entries in the directory's order, with paths that passed
//! every rule. Their place in the file is not judged yet.

use std::borrow::Cow;
use std::fs::File;

use super::charset::Charset;
use super::choose::{self, Remark};
use super::end::Directory;
use super::entry::{self, Attributes, EntryKind, Lock, Method, PlannedEntry};
use super::error::{EntryName, ExtractError};
use super::header::{self, Aes, CENTRAL, Central, flag};
use super::names::{self, is_same};
use super::options::{Collisions, Limits, Options, Symlinks};
use super::window::Window;

/// The directory is read in pieces of this many bytes. A record is at most 192 KiB.
const AHEAD: usize = 256 << 10;

/// Raw names, one after another, and the Unicode names of the entries that have one.
#[derive(Debug, Default)]
pub(super) struct Names {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    /// By entry index, in ascending order, as recorded in the extra field.
    unicode: Vec<(u32, Box<str>)>,
}

impl Names {
    /// Returns the name at `index`, which must have been pushed.
    pub(super) fn get(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..self.ends[index]]
    }

    /// Returns the name that Info-ZIP's extra field gives to the entry at `index`.
    pub(super) fn unicode(&self, index: usize) -> Option<&str> {
        let at = self.unicode.binary_search_by_key(&index, |(at, _)| *at as usize).ok()?;
        Some(&self.unicode[at].1)
    }

    /// Frees the memory of the Unicode names. Called once they have been compared.
    pub(super) fn forget_unicode(&mut self) {
        self.unicode = Vec::new();
    }

    fn push(&mut self, name: &[u8]) {
        self.bytes.extend_from_slice(name);
        self.ends.push(self.bytes.len());
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> + Clone {
        (0..self.ends.len()).map(|index| self.get(index))
    }
}

/// The content of the central directory.
#[derive(Debug)]
pub(super) struct Inventory {
    pub(super) entries: Vec<PlannedEntry>,
    pub(super) names: Names,
    /// Whether the spelling of some path differs from its raw name.
    pub(super) respelt: bool,
    pub(super) charset: Charset,
    /// BLAKE3 of all records, as recorded in the file.
    pub(super) records: [u8; 32],
}

/// Reads and judges all records.
///
/// # Errors
/// The error of the first rule that a record or a name breaks.
pub(super) fn read(
    file: &File,
    window: &mut Window,
    directory: Directory,
    options: &Options,
    remarks: &mut Vec<Remark>,
) -> Result<Inventory, ExtractError> {
    let limits = &options.limits;
    let Directory { start, end, entries: declared, is_modular, shift } = directory;
    let check = |found: u64| {
        if found > limits.entries.min(u64::from(u32::MAX)) {
            return Err(ExtractError::TooManyEntries { found, limit: limits.entries });
        }
        Ok(())
    };
    check(declared)?;
    let mut draft = Draft::new(options);
    let mut records = blake3::Hasher::new();
    let (mut at, mut count) = (start, 0);
    while at < end {
        count += 1;
        check(count)?;
        let fixed = view(file, window, at, CENTRAL, end)?;
        let [name_len, extra_len, comment_len] = header::central_lengths(fixed, at)?;
        let len = CENTRAL + name_len + extra_len + comment_len;
        let bytes = view(file, window, at, len, end)?;
        records.update(bytes);
        let mut central = header::central(bytes, name_len, extra_len, at)?;
        central.offset = central.offset.saturating_add(shift);
        let raw = &bytes[CENTRAL..CENTRAL + name_len];
        if name_len > limits.path_bytes {
            let limit_bytes = limits.path_bytes as u64;
            return Err(ExtractError::NameTooLong { entry: EntryName::raw(raw), limit_bytes });
        }
        let extra = &bytes[CENTRAL + name_len..CENTRAL + name_len + extra_len];
        let unicode = central.extra.unicode_path(raw, extra).map_err(|problem| {
            ExtractError::Malformed { record: "central header", offset: at, problem }
        })?;
        draft.add(raw, unicode, &central)?;
        at += len as u64;
    }
    let modulus = if is_modular { 1 << 16 } else { u64::MAX };
    if count % modulus != declared {
        let (field, found) = ("the number of entries", count);
        return Err(ExtractError::EndRecord { field, declared, found });
    }
    draft.name(records.finalize().into(), remarks)
}

fn view<'w>(
    file: &File,
    window: &'w mut Window,
    at: u64,
    len: usize,
    end: u64,
) -> Result<&'w [u8], ExtractError> {
    if end - at < len as u64 {
        let (record, problem) = ("central header", "it reaches beyond the directory");
        return Err(ExtractError::Malformed { record, offset: at, problem });
    }
    match window.view(file, at, len, AHEAD, end) {
        Ok(bytes) => Ok(bytes),
        Err(error) => Err(ExtractError::read(at, error)),
    }
}

/// Entries whose names are not decoded yet.
struct Draft<'a> {
    options: &'a Options,
    entries: Vec<PlannedEntry>,
    names: Names,
    /// Entries whose names are not valid UTF-8 and are marked by neither a flag nor an extra field.
    undecided: Vec<u32>,
    /// The number of bytes of all names.
    name_bytes: u64,
    /// Whether all entries were written on a DOS or Windows host.
    all_dos: bool,
}

impl<'a> Draft<'a> {
    fn new(options: &'a Options) -> Self {
        Self {
            options,
            entries: Vec::new(),
            names: Names::default(),
            undecided: Vec::new(),
            name_bytes: 0,
            all_dos: true,
        }
    }

    fn add(
        &mut self,
        raw: &[u8],
        unicode: Option<&str>,
        central: &Central,
    ) -> Result<(), ExtractError> {
        let limits = &self.options.limits;
        let method = entry::unsupported(central, raw)?;
        let lock = self.lock(raw, central)?;
        if central.size > limits.entry_bytes {
            let (bytes, limit_bytes) = (central.size, limits.entry_bytes);
            return Err(ExtractError::EntryTooLarge {
                entry: EntryName::raw(raw),
                bytes,
                limit_bytes,
            });
        }
        let overhead = lock.map_or(0, Lock::overhead);
        if method == Method::Stored
            && central.size.checked_add(overhead) != Some(central.compressed)
        {
            return Err(if central.size > central.compressed {
                let offset = central.offset;
                let (expected, found) = (central.size, central.compressed);
                ExtractError::TooShort { entry: EntryName::raw(raw), offset, expected, found }
            } else {
                let (offset, expected) = (central.offset, central.size);
                ExtractError::TooLong { entry: EntryName::raw(raw), offset, expected }
            });
        }
        self.name_bytes += raw.len() as u64;
        let (index, is_marked) = (self.entries.len() as u32, central.flags & flag::UTF_8 != 0);
        if let Some(name) = unicode {
            if name.len() > limits.path_bytes {
                let limit_bytes = limits.path_bytes as u64;
                return Err(ExtractError::NameTooLong { entry: EntryName::raw(raw), limit_bytes });
            }
            if is_marked && !is_same(name, raw) {
                let (entry, other) = (EntryName::raw(raw), EntryName::new(name));
                let place = ", and the name itself is marked as UTF-8";
                return Err(ExtractError::UnicodeName { entry, other, place });
            }
            if name.ends_with(['/', '\\']) != raw.ends_with(b"/") {
                let (entry, other) = (EntryName::raw(raw), EntryName::new(name));
                let place = ", and one of the two ends in a slash";
                return Err(ExtractError::UnicodeName { entry, other, place });
            }
            names::judge_raw(raw, limits)?;
            self.name_bytes += name.len() as u64;
            self.names.unicode.push((index, name.into()));
        } else if std::str::from_utf8(raw).is_err() {
            if is_marked {
                let problem = "it is marked as UTF-8 and is not";
                return Err(ExtractError::BadName { entry: EntryName::raw(raw), problem });
            }
            self.undecided.push(index);
        }
        within_name_limit(self.name_bytes, limits)?;
        // Some readers use the other field that names a host.
        self.all_dos &= matches!(central.host, 0 | 6 | 10 | 11 | 14) && central.needed_host == 0;
        self.names.push(raw);
        // Before the name is decoded, a trailing backslash is not a separator: it may be half a letter.
        let (attributes, mode) = entry::attributes(central, raw.ends_with(b"/"));
        let kind = match (attributes, self.options.symlinks) {
            _ if entry::is_folder_to_some(central, attributes, raw.ends_with(b"/")) => {
                let problem =
                    "they make it a folder to some readers, and its name a file to others";
                let record = "attributes of an entry";
                return Err(ExtractError::Malformed { record, offset: central.offset, problem });
            }
            (Attributes::File, _) => EntryKind::File,
            (Attributes::Folder, _) => EntryKind::Folder,
            (Attributes::Link, Symlinks::Skip) => EntryKind::SkippedLink,
            (Attributes::Link, Symlinks::Refuse) => {
                return Err(ExtractError::Symlink { entry: EntryName::raw(raw) });
            }
            (Attributes::Special(kind), _) => {
                return Err(ExtractError::SpecialFile { entry: EntryName::raw(raw), kind });
            }
        };
        self.entries.push(PlannedEntry {
            path: Box::default(),
            kind,
            size: central.size,
            compressed: central.compressed,
            crc: central.crc,
            method,
            mode,
            modified: entry::modified(central, &self.options.zone),
            header_offset: central.offset,
            data_offset: 0,
            folder: 0,
            flags: central.flags,
            method_id: central.method,
            lock,
        });
        Ok(())
    }

    fn lock(&self, raw: &[u8], central: &Central) -> Result<Option<Lock>, ExtractError> {
        if central.flags & flag::ENCRYPTED == 0 {
            return match central.method {
                99 => Err(ExtractError::Unsupported {
                    entry: EntryName::raw(raw),
                    feature: "AES without the flag of encryption".to_owned(),
                }),
                _ => Ok(None),
            };
        }
        if self.options.password.is_none() {
            return Err(ExtractError::Encrypted { entry: EntryName::raw(raw) });
        }
        let lock = match (central.method, central.extra.aes) {
            (99, Some(Aes { version: version @ 1..=2, strength: strength @ 1..=3, .. })) => {
                Lock::Aes { version: version as u8, strength }
            }
            (99, _) => {
                let feature = "this kind of AES".to_owned();
                return Err(ExtractError::Unsupported { entry: EntryName::raw(raw), feature });
            }
            _ if central.flags & flag::DESCRIPTOR != 0 => {
                Lock::ZipCrypto { check: (central.dos_time >> 8) as u8 }
            }
            _ => Lock::ZipCrypto { check: (central.crc >> 24) as u8 },
        };
        if central.compressed < lock.overhead() {
            let (offset, expected) = (central.offset, lock.overhead());
            let found = central.compressed;
            return Err(ExtractError::TooShort {
                entry: EntryName::raw(raw),
                offset,
                expected,
                found,
            });
        }
        Ok(Some(lock))
    }

    /// Decodes all names, judges them, and completes the entries.
    fn name(self, records: [u8; 32], remarks: &mut Vec<Remark>) -> Result<Inventory, ExtractError> {
        let Self { options, mut entries, names, undecided, all_dos, .. } = self;
        let charset = if undecided.is_empty() {
            Charset::UTF_8
        } else {
            let raw = undecided.iter().map(|&index| names.get(index as usize));
            choose::choose(raw, options.charset, all_dos, remarks)?
        };
        let mut unicode = names.unicode.iter().peekable();
        let mut undecided = undecided.into_iter().peekable();
        let backslash = all_dos && !names.iter().any(|raw| raw.contains(&b'/'));
        let (mut respelt, mut path_bytes) = (false, 0);
        for (index, entry) in entries.iter_mut().enumerate() {
            let raw = names.get(index);
            let decoded = if let Some((_, name)) = unicode.next_if(|(at, _)| *at as usize == index)
            {
                // WinZip has its own separators in there.
                let foreign = name.contains('\\') && !raw.contains(&b'\\');
                Some(if foreign { name.replace('\\', "/").into() } else { (&**name).into() })
            } else if undecided.next_if(|&at| at as usize == index).is_some() {
                charset.decode(raw)
            } else {
                std::str::from_utf8(raw).ok().map(Cow::Borrowed)
            };
            let Some(decoded) = decoded else {
                let problem = "its charset does not have it"; // cannot happen: it was checked before
                return Err(ExtractError::BadName { entry: EntryName::raw(raw), problem });
            };
            let normal = names::normalise(&decoded, backslash, &options.limits)?;
            if options.reserved_names == Collisions::Refuse && names::is_reserved(&normal.path) {
                let problem = "Windows cannot hold it";
                return Err(ExtractError::BadName { entry: EntryName::new(&decoded), problem });
            }
            respelt |= normal.path.as_bytes() != raw;
            path_bytes += normal.path.len() as u64;
            within_name_limit(path_bytes, &options.limits)?;
            entry.path = normal.path;
            settle_kind(entry, normal.folder, &decoded)?;
        }
        Ok(Inventory { entries, names, respelt, charset, records })
    }
}

/// All names together, raw or decoded.
fn within_name_limit(bytes: u64, limits: &Limits) -> Result<(), ExtractError> {
    let limit_bytes = limits.entries.saturating_mul(limits.mean_name_bytes).max(1 << 20);
    if bytes > limit_bytes {
        return Err(ExtractError::NamesTooLarge { bytes, limit_bytes });
    }
    Ok(())
}

/// What the decoded name adds: a trailing separator is a folder's.
fn settle_kind(entry: &mut PlannedEntry, folder: bool, name: &str) -> Result<(), ExtractError> {
    if folder && entry.kind == EntryKind::File {
        entry.kind = EntryKind::Folder;
    }
    if entry.kind == EntryKind::Folder && entry.size != 0 {
        return Err(ExtractError::FolderWithData {
            entry: EntryName::new(name),
            bytes: entry.size,
        });
    }
    if entry.path.is_empty() && entry.kind != EntryKind::Folder {
        let problem = "it names no file";
        return Err(ExtractError::BadName { entry: EntryName::new(name), problem });
    }
    Ok(())
}

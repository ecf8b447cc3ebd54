//! Reads the central directory into entries, and decides what their names are.
//!
//! In: the directory's place. Out: entries in its order, with paths that passed every rule; their
//! place in the file is not judged yet.

use std::fs::File;

use super::charset::Charset;
use super::end::Directory;
use super::entry::{self, Attributes, EntryKind, Lock, Method, PlannedEntry};
use super::error::ExtractError;
use super::header::{self, Aes, CENTRAL, Central, flag};
use super::names;
use super::options::{Collisions, Limits, Options, Symlinks};
use super::window::Window;

/// The directory is read in pieces of so many bytes; a record is at most 192 KiB.
const AHEAD: usize = 256 << 10;

/// Raw names, one after another.
#[derive(Debug, Default)]
pub(super) struct Names {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Names {
    /// The name at `index`, which is one that was pushed.
    pub(super) fn get(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..self.ends[index]]
    }

    fn push(&mut self, name: &[u8]) {
        self.bytes.extend_from_slice(name);
        self.ends.push(self.bytes.len());
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> + Clone {
        (0..self.ends.len()).map(|index| self.get(index))
    }
}

/// What the central directory says.
#[derive(Debug)]
pub(super) struct Inventory {
    pub(super) entries: Vec<PlannedEntry>,
    pub(super) names: Names,
    /// Some path is spelt otherwise than its raw name.
    pub(super) respelt: bool,
    pub(super) charset: Charset,
    pub(super) digest: u64,
}

/// Reads and judges all records.
///
/// # Errors
/// Whatever rule a record or a name breaks.
pub(super) fn read(
    file: &File,
    window: &mut Window,
    directory: Directory,
    options: &Options,
) -> Result<Inventory, ExtractError> {
    let limits = &options.limits;
    let Directory { start, end, entries: count, shift } = directory;
    if count > limits.entries || count > u64::from(u32::MAX) {
        return Err(ExtractError::TooManyEntries { found: count, limit: limits.entries });
    }
    let least = count.saturating_mul(CENTRAL as u64);
    if end - start < least {
        let (field, found) = ("the directory's size", end - start);
        return Err(ExtractError::EndRecord { field, expected: least, found });
    }
    let mut draft = Draft::new(options);
    let mut at = start;
    for _ in 0..count {
        let fixed = view(file, window, at, CENTRAL, end)?;
        let [name_len, extra_len, comment_len] = header::central_lengths(fixed, at)?;
        let len = CENTRAL + name_len + extra_len + comment_len;
        let bytes = view(file, window, at, len, end)?;
        let mut central = header::central(bytes, name_len, extra_len, at)?;
        central.offset = central.offset.saturating_add(shift);
        let raw = &bytes[CENTRAL..CENTRAL + name_len];
        if name_len > limits.path_bytes {
            let limit_bytes = limits.path_bytes as u64;
            return Err(ExtractError::NameTooLong { entry: escaped(raw), limit_bytes });
        }
        let extra = &bytes[CENTRAL + name_len..CENTRAL + name_len + extra_len];
        draft.add(raw, extra, &central)?;
        at += len as u64;
    }
    if at != end {
        let (field, found) = ("the directory's size", at - start);
        return Err(ExtractError::EndRecord { field, expected: end - start, found });
    }
    draft.name()
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

/// How a name's charset is known.
enum Marked {
    /// It is not.
    No,
    /// The flag says UTF-8.
    Utf8,
    /// An extra field has it.
    Given(Box<str>),
}

/// Entries whose names are not decoded yet.
struct Draft<'a> {
    options: &'a Options,
    entries: Vec<PlannedEntry>,
    names: Names,
    /// Names that Info-ZIP's extra field gives, by index.
    given: Vec<(u32, Box<str>)>,
    /// Bytes of all of them.
    name_bytes: u64,
    /// All were written on a DOS or Windows host.
    all_dos: bool,
    digest: u64,
}

impl<'a> Draft<'a> {
    fn new(options: &'a Options) -> Self {
        Self {
            options,
            entries: Vec::new(),
            names: Names::default(),
            given: Vec::new(),
            name_bytes: 0,
            all_dos: true,
            digest: FNV_START,
        }
    }

    fn add(&mut self, raw: &[u8], extra: &[u8], central: &Central) -> Result<(), ExtractError> {
        let limits = &self.options.limits;
        let method = entry::unsupported(central, &escaped(raw))?;
        let lock = self.lock(raw, central)?;
        if central.size > limits.entry_bytes {
            let (bytes, limit_bytes) = (central.size, limits.entry_bytes);
            return Err(ExtractError::EntryTooLarge { entry: escaped(raw), bytes, limit_bytes });
        }
        let overhead = lock.map_or(0, Lock::overhead);
        if method == Method::Stored
            && central.size.checked_add(overhead) != Some(central.compressed)
        {
            return Err(if central.size > central.compressed {
                let offset = central.offset;
                let (expected, found) = (central.size, central.compressed);
                ExtractError::TooShort { entry: escaped(raw), offset, expected, found }
            } else {
                let (offset, expected) = (central.offset, central.size);
                ExtractError::TooLong { entry: escaped(raw), offset, expected }
            });
        }
        self.name_bytes += raw.len() as u64;
        if let Some(name) = unicode_path(raw, extra, central) {
            if name.len() > limits.path_bytes {
                let limit_bytes = limits.path_bytes as u64;
                return Err(ExtractError::NameTooLong { entry: escaped(raw), limit_bytes });
            }
            self.name_bytes += name.len() as u64;
            self.given.push((self.entries.len() as u32, name));
        }
        within_name_limit(self.name_bytes, limits)?;
        self.all_dos &= matches!(central.host, 0 | 6 | 10 | 11 | 14);
        self.names.push(raw);
        for bytes in [
            &(raw.len() as u64).to_le_bytes()[..],
            raw,
            &central.size.to_le_bytes(),
            &central.crc.to_le_bytes(),
        ] {
            self.digest = fnv(self.digest, bytes);
        }
        // A trailing backslash is no separator before it is decoded: it may be half a letter.
        let (attributes, mode) = entry::attributes(central, raw.ends_with(b"/"));
        let kind = match (attributes, self.options.symlinks) {
            (Attributes::File, _) => EntryKind::File,
            (Attributes::Folder, _) => EntryKind::Folder,
            (Attributes::Link, Symlinks::Skip) => EntryKind::SkippedLink,
            (Attributes::Link, Symlinks::Refuse) => {
                return Err(ExtractError::Symlink { entry: escaped(raw) });
            }
            (Attributes::Special(kind), _) => {
                return Err(ExtractError::SpecialFile { entry: escaped(raw), kind });
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
                    entry: escaped(raw),
                    feature: "AES without the flag of encryption".to_owned(),
                }),
                _ => Ok(None),
            };
        }
        if self.options.password.is_none() {
            return Err(ExtractError::Encrypted { entry: escaped(raw) });
        }
        let lock = match (central.method, central.extra.aes) {
            (99, Some(Aes { version: version @ 1..=2, strength: strength @ 1..=3, .. })) => {
                Lock::Aes { version: version as u8, strength }
            }
            (99, _) => {
                let feature = "this kind of AES".to_owned();
                return Err(ExtractError::Unsupported { entry: escaped(raw), feature });
            }
            _ if central.flags & flag::DESCRIPTOR != 0 => {
                Lock::ZipCrypto { check: (central.dos_time >> 8) as u8 }
            }
            _ => Lock::ZipCrypto { check: (central.crc >> 24) as u8 },
        };
        if central.compressed < lock.overhead() {
            let (offset, expected) = (central.offset, lock.overhead());
            let found = central.compressed;
            return Err(ExtractError::TooShort { entry: escaped(raw), offset, expected, found });
        }
        Ok(Some(lock))
    }

    /// Decodes all names, judges them, and completes the entries.
    fn name(self) -> Result<Inventory, ExtractError> {
        let Self { options, mut entries, names, given, all_dos, digest, .. } = self;
        let mut given = given.into_iter().peekable();
        let flagged = |index: usize| entries[index].flags & flag::UTF_8 != 0;
        let unmarked =
            names.iter().enumerate().filter(|&(index, _)| !flagged(index)).map(|(_, raw)| raw);
        let charset = Charset::choose(unmarked, options.charset);
        let backslash = all_dos && !names.iter().any(|raw| raw.contains(&b'/'));
        let (mut respelt, mut path_bytes) = (false, 0);
        for (index, entry) in entries.iter_mut().enumerate() {
            let raw = names.get(index);
            let marked = match given.next_if(|(at, _)| *at as usize == index) {
                _ if entry.flags & flag::UTF_8 != 0 => Marked::Utf8,
                Some((_, name)) => Marked::Given(name),
                None => Marked::No,
            };
            let decoded = match &marked {
                Marked::Given(name) => Some((&**name).into()),
                Marked::Utf8 => Charset::UTF_8.decode(raw),
                Marked::No => charset.decode(raw),
            };
            let Some(decoded) = decoded else {
                let problem = "it is marked as UTF-8 and is not";
                return Err(ExtractError::BadName { entry: escaped(raw), problem });
            };
            let normal = names::normalise(&decoded, backslash, &options.limits)?;
            if options.reserved_names == Collisions::Refuse && names::is_reserved(&normal.path) {
                let problem = "Windows cannot hold it";
                return Err(ExtractError::BadName { entry: decoded.into_owned(), problem });
            }
            respelt |= normal.path.as_bytes() != raw;
            path_bytes += normal.path.len() as u64;
            within_name_limit(path_bytes, &options.limits)?;
            entry.path = normal.path;
            settle_kind(entry, normal.folder)?;
        }
        Ok(Inventory { entries, names, respelt, charset, digest })
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
fn settle_kind(entry: &mut PlannedEntry, folder: bool) -> Result<(), ExtractError> {
    if folder && entry.kind == EntryKind::File {
        entry.kind = EntryKind::Folder;
    }
    if entry.kind == EntryKind::Folder && entry.size != 0 {
        return Err(ExtractError::FolderWithData { entry: entry.name(), bytes: entry.size });
    }
    if entry.path.is_empty() && entry.kind != EntryKind::Folder {
        let problem = "it names no file";
        return Err(ExtractError::BadName { entry: entry.name(), problem });
    }
    Ok(())
}

/// Info-ZIP's name, where it belongs to this raw one and is UTF-8.
fn unicode_path(raw: &[u8], extra: &[u8], central: &Central) -> Option<Box<str>> {
    let (crc, range) = central.extra.unicode_path.clone()?;
    let name = std::str::from_utf8(extra.get(range)?).ok()?;
    if libdeflater::crc32(raw) != crc {
        // The name was changed by a tool that does not know the field.
        return None;
    }
    // WinZip has its own separators in there.
    Some(if raw.contains(&b'\\') { name.into() } else { name.replace('\\', "/").into() })
}

/// A raw name for an error, readable where it is UTF-8.
fn escaped(raw: &[u8]) -> String {
    std::str::from_utf8(raw).map_or_else(|_| raw.escape_ascii().to_string(), str::to_owned)
}

const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a: the same on every machine and with every version of Rust.
fn fnv(state: u64, bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(state, |state, &byte| (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

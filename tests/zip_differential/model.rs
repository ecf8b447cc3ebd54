//! [`Zip`]: a ZIP as its records, which can be changed one by one and written again.
//!
//! In: a sound ZIP without gaps. Out: bytes whose lengths, offsets and counts are right, but for the
//! [`Lie`]s, which are written over them last.

/// A little-endian number of `width` bytes.
pub(crate) fn number(bytes: &[u8], at: usize, width: usize) -> u64 {
    let field = bytes.get(at..at + width).unwrap_or_default();
    field.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte))
}

/// Writes one.
pub(crate) fn set(bytes: &mut [u8], at: usize, width: usize, value: u64) {
    if let Some(field) = bytes.get_mut(at..at + width) {
        field.copy_from_slice(&value.to_le_bytes()[..width]);
    }
}

/// Whether a field of `width` bytes is all ones: its value is in a zip64 record.
fn is_full(bytes: &[u8], at: usize, width: usize) -> bool {
    bytes[at..at + width].iter().all(|&byte| byte == 0xff)
}

/// A local header, with what follows it.
#[derive(Debug, Clone)]
pub(crate) struct Local {
    /// Bytes before it that belong to nothing.
    pub(crate) gap: Vec<u8>,
    /// The 30 bytes before the name.
    pub(crate) fixed: Vec<u8>,
    pub(crate) name: Vec<u8>,
    pub(crate) extra: Vec<u8>,
    pub(crate) data: Vec<u8>,
    pub(crate) descriptor: Vec<u8>,
}

/// A central header.
#[derive(Debug, Clone)]
pub(crate) struct Central {
    /// The 46 bytes before the name.
    pub(crate) fixed: Vec<u8>,
    pub(crate) name: Vec<u8>,
    pub(crate) extra: Vec<u8>,
    pub(crate) comment: Vec<u8>,
    /// Index of its local header.
    pub(crate) local: usize,
    /// Its sizes and its offset are in a zip64 extra field, which is written before `extra`.
    pub(crate) is_wide: bool,
}

/// Which record a [`Lie`] is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Record {
    Local(usize),
    Central(usize),
    End64,
    Locator,
    End,
}

/// Bytes that are written over a record.
#[derive(Debug, Clone)]
pub(crate) struct Lie {
    pub(crate) record: Record,
    pub(crate) at: usize,
    pub(crate) bytes: Vec<u8>,
}

/// A ZIP.
#[derive(Debug, Clone)]
pub(crate) struct Zip {
    /// In the order of the file.
    pub(crate) locals: Vec<Local>,
    /// In the order of the directory.
    pub(crate) centrals: Vec<Central>,
    pub(crate) before_directory: Vec<u8>,
    pub(crate) before_end: Vec<u8>,
    /// The zip64 end record and its locator.
    pub(crate) end64: Option<[Vec<u8>; 2]>,
    /// The 22 bytes of the end record.
    pub(crate) end: Vec<u8>,
    pub(crate) comment: Vec<u8>,
    pub(crate) suffix: Vec<u8>,
    pub(crate) lies: Vec<Lie>,
    /// Bytes that are cut off at the end.
    pub(crate) cut: usize,
}

impl Zip {
    /// Takes a ZIP apart; `None` if it is not tiled by its records.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let at = bytes.windows(4).rposition(|four| four == b"PK\x05\x06")?;
        let end = bytes.get(at..at + 22)?.to_vec();
        let behind = at + 22 + number(&end, 20, 2) as usize;
        let comment = bytes.get(at + 22..behind)?.to_vec();
        let locator = at.checked_sub(20).filter(|&start| bytes[start..].starts_with(b"PK\x06\x07"));
        let end64 = locator.and_then(|start| {
            let record = number(bytes, start + 8, 8) as usize;
            Some([bytes.get(record..start)?.to_vec(), bytes[start..at].to_vec()])
        });
        let (count, size, offset) = match &end64 {
            Some([wide, _]) => (number(wide, 32, 8), number(wide, 40, 8), number(wide, 48, 8)),
            None => (number(&end, 10, 2), number(&end, 12, 4), number(&end, 16, 4)),
        };
        let directory = bytes.get(offset as usize..offset.checked_add(size)? as usize)?;
        let mut found = Vec::new();
        let mut rest = directory;
        for _ in 0..count {
            let (central, offset, compressed, len) = central(rest)?;
            found.push((central, offset, compressed));
            rest = &rest[len..];
        }
        let mut this = Self {
            locals: Vec::new(),
            centrals: found.iter().map(|(central, ..)| central.clone()).collect(),
            before_directory: Vec::new(),
            before_end: Vec::new(),
            end64,
            end,
            comment,
            suffix: bytes[behind..].to_vec(),
            lies: Vec::new(),
            cut: 0,
        };
        let mut order: Vec<usize> = (0..found.len()).collect();
        order.sort_by_key(|&index| found[index].1);
        for (place, &index) in order.iter().enumerate() {
            let next = order.get(place + 1).map_or(offset, |&next| found[next].1);
            let local = local(bytes.get(found[index].1 as usize..next as usize)?, found[index].2)?;
            this.locals.push(local);
            this.centrals[index].local = place;
        }
        Some(this)
    }

    /// The file.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut starts = Vec::new();
        for (index, local) in self.locals.iter().enumerate() {
            out.extend_from_slice(&local.gap);
            starts.push(out.len() as u64);
            let mut fixed = local.fixed.clone();
            set(&mut fixed, 26, 2, local.name.len() as u64);
            set(&mut fixed, 28, 2, local.extra.len() as u64);
            self.put(&mut out, Record::Local(index), &[&fixed, &local.name, &local.extra]);
            out.extend_from_slice(&local.data);
            out.extend_from_slice(&local.descriptor);
        }
        out.extend_from_slice(&self.before_directory);
        let offset = out.len() as u64;
        for (index, central) in self.centrals.iter().enumerate() {
            let at = starts.get(central.local).copied().unwrap_or(offset);
            self.put_central(&mut out, index, central, at);
        }
        let size = out.len() as u64 - offset;
        out.extend_from_slice(&self.before_end);
        self.put_ends(&mut out, offset, size);
        out.extend_from_slice(&self.comment);
        out.extend_from_slice(&self.suffix);
        out.truncate(out.len() - self.cut.min(out.len()));
        out
    }

    fn put_central(&self, out: &mut Vec<u8>, index: usize, central: &Central, offset: u64) {
        let (mut fixed, mut extra) = (central.fixed.clone(), Vec::new());
        if central.is_wide {
            extra.extend_from_slice(&[1, 0, 24, 0]);
            for value in [number(&fixed, 24, 4), number(&fixed, 20, 4), offset] {
                extra.extend_from_slice(&value.to_le_bytes());
            }
            for at in [20, 24, 42] {
                set(&mut fixed, at, 4, u64::MAX);
            }
        } else {
            set(&mut fixed, 42, 4, offset);
        }
        extra.extend_from_slice(&central.extra);
        for (at, part) in [(28, &central.name), (30, &extra), (32, &central.comment)] {
            set(&mut fixed, at, 2, part.len() as u64);
        }
        let parts = [&fixed[..], &central.name, &extra, &central.comment];
        self.put(out, Record::Central(index), &parts);
    }

    fn put_ends(&self, out: &mut Vec<u8>, offset: u64, size: u64) {
        let count = self.centrals.len() as u64;
        let start = out.len() as u64;
        if let Some([wide, locator]) = &self.end64 {
            let (mut wide, mut locator) = (wide.clone(), locator.clone());
            for (at, value) in [(24, count), (32, count), (40, size), (48, offset)] {
                set(&mut wide, at, 8, value);
            }
            set(&mut locator, 8, 8, start);
            self.put(out, Record::End64, &[&wide]);
            self.put(out, Record::Locator, &[&locator]);
        }
        let mut end = self.end.clone();
        for (at, width, value) in [(8, 2, count), (10, 2, count), (12, 4, size), (16, 4, offset)] {
            // What said "see the zip64 record" goes on to say so.
            if self.end64.is_none() || !is_full(&end, at, width) {
                set(&mut end, at, width, value);
            }
        }
        set(&mut end, 20, 2, self.comment.len() as u64);
        self.put(out, Record::End, &[&end]);
    }

    /// Writes a record with its lies.
    fn put(&self, out: &mut Vec<u8>, record: Record, parts: &[&[u8]]) {
        let start = out.len();
        parts.iter().for_each(|part| out.extend_from_slice(part));
        for lie in self.lies.iter().filter(|lie| lie.record == record) {
            let at = start + lie.at;
            if let Some(place) = out.get_mut(at..at + lie.bytes.len()) {
                place.copy_from_slice(&lie.bytes);
            }
        }
    }
}

/// The ids of an extra field, and how many bytes are left behind the last whole one.
pub(crate) fn fields(extra: &[u8]) -> (Vec<u64>, usize) {
    let (mut ids, mut rest) = (Vec::new(), extra);
    while rest.len() >= 4 {
        let Some(behind) = rest.get(4 + number(rest, 2, 2) as usize..) else { break };
        ids.push(number(rest, 0, 2));
        rest = behind;
    }
    (ids, rest.len())
}

/// The body of the first extra field with an id.
pub(crate) fn field(extra: &[u8], id: u64) -> Option<&[u8]> {
    let mut rest = extra;
    while rest.len() >= 4 {
        let body = rest.get(4..4 + number(rest, 2, 2) as usize)?;
        if number(rest, 0, 2) == id {
            return Some(body);
        }
        rest = &rest[4 + body.len()..];
    }
    None
}

/// The central header at the start of `bytes`: with offset, compressed size and its length.
fn central(bytes: &[u8]) -> Option<(Central, u64, u64, usize)> {
    let mut fixed = bytes.get(..46)?.to_vec();
    let mut end = 46;
    let [name, extra, comment] = [28, 30, 32].map(|at| {
        let len = number(&fixed, at, 2) as usize;
        end += len;
        bytes.get(end - len..end).map(<[u8]>::to_vec)
    });
    let (name, mut extra, comment) = (name?, extra?, comment?);
    let mut values = [24, 20, 42].map(|at| number(&fixed, at, 4));
    let full = [24, 20, 42].map(|at| is_full(&fixed, at, 4));
    let mut wide = field(&extra, 1).unwrap_or_default();
    for (value, _) in values.iter_mut().zip(full).filter(|(_, full)| *full) {
        *value = number(wide.get(..8)?, 0, 8);
        wide = &wide[8..];
    }
    let is_wide = full == [true; 3] && extra.starts_with(&[1, 0, 24, 0]);
    if is_wide {
        extra.drain(..28);
        set(&mut fixed, 24, 4, values[0]);
        set(&mut fixed, 20, 4, values[1]);
    }
    Some((Central { fixed, name, extra, comment, local: 0, is_wide }, values[2], values[1], end))
}

/// The local header that fills `bytes` with its data and descriptor.
fn local(bytes: &[u8], compressed: u64) -> Option<Local> {
    let fixed = bytes.get(..30)?.to_vec();
    let name_end = 30 + number(&fixed, 26, 2) as usize;
    let extra_end = name_end + number(&fixed, 28, 2) as usize;
    let data_end = extra_end + compressed as usize;
    Some(Local {
        gap: Vec::new(),
        name: bytes.get(30..name_end)?.to_vec(),
        extra: bytes.get(name_end..extra_end)?.to_vec(),
        data: bytes.get(extra_end..data_end)?.to_vec(),
        descriptor: bytes.get(data_end..)?.to_vec(),
        fixed,
    })
}

//! Mutations of a ZIP's records: some tell one lie, some change both headers alike, as another writer
//! would have.

use super::bases::unicode_path;
use super::model::{Central, Lie, Local, Record, Zip, number, set};
use crate::common::witness::Dice;

/// Changes a ZIP in place; does nothing where it has not what it takes.
type Mutation = fn(&mut Zip, &mut Dice);

/// Each with its name.
pub(crate) const ALL: [(&str, Mutation); 37] = [
    ("local field", local_field),
    ("central field", central_field),
    ("field of both headers", both_fields),
    ("end field", end_field),
    ("zip64 end field", end64_field),
    ("zip64 locator field", locator_field),
    ("flag bit of one header", one_flag),
    ("flag bit of both headers", both_flags),
    ("method of both headers", both_methods),
    ("host", host),
    ("attributes", attributes),
    ("name byte of one header", one_name_byte),
    ("name byte of both headers", both_name_bytes),
    ("name of both headers", both_names),
    ("name of another entry", same_name),
    ("name in another case", other_case),
    ("end of the name", name_end),
    ("extra field of one header", one_extra),
    ("extra field of both headers", both_extras),
    ("extra fields removed", no_extra),
    ("byte of an extra field", extra_byte),
    ("Unicode path", unicode),
    ("left-over bytes of an extra field", extra_rest),
    ("zip64 values in the directory", wide_central),
    ("zip64 values in a local header", wide_local),
    ("data byte", data_byte),
    ("data length", data_length),
    ("descriptor", descriptor),
    ("streamed", streamed),
    ("records swapped", swapped),
    ("record twice", twice),
    ("record removed", removed),
    ("folder entry", folder),
    ("gap", gap),
    ("comment", comment),
    ("tail cut", cut),
    ("trailing bytes", trailing),
];

/// One to three mutations; their names.
pub(crate) fn mutate(zip: &mut Zip, dice: &mut Dice) -> Vec<&'static str> {
    let count = [1, 1, 1, 2, 2, 3][dice.below(6) as usize];
    (0..count)
        .map(|_| {
            let (name, mutation) = ALL[dice.below(ALL.len() as u64) as usize];
            mutation(zip, dice);
            name
        })
        .collect()
}

/// An index into what has `len` items.
fn index(dice: &mut Dice, len: usize) -> Option<usize> {
    (len > 0).then(|| dice.below(len as u64) as usize)
}

fn pick<'a, T: ?Sized>(dice: &mut Dice, from: &[&'a T]) -> &'a T {
    from[dice.below(from.len() as u64) as usize]
}

/// A value near the old one, or one that readers treat as special.
fn value(dice: &mut Dice, old: u64, width: usize) -> u64 {
    let full = u64::MAX >> (64 - 8 * width);
    let new = match dice.below(9) {
        0 => 0,
        1 => 1,
        2 => full,
        3 => old.wrapping_add(1),
        4 => old.wrapping_sub(1),
        5 => old ^ 1 << dice.below(8 * width as u64),
        6 => old.wrapping_add(dice.below(64)),
        7 => old.wrapping_sub(dice.below(64)),
        _ => dice.below(1 << 16),
    };
    new & full
}

/// Fields of a local header: place and width.
const LOCAL_FIELDS: [(usize, usize); 11] =
    [(0, 4), (4, 2), (6, 2), (8, 2), (10, 2), (12, 2), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2)];
/// Fields of a central header.
const CENTRAL_FIELDS: [(usize, usize); 17] = [
    (0, 4),
    (4, 1),
    (5, 1),
    (6, 2),
    (8, 2),
    (10, 2),
    (12, 2),
    (14, 2),
    (16, 4),
    (20, 4),
    (24, 4),
    (28, 2),
    (30, 2),
    (32, 2),
    (34, 2),
    (36, 2),
    (42, 4),
];
/// Fields that both have: in the local header, in the central one, width.
const SHARED_FIELDS: [(usize, usize, usize); 8] = [
    (4, 6, 2),
    (6, 8, 2),
    (8, 10, 2),
    (10, 12, 2),
    (12, 14, 2),
    (14, 16, 4),
    (18, 20, 4),
    (22, 24, 4),
];
/// Fields of the end record, of the zip64 one, and of its locator.
const END_FIELDS: [(usize, usize); 8] =
    [(0, 4), (4, 2), (6, 2), (8, 2), (10, 2), (12, 4), (16, 4), (20, 2)];
const END64_FIELDS: [(usize, usize); 10] =
    [(0, 4), (4, 8), (12, 2), (14, 2), (16, 4), (20, 4), (24, 8), (32, 8), (40, 8), (48, 8)];
const LOCATOR_FIELDS: [(usize, usize); 4] = [(0, 4), (4, 4), (8, 8), (16, 4)];

/// Lies about one field of `fields`, as it is in the ZIP so far.
fn lie(zip: &mut Zip, dice: &mut Dice, record: Record, fields: &[(usize, usize)]) {
    let (at, width) = fields[dice.below(fields.len() as u64) as usize];
    let old = match record {
        Record::Local(local) => match at {
            26 => zip.locals[local].name.len() as u64,
            28 => zip.locals[local].extra.len() as u64,
            _ => number(&zip.locals[local].fixed, at, width),
        },
        Record::Central(central) => match at {
            28 => zip.centrals[central].name.len() as u64,
            30 => zip.centrals[central].extra.len() as u64,
            _ => number(&zip.centrals[central].fixed, at, width),
        },
        Record::End => number(&zip.end, at, width),
        Record::End64 => zip.end64.as_ref().map_or(0, |[wide, _]| number(wide, at, width)),
        Record::Locator => zip.end64.as_ref().map_or(0, |[_, locator]| number(locator, at, width)),
    };
    let bytes = value(dice, old, width).to_le_bytes()[..width].to_vec();
    zip.lies.push(Lie { record, at, bytes });
}

fn local_field(zip: &mut Zip, dice: &mut Dice) {
    if let Some(local) = index(dice, zip.locals.len()) {
        lie(zip, dice, Record::Local(local), &LOCAL_FIELDS);
    }
}

fn central_field(zip: &mut Zip, dice: &mut Dice) {
    if let Some(central) = index(dice, zip.centrals.len()) {
        lie(zip, dice, Record::Central(central), &CENTRAL_FIELDS);
    }
}

fn end_field(zip: &mut Zip, dice: &mut Dice) {
    lie(zip, dice, Record::End, &END_FIELDS);
}

/// Adds honest zip64 end records where there are none.
fn end64(zip: &mut Zip, dice: &mut Dice) {
    if zip.end64.is_none() {
        let mut wide = vec![0; 56];
        wide[..4].copy_from_slice(b"PK\x06\x06");
        set(&mut wide, 4, 8, 44);
        set(&mut wide, 12, 4, 45 | 45 << 16);
        let mut locator = vec![0; 20];
        locator[..4].copy_from_slice(b"PK\x06\x07");
        set(&mut locator, 16, 4, 1);
        zip.end64 = Some([wide, locator]);
    }
    for (at, width) in [(8, 2), (10, 2), (12, 4), (16, 4)] {
        if dice.below(2) == 0 {
            set(&mut zip.end, at, width, u64::MAX);
        }
    }
}

fn end64_field(zip: &mut Zip, dice: &mut Dice) {
    end64(zip, dice);
    if dice.below(3) > 0 {
        lie(zip, dice, Record::End64, &END64_FIELDS);
    }
}

fn locator_field(zip: &mut Zip, dice: &mut Dice) {
    end64(zip, dice);
    lie(zip, dice, Record::Locator, &LOCATOR_FIELDS);
}

/// A central header and its local one.
fn pair<'z>(zip: &'z mut Zip, dice: &mut Dice) -> Option<(&'z mut Central, &'z mut Local)> {
    let at = index(dice, zip.centrals.len())?;
    let central = &mut zip.centrals[at];
    let local = zip.locals.get_mut(central.local)?;
    Some((central, local))
}

fn both_fields(zip: &mut Zip, dice: &mut Dice) {
    let Some((central, local)) = pair(zip, dice) else { return };
    let (local_at, central_at, width) = SHARED_FIELDS[dice.below(8) as usize];
    let new = value(dice, number(&central.fixed, central_at, width), width);
    set(&mut central.fixed, central_at, width, new);
    set(&mut local.fixed, local_at, width, new);
}

/// Bits of the flag that mean something, and the rest now and then.
fn bit(dice: &mut Dice) -> u64 {
    1 << [11, 11, 11, 3, 3, 1, 2, 0, 6, dice.below(16)][dice.below(10) as usize]
}

fn one_flag(zip: &mut Zip, dice: &mut Dice) {
    let Some((central, local)) = pair(zip, dice) else { return };
    let (fixed, at) =
        if dice.below(2) == 0 { (&mut central.fixed, 8) } else { (&mut local.fixed, 6) };
    let flags = number(fixed, at, 2) ^ bit(dice);
    set(fixed, at, 2, flags);
}

fn both_flags(zip: &mut Zip, dice: &mut Dice) {
    let Some((central, local)) = pair(zip, dice) else { return };
    let bit = bit(dice);
    for (fixed, at) in [(&mut central.fixed, 8), (&mut local.fixed, 6)] {
        let flags = number(fixed, at, 2) ^ bit;
        set(fixed, at, 2, flags);
    }
}

fn both_methods(zip: &mut Zip, dice: &mut Dice) {
    let Some((central, local)) = pair(zip, dice) else { return };
    let method = [0, 8, 9, 12, 14, 93, 95, 98, 99][dice.below(9) as usize];
    set(&mut central.fixed, 10, 2, method);
    set(&mut local.fixed, 8, 2, method);
}

fn host(zip: &mut Zip, dice: &mut Dice) {
    let (host, all) = ([0, 3, 10, 11, 14, 19, 6, 7][dice.below(8) as usize], dice.below(2) == 0);
    let only = index(dice, zip.centrals.len());
    for (at, central) in zip.centrals.iter_mut().enumerate() {
        if all || Some(at) == only {
            set(&mut central.fixed, 5, 1, host);
        }
    }
}

fn attributes(zip: &mut Zip, dice: &mut Dice) {
    let Some((central, _)) = pair(zip, dice) else { return };
    let mode = [0, 0o100_644, 0o040_755, 0o100_000, 0o644, 0o120_777, 0o010_644, 0o177_777];
    let low = [0, 0x10, 0x20, 0x8000, 0x8010, 1][dice.below(6) as usize];
    set(&mut central.fixed, 38, 4, mode[dice.below(8) as usize] << 16 | low);
}

/// Bytes that some reader takes for more than a letter.
const NAME_BYTES: [u8; 20] = [
    b'/', b'\\', b'.', b':', 0, 1, b'\n', b' ', b'*', b'?', 0x7f, 0x80, 0x81, 0x95, 0xc3, 0xe4,
    0xff, b'a', b'A', b'~',
];

fn name_byte(name: &mut Vec<u8>, at: u64, byte: u8, inserts: bool) {
    let at = at as usize % (name.len() + 1);
    if inserts || at == name.len() {
        name.insert(at, byte);
    } else {
        name[at] = byte;
    }
}

fn one_name_byte(zip: &mut Zip, dice: &mut Dice) {
    let Some((central, local)) = pair(zip, dice) else { return };
    let name = if dice.below(2) == 0 { &mut central.name } else { &mut local.name };
    let byte = NAME_BYTES[dice.below(20) as usize];
    name_byte(name, dice.below(64), byte, dice.below(2) == 0);
}

fn both_name_bytes(zip: &mut Zip, dice: &mut Dice) {
    let Some((central, local)) = pair(zip, dice) else { return };
    let (at, byte) = (dice.below(64), NAME_BYTES[dice.below(20) as usize]);
    let inserts = dice.below(2) == 0;
    name_byte(&mut central.name, at, byte, inserts);
    name_byte(&mut local.name, at, byte, inserts);
}

/// Names that readers may take for another, or for none.
const NAMES: [&[u8]; 26] = [
    b"/",
    b".",
    b"./",
    b"./a.txt",
    b"a//b",
    b"a/./b",
    b"../a",
    b"/a",
    b"a\\b",
    b"C:\\a",
    b"a\0b",
    b"",
    "é.txt".as_bytes(),
    "e\u{301}.txt".as_bytes(),
    "表.txt".as_bytes(),
    "\u{feff}a".as_bytes(),
    b"\x95\x5c.txt",
    b"\x82.txt",
    b"\x83\x5c\x83\x74\x83\x67\\a.txt",
    b"\xd6\xd0\xce\xc4.txt",
    b"con",
    b"a.",
    b"a ",
    b" a",
    b"a:b",
    b"Icon\r",
];

fn both_names(zip: &mut Zip, dice: &mut Dice) {
    let Some((central, local)) = pair(zip, dice) else { return };
    let mut name = pick(dice, &NAMES).to_vec();
    if central.name.ends_with(b"/") && dice.below(2) == 0 {
        name.push(b'/');
    }
    local.name.clone_from(&name);
    central.name = name;
}

fn same_name(zip: &mut Zip, dice: &mut Dice) {
    let Some(name) = index(dice, zip.centrals.len()).map(|at| zip.centrals[at].name.clone()) else {
        return;
    };
    let Some((central, local)) = pair(zip, dice) else { return };
    let name = match dice.below(4) {
        0 => [&name[..], b"/below"].concat(),
        1 => [b"./", &name[..]].concat(),
        _ => name,
    };
    local.name.clone_from(&name);
    central.name = name;
}

fn other_case(zip: &mut Zip, dice: &mut Dice) {
    let Some((central, local)) = pair(zip, dice) else { return };
    local.name.make_ascii_uppercase();
    central.name.make_ascii_uppercase();
}

fn name_end(zip: &mut Zip, dice: &mut Dice) {
    let Some((central, local)) = pair(zip, dice) else { return };
    let end = pick(dice, &[&b"/"[..], b"\\", b"/.", b"//", b"\0", b" ", b"."]);
    local.name.extend_from_slice(end);
    central.name.extend_from_slice(end);
}

/// An extra field that some reader knows, or that nobody does.
fn some_extra(dice: &mut Dice) -> Vec<u8> {
    let ids = [0x0001, 0x000a, 0x5455, 0x7075, 0x6375, 0x7875, 0x9901, 0xcafe, 0x0008, 0xffff];
    let id = ids[dice.below(10) as usize];
    let len = [0, 1, 4, 5, 8, 9, 16, 24, 28, 32][dice.below(10) as usize];
    let body: Vec<u8> = (0..len).map(|_| [0, 1, 0xff, b'a'][dice.below(4) as usize]).collect();
    longshore::testkit::zip_writer::extra(id, &body)
}

fn one_extra(zip: &mut Zip, dice: &mut Dice) {
    let Some((central, local)) = pair(zip, dice) else { return };
    let place = if dice.below(2) == 0 { &mut central.extra } else { &mut local.extra };
    place.extend(some_extra(dice));
}

fn both_extras(zip: &mut Zip, dice: &mut Dice) {
    let Some((central, local)) = pair(zip, dice) else { return };
    let extra = some_extra(dice);
    central.extra.extend_from_slice(&extra);
    local.extra.extend(extra);
}

fn no_extra(zip: &mut Zip, dice: &mut Dice) {
    let Some((central, local)) = pair(zip, dice) else { return };
    let which = dice.below(3);
    if which != 0 {
        central.extra.clear();
    }
    if which != 1 {
        local.extra.clear();
    }
}

fn extra_byte(zip: &mut Zip, dice: &mut Dice) {
    let Some((central, local)) = pair(zip, dice) else { return };
    let place = if dice.below(2) == 0 { &mut central.extra } else { &mut local.extra };
    if let Some(at) = index(dice, place.len()) {
        place[at] = value(dice, u64::from(place[at]), 1) as u8;
    }
}

fn unicode(zip: &mut Zip, dice: &mut Dice) {
    let Some((central, local)) = pair(zip, dice) else { return };
    let names =
        [&central.name[..], b"other.txt", "表.txt".as_bytes(), b"a\\b", b"../a", b"\xff", b""];
    let name = pick(dice, &names).to_vec();
    let raw = if dice.below(4) == 0 { b"stale".to_vec() } else { central.name.clone() };
    let extra = unicode_path(&raw, &name);
    let which = dice.below(4);
    if which != 0 {
        central.extra.extend_from_slice(&extra);
    }
    if which != 1 {
        local.extra.extend(extra);
    }
}

fn extra_rest(zip: &mut Zip, dice: &mut Dice) {
    let Some((central, local)) = pair(zip, dice) else { return };
    let rest =
        pick(dice, &[&b"\0"[..], b"\0\0", b"\0\0\0", b"x", b"xyz", b"\x75\x70", b"\0\0\0\0"]);
    let which = dice.below(3);
    if which != 0 {
        central.extra.extend_from_slice(rest);
    }
    if which != 1 {
        local.extra.extend_from_slice(rest);
    }
}

fn wide_central(zip: &mut Zip, dice: &mut Dice) {
    let Some((central, _)) = pair(zip, dice) else { return };
    match dice.below(3) {
        0 => central.is_wide = !central.is_wide,
        which => {
            // Of the sizes alone; honest, or with a value that nothing asks for.
            let sizes = [24, 20].map(|at| number(&central.fixed, at, 4).to_le_bytes());
            let count = 1 + dice.below(2) as usize;
            central
                .extra
                .extend(longshore::testkit::zip_writer::extra(1, &sizes[..count].concat()));
            for at in [24, 20].into_iter().take(if which == 1 { count } else { 1 }) {
                set(&mut central.fixed, at, 4, u64::MAX);
            }
        }
    }
}

fn wide_local(zip: &mut Zip, dice: &mut Dice) {
    let Some((central, local)) = pair(zip, dice) else { return };
    let off_by = [0, 0, 0, 1][dice.below(4) as usize];
    let sizes = [24, 20].map(|at| (number(&central.fixed, at, 4) + off_by).to_le_bytes());
    local.extra.extend(longshore::testkit::zip_writer::extra(1, &sizes.concat()));
    for at in [18, 22] {
        if dice.below(4) > 0 {
            set(&mut local.fixed, at, 4, u64::MAX);
        }
    }
}

fn data_byte(zip: &mut Zip, dice: &mut Dice) {
    let Some((_, local)) = pair(zip, dice) else { return };
    if let Some(at) = index(dice, local.data.len()) {
        local.data[at] ^= 1 << dice.below(8);
    }
}

/// More or less data; the sizes may follow.
fn data_length(zip: &mut Zip, dice: &mut Dice) {
    let Some((central, local)) = pair(zip, dice) else { return };
    if dice.below(2) == 0 {
        local.data.push(dice.below(256) as u8);
    } else {
        local.data.pop();
    }
    if dice.below(2) == 0 {
        let len = local.data.len() as u64;
        set(&mut central.fixed, 20, 4, len);
        set(&mut local.fixed, 18, 4, len);
    }
}

/// Sums as the directory has them, in one of the forms of a descriptor.
fn sums(central: &Central, wide: bool, signed: bool) -> Vec<u8> {
    let mut bytes = if signed { b"PK\x07\x08".to_vec() } else { Vec::new() };
    bytes.extend_from_slice(&central.fixed[16..20]);
    for at in [20, 24] {
        bytes.extend_from_slice(&central.fixed[at..at + 4]);
        bytes.extend_from_slice(&[0; 4][..if wide { 4 } else { 0 }]);
    }
    bytes
}

fn descriptor(zip: &mut Zip, dice: &mut Dice) {
    let Some((central, local)) = pair(zip, dice) else { return };
    local.descriptor = match dice.below(6) {
        0 => Vec::new(),
        1 => b"PK\x07\x08".to_vec(),
        n => sums(central, n & 1 == 1, n & 2 == 2),
    };
    if let Some(at) = index(dice, local.descriptor.len()).filter(|_| dice.below(3) == 0) {
        local.descriptor[at] ^= 1;
    }
}

/// Makes an entry one that was streamed, or one that was not.
fn streamed(zip: &mut Zip, dice: &mut Dice) {
    let Some((central, local)) = pair(zip, dice) else { return };
    let flags = number(&central.fixed, 8, 2) ^ 1 << 3;
    set(&mut central.fixed, 8, 2, flags);
    set(&mut local.fixed, 6, 2, flags);
    if flags & 1 << 3 == 0 {
        local.descriptor.clear();
        local.fixed[14..26].copy_from_slice(&central.fixed[16..28]);
        return;
    }
    local.descriptor = sums(central, dice.below(4) == 0, dice.below(4) > 0);
    if dice.below(4) > 0 {
        local.fixed[14..26].fill(0);
    }
    if dice.below(4) == 0 {
        local.descriptor.clear();
    }
}

fn swapped(zip: &mut Zip, dice: &mut Dice) {
    let len = zip.centrals.len().min(zip.locals.len());
    let (Some(a), Some(b)) = (index(dice, len), index(dice, len)) else { return };
    match dice.below(4) {
        0 => zip.centrals.swap(a, b),
        1 => {
            // Their records with them: as sound as before.
            zip.locals.swap(a, b);
            for central in &mut zip.centrals {
                central.local = match central.local {
                    it if it == a => b,
                    it if it == b => a,
                    it => it,
                };
            }
        }
        2 => {
            let local = zip.centrals[a].local;
            zip.centrals[a].local = zip.centrals[b].local;
            zip.centrals[b].local = local;
        }
        _ => zip.centrals.reverse(),
    }
}

fn twice(zip: &mut Zip, dice: &mut Dice) {
    let Some(at) = index(dice, zip.centrals.len()) else { return };
    let mut central = zip.centrals[at].clone();
    if let Some(local) = zip.locals.get(central.local).cloned()
        && dice.below(2) == 0
    {
        central.local = zip.locals.len();
        zip.locals.push(local);
    }
    zip.centrals.push(central);
}

fn removed(zip: &mut Zip, dice: &mut Dice) {
    let Some(at) = index(dice, zip.centrals.len()) else { return };
    let gone = zip.centrals[at].local;
    let which = dice.below(3);
    if which != 0 {
        zip.centrals.remove(at);
    }
    if which != 1 && gone < zip.locals.len() {
        zip.locals.remove(gone);
        for central in &mut zip.centrals {
            central.local -= usize::from(central.local > gone);
        }
    }
}

/// A folder that another entry has already, one of its own, or one with an odd sign of being one.
fn folder(zip: &mut Zip, dice: &mut Dice) {
    let Some(at) = index(dice, zip.centrals.len()) else { return };
    let mut central = zip.centrals[at].clone();
    let above = central.name.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
    let above = central.name[..above].to_vec();
    let name = pick(dice, &[&b"d/"[..], b"new/", b"d", b"new", &above]);
    let name = if name.is_empty() { b"/" } else { name };
    central.name = name.to_vec();
    central.extra.clear();
    central.is_wide = false;
    central.fixed[8..12].fill(0);
    central.fixed[16..28].fill(0);
    set(&mut central.fixed, 38, 4, [0x10, 0o040_755 << 16, 0][dice.below(3) as usize]);
    central.local = zip.locals.len();
    let mut fixed = vec![0; 30];
    fixed[..6].copy_from_slice(b"PK\x03\x04\x14\x00");
    fixed[10..14].copy_from_slice(&central.fixed[12..16]);
    zip.locals.push(Local {
        gap: Vec::new(),
        fixed,
        name: central.name.clone(),
        extra: Vec::new(),
        data: Vec::new(),
        descriptor: Vec::new(),
    });
    zip.centrals.push(central);
}

/// Bytes that belong to nothing, some of which look like a record.
fn stray(dice: &mut Dice) -> Vec<u8> {
    let local = zip_of_one();
    pick(
        dice,
        &[
            &b"\0"[..],
            b"PK00",
            b"PK\x07\x08",
            b"PK0X",
            b"\n",
            b"\r\n",
            b"text",
            &[0; 16],
            &local[..35],
            &local,
            b"PK\x05\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        ],
    )
    .to_vec()
}

/// A whole ZIP of one stored file: a local header of 31 bytes and data of 4 come first.
fn zip_of_one() -> Vec<u8> {
    use longshore::testkit::zip_writer::{Archive, Entry};
    Archive::of([Entry::stored("x", b"evil")]).bytes()
}

fn gap(zip: &mut Zip, dice: &mut Dice) {
    let bytes = stray(dice);
    match (dice.below(4), index(dice, zip.locals.len())) {
        (0, Some(_)) => zip.locals[0].gap = bytes,
        (1, Some(at)) => zip.locals[at].gap = bytes,
        (2, _) => zip.before_end = bytes,
        _ => zip.before_directory = bytes,
    }
}

fn comment(zip: &mut Zip, dice: &mut Dice) {
    let mut bytes = stray(dice);
    if dice.below(2) == 0 {
        bytes = b"a comment".to_vec();
    }
    match index(dice, zip.centrals.len()).filter(|_| dice.below(2) == 0) {
        Some(at) => zip.centrals[at].comment = bytes,
        None => zip.comment = bytes,
    }
}

fn cut(zip: &mut Zip, dice: &mut Dice) {
    let most = if dice.below(2) == 0 { 4 } else { 120 };
    zip.cut = 1 + dice.below(most) as usize;
}

fn trailing(zip: &mut Zip, dice: &mut Dice) {
    zip.suffix = match dice.below(3) {
        0 => vec![0; 1 + dice.below(40) as usize],
        1 => vec![0; (512 - zip.bytes().len() % 512) % 512],
        _ => stray(dice),
    };
}

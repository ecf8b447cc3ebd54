//! The differences from other readers that are allowed, each with its reason.

use super::model::{fields, number};
use super::readers::{Answer, Reader};
use super::seen::{Backslash, Planned, Reading, Seen, Unmarked};

/// What a reader does otherwise.
#[derive(Clone, Copy)]
pub(crate) enum Effect {
    /// It reads names in another way; contents are the same.
    Reads(fn(&mut Reading)),
    /// It refuses, with these words.
    Refuses(&'static str),
    /// It finds no directory, and goes by the local headers: it has some of the entries, or refuses.
    IsLost,
}

/// One allowed difference.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) reader: Reader,
    /// Why this reader is no model here.
    pub(crate) reason: &'static str,
    /// The names are the same bytes, taken for another charset: such a reader agrees.
    pub(crate) is_spelling: bool,
    /// Whether the ZIP has what the reason speaks of.
    pub(crate) applies: fn(&Seen) -> bool,
    pub(crate) effect: Effect,
}

/// A charset has to be found for a name, and no `\\` in it is a separator to longshore.
fn has_unmarked(seen: &Seen) -> bool {
    seen.any(Planned::is_unmarked) && !seen.any(|it| it.is_unmarked() && it.parts_backslash())
}

/// A name beyond ASCII is without bit 11, be it UTF-8 or not.
fn has_unflagged(seen: &Seen) -> bool {
    seen.any(|it| !it.is_flagged() && !it.central.name.is_ascii())
        && !seen.any(Planned::parts_letter)
}

/// As [`has_unmarked`], but some such name has a `\\` that is a separator to longshore; a whole one.
fn has_unmarked_separators(seen: &Seen) -> bool {
    seen.any(|it| it.is_unmarked() && it.parts_backslash()) && !seen.any(Planned::parts_letter)
}

/// Info-ZIP's name is in an extra field, the same in both headers.
fn has_unicode_path(seen: &Seen) -> bool {
    seen.any(|it| it.unicode_path().is_some()) && !seen.any(Planned::has_two_names)
}

/// A `\\` is a separator to longshore, and no half letter.
fn has_separators(seen: &Seen) -> bool {
    seen.any(Planned::parts_backslash) && !seen.any(Planned::parts_letter)
}

/// Only its attributes make an entry a folder: a Unix mode, or that of a DOS host.
fn has_folder_by_attributes(seen: &Seen) -> bool {
    seen.any(|entry| {
        let central = &entry.central;
        let (host, mode) = (central.fixed[5], number(&central.fixed, 40, 2));
        let is_dos_folder = host == 0 && central.fixed[38] & 0x10 != 0;
        !central.name.ends_with(b"/") && (is_dos_folder || mode & 0o170_000 == 0o040_000)
    })
}

/// Some entry is compressed by one of these.
fn has_method(seen: &Seen, methods: &[u64]) -> bool {
    seen.any(|entry| methods.contains(&number(&entry.central.fixed, 10, 2)))
}

/// An entry of a DOS host has attributes that would make it a link if they were a Unix mode.
fn has_link_of_dos(seen: &Seen) -> bool {
    seen.any(Planned::is_link_of_dos)
}

/// The flags of both headers differ, which they may only in how hard deflate tried.
fn has_two_efforts(seen: &Seen) -> bool {
    seen.any(|it| number(&it.central.fixed, 8, 2) != number(&it.local.fixed, 6, 2))
}

/// An entry is compressed, says its method, and has not one byte.
fn has_no_data(seen: &Seen) -> bool {
    seen.any(|it| it.local.data.is_empty() && number(&it.central.fixed, 10, 2) != 0)
}

/// A folder declares a CRC-32 of nothing that is not 0.
fn has_folder_with_crc(seen: &Seen) -> bool {
    seen.any(|it| it.central.name.ends_with(b"/") && number(&it.central.fixed, 16, 4) != 0)
}

/// Of the end record's counts one refers to the zip64 record, and one does not.
fn has_half_a_count(seen: &Seen) -> bool {
    let end = &seen.ours.zip.end;
    seen.ours.zip.end64.is_some() && (number(end, 8, 2) == 0xffff) != (number(end, 10, 2) == 0xffff)
}

/// The zip64 locator speaks of no disk at all, where one is meant.
fn has_no_disk(seen: &Seen) -> bool {
    seen.ours.zip.end64.as_ref().is_some_and(|[_, locator]| number(locator, 16, 4) == 0)
}

/// The zip64 locator does not speak of the first disk of one.
fn has_odd_locator(seen: &Seen) -> bool {
    seen.ours
        .zip
        .end64
        .as_ref()
        .is_some_and(|[_, locator]| number(locator, 4, 4) != 0 || number(locator, 16, 4) != 1)
}

/// Fewer bytes than an extra field has are behind the last.
fn has_extra_rest(seen: &Seen) -> bool {
    let rest = |extra: &[u8]| fields(extra).1 > 0;
    seen.any(|entry| rest(&entry.central.extra) || rest(&entry.local.extra))
}

/// An extra field that longshore does not read.
fn has_other_extra(seen: &Seen) -> bool {
    let other = |extra: &[u8]| fields(extra).0.iter().any(|id| ![0x0001, 0x7075].contains(id));
    seen.any(|entry| other(&entry.central.extra) || other(&entry.local.extra))
}

/// All of them.
pub(crate) const ROWS: &[Row] = &[
    Row {
        name: "Python: CP437",
        reader: Reader::Python,
        reason: "every name without bit 11 is CP437 to zipfile, as the format says; longshore detects \
                 the charset over all names",
        is_spelling: true,
        applies: has_unflagged,
        effect: Effect::Reads(|reading| reading.unmarked = Unmarked::Cp437),
    },
    Row {
        name: "bsdtar: raw names",
        reader: Reader::Bsdtar,
        reason: "bsdtar writes a name that is not in the locale's charset as the bytes that it is",
        is_spelling: true,
        applies: has_unmarked,
        effect: Effect::Reads(|reading| reading.unmarked = Unmarked::Raw),
    },
    Row {
        name: "bsdtar: composed letters",
        reader: Reader::Bsdtar,
        reason: "bsdtar composes the letters of a name that is marked as UTF-8 (NFC); longshore, like \
                 7z and zipfile, writes the name that the ZIP has",
        is_spelling: false,
        applies: |seen| seen.any(|it| it.composed().is_some()),
        effect: Effect::Reads(|reading| reading.composes = true),
    },
    Row {
        name: "7z: raw names",
        reader: Reader::SevenZip,
        reason: "7z knows no OEM charset in a C.UTF-8 locale, and writes the bytes",
        is_spelling: true,
        applies: has_unmarked,
        effect: Effect::Reads(|reading| reading.unmarked = Unmarked::Raw),
    },
    Row {
        name: "bsdtar: backslash of raw names",
        reader: Reader::Bsdtar,
        reason: "in a name that bsdtar writes as the bytes that it is, it does not look for separators \
                 of DOS",
        is_spelling: false,
        applies: has_unmarked_separators,
        effect: Effect::Reads(|reading| reading.unmarked = Unmarked::Raw),
    },
    Row {
        name: "7z: backslash of raw names",
        reader: Reader::SevenZip,
        reason: "a backslash is a letter to 7z on Unix, in raw names too",
        is_spelling: false,
        applies: has_unmarked_separators,
        effect: Effect::Reads(|reading| {
            (reading.unmarked, reading.backslash) = (Unmarked::Raw, Backslash::Letter);
        }),
    },
    Row {
        name: "Python: no Unicode path",
        reader: Reader::Python,
        reason: "zipfile before 3.12 does not know extra field 0x7075; bsdtar and 7z do",
        is_spelling: false,
        applies: has_unicode_path,
        effect: Effect::Reads(|reading| {
            (reading.has_unicode_path, reading.unmarked) = (false, Unmarked::Cp437);
        }),
    },
    Row {
        name: "Python: backslash",
        reader: Reader::Python,
        reason: "a backslash is a letter to zipfile on Unix, a separator on Windows",
        is_spelling: false,
        applies: has_separators,
        effect: Effect::Reads(|reading| reading.backslash = Backslash::Letter),
    },
    Row {
        name: "7z: backslash",
        reader: Reader::SevenZip,
        reason: "a backslash is a letter to 7z on Unix, a separator on Windows",
        is_spelling: false,
        applies: has_separators,
        effect: Effect::Reads(|reading| reading.backslash = Backslash::Letter),
    },
    Row {
        name: "Python: folder by attributes",
        reader: Reader::Python,
        reason: "only a slash at the end of its name makes a folder to zipfile; bsdtar and 7z take the \
                 Unix mode, and on a DOS host the attribute",
        is_spelling: false,
        applies: has_folder_by_attributes,
        effect: Effect::Reads(|reading| reading.is_folder_by_name = true),
    },
    Row {
        name: "Python: method",
        reader: Reader::Python,
        reason: "zipfile has neither Deflate64 nor Zstandard, XZ and PPMd",
        is_spelling: false,
        applies: |seen| has_method(seen, &[9, 93, 95, 98]),
        effect: Effect::Refuses("That compression method is not supported"),
    },
    Row {
        name: "Python: version needed",
        reader: Reader::Python,
        reason: "zipfile refuses versions above 6.3, which no writer needs for what is in these",
        is_spelling: false,
        applies: |seen| seen.any(|entry| number(&entry.central.fixed, 6, 2) > 63),
        effect: Effect::Refuses("zip file version"),
    },
    Row {
        name: "Python: CRC-32 of a folder",
        reader: Reader::Python,
        reason: "a folder has no contents that a CRC-32 could be of",
        is_spelling: false,
        applies: has_folder_with_crc,
        effect: Effect::Refuses("Bad CRC-32"),
    },
    Row {
        name: "bsdtar: method",
        reader: Reader::Bsdtar,
        reason: "bsdtar has no Deflate64",
        is_spelling: false,
        applies: |seen| has_method(seen, &[9]),
        effect: Effect::Refuses("Unsupported ZIP compression method"),
    },
    Row {
        name: "7z: links of DOS",
        reader: Reader::SevenZip,
        reason: "7z takes the upper half of a DOS host's attributes for a Unix mode; DOS has neither \
                 modes nor links",
        is_spelling: false,
        applies: has_link_of_dos,
        effect: Effect::Reads(|reading| reading.has_links_of_dos = true),
    },
    Row {
        name: "7z: two efforts",
        reader: Reader::SevenZip,
        reason: "7z wants the flag's bits for how hard deflate tried to be the same in both headers \
                 where nothing is deflated; they say nothing there",
        is_spelling: false,
        applies: has_two_efforts,
        effect: Effect::Refuses("Headers Error"),
    },
    Row {
        name: "7z: no data",
        reader: Reader::SevenZip,
        reason: "no bytes are packed to none at all, whatever the method; 7z wants the method's own \
                 end",
        is_spelling: false,
        applies: has_no_data,
        effect: Effect::Refuses("Data Error"),
    },
    Row {
        name: "7z: one count of two",
        reader: Reader::SevenZip,
        reason: "7z refuses an end record of which only one count is all ones; both say what the \
                 zip64 record says",
        is_spelling: false,
        applies: has_half_a_count,
        effect: Effect::Refuses("Open Errors: 1"),
    },
    Row {
        name: "7z: two efforts of the first",
        reader: Reader::SevenZip,
        reason: "the same of the first entry: 7z does not take the file for a ZIP",
        is_spelling: false,
        applies: has_two_efforts,
        effect: Effect::Refuses("Open Errors"),
    },
    Row {
        name: "bsdtar: odd locator",
        reader: Reader::Bsdtar,
        reason: "bsdtar finds no directory by a zip64 locator that speaks of another disk, and goes by the \
                 local headers, which have no attributes",
        is_spelling: false,
        applies: has_odd_locator,
        effect: Effect::Reads(|reading| reading.is_folder_by_name = true),
    },
    Row {
        name: "bsdtar: no disk",
        reader: Reader::Bsdtar,
        reason: "bsdtar ignores the zip64 records where the locator says 0 disks, as some writers do, \
                 and then finds no directory: by the local headers alone it misses the descriptors of \
                 a stream, and what is behind them",
        is_spelling: false,
        applies: has_no_disk,
        effect: Effect::IsLost,
    },
    Row {
        name: "bsdtar: rest of extra fields",
        reader: Reader::Bsdtar,
        reason: "zipalign and others pad extra fields with fewer bytes than one has",
        is_spelling: false,
        applies: has_extra_rest,
        effect: Effect::Refuses("Too-small extra data"),
    },
    Row {
        name: "bsdtar: other extra fields",
        reader: Reader::Bsdtar,
        reason: "bsdtar wants whole fields of AES, times and owners where nothing is encrypted and \
                 nobody asks for them",
        is_spelling: false,
        applies: has_other_extra,
        effect: Effect::Refuses("Incomplete"),
    },
];

/// The fewest rows of `reader` that explain together what it made of a ZIP; `None` if none do.
pub(crate) fn explain(reader: Reader, seen: &Seen) -> Option<Vec<&'static Row>> {
    let rows: Vec<&Row> =
        ROWS.iter().filter(|row| row.reader == reader && (row.applies)(seen)).collect();
    let alone = rows.iter().find(|row| match (row.effect, seen.answer) {
        (Effect::Refuses(words), Answer::Refused(why)) => why.contains(words),
        (Effect::IsLost, Answer::Tree(_)) => seen.is_part(),
        (Effect::IsLost, Answer::Refused(_)) => true,
        _ => false,
    });
    if let Some(row) = alone {
        return Some(vec![row]);
    }
    let mut sets: Vec<u32> = (1..1 << rows.len()).collect();
    sets.sort_by_key(|set| set.count_ones());
    sets.into_iter().find_map(|set| {
        let chosen = rows.iter().enumerate().filter(|(at, _)| set >> at & 1 == 1);
        let chosen: Vec<&Row> = chosen.map(|(_, row)| *row).collect();
        let mut reading = Reading::default();
        for row in &chosen {
            let Effect::Reads(change) = row.effect else { return None };
            change(&mut reading);
        }
        seen.is(reading).then_some(chosen)
    })
}

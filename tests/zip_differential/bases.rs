//! Sound ZIPs to be mutated: of the testkit's writer, and of Python's where it is here.

use std::fs;
use std::path::Path;
use std::process::Command;

use longshore::testkit::zip_writer::{Archive, Entry, extra};

use super::model::Zip;
use crate::common::run;

/// A sound ZIP.
pub(crate) struct Base {
    pub(crate) name: String,
    pub(crate) zip: Zip,
}

const TEXT: &[u8] =
    b"the same words again and again, the same words again and again, the same words";
const UTF_8: u16 = 1 << 11;

/// All of them; Python's only `with_python`.
pub(crate) fn all(with_python: bool) -> Vec<Base> {
    let mut bases: Vec<Base> = [plain(), streamed(), zip64(), names(), decorated(), many()]
        .into_iter()
        .flatten()
        .map(|(name, archive)| base(name.to_owned(), &archive.bytes()))
        .collect();
    let mut wide = bases[0].zip.clone();
    wide.centrals.iter_mut().for_each(|central| central.is_wide = true);
    bases.push(Base { name: "wide".to_owned(), zip: wide });
    if with_python {
        let home = tempfile::tempdir().unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/zip_differential/make.py");
        run(Command::new("python3").arg(script).arg(home.path()));
        for name in crate::common::names(home.path()) {
            bases.push(base(name.clone(), &fs::read(home.path().join(name)).unwrap()));
        }
    }
    bases
}

fn base(name: String, bytes: &[u8]) -> Base {
    let zip = Zip::parse(bytes).unwrap_or_else(|| panic!("{name} cannot be taken apart"));
    assert_eq!(zip.bytes(), bytes, "{name} is not itself after it was taken apart");
    Base { name, zip }
}

type Named = (&'static str, Archive);

fn plain() -> Vec<Named> {
    let tree = [
        Entry::folder("d"),
        Entry::stored("d/stored.txt", b"alpha"),
        Entry::deflated("d/e/deflated.txt", TEXT),
        Entry::stored("empty", b""),
        Entry::deflated("run.sh", b"#!/bin/sh\n").with(|e| e.attributes = 0o100_755 << 16),
    ];
    vec![
        ("plain", Archive::of(tree)),
        ("one", Archive::of([Entry::deflated("one.txt", TEXT)])),
        ("nothing", Archive::of([])),
        ("bare", Archive::of([Entry::stored("a", b"alpha"), Entry::stored("b", b"beta")])),
    ]
}

fn streamed() -> Vec<Named> {
    let tree = || {
        [
            Entry::deflated("a.txt", TEXT).streamed(),
            Entry::stored("d/b.txt", b"beta").streamed(),
            Entry::deflated("d/c.txt", b"gamma").streamed(),
        ]
    };
    let unsigned = tree().map(|entry| entry.with(|e| drop(e.descriptor.drain(..4))));
    let wide = tree().map(|entry| {
        entry.with(|e| {
            e.descriptor.truncate(8);
            for value in [e.compressed, e.size] {
                e.descriptor.extend_from_slice(&u64::from(value).to_le_bytes());
            }
            e.local_extra = extra(1, &[0; 16]);
            e.local_sums = Some([0, u32::MAX, u32::MAX]);
        })
    });
    vec![
        ("streamed", Archive::of(tree())),
        ("streamed-unsigned", Archive::of(unsigned)),
        ("streamed-wide", Archive::of(wide).with(|a| a.zip64 = true)),
    ]
}

fn zip64() -> Vec<Named> {
    let tree = [Entry::folder("d"), Entry::deflated("d/a.txt", TEXT), Entry::stored("b", b"beta")];
    let local = tree.clone().map(|entry| {
        entry.with(|e| {
            let sizes = [e.size, e.compressed].map(|size| u64::from(size).to_le_bytes());
            e.local_extra = extra(1, &sizes.concat());
            e.local_sums = Some([e.crc, u32::MAX, u32::MAX]);
        })
    });
    vec![("zip64", Archive::of(tree).with(|a| a.zip64 = true)), ("zip64-local", Archive::of(local))]
}

fn names() -> Vec<Named> {
    let dos = |entry: Entry| entry.with(|e| (e.host, e.attributes) = (0, 0x20));
    let flagged = |entry: Entry| entry.with(|e| e.flags |= UTF_8);
    let cp437 = [&b"\x9abersicht.txt"[..], b"M\x81ller/stra\xe1e.txt", b"plain.txt"];
    let japanese = [
        &b"\x97\x5c\x92\xe8\x95\x5c.xlsx"[..],
        b"\x93\xfa\x96\x7b\x8c\xea/\x83\x65\x83\x58\x83\x67.txt",
    ];
    let unicode = ["Übersicht.txt", "予定表/表紙.doc", "plain.txt"];
    let backslashes = [&b"dir\\a.txt"[..], b"dir\\deeper\\b.txt", b"c.txt"];
    vec![
        ("cp437", Archive::of(cp437.map(|name| dos(Entry::deflated(name, TEXT))))),
        ("shift-jis", Archive::of(japanese.map(|name| dos(Entry::stored(name, b"beta"))))),
        ("backslashes", Archive::of(backslashes.map(|name| dos(Entry::stored(name, b"beta"))))),
        ("utf-8", Archive::of(unicode.map(|name| flagged(Entry::deflated(name, TEXT))))),
        ("utf-8-unmarked", Archive::of(unicode.map(|name| Entry::deflated(name, TEXT)))),
        (
            "unicode-path",
            Archive::of([(cp437[0], unicode[0]), (b"b?.txt", "b表.txt")].map(|(raw, name)| {
                dos(Entry::stored(raw, b"beta")).with(|e| {
                    e.extra = unicode_path(raw, name.as_bytes());
                    e.local_extra.clone_from(&e.extra);
                })
            })),
        ),
    ]
}

/// Info-ZIP's extra field with a Unicode name.
pub(crate) fn unicode_path(raw: &[u8], name: &[u8]) -> Vec<u8> {
    let crc = libdeflater::crc32(raw).to_le_bytes();
    extra(0x7075, &[&[1], &crc[..], name].concat())
}

fn decorated() -> Vec<Named> {
    let times = [0x03, 0x00, 0xe1, 0x0b, 0x5e, 0x00, 0xe1, 0x0b, 0x5e];
    let owner = [1, 4, 0xe8, 3, 0, 0, 4, 0xe8, 3, 0, 0];
    let tree = [("a.txt", TEXT), ("d/b.txt", b"beta")].map(|(name, data)| {
        Entry::deflated(name, data).with(|e| {
            e.local_extra = [extra(0x5455, &times), extra(0x7875, &owner)].concat();
            e.extra = [extra(0x5455, &times[..5]), extra(0x7875, &owner)].concat();
        })
    });
    let ntfs = [&[0; 4][..], &[1, 0, 24, 0], &[0x40; 24]].concat();
    let windows = [Entry::folder("d"), Entry::deflated("d/a.txt", TEXT)].map(|entry| {
        entry.with(|e| {
            (e.host, e.extra) = (10, extra(0x000a, &ntfs));
            e.local_extra.clone_from(&e.extra);
        })
    });
    vec![
        ("unix-extras", Archive::of(tree).with(|a| a.comment = b"a comment".to_vec())),
        ("ntfs-extras", Archive::of(windows)),
    ]
}

fn many() -> Vec<Named> {
    let entry = |n: u8| {
        let (name, data) = (format!("plate-{}/{n:02}.csv", n % 3), [b'0' + n % 10; 20]);
        if n.is_multiple_of(2) {
            Entry::deflated(name, &data)
        } else {
            Entry::stored(name, &data).streamed()
        }
    };
    vec![("many", Archive::of((0..12).map(entry)))]
}

//! Names that two readers would read as two: by another header, another flag, or another host.

use encoding_rs::SHIFT_JIS;

use super::names::{dos, encoded};
use super::*;

/// Info-ZIP's extra field for these raw bytes.
fn unicode(raw: &[u8], name: &[u8]) -> Vec<u8> {
    let crc = libdeflater::crc32(raw).to_le_bytes();
    extra(0x7075, &[&[1][..], &crc, name].concat())
}

/// Gives an entry a Unicode name, in both headers.
fn has_unicode(entry: &mut Entry, name: &[u8]) {
    let field = unicode(&entry.name, name);
    (entry.extra, entry.local_extra) = (field.clone(), field);
}

#[test]
fn unicode_name_that_is_not_the_only_one_is_refused() {
    const UTF_8: u16 = 1 << 11;
    let case = |raw: &[u8], flags: [u16; 2], central: Option<&[u8]>, local: Option<&[u8]>| {
        let field = |name: Option<&[u8]>| name.map_or(Vec::new(), |name| unicode(raw, name));
        Archive::of([Entry::stored(raw, b"x").with(|e| {
            (e.flags, e.local_flags) = (flags[0], Some(flags[1]));
            (e.extra, e.local_extra) = (field(central), field(local));
        })])
    };
    let (plain, marked, refused) = ([0, 0], [UTF_8, UTF_8], "unicode_name_mismatch");
    let stale = unicode(b"another", b"evil.sh");
    let (a, b): (Option<&[u8]>, Option<&[u8]>) = (Some(b"a.txt"), Some(b"b.txt"));
    expect_codes(
        vec![
            ("both", case(b"x.txt", plain, a, a), "ok"),
            ("central alone", case(b"x.txt", plain, a, None), refused),
            ("local alone", case(b"x.txt", plain, None, a), refused),
            ("two names", case(b"x.txt", plain, a, b), refused),
            ("central alone, the same name", case(b"a.txt", plain, a, None), refused),
            ("marked, the same name", case(b"a.txt", marked, a, a), "ok"),
            ("marked, another name", case(b"x.txt", marked, a, a), refused),
            ("marked in the directory, another name", case(b"x.txt", [UTF_8, 0], a, a), refused),
            ("marked locally, another name", case(b"x.txt", [0, UTF_8], a, a), refused),
            (
                "marked, the same but for the separator",
                case(b"a/b", marked, Some(b"a\\b"), Some(b"a\\b")),
                "ok",
            ),
            ("no UTF-8", case(b"x.txt", plain, Some(b"\xff"), Some(b"\xff")), "malformed"),
            ("stale in the directory", one(|e| e.extra = stale.clone()), "ok"),
            ("stale in the local header", one(|e| e.local_extra = stale.clone()), "ok"),
            (
                "stale in one and valid in the other",
                case(b"x.txt", plain, a, None).with(|archive| {
                    archive.entries[0].local_extra = stale.clone();
                }),
                refused,
            ),
        ],
        &Options::default(),
    );
}

#[test]
fn flag_of_utf8_in_one_header_only_says_nothing_of_ascii() {
    let case = |name: &[u8], central: u16, local: u16| {
        Archive::of([Entry::stored(name, b"x").with(|e| {
            (e.flags, e.local_flags) = (central << 11, Some(local << 11));
        })])
    };
    expect_codes(
        vec![
            ("ASCII, in the directory", case(b"a", 1, 0), "ok"),
            ("ASCII, in the local header", case(b"a", 0, 1), "ok"),
            ("UTF-8, in the directory", case("é".as_bytes(), 1, 0), "local_mismatch"),
            ("UTF-8, in the local header", case("é".as_bytes(), 0, 1), "local_mismatch"),
            ("CP437, in the local header", case(b"\x82", 0, 1), "local_mismatch"),
            ("UTF-8, in both", case("é".as_bytes(), 1, 1), "ok"),
            ("another flag", one(|e| e.local_flags = Some(1 << 12)), "local_mismatch"),
        ],
        &Options::default(),
    );
}

#[test]
fn raw_name_that_no_reader_could_use_is_refused_beside_a_good_unicode_name() {
    let beside = |raw: &[u8], name: &str| {
        named(raw).with(|a| has_unicode(&mut a.entries[0], name.as_bytes()))
    };
    let half = encoded(SHIFT_JIS, &["表.txt"]).remove(0);
    let cases = vec![
        ("an old charset", beside(b"caf\x82.txt", "café.txt"), "ok"),
        ("half a letter", beside(&half, "表.txt"), "ok"),
        ("half a letter, and a separator", beside(&[b"a\\", &half[..]].concat(), "a/表.txt"), "ok"),
        ("letters that were not there", beside(b"?.txt", "表.txt"), "ok"),
        ("NUL", beside(b"b\0", "other.txt"), "bad_name"),
        ("line feed", beside(b"b\n", "other.txt"), "bad_name"),
        ("no name", beside(b"", "other.txt"), "bad_name"),
        ("parent", beside(b"../b", "b"), "entry_escapes"),
        ("parent on Windows", beside(b"..\\b", "b"), "entry_escapes"),
        ("root", beside(b"/b", "b"), "entry_escapes"),
        ("drive", beside(b"c:b", "b"), "entry_escapes"),
        ("long", beside(&[b'x'; 256], "x"), "name_too_long"),
        ("as long as may be", beside(&[b'x'; 255], "x"), "ok"),
    ];
    expect_codes(cases, &Options::default());
}

#[test]
fn backslash_is_refused_where_a_host_other_than_dos_stands_beside_the_version_needed() {
    let beside = |name: &[u8], central: u8, local: u8| {
        dos([name]).with(|a| {
            let entry = &mut a.entries[0];
            (entry.needed_host, entry.local_needed_host) = (central, Some(local));
        })
    };
    let winzip = |name: &[u8], local: u8| {
        beside(b"a/b", 0, local).with(|a| has_unicode(&mut a.entries[0], name))
    };
    let half = encoded(SHIFT_JIS, &["表.txt"]).remove(0);
    let cases = vec![
        ("DOS in both headers", beside(b"a\\b", 0, 0), "ok"),
        ("Unix in both", beside(b"a\\b", 3, 3), "bad_name"),
        ("Unix in the central header", beside(b"a\\b", 3, 0), "bad_name"),
        ("Unix in the local header", beside(b"a\\b", 0, 3), "bad_name"),
        ("no host at all, in the local header", beside(b"a\\b", 0, 0x7f), "bad_name"),
        ("a folder", beside(b"a\\", 0, 3).with(|a| empty(&mut a.entries[0])), "bad_name"),
        ("a folder, DOS", beside(b"a\\", 0, 0).with(|a| empty(&mut a.entries[0])), "ok"),
        ("a slash", beside(b"a/b", 3, 3), "ok"),
        ("half a letter", beside(&half, 3, 3), "ok"),
        ("half a letter, in the local header", beside(&half, 0, 3), "ok"),
        ("WinZip's Unicode name", winzip(b"a\\b", 0), "ok"),
        ("WinZip's Unicode name, Unix in the local header", winzip(b"a\\b", 3), "bad_name"),
        ("a Unicode name with a slash", winzip(b"a/b", 3), "ok"),
    ];
    expect_codes(cases, &Options::default());
}

/// Takes the contents from an entry.
fn empty(entry: &mut Entry) {
    *entry = Entry::stored(&entry.name, b"").with(|new| {
        (new.host, new.attributes) = (entry.host, entry.attributes);
        (new.needed_host, new.local_needed_host) = (entry.needed_host, entry.local_needed_host);
    });
}

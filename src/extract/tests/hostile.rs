//! Hostile archives by class: the code each must get, and nothing left behind (see `unpack`). Those that
//! lie about where things are have more cases in [`framing`](super::framing).

use super::*;

#[test]
fn hostile_archive_gets_the_code_of_its_class() {
    let pair = |a: &str, b: &str| Archive::of([file(a), file(b)]);
    let unix = |mode: u32| one(move |e| e.attributes = mode << 16);
    let fat = Entry::deflated("a", &vec![0; 70 << 20]);
    let cases: Vec<(&str, Archive, &str)> = vec![
        // names
        ("parent", named(b"../a"), "entry_escapes"),
        ("inner parent", named(b"a/../../b"), "entry_escapes"),
        ("harmless parent", named(b"a/../b"), "entry_escapes"),
        ("absolute", named(b"/etc/passwd"), "entry_escapes"),
        ("UNC", named(b"\\\\host\\share"), "entry_escapes"),
        ("drive", named(b"C:/a"), "entry_escapes"),
        ("parent with backslash", named(b"..\\a"), "entry_escapes"),
        ("backslash from Unix", named(b"a\\b"), "bad_name"),
        ("empty", named(b""), "bad_name"),
        ("dot", named(b"."), "bad_name"),
        ("NUL", named(b"a\0.txt"), "bad_name"),
        ("newline", named(b"a\nb"), "bad_name"),
        ("flag says UTF-8", one(|e| (e.flags, e.name) = (1 << 11, b"\xff".to_vec())), "bad_name"),
        ("long component", named(&[b'x'; 256]), "name_too_long"),
        ("long path", named("abcdefg/".repeat(513).as_bytes()), "name_too_long"),
        ("deep", named(&[b"a/".repeat(65), b"x".to_vec()].concat()), "too_deep"),
        // conflicts
        ("same name", pair("a", "a"), "duplicate_entry"),
        ("same after normalising", pair("a", "./a"), "duplicate_entry"),
        ("file, then folder", pair("a", "a/b"), "file_against_folder"),
        ("folder, then file", pair("a/b", "a"), "file_against_folder"),
        ("folder with data", one(|e| e.name = b"a/".to_vec()), "folder_with_data"),
        // kinds
        ("symlink", unix(0o120_777), "symlink"),
        ("device", unix(0o020_666), "special_file"),
        ("socket", unix(0o140_666), "special_file"),
        (
            "FIFO",
            Archive::of([Entry::stored("a", b"").with(|e| e.attributes = 0o010_644 << 16)]),
            "special_file",
        ),
        // framing
        ("trailing byte", pair("a", "b").with(|a| a.suffix = vec![1]), "trailing_data"),
        ("prefix", pair("a", "b").with(|a| a.prefix = b"#!sh".to_vec()), "prefix_data"),
        ("prefix counted", one(|e| e.gap = b"#!sh".to_vec()), "prefix_data"),
        ("gap", Archive::of([file("a"), file("b").with(|e| e.gap = vec![0])]), "gap"),
        ("gap at the end", pair("a", "b").with(|a| a.before_directory = vec![0; 9]), "gap"),
        ("gap before the end record", pair("a", "b").with(|a| a.before_end = vec![0; 9]), "gap"),
        ("overlap", Archive::of([file("a"), file("a").with(|e| e.offset = Some(0))]), "overlap"),
        ("offset outside", one(|e| e.offset = Some(99_999)), "overlap"),
        ("offset at no header", one(|e| e.offset = Some(3)), "prefix_data"),
        ("one too many", pair("a", "b").with(|a| a.count = Some(3)), "end_record_mismatch"),
        ("one too few", pair("a", "b").with(|a| a.count = Some(1)), "end_record_mismatch"),
        ("size too small", pair("a", "b").with(|a| a.directory_size = Some(50)), "gap"),
        (
            "two end records",
            pair("a", "b").with(|a| a.comment = Archive::default().bytes()),
            "several_end_records",
        ),
        ("other disk", pair("a", "b").with(|a| a.disk = 1), "multi_disk"),
        ("entry on another disk", one(|e| e.disk = 1), "multi_disk"),
        ("not a ZIP", Archive::default().with(|a| a.suffix = vec![7; 70_000]), "no_end_record"),
        // local against central
        ("local name", one(|e| e.local_name = Some(b"b".to_vec())), "local_name_mismatch"),
        ("local method", one(|e| e.local_method = Some(0)), "local_mismatch"),
        ("local flags", one(|e| e.local_flags = Some(1)), "local_mismatch"),
        ("local sums", one(|e| e.local_sums = Some([0; 3])), "local_mismatch"),
        (
            "local Unicode name",
            one(|e| {
                let crc = libdeflater::crc32(b"a").to_le_bytes();
                e.local_extra = extra(0x7075, &[&[1][..], &crc, b"b"].concat());
            }),
            "unicode_name_mismatch",
        ),
        ("zip64 twice", one(|e| e.extra = [extra(1, b""), extra(1, b"")].concat()), "malformed"),
        ("zip64 for nothing", one(|e| e.extra = extra(1, &[7; 8])), "malformed"),
        ("extra field cut", one(|e| e.extra = vec![1, 2, 9, 0]), "malformed"),
        (
            "descriptor missing",
            one(|e| (e.flags, e.local_sums) = (1 << 3, Some([0; 3]))),
            "descriptor_mismatch",
        ),
        (
            "descriptor wrong",
            Archive::of([file("a").streamed().with(|e| e.descriptor[4] ^= 1)]),
            "descriptor_mismatch",
        ),
        ("descriptor unannounced", one(|e| e.descriptor = vec![0; 12]), "gap"),
        // data
        ("CRC", one(|e| e.crc ^= 1), "crc_mismatch"),
        (
            "CRC, stored",
            Archive::of([Entry::stored("a", b"x").with(|e| e.crc ^= 1)]),
            "crc_mismatch",
        ),
        ("declares less", one(|e| e.size -= 1), "data_too_long"),
        ("declares more", one(|e| e.size += 1), "data_too_short"),
        (
            "stored declares less",
            Archive::of([Entry::stored("a", b"xy").with(|e| e.size = 1)]),
            "data_too_long",
        ),
        (
            "junk after the end",
            one(|e| {
                e.data.push(0);
                e.compressed += 1;
            }),
            "data_after_end",
        ),
        (
            "footer as junk",
            one(|e| {
                let foot = [e.crc.to_le_bytes(), e.size.to_le_bytes()].concat();
                e.data.extend(foot);
                e.compressed += 8;
            }),
            "data_after_end",
        ),
        (
            "data cut",
            one(|e| {
                e.data.pop();
                e.compressed -= 1;
            }),
            "data_too_short",
        ),
        ("no deflate data", one(|e| e.data[0] = 0xff), "corrupt_data"),
        // features
        ("method 6", one(|e| e.method = 6), "unsupported"),
        ("patch", one(|e| e.flags = 1 << 5), "unsupported"),
        ("strong encryption", one(|e| e.flags = 1 | 1 << 6), "unsupported"),
        ("masked", one(|e| e.flags = 1 << 13), "unsupported"),
        ("encrypted", one(|e| e.flags = 1), "encrypted"),
        // limits
        ("ratio", Archive::of([fat]), "ratio_too_high"),
    ];
    expect_codes(cases, &Options::default());
}

#[test]
fn limit_that_is_met_gets_its_own_code() {
    let archive = Archive::of([file("a"), file("b")]);
    type Set = fn(&mut Limits);
    let cases: [(&str, Set); 5] = [
        ("too_many_entries", |limits| limits.entries = 1),
        ("total_too_large", |limits| limits.total_bytes = 39),
        ("entry_too_large", |limits| limits.entry_bytes = 19),
        ("name_too_long", |limits| limits.path_bytes = 0),
        ("ok", |limits| (limits.entries, limits.total_bytes) = (2, 40)),
    ];
    for (expected, set) in cases {
        let mut options = Options::default();
        set(&mut options.limits);
        assert_eq!(code(&archive, &options), expected);
    }
    let implicit = Archive::of([file("a/b/c"), file("d/e/f")]);
    let mut options = Options::default();
    options.limits.entries = 3;
    assert_eq!(code(&implicit, &options), "too_many_entries", "implicit folders are not counted");
}

#[test]
fn hostile_name_in_every_disguise_is_refused() {
    let flagged = |name: &[u8]| named(name).with(|a| a.entries[0].flags = 1 << 11);
    let unicode = |name: &[u8], crc: u32, version: u8| {
        let body = [&[version][..], &crc.to_le_bytes(), name].concat();
        one(|e| (e.extra, e.local_extra) = (extra(0x7075, &body), extra(0x7075, &body)))
    };
    let crc = libdeflater::crc32(b"a");
    let cases = vec![
        ("parent at the end", named(b"a/.."), "entry_escapes"),
        ("parent alone", named(b".."), "entry_escapes"),
        ("behind dots", named(b"./.././a"), "entry_escapes"),
        ("two slashes", named(b"//host/a"), "entry_escapes"),
        ("drive with backslash", named(b"c:\\a"), "entry_escapes"),
        ("drive without a path", named(b"c:a"), "entry_escapes"),
        ("device namespace", named(b"\\\\?\\C:\\a"), "entry_escapes"),
        ("mixed separators", named(b"a\\../../b"), "entry_escapes"),
        (
            "backslashes from Windows",
            named(b"a\\..\\..\\b").with(|a| host_dos(&mut a.entries[0])),
            "entry_escapes",
        ),
        ("Unicode name escapes", unicode(b"../x", crc, 1), "entry_escapes"),
        ("Unicode name, absolute", unicode(b"/x", crc, 1), "entry_escapes"),
        ("Unicode name, backslashes", unicode(b"..\\x", crc, 1), "entry_escapes"),
        ("Unicode name of another", unicode(b"../x", crc ^ 1, 1), "ok"),
        ("Unicode name of a new version", unicode(b"x", crc, 2), "malformed"),
        ("dots of two bytes each", flagged(b"\xc0\xae\xc0\xae/x"), "bad_name"),
        ("half of a pair", flagged(b"\xed\xa0\x80"), "bad_name"),
        ("C1 control", flagged("a\u{85}b".as_bytes()), "bad_name"),
        ("DEL", named(b"a\x7f"), "bad_name"),
        ("escape sequence", named(b"a\x1b[2J"), "bad_name"),
        (
            "a folder by DOS and a file by Unix, with data",
            Archive::of([
                Entry::stored("a", b"beta").with(|e| (e.host, e.attributes) = (0, 0x81a4_8010))
            ]),
            "folder_with_data",
        ),
        (
            "two backslashes from Windows",
            named(b"a\\\\b").with(|a| host_dos(&mut a.entries[0])),
            "bad_name",
        ),
        (
            "a folder to 7-Zip and a file to others",
            Archive::of([Entry::stored("a", b"").with(|e| (e.host, e.attributes) = (11, 0x10))]),
            "malformed",
        ),
        (
            "a folder by a mode of macOS alone",
            Archive::of([
                Entry::stored("a", b"").with(|e| (e.host, e.attributes) = (19, 0x41ed_0000))
            ]),
            "malformed",
        ),
        ("Unicode name of a file for a folder", unicode(b"x/", crc, 1), "unicode_name_mismatch"),
        ("a dot at the end", named(b"a/."), "bad_name"),
        ("nothing but dots and slashes", named(b"././."), "bad_name"),
        ("deep folder", Archive::of([Entry::folder(&["a"; 65].join("/"))]), "too_deep"),
        ("as deep as may be", named(&[b"a/".repeat(64), b"x".to_vec()].concat()), "ok"),
        ("255 bytes", named(&[b'x'; 255]), "ok"),
    ];
    expect_codes(cases, &Options::default());
}

#[test]
fn hostile_kind_is_refused_whatever_host_it_claims() {
    let with = |host: u8, attributes: u32, name: &str| {
        Archive::of([Entry::stored(name, b"/etc").with(|e| {
            (e.host, e.attributes) = (host, attributes);
        })])
    };
    let hidden = Entry::deflated("d/", b"hidden").with(|e| e.size = 0);
    let cases = vec![
        ("link named as a folder", with(3, 0o120_777 << 16, "l/"), "symlink"),
        ("link of 7-Zip", with(0, 0o120_777 << 16 | 0x8000, "l"), "symlink"),
        ("link of macOS", with(19, 0o120_777 << 16, "l"), "symlink"),
        ("block device", with(3, 0o060_666 << 16, "l"), "special_file"),
        ("unknown kind", with(3, 0o030_666 << 16, "l"), "special_file"),
        ("folder by mode, with data", with(3, 0o040_755 << 16, "l"), "folder_with_data"),
        ("folder that hides data", Archive::of([hidden]), "data_too_long"),
    ];
    expect_codes(cases, &Options::default());
}

#[test]
fn hostile_ratio_does_not_hide_behind_other_entries() {
    let fat = Entry::deflated("a", &vec![0; 65 << 20]);
    let plain = Entry::stored("b", &vec![7; 1 << 20]);
    assert_eq!(code(&Archive::of([plain, fat]), &Options::default()), "ratio_too_high");
}

#[test]
fn limit_on_names_and_depth_gets_its_own_code() {
    let long: Vec<Entry> =
        (0..300).map(|n| Entry::stored(format!("{n:03}/{}", "y".repeat(3996)), b"")).collect();
    let mut options = Options::default();
    (options.limits.entries, options.limits.mean_name_bytes) = (1000, 1);
    assert_eq!(code(&Archive::of(long), &options), "names_too_large");

    let mut options = Options::default();
    options.limits.depth = 1;
    assert_eq!(code(&named(b"a/b"), &options), "ok");
    assert_eq!(code(&named(b"a/b/c"), &options), "too_deep");
    options.limits.path_bytes = 3;
    assert_eq!(code(&named(b"a/b"), &options), "ok");
    assert_eq!(code(&named(b"a/bc"), &options), "name_too_long");
}

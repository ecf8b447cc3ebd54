//! Tests of the engine as a whole: hostile archives by the code each must get, honest ones by the tree.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::error::{Disposition, Failure};
use crate::testkit::zip_writer::{Archive, Entry, extra};

/// Path to content; none for a folder.
type Tree = BTreeMap<String, Option<Vec<u8>>>;

fn tree(root: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut open = vec![root.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                tree.insert(name, None);
                open.push(path);
            } else {
                tree.insert(name, Some(fs::read(&path).unwrap()));
            }
        }
    }
    tree
}

fn unpack_into(zip: &File, out: &Path, options: &Options) -> Result<(), ExtractError> {
    let plan = Plan::read(zip, options)?;
    let slices = plan.slices(1 << 20, 2);
    let out = File::open(out).unwrap();
    let unpacking = Unpacking::new(plan, zip.try_clone().unwrap(), out.into())?;
    let mut scratch = Scratch::default();
    let result = slices
        .iter()
        .try_for_each(|slice| unpacking.write(slice, &mut scratch).map(drop))
        .and_then(|()| unpacking.finish());
    if result.is_err() {
        unpacking.discard().unwrap();
    }
    result
}

/// Unpacks `bytes`; whatever happens, nothing may appear beside the output folder, and after an error
/// nothing in it.
fn unpack(bytes: &[u8], options: &Options) -> Result<Tree, ExtractError> {
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("out");
    fs::create_dir(&out).unwrap();
    let mut zip = tempfile::tempfile().unwrap();
    zip.write_all(bytes).unwrap();
    let result = unpack_into(&zip, &out, options);
    let top: Vec<_> = fs::read_dir(home.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(top, ["out"], "something appeared beside the output folder");
    let tree = tree(&out);
    assert!(result.is_ok() || tree.is_empty(), "{result:?} left {tree:?}");
    result.map(|()| tree)
}

fn code(archive: &Archive, options: &Options) -> &'static str {
    match unpack(&archive.bytes(), options) {
        Ok(_) => "ok",
        Err(error) => error.code(),
    }
}

fn file(name: &str) -> Entry {
    Entry::deflated(name, b"some data, some data")
}

fn one(change: impl FnOnce(&mut Entry)) -> Archive {
    Archive::of([file("a").with(change)])
}

fn named(name: &[u8]) -> Archive {
    Archive::of([Entry::stored(name, b"x")])
}

fn host_dos(entry: &mut Entry) {
    (entry.host, entry.attributes) = (0, 0x20);
}

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
        ("same folder", Archive::of([Entry::folder("a"), Entry::folder("a")]), "duplicate_entry"),
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
        ("trailing byte", pair("a", "b").with(|a| a.suffix = vec![0]), "trailing_data"),
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
            "local_name_mismatch",
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
    let mut wrong = Vec::new();
    for (what, archive, expected) in cases {
        let found = code(&archive, &Options::default());
        if found != expected {
            wrong.push(format!("{what}: {found}, expected {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
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
fn framing_that_is_lenient_accepts_what_nobody_asked_for_and_nothing_else() {
    let lenient = Options { framing: Framing::Lenient, ..Options::default() };
    let pair = || Archive::of([file("a"), file("b").streamed()]);
    for (what, archive) in [
        ("trailing bytes", pair().with(|a| a.suffix = vec![0; 5])),
        ("prefix", pair().with(|a| a.prefix = b"#!/bin/sh\n".to_vec())),
        ("prefix, zip64", pair().with(|a| (a.prefix, a.zip64) = (b"#!/bin/sh\n".to_vec(), true))),
        ("prefix counted", one(|e| e.gap = b"#!sh".to_vec())),
        ("gap", Archive::of([file("a"), file("b").with(|e| e.gap = vec![0])])),
        ("signing block", pair().with(|a| a.before_directory = vec![7; 999])),
        ("gap before the end record", pair().with(|a| a.before_end = vec![0; 9])),
    ] {
        assert_eq!(code(&archive, &lenient), "ok", "{what}");
    }
    for (expected, archive) in [
        ("overlap", Archive::of([file("a"), file("a").with(|e| e.offset = Some(0))])),
        ("local_mismatch", one(|e| e.local_method = Some(0))),
        ("end_record_mismatch", pair().with(|a| a.count = Some(1))),
        ("entry_escapes", named(b"../a")),
        ("several_end_records", pair().with(|a| a.comment = Archive::default().bytes())),
    ] {
        assert_eq!(code(&archive, &lenient), expected);
    }
}

#[test]
fn odd_but_sound_archive_gives_its_tree() {
    let paths = |archive: &Archive| {
        let tree = unpack(&archive.bytes(), &Options::default()).unwrap();
        tree.into_keys().collect::<Vec<_>>().join(" ")
    };
    let dos = |name: &str| Entry::stored(name, b"x").with(host_dos);
    for (what, archive, expected) in [
        ("empty", Archive::default(), ""),
        ("zip64", Archive::of([file("a")]).with(|a| a.zip64 = true), "a"),
        ("comment", Archive::of([file("a")]).with(|a| a.comment = b"hello".to_vec()), "a"),
        ("streamed", Archive::of([file("a").streamed(), file("b").streamed()]), "a b"),
        (
            "streamed, no signature",
            Archive::of([file("a").streamed().with(|e| drop(e.descriptor.drain(..4)))]),
            "a",
        ),
        ("root folder", Archive::of([Entry::folder("."), file("./a")]), "a"),
        ("double slash", named(b"a//b"), "a a/b"),
        ("folder after its file", Archive::of([file("a/b"), Entry::folder("a")]), "a a/b"),
        (
            "backslashes from Windows",
            Archive::of([
                dos("a\\b"),
                dos("a\\c\\").with(|e| (e.data, e.size, e.compressed, e.crc) = (vec![], 0, 0, 0)),
            ]),
            "a a/b a/c",
        ),
        (
            "folder by attribute",
            Archive::of([
                Entry::stored("a", b"").with(|e| (e.host, e.attributes) = (0, 0x10)),
                file("a/b"),
            ]),
            "a a/b",
        ),
        ("zipalign padding", one(|e| e.local_extra = vec![0; 3]), "a"),
        ("empty deflated", Archive::of([Entry::deflated("a", b"")]), "a"),
    ] {
        assert_eq!(paths(&archive), expected, "{what}");
    }
}

#[test]
fn names_in_old_charsets_are_read_as_a_person_would() {
    for (label, names) in [
        ("GBK", &["七个房间.txt", "说明文件.txt", "测试数据.csv"][..]),
        ("Shift_JIS", &["表示ソース.txt", "能力テスト.txt", "ドキュメント.txt", "予定表"]),
        ("Big5", &["功能說明.txt", "測試資料.txt", "許可證.txt"]),
        ("EUC-KR", &["한국어 문서.txt", "테스트 자료.txt", "설명서.txt"]),
        ("IBM866", &["Привет.txt", "документ.txt", "Новая папка"]),
    ] {
        let encoding = encoding_rs::Encoding::for_label(label.as_bytes()).unwrap();
        let entries =
            names.iter().map(|name| Entry::stored(encoding.encode(name).0, b"x").with(host_dos));
        let tree = unpack(&Archive::of(entries).bytes(), &Options::default());
        let tree = tree.unwrap_or_else(|error| panic!("{label}: {error}"));
        let mut expected: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        expected.sort();
        assert_eq!(tree.into_keys().collect::<Vec<_>>(), expected, "{label}");
    }
    let tree = unpack(&named(b"fran\x87ais").bytes(), &Options::default()).unwrap();
    assert_eq!(tree.into_keys().collect::<Vec<_>>(), ["français"], "CP437");
}

#[test]
fn symlinks_that_are_skipped_leave_the_rest() {
    let link = Entry::stored("l", b"/etc").with(|e| e.attributes = 0o120_777 << 16);
    let options = Options { symlinks: Symlinks::Skip, ..Options::default() };
    let tree = unpack(&Archive::of([link, file("a")]).bytes(), &options).unwrap();
    assert_eq!(tree.into_keys().collect::<Vec<_>>(), ["a"]);
}

#[test]
fn collisions_that_are_refused_are_those_of_case_and_normal_form() {
    let options = Options { collisions: Collisions::Refuse, ..Options::default() };
    for (a, b, expected) in [
        ("Read.me", "READ.ME", "name_collision"),
        ("é", "e\u{301}", "name_collision"),
        ("A/x", "a/y", "name_collision"),
        ("a", "b", "ok"),
    ] {
        let archive = Archive::of([file(a), file(b)]);
        assert_eq!(code(&archive, &options), expected, "{a} {b}");
        assert_eq!(code(&archive, &Options::default()), "ok", "{a} {b}");
    }
}

#[test]
fn archive_cut_at_any_byte_is_refused() {
    let bytes = Archive::of([file("a"), Entry::folder("d"), file("d/b").streamed()]).bytes();
    for len in 0..bytes.len() {
        for framing in [Framing::Strict, Framing::Lenient] {
            let options = Options { framing, ..Options::default() };
            let error = unpack(&bytes[..len], &options).unwrap_err();
            assert_eq!(error.disposition(), Disposition::Quarantine, "{len}: {error}");
        }
    }
}

#[test]
fn zip_that_changes_while_it_is_unpacked_is_retried() {
    let mut zip = tempfile::tempfile().unwrap();
    zip.write_all(&Archive::of([file("a")]).bytes()).unwrap();
    let home = tempfile::tempdir().unwrap();
    let plan = Plan::read(&zip, &Options::default()).unwrap();
    let slices = plan.slices(1, 1);
    let out = File::open(home.path()).unwrap();
    let unpacking = Unpacking::new(plan, zip.try_clone().unwrap(), out.into()).unwrap();
    unpacking.write(&slices[0], &mut Scratch::default()).unwrap();
    zip.write_all(b"more").unwrap();
    let error = unpacking.finish().unwrap_err();
    assert_eq!((error.code(), error.disposition()), ("zip_changed", Disposition::Retry));
}

#[test]
fn slice_that_fails_stops_the_others() {
    let bad = file("b").with(|e| e.crc ^= 1);
    let mut zip = tempfile::tempfile().unwrap();
    zip.write_all(&Archive::of([file("a"), bad, file("c")]).bytes()).unwrap();
    let home = tempfile::tempdir().unwrap();
    let plan = Plan::read(&zip, &Options::default()).unwrap();
    let slices = plan.slices(u64::MAX, 1);
    assert_eq!(slices.len(), 3);
    let out = File::open(home.path()).unwrap();
    let unpacking = Unpacking::new(plan, zip, out.into()).unwrap();
    let mut scratch = Scratch::default();
    unpacking.write(&slices[0], &mut scratch).unwrap();
    assert_eq!(unpacking.write(&slices[1], &mut scratch).unwrap_err().code(), "crc_mismatch");
    assert_eq!(unpacking.write(&slices[2], &mut scratch).unwrap_err().code(), "stopped");
    assert_eq!(unpacking.finish().unwrap_err().code(), "stopped");
    unpacking.discard().unwrap();
    assert!(tree(home.path()).is_empty());
}

#[test]
fn large_entry_with_a_lie_in_it_is_refused_while_two_threads_work_on_it() {
    let data: Vec<u8> =
        (0..40_u32 << 18).flat_map(|n| (n.wrapping_mul(2_654_435_761)).to_le_bytes()).collect();
    let honest = Entry::deflated("a", &data);
    let sound = unpack(&Archive::of([honest.clone()]).bytes(), &Options::default()).unwrap();
    assert!(sound["a"].as_ref() == Some(&data), "the content differs");
    let lie = honest.with(|e| e.crc ^= 1);
    assert_eq!(code(&Archive::of([lie]), &Options::default()), "crc_mismatch");
}

fn name() -> impl Strategy<Value = String> {
    prop::collection::vec("[a-zA-Z0-9 é世_.-]{1,12}[a-z]", 1..4).prop_map(|parts| parts.join("/"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn any_tree_zipped_and_unpacked_is_the_same_tree(
        files in prop::collection::btree_map(name(), prop::collection::vec(any::<u8>(), 0..4000), 0..12),
        streamed in any::<bool>(),
        stored in any::<bool>(),
    ) {
        let clash = |a: &String| files.keys().any(|b| b.starts_with(&format!("{a}/")));
        prop_assume!(!files.keys().any(clash));
        let entries = files.iter().map(|(name, data)| {
            let entry = if stored { Entry::stored(name, data) } else { Entry::deflated(name, data) };
            if streamed { entry.streamed() } else { entry }
        });
        let found = unpack(&Archive::of(entries).bytes(), &Options::default()).unwrap();
        let found: BTreeMap<_, _> = found.into_iter().filter_map(|(k, v)| Some((k, v?))).collect();
        prop_assert_eq!(found, files);
    }

    #[test]
    fn any_mutation_of_a_valid_archive_gives_a_tree_or_an_error(
        at in any::<prop::sample::Index>(),
        value in any::<u8>(),
        lenient in any::<bool>(),
    ) {
        let mut bytes = Archive::of([file("a"), Entry::folder("d"), file("d/b").streamed()])
            .with(|a| a.zip64 = true)
            .bytes();
        let index = at.index(bytes.len());
        bytes[index] = value;
        let framing = if lenient { Framing::Lenient } else { Framing::Strict };
        // `unpack` itself asserts that nothing is left behind or beside.
        let _tree_or_error = unpack(&bytes, &Options { framing, ..Options::default() });
    }
}

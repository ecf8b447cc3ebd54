//! Tests of the engine as a whole: hostile archives by the code each must get, honest ones by the tree.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::*;
use crate::error::{Disposition, Failure};
use crate::testkit::zip_writer::{Archive, Entry, extra};

mod codes;
mod framing;
mod fuzzed;
mod hostile;
mod locked;
mod metadata;
mod methods;
mod names;
mod properties;
mod sound;
mod two_names;
mod writers;

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

/// Unpacks `bytes`; whatever happens, nothing around the output folder may change, and after an error
/// nothing may be in it.
fn unpack(bytes: &[u8], options: &Options) -> Result<Tree, ExtractError> {
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("out");
    fs::create_dir(&out).unwrap();
    for neighbour in ["a", "etc/passwd", "out-of-bounds"] {
        let path = home.path().join(neighbour);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, neighbour).unwrap();
    }
    let mut zip = tempfile::tempfile().unwrap();
    zip.write_all(bytes).unwrap();
    let before = snapshot(home.path());
    let result = unpack_into(&zip, &out, options);
    let tree = tree(&out);
    assert!(result.is_ok() || tree.is_empty(), "{result:?} left {tree:?}");
    assert_eq!(snapshot(home.path()), before, "something changed around the output folder");
    result.map(|()| tree)
}

/// Everything in `home` but what is in its folder `out`: path to mode, owner, length, time and content.
fn snapshot(home: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut open = vec![home.to_owned()];
    while let Some(path) = open.pop() {
        let seen = fs::symlink_metadata(&path).unwrap();
        let mut said = format!("{:o} {} {}", seen.mode(), seen.uid(), seen.gid());
        if path == home.join("out") {
            // Its time changes with what is made in it.
        } else if seen.is_dir() {
            said += &format!(" {:?}", seen.modified().unwrap());
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            let content = fs::read(&path).unwrap();
            said += &format!(" {} {:?} {content:?}", seen.nlink(), seen.modified().unwrap());
        }
        found.insert(path, said);
    }
    found
}

fn code(archive: &Archive, options: &Options) -> &'static str {
    code_of(&archive.bytes(), options)
}

fn code_of(bytes: &[u8], options: &Options) -> &'static str {
    match unpack(bytes, options) {
        Ok(_) => "ok",
        Err(error) => error.code(),
    }
}

/// Every archive gets its code; all that do not are named together.
fn expect_codes(cases: Vec<(&str, Archive, &str)>, options: &Options) {
    let mut wrong = Vec::new();
    for (what, archive, expected) in cases {
        let found = code(&archive, options);
        if found != expected {
            wrong.push(format!("{what}: {found}, expected {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
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
    let link = |name: &str| Entry::stored(name, b"/etc").with(|e| e.attributes = 0o120_777 << 16);
    let options = Options { symlinks: Symlinks::Skip, ..Options::default() };
    let bytes = Archive::of([link("l"), file("a"), link("d/l")]).bytes();
    let found = unpack(&bytes, &options).unwrap();
    assert_eq!(found.into_keys().collect::<Vec<_>>(), ["a", "d"]);
    let mut zip = tempfile::tempfile().unwrap();
    zip.write_all(&bytes).unwrap();
    let plan = Plan::read(&zip, &options).unwrap();
    // Whoever compares them with names that are taken must hear of all that is made.
    assert_eq!(plan.top_level().collect::<Vec<_>>(), ["a", "d"]);
    assert_eq!(plan.inodes(), 2);
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

#[test]
fn stored_entry_of_several_parts_is_whole_and_a_lie_in_it_is_found() {
    let data: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    let honest = Entry::stored("a", &data);
    let around = |entry: Entry| Archive::of([file("before"), entry, file("behind")]);
    let sound = unpack(&around(honest.clone()).bytes(), &Options::default()).unwrap();
    assert!(sound["a"].as_ref() == Some(&data), "the content differs");
    assert_eq!(sound.len(), 3);
    let lie = honest.with(|e| e.data[700_000] ^= 1);
    assert_eq!(code(&around(lie), &Options::default()), "crc_mismatch");
}

/// A ZIP with one stored entry of so many zeros, none of which takes room on disk.
fn hollow(size: u32) -> File {
    let entry = Entry::stored("a", b"").with(|e| (e.size, e.compressed) = (size, size));
    let mut bytes = Archive::of([entry]).bytes();
    let (data, directory_offset) = (30 + 1, bytes.len() - 6);
    let directory = (data as u32 + size).to_le_bytes();
    bytes[directory_offset..directory_offset + 4].copy_from_slice(&directory);
    let zip = tempfile::tempfile().unwrap();
    zip.write_all_at(&bytes[..data], 0).unwrap();
    zip.write_all_at(&bytes[data..], data as u64 + u64::from(size)).unwrap();
    zip
}

#[test]
fn stop_ends_a_large_entry_in_its_middle() {
    let size = 3 << 30;
    let zip = hollow(size);
    let plan = Plan::read(&zip, &Options::default()).unwrap();
    let slices = plan.slices(u64::MAX, 1);
    let unpacking = Unpacking::check_only(plan, zip);
    let error = std::thread::scope(|scope| {
        let work = scope.spawn(|| unpacking.write(&slices[0], &mut Scratch::default()));
        while unpacking.bytes_so_far() == 0 && !work.is_finished() {
            std::thread::yield_now();
        }
        unpacking.stop();
        work.join().unwrap().unwrap_err()
    });
    assert_eq!(error.code(), "stopped");
    assert!(unpacking.bytes_so_far() < u64::from(size), "it was read to its end");
}

#[test]
fn zip_that_is_cut_while_a_stored_entry_is_read_has_changed() {
    let zip = hollow(64 << 20);
    let plan = Plan::read(&zip, &Options::default()).unwrap();
    let slices = plan.slices(u64::MAX, 1);
    zip.set_len(32 << 20).unwrap();
    let unpacking = Unpacking::check_only(plan, zip);
    let error = unpacking.write(&slices[0], &mut Scratch::default()).unwrap_err();
    assert_eq!((error.code(), error.disposition()), ("zip_changed", Disposition::Retry));
}

#[test]
fn write_error_is_the_machines_the_disks_or_the_packages_by_what_the_system_says() {
    let of = |errno: Errno| ExtractError::write("a", errno).disposition();
    for errno in [Errno::NOSPC, Errno::DQUOT, Errno::ROFS, Errno::MFILE, Errno::NFILE, Errno::NOMEM]
    {
        assert_eq!(of(errno), Disposition::Wait, "{errno}");
    }
    assert_eq!(of(Errno::FBIG), Disposition::Quarantine, "no file may be so large here");
    assert_eq!(of(Errno::IO), Disposition::Retry);
    let read = |errno: Errno| ExtractError::read(0, errno.into()).disposition();
    assert_eq!((read(Errno::MFILE), read(Errno::IO)), (Disposition::Wait, Disposition::Retry));
}

#[test]
fn zip_that_is_only_touched_while_it_is_unpacked_is_what_it_was() {
    let (mut zip, bytes) = (tempfile::tempfile().unwrap(), Archive::of([file("a")]).bytes());
    zip.write_all(&bytes).unwrap();
    let plan = Plan::read(&zip, &Options::default()).unwrap();
    let slices = plan.slices(1, 1);
    let unpacking = Unpacking::check_only(plan, zip.try_clone().unwrap());
    unpacking.write(&slices[0], &mut Scratch::default()).unwrap();
    assert!(unpacking.touched().is_none());
    zip.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
    unpacking.finish().unwrap();
    assert!(unpacking.touched().is_some(), "its ctime is another");
    // Whatever is changed of an entry's data is found, although its mtime is kept.
    let mtime = zip.metadata().unwrap().modified().unwrap();
    let central = bytes.windows(4).position(|part| part == b"PK\x01\x02").unwrap();
    for at in 30..central {
        zip.write_all_at(&[bytes[at] ^ 0x55], at as u64).unwrap();
        zip.set_modified(mtime).unwrap();
        let error = unpacking.finish().unwrap_err();
        assert_eq!(error.code(), "zip_changed", "at {at}");
        zip.write_all_at(&bytes[at..=at], at as u64).unwrap();
        zip.set_modified(mtime).unwrap();
    }
    unpacking.finish().unwrap();
}

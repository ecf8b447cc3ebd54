//! What sound writers do that a strict reader would refuse, each with its near miss.

use super::*;

fn strict(archive: &Archive) -> &'static str {
    let found = code(archive, &Options::default());
    if found == "ok" {
        let lenient = Options { framing: Framing::Lenient, ..Options::default() };
        assert_eq!(
            code(archive, &lenient),
            "ok",
            "what is accepted strictly is accepted leniently"
        );
    }
    found
}

fn expect(cases: Vec<(&str, Archive, &str)>) {
    let wrong: Vec<_> = cases
        .into_iter()
        .map(|(what, archive, expected)| (what, strict(&archive), expected))
        .filter(|(_, found, expected)| found != expected)
        .collect();
    assert!(wrong.is_empty(), "(what, found, expected): {wrong:#?}");
}

/// Bit 3, and no descriptor; sizes and CRC are in the local header as given.
fn undescribed(entry: Entry, local_sums: Option<[u32; 3]>) -> Entry {
    entry.with(|e| (e.flags, e.local_sums) = (e.flags | 1 << 3, local_sums))
}

#[test]
fn descriptor_may_be_missing_where_the_local_header_tells_all() {
    let folder = || undescribed(Entry::folder("d"), None);
    let rewritten = |name: &str| undescribed(file(name), None);
    let [a, b] = ["a", "b"].map(file);
    let with_size = |size: u32| {
        let sums = [file("a").crc, file("a").compressed, size];
        Archive::of([undescribed(file("a"), Some(sums)), file("b")])
    };
    expect(vec![
        ("a streamed folder", Archive::of([folder(), file("d/a").streamed()]), "ok"),
        ("an empty file", Archive::of([undescribed(Entry::stored("a", b""), None)]), "ok"),
        ("a rewritten stream", Archive::of([rewritten("a"), rewritten("b")]), "ok"),
        (
            "a rewritten stream, the last described",
            Archive::of([rewritten("a"), b.clone().streamed()]),
            "ok",
        ),
        ("sizes unknown", Archive::of([undescribed(a, Some([0; 3])), b]), "descriptor_mismatch"),
        ("one size unknown", with_size(0), "descriptor_mismatch"),
        ("a false size", with_size(19), "local_mismatch"),
        (
            "bytes in its place",
            Archive::of([rewritten("a").with(|e| e.descriptor = vec![0; 16]), file("b")]),
            "descriptor_mismatch",
        ),
        (
            "a gap behind it",
            Archive::of([rewritten("a"), file("b").with(|e| e.gap = vec![7])]),
            "descriptor_mismatch",
        ),
        (
            "folder with a false descriptor",
            Archive::of([folder().with(|e| e.descriptor = vec![1; 16]), file("d/a")]),
            "descriptor_mismatch",
        ),
    ]);
}

#[test]
fn sizes_of_all_ones_in_zip64_are_unknown_to_a_stream_alone() {
    // SharpZipLib to a stream.
    let entry = |local: u64, flags: u16| {
        let wide = extra(1, &local.to_le_bytes().repeat(2));
        let entry = file("a").streamed().with(|e| {
            e.local_sums = Some([0, u32::MAX, u32::MAX]);
            e.local_extra = wide;
            let sums = [u64::from(e.compressed), u64::from(e.size)].map(u64::to_le_bytes).concat();
            e.descriptor = [&b"PK\x07\x08"[..], &e.crc.to_le_bytes(), &sums].concat();
        });
        Archive::of([entry.with(|e| e.flags = flags)])
    };
    expect(vec![
        ("all ones", entry(u64::MAX, 1 << 3), "ok"),
        ("zeros", entry(0, 1 << 3), "ok"),
        ("some other size", entry(u64::MAX - 1, 1 << 3), "local_mismatch"),
        ("not a stream", entry(u64::MAX, 0), "local_mismatch"),
    ]);
}

/// Many empty files, and the count that their end record declares.
fn many(files: usize, count: usize) -> Archive {
    let files = (0..files).map(|n| Entry::stored(format!("{n:x}"), b""));
    Archive::of(files).with(|a| a.count = Some((count % 65_536) as u16))
}

#[test]
fn count_of_entries_without_zip64_is_modulo_65536() {
    // macOS Finder.
    let planned = |archive: Archive, limit: u64| {
        let mut zip = tempfile::tempfile().unwrap();
        zip.write_all(&archive.bytes()).unwrap();
        let mut options = Options::default();
        options.limits.entries = limit;
        Plan::read(&zip, &options).map_err(|error| error.code()).map(|plan| plan.entries().len())
    };
    let zip64 = |archive: Archive| archive.with(|a| a.zip64 = true);
    let wrong = Err("end_record_mismatch");
    for (what, archive, expected) in [
        ("as many as can be said", many(65_535, 65_535), Ok(65_535)),
        ("one more", many(65_536, 0), Ok(65_536)),
        ("many more", many(70_000, 70_000), Ok(70_000)),
        ("one too few", many(70_000, 69_999), wrong),
        ("one too many", many(70_000, 70_001), wrong),
        ("none, of 2", many(2, 0), wrong),
        ("modulo, but zip64", zip64(many(65_537, 1)), wrong),
    ] {
        assert_eq!(planned(archive, 100_000), expected, "{what}");
    }
    assert_eq!(planned(many(65_536, 0), 65_536), Ok(65_536));
    let found = planned(many(65_537, 1), 65_536);
    assert_eq!(found, Err("too_many_entries"), "the true number counts");
}

#[test]
fn count_that_is_wrong_is_told_as_a_count() {
    for count in [1, 3] {
        let error = unpack(&many(2, count).bytes(), &Options::default()).unwrap_err();
        let text = format!(
            "match the number of entries in the end record, {count}, with what the archive has, 2"
        );
        assert_eq!(error.to_string(), text);
    }
}

#[test]
fn slash_without_data_is_the_output_folder() {
    let slash = |name: &[u8]| Entry::stored(name, b"");
    expect(vec![
        ("slash", Archive::of([slash(b"/"), file("a")]), "ok"),
        ("slash at the end", Archive::of([file("a/b"), slash(b"/")]), "ok"),
        ("with data", named(b"/"), "folder_with_data"),
        ("two slashes", Archive::of([slash(b"//")]), "entry_escapes"),
        ("a name behind it", Archive::of([slash(b"/a")]), "entry_escapes"),
        ("a folder behind it", Archive::of([slash(b"/a/")]), "entry_escapes"),
        ("backslash", Archive::of([slash(b"\\")]), "entry_escapes"),
        ("a link", Archive::of([slash(b"/").with(|e| e.attributes = 0o120_777 << 16)]), "symlink"),
    ]);
    let tree = unpack(&Archive::of([slash(b"/"), file("a")]).bytes(), &Options::default()).unwrap();
    assert_eq!(tree.into_keys().collect::<Vec<_>>(), ["a"]);
}

#[test]
fn folder_twice_is_one_folder_and_a_file_twice_is_refused() {
    let folder = || Entry::folder("META-INF");
    expect(vec![
        ("folder twice", Archive::of([folder(), file("META-INF/a"), folder()]), "ok"),
        ("as `./`", Archive::of([Entry::folder("."), Entry::folder("."), file("a")]), "ok"),
        (
            "file twice",
            Archive::of([folder(), file("META-INF/a"), file("META-INF/a")]),
            "duplicate_entry",
        ),
        ("file, the same", Archive::of([file("a"), file("b"), file("a")]), "duplicate_entry"),
        ("folder and file", Archive::of([folder(), file("META-INF")]), "file_against_folder"),
        ("with data", Archive::of([folder(), file("META-INF/")]), "folder_with_data"),
    ]);
    let at = |mode: u32, seconds: i32| {
        let unix = extra(0x5455, &[&[1][..], &seconds.to_le_bytes()].concat());
        folder().with(|e| (e.attributes, e.extra) = ((0o040_000 | mode) << 16, unix))
    };
    let home = tempfile::tempdir().unwrap();
    let mut zip = tempfile::tempfile().unwrap();
    let archive = Archive::of([at(0o755, 5), file("META-INF/a"), at(0o711, 7)]);
    zip.write_all(&archive.bytes()).unwrap();
    unpack_into(&zip, home.path(), &Options { modes: Modes::Zip, ..Options::default() }).unwrap();
    let seen = home.path().join("META-INF").metadata().unwrap();
    assert_eq!((seen.mode() & 0o777, seen.mtime()), (0o711, 7), "the later one counts");
}

#[test]
fn marker_of_a_split_archive_that_stayed_whole_is_no_prefix() {
    // The marker is counted in the offsets.
    let marked = |marker: &[u8]| {
        let first = file("a").with(|e| e.gap = marker.to_vec());
        Archive::of([first, file("b").streamed()])
    };
    expect(vec![
        ("PK00", marked(b"PK00"), "ok"),
        ("PK\\7\\8", marked(b"PK\x07\x08"), "ok"),
        ("PK0X", marked(b"PK0X"), "prefix_data"),
        ("three bytes", marked(b"PK0"), "prefix_data"),
        ("and one more", marked(b"PK000"), "prefix_data"),
        ("twice", marked(b"PK00PK00"), "prefix_data"),
        (
            "between entries",
            Archive::of([file("a"), file("b").with(|e| e.gap = b"PK00".to_vec())]),
            "gap",
        ),
        (
            "not counted",
            Archive::of([file("a")]).with(|a| a.prefix = b"PK00".to_vec()),
            "prefix_data",
        ),
        (
            "of nothing",
            Archive::default().with(|a| a.before_directory = b"PK00".to_vec()),
            "prefix_data",
        ),
    ]);
}

#[test]
fn bytes_behind_the_end_record_that_say_nothing_are_accepted() {
    let behind = |suffix: &[u8]| Archive::of([file("a")]).with(|a| a.suffix = suffix.to_vec());
    let commented = |suffix: &[u8]| behind(suffix).with(|a| a.comment = b"a\n\0".to_vec());
    let mut inner = Archive::default().bytes();
    inner.extend([0; 7]);
    expect(vec![
        ("line feed", behind(b"\n"), "ok"),
        ("carriage return and line feed", behind(b"\r\n"), "ok"),
        ("behind a comment", commented(b"\r\n"), "ok"),
        ("a NUL", behind(b"\0"), "ok"),
        ("NULs", behind(&[0; 511]), "ok"),
        ("more NULs than a comment", behind(&[0; 200_000]), "ok"),
        ("the same, zip64", behind(&[0; 65_550]).with(|a| a.zip64 = true), "ok"),
        ("the same, with a comment", commented(&[0; 300_000]), "ok"),
        ("a comment of NULs", behind(&[0; 200_000]).with(|a| a.comment = vec![0; 65_535]), "ok"),
        ("two line feeds", behind(b"\n\n"), "trailing_data"),
        ("carriage return", behind(b"\r"), "trailing_data"),
        ("the other order", behind(b"\n\r"), "trailing_data"),
        ("a space", behind(b" "), "trailing_data"),
        ("text", behind(b"x"), "trailing_data"),
        ("text behind NULs", behind(b"\0\0\0x"), "trailing_data"),
        ("NUL and line feed", behind(b"\0\n"), "trailing_data"),
        ("NULs behind text", behind(&[&b"x"[..], &[0; 600]].concat()), "trailing_data"),
        (
            "an end record in the comment",
            behind(&[0; 600]).with(|a| a.comment = inner),
            "several_end_records",
        ),
        ("two archives", behind(&Archive::of([file("b")]).bytes()), "prefix_data"),
    ]);
}

#[test]
fn nuls_behind_the_end_record_are_looked_through_up_to_64_mib() {
    let bytes = Archive::of([file("a")]).bytes();
    for (mib, expected) in [(60, Ok(1)), (66, Err("no_end_record"))] {
        let mut zip = tempfile::tempfile().unwrap();
        zip.write_all(&bytes).unwrap();
        zip.set_len(mib << 20).unwrap();
        let plan = Plan::read(&zip, &Options::default());
        let found = plan.map(|plan| plan.entries().len()).map_err(|error| error.code());
        assert_eq!(found, expected, "{mib} MiB");
    }
}

#[test]
fn attribute_of_dos_makes_a_folder_on_dos_alone() {
    let case = |host: u8, attributes: u32, data: &[u8]| {
        Archive::of(
            [Entry::stored("a", data).with(|e| (e.host, e.attributes) = (host, attributes))],
        )
    };
    let kind = |archive: &Archive| {
        let tree = unpack(&archive.bytes(), &Options::default());
        tree.map(|tree| tree["a"].is_some()).map_err(|error| error.code())
    };
    for (what, archive, expected) in [
        ("DOS", case(0, 0x10, b""), Ok(false)),
        ("DOS, with data", case(0, 0x10, b"x"), Err("folder_with_data")),
        ("Unix", case(3, 0x10, b""), Ok(true)),
        ("Unix, with data", case(3, 0x10, b"x"), Ok(true)),
        ("Unix, with a mode", case(3, 0o100_644 << 16 | 0x10, b"x"), Ok(true)),
        ("Unix, a folder by its mode", case(3, 0o040_755 << 16, b""), Ok(false)),
        ("macOS", case(19, 0x10, b""), Ok(true)),
    ] {
        assert_eq!(kind(&archive), expected, "{what}: (a file, or the code)");
    }
}

#[test]
fn bytes_left_over_in_an_extra_field_are_padding() {
    let both = |bytes: &[u8]| one(|e| (e.extra, e.local_extra) = (bytes.to_vec(), bytes.to_vec()));
    expect(vec![
        ("NULs", both(&[0; 3]), "ok"),
        ("NULs behind a field", both(&[&extra(0xbeef, b"x")[..], &[0; 2]].concat()), "ok"),
        ("a field of NULs", both(&[0; 7]), "ok"),
        ("ones", both(&[0xff; 3]), "ok"),
        ("NUL and ones", both(&[0, 0xff]), "malformed"),
        ("letters", both(b"abc"), "malformed"),
        ("one letter", both(b"\0\0c"), "malformed"),
        ("letters, in the local header", one(|e| e.local_extra = b"a".to_vec()), "malformed"),
        ("letters, in the directory", one(|e| e.extra = b"a".to_vec()), "malformed"),
    ]);
}

#[test]
fn zip64_field_has_what_is_asked_for_or_all_in_order() {
    let entry = file("a");
    let (size, packed) = (u64::from(entry.size), u64::from(entry.compressed));
    assert_ne!(size, packed, "the test needs two values");
    // Which of size, compressed size, offset and disk say "see zip64", and what that has.
    let case = |asked: [bool; 4], values: &[u64]| {
        let body: Vec<u8> = match values {
            [size, packed, offset, disk] => {
                let long = [*size, *packed, *offset].map(u64::to_le_bytes).concat();
                [&long[..], &(*disk as u32).to_le_bytes()].concat()
            }
            values => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        };
        Archive::of([entry.clone().with(|e| {
            e.local_sums = Some([e.crc, e.compressed, e.size]);
            e.extra = extra(1, &body);
            e.size = if asked[0] { u32::MAX } else { e.size };
            e.compressed = if asked[1] { u32::MAX } else { e.compressed };
            e.offset = asked[2].then_some(u32::MAX);
            e.disk = if asked[3] { u16::MAX } else { 0 };
        })])
    };
    let [n, y] = [false, true];
    expect(vec![
        ("size", case([y, n, n, n], &[size]), "ok"),
        ("compressed size", case([n, y, n, n], &[packed]), "ok"),
        ("offset", case([n, n, y, n], &[0]), "ok"),
        ("size and offset", case([y, n, y, n], &[size, 0]), "ok"),
        ("all", case([y, y, y, y], &[size, packed, 0, 0]), "ok"),
        ("all, size asked for", case([y, n, n, n], &[size, packed, 0, 0]), "ok"),
        ("all, none asked for", case([n, n, n, n], &[size, packed, 0, 0]), "ok"),
        ("both sizes, the second asked for", case([n, y, n, n], &[size, packed]), "ok"),
        ("three, the offset asked for", case([n, n, y, n], &[size, packed, 0]), "ok"),
        ("size for nothing", case([n, n, n, n], &[size]), "ok"),
        ("compressed size for nothing", case([n, n, n, n], &[packed]), "malformed"),
        ("offset for nothing", case([n, n, n, n], &[0]), "malformed"),
        (
            "compressed size in the place of the size",
            case([n, y, n, n], &[packed, size]),
            "malformed",
        ),
        (
            "a false size that is not asked for",
            case([n, y, n, n], &[size + 1, packed]),
            "malformed",
        ),
        ("a false disk", case([y, y, y, n], &[size, packed, 0, 1]), "malformed"),
        ("another disk", case([y, y, y, y], &[size, packed, 0, 1]), "multi_disk"),
        ("size by luck", case([n, y, n, n], &[packed, packed]), "malformed"),
        ("nothing", case([y, n, n, n], &[]), "malformed"),
        ("one of two", case([y, n, y, n], &[size]), "malformed"),
    ]);
}

#[test]
fn signing_block_of_an_apk_is_told_as_one() {
    let mut block = vec![7; 100];
    block.extend(b"APK Sig Block 42");
    for last in [file("b"), file("b").streamed(), undescribed(file("b"), None)] {
        let apk = Archive::of([file("a"), last]).with(|a| a.before_directory = block.clone());
        let error = unpack(&apk.bytes(), &Options::default()).unwrap_err();
        assert_eq!(error.code(), "gap", "{error}");
        assert!(error.to_string().contains("an APK signing block of 116 bytes"), "{error}");
        assert!(error.advice().contains("framing = \"lenient\""), "{}", error.advice());
        let lenient = Options { framing: Framing::Lenient, ..Options::default() };
        assert_eq!(code(&apk, &lenient), "ok");
    }
}

#[test]
fn zip_of_more_than_4_gib_without_zip64_is_told_as_one() {
    // The offset of the directory is that of Finder: modulo 4 GiB.
    let bytes = Archive::of([file("a")]).bytes();
    let directory = bytes.windows(4).position(|four| four == b"PK\x01\x02").unwrap();
    let zip = tempfile::tempfile().unwrap();
    zip.write_all_at(&bytes[..directory], 0).unwrap();
    zip.write_all_at(&bytes[directory..], (1 << 32) + directory as u64).unwrap();
    for framing in [Framing::Strict, Framing::Lenient] {
        let error = Plan::read(&zip, &Options { framing, ..Options::default() }).unwrap_err();
        assert_eq!(error.code(), "no_zip64", "{error}");
    }
    let zip = tempfile::tempfile().unwrap();
    zip.write_all_at(&bytes, (1 << 32) + 1).unwrap();
    let error = Plan::read(&zip, &Options::default()).unwrap_err();
    assert_eq!(error.code(), "prefix_data", "{error}");
}

#[test]
fn file_that_is_no_zip_is_told_by_its_first_bytes() {
    let tar = [&[b'a'; 257][..], b"ustar\0", &[0; 1000]].concat();
    let whole = Archive::of([file("a"), file("b")]).bytes();
    for (bytes, part) in [
        (&b""[..], "in 0 bytes: it is empty"),
        (b"Rar!\x1a\x07\x01\0 and so on", "a RAR archive"),
        (b"7z\xbc\xaf\x27\x1c\0\x04", "a 7z archive"),
        (b"\x1f\x8b\x08\0", "gzip"),
        (&tar, "a tar archive"),
        (b"\n  <!DOCTYPE HTML><p>404", "an HTML page"),
        (b"\xef\xbb\xbf<html lang=en>", "an HTML page"),
        (b"<?xml version=\"1.0\"?><Error>", "an XML document"),
        (b"%PDF-1.7", "a PDF document"),
        (&whole[..60], "cut off"),
        (b"PK\x07\x08PK\x03\x04 and so on", "join the parts"),
        (&[0; 4096], "begins with NULs"),
        (b"name,value\n", "does not begin as a ZIP"),
    ] {
        let error = unpack(bytes, &Options::default()).unwrap_err();
        assert_eq!(error.code(), "no_end_record");
        assert!(error.to_string().contains(part), "{error}");
    }
}

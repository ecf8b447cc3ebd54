//! Methods of compression: those that are not had, and lies behind those that are.

use super::*;

fn packed(method: u16, data: &[u8]) -> Entry {
    let bytes = match method {
        12 => {
            let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
            encoder.write_all(data).unwrap();
            encoder.finish().unwrap()
        }
        93 => zstd::encode_all(data, 3).unwrap(),
        // The same bytes, as long as no match is of 258.
        9 => Entry::deflated("a", data).data,
        8 => return Entry::deflated("a", data),
        _ => data.to_vec(),
    };
    Entry::stored("a", data).with(|e| {
        e.compressed = bytes.len() as u32;
        (e.method, e.data) = (method, bytes);
    })
}

fn set_data(entry: &mut Entry, data: Vec<u8>) {
    (entry.compressed, entry.data) = (data.len() as u32, data);
}

#[test]
fn method_that_is_not_had_is_refused_by_name() {
    for method in (0..=100).chain([0xffff]) {
        let had = [0, 8, 9, 12, 14, 93, 95, 98].contains(&method);
        let archive = Archive::of([Entry::stored("a", b"").with(|e| e.method = method)]);
        let found = code(&archive, &Options::default());
        assert_eq!(found == "unsupported", !had, "{method}: {found}");
    }
}

#[test]
fn method_with_a_lie_behind_it_is_refused() {
    let data: String = (0..40_000).map(|line| format!("line {line} of a text\n")).collect();
    let data = data.as_bytes();
    for method in [0, 8, 9, 12, 93] {
        let honest = packed(method, data);
        let of = |change: &dyn Fn(&mut Entry)| {
            code(&Archive::of([honest.clone().with(change)]), &Options::default())
        };
        assert_eq!(of(&|_| ()), "ok", "{method}");
        assert_eq!(of(&|e| e.crc ^= 1), "crc_mismatch", "{method}");
        assert_eq!(of(&|e| e.size += 1), "data_too_short", "{method}");
        assert_eq!(of(&|e| e.size -= 1), "data_too_long", "{method}");
        assert_eq!(of(&|e| e.size = 0), "data_too_long", "{method}");
        for len in 1..12 {
            let tail = |e: &mut Entry| set_data(e, [&e.data[..], &b"hidden bytes"[..len]].concat());
            assert_ne!(of(&tail), "ok", "{method}: {len} bytes after its end");
        }
        let len = honest.data.len();
        for keep in [0, 1, 10, len / 2].into_iter().chain(len - 12..len) {
            let cut = |e: &mut Entry| set_data(e, e.data[..keep].to_vec());
            assert_ne!(of(&cut), "ok", "{method}: {keep} bytes of its data");
        }
        for at in (0..honest.data.len()).step_by(honest.data.len() / 50 + 1) {
            // bzip2's level and zstd's frame may be said in more than one way: then the data is the same.
            let flipped = Archive::of([honest.clone().with(|e| e.data[at] ^= 0x10)]);
            if let Ok(tree) = unpack(&flipped.bytes(), &Options::default()) {
                assert!(tree["a"].as_ref().is_some_and(|found| found == data), "{method}: {at}");
            }
        }
    }
}

#[test]
fn method_that_asks_for_too_much_memory_does_not_get_it() {
    let mut options = Options::default();
    options.limits.ratio_from_bytes = u64::MAX;
    let of = |method: u16, size: u32, data: &[u8]| {
        let archive = Archive::of([Entry::stored("a", b"").with(|e| {
            (e.method, e.size) = (method, size);
            set_data(e, data.to_vec());
        })]);
        code(&archive, &options)
    };
    let lzma = [9, 4, 5, 0, 0x5d, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(of(14, u32::MAX - 1, &lzma), "unsupported", "a dictionary of 4 GiB");
    assert_ne!(of(14, 10, &lzma), "unsupported", "of which 10 bytes are enough");
    // Order 6, 256 MiB.
    assert_eq!(of(98, 10, &[0xf5, 0x0f, 0, 0, 0, 0, 0, 0]), "unsupported");
    // A window of 2 GiB.
    let zstd = [0x28, 0xb5, 0x2f, 0xfd, 0, 0xa8, 1, 0, 0];
    assert_ne!(of(93, 10, &zstd), "ok");
}

#[test]
fn method_of_folders_and_empty_files_may_be_any() {
    for method in [8, 12, 93] {
        let entries = [packed(method, b""), packed(method, b"").with(|e| e.name = b"d/".to_vec())];
        let tree = unpack(&Archive::of(entries).bytes(), &Options::default()).unwrap();
        assert_eq!(tree, Tree::from([("a".to_owned(), Some(vec![])), ("d".to_owned(), None)]));
    }
}

#[test]
fn method_that_has_given_all_bytes_is_read_to_its_own_end() {
    // Static codes: a letter, then its end; or a match that the data ends in.
    let (whole, cut): (&[u8], &[u8]) = (&[0x4b, 0x06, 0x00], &[0x4b, 0x26, 0x00]);
    for method in [8, 9] {
        let of = |data: &[u8]| {
            let entry = Entry::stored("a", b"c").with(|e| {
                e.method = method;
                set_data(e, data.to_vec());
            });
            code(&Archive::of([entry]), &Options::default())
        };
        assert_eq!(of(whole), "ok", "{method}");
        assert_eq!(of(cut), "data_too_short", "{method}");
        assert_eq!(of(&whole[..2]), "data_too_short", "{method}");
        assert_eq!(of(&[0x4a, 0x06, 0x00]), "data_too_short", "{method}: another block is to come");
        for len in 1..12 {
            let tail = [whole, &[0; 11][..len]].concat();
            assert_eq!(of(&tail), "data_after_end", "{method}: {len} bytes");
        }
    }
}

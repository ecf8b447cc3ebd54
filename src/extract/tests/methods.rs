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
    let data = b"a line of text that repeats\n".repeat(40_000);
    for method in [0, 8, 12, 93] {
        let honest = packed(method, &data);
        let of = |change: &dyn Fn(&mut Entry)| {
            code(&Archive::of([honest.clone().with(change)]), &Options::default())
        };
        assert_eq!(of(&|_| ()), "ok", "{method}");
        assert_eq!(of(&|e| e.crc ^= 1), "crc_mismatch", "{method}");
        assert_eq!(of(&|e| e.size += 1), "data_too_short", "{method}");
        assert_eq!(of(&|e| e.size -= 1), "data_too_long", "{method}");
        assert_eq!(of(&|e| e.size = 0), "data_too_long", "{method}");
        let tail = |e: &mut Entry| set_data(e, [&e.data[..], b"tail"].concat());
        assert_ne!(of(&tail), "ok", "{method}: data after its end");
        for keep in [0, 1, 10, honest.data.len() / 2, honest.data.len() - 1] {
            let cut = |e: &mut Entry| set_data(e, e.data[..keep].to_vec());
            assert_ne!(of(&cut), "ok", "{method}: {keep} bytes of its data");
        }
        for at in (0..honest.data.len()).step_by(honest.data.len() / 50 + 1) {
            // bzip2's level and zstd's frame may be said in more than one way: then the data is the same.
            let flipped = Archive::of([honest.clone().with(|e| e.data[at] ^= 0x10)]);
            if let Ok(tree) = unpack(&flipped.bytes(), &Options::default()) {
                assert!(tree["a"].as_ref().is_some_and(|found| *found == data), "{method}: {at}");
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

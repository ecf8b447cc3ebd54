//! Properties: of any tree, and of any damage.

use proptest::prelude::*;

use super::*;

/// More of them where `LONGSHORE_LONG` is set.
fn cases() -> u32 {
    if std::env::var_os("LONGSHORE_LONG").is_some() { 4096 } else { 96 }
}

fn name() -> impl Strategy<Value = String> {
    prop::collection::vec("[a-zA-Z0-9 é世_.-]{1,12}[a-z]", 1..4).prop_map(|parts| parts.join("/"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

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

    #[test]
    fn any_damage_to_a_valid_archive_gives_its_tree_or_an_error(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4_u8), 1..8),
        lenient in any::<bool>(),
    ) {
        let sound = Archive::of([
            file("a"),
            Entry::stored("d/c", b"stored"),
            Entry::folder("d"),
            file("d/b").streamed(),
        ])
        .with(|a| a.comment = b"comment".to_vec());
        let expected = unpack(&sound.bytes(), &Options::default()).unwrap();
        let mut bytes = sound.bytes();
        for (at, value, kind) in damage {
            if bytes.is_empty() {
                break; // cut to one byte, and that one removed
            }
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = value,
                1 => bytes.insert(at, value),
                2 => drop(bytes.remove(at)),
                _ => bytes.truncate(at.max(1)),
            }
        }
        let framing = if lenient { Framing::Lenient } else { Framing::Strict };
        if let Ok(found) = unpack(&bytes, &Options { framing, ..Options::default() }) {
            // Names and kinds have no checksum, contents do.
            let contents: Vec<_> = expected.values().flatten().collect();
            let known = |data: &Vec<u8>| data.is_empty() || contents.contains(&data);
            prop_assert!(found.values().flatten().all(known), "{found:?}");
        }
    }
}

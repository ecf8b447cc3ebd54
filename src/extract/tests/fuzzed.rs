//! What fuzzing found (`tests/fuzz/`), each made small.

use super::*;

#[test]
fn fuzzed_zip64_locator_without_room_for_its_record_is_malformed() {
    // It was an I/O error once, which is tried again for ever.
    let locator = b"PK\x06\x07\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0".to_vec();
    for room in 0..56 {
        let archive = Archive::default()
            .with(|a| (a.prefix, a.before_end) = (vec![0; room], locator.clone()))
            .bytes();
        for framing in [Framing::Strict, Framing::Lenient] {
            let options = Options { framing, ..Options::default() };
            assert_eq!(code_of(&archive, &options), "malformed", "{room} bytes of room");
        }
    }
}

//! What single writers do that no other does, and that is sound all the same.

use super::*;

/// An archive, and NULs up to so many bytes in all.
fn padded(archive: &Archive, len: usize) -> Vec<u8> {
    let mut bytes = archive.bytes();
    assert!(bytes.len() < len, "nothing would be padded");
    bytes.resize(len, 0);
    bytes
}

#[test]
fn nuls_up_to_a_block_behind_the_end_record_are_accepted() {
    // bsdtar into a pipe: tar's 20 blocks of 512 bytes.
    let archive = || Archive::of([file("a"), file("b").streamed()]);
    let strict = Options::default();
    for len in [512, 1024, 10_240, 65_536] {
        assert_eq!(code_of(&padded(&archive(), len), &strict), "ok", "{len}");
    }
    let commented = archive().with(|a| a.comment = b"a comment".to_vec());
    assert_eq!(code_of(&padded(&commented, 512), &strict), "ok");
    let zip64 = archive().with(|a| a.zip64 = true);
    assert_eq!(code_of(&padded(&zip64, 1024), &strict), "ok");
}

#[test]
fn other_bytes_behind_the_end_record_are_refused() {
    let archive = || Archive::of([file("a"), file("b").streamed()]);
    let strict = Options::default();
    for at in [500, 1023] {
        let mut bytes = padded(&archive(), 1024);
        bytes[at] = b'x';
        assert_eq!(code_of(&bytes, &strict), "trailing_data", "{at}");
    }
    // The comment of one has another in it: some readers take the one, some the other.
    let mut inner = Archive::default().bytes();
    inner.extend([0; 7]);
    let both = archive().with(|a| a.comment = inner);
    assert_eq!(code_of(&padded(&both, 1024), &strict), "several_end_records");
}

#[test]
fn local_crc_of_an_encrypted_streamed_entry_may_be_its_time() {
    // Info-ZIP: `zip -P … - FILES`.
    let with_local_crc = |crc: u32, flags: u16| {
        let entry =
            Entry::deflated("a", b"room for the header of the cipher").streamed().with(|e| {
                e.flags |= flags;
                e.modified[0] = 0x28c4;
                e.local_sums = Some([crc, 0, 0]);
            });
        Archive::of([entry])
    };
    let plan = |archive: Archive| {
        let mut zip = tempfile::tempfile().unwrap();
        zip.write_all(&archive.bytes()).unwrap();
        let options = Options { password: Some(Password::new(b"any")), ..Options::default() };
        Plan::read(&zip, &options).map(drop).map_err(|error| error.code())
    };
    assert_eq!(plan(with_local_crc(0, 1)), Ok(()));
    assert_eq!(plan(with_local_crc(0x28c4_0000, 1)), Ok(()));
    assert_eq!(plan(with_local_crc(0x28c4_0001, 1)), Err("local_mismatch"), "it is no time");
    assert_eq!(plan(with_local_crc(0x28c4_0000, 0)), Err("local_mismatch"), "it is not encrypted");
}

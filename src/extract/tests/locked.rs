//! Encrypted entries: with the password, with another, with none, and damaged.

use std::io::Cursor;

use zip::unstable::write::FileOptionsExt;
use zip::write::{FileOptions, SimpleFileOptions};
use zip::{AesMode, CompressionMethod, ZipWriter};

use super::*;

const PASSWORD: &str = "correct horse";

#[derive(Debug, Clone, Copy)]
enum Cipher {
    Aes(AesMode),
    ZipCrypto,
}

const CIPHERS: [Cipher; 4] = [
    Cipher::Aes(AesMode::Aes128),
    Cipher::Aes(AesMode::Aes192),
    Cipher::Aes(AesMode::Aes256),
    Cipher::ZipCrypto,
];

/// Up to 19 bytes the writer chooses AE-2, which has no CRC-32; from 20 on AE-1, which has one.
fn files() -> Vec<(&'static str, Vec<u8>)> {
    let noise = (0..600_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    vec![
        ("empty", vec![]),
        ("short", b"19 bytes at most".to_vec()),
        ("text", b"a line of text\n".repeat(50)),
        ("folder/noise", noise),
    ]
}

fn lock(options: SimpleFileOptions, cipher: Cipher) -> FileOptions<'static, 'static, ()> {
    match cipher {
        Cipher::Aes(mode) => options.with_aes_encryption(mode, PASSWORD),
        Cipher::ZipCrypto => options.with_deprecated_encryption(PASSWORD.as_bytes()).unwrap(),
    }
}

fn locked(files: &[(&str, Vec<u8>)], cipher: Cipher, method: CompressionMethod) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, data) in files {
        let options = SimpleFileOptions::default().compression_method(method);
        zip.start_file(*name, lock(options, cipher)).unwrap();
        zip.write_all(data).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn with_password(password: &str) -> Options {
    Options { password: Some(Password::new(password.as_bytes())), ..Options::default() }
}

#[test]
fn encrypted_archive_opens_with_its_password_and_with_no_other() {
    let files = files();
    for cipher in CIPHERS {
        for method in [CompressionMethod::Stored, CompressionMethod::Deflated] {
            let bytes = locked(&files, cipher, method);
            let tree = unpack(&bytes, &with_password(PASSWORD));
            let mut tree = tree.unwrap_or_else(|error| panic!("{cipher:?} {method}: {error}"));
            assert_eq!(tree.remove("folder"), Some(None));
            for (name, data) in &files {
                let found = tree.remove(*name).flatten();
                assert!(found.as_ref() == Some(data), "{name} differs, {cipher:?} {method}");
            }
            assert!(tree.is_empty(), "{tree:?}");

            assert_eq!(code_of(&bytes, &Options::default()), "encrypted", "{cipher:?} {method}");
            for wrong in ["", "Correct horse", "correct horse "] {
                let found = code_of(&bytes, &with_password(wrong));
                match cipher {
                    Cipher::Aes(_) => assert_eq!(found, "wrong_password", "{cipher:?} {method}"),
                    // One byte is all that it has to tell by: one wrong password in 256 passes, and
                    // the data must show it.
                    Cipher::ZipCrypto => assert_ne!(found, "ok", "{method}"),
                }
            }
        }
    }
}

#[test]
fn encrypted_entry_damaged_at_any_byte_is_refused() {
    for cipher in CIPHERS {
        for (name, data) in files().into_iter().take(3) {
            let bytes = locked(&[(name, data)], cipher, CompressionMethod::Stored);
            let directory = memchr::memmem::rfind(&bytes, b"PK\x01\x02").unwrap();
            // Behind the local header, which is compared with the directory anyway.
            let start = 30 + name.len() + usize::from(bytes[28]);
            // Every byte of what is short; a new key for each makes it slow.
            let step = if directory - start > 99 { 41 } else { 1 };
            for at in (start..directory).step_by(step) {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1;
                // The eleven random bytes of ZipCrypto's header are nobody's data, but they key the
                // rest; of an empty file there is no rest to tell by.
                if matches!(cipher, Cipher::ZipCrypto) && name == "empty" {
                    continue;
                }
                let found = code_of(&damaged, &with_password(PASSWORD));
                assert_ne!(found, "ok", "{cipher:?}, {name}: byte {at} of {start}..{directory}");
            }
        }
    }
}

#[test]
fn encrypted_entry_among_others_needs_the_password_and_they_do_not() {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    zip.start_file("open", SimpleFileOptions::default()).unwrap();
    zip.write_all(b"for all").unwrap();
    zip.start_file("locked", lock(SimpleFileOptions::default(), CIPHERS[2])).unwrap();
    zip.write_all(b"for some").unwrap();
    let bytes = zip.finish().unwrap().into_inner();
    assert_eq!(code_of(&bytes, &Options::default()), "encrypted");
    assert_eq!(code_of(&bytes, &with_password("another")), "wrong_password");
    assert_eq!(code_of(&bytes, &with_password(PASSWORD)), "ok");
    assert_eq!(code(&Archive::of([file("a")]), &with_password(PASSWORD)), "ok");
}

#[test]
fn encrypted_entry_that_contradicts_itself_is_refused() {
    let aes = |version: u8, strength: u8| {
        let body = [version, 0, b'A', b'E', strength, 8, 0];
        one(|e| {
            (e.method, e.flags) = (99, 1);
            (e.extra, e.local_extra) = (extra(0x9901, &body), extra(0x9901, &body));
        })
    };
    let cases = vec![
        ("version 3", aes(3, 3), "unsupported"),
        ("strength 0", aes(2, 0), "unsupported"),
        ("strength 4", aes(2, 4), "unsupported"),
        ("no extra field", one(|e| (e.method, e.flags) = (99, 1)), "unsupported"),
        ("no flag", aes(2, 3).with(|a| a.entries[0].flags = 0), "unsupported"),
        ("shorter than its salt", aes(2, 3), "data_too_short"),
        ("no room for a header", one(|e| (e.flags, e.compressed) = (1, 11)), "data_too_short"),
        (
            "method behind it unknown",
            aes(2, 3).with(|a| {
                let body = [2, 0, b'A', b'E', 3, 7, 0];
                a.entries[0].extra = extra(0x9901, &body);
            }),
            "unsupported",
        ),
    ];
    expect_codes(cases, &with_password(PASSWORD));
}

#[test]
fn password_is_never_shown() {
    let shown = format!("{:?}", with_password(PASSWORD));
    assert!(!shown.contains(PASSWORD) && shown.contains("Password(…)"), "{shown}");
}

//! ZIPs to deliver: sound ones by a library, and any others byte by byte.

use std::collections::BTreeMap;
use std::io::{Cursor, Write};

use zip::ZipWriter;
use zip::write::SimpleFileOptions;

/// Path to content; a path that ends in `/` is a folder.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// A package's contents, of some KiB; different for each `number`.
pub(crate) fn sample(number: usize) -> Files {
    let readings: String =
        (0..300).map(|t| format!("{t},{}\n", (number * 31 + t * t) % 997)).collect();
    let noise: Vec<u8> =
        (0..2000_usize).map(|at| (at * at * (number + 7) / 13 % 251) as u8).collect();
    Files::from([
        ("summary.txt".to_owned(), format!("package {number}\n").into_bytes()),
        ("wells/a/readings.csv".to_owned(), readings.into_bytes()),
        ("wells/b/noise.bin".to_owned(), noise),
        ("empty.txt".to_owned(), Vec::new()),
        ("none/".to_owned(), Vec::new()),
    ])
}

/// Bytes that do not compress.
pub(crate) fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..len).map(|_| next()).collect()
}

/// Packs files, deflated.
pub(crate) fn deflated(files: &Files) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (path, bytes) in files {
        if let Some(folder) = path.strip_suffix('/') {
            zip.add_directory(folder, SimpleFileOptions::default()).unwrap();
        } else {
            zip.start_file(path.as_str(), SimpleFileOptions::default()).unwrap();
            zip.write_all(bytes).unwrap();
        }
    }
    zip.finish().unwrap().into_inner()
}

/// A package that takes a while: so many small files in some folders.
pub(crate) fn many(count: usize) -> Files {
    (0..count)
        .map(|at| {
            (
                format!("part-{:03}/file-{at:06}.txt", at % 50),
                format!("{at}\n").repeat(20).into_bytes(),
            )
        })
        .collect()
}

/// Packs files without compressing them.
pub(crate) fn stored(files: &Files) -> Vec<u8> {
    let entries: Vec<Entry> = files.iter().map(|(path, bytes)| Entry::file(path, bytes)).collect();
    raw(&entries)
}

/// One entry, as it is to stand in the archive, true or not.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) name: Vec<u8>,
    /// As stored in the file.
    pub(crate) body: Vec<u8>,
    pub(crate) method: u16,
    pub(crate) flags: u16,
    pub(crate) crc: u32,
    pub(crate) size: u32,
    pub(crate) mode: u32,
}

impl Entry {
    /// A regular file, stored.
    pub(crate) fn file(name: &str, body: &[u8]) -> Self {
        Self {
            name: name.as_bytes().to_vec(),
            body: body.to_vec(),
            method: 0,
            flags: if name.is_ascii() { 0 } else { 1 << 11 },
            crc: libdeflater::crc32(body),
            size: u32::try_from(body.len()).unwrap(),
            mode: 0o100_644,
        }
    }

    /// A regular file, deflated.
    pub(crate) fn deflated(name: &str, data: &[u8]) -> Self {
        let mut compressor = libdeflater::Compressor::new(libdeflater::CompressionLvl::default());
        let mut body = vec![0; compressor.deflate_compress_bound(data.len())];
        let len = compressor.deflate_compress(data, &mut body).unwrap();
        body.truncate(len);
        Self { body, method: 8, ..Self::file(name, data) }
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

/// Packs entries, just as they say.
pub(crate) fn raw(entries: &[Entry]) -> Vec<u8> {
    let mut zip = Vec::new();
    let mut directory = Vec::new();
    for entry in entries {
        let offset = u32::try_from(zip.len()).unwrap();
        let mut common = Vec::new();
        for field in [20, entry.flags, entry.method, 0, 0x21] {
            common.extend(u16::to_le_bytes(field));
        }
        for field in [entry.crc, u32::try_from(entry.body.len()).unwrap(), entry.size] {
            common.extend(u32::to_le_bytes(field));
        }
        common.extend(u16::try_from(entry.name.len()).unwrap().to_le_bytes());
        common.extend([0, 0]);
        zip.extend(b"PK\x03\x04");
        zip.extend(&common);
        zip.extend(&entry.name);
        zip.extend(&entry.body);
        directory.extend(b"PK\x01\x02");
        directory.extend([20, 3]); // made on Unix
        directory.extend(&common);
        directory.extend([0; 6]);
        directory.extend((entry.mode << 16).to_le_bytes());
        directory.extend(offset.to_le_bytes());
        directory.extend(&entry.name);
    }
    let count = u16::try_from(entries.len()).unwrap().to_le_bytes();
    let start = u32::try_from(zip.len()).unwrap();
    zip.extend(&directory);
    zip.extend(b"PK\x05\x06\0\0\0\0");
    zip.extend(count);
    zip.extend(count);
    zip.extend(u32::try_from(directory.len()).unwrap().to_le_bytes());
    zip.extend(start.to_le_bytes());
    zip.extend([0, 0]);
    zip
}

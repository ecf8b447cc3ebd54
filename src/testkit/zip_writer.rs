//! [`Archive`]: a ZIP written byte by byte, with any false value in any field.
//!
//! In: entries that are correct until a field is changed. Out: bytes. For tests of ZIPs that must be
//! refused, and of ZIPs from unusual writers.

use std::io::Write;

use flate2::Compression;
use flate2::write::DeflateEncoder;

/// One entry; every field is written to the file unchanged.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Entry {
    /// Name in the central directory.
    pub name: Vec<u8>,
    /// Name in the local header; `None`: the same.
    pub local_name: Option<Vec<u8>>,
    /// Compressed bytes.
    pub data: Vec<u8>,
    /// Method: 0 stored, 8 deflate.
    pub method: u16,
    /// Method in the local header; `None`: the same.
    pub local_method: Option<u16>,
    /// General-purpose flag.
    pub flags: u16,
    /// Flag in the local header; `None`: the same.
    pub local_flags: Option<u16>,
    /// CRC-32 declared.
    pub crc: u32,
    /// Unpacked size declared.
    pub size: u32,
    /// Compressed size declared.
    pub compressed: u32,
    /// CRC, compressed and unpacked size in the local header; `None`: the same.
    pub local_sums: Option<[u32; 3]>,
    /// Bytes after the data.
    pub descriptor: Vec<u8>,
    /// Extra field in the central directory.
    pub extra: Vec<u8>,
    /// Extra field in the local header.
    pub local_extra: Vec<u8>,
    /// Host of the writer: 0 DOS, 3 Unix.
    pub host: u8,
    /// The host that some writers name beside the version needed, in the central directory; mostly 0.
    pub needed_host: u8,
    /// The same in the local header; `None`: the same.
    pub local_needed_host: Option<u8>,
    /// External attributes: the upper half is a Unix mode.
    pub attributes: u32,
    /// DOS time, then date.
    pub modified: [u16; 2],
    /// Disk that it starts on.
    pub disk: u16,
    /// Offset of the local header; `None`: its real offset.
    pub offset: Option<u32>,
    /// Unused bytes before the local header.
    pub gap: Vec<u8>,
}

impl Entry {
    /// Creates a stored file.
    #[must_use]
    pub fn stored(name: impl AsRef<[u8]>, data: &[u8]) -> Self {
        let size = data.len() as u32;
        Self {
            name: name.as_ref().to_vec(),
            local_name: None,
            data: data.to_vec(),
            method: 0,
            local_method: None,
            flags: 0,
            local_flags: None,
            crc: libdeflater::crc32(data),
            size,
            compressed: size,
            local_sums: None,
            descriptor: Vec::new(),
            extra: Vec::new(),
            local_extra: Vec::new(),
            host: 3,
            needed_host: 0,
            local_needed_host: None,
            attributes: 0o100_644 << 16,
            modified: [0, 0x5a21],
            disk: 0,
            offset: None,
            gap: Vec::new(),
        }
    }

    /// Creates a deflated file.
    #[must_use]
    pub fn deflated(name: impl AsRef<[u8]>, data: &[u8]) -> Self {
        let mut entry = Self::stored(name, data);
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        let packed = encoder.write_all(data).and_then(|()| encoder.finish());
        entry.data = packed.unwrap_or_default();
        entry.compressed = entry.data.len() as u32;
        entry.method = 8;
        entry
    }

    /// Creates a folder; its name gets a slash.
    #[must_use]
    pub fn folder(name: &str) -> Self {
        let mut entry = Self::stored(format!("{name}/"), b"");
        entry.attributes = 0o040_755 << 16 | 0x10;
        entry
    }

    /// Returns the entry with a change.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// Returns the entry as streamed: bit 3, zeros in the local header, and a descriptor with its signature.
    #[must_use]
    pub fn streamed(mut self) -> Self {
        self.flags |= 1 << 3;
        self.local_sums = Some([0; 3]);
        self.descriptor = b"PK\x07\x08".to_vec();
        for value in [self.crc, self.compressed, self.size] {
            self.descriptor.extend_from_slice(&value.to_le_bytes());
        }
        self
    }
}

/// Returns the bytes of an extra field.
#[must_use]
pub fn extra(id: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = id.to_le_bytes().to_vec();
    bytes.extend_from_slice(&(body.len() as u16).to_le_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// An archive; correct unless a field says otherwise.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Archive {
    /// The entries, in the order of the file and of the central directory.
    pub entries: Vec<Entry>,
    /// Bytes before everything else, which offsets do not count.
    pub prefix: Vec<u8>,
    /// Bytes between the last entry and the central directory.
    pub before_directory: Vec<u8>,
    /// Bytes between the central directory and the end record.
    pub before_end: Vec<u8>,
    /// The end record's comment.
    pub comment: Vec<u8>,
    /// Bytes after the end record.
    pub suffix: Vec<u8>,
    /// Number of entries that the end records declare; `None`: the real number.
    pub count: Option<u16>,
    /// Size of the central directory that the end record declares.
    pub directory_size: Option<u32>,
    /// Disk number in the end record.
    pub disk: u16,
    /// Write zip64 end records as well; more than 65,534 entries need them.
    pub zip64: bool,
}

impl Archive {
    /// Creates an archive of these entries.
    #[must_use]
    pub fn of(entries: impl IntoIterator<Item = Entry>) -> Self {
        Self { entries: entries.into_iter().collect(), ..Self::default() }
    }

    /// Returns the archive with a change.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// Returns the bytes of the file.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = self.prefix.clone();
        let at = |out: &[u8]| (out.len() - self.prefix.len()) as u32;
        let mut offsets = Vec::new();
        for entry in &self.entries {
            out.extend_from_slice(&entry.gap);
            offsets.push(entry.offset.unwrap_or(at(&out)));
            let name = entry.local_name.as_ref().unwrap_or(&entry.name);
            let sums = entry.local_sums.unwrap_or([entry.crc, entry.compressed, entry.size]);
            out.extend_from_slice(b"PK\x03\x04\x14");
            out.push(entry.local_needed_host.unwrap_or(entry.needed_host));
            shorts(
                &mut out,
                &[
                    entry.local_flags.unwrap_or(entry.flags),
                    entry.local_method.unwrap_or(entry.method),
                ],
            );
            shorts(&mut out, &entry.modified);
            longs(&mut out, &sums);
            shorts(&mut out, &[name.len() as u16, entry.local_extra.len() as u16]);
            for part in [name, &entry.local_extra, &entry.data, &entry.descriptor] {
                out.extend_from_slice(part);
            }
        }
        out.extend_from_slice(&self.before_directory);
        let start = at(&out);
        for (entry, offset) in self.entries.iter().zip(offsets) {
            out.extend_from_slice(b"PK\x01\x02\x14");
            out.extend_from_slice(&[entry.host, 20, entry.needed_host]);
            shorts(&mut out, &[entry.flags, entry.method]);
            shorts(&mut out, &entry.modified);
            longs(&mut out, &[entry.crc, entry.compressed, entry.size]);
            let lengths = [entry.name.len() as u16, entry.extra.len() as u16, 0, entry.disk, 0];
            shorts(&mut out, &lengths);
            longs(&mut out, &[entry.attributes, offset]);
            out.extend_from_slice(&entry.name);
            out.extend_from_slice(&entry.extra);
        }
        let size = self.directory_size.unwrap_or(at(&out) - start);
        let short = |len: usize| u16::try_from(len).unwrap_or(u16::MAX);
        let count = self.count.unwrap_or(short(self.entries.len()));
        let count64 = self.count.map_or(self.entries.len() as u64, u64::from);
        out.extend_from_slice(&self.before_end);
        if self.zip64 {
            let end64 = u64::from(at(&out));
            out.extend_from_slice(b"PK\x06\x06");
            out.extend_from_slice(&44_u64.to_le_bytes());
            out.extend_from_slice(&[45, 3, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            for value in [count64, count64, u64::from(size), u64::from(start)] {
                out.extend_from_slice(&value.to_le_bytes());
            }
            out.extend_from_slice(b"PK\x06\x07\0\0\0\0");
            out.extend_from_slice(&end64.to_le_bytes());
            longs(&mut out, &[1]);
        }
        out.extend_from_slice(b"PK\x05\x06");
        shorts(&mut out, &[self.disk, self.disk, count, count]);
        longs(&mut out, &[size, start]);
        shorts(&mut out, &[self.comment.len() as u16]);
        out.extend_from_slice(&self.comment);
        out.extend_from_slice(&self.suffix);
        out
    }
}

fn shorts(out: &mut Vec<u8>, values: &[u16]) {
    values.iter().for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
}

fn longs(out: &mut Vec<u8>, values: &[u32]) {
    values.iter().for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
}

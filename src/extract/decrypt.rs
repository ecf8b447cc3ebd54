//! Decryption: turns an encrypted entry into its compressed bytes.
//!
//! In: the data of one entry. Out: an archive that longshore makes around the data, in which the
//! entry is stored. The `zip` crate reads that archive: it has the ciphers and checks the password.
//! Its output is decoded and verified here, like any other entry.
//!
//! Source: APPNOTE 6.1; `WinZip`'s AE-1 and AE-2.

use zip::ZipArchive;
use zip::read::{ZipFile, ZipReadOptions};
use zip::result::ZipError;

use super::data::{Data, Framed};
use super::entry::{Lock, PlannedEntry};
use super::error::ExtractError;
use super::header::flag;

/// The archive around one entry's data.
pub(super) struct Locked<'a>(ZipArchive<Framed<'a>>);

impl<'a> Locked<'a> {
    pub(super) fn new(
        entry: &PlannedEntry,
        lock: Lock,
        data: Data<'a>,
    ) -> Result<Self, ExtractError> {
        let (head, tail) = frame(entry, lock);
        let archive = ZipArchive::new(Framed::new(head, data, tail));
        archive.map(Self).map_err(|error| refused(entry, error))
    }

    /// Returns a reader of the decrypted, still compressed bytes. Reading to the end authenticates
    /// them, if the cipher supports it.
    pub(super) fn open(
        &mut self,
        entry: &PlannedEntry,
        password: &[u8],
    ) -> Result<ZipFile<'_, Framed<'a>>, ExtractError> {
        let options = ZipReadOptions::new().password(Some(password)).ignore_crc32(true);
        self.0.by_index_with_options(0, options).map_err(|error| refused(entry, error))
    }
}

fn refused(entry: &PlannedEntry, error: ZipError) -> ExtractError {
    match error {
        ZipError::Io(source) => ExtractError::Read { offset: entry.data_offset, source },
        ZipError::InvalidPassword => ExtractError::WrongPassword { entry: entry.name() },
        _ => ExtractError::Corrupt { entry: entry.name(), offset: entry.data_offset },
    }
}

/// Creates the local header before the data, and the central header and end records after it.
fn frame(entry: &PlannedEntry, lock: Lock) -> (Vec<u8>, Vec<u8>) {
    let plain = entry.compressed.saturating_sub(lock.overhead());
    let (method, needed) = match lock {
        Lock::ZipCrypto { .. } => (0_u16, 20_u16),
        Lock::Aes { .. } => (99, 51),
    };
    // The check byte is from the CRC or from the time. Here it is always placed in the CRC.
    let crc = match lock {
        Lock::ZipCrypto { check } => u32::from(check) << 24,
        Lock::Aes { .. } => 0,
    };
    let mut extra = Vec::new();
    let mut put = |values: &[u8]| extra.extend_from_slice(values);
    put(&1_u16.to_le_bytes());
    put(&24_u16.to_le_bytes());
    put(&plain.to_le_bytes());
    put(&entry.compressed.to_le_bytes());
    put(&0_u64.to_le_bytes());
    if let Lock::Aes { version, strength } = lock {
        put(&0x9901_u16.to_le_bytes());
        put(&7_u16.to_le_bytes());
        put(&u16::from(version).to_le_bytes());
        put(b"AE");
        put(&[strength, 0, 0]);
    }
    let common = |bytes: &mut Vec<u8>| {
        for value in [needed.max(45), flag::ENCRYPTED, method, 0, 0x21] {
            bytes.extend_from_slice(&value.to_le_bytes());
        }
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes.extend_from_slice(&[0xff; 8]);
        bytes.extend_from_slice(&1_u16.to_le_bytes());
        bytes.extend_from_slice(&(extra.len() as u16).to_le_bytes());
    };
    let mut head = b"PK\x03\x04".to_vec();
    common(&mut head);
    head.push(b'x');
    // A local header has no offset in its zip64 field. Readers ignore one that is there.
    head.extend_from_slice(&extra);
    let mut tail = b"PK\x01\x02\x2d\x00".to_vec();
    common(&mut tail);
    tail.extend_from_slice(&[0; 10]);
    tail.extend_from_slice(&[0xff; 4]);
    tail.push(b'x');
    tail.extend_from_slice(&extra);
    let directory_len = tail.len() as u64;
    let directory_start = head.len() as u64 + entry.compressed;
    let end64_start = directory_start + directory_len;
    tail.extend_from_slice(b"PK\x06\x06");
    tail.extend_from_slice(&44_u64.to_le_bytes());
    tail.extend_from_slice(&[45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    for value in [1, 1, directory_len, directory_start] {
        tail.extend_from_slice(&value.to_le_bytes());
    }
    tail.extend_from_slice(b"PK\x06\x07\0\0\0\0");
    tail.extend_from_slice(&end64_start.to_le_bytes());
    tail.extend_from_slice(&[1, 0, 0, 0]);
    tail.extend_from_slice(b"PK\x05\x06\0\0\0\0\xff\xff\xff\xff");
    tail.extend_from_slice(&[0xff; 8]);
    tail.extend_from_slice(&[0, 0]);
    (head, tail)
}

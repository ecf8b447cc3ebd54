//! Whether a file has the end of a ZIP: the end-of-central-directory record.
//!
//! It is evidence that a ZIP was written to its end, not a proof that it is sound.
//!
//! Source: APPNOTE.TXT 4.3.16 (the record), 4.3.15 (ZIP64's locator in front of it).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

const RECORD: usize = 22;
const SIGNATURE: [u8; 4] = *b"PK\x05\x06";
/// The end record of ZIP64 and its locator, which lie between the central directory and the record.
const ZIP64_BYTES: u64 = 56 + 20;
/// The longest comment, plus the record before it.
const TAIL_MAX: u64 = 0xFFFF + RECORD as u64;

/// Whether `file`, of `size` bytes, has an end record in its last 64 KiB + 22 bytes.
///
/// # Errors
/// I/O errors. A file that has become shorter meanwhile has no end record.
pub(super) fn present(file: &File, size: u64) -> io::Result<bool> {
    // Most archives have no comment: their last 22 bytes suffice.
    for length in [RECORD as u64, TAIL_MAX] {
        if length > size && length == RECORD as u64 {
            return Ok(false);
        }
        let start = size.saturating_sub(length);
        let mut tail = vec![0; usize::try_from(size - start).unwrap_or(0)];
        match file.read_exact_at(&mut tail, start) {
            Ok(()) if found(&tail, start) => return Ok(true),
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

/// Whether there is an end record in `tail`, which starts at `start` of its file.
///
/// A record with bytes after it counts only if its central directory ends where the record starts: an
/// archive that is stored inside an incomplete one has an end record, too.
fn found(tail: &[u8], start: u64) -> bool {
    let last = tail.len().saturating_sub(RECORD);
    (0..=last).rev().any(|at| {
        let Some(record) = tail.get(at..at + RECORD) else { return false };
        if record[..4] != SIGNATURE {
            return false;
        }
        let comment = usize::from(u16::from_le_bytes([record[20], record[21]]));
        let end = at + RECORD + comment;
        end == tail.len() || (end < tail.len() && follows_its_directory(record, start + at as u64))
    })
}

fn follows_its_directory(record: &[u8], at: u64) -> bool {
    let field = |from: usize| {
        let bytes = [record[from], record[from + 1], record[from + 2], record[from + 3]];
        u64::from(u32::from_le_bytes(bytes))
    };
    let (size, offset) = (field(12), field(16));
    let in_zip64 = size == 0xFFFF_FFFF || offset == 0xFFFF_FFFF;
    in_zip64 || size + offset == at || size + offset + ZIP64_BYTES == at
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn record(directory_bytes: u32, offset: u32, comment: &[u8]) -> Vec<u8> {
        let mut record = SIGNATURE.to_vec();
        record.extend([0; 8]);
        record.extend(directory_bytes.to_le_bytes());
        record.extend(offset.to_le_bytes());
        record.extend(u16::try_from(comment.len()).unwrap().to_le_bytes());
        record.extend(comment);
        record
    }

    fn judged(parts: &[&[u8]]) -> bool {
        let mut file = tempfile::tempfile().unwrap();
        let bytes = parts.concat();
        file.write_all(&bytes).unwrap();
        present(&file, bytes.len() as u64).unwrap()
    }

    #[test]
    fn end_record_at_the_end_is_found() {
        assert!(judged(&[&record(0, 0, b"")]), "an empty archive is nothing but its end record");
        assert!(judged(&[b"directory", &record(9, 0, b"")]));
        assert!(judged(&[b"directory", &record(9, 0, &[b'c'; 0xFFFF])]), "the longest comment");
    }

    #[test]
    fn end_record_of_a_half_written_archive_is_not_found() {
        assert!(!judged(&[b""]));
        assert!(!judged(&[b"PK\x05\x06"]));
        assert!(!judged(&[b"PK\x03\x04 and then a good deal of data"]));
        assert!(!judged(&[b"directory", &record(9, 0, b"comment")[..25]]), "cut in its comment");
    }

    #[test]
    fn end_record_with_bytes_behind_it_counts_where_it_follows_its_directory() {
        assert!(judged(&[b"directory", &record(5, 4, b""), b"trailing"]));
        let inner = [b"directory".as_slice(), &record(9, 0, b"")].concat();
        let outer = b"PK\x03\x04 header of the outer one ";
        assert!(
            !judged(&[outer, &inner, b"more of the outer one"]),
            "a stored ZIP inside is not it"
        );
    }

    #[test]
    fn end_record_of_a_file_that_shrank_meanwhile_is_not_found() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"short").unwrap();
        assert!(!present(&file, 1 << 20).unwrap());
    }
}

//! Detects the type of a file without an end record by its first bytes: senders rename other files
//! to `.zip`.

/// The number of bytes that are needed: the signature of tar is the last one.
pub(super) const HEAD: usize = 512;

/// An offset, the bytes there, and the type of the files that have them.
const KINDS: [(usize, &[u8], &str); 14] = [
    (0, b"PK\x03\x04", "it begins as a ZIP and is cut off, or was changed at its end"),
    (0, b"PK\x07\x08", "it begins as the first part of a split ZIP: join the parts"),
    (0, b"PK00", "it begins as the first part of a split ZIP: join the parts"),
    (0, b"Rar!\x1a\x07", "it is a RAR archive"),
    (0, b"7z\xbc\xaf\x27\x1c", "it is a 7z archive"),
    (0, b"\x1f\x8b", "it is gzip data, such as a .tar.gz"),
    (0, b"BZh", "it is bzip2 data, such as a .tar.bz2"),
    (0, b"\xfd7zXZ\0", "it is xz data, such as a .tar.xz"),
    (0, b"\x28\xb5\x2f\xfd", "it is Zstandard data, such as a .tar.zst"),
    (0, b"MSCF", "it is a CAB archive"),
    (0, b"%PDF", "it is a PDF document"),
    (0, b"MZ", "it is a Windows program without a ZIP at its end"),
    (0, b"\x7fELF", "it is a Linux program without a ZIP at its end"),
    (257, b"ustar", "it is a tar archive"),
];

/// Returns the end of the sentence "failed to find the end record of a ZIP: …". `head` is the
/// file's first [`HEAD`] bytes.
pub(super) fn what(head: &[u8]) -> &'static str {
    let has = |at: usize, bytes: &[u8]| head.get(at..).is_some_and(|rest| rest.starts_with(bytes));
    if head.is_empty() {
        return "it is empty";
    }
    if let Some((_, _, what)) = KINDS.iter().find(|(at, bytes, _)| has(*at, bytes)) {
        return what;
    }
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    let tag = |tag: &[u8]| text.get(..tag.len()).is_some_and(|t| t.eq_ignore_ascii_case(tag));
    if tag(b"<!doctype html") || tag(b"<html") {
        "it is an HTML page, such as a server's error or log-in page"
    } else if tag(b"<?xml") {
        "it is an XML document, such as a server's error"
    } else if head.iter().all(|&byte| byte == 0) {
        "it begins with NULs, as a file does whose space was taken before its data came"
    } else {
        "it does not begin as a ZIP"
    }
}

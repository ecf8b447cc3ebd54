//! [`EntryName`]: a name from an archive, in the form for messages.

use std::fmt;

/// The maximum number of bytes of a name in a message, including escapes.
const SHOWN: usize = 200;

/// A name from an archive in the form for messages: quoted, escaped once, and cut to 200 bytes.
/// Bytes that are not UTF-8 are shown as `\x…`.
///
/// A raw name can have 64 KiB and any bytes. Logs, the ledger and `reason.json` get it only in this
/// form.
#[derive(Clone, PartialEq, Eq)]
pub struct EntryName(Box<str>);

impl EntryName {
    /// Creates the form for a decoded name.
    pub(in crate::extract) fn new(name: &str) -> Self {
        Self::raw(name.as_bytes())
    }

    /// Creates the form for a name as recorded in the archive.
    pub(in crate::extract) fn raw(name: &[u8]) -> Self {
        let mut text = String::from('"');
        for piece in pieces(name) {
            if text.len() + piece.len() > SHOWN {
                text.push_str("…\" (");
                text.push_str(&name.len().to_string());
                text.push_str(" bytes)");
                return Self(text.into());
            }
            text.push_str(&piece);
        }
        text.push('"');
        Self(text.into())
    }
}

/// Splits the name into escaped pieces, one for each letter and one for each byte that is not part
/// of a letter.
fn pieces(name: &[u8]) -> impl Iterator<Item = String> {
    name.utf8_chunks().flat_map(|chunk| {
        let letters = chunk.valid().chars().map(|letter| match letter {
            '\'' => letter.to_string(),
            // The letter `a` precedes it, because an accent at the start of a string is escaped, too.
            _ => format!("a{letter}").escape_debug().skip(1).collect(),
        });
        letters.chain(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")))
    })
}

impl fmt::Display for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_in_a_message_is_quoted_and_escaped_once() {
        for (raw, shown) in [
            (&b"a/b.txt"[..], r#""a/b.txt""#),
            ("予定表.xlsx".as_bytes(), "\"予定表.xlsx\""),
            (b"it's \"a\\b\"", r#""it's \"a\\b\"""#),
            (b"a\nb\x1b[2J", r#""a\nb\u{1b}[2J""#),
            (b"\xff\x81\\x", r#""\xff\x81\\x""#),
            ("cafe\u{301}".as_bytes(), "\"cafe\u{301}\""),
            (b"", r#""""#),
        ] {
            assert_eq!(EntryName::raw(raw).to_string(), shown);
        }
    }

    #[test]
    fn name_in_a_message_is_cut_between_letters_and_says_how_long_it_is() {
        for (raw, len) in [
            (vec![b'x'; 300], 300),
            ("語".repeat(90).into_bytes(), 270),
            (vec![0xff; 65_535], 65_535),
        ] {
            let shown = EntryName::raw(&raw).to_string();
            assert!(shown.len() < 230 && shown.ends_with(&format!("…\" ({len} bytes)")), "{shown}");
        }
        assert_eq!(EntryName::new(&"x".repeat(199)).to_string().len(), 201, "199 bytes are shown");
    }
}

//! [`Charset`]: a charset of names, found by its label, which decodes raw bytes.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use encoding_rs::{BIG5, EUC_KR, Encoding, GBK, SHIFT_JIS, UTF_8};
use oem_cp::code_table::DECODING_TABLE_CP_MAP;
use oem_cp::code_table_type::TableType;
use thiserror::Error;

/// A charset of names.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Charset(Inner);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Inner {
    /// A code page of DOS, by its index in [`OEM`].
    Oem(usize),
    Web(&'static Encoding),
}

/// The single-byte code pages of DOS. The first is the default of the ZIP format.
const OEM: [(u16, &str); 17] = [
    (437, "CP437"),
    (720, "CP720"),
    (737, "CP737"),
    (775, "CP775"),
    (850, "CP850"),
    (852, "CP852"),
    (855, "CP855"),
    (857, "CP857"),
    (858, "CP858"),
    (860, "CP860"),
    (861, "CP861"),
    (862, "CP862"),
    (863, "CP863"),
    (864, "CP864"),
    (865, "CP865"),
    (869, "CP869"),
    (874, "CP874"),
];

/// The code pages of DOS that are also encodings of the Web, by number. 866 is known there by its
/// label.
const WEB: [(u16, &Encoding); 4] = [(932, SHIFT_JIS), (936, GBK), (949, EUC_KR), (950, BIG5)];

/// The label is not that of a known charset.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{label:?} is no charset: try UTF-8, GBK, Big5, Shift_JIS, EUC-KR, IBM866, CP437 or CP850")]
pub struct UnknownCharset {
    /// The requested label.
    pub label: String,
}

impl Charset {
    /// UTF-8.
    pub const UTF_8: Self = Self(Inner::Web(UTF_8));
    /// The default of the ZIP format.
    pub const CP437: Self = Self(Inner::Oem(0));
    /// The code page of DOS in western Europe.
    pub(super) const CP850: Self = Self(Inner::Oem(4));

    /// Creates a charset from an encoding of the Web.
    pub(super) const fn web(encoding: &'static Encoding) -> Self {
        Self(Inner::Web(encoding))
    }

    /// Returns the charset's common name: `UTF-8`, `GBK`, `CP437`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self.0 {
            Inner::Oem(at) => OEM[at].1,
            Inner::Web(encoding) => encoding.name(),
        }
    }

    /// Decodes `raw`. `None` if `raw` is not valid in this charset.
    #[must_use]
    pub fn decode(self, raw: &[u8]) -> Option<Cow<'_, str>> {
        let at = match self.0 {
            Inner::Web(encoding) => {
                return encoding.decode_without_bom_handling_and_without_replacement(raw);
            }
            Inner::Oem(at) => at,
        };
        if raw.is_ascii() {
            return std::str::from_utf8(raw).ok().map(Cow::Borrowed);
        }
        let table = DECODING_TABLE_CP_MAP.get(&OEM[at].0)?;
        let letter = |&byte: &u8| match (table, usize::from(byte).checked_sub(0x80)) {
            (_, None) => Some(char::from(byte)),
            (TableType::Complete(letters), Some(at)) => letters.get(at).copied(),
            (TableType::Incomplete(letters), Some(at)) => letters.get(at).copied().flatten(),
        };
        raw.iter().map(letter).collect::<Option<String>>().map(Cow::Owned)
    }

    /// Whether each letter is one byte.
    pub(super) fn is_single_byte(self) -> bool {
        match self.0 {
            Inner::Oem(_) => true,
            Inner::Web(encoding) => encoding.is_single_byte(),
        }
    }
}

/// Parses the number in `CP850`, `IBM850` or `DOS-850`, in either case.
fn page(label: &str) -> Option<u16> {
    let lower = label.trim().to_ascii_lowercase();
    let number = ["cp", "ibm", "dos-"].iter().find_map(|prefix| lower.strip_prefix(prefix))?;
    number.parse().ok()
}

impl FromStr for Charset {
    type Err = UnknownCharset;

    fn from_str(label: &str) -> Result<Self, Self::Err> {
        if let Some(page) = page(label) {
            if let Some(at) = OEM.iter().position(|&(number, _)| number == page) {
                return Ok(Self(Inner::Oem(at)));
            }
            if let Some(&(_, encoding)) = WEB.iter().find(|&&(number, _)| number == page) {
                return Ok(Self::web(encoding));
            }
        }
        Encoding::for_label_no_replacement(label.as_bytes())
            .filter(|encoding| encoding.is_ascii_compatible())
            .map(Self::web)
            .ok_or_else(|| UnknownCharset { label: label.to_owned() })
    }
}

impl fmt::Display for Charset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for Charset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Charset({})", self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charset_by_every_number_of_a_code_page_is_that_page() {
        for &page in DECODING_TABLE_CP_MAP.keys() {
            for label in [format!("CP{page}"), format!("cp{page}"), format!("IBM{page}")] {
                let charset: Charset = label.parse().unwrap();
                assert!(charset.name().ends_with(&page.to_string()), "{label} is {charset}");
                assert!(charset.is_single_byte(), "{label}");
            }
        }
        for (label, name) in [
            ("CP866", "IBM866"),
            ("cp932", "Shift_JIS"),
            ("CP936", "GBK"),
            ("CP949", "EUC-KR"),
            ("CP950", "Big5"),
            ("CP1250", "windows-1250"),
            ("latin1", "windows-1252"),
            ("utf8", "UTF-8"),
        ] {
            assert_eq!(label.parse::<Charset>().unwrap().name(), name, "{label}");
        }
        for label in ["CP851", "850", "CP", "CP8500", "klingon", "UTF-16LE", ""] {
            label.parse::<Charset>().unwrap_err();
        }
    }

    #[test]
    fn charset_of_dos_decodes_what_its_page_has() {
        for (label, raw, text) in [
            ("CP437", &b"fran\x87ais"[..], Some("français")),
            ("CP850", b"\x9aber \xe5", Some("Über Õ")),
            ("CP852", b"\xa9lut\x98", Some("ęlutś")),
            ("CP857", b"\x98\xa7", Some("İğ")),
            ("CP857", b"\xd5", None),
            ("CP866", b"\x8f\xe0\xa8\xa2\xa5\xe2", Some("Привет")),
        ] {
            let charset: Charset = label.parse().unwrap();
            assert_eq!(charset.decode(raw).as_deref(), text, "{label}");
        }
    }
}

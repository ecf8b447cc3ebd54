//! [`Charset`]: which charset an archive's names are in, decided once per archive.
//!
//! In: the raw names that no flag or extra field marks as UTF-8. Out: a charset that decodes all of
//! them. The order is: valid UTF-8, what the source is configured to, detection over all names
//! together, CP437.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{Encoding, ISO_8859_2, ISO_8859_5, UTF_8, WINDOWS_1252};
use oem_cp::code_table::DECODING_TABLE_CP437;
use thiserror::Error;

/// A charset of names.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Charset(Inner);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Inner {
    /// The format's own: what DOS had.
    Cp437,
    Web(&'static Encoding),
}

/// No charset of that name is known.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{label:?} is no charset: try UTF-8, GBK, Big5, Shift_JIS, EUC-KR, IBM866 or CP437")]
pub struct UnknownCharset {
    /// What was asked for.
    pub label: String,
}

impl Charset {
    /// UTF-8.
    pub const UTF_8: Self = Self(Inner::Web(UTF_8));
    /// The format's own.
    pub const CP437: Self = Self(Inner::Cp437);

    /// Its common name: `UTF-8`, `GBK`, `CP437`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self.0 {
            Inner::Cp437 => "CP437",
            Inner::Web(encoding) => encoding.name(),
        }
    }

    /// The text, or none where `raw` is not in this charset.
    #[must_use]
    pub fn decode(self, raw: &[u8]) -> Option<Cow<'_, str>> {
        match self.0 {
            Inner::Cp437 => Some(if raw.is_ascii() {
                Cow::Borrowed(std::str::from_utf8(raw).ok()?)
            } else {
                Cow::Owned(oem_cp::decode_string_complete_table(raw, &DECODING_TABLE_CP437))
            }),
            Inner::Web(encoding) => {
                encoding.decode_without_bom_handling_and_without_replacement(raw)
            }
        }
    }

    fn is_single_byte(self) -> bool {
        match self.0 {
            Inner::Cp437 => true,
            Inner::Web(encoding) => encoding.is_single_byte(),
        }
    }

    /// Chooses one for the `unmarked` names of an archive, none of which is known to be UTF-8.
    #[must_use]
    pub(super) fn choose<'a, I>(unmarked: I, configured: Option<Self>) -> Self
    where
        I: Iterator<Item = &'a [u8]> + Clone,
    {
        if unmarked.clone().all(|raw| std::str::from_utf8(raw).is_ok()) {
            return Self::UTF_8;
        }
        let decodes = |charset: &Self| unmarked.clone().all(|raw| charset.decode(raw).is_some());
        configured
            .filter(decodes)
            .or_else(|| {
                detect(unmarked.clone()).filter(decodes).filter(|charset| {
                    charset.is_single_byte()
                        || unmarked
                            .clone()
                            .filter_map(|raw| charset.decode(raw))
                            .any(|name| has_run(&name))
                })
            })
            .unwrap_or(Self::CP437)
    }
}

/// Whether a letter of a multi-byte charset stands beside another, or away from Latin ones: a single one
/// amid Latin letters is rather an accented letter of DOS that took its neighbour with it.
fn has_run(name: &str) -> bool {
    let latin = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphabetic());
    let chars: Vec<char> = name.chars().collect();
    (0..chars.len()).filter(|&at| !chars[at].is_ascii()).any(|at| {
        let before = at.checked_sub(1).map(|at| chars[at]);
        !latin(before) && !latin(chars.get(at + 1).copied())
    })
}

/// What the names look like, taken together; none where that is no better than CP437.
fn detect<'a>(unmarked: impl Iterator<Item = &'a [u8]>) -> Option<Charset> {
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
    for raw in unmarked.filter(|raw| !raw.is_ascii()) {
        detector.feed(raw, false);
        detector.feed(b"\n", false);
    }
    detector.feed(b"", true);
    let guess = detector.guess(None, Utf8Detection::Deny);
    // The detector knows neither CP437 nor CP850: what DOS wrote in western Europe it calls one of
    // these.
    let western = [WINDOWS_1252, ISO_8859_2, ISO_8859_5];
    (!western.contains(&guess)).then_some(Charset(Inner::Web(guess)))
}

impl FromStr for Charset {
    type Err = UnknownCharset;

    fn from_str(label: &str) -> Result<Self, Self::Err> {
        if ["cp437", "ibm437"].iter().any(|name| label.eq_ignore_ascii_case(name)) {
            return Ok(Self::CP437);
        }
        Encoding::for_label_no_replacement(label.as_bytes())
            .filter(|encoding| encoding.is_ascii_compatible())
            .map(|encoding| Self(Inner::Web(encoding)))
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

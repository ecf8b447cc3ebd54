//! Chooses the charset of those names of an archive that do not declare one, once per archive.
//!
//! In: the raw names that are not valid UTF-8 and that no flag or extra field marks. Out: a charset
//! that decodes all of them, or an error if a letter cannot be distinguished from a separator. The
//! order is: the source's configured charset, [`half_letter`], detection over all names together,
//! CP850, CP437.

use std::fmt;

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{
    ISO_8859_2, ISO_8859_5, WINDOWS_874, WINDOWS_1250, WINDOWS_1252, WINDOWS_1253, WINDOWS_1254,
    WINDOWS_1255, WINDOWS_1256, WINDOWS_1257, WINDOWS_1258,
};

use super::charset::Charset;
use super::error::{EntryName, ExtractError};
use super::half_letter::{self, has_run};

/// A remark about an archive for its operator, whether the archive is accepted or not.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Remark {
    /// The configured charset does not decode a name, and is not used for this archive.
    CharsetNotUsed {
        /// The configured charset.
        configured: Charset,
        /// The first name that the charset does not decode, raw.
        entry: EntryName,
    },
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::CharsetNotUsed { configured, entry } = self;
        write!(f, "charset {configured} is not used: it does not decode the name of entry {entry}")
    }
}

/// Chooses a charset for the `undecided` names of an archive. There must be at least one.
///
/// `all_dos`: whether all entries of the archive were written on a DOS or Windows host.
///
/// # Errors
/// [`ExtractError::AmbiguousCharset`].
pub(super) fn choose<'a, I>(
    undecided: I,
    configured: Option<Charset>,
    all_dos: bool,
    remarks: &mut Vec<Remark>,
) -> Result<Charset, ExtractError>
where
    I: Iterator<Item = &'a [u8]> + Clone,
{
    if let Some(configured) = configured {
        match undecided.clone().find(|raw| configured.decode(raw).is_none()) {
            None => return Ok(configured),
            Some(raw) => {
                let entry = EntryName::raw(raw);
                remarks.push(Remark::CharsetNotUsed { configured, entry });
            }
        }
    }
    let detect = || detect(undecided.clone(), all_dos);
    if let Some(chosen) = half_letter::choose(undecided.clone(), detect) {
        return chosen;
    }
    let decodes = |charset: &Charset| undecided.clone().all(|raw| charset.decode(raw).is_some());
    let plausible = |charset: &Charset| {
        charset.is_single_byte()
            || undecided.clone().filter_map(|raw| charset.decode(raw)).any(|name| has_run(&name))
    };
    let detected = detect().filter(decodes).filter(plausible);
    Ok(detected.unwrap_or_else(|| western(undecided, all_dos)))
}

/// Detects the charset of all names together. `None` if the result is no better than the charsets
/// of DOS.
fn detect<'a>(undecided: impl Iterator<Item = &'a [u8]>, all_dos: bool) -> Option<Charset> {
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
    for raw in undecided {
        detector.feed(raw, false);
        detector.feed(b"\n", false);
    }
    detector.feed(b"", true);
    let guess = detector.guess(None, Utf8Detection::Deny);
    // The detector knows neither CP437 nor CP850: it reports names from western European DOS as one
    // of `western`. Windows packs names in the code pages of DOS, never in its own. 1251 is not in
    // `windows`: tools that pack differently write it in place of CP866.
    let western = [WINDOWS_1252, ISO_8859_2, ISO_8859_5];
    let windows = [
        WINDOWS_874,
        WINDOWS_1250,
        WINDOWS_1253,
        WINDOWS_1254,
        WINDOWS_1255,
        WINDOWS_1256,
        WINDOWS_1257,
        WINDOWS_1258,
    ];
    let is_doubtful = western.contains(&guess) || all_dos && windows.contains(&guess);
    (!is_doubtful).then_some(Charset::web(guess))
}

/// Returns CP437, the default of the format; or CP850, if all hosts are DOS and CP850 decodes
/// letters where CP437 decodes box-drawing characters and symbols.
fn western<'a>(undecided: impl Iterator<Item = &'a [u8]> + Clone, all_dos: bool) -> Charset {
    let all_letters = |charset: Charset| {
        undecided
            .clone()
            .filter_map(|raw| charset.decode(raw))
            .all(|name| name.chars().all(|c| c.is_ascii() || c.is_alphabetic() && c < '\u{250}'))
    };
    let better = all_dos && !all_letters(Charset::CP437) && all_letters(Charset::CP850);
    if better { Charset::CP850 } else { Charset::CP437 }
}

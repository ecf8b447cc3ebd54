//! Names in which a byte 5C follows a byte that is not ASCII: it is a backslash, or the second half
//! of a letter.
//!
//! In Shift-JIS, GBK and Big5, ordinary letters have that byte (`表`, `功`). If it were taken for a
//! separator, half the letter would become a folder. No name of Windows has a backslash, so such a
//! byte is evidence for a charset in which it belongs to a letter. Which charset it is depends on
//! how common the letters are.

use encoding_rs::{BIG5, GBK, SHIFT_JIS};

use super::charset::Charset;
use super::error::{EntryName, ExtractError};

/// How common the letters are, by a charset's own order: its first level has the letters of
/// everyday use.
struct Count {
    common: usize,
    rare: usize,
    /// The number of names for which [`has_run`] is true, and the number of all names.
    texts: usize,
    names: usize,
}

impl Count {
    fn is_common(&self) -> bool {
        self.texts > 0 && self.common > self.rare
    }
}

/// A charset in which 5C can be the second half of a letter.
struct Candidate {
    charset: Charset,
    is_lead: fn(u8) -> bool,
    /// Whether the letter with these two bytes is common or rare; `None` if it is neither
    /// (punctuation).
    is_common: fn(u16) -> Option<bool>,
}

const CANDIDATES: [Candidate; 3] = [
    Candidate {
        charset: Charset::web(SHIFT_JIS),
        is_lead: |byte| matches!(byte, 0x81..=0x9f | 0xe0..=0xfc),
        is_common: |letter| match letter {
            // 々〇ー; digits and letters; kana; circled digits and the like; JIS level 1.
            0x8158 | 0x815a..=0x815b | 0x824f..=0x829a | 0x829f..=0x8396 => Some(true),
            0x8740..=0x879c | 0x889f..=0x9872 => Some(true),
            0x8140..=0x81fc => None,
            _ => Some(false),
        },
    },
    Candidate {
        charset: Charset::web(GBK),
        is_lead: |byte| byte >= 0x81,
        is_common: |letter| match letter.to_be_bytes() {
            // GB 2312 level 1, and the digits and letters of GB 2312.
            [0xa3 | 0xb0..=0xd7, 0xa1..=0xff] => Some(true),
            [0xa1..=0xa9, 0xa1..=0xff] => None,
            _ => Some(false),
        },
    },
    Candidate {
        charset: Charset::web(BIG5),
        is_lead: |byte| byte >= 0x81,
        is_common: |letter| match letter {
            0xa440..=0xc67e => Some(true),
            0xa140..=0xa3fe => None,
            _ => Some(false),
        },
    },
];

/// Chooses the charset in which every such byte is half a letter and most letters are common.
/// `None` if there is no such byte. If only one charset can read all names, and its letters are not
/// common, it is chosen if every name has a run of letters and `detect` agrees.
///
/// # Errors
/// [`ExtractError::AmbiguousCharset`] if no charset fits, or if several fit and differ.
pub(super) fn choose<'a, I>(
    undecided: I,
    detect: impl FnOnce() -> Option<Charset>,
) -> Option<Result<Charset, ExtractError>>
where
    I: Iterator<Item = &'a [u8]> + Clone,
{
    let doubtful = undecided.clone().find(|raw| raw.windows(2).any(is_doubtful))?;
    let mut fitting: Vec<(Charset, Count)> = CANDIDATES
        .iter()
        .filter_map(|candidate| Some((candidate.charset, read(candidate, undecided.clone())?)))
        .collect();
    if let [(only, count)] = &fitting[..]
        && !count.is_common()
        && count.texts == count.names
        && detect() == Some(*only)
    {
        return Some(Ok(*only));
    }
    fitting.retain(|(_, count)| count.is_common());
    if fitting.len() > 1 && fitting.iter().any(|(_, count)| count.rare == 0) {
        fitting.retain(|(_, count)| count.rare == 0);
    }
    let same = |a: Charset, b: Charset| undecided.clone().all(|raw| a.decode(raw) == b.decode(raw));
    match &fitting[..] {
        [(first, _), others @ ..] if others.iter().all(|&(other, _)| same(*first, other)) => {
            Some(Ok(*first))
        }
        _ => Some(Err(ambiguous(doubtful, &fitting))),
    }
}

fn is_doubtful(pair: &[u8]) -> bool {
    matches!(pair, [0x80..=0xff, b'\\'])
}

/// Counts the letters of all names. `None` if the candidate cannot read one of the names, or if
/// such a byte is a backslash in it.
fn read<'a, I>(candidate: &Candidate, undecided: I) -> Option<Count>
where
    I: Iterator<Item = &'a [u8]> + Clone,
{
    let mut count = Count { common: 0, rare: 0, texts: 0, names: 0 };
    for raw in undecided {
        let name = candidate.charset.decode(raw)?;
        // All other backslashes follow an ASCII byte.
        let separators = raw.iter().filter(|&&byte| byte == b'\\').count()
            - raw.windows(2).filter(|pair| is_doubtful(pair)).count();
        if name.matches('\\').count() != separators {
            return None;
        }
        // Undefined bytes decode to private letters and control characters.
        if name.chars().any(|c| c.is_control() || matches!(c, '\u{e000}'..='\u{f8ff}')) {
            return None;
        }
        count.texts += usize::from(has_run(&name));
        count.names += 1;
        let mut bytes = raw.iter().copied();
        while let Some(byte) = bytes.next() {
            if (candidate.is_lead)(byte) {
                let letter = u16::from_be_bytes([byte, bytes.next()?]);
                match (candidate.is_common)(letter) {
                    Some(true) => count.common += 1,
                    Some(false) => count.rare += 1,
                    None => {}
                }
            }
        }
    }
    Some(count)
}

fn ambiguous(raw: &[u8], fitting: &[(Charset, Count)]) -> ExtractError {
    let says = |&(charset, _): &(Charset, Count)| {
        let name = charset.decode(raw).unwrap_or_default();
        format!("{charset} says {}", EntryName::new(&name))
    };
    let readings = match fitting {
        [] => "its byte 5c is a backslash or half a letter, and no charset fits".to_owned(),
        _ => fitting.iter().map(says).collect::<Vec<_>>().join(", "),
    };
    ExtractError::AmbiguousCharset { entry: EntryName::raw(raw), readings }
}

/// Whether some letter of a multi-byte charset has no Latin letter next to it. One that has is
/// rather an accented letter of DOS, misread together with its neighbour.
pub(super) fn has_run(name: &str) -> bool {
    let latin = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphabetic());
    let chars: Vec<char> = name.chars().collect();
    (0..chars.len()).filter(|&at| !chars[at].is_ascii()).any(|at| {
        let before = at.checked_sub(1).map(|at| chars[at]);
        !latin(before) && !latin(chars.get(at + 1).copied())
    })
}

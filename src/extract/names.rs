//! Judges names, and converts those that may be used into paths.
//!
//! In: a decoded name. Out: a relative path, its components joined by one `/`, none of them `.` or
//! `..`; or an error. A name is never rewritten in a way that lets two readers see two files.

use super::error::{EntryName, ExtractError};
use super::options::Limits;

/// The longest component that file systems accept, in bytes.
const COMPONENT_MAX: usize = 255;

/// The problem of a `\` that not all readers take for a separator.
pub(super) const BACKSLASH: &str =
    "it has a backslash, which is a separator to some and a letter to others";

/// Names that no file of Windows can have, whatever its extension.
const DEVICES: [&str; 4] = ["con", "prn", "aux", "nul"];

/// A name that passed every rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Normal {
    /// Relative. Empty for the output folder itself.
    pub(super) path: Box<str>,
    /// Whether the name ended in a separator.
    pub(super) folder: bool,
}

/// Judges one name. With `backslash`, `\` is a separator.
///
/// # Errors
/// [`ExtractError::EntryEscapes`], [`ExtractError::BadName`], [`ExtractError::NameTooLong`] or
/// [`ExtractError::TooDeep`].
pub(super) fn normalise(
    name: &str,
    backslash: bool,
    limits: &Limits,
) -> Result<Normal, ExtractError> {
    let bad = |problem| Err(ExtractError::BadName { entry: EntryName::new(name), problem });
    let swapped;
    let text = if backslash && name.contains('\\') {
        swapped = name.replace('\\', "/");
        if swapped.contains("//") {
            return bad("it has two separators in a row, which are letters where `\\` is one");
        }
        &swapped
    } else {
        name
    };
    if text.is_empty() {
        return bad("it is empty");
    }
    if has_control(without_icon(text)) {
        return bad("it has a control character");
    }
    if text == "/" {
        // Like `./`, this is the output folder itself.
        return Ok(Normal { path: Box::default(), folder: true });
    }
    let drive = matches!(text.as_bytes(), [letter, b':', ..] if letter.is_ascii_alphabetic());
    if drive || text.starts_with(['/', '\\']) || text.split(['/', '\\']).any(|part| part == "..") {
        return Err(ExtractError::EntryEscapes { entry: EntryName::new(name) });
    }
    if text.contains('\\') {
        return bad(BACKSLASH);
    }
    if text.ends_with("/.") {
        return bad(
            "it ends in a dot behind a slash, a folder to some readers and a file to others",
        );
    }
    let folder = text.ends_with('/');
    let parts = || text.split('/').filter(|part| !matches!(*part, "" | "."));
    let depth = parts().count();
    if parts().any(|part| part.len() > COMPONENT_MAX) {
        let limit_bytes = COMPONENT_MAX as u64;
        return Err(ExtractError::NameTooLong { entry: EntryName::new(name), limit_bytes });
    }
    let bare = text.strip_suffix('/').unwrap_or(text);
    let path: Box<str> = if bare.split('/').count() == depth {
        bare.into()
    } else {
        parts().collect::<Vec<_>>().join("/").into()
    };
    if path.is_empty() && !folder {
        return bad("it names no file");
    }
    if path.len() > limits.path_bytes {
        let limit_bytes = limits.path_bytes as u64;
        return Err(ExtractError::NameTooLong { entry: EntryName::new(name), limit_bytes });
    }
    if depth > limits.depth + usize::from(!folder) {
        let limit = limits.depth as u64;
        return Err(ExtractError::TooDeep { entry: EntryName::new(name), limit });
    }
    Ok(Normal { path, folder })
}

/// Judges a raw name that has a Unicode name: readers that do not know the extra field use the raw
/// one. Its charset is not known, so a `\` after a byte that is not ASCII is taken for half a
/// letter.
///
/// # Errors
/// See [`normalise`].
pub(super) fn judge_raw(raw: &[u8], limits: &Limits) -> Result<(), ExtractError> {
    let mut before = b' ';
    let letters = raw.iter().map(|&byte| match (std::mem::replace(&mut before, byte), byte) {
        (before, b'\\') if before.is_ascii() => '/',
        (_, byte) if byte.is_ascii() && byte != b'\\' => char::from(byte),
        _ => '_',
    });
    let entry = EntryName::raw(raw);
    match normalise(&letters.collect::<String>(), false, limits) {
        Ok(_) => Ok(()),
        Err(ExtractError::EntryEscapes { .. }) => Err(ExtractError::EntryEscapes { entry }),
        Err(ExtractError::BadName { problem, .. }) => Err(ExtractError::BadName { entry, problem }),
        Err(ExtractError::NameTooLong { limit_bytes, .. }) => {
            Err(ExtractError::NameTooLong { entry, limit_bytes })
        }
        Err(error) => Err(error),
    }
}

/// Whether two names are equal except for the separator.
pub(super) fn is_same(name: &str, raw: &[u8]) -> bool {
    let separated = |&byte: &u8| if byte == b'\\' { b'/' } else { byte };
    name.as_bytes().iter().map(separated).eq(raw.iter().map(separated))
}

fn has_control(text: &str) -> bool {
    text.bytes().any(|byte| byte < 0x20 || byte == 0x7f)
        || (!text.is_ascii() && text.chars().any(char::is_control))
}

/// Removes the last component if it is the file in which macOS keeps a folder's icon: its name ends
/// in a carriage return.
fn without_icon(text: &str) -> &str {
    let (folder, leaf) = text.rsplit_once('/').unwrap_or(("", text));
    if matches!(leaf, "Icon\r" | "._Icon\r") { folder } else { text }
}

/// Whether Windows could not hold this path: it has the name of a device, a component that ends in
/// a dot or a space, or a reserved character.
pub(super) fn is_reserved(path: &str) -> bool {
    path.split('/').any(|part| {
        let stem = part.split('.').next().unwrap_or(part).trim_end();
        let lower = stem.to_ascii_lowercase();
        let numbered = |name: &str| {
            lower.strip_prefix(name).is_some_and(|rest| {
                let mut digits = rest.chars();
                matches!(digits.next(), Some('1'..='9' | '¹' | '²' | '³'))
                    && digits.next().is_none()
            })
        };
        DEVICES.contains(&lower.as_str())
            || numbered("com")
            || numbered("lpt")
            || part.ends_with(['.', ' '])
            || part.contains(['<', '>', ':', '"', '|', '?', '*'])
    })
}

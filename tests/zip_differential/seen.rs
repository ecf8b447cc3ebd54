//! [`Seen`]: one ZIP that longshore accepted, beside what another reader made of it.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use longshore::extract::Charset;
use unicode_normalization::UnicodeNormalization;

use super::model::{Central, Local, Zip, field, number};
use super::readers::{Answer, place};
use crate::common::{Node, Tree};

/// What a reader takes a name for that nothing marks as UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unmarked {
    /// What longshore takes it for.
    Detected,
    Cp437,
    /// It is written as it is.
    Raw,
}

/// What a reader takes a `\` for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backslash {
    Letter,
    Separator,
}

/// How a reader reads names. Longshore's own way is the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) unmarked: Unmarked,
    /// It knows Info-ZIP's extra field.
    pub(crate) has_unicode_path: bool,
    pub(crate) backslash: Backslash,
    /// Only a `/` at the end of its name makes a folder, no attribute.
    pub(crate) is_folder_by_name: bool,
    /// A DOS host's attributes can make a link.
    pub(crate) has_links_of_dos: bool,
    /// It composes the letters of names that are marked as UTF-8.
    pub(crate) composes: bool,
}

impl Default for Reading {
    fn default() -> Self {
        let (unmarked, backslash) = (Unmarked::Detected, Backslash::Separator);
        Self {
            unmarked,
            has_unicode_path: true,
            backslash,
            is_folder_by_name: false,
            has_links_of_dos: false,
            composes: false,
        }
    }
}

/// An entry as longshore planned it.
pub(crate) struct Planned {
    pub(crate) path: String,
    pub(crate) central: Central,
    pub(crate) local: Local,
}

/// A ZIP that longshore accepted.
pub(crate) struct Accepted {
    pub(crate) tree: Tree,
    pub(crate) zip: Zip,
    /// In the order of the file.
    pub(crate) entries: Vec<Planned>,
}

/// The same beside what a reader made of it.
pub(crate) struct Seen<'a> {
    pub(crate) ours: &'a Accepted,
    pub(crate) answer: &'a Answer,
}

/// The name of Info-ZIP's extra field, where it belongs to the raw one.
fn unicode_path<'e>(raw: &[u8], extra: &'e [u8]) -> Option<&'e [u8]> {
    let body = field(extra, 0x7075).filter(|body| body.len() >= 5)?;
    (number(body, 1, 4) == u64::from(libdeflater::crc32(raw))).then(|| &body[5..])
}

/// Components of a name that `/` parts.
fn parts(name: &[u8]) -> usize {
    name.split(|&byte| byte == b'/').filter(|part| !matches!(*part, b"" | b".")).count()
}

impl Planned {
    /// Whether the flag says that the name is UTF-8.
    pub(crate) fn is_flagged(&self) -> bool {
        number(&self.central.fixed, 8, 2) & 1 << 11 != 0
    }

    /// Whether a DOS host's attributes would make it a link if they were a Unix mode.
    pub(crate) fn is_link_of_dos(&self) -> bool {
        let fixed = &self.central.fixed;
        fixed[5] == 0 && number(fixed, 40, 2) & 0o170_000 == 0o120_000
    }

    /// Info-ZIP's name, which nothing overrules.
    pub(crate) fn unicode_path(&self) -> Option<&[u8]> {
        unicode_path(&self.central.name, &self.central.extra).filter(|_| !self.is_flagged())
    }

    /// Whether only one of its headers has Info-ZIP's name, or each has another.
    pub(crate) fn has_two_names(&self) -> bool {
        let local = unicode_path(&self.local.name, &self.local.extra);
        local != unicode_path(&self.central.name, &self.central.extra)
    }

    /// Whether a charset has to be found for its name.
    pub(crate) fn is_unmarked(&self) -> bool {
        let is_utf8 = std::str::from_utf8(&self.central.name).is_ok();
        !is_utf8 && !self.is_flagged() && self.unicode_path().is_none()
    }

    /// Its name with composed letters, where it is marked as UTF-8 and has others.
    pub(crate) fn composed(&self) -> Option<String> {
        let flagged = self.is_flagged().then_some(&self.central.name[..]);
        let name = std::str::from_utf8(self.unicode_path().or(flagged)?).ok()?;
        Some(name.nfc().collect()).filter(|composed| composed != name)
    }

    /// Whether longshore took a `\\` of it for a separator.
    pub(crate) fn parts_backslash(&self) -> bool {
        let name = self.unicode_path().unwrap_or(&self.central.name);
        parts(self.path.as_bytes()) > parts(name)
    }

    /// Whether longshore took one for a separator that may be the second half of a letter.
    pub(crate) fn parts_letter(&self) -> bool {
        let mut name = self.central.name.clone();
        for at in 0..name.len() {
            if name[at] == b'\\' && at.checked_sub(1).is_none_or(|at| name[at] < 0x80) {
                name[at] = b'/';
            }
        }
        self.is_unmarked() && parts(self.path.as_bytes()) > parts(&name)
    }

    /// Its path with the separators and the ending that its raw name has.
    fn spelt(&self, backslash: Backslash) -> Vec<u8> {
        let mut path = self.path.clone().into_bytes();
        if backslash == Backslash::Letter && self.parts_backslash() {
            path.iter_mut().filter(|byte| **byte == b'/').for_each(|byte| *byte = b'\\');
        }
        if self.central.name.ends_with(b"/") {
            path.push(b'/');
        }
        path
    }
}

impl Accepted {
    /// The tree that longshore would have made, had it read names like this.
    pub(crate) fn under(&self, reading: Reading) -> Tree {
        let mut tree = Tree::new();
        for entry in &self.entries {
            let central = &entry.central;
            let given = entry.unicode_path().filter(|_| reading.has_unicode_path);
            let mut name = match (given, reading.unmarked) {
                _ if entry.is_flagged() => central.name.clone(),
                (Some(given), _) => given.to_vec(),
                (None, Unmarked::Detected) => entry.spelt(reading.backslash),
                (None, Unmarked::Raw) => central.name.clone(),
                (None, Unmarked::Cp437) => {
                    Charset::CP437.decode(&central.name).unwrap().into_owned().into_bytes()
                }
            };
            if reading.composes
                && let Some(composed) = entry.composed()
            {
                name = composed.into_bytes();
            }
            // What is written as it is, is not looked into.
            let is_raw = reading.unmarked == Unmarked::Raw && entry.is_unmarked();
            if reading.backslash == Backslash::Separator && entry.parts_backslash() && !is_raw {
                name.iter_mut().filter(|byte| **byte == b'\\').for_each(|byte| *byte = b'/');
            }
            let ours = self.tree.get(Path::new(&entry.path)).cloned().unwrap_or(Node::Folder);
            let node = match ours {
                Node::Folder if reading.is_folder_by_name && !name.ends_with(b"/") => {
                    Node::File(Vec::new())
                }
                Node::File(to) if reading.has_links_of_dos && entry.is_link_of_dos() => {
                    Node::Link(OsString::from_vec(to).into())
                }
                ours => ours,
            };
            place(&mut tree, &name, node);
        }
        tree
    }
}

impl Seen<'_> {
    /// Whether the reader has the tree that longshore would have made, had it read names like this.
    pub(crate) fn is(&self, reading: Reading) -> bool {
        matches!(self.answer, Answer::Tree(tree) if *tree == self.ours.under(reading))
    }

    /// Whether the reader has exactly longshore's tree.
    pub(crate) fn is_same(&self) -> bool {
        matches!(self.answer, Answer::Tree(tree) if *tree == self.ours.tree)
    }

    /// Whether the reader has nothing that is not in longshore's tree.
    pub(crate) fn is_part(&self) -> bool {
        let Answer::Tree(tree) = self.answer else { return false };
        tree.iter().all(|(path, node)| self.ours.tree.get(path) == Some(node))
    }

    /// Whether an entry is like this.
    pub(crate) fn any(&self, is: impl Fn(&Planned) -> bool) -> bool {
        self.ours.entries.iter().any(is)
    }
}

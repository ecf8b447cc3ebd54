//! Interprets the names inside a folder: which is its ZIP, and which are signs of its sender.
//!
//! In: each name of a folder, as a look lists them. Out: a [`Zip`] and [`Signs`]. No I/O.

use std::ffi::{OsStr, OsString};

use rustix::io::Errno;
use unicode_normalization::UnicodeNormalization;

use super::Rules;
use super::seen::{Signs, Zip, has_zip_ending};

/// The findings about a folder while it is listed.
pub(super) struct Inside<'a> {
    zip_name: &'a OsStr,
    rules: &'a Rules,
    zip: Option<Zip>,
    /// A ZIP whose name equals the expected one except for its Unicode normal form, and how many there are.
    alike: (Option<Zip>, u32),
    other: Option<OsString>,
    /// A subfolder that contains a ZIP of its own name.
    pub(super) below: Option<OsString>,
    /// The error of an entry inside that cannot be inspected.
    pub(super) denied: Option<Errno>,
    signs: Signs,
}

impl<'a> Inside<'a> {
    /// Creates it without any findings.
    pub(super) fn new(zip_name: &'a OsStr, rules: &'a Rules) -> Self {
        Self {
            zip_name,
            rules,
            zip: None,
            alike: (None, 0),
            other: None,
            below: None,
            denied: None,
            signs: Signs::default(),
        }
    }

    /// Records a name at a depth below the folder; 0: in the folder itself.
    pub(super) fn read_name(&mut self, name: &OsStr, depth: u32) {
        if self.signs.unfinished.is_none() && self.rules.unfinished.matches(name) {
            self.signs.unfinished = Some(name.to_owned());
        }
        if depth > 0 {
            return;
        }
        self.signs.said_complete |=
            self.rules.ready_when.as_ref().is_some_and(|file| file.matches(name));
        if self.other.is_none() && has_zip_ending(name) && !self.is_the_zip(name) {
            self.other = Some(name.to_owned());
        }
    }

    /// Whether a name is that of the folder's ZIP, in any Unicode normal form.
    pub(super) fn is_the_zip(&self, name: &OsStr) -> bool {
        name == self.zip_name || is_alike(name, self.zip_name)
    }

    /// Whether a ZIP with this name still has to be inspected.
    pub(super) fn wants(&self, name: &OsStr) -> bool {
        self.zip.is_none() || name != self.zip_name
    }

    /// Whether no ZIP with exactly the folder's name was found so far.
    pub(super) fn lacks_zip(&self) -> bool {
        self.zip.is_none()
    }

    /// Records a ZIP whose name passes [`Inside::is_the_zip`]; `None` if it has disappeared.
    pub(super) fn zip_found(&mut self, name: &OsStr, zip: Option<Zip>) {
        match zip {
            Some(_) if name == self.zip_name => self.zip = zip,
            Some(_) => self.alike = (zip, self.alike.1 + 1),
            None => {}
        }
    }

    /// Whether it matters that a subfolder is a package itself.
    pub(super) fn wants_below(&self) -> bool {
        self.zip.is_none() && self.below.is_none()
    }

    /// Returns the findings.
    pub(super) fn found(self) -> (Zip, Signs) {
        let zip = match (self.zip, self.alike, self.other, self.below) {
            (Some(zip), ..) | (None, (Some(zip), 1), ..) => zip,
            (None, _, None, Some(folder)) => Zip::Below { folder },
            (None, _, other, _) => Zip::Missing { other },
        };
        (zip, self.signs)
    }
}

/// Whether two names are different only by their Unicode normal form.
pub(crate) fn is_alike(one: &OsStr, other: &OsStr) -> bool {
    let (Some(one), Some(other)) = (one.to_str(), other.to_str()) else { return false };
    one != other && !one.is_ascii() && !other.is_ascii() && one.nfc().eq(other.nfc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_alike_in_another_normal_form_and_in_no_other_way() {
        let alike = |one: &str, other: &str| is_alike(OsStr::new(one), OsStr::new(other));
        assert!(alike("e\u{301}.zip", "\u{e9}.zip"));
        assert!(alike("\u{1e69}", "s\u{307}\u{323}"), "marks in another order");
        assert!(!alike("\u{e9}.zip", "\u{e9}.zip"), "it is the same name");
        assert!(!alike("\u{fb01}.zip", "fi.zip"), "a ligature is another letter");
        assert!(!alike("a.zip", "A.zip"));
    }
}

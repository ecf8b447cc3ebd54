//! [`Patterns`]: a list of names with wildcards, for `ignore` and `incomplete_inside` for example.
//!
//! A pattern is compared with one whole name, never with a path: `*` matches any characters, `?` matches
//! one character, `[ab]` matches one of several, `{a,b}` matches alternatives. Names are compared as
//! bytes, so a name need not be UTF-8.

use std::ffi::OsStr;
use std::path::Path;

use globset::{Candidate, GlobBuilder, GlobSet};

/// Names that file servers, desktops and disks create in any folder. They are never a delivery.
const LITTER: &[&str] = &[
    "lost+found",
    "System Volume Information",
    "$RECYCLE.BIN",
    "RECYCLER",
    ".Trash-*",
    ".Trashes",
    "@eaDir",
    "@Recycle",
    "@Recently-Snapshot",
    "@tmp",
    "#recycle",
    "#snapshot",
    ".snapshot",
    ".DS_Store",
    "._*",
    ".AppleDouble",
    ".AppleDB",
    ".apdisk",
    ".fseventsd",
    ".Spotlight-V100",
    ".TemporaryItems",
    ".DocumentRevisions-V100",
    "Thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
    ".directory",
    "*:Zone.Identifier",
];

/// Files that a sender keeps in a folder while it is still filling the folder.
const UNFINISHED: &[&str] = &[
    "*.filepart",
    "*.part",
    "*.partial",
    "*.aria2",
    "*.crdownload",
    ".lftp-pget-status",
    "*.lftp-pget-status",
    "~$*.tmp",
    ".~tmp~",
    ".rsync-partial",
    // rsync's `.NAME.XXXXXX`: six random letters and digits. In 199 of 200 cases at least one of them is a
    // capital or a digit, which distinguishes them from `.settings.backup`.
    ".*.{[A-Z0-9]?????,?[A-Z0-9]????,??[A-Z0-9]???,???[A-Z0-9]??,????[A-Z0-9]?,?????[A-Z0-9]}",
    ".syncthing.*.tmp",
    "~syncthing~*.tmp",
    "*.!qB",
    "*.!ut",
    "*.opdownload",
];

/// A compiled list of names with wildcards.
#[derive(Debug, Clone)]
pub struct Patterns {
    written: Vec<String>,
    set: GlobSet,
}

impl Patterns {
    /// Compiles patterns that ignore case.
    ///
    /// # Errors
    /// Returns the pattern that cannot be compiled, and the reason.
    pub fn of_any_case(patterns: Vec<String>) -> Result<Self, PatternError> {
        Self::read(patterns, true)
    }

    /// Compiles patterns that respect case.
    ///
    /// # Errors
    /// Returns the pattern that cannot be compiled, and the reason.
    pub fn exact(patterns: Vec<String>) -> Result<Self, PatternError> {
        Self::read(patterns, false)
    }

    /// Returns the default of `ignore`.
    #[must_use]
    pub fn litter() -> Self {
        Self::known(LITTER, true)
    }

    /// Returns the default of `incomplete_inside`.
    #[must_use]
    pub fn unfinished() -> Self {
        Self::known(UNFINISHED, false)
    }

    /// Whether any pattern matches this name.
    #[must_use]
    pub fn matches(&self, name: &OsStr) -> bool {
        !self.set.is_empty() && self.set.is_match_candidate(&Candidate::new(Path::new(name)))
    }

    /// Returns the patterns as written.
    #[must_use]
    pub fn written(&self) -> &[String] {
        &self.written
    }

    fn known(patterns: &[&str], any_case: bool) -> Self {
        let patterns = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
        #[expect(clippy::expect_used, reason = "a test reads both lists")]
        Self::read(patterns, any_case).expect("the default patterns are patterns")
    }

    fn read(patterns: Vec<String>, any_case: bool) -> Result<Self, PatternError> {
        let mut set = GlobSet::builder();
        for pattern in &patterns {
            let failed = |why| PatternError { pattern: pattern.clone(), why };
            if pattern.is_empty() || pattern.contains('/') {
                return Err(failed("it must be one name, without a slash".to_owned()));
            }
            let glob = GlobBuilder::new(pattern).case_insensitive(any_case).build();
            set.add(glob.map_err(|error| failed(error.kind().to_string()))?);
        }
        let set = set.build().map_err(|error| PatternError {
            pattern: error.glob().unwrap_or_default().to_owned(),
            why: error.kind().to_string(),
        })?;
        // A pattern that matches every name would make the landing look empty. All are tested with one
        // call, because testing each pattern would compile it a second time.
        if let Some(pattern) = set.matches("\u{1}\u{2}\u{3}").first().map(|at| &patterns[*at]) {
            let why = "it matches every name".to_owned();
            return Err(PatternError { pattern: pattern.clone(), why });
        }
        Ok(Self { written: patterns, set })
    }
}

impl PartialEq for Patterns {
    fn eq(&self, other: &Self) -> bool {
        self.written == other.written
    }
}

/// A pattern that cannot be compiled. Completes "failed to configure `KEY`: ".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the pattern {pattern:?} is not valid: {why}")]
pub struct PatternError {
    pattern: String,
    why: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    fn all_of(patterns: &Patterns, names: &[&str], expected: bool) {
        for name in names {
            assert_eq!(patterns.matches(OsStr::new(name)), expected, "{name}");
        }
    }

    #[test]
    fn pattern_for_every_name_is_refused_by_its_name() {
        for every in ["*", "?*", "[!a]*"] {
            let patterns = ["a.txt", every, "*.part"].map(str::to_owned).to_vec();
            let error = Patterns::exact(patterns).unwrap_err();
            assert_eq!(error.pattern, every, "{error}");
            assert!(error.to_string().contains("it matches every name"), "{error}");
        }
    }

    #[test]
    fn litter_is_ignored_in_any_case_and_packages_are_not() {
        let litter = Patterns::litter();
        let ignored = [
            "lost+found",
            "@eaDir",
            "#recycle",
            ".Trash-1000",
            "Thumbs.db",
            "thumbs.DB",
            "desktop.ini",
            ".DS_Store",
            "._plate.zip",
            "plate.zip:Zone.Identifier",
            "$RECYCLE.BIN",
            "System Volume Information",
        ];
        all_of(&litter, &ignored, true);
        all_of(&litter, &["plate", "lost+found-2", "x.DS_Store", "Thumbs.db.zip", "eaDir"], false);
    }

    #[test]
    fn files_of_a_sender_that_is_not_done_are_known_and_others_are_not() {
        let unfinished = Patterns::unfinished();
        let known = [
            "plate.zip.filepart",
            "plate.zip.part",
            ".plate.zip.kT3x9Q",
            ".plate.zip.abcdeF",
            "plate.zip.aria2",
            "x.crdownload",
            ".lftp-pget-status",
            "plate.zip.lftp-pget-status",
            ".~tmp~",
            "x.partial",
        ];
        all_of(&unfinished, &known, true);
        let others = ["plate.zip", ".settings.backup", ".a.config", "part", "x.parts", "a.PART"];
        all_of(&unfinished, &others, false);
    }

    #[test]
    fn pattern_of_the_operators_stands_for_whole_names_of_any_bytes() {
        let patterns = Patterns::of_any_case(vec!["tmp-*".into(), "[ab]?".into()]).unwrap();
        all_of(&patterns, &["tmp-", "TMP-x", "a1", "B2"], true);
        all_of(&patterns, &["my-tmp-x", "a", "abc"], false);
        assert!(patterns.matches(OsStr::from_bytes(b"tmp-caf\xE9")));
        let none = Patterns::exact(Vec::new()).unwrap();
        all_of(&none, &["", "a"], false);
    }

    #[test]
    fn pattern_that_cannot_be_read_or_means_everything_is_refused_by_its_text() {
        for pattern in ["", "a/b", "[", "*", "**", "{a"] {
            let error = Patterns::exact(vec!["ok".into(), pattern.into()]).unwrap_err();
            assert!(error.to_string().contains(&format!("{pattern:?}")), "{error}");
        }
    }
}

//! `.refused`: the packages of a landing whose last claim was refused, and why.
//!
//! In: the outcome of each claim. Out: whether a refusal is new; and what `longshore explain` says of a
//! folder that every rule finds ready.
//!
//! **Invariants:** the file is informational and decides nothing: a folder is offered and claimed again
//! whatever the file contains. A refusal is about one folder, not about its name. A start removes the file.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::folder::Folder;
use crate::names::{REFUSED, REFUSED_NEW};
use crate::package::FolderId;

/// How many refusals are remembered; any further one is reported at each attempt.
const KNOWN: usize = 100_000;

/// How many refusals are in the file, the first by name: the file is rewritten for each new one.
const WRITTEN: usize = 200;

/// Why a claim was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Refusal {
    inode: u64,
    birth: String,
    /// The error's code.
    pub(crate) code: String,
    /// The error and its advice.
    pub(crate) why: String,
    /// When it was first refused for this reason; RFC 3339.
    pub(crate) at: String,
    /// The part that is equal in each repetition: it contains no path of an attempt.
    cause: String,
}

impl Refusal {
    /// Creates a refusal with the current time.
    pub(super) fn new(folder: FolderId, code: &str, why: String, cause: String) -> Self {
        let at = format!("{:.0}", jiff::Timestamp::now());
        let birth = folder.birth_ns.to_string();
        Self { inode: folder.inode, birth, code: code.to_owned(), why, at, cause }
    }

    fn is_of(&self, folder: FolderId) -> bool {
        self.inode == folder.inode && self.birth == folder.birth_ns.to_string()
    }
}

/// The refusals of one source, by the name in the landing.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    known: BTreeMap<String, Refusal>,
}

impl Refusals {
    /// Starts without refusals, and removes the file of the last run.
    pub(super) fn start(part: &Folder) -> Self {
        if part.has(REFUSED).unwrap_or(false) {
            // If the file cannot be removed, its entries are about other folders, or still true.
            part.remove_file(REFUSED).ok();
        }
        Self::default()
    }

    /// Records a refusal; returns whether it is new.
    pub(super) fn add(&mut self, part: &Folder, name: &str, refusal: Refusal) -> bool {
        let same = |known: &Refusal| {
            (known.inode, &known.birth, &known.code, &known.cause)
                == (refusal.inode, &refusal.birth, &refusal.code, &refusal.cause)
        };
        if self.known.get(name).is_some_and(same) {
            return false;
        }
        if self.known.len() < KNOWN || self.known.contains_key(name) {
            self.known.insert(name.to_owned(), refusal);
            self.write(part, name);
        }
        true
    }

    /// Records that a name was claimed or has disappeared. The file keeps its entry: a refusal is about one
    /// folder, and that folder is no longer in the landing.
    pub(super) fn remove(&mut self, name: &str) {
        self.known.remove(name);
    }

    /// Writes the file, if the refusal of `name` is to be in it.
    fn write(&self, part: &Folder, name: &str) {
        if self.known.keys().take(WRITTEN).all(|first| first.as_str() < name) {
            return;
        }
        let first: BTreeMap<_, _> = self.known.iter().take(WRITTEN).collect();
        let written = serde_json::to_vec(&first)
            .map_err(io::Error::from)
            .and_then(|text| part.write(REFUSED_NEW, &text))
            .and_then(|()| part.replace(REFUSED_NEW, REFUSED));
        // A work area that cannot be written to is reported by its jobs.
        written.ok();
    }
}

/// Returns why the last claim of a folder was refused; `None` if it was not refused or is not known.
///
/// `part` is the source's part of the work area.
pub(crate) fn refusal_of(part: &Path, name: &str, folder: FolderId) -> Option<Refusal> {
    let text = Folder::open(part).and_then(|part| part.read(REFUSED)).ok()??;
    let mut known: BTreeMap<String, Refusal> = serde_json::from_slice(&text).ok()?;
    known.remove(name).filter(|refusal| refusal.is_of(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(inode: u64, cause: &str) -> Refusal {
        let folder = FolderId { inode, birth_ns: 7 };
        Refusal::new(folder, "claim_refused", format!("claim it: {cause}"), cause.to_owned())
    }

    #[test]
    fn refusal_is_news_once_for_each_folder_and_reason() {
        let top = tempfile::tempdir().unwrap();
        let part = Folder::open(top.path()).unwrap();
        let mut refusals = Refusals::start(&part);
        assert!(refusals.add(&part, "a", refusal(1, "EBUSY")));
        assert!(!refusals.add(&part, "a", refusal(1, "EBUSY")));
        assert!(refusals.add(&part, "a", refusal(1, "EXDEV")), "the reason is another");
        assert!(refusals.add(&part, "a", refusal(1, "EBUSY")), "it is again another");
        assert!(refusals.add(&part, "a", refusal(2, "EBUSY")), "the folder is another");
        assert!(refusals.add(&part, "b", refusal(1, "EBUSY")));
        refusals.remove("a");
        assert!(refusals.add(&part, "a", refusal(2, "EBUSY")), "it was claimed meanwhile");
    }

    #[test]
    fn refusals_of_a_large_landing_are_news_once_and_the_first_names_are_in_the_file() {
        let top = tempfile::tempdir().unwrap();
        let part = Folder::open(top.path()).unwrap();
        let mut refusals = Refusals::start(&part);
        let name = |number| format!("{number:05}");
        for number in (0..5000).rev() {
            assert!(refusals.add(&part, &name(number), refusal(u64::from(number), "EBUSY")));
        }
        for number in 0..5000 {
            assert!(!refusals.add(&part, &name(number), refusal(u64::from(number), "EBUSY")));
        }
        let is_read = |number: u32| {
            let folder = FolderId { inode: u64::from(number), birth_ns: 7 };
            refusal_of(top.path(), &name(number), folder).is_some()
        };
        assert_eq!([0, 199, 200, 4999].map(is_read), [true, true, false, false]);
    }

    #[test]
    fn refusal_is_read_again_for_its_own_folder_until_the_next_start() {
        let top = tempfile::tempdir().unwrap();
        let part = Folder::open(top.path()).unwrap();
        let folder = |inode| FolderId { inode, birth_ns: 7 };
        let mut refusals = Refusals::start(&part);
        refusals.add(&part, "a", refusal(1, "EBUSY"));
        assert_eq!(refusal_of(top.path(), "a", folder(1)).unwrap().why, "claim it: EBUSY");
        assert_eq!(refusal_of(top.path(), "a", folder(2)), None);
        assert_eq!(refusal_of(top.path(), "b", folder(1)), None);
        Refusals::start(&part);
        assert_eq!(refusal_of(top.path(), "a", folder(1)), None);
    }
}

//! Is this folder ready? Pure rules over a look at the disk.
//!
//! In: a [`Look`] (taken by [`Landing::look`]), what earlier looks knew ([`Past`]), the time, and a
//! source's [`Rules`]. Out: a [`Verdict`]. [`checks`] gives the same rules one by one, for people.
//!
//! **Invariant:** only a name, the file system and the clock decide. [`judge`] reads no disk and no
//! clock of its own, so every case of it is a test without waiting.

mod checks;
mod end_record;
mod look;
mod network;
mod stat;
mod unfit;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

pub use checks::{Check, checks};
pub use look::{Kind, Landing, LandingId, Look, Reach, Trace, Zip};
pub use network::is_on_network;
pub use unfit::Unfit;

use crate::config::{Accept, Source};
use crate::id::{NameError, PackageName};
use crate::messages::Form;

/// What a source says about readiness.
#[derive(Debug, Clone)]
pub struct Rules {
    /// How long a folder must have been quiet that did not come by a rename.
    pub settle: Duration,
    /// The same for a folder whose ZIP has no end record.
    pub broken_after: Duration,
    incomplete: Vec<String>,
    folders: bool,
    zips: bool,
    /// Names in the landing that lead to the source's own archive, quarantine or work area.
    own: Vec<OsString>,
}

impl Rules {
    /// Those of a source.
    #[must_use]
    pub fn of(source: &Source) -> Self {
        let inside = |path: &Path| {
            let below = path.strip_prefix(&source.landing).ok()?;
            below.components().next().map(|first| first.as_os_str().to_owned())
        };
        Self {
            settle: source.settle,
            broken_after: source.broken_after,
            incomplete: source.incomplete.clone(),
            folders: source.accept.contains(&Accept::Folder),
            zips: source.accept.contains(&Accept::Zip),
            own: [&source.archive, &source.quarantine]
                .into_iter()
                .chain(&source.work)
                .filter_map(|path| inside(path))
                .collect(),
        }
    }

    /// Why a name alone says that this is no delivery yet, if it does.
    #[must_use]
    pub fn incomplete(&self, name: &OsStr) -> Option<Incomplete> {
        if name.as_bytes().first() == Some(&b'.') {
            return Some(Incomplete::Hidden);
        }
        if self.own.iter().any(|own| own == name) {
            return Some(Incomplete::Own);
        }
        let bytes = name.as_bytes();
        let stem = if self.takes_zip(name) { &bytes[..bytes.len() - 4] } else { bytes };
        let ending = |ending: &&String| {
            bytes.ends_with(ending.as_bytes()) || stem.ends_with(ending.as_bytes())
        };
        self.incomplete.iter().find(ending).map(|ending| Incomplete::Ending(ending.clone()))
    }

    /// Every name that a sender may use for `name` while it is still arriving.
    pub fn arriving(&self, name: &str) -> impl Iterator<Item = String> {
        self.incomplete.iter().map(move |ending| format!("{name}{ending}"))
    }

    /// Whether a bare file of this name is a package.
    #[must_use]
    pub fn takes_zip(&self, name: &OsStr) -> bool {
        self.zips && name.as_bytes().len() > 4 && name.as_bytes().ends_with(b".zip")
    }

    /// Whether a folder and a file can be packages of one name.
    #[must_use]
    pub fn take_both_forms(&self) -> bool {
        self.folders && self.zips
    }

    /// What form of package a look could be of, and its name.
    ///
    /// # Errors
    /// Where the name is no package's.
    pub fn package(&self, look: &Look) -> Result<(Form, PackageName), NameError> {
        let name = look.name.to_str().ok_or(NameError::NotUtf8)?;
        if look.kind != Kind::Folder && self.takes_zip(&look.name) {
            let stem = name.strip_suffix(".zip").unwrap_or(name);
            return Ok((Form::Zip, PackageName::new(stem)?));
        }
        Ok((Form::Folder, PackageName::new(name)?))
    }
}

/// Why a name alone says that this is no delivery yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incomplete {
    /// A leading dot: a sender's temporary file, or longshore's own.
    Hidden,
    /// It leads to the source's own archive, quarantine or work area.
    Own,
    /// One of the endings that mean "still arriving".
    Ending(String),
}

/// What earlier looks at the same folder, under the same name, knew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Past {
    /// It came into its name by a rename.
    pub renamed: bool,
    /// At the first look its ZIP was there.
    pub first_had_zip: bool,
    /// At the first look its ZIP ended as a ZIP does.
    pub first_was_whole: bool,
    /// How long no look has seen a change, by a clock that only goes forward.
    pub quiet: Duration,
}

impl Past {
    /// What is known at a first look.
    #[must_use]
    pub fn of_first(look: &Look, renamed: bool) -> Self {
        Self {
            renamed,
            first_had_zip: matches!(look.zip, Zip::File { .. }),
            first_was_whole: look.zip.is_whole(),
            quiet: Duration::ZERO,
        }
    }
}

/// What the rules say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It can be offered.
    Ready,
    /// It may be ready then, if nothing changes.
    NotYet {
        /** By the wall clock; never more than the rule's whole span ahead. */
        until: SystemTime,
    },
    /// The sender is not done, by the name.
    Incomplete(Incomplete),
    /// It has settled, and is no package that can be taken.
    Unfit(Unfit),
}

/// Says what one look at a folder means.
///
/// `past` is what was known before this look, or [`Past::of_first`].
#[must_use]
pub fn judge(look: &Look, past: &Past, now: SystemTime, rules: &Rules) -> Verdict {
    if let Some(why) = rules.incomplete(&look.name) {
        return Verdict::Incomplete(why);
    }
    let fit = unfit::kind(look, rules)
        .and_then(|()| unfit::name(look, rules))
        .and_then(|()| unfit::reach(look))
        .and_then(|()| unfit::zip(look));
    if fit.is_ok() && past.renamed && past.first_was_whole {
        return Verdict::Ready;
    }
    match (settled(look, past, now, rules), fit) {
        // What is wrong now may be right when the sender is done.
        (Err(until), _) => Verdict::NotYet { until },
        (Ok(()), Ok(())) => Verdict::Ready,
        (Ok(()), Err(unfit)) => Verdict::Unfit(unfit),
    }
}

/// How long this folder must have been quiet.
fn span(look: &Look, past: &Past, rules: &Rules) -> Duration {
    match look.zip {
        // After a rename the sender has said that it is done; the ZIP is just not a good one. One
        // that was not there at the time of the rename is written afterwards: no word was given.
        Zip::File { end_record: false, .. } if !(past.renamed && past.first_had_zip) => {
            rules.settle.max(rules.broken_after)
        }
        _ => rules.settle,
    }
}

/// Whether a folder has been quiet for as long as it must, or when it will have been.
fn settled(look: &Look, past: &Past, now: SystemTime, rules: &Rules) -> Result<(), SystemTime> {
    let span = span(look, past, rules);
    let age = now.duration_since(look.trace.newest).unwrap_or_default();
    // A server's clock can be ahead; then only our own looks tell.
    let quiet = age.max(past.quiet);
    if quiet >= span { Ok(()) } else { Err(now + (span - quiet)) }
}

#[cfg(test)]
mod tests;

//! Decides whether a folder is ready: pure rules about a look at the disk.
//!
//! In: a [`Look`] (taken by [`Landing::look`]), the results of earlier looks ([`Past`]), and a source's
//! [`Rules`]. Out: a [`Verdict`]. [`checks`] reports the same rules one by one, for people.
//!
//! **Invariants:** only names, the file system and the time between looks decide. No rule subtracts a
//! file's time from this host's time: only [`DiskClock`] converts file times to an age.
//! [`judge`] reads no disk and no clock, so every case of it can be tested without waiting.
//!
//! Source: [decision 0037](../docs/decisions/0037-quiet-is-measured-between-looks.md).

mod checks;
mod clock;
mod end_record;
mod inside;
mod look;
mod network;
mod overlay;
mod seen;
mod stat;
mod unfit;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

pub use checks::{Check, checks};
pub use clock::DiskClock;
pub(crate) use inside::is_alike;
pub use look::{Landing, LandingId};
pub(crate) use network::is_network;
pub use network::is_on_network;
pub(crate) use overlay::is_in_lower_layer;
pub use seen::{Look, Reach, Signs, Trace, Zip};
pub use stat::Kind;
pub use unfit::Unfit;

use crate::config::{Accept, Patterns, Source};
use crate::id::{NameError, PackageName};
use crate::job::Form;

/// The readiness rules of a source.
#[derive(Debug, Clone)]
pub struct Rules {
    /// How long a folder must have been quiet if it did not arrive by a rename.
    pub settle: Duration,
    /// The same for a folder whose ZIP has no end record.
    pub broken_after: Duration,
    incomplete: Vec<String>,
    /// Names inside a folder that mean "still arriving".
    unfinished: Patterns,
    /// The file whose presence says that a folder is complete.
    ready_when: Option<Patterns>,
    /// Names in the landing that are never a delivery.
    ignore: Patterns,
    folders: bool,
    zips: bool,
    /// Names in the landing that lead to the source's own archive, quarantine or work area.
    own: Vec<OsString>,
}

impl Rules {
    /// Creates the rules of a source.
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
            unfinished: source.incomplete_inside.clone(),
            ready_when: source.ready_when.clone(),
            ignore: source.ignore.clone(),
            folders: source.accept.contains(&Accept::Folder),
            zips: source.accept.contains(&Accept::Zip),
            own: [&source.archive, &source.quarantine]
                .into_iter()
                .chain(&source.work)
                .filter_map(|path| inside(path))
                .collect(),
        }
    }

    /// Returns why the name alone says that this is not a delivery yet; `None` if it may be one.
    #[must_use]
    pub fn incomplete(&self, name: &OsStr) -> Option<Incomplete> {
        if name.as_bytes().first() == Some(&b'.') {
            return Some(Incomplete::Hidden);
        }
        if self.own.iter().any(|own| own == name) {
            return Some(Incomplete::Own);
        }
        if self.ignore.matches(name) {
            return Some(Incomplete::Ignored);
        }
        let bytes = name.as_bytes();
        let stem = if self.takes_zip(name) { &bytes[..bytes.len() - 4] } else { bytes };
        let ending = |ending: &&String| {
            bytes.ends_with(ending.as_bytes()) || stem.ends_with(ending.as_bytes())
        };
        self.incomplete.iter().find(ending).map(|ending| Incomplete::Ending(ending.clone()))
    }

    /// Returns every name that a sender may use for `name` while it is still arriving.
    pub fn arriving(&self, name: &str) -> impl Iterator<Item = String> {
        self.incomplete.iter().map(move |ending| format!("{name}{ending}"))
    }

    /// Returns why the folder's contents say that its sender is not done; `None` if they do not.
    fn arriving_inside(&self, look: &Look, past: &Past) -> Option<Incomplete> {
        let said = look.signs.said_complete;
        if look.kind == Kind::Folder
            && !said
            && let Some([file]) = self.ready_when.as_ref().map(Patterns::written)
        {
            return Some(Incomplete::Awaits(file.clone()));
        }
        // A rename says that the folder is complete, whatever files it contains.
        let renamed = past.renamed && past.first_was_whole;
        if let Some(name) = look.signs.unfinished.as_ref().filter(|_| !said && !renamed) {
            return Some(Incomplete::Inside(name.clone()));
        }
        matches!(look.zip, Zip::File { size: 0, .. }).then_some(Incomplete::Placeholder)
    }

    /// Whether a bare file of this name is a package.
    #[must_use]
    pub fn takes_zip(&self, name: &OsStr) -> bool {
        self.zips && name.as_bytes().len() > 4 && name.as_bytes().ends_with(b".zip")
    }

    /// Whether a folder and a file can be packages with the same name.
    #[must_use]
    pub fn take_both_forms(&self) -> bool {
        self.folders && self.zips
    }

    /// Whether a look is of a kind that can be accepted.
    #[must_use]
    pub fn can_be_package(&self, look: &Look) -> bool {
        unfit::kind(look, self).is_ok()
    }

    /// Returns the form of package that a look could be of, and its name.
    ///
    /// # Errors
    /// The name cannot be a package's name.
    pub fn package(&self, look: &Look) -> Result<(Form, PackageName), NameError> {
        let name = look.name.to_str().ok_or(NameError::NotUtf8)?;
        if look.kind != Kind::Folder && self.takes_zip(&look.name) {
            let stem = name.strip_suffix(".zip").unwrap_or(name);
            return Ok((Form::Zip, PackageName::new(stem)?));
        }
        Ok((Form::Folder, PackageName::new(name)?))
    }
}

/// Why this is not a delivery, or not yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incomplete {
    /// A leading dot: a sender's temporary file, or longshore's own.
    Hidden,
    /// It leads to the source's own archive, quarantine or work area.
    Own,
    /// The name matches `ignore`.
    Ignored,
    /// The name has an ending that means "still arriving".
    Ending(String),
    /// It contains a file that exists only while a sender fills the folder.
    Inside(OsString),
    /// It does not contain the file that says that it is complete.
    Awaits(String),
    /// Its ZIP is still empty.
    Placeholder,
}

/// The results of earlier looks at the same folder, under the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Past {
    /// It got its name by a rename.
    pub renamed: bool,
    /// Its ZIP existed at the first look.
    pub first_had_zip: bool,
    /// Its ZIP had an end record at the first look.
    pub first_was_whole: bool,
    /// How long nothing has changed: between looks, by a monotonic clock; before the first look, only as far
    /// as [`DiskClock`] knows.
    pub quiet: Duration,
}

impl Past {
    /// Creates the state for a first look.
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

/// The result of the rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The folder can be offered.
    Ready,
    /// The folder may be ready after this time, if nothing changes.
    NotYet {
        /// The rest of the rule's time span.
        wait: Duration,
    },
    /// The sender is not done, judging by the name or by the folder's contents.
    Incomplete(Incomplete),
    /// The folder has settled, but is not a package that can be accepted.
    Unfit(Unfit),
}

/// Judges a folder by one look.
///
/// `past` holds the results of earlier looks, or is [`Past::of_first`].
#[must_use]
pub fn judge(look: &Look, past: &Past, rules: &Rules) -> Verdict {
    if let Some(why) = rules.incomplete(&look.name) {
        return Verdict::Incomplete(why);
    }
    let shape = unfit::kind(look, rules)
        .and_then(|()| unfit::name(look, rules))
        .and_then(|()| unfit::reach(look));
    let fit = shape.clone().and_then(|()| unfit::zip(look));
    let arriving = rules.arriving_inside(look, past);
    if fit.is_ok() && arriving.is_none() && is_said_complete(look, past) {
        return Verdict::Ready;
    }
    // A defect may disappear when the sender is done.
    if let Err(wait) = settled(look, past, rules) {
        return Verdict::NotYet { wait };
    }
    match (shape, arriving, fit) {
        (Err(unfit), ..) | (Ok(()), None, Err(unfit)) => Verdict::Unfit(unfit),
        (Ok(()), Some(why), _) => Verdict::Incomplete(why),
        (Ok(()), None, Ok(())) => Verdict::Ready,
    }
}

/// Whether the sender has indicated that it is done, by a rename or by a file.
fn is_said_complete(look: &Look, past: &Past) -> bool {
    (past.renamed && past.first_was_whole) || (look.signs.said_complete && look.zip.is_whole())
}

/// Returns how long this folder must have been quiet.
fn span(look: &Look, past: &Past, rules: &Rules) -> Duration {
    match look.zip {
        // A rename says that the sender is done: the ZIP is just broken. If the ZIP did not exist at the
        // time of the rename, it is written afterwards, and the rename says nothing about it.
        Zip::File { end_record: false, .. } if !(past.renamed && past.first_had_zip) => {
            rules.settle.max(rules.broken_after)
        }
        _ => rules.settle,
    }
}

/// Checks that a folder has been quiet long enough; returns the remaining time otherwise.
fn settled(look: &Look, past: &Past, rules: &Rules) -> Result<(), Duration> {
    let span = span(look, past, rules);
    if past.quiet >= span { Ok(()) } else { Err(span - past.quiet) }
}

#[cfg(test)]
mod tests;

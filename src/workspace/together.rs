//! Checks whether several sources can run side by side.

use std::path::{Component, Path, PathBuf};

use super::error::StartError;
use super::site::Site;
use super::trust::resolve;
use crate::config::Source;
use crate::names::{is_hidden, parse_job_folder};

/// Checks that no source takes another's folders for packages: a landing must not be another source's
/// landing, archive, quarantine or work area, nor lie inside one of them, nor contain one of them.
///
/// Archives and quarantines may be shared.
///
/// # Errors
/// [`StartError::SharedFolder`].
pub fn keep_apart(sources: &[Source]) -> Result<(), StartError> {
    for (at, one) in sources.iter().enumerate() {
        let landing = resolve(&one.landing);
        for (_, other) in sources.iter().enumerate().filter(|(place, _)| *place != at) {
            // A place that is chosen at the start never lies where a landing can be.
            for (what, path) in [
                ("landing", Some(&other.landing)),
                ("archive", Some(&other.archive)),
                ("quarantine", Some(&other.quarantine)),
                ("work area", other.work.as_ref()),
            ] {
                let Some(path) = path else { continue };
                if touch(&landing, &resolve(path)) {
                    return Err(StartError::SharedFolder {
                        source_name: one.name.clone(),
                        landing: one.landing.clone(),
                        other: other.name.clone(),
                        what,
                        path: path.clone(),
                    });
                }
            }
        }
    }
    Ok(())
}

/// Returns folders of the sources' work areas that hold jobs and belong to none of the sources: a source
/// was renamed, or ran without a config file before. Absolute, sorted.
#[must_use]
pub fn strangers<'a>(sites: impl Iterator<Item = &'a Site> + Clone) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for site in sites.clone() {
        // A folder that cannot be listed is reported when the site is opened.
        let entries = std::fs::read_dir(site.work()).into_iter().flatten().flatten();
        let parts = entries.map(|entry| entry.path());
        let known = |path: &PathBuf| sites.clone().any(|site| site.root() == *path);
        found.extend(parts.filter(|path| !known(path) && holds_jobs(path)));
    }
    found.sort();
    found.dedup();
    found
}

fn holds_jobs(part: &Path) -> bool {
    let entries = std::fs::read_dir(part).into_iter().flatten().flatten();
    let mut names = entries.map(|entry| entry.file_name());
    names.any(|name| name.to_str().is_some_and(|name| parse_job_folder(name).is_some()))
}

/// Whether the two are equal, or one lies in the other where the landing's scan would find it.
fn touch(landing: &Path, other: &Path) -> bool {
    let below = other.strip_prefix(landing).or_else(|_| landing.strip_prefix(other));
    let Ok(below) = below else { return false };
    !matches!(below.components().next(), Some(Component::Normal(name)) if is_hidden(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::SourceName;

    fn source(name: &str, landing: &str, archive: &str) -> Source {
        let name = SourceName::new(name).unwrap();
        Source::new(name, format!("/no/{landing}"), format!("/no/{archive}"))
    }

    #[test]
    fn sources_that_would_take_each_others_folders_are_refused() {
        for (landing, archive, what) in [
            ("mv", "mv2", Some("archive")), // b lands in a's archive
            ("zip", "mv2", Some("landing")),
            ("zip/inner", "mv2", Some("landing")),
            ("mv/inner", "mv2", Some("archive")),
            ("zip/.hidden", "mv2", None),
            ("zip2", "mv", None), // an archive can be shared
        ] {
            let sources = [source("b", landing, archive), source("a", "zip", "mv")];
            let found = match keep_apart(&sources) {
                Err(StartError::SharedFolder { what, .. }) => Some(what),
                Err(other) => panic!("{other}"),
                Ok(()) => None,
            };
            assert_eq!(found, what, "b: {landing} -> {archive}");
        }
    }
}

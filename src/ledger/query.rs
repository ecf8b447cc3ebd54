//! Queries of the ledger: [`JobFilter`], [`NamePattern`], [`Page`].

use std::fmt;

use globset::{Glob, GlobMatcher};

use super::entry::State;
use super::error::LedgerError;
use crate::id::{JobId, SourceName};

/// Selects the jobs for which all given conditions hold.
#[derive(Debug, Clone, Default)]
pub struct JobFilter {
    /// Jobs of this source.
    pub source: Option<SourceName>,
    /// Jobs whose package's name matches.
    pub name: Option<NamePattern>,
    /// Jobs in one of these states; in any state if empty.
    pub states: Vec<State>,
    /// Jobs that are quarantined or tried again for an error of this code.
    pub code: Option<String>,
    /// Jobs whose latest fact is from this time or later; in ms since 1970.
    pub since_ms: Option<i64>,
    /// Jobs whose latest fact is from before this time; in ms since 1970.
    pub until_ms: Option<i64>,
}

/// A page of a result: the newest jobs first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// Only jobs that are older than this one: the last job of the previous page.
    pub before: Option<JobId>,
    /// The maximum number of jobs.
    pub limit: u32,
}

impl Default for Page {
    fn default() -> Self {
        Self { before: None, limit: 100 }
    }
}

/// A shell pattern of package names: `*`, `?`, `[a-z]`, `[!a-z]`, `{a,b}`, and `\` before one of
/// these for the literal character. It is case-sensitive, and the whole name must match.
#[derive(Debug, Clone)]
pub struct NamePattern {
    matcher: GlobMatcher,
    /// The common prefix of all matching names.
    prefix: String,
    literal: bool,
}

impl NamePattern {
    /// Parses a pattern.
    ///
    /// # Errors
    /// [`LedgerError::Pattern`] if, for example, a bracket or brace is not closed.
    pub fn new(pattern: &str) -> Result<Self, LedgerError> {
        const SPECIAL: [char; 7] = ['*', '?', '[', ']', '{', '}', '\\'];
        let matcher = Glob::new(pattern)
            .map_err(|error| LedgerError::Pattern {
                pattern: pattern.to_owned(),
                why: error.kind().to_string(),
            })?
            .compile_matcher();
        let end = pattern.find(SPECIAL);
        let prefix = pattern[..end.unwrap_or(pattern.len())].to_owned();
        Ok(Self { matcher, prefix, literal: end.is_none() })
    }

    /// Whether a name matches.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        self.matcher.is_match(name)
    }

    /// The pattern as given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.matcher.glob().glob()
    }

    /// Returns the only matching name, if the pattern has no special characters.
    #[must_use]
    pub fn literal(&self) -> Option<&str> {
        self.literal.then_some(&self.prefix)
    }

    /// Returns a range that contains all matching names: its first text, and the first text beyond it, in the
    /// order of their bytes. The end is `None` if the range has none.
    #[must_use]
    pub fn range(&self) -> (&str, Option<String>) {
        let mut end = self.prefix.clone();
        while let Some(last) = end.pop() {
            // UTF-8 has the same order as the code points.
            let next = match u32::from(last) + 1 {
                0xd800 => char::from_u32(0xe000),
                code => char::from_u32(code),
            };
            if let Some(next) = next {
                end.push(next);
                return (&self.prefix, Some(end));
            }
        }
        (&self.prefix, None)
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl JobFilter {
    /// Whether a job matches the filter.
    #[must_use]
    pub fn admits(&self, job: &super::entry::JobEntry) -> bool {
        self.source.as_ref().is_none_or(|source| *source == job.source)
            && self.name.as_ref().is_none_or(|name| name.matches(job.name.as_str()))
            && (self.states.is_empty() || self.states.contains(&job.state))
            && self.code.as_ref().is_none_or(|code| Some(code) == job.code.as_ref())
            && self.since_ms.is_none_or(|since| job.updated_ms >= since)
            && self.until_ms.is_none_or(|until| job.updated_ms < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pattern_of_a_name_matches_whole_names_and_gives_the_range_they_lie_in() {
        for (pattern, name, matches) in [
            ("a*", "abc", true),
            ("a*", "Abc", false),
            ("a", "ab", false),
            ("*b", "ab", true),
            ("a?c", "abc", true),
            ("plate-[0-9]*", "plate-77", true),
            ("plate-[!0-9]*", "plate-77", false),
            ("{a,b}", "b", true),
            (r"a\*", "a*", true),
            (r"a\*", "ab", false),
            ("名*", "名字", true),
        ] {
            let pattern = NamePattern::new(pattern).unwrap();
            assert_eq!(pattern.matches(name), matches, "{pattern} {name}");
            let (first, beyond) = pattern.range();
            if matches {
                assert!(first <= name && beyond.is_none_or(|beyond| name < &*beyond), "{pattern}");
            }
        }
        assert_eq!(NamePattern::new("az*").unwrap().range(), ("az", Some("a{".to_owned())));
        assert_eq!(NamePattern::new("*").unwrap().range(), ("", None));
        assert_eq!(NamePattern::new("\u{10ffff}*").unwrap().range().1, None);
        assert_eq!(NamePattern::new("a.b").unwrap().literal(), Some("a.b"));
        assert!(matches!(NamePattern::new("a[b"), Err(LedgerError::Pattern { .. })));
    }
}

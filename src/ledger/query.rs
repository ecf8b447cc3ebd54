//! What the ledger is asked: [`JobFilter`], [`NamePattern`], [`Page`].

use std::fmt;

use globset::{Glob, GlobMatcher};

use super::entry::State;
use super::error::LedgerError;
use crate::id::{JobId, SourceName};

/// Which jobs are asked for: those for which everything holds that is given.
#[derive(Debug, Clone, Default)]
pub struct JobFilter {
    /// Of this source.
    pub source: Option<SourceName>,
    /// Whose package's name is like this.
    pub name: Option<NamePattern>,
    /// In one of these states; in any where it is empty.
    pub states: Vec<State>,
    /// Quarantined or tried again for an error of this code.
    pub code: Option<String>,
    /// Last heard of at this time or later; in ms since 1970.
    pub since_ms: Option<i64>,
    /// Last heard of before this time; in ms since 1970.
    pub until_ms: Option<i64>,
}

/// A part of an answer: the newest jobs first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// Only jobs that are older than this one: the last one of the page before.
    pub before: Option<JobId>,
    /// At most so many.
    pub limit: u32,
}

impl Default for Page {
    fn default() -> Self {
        Self { before: None, limit: 100 }
    }
}

/// A shell pattern of package names: `*`, `?`, `[a-z]`, `[!a-z]`, `{a,b}`, and `\` before one of
/// these to mean the letter itself. Upper and lower case differ; the whole name must match.
#[derive(Debug, Clone)]
pub struct NamePattern {
    matcher: GlobMatcher,
    /// What every matching name begins with.
    prefix: String,
    literal: bool,
}

impl NamePattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// [`LedgerError::Pattern`] where a bracket or brace is not closed, or the like.
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

    /// Whether a name is like this.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        self.matcher.is_match(name)
    }

    /// The pattern as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.matcher.glob().glob()
    }

    /// The one name that matches, where the pattern has nothing special in it.
    #[must_use]
    pub fn literal(&self) -> Option<&str> {
        self.literal.then_some(&self.prefix)
    }

    /// The first text and the first one beyond, in the order of their bytes, of a range that all
    /// matching names lie in; no end where there is none.
    #[must_use]
    pub fn range(&self) -> (&str, Option<String>) {
        let mut end = self.prefix.clone();
        while let Some(last) = end.pop() {
            // The order of UTF-8 is that of the code points.
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
    /// Whether a job is asked for.
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

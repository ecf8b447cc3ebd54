//! Placeholders in the arguments of a command: `{dir}`, `{name}` and so on.
//!
//! In: one argument as configured. Out: a [`Template`], to be filled in for each package.
//!
//! **Invariant:** one argument stays one argument, whatever its values contain. Only `{word}` is a
//! placeholder; a brace around anything else is literal: `{"a": {"b": 1}}`, `{}`, `{print $1}`.
//! `{{word}}` stands for the text `{word}`.

use std::ffi::{OsStr, OsString};

use thiserror::Error;

/// A fact about a package that an argument can contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Placeholder {
    /// `{dir}`: the folder with the unpacked files.
    Dir,
    /// `{delivered}`: the folder as delivered, with its ZIP.
    Delivered,
    /// `{name}`: the package's name.
    Name,
    /// `{source}`: the source's name.
    Source,
    /// `{job}`: the job's id.
    Job,
    /// `{attempt}`: the attempt's number, counted from 1.
    Attempt,
}

impl Placeholder {
    /// All placeholders.
    pub const ALL: [Self; 6] =
        [Self::Dir, Self::Delivered, Self::Name, Self::Source, Self::Job, Self::Attempt];

    /// Returns the word between the braces.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Dir => "dir",
            Self::Delivered => "delivered",
            Self::Name => "name",
            Self::Source => "source",
            Self::Job => "job",
            Self::Attempt => "attempt",
        }
    }

    /// Returns the environment variable with the same fact.
    #[must_use]
    pub fn variable(self) -> &'static str {
        match self {
            Self::Dir => "LONGSHORE_DIR",
            Self::Delivered => "LONGSHORE_DELIVERED",
            Self::Name => "LONGSHORE_NAME",
            Self::Source => "LONGSHORE_SOURCE",
            Self::Job => "LONGSHORE_JOB",
            Self::Attempt => "LONGSHORE_ATTEMPT",
        }
    }

    fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|placeholder| placeholder.word() == word)
    }
}

/// Why a command's placeholders are not valid. Completes "failed to configure `process.command`: ".
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// The placeholder does not exist.
    #[error(
        "{{{word}}} stands for nothing{}; there are {}, and {{{{{word}}}}} is the text itself",
        suggestion.map_or(String::new(), |known| format!(" (did you mean {{{known}}}?)")),
        known()
    )]
    Unknown {
        /// As written, without its braces.
        word: String,
        /// The most similar placeholder.
        suggestion: Option<&'static str>,
    },
    /// A shell script contains a placeholder.
    #[error(
        "a script finds the package's facts in its environment: write \"${}\" in place of {{{}}}",
        placeholder.variable(), placeholder.word()
    )]
    InScript {
        /// The placeholder.
        placeholder: Placeholder,
    },
    /// The program contains a placeholder: the program could be a file of the package.
    #[error("the program is the same for every package: {{{}}} can only be in its arguments",
        placeholder.word())]
    InProgram {
        /// The placeholder.
        placeholder: Placeholder,
    },
}

fn known() -> String {
    Placeholder::ALL.map(|known| format!("{{{}}}", known.word())).join(" ")
}

/// One parsed argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Value(Placeholder),
}

impl Template {
    /// Parses the placeholders of an argument.
    ///
    /// # Errors
    /// [`TemplateError::Unknown`].
    pub fn parse(argument: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut rest = argument;
        while let Some(c) = rest.chars().next() {
            if let Some(word) = word_in(rest, "{{", "}}") {
                text.push_str(&rest[1..word.len() + 3]);
                rest = &rest[word.len() + 4..];
            } else if let Some(word) = word_in(rest, "{", "}") {
                let value = Placeholder::of(word).ok_or_else(|| unknown(word))?;
                if !text.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut text)));
                }
                parts.push(Part::Value(value));
                rest = &rest[word.len() + 2..];
            } else {
                text.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        Ok(Self(parts))
    }

    /// Returns the first placeholder, if there is one.
    #[must_use]
    pub fn first(&self) -> Option<Placeholder> {
        self.0.iter().find_map(|part| match part {
            Part::Value(placeholder) => Some(*placeholder),
            Part::Text(_) => None,
        })
    }

    /// Returns the argument with each placeholder replaced by its value, taken literally.
    #[must_use]
    pub fn fill<'a>(&self, value: impl Fn(Placeholder) -> &'a OsStr) -> OsString {
        let mut filled = OsString::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => filled.push(text),
                Part::Value(placeholder) => filled.push(value(*placeholder)),
            }
        }
        filled
    }
}

/// Rejects a script that contains a placeholder: the value would become part of the code.
///
/// # Errors
/// [`TemplateError::InScript`]. An expansion of the shell itself (`${name}`) is no placeholder.
pub(super) fn check_script(script: &str) -> Result<(), TemplateError> {
    for (at, _) in script.match_indices('{') {
        let known = word_in(&script[at..], "{", "}").and_then(Placeholder::of);
        if let Some(placeholder) = known.filter(|_| !script[..at].ends_with(['$', '{'])) {
            return Err(TemplateError::InScript { placeholder });
        }
    }
    Ok(())
}

/// Returns the word at the start of a text, between `open` and `close`.
fn word_in<'a>(text: &'a str, open: &str, close: &str) -> Option<&'a str> {
    let inner = text.strip_prefix(open)?;
    let len = inner.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(inner.len());
    let word = &inner[..len];
    let begins = word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    (begins && inner[len..].starts_with(close)).then_some(word)
}

fn unknown(word: &str) -> TemplateError {
    // In words this short, one typo changes a large share of the letters that Jaro-Winkler compares.
    let slips = |known: Placeholder| strsim::osa_distance(&word.to_lowercase(), known.word());
    let suggestion = Placeholder::ALL
        .into_iter()
        .map(|known| (slips(known), known.word()))
        .filter(|(slips, known)| *slips <= (known.len() / 3).max(1))
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, known)| known);
    TemplateError::Unknown { word: word.to_owned(), suggestion }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(argument: &str) -> String {
        let filled = Template::parse(argument).unwrap().fill(|placeholder| {
            OsStr::new(match placeholder {
                Placeholder::Dir => "/work/{name} a\"b'c $d",
                Placeholder::Attempt => "2",
                other => other.word(),
            })
        });
        filled.into_string().unwrap()
    }

    #[test]
    fn placeholders_are_replaced_anywhere_in_an_argument_and_values_are_taken_as_they_are() {
        assert_eq!(fill("{dir}"), "/work/{name} a\"b'c $d");
        assert_eq!(fill("--in={dir}/x"), "--in=/work/{name} a\"b'c $d/x");
        assert_eq!(fill("{job}.{attempt}"), "job.2");
        assert_eq!(fill("{delivered}{source}{name}"), "deliveredsourcename");
        assert_eq!(fill(""), "");
        assert_eq!(fill("数据/{name}/π"), "数据/name/π");
    }

    #[test]
    fn braces_around_anything_but_a_word_are_left_alone() {
        for text in [
            r#"{"a": 1}"#,
            r#"{"a":{"b":{}}}"#,
            "{}",
            "{print $1}",
            "{ dir }",
            "{1}",
            "a{2,3}",
            "{",
            "}",
            "{{",
            "}}",
            "{dir",
            "dir}",
            "{π}",
        ] {
            assert_eq!(fill(text), text);
        }
    }

    #[test]
    fn doubled_braces_around_a_word_are_the_text_itself() {
        assert_eq!(fill("{{dir}}"), "{dir}");
        assert_eq!(fill("{{anything}} {attempt}"), "{anything} 2");
        assert_eq!(fill("{{{attempt}}}"), "{{attempt}}", "one pair more");
    }

    #[test]
    fn word_that_is_no_placeholder_is_refused_with_the_nearest_that_is() {
        for (argument, suggestion) in [
            ("{Dir}", Some("dir")),
            ("{dri}", Some("dir")),
            ("{folder}", None),
            ("x{deliverd}", Some("delivered")),
            ("{atempt}", Some("attempt")),
        ] {
            match Template::parse(argument) {
                Err(TemplateError::Unknown { suggestion: found, .. }) => {
                    assert_eq!(found, suggestion, "{argument}");
                }
                other => panic!("{argument} gave {other:?}"),
            }
        }
        let text = Template::parse("{deliverd}").unwrap_err().to_string();
        assert!(text.contains("(did you mean {delivered}?)"), "{text}");
        assert!(text.contains("{{deliverd}} is the text itself"), "{text}");
        assert!(text.contains("{dir} {delivered} {name} {source} {job} {attempt}"), "{text}");
    }

    #[test]
    fn script_with_a_placeholder_is_refused_and_one_with_the_shells_own_braces_is_not() {
        let text = check_script("cat {dir}/a").unwrap_err().to_string();
        assert!(text.contains("\"$LONGSHORE_DIR\" in place of {dir}"), "{text}");
        for script in
            ["echo ${name}", "echo {a,b}", "f() { dir; }", "awk '{print}'", "echo {{dir}}"]
        {
            assert_eq!(check_script(script), Ok(()), "{script}");
        }
    }
}

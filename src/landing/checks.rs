//! Every readiness rule by itself, with an explanation: the output of `longshore explain`.

use std::time::Duration;

use super::seen::{Look, Zip};
use super::unfit::Unfit;
use super::{Incomplete, Past, Rules, settled, span, unfit};
use crate::job::Form;

/// The result of one rule for one folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// The rule's short name.
    pub rule: &'static str,
    /// `None` if an earlier rule left nothing to judge.
    pub passed: Option<bool>,
    /// The observation, and what to do if the rule did not pass.
    pub says: String,
}

/// Applies every rule, in the order in which they are judged.
///
/// The folder is ready if all of them passed, by the same rules as [`super::judge`]. `age` is how long ago
/// it changed, or how far in the future that is.
#[must_use]
pub fn checks(
    look: &Look,
    past: &Past,
    age: Result<Duration, Duration>,
    rules: &Rules,
) -> Vec<Check> {
    let zip = unfit::zip(look);
    let seen_inside = unfit::kind(look, rules).and_then(|()| unfit::reach(look)).is_ok();
    vec![
        complete(look, past, rules),
        check("kind", unfit::kind(look, rules), kind_says(look, rules)),
        check("name", unfit::name(look, rules), "a name that a package can have"),
        check("access", unfit::reach(look), "it may be read and renamed away"),
        if seen_inside || zip.is_ok() {
            check("zip", zip, zip_says(look))
        } else {
            Check { rule: "zip", passed: None, says: "could not be looked at".to_owned() }
        },
        quiet(look, past, age, rules),
    ]
}

fn check(rule: &'static str, answer: Result<(), Unfit>, good: impl Into<String>) -> Check {
    let passed = Some(answer.is_ok());
    Check { rule, passed, says: answer.map_or_else(|unfit| unfit.to_string(), |()| good.into()) }
}

fn complete(look: &Look, past: &Past, rules: &Rules) -> Check {
    let why = rules.incomplete(&look.name).or_else(|| rules.arriving_inside(look, past));
    let says = match &why {
        None if look.signs.said_complete => "its sender says that it is complete".to_owned(),
        None => "the name says that it is complete".to_owned(),
        Some(Incomplete::Hidden) => "names with a leading dot are left alone".to_owned(),
        Some(Incomplete::Own) => "this is longshore's own folder".to_owned(),
        Some(Incomplete::Ignored) => "the name is one of `ignore`".to_owned(),
        Some(Incomplete::Inside(name)) => {
            format!("it holds {name:?}: its sender is still filling it (incomplete_inside)")
        }
        Some(Incomplete::Awaits(file)) => {
            format!(
                "it does not hold {file:?}, with which its sender says that it is done (ready_when)"
            )
        }
        Some(Incomplete::Placeholder) => {
            "its ZIP has 0 bytes: a placeholder, until its sender writes it".to_owned()
        }
        Some(Incomplete::Ending(ending)) => {
            format!("the name ends in {ending:?}: the sender renames it when it is done")
        }
    };
    Check { rule: "complete", passed: Some(why.is_none()), says }
}

fn kind_says(look: &Look, rules: &Rules) -> &'static str {
    match rules.package(look) {
        Ok((Form::Zip, _)) => "a bare ZIP, which is accepted here",
        _ => "a real folder",
    }
}

fn zip_says(look: &Look) -> String {
    match look.zip {
        Zip::File { size, end_record: true } => {
            format!("there, {size} bytes, and it ends as a ZIP does")
        }
        Zip::File { size, .. } => {
            format!("there, {size} bytes, without an end record: cut off, or still being written")
        }
        _ => String::new(),
    }
}

fn quiet(look: &Look, past: &Past, age: Result<Duration, Duration>, rules: &Rules) -> Check {
    let span = span(look, past, rules);
    let key = if span > rules.settle { "broken_after" } else { "settle" };
    let whole = look.zip.is_whole();
    let age = match age {
        Ok(age) => format!("last changed {} ago", rounded(age)),
        Err(ahead) => format!(
            "last changed {} in the future, by its file times: only looks tell how long it is quiet",
            rounded(ahead)
        ),
    };
    let answer = settled(look, past, rules);
    let says = match answer {
        Ok(()) => format!("{age}; {} is enough ({key})", rounded(span)),
        Err(_) if whole => format!(
            "{age}; it must be quiet for {} ({key}) unless it comes by a rename",
            rounded(span)
        ),
        Err(_) => format!("{age}; it must be quiet for {} ({key})", rounded(span)),
    };
    Check { rule: "quiet", passed: Some(answer.is_ok()), says }
}

/// Rounds to a readable precision: ms below a minute, seconds above it.
fn rounded(time: Duration) -> humantime::FormattedDuration {
    let time = if time < Duration::from_secs(60) {
        Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
    } else {
        Duration::from_secs(time.as_secs())
    };
    humantime::format_duration(time)
}

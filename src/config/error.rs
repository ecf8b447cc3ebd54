//! [`ConfigError`]: why there is no usable configuration.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::patterns::PatternError;
use super::template::TemplateError;
use crate::id::SourceName;

/// Why there is no usable configuration. Completes "failed to …".
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file does not exist, or cannot be read.
    #[error("read {path:?}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The file is not TOML, or has an unknown key or an invalid value.
    #[error("understand {path:?}{}", hint(suggestion.as_deref()))]
    Parse {
        /// The file.
        path: PathBuf,
        /// The known key that is most similar to an unknown one.
        suggestion: Option<String>,
        /// The position and the reason.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// Neither the file nor the flags name a source.
    #[error("find a source: give --landing and --archive, or a config file with a [source.NAME]")]
    NoSource,
    /// A source has no value for a key without a default.
    #[error("configure source {name}: it has no `{key}`")]
    Missing {
        /// The source.
        name: SourceName,
        /// The key.
        key: &'static str,
    },
    /// A value is not allowed.
    #[error("configure `{key}`: {why}")]
    Value {
        /// The key.
        key: &'static str,
        /// The requirement.
        why: &'static str,
    },
    /// A pattern cannot be read.
    #[error("configure `{key}`: {error}")]
    Pattern {
        /// The key.
        key: &'static str,
        /// The pattern, and the reason.
        error: PatternError,
    },
    /// The command's placeholders are not valid.
    #[error("configure `process.command`: {0}")]
    Command(TemplateError),
    /// Two sources name the same folder.
    #[error("configure {first} and {second}: both have the landing {landing:?}")]
    SharedLanding {
        /// The first source.
        first: SourceName,
        /// The second source.
        second: SourceName,
        /// The shared folder.
        landing: PathBuf,
    },
    /// The current folder, which relative paths are resolved against, is gone.
    #[error("find the current folder, which relative paths start from")]
    CurrentDir(#[source] io::Error),
}

fn hint(suggestion: Option<&str>) -> String {
    suggestion.map_or(String::new(), |key| format!(" (did you mean `{key}`?)"))
}

/// Returns the known key that an unknown one was probably meant to be, from serde's list of known keys.
pub(super) fn closest_key(message: &str) -> Option<String> {
    let mut quoted = message.strip_prefix("unknown field ")?.split('`').skip(1).step_by(2);
    let unknown = quoted.next()?;
    quoted
        .map(|known| (strsim::jaro_winkler(unknown, known), known))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known.to_owned())
}

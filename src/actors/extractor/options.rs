//! Converts configuration into options of the ZIP engine, which knows nothing of configuration.
//!
//! In: a [`Source`]. Out: [`Options`], with the password read and every name in them known, or what is
//! wrong. Called once at the start, so that none of these errors occurs later, while packages are
//! processed.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use thiserror::Error;

use crate::config::{self, PasswordFrom, Source};
use crate::extract::{self, Options, Password, UnknownCharset};

/// Maximum size of a password file; no password is as long.
const PASSWORD_MAX: u64 = 64 << 10;

/// Why ZIPs cannot be read as configured. Completes "failed to …".
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OptionsError {
    /// No charset has this name.
    #[error("use `charset`")]
    Charset(#[source] UnknownCharset),
    /// No time zone has this name.
    #[error(
        "use `zone`: {name:?} is no time zone of this system: try one like Europe/Berlin, or UTC"
    )]
    Zone {
        /// The configured name.
        name: String,
    },
    /// The password file does not exist, or cannot be read.
    #[error("read the password from {path:?}")]
    PasswordFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The environment variable is not set.
    #[error("read the password from the environment: {name:?} is not set")]
    PasswordEnv {
        /// The variable.
        name: String,
    },
    /// The password is empty, so it opens nothing.
    #[error("use the password from {place}: it is empty")]
    EmptyPassword {
        /// The file or the variable.
        place: String,
    },
}

/// Returns how the ZIPs of `source` are read; reads its password.
///
/// # Errors
/// Any [`OptionsError`].
pub fn of(source: &Source) -> Result<Options, OptionsError> {
    let password = match &source.password {
        None => None,
        Some(PasswordFrom::File(path)) => Some(password_of(path)?),
        Some(PasswordFrom::Env(name)) => {
            let found = std::env::var_os(name);
            let bytes = found.map(OsString::into_vec);
            let bytes = bytes.ok_or_else(|| OptionsError::PasswordEnv { name: name.clone() })?;
            Some(password(bytes, name)?)
        }
    };
    Ok(Options {
        limits: limits(&source.limits),
        modes: match source.modes {
            config::Modes::Umask => extract::Modes::Umask,
            config::Modes::Zip => extract::Modes::Zip,
        },
        framing: match source.framing {
            config::Framing::Strict => extract::Framing::Strict,
            config::Framing::Lenient => extract::Framing::Lenient,
        },
        symlinks: match source.symlinks {
            config::Symlinks::Refuse => extract::Symlinks::Refuse,
            config::Symlinks::Skip => extract::Symlinks::Skip,
        },
        collisions: collisions(source.collisions),
        reserved_names: collisions(source.reserved_names),
        charset: match &source.charset {
            Some(label) => Some(label.parse().map_err(OptionsError::Charset)?),
            None => None,
        },
        zone: TimeZone::get(&source.zone)
            .map_err(|_| OptionsError::Zone { name: source.zone.clone() })?,
        password,
    })
}

fn limits(of: &config::Limits) -> extract::Limits {
    extract::Limits {
        entries: of.entries,
        mean_name_bytes: of.mean_name.as_u64(),
        total_bytes: of.total.as_u64(),
        entry_bytes: of.entry.as_u64(),
        ratio: of.ratio,
        depth: of.depth,
        path_bytes: usize::try_from(of.path.as_u64()).unwrap_or(usize::MAX),
        ..Default::default()
    }
}

fn collisions(configured: config::Collisions) -> extract::Collisions {
    match configured {
        config::Collisions::Allow => extract::Collisions::Allow,
        config::Collisions::Refuse => extract::Collisions::Refuse,
    }
}

/// Reads the password from a file: its content without one line ending.
///
/// # Errors
/// [`OptionsError::PasswordFile`], [`OptionsError::EmptyPassword`].
fn password_of(path: &Path) -> Result<Password, OptionsError> {
    let failed = |source| OptionsError::PasswordFile { path: path.into(), source };
    // The path may well be a pipe, but never a folder.
    if fs::metadata(path).map_err(failed)?.is_dir() {
        return Err(failed(io::ErrorKind::IsADirectory.into()));
    }
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(PASSWORD_MAX).read_to_end(&mut bytes))
        .map_err(failed)?;
    if bytes.ends_with(b"\n") {
        bytes.pop();
        if bytes.ends_with(b"\r") {
            bytes.pop();
        }
    }
    password(bytes, &path.display().to_string())
}

fn password(bytes: Vec<u8>, place: &str) -> Result<Password, OptionsError> {
    if bytes.is_empty() {
        return Err(OptionsError::EmptyPassword { place: place.to_owned() });
    }
    Ok(Password::new(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Chain;
    use crate::id::SourceName;

    fn source() -> Source {
        Source::new(SourceName::default(), "/landing", "/archive")
    }

    #[test]
    fn options_of_a_plain_source_are_the_engines_own() {
        let (ours, engines) = (of(&source()).unwrap(), Options::default());
        assert_eq!(format!("{ours:?}"), format!("{engines:?}"));
    }

    #[test]
    fn options_that_name_nothing_known_are_refused_with_a_sentence() {
        for (change, part) in [
            ((|s: &mut Source| s.charset = Some("klingon".to_owned())) as fn(&mut _), "no charset"),
            (|s| s.zone = "Mars/Base".to_owned(), "no time zone"),
            (|s| s.password = Some(PasswordFrom::Env("LONGSHORE_NOT_SET".to_owned())), "not set"),
            (|s| s.password = Some(PasswordFrom::File("/no/such".into())), "\"/no/such\""),
            (|s| s.password = Some(PasswordFrom::File("/dev/null".into())), "is empty"),
        ] {
            let mut source = source();
            change(&mut source);
            let text = Chain(&of(&source).unwrap_err()).to_string();
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn options_with_a_password_do_not_show_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        fs::write(&path, "open sesame\r\n").unwrap();
        let mut source = source();
        source.password = Some(PasswordFrom::File(path));
        source.zone = "Europe/Berlin".to_owned();
        let options = of(&source).unwrap();
        assert_eq!(options.password, Some(Password::new(b"open sesame")));
        assert!(!format!("{options:?} {source:?}").contains("sesame"), "a password was shown");
    }
}

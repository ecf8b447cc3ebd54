//! The state folder: the ledger, and the logs of commands.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

use crate::config::Config;

/// The state folder of a configuration; absolute, and not made here.
///
/// As configured; else `.longshore` in the landing of its source. A landing on a network file system
/// has it on this machine instead (a database's locks cannot be trusted there): under
/// `$STATE_DIRECTORY`, or `$XDG_STATE_HOME/longshore`.
///
/// # Errors
/// Where the landing cannot be looked at, or neither variable nor `$HOME` is set and one is needed.
pub fn state_folder(config: &Config) -> io::Result<PathBuf> {
    if let Some(state) = &config.state {
        return Ok(state.clone());
    }
    let Some(source) = config.sources.first() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "there is no source"));
    };
    if source.landing.exists() && crate::landing::is_on_network(&source.landing)? {
        return local_folder(&source.landing, |name| env::var_os(name));
    }
    Ok(source.landing.join(".longshore"))
}

fn local_folder(
    landing: &Path,
    var: impl Fn(&str) -> Option<std::ffi::OsString>,
) -> io::Result<PathBuf> {
    // systemd gives several folders separated by colons; the first is the unit's main one.
    let of_unit = var("STATE_DIRECTORY")
        .and_then(|list| env::split_paths(&list).find(|path| path.is_absolute()));
    let of_user = || {
        let base = var("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        base.or_else(|| Some(PathBuf::from(var("HOME")?).join(".local/state")))
            .map(|base| base.join("longshore"))
    };
    let base = of_unit.or_else(of_user).ok_or_else(|| {
        let why = "the landing is on a network file system, and neither STATE_DIRECTORY, \
                   XDG_STATE_HOME nor HOME says where state can be kept; give --state";
        io::Error::new(io::ErrorKind::NotFound, why)
    })?;
    // Two landings of one user are two daemons, with a ledger each.
    let landing = fs::canonicalize(landing)?;
    let name = landing.to_string_lossy();
    let name = name.trim_start_matches('/').replace('%', "%25").replace('/', "%2F");
    Ok(base.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Source;
    use crate::id::SourceName;

    #[test]
    fn state_of_a_local_landing_lies_in_it_unless_another_folder_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let mut config =
            Config::new(Source::new(SourceName::default(), folder.path(), folder.path()));
        assert_eq!(state_folder(&config).unwrap(), folder.path().join(".longshore"));
        config.state = Some("/srv/state".into());
        assert_eq!(state_folder(&config).unwrap(), Path::new("/srv/state"));
    }

    #[test]
    fn state_on_this_machine_is_the_units_or_the_users() {
        let landing = tempfile::tempdir().unwrap();
        let folder = |vars: &'static [(&str, &str)]| {
            local_folder(landing.path(), |name| {
                vars.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
            })
        };
        let unit = folder(&[("STATE_DIRECTORY", "/var/lib/a:/var/lib/b"), ("HOME", "/h")]).unwrap();
        let landing_path = fs::canonicalize(landing.path()).unwrap();
        let escaped = landing_path.to_str().unwrap().trim_start_matches('/').replace('/', "%2F");
        assert_eq!(unit, Path::new("/var/lib/a").join(escaped));
        assert!(folder(&[("HOME", "/h")]).unwrap().starts_with("/h/.local/state/longshore"));
        assert!(folder(&[]).unwrap_err().to_string().contains("--state"));
    }
}

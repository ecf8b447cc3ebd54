//! The configuration file: its format, and its conversion into a [`Config`].

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytesize::ByteSize;
use serde::Deserialize;

use super::error::{ConfigError, closest_key};
use super::ledger::Ledger;
use super::patterns::Patterns;
use super::process::Process;
use super::{
    Accept, Changed, Collisions, Config, Durability, Framing, Identical, Limits, Modes,
    PasswordFrom, Source, Symlinks,
};
use crate::id::SourceName;

/// The configuration file as written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigFile {
    /// Extractor threads.
    pub workers: Option<usize>,
    /// How long a graceful stop waits for work in flight.
    #[serde(default, with = "humantime_serde")]
    pub grace: Option<Duration>,
    /// How long `--once` waits without any progress.
    #[serde(default, with = "humantime_serde")]
    pub once_wait: Option<Duration>,
    /// Where the ledger and the commands' logs are.
    pub state: Option<PathBuf>,
    /// The record of every package.
    #[serde(default)]
    pub ledger: Ledger,
    /// The values that the sources share.
    #[serde(default)]
    pub defaults: SourceFile,
    /// The sources, by name.
    #[serde(default)]
    pub source: BTreeMap<SourceName, SourceFile>,
}

/// One source as written: a missing value comes from `[defaults]`, then from longshore's own defaults.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "each is described at the field of the same name in `Source`")]
pub struct SourceFile {
    pub landing: Option<PathBuf>,
    pub archive: Option<PathBuf>,
    pub quarantine: Option<PathBuf>,
    pub work: Option<PathBuf>,
    #[serde(default, with = "humantime_serde")]
    pub settle: Option<Duration>,
    #[serde(default, with = "humantime_serde")]
    pub rescan: Option<Duration>,
    #[serde(default, with = "humantime_serde")]
    pub broken_after: Option<Duration>,
    #[serde(default, with = "humantime_serde")]
    pub stale_after: Option<Duration>,
    pub incomplete: Option<Vec<String>>,
    pub incomplete_inside: Option<Vec<String>>,
    pub ready_when: Option<String>,
    pub ignore: Option<Vec<String>>,
    pub accept: Option<Vec<Accept>>,
    pub identical: Option<Identical>,
    pub changed: Option<Changed>,
    pub durability: Option<Durability>,
    pub modes: Option<Modes>,
    pub framing: Option<Framing>,
    pub symlinks: Option<Symlinks>,
    pub collisions: Option<Collisions>,
    pub reserved_names: Option<Collisions>,
    pub charset: Option<String>,
    pub zone: Option<String>,
    pub password_file: Option<PathBuf>,
    pub password_env: Option<String>,
    pub max_attempts: Option<u32>,
    #[serde(default, with = "humantime_serde")]
    pub backoff: Option<Duration>,
    #[serde(default, with = "humantime_serde")]
    pub backoff_max: Option<Duration>,
    pub max_crashes: Option<u32>,
    pub min_free: Option<ByteSize>,
    pub hash: Option<bool>,
    pub limits: Option<Limits>,
    pub process: Option<Process>,
}

impl ConfigFile {
    /// Reads a TOML file.
    ///
    /// # Errors
    /// [`ConfigError::Read`] and [`ConfigError::Parse`].
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.into(), source })?;
        toml::from_str(&text).map_err(|error| ConfigError::Parse {
            path: path.into(),
            suggestion: closest_key(error.message()),
            source: Box::new(error),
        })
    }

    /// Sets `settle` for every source, whatever the file says.
    pub fn override_settle(&mut self, settle: Duration) {
        self.defaults.settle = Some(settle);
        for source in self.source.values_mut() {
            source.settle = Some(settle);
        }
    }

    /// Sets the command of every source, whatever the file says; other options of a command in the file are
    /// kept.
    pub fn override_command(&mut self, command: &[String]) {
        let shared = self.defaults.process.get_or_insert_with(|| Process::new(Vec::new()));
        let own = self.source.values_mut().filter_map(|source| source.process.as_mut());
        for process in own.chain([shared]) {
            process.command = command.to_vec();
            process.shell = false;
        }
    }

    /// Fills in the defaults, checks the values, and makes paths absolute; relative paths start from the
    /// current folder.
    ///
    /// # Errors
    /// Any [`ConfigError`] except those of reading the file.
    pub fn resolve(self) -> Result<Config, ConfigError> {
        let here = std::env::current_dir().map_err(ConfigError::CurrentDir)?;
        let mut sources = Vec::new();
        for (name, file) in self.source {
            sources.push(file.or(self.defaults.clone()).resolve(name, &here)?);
        }
        let config = Config {
            workers: self.workers.unwrap_or_else(default_workers),
            grace: self.grace.unwrap_or(Duration::from_secs(30)),
            once_wait: self.once_wait.unwrap_or(Duration::from_secs(60)),
            state: self.state.map(|path| tidy(&here.join(path))),
            ledger: self.ledger,
            sources,
        };
        check(&config)?;
        Ok(config)
    }
}

fn default_workers() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn check(config: &Config) -> Result<(), ConfigError> {
    if config.sources.is_empty() {
        return Err(ConfigError::NoSource);
    }
    if !(1..=1024).contains(&config.workers) {
        return Err(ConfigError::Value { key: "workers", why: "it must be from 1 to 1024" });
    }
    if config.sources.len() > 1 && config.state.is_none() {
        let why = "several sources share one ledger: say in which folder it is to be";
        return Err(ConfigError::Value { key: "state", why });
    }
    for (at, source) in config.sources.iter().enumerate() {
        source.process.as_ref().map_or(Ok(()), Process::check)?;
        if let Some(other) = config.sources[..at].iter().find(|s| s.landing == source.landing) {
            return Err(ConfigError::SharedLanding {
                first: other.name.clone(),
                second: source.name.clone(),
                landing: source.landing.clone(),
            });
        }
        if source.max_attempts == 0 {
            return Err(ConfigError::Value { key: "max_attempts", why: "it must be at least 1" });
        }
        if source.incomplete.iter().any(String::is_empty) {
            let why = "an empty ending would hold back every folder";
            return Err(ConfigError::Value { key: "incomplete", why });
        }
        if source.accept.is_empty() {
            let why = "with nothing in it no package is ever taken";
            return Err(ConfigError::Value { key: "accept", why });
        }
        if source.rescan < Duration::from_millis(100) {
            return Err(ConfigError::Value { key: "rescan", why: "it must be at least 100ms" });
        }
    }
    Ok(())
}

impl SourceFile {
    /// Takes values that are missing here from `other`.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        // If one of the two says where the password is, the other's place must not be added.
        let own = self.password_file.is_some() || self.password_env.is_some();
        let (password_file, password_env) = if own {
            (self.password_file, self.password_env)
        } else {
            (other.password_file, other.password_env)
        };
        Self {
            password_file,
            password_env,
            landing: self.landing.or(other.landing),
            archive: self.archive.or(other.archive),
            quarantine: self.quarantine.or(other.quarantine),
            work: self.work.or(other.work),
            settle: self.settle.or(other.settle),
            rescan: self.rescan.or(other.rescan),
            broken_after: self.broken_after.or(other.broken_after),
            stale_after: self.stale_after.or(other.stale_after),
            incomplete: self.incomplete.or(other.incomplete),
            incomplete_inside: self.incomplete_inside.or(other.incomplete_inside),
            ready_when: self.ready_when.or(other.ready_when),
            ignore: self.ignore.or(other.ignore),
            accept: self.accept.or(other.accept),
            identical: self.identical.or(other.identical),
            changed: self.changed.or(other.changed),
            durability: self.durability.or(other.durability),
            modes: self.modes.or(other.modes),
            framing: self.framing.or(other.framing),
            symlinks: self.symlinks.or(other.symlinks),
            collisions: self.collisions.or(other.collisions),
            reserved_names: self.reserved_names.or(other.reserved_names),
            charset: self.charset.or(other.charset),
            zone: self.zone.or(other.zone),
            max_attempts: self.max_attempts.or(other.max_attempts),
            backoff: self.backoff.or(other.backoff),
            backoff_max: self.backoff_max.or(other.backoff_max),
            max_crashes: self.max_crashes.or(other.max_crashes),
            min_free: self.min_free.or(other.min_free),
            hash: self.hash.or(other.hash),
            limits: self.limits.or(other.limits),
            process: self.process.or(other.process),
        }
    }

    fn resolve(self, name: SourceName, here: &Path) -> Result<Source, ConfigError> {
        let need = |path: Option<PathBuf>, key| {
            path.map(|path| here.join(path))
                .ok_or_else(|| ConfigError::Missing { name: name.clone(), key })
        };
        let landing = need(self.landing, "landing")?;
        let archive = need(self.archive, "archive")?;
        let password = match (self.password_file, self.password_env) {
            (Some(path), None) => Some(PasswordFrom::File(tidy(&here.join(path)))),
            (None, Some(name)) => Some(PasswordFrom::Env(name)),
            (None, None) => None,
            (Some(_), Some(_)) => {
                let why = "there is a `password_env`, too; one of them must go";
                return Err(ConfigError::Value { key: "password_file", why });
            }
        };
        let refused = |key| move |error| ConfigError::Pattern { key, error };
        let ready_when = self.ready_when.filter(|name| !name.is_empty());
        let ready_when = ready_when.map(|name| Patterns::exact(vec![name])).transpose();
        let inside = self.incomplete_inside.map(Patterns::exact).transpose();
        let ignore = self.ignore.map(Patterns::of_any_case).transpose();
        let base = Source::new(name, tidy(&landing), tidy(&archive));
        Ok(Source {
            quarantine: self.quarantine.map_or(base.quarantine, |path| tidy(&here.join(path))),
            work: self.work.map(|path| tidy(&here.join(path))),
            settle: self.settle.unwrap_or(base.settle),
            rescan: self.rescan.unwrap_or(base.rescan),
            broken_after: self.broken_after.unwrap_or(base.broken_after),
            stale_after: self.stale_after.unwrap_or(base.stale_after),
            incomplete: self.incomplete.unwrap_or(base.incomplete),
            incomplete_inside: inside
                .map_err(refused("incomplete_inside"))?
                .unwrap_or(base.incomplete_inside),
            ready_when: ready_when.map_err(refused("ready_when"))?,
            ignore: ignore.map_err(refused("ignore"))?.unwrap_or(base.ignore),
            accept: self.accept.unwrap_or(base.accept),
            identical: self.identical.unwrap_or(base.identical),
            changed: self.changed.unwrap_or(base.changed),
            durability: self.durability.unwrap_or(base.durability),
            modes: self.modes.unwrap_or(base.modes),
            framing: self.framing.unwrap_or(base.framing),
            symlinks: self.symlinks.unwrap_or(base.symlinks),
            collisions: self.collisions.unwrap_or(base.collisions),
            reserved_names: self.reserved_names.unwrap_or(base.reserved_names),
            charset: self.charset.or(base.charset),
            zone: self.zone.unwrap_or(base.zone),
            password,
            max_attempts: self.max_attempts.unwrap_or(base.max_attempts),
            backoff: self.backoff.unwrap_or(base.backoff),
            backoff_max: self.backoff_max.unwrap_or(base.backoff_max),
            max_crashes: self.max_crashes.unwrap_or(base.max_crashes),
            min_free: self.min_free.unwrap_or(base.min_free),
            hash: self.hash.unwrap_or(base.hash),
            limits: self.limits.unwrap_or(base.limits),
            process: self.process,
            name: base.name,
            landing: base.landing,
            archive: base.archive,
        })
    }
}

/// Removes `.` components and trailing slashes. Keeps `..`, which only the file system can resolve.
fn tidy(path: &Path) -> PathBuf {
    path.components().collect()
}

#[cfg(test)]
mod tests;

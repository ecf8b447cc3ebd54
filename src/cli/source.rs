//! [`SourceArgs`]: the flags that name a source, and the configuration that they make.

use std::path::PathBuf;
use std::time::Duration;

use super::exit;
use crate::config::{Config, ConfigError, ConfigFile, SourceFile};
use crate::id::SourceName;
use crate::names::OWN;

/// Which source: a config file, or two folders.
#[derive(Debug, clap::Args)]
pub(super) struct SourceArgs {
    /// Where senders deliver packages; made if missing
    #[arg(long, value_name = "DIR", help_heading = "Folders")]
    pub(super) landing: Option<PathBuf>,
    /// Where processed packages go; made if missing
    #[arg(long, value_name = "DIR", help_heading = "Folders")]
    pub(super) archive: Option<PathBuf>,
    /// Where packages go that cannot be processed [default: quarantine/ beside the archive]
    #[arg(long, value_name = "DIR", help_heading = "Folders")]
    pub(super) quarantine: Option<PathBuf>,
    /// Where packages are while in work, on the landing's file system [default:
    /// .longshore/work in the landing; outside of it if others can write to the landing]
    #[arg(long, value_name = "DIR", help_heading = "Folders")]
    pub(super) work: Option<PathBuf>,
    /// Where the ledger and the commands' logs are [default: .longshore in the landing; outside of it if
    /// others can write to the landing]
    #[arg(long, value_name = "DIR", help_heading = "Folders")]
    pub(super) state: Option<PathBuf>,
    /// How long a folder must have been quiet that did not come by a rename [default: 1s]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(super) settle: Option<Duration>,
    /// A TOML file with [defaults] and [source.NAME] tables, for several sources and every other option
    #[arg(long, value_name = "FILE", conflicts_with_all = ["landing", "archive", "quarantine", "work"])]
    pub(super) config: Option<PathBuf>,
}

/// The words of a command, at least one.
#[derive(Debug, Clone)]
pub(super) struct Words(Vec<String>);

/// Why the text of a command cannot be split into words.
#[derive(Debug, thiserror::Error)]
pub(super) enum WordsError {
    #[error("there is no program in it")]
    None,
    #[error("a quote in it has no end")]
    Quote(#[from] shell_words::ParseError),
}

pub(super) fn words(command: &str) -> Result<Words, WordsError> {
    let words = shell_words::split(command)?;
    if words.first().is_none_or(String::is_empty) {
        return Err(WordsError::None);
    }
    Ok(Words(words))
}

impl SourceArgs {
    /// Creates arguments for a command that only needs the daemon's folders: no archive need exist.
    pub(super) fn of(landing: Option<&PathBuf>, config: Option<&PathBuf>) -> Self {
        let nowhere = |landing: &PathBuf| landing.join(OWN).join("no-archive");
        Self {
            landing: landing.cloned(),
            archive: landing.map(nowhere),
            quarantine: None,
            work: None,
            state: None,
            settle: None,
            config: config.cloned(),
        }
    }

    /// Returns the configuration from the flags and from the file, if one is named.
    pub(super) fn config(
        &self,
        workers: Option<usize>,
        process: Option<&Words>,
    ) -> Result<Config, ConfigError> {
        let mut file = match &self.config {
            Some(path) => ConfigFile::read(path)?,
            None => self.as_file()?,
        };
        if let Some(workers) = workers {
            file.workers = Some(workers);
        }
        if let Some(Words(command)) = process {
            file.override_command(command);
        }
        if let Some(state) = &self.state {
            file.state = Some(state.clone());
        }
        if let (Some(settle), Some(_)) = (self.settle, &self.config) {
            file.override_settle(settle);
        }
        file.resolve()
    }

    fn as_file(&self) -> Result<ConfigFile, ConfigError> {
        let (Some(landing), Some(archive)) = (self.landing.clone(), self.archive.clone()) else {
            return Err(ConfigError::NoSource);
        };
        let source = SourceFile {
            landing: Some(landing),
            archive: Some(archive),
            quarantine: self.quarantine.clone(),
            work: self.work.clone(),
            settle: self.settle,
            ..SourceFile::default()
        };
        let mut file = ConfigFile::default();
        file.source.insert(SourceName::default(), source);
        Ok(file)
    }
}

/// Returns the exit code for a configuration error.
pub(super) fn code_of(error: &ConfigError) -> u8 {
    match error {
        ConfigError::NoSource => exit::USAGE,
        _ => exit::CONFIG,
    }
}

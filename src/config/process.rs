//! `[source.NAME.process]`: the command that processes the unpacked files.

use std::collections::BTreeMap;
use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Deserializer, Serialize};

use super::error::ConfigError;
use super::template::{Template, TemplateError, check_script};

/// The command of a source, and its limits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Process {
    /// Program and arguments, or with `shell` one script, which can be written as plain text. Not empty.
    #[serde(deserialize_with = "words")]
    pub command: Vec<String>,
    /// Whether `command` is a script for `sh -c`. A script gets the package's facts in `$LONGSHORE_…`.
    #[serde(default)]
    pub shell: bool,
    /// Maximum number of commands at the same time; at least 1.
    #[serde(default = "cores")]
    pub workers: usize,
    /// Maximum number of unpacked packages that wait for a command. At this number no new package of this
    /// source is opened.
    #[serde(default = "waiting")]
    pub waiting: usize,
    /// How long a command may run; `None`: without limit.
    #[serde(default, with = "humantime_serde")]
    pub timeout: Option<Duration>,
    /// How long a command has to end after SIGTERM, before SIGKILL.
    #[serde(default = "kill_after", with = "humantime_serde")]
    pub kill_after: Duration,
    /// Niceness, -20 to 19; a value below the daemon's own requires root.
    #[serde(default)]
    pub nice: Option<i32>,
    /// Maximum address space of each process of a command, in bytes.
    #[serde(default)]
    pub memory: Option<ByteSize>,
    /// Environment variables to set, by name.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Environment variables passed on from the daemon's own; all others are not passed on.
    #[serde(default = "pass_env")]
    pub pass_env: Vec<String>,
    /// How a command's processes are kept together.
    #[serde(default)]
    pub isolation: Isolation,
    /// Maximum bytes of output kept for each attempt.
    #[serde(default = "log_max")]
    pub log_max: ByteSize,
    /// How long the output of an attempt is kept.
    #[serde(default = "keep_logs", with = "humantime_serde")]
    pub keep_logs: Duration,
}

/// How a command's processes are kept together, so that none is left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Isolation {
    /// A PID namespace if one is available without a user namespace (as root), otherwise like `Group`.
    #[default]
    Auto,
    /// A PID namespace, with a user namespace if required.
    Namespace,
    /// No namespace: a guard process and the process group.
    Group,
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn waiting() -> usize {
    64
}

fn kill_after() -> Duration {
    Duration::from_secs(10)
}

fn pass_env() -> Vec<String> {
    ["PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR"]
        .map(str::to_owned)
        .into()
}

fn log_max() -> ByteSize {
    ByteSize::mib(16)
}

fn keep_logs() -> Duration {
    Duration::from_secs(30 * 24 * 60 * 60)
}

/// Reads a list of words, or one text as a list of one.
fn words<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a list of words, or with `shell = true` one script")]
    enum Command {
        Words(Vec<String>),
        Script(String),
    }
    Ok(match Command::deserialize(from)? {
        Command::Words(words) => words,
        Command::Script(script) => vec![script],
    })
}

impl Process {
    /// Creates a configuration for this command, with every default.
    #[must_use]
    pub fn new(command: Vec<String>) -> Self {
        Self {
            command,
            shell: false,
            workers: cores(),
            waiting: waiting(),
            timeout: None,
            kill_after: kill_after(),
            nice: None,
            memory: None,
            env: BTreeMap::new(),
            pass_env: pass_env(),
            isolation: Isolation::default(),
            log_max: log_max(),
            keep_logs: keep_logs(),
        }
    }

    /// Returns the parsed arguments after the program; empty for a script.
    ///
    /// # Errors
    /// [`TemplateError`]: an unknown placeholder, or a placeholder in a script or a program.
    pub fn arguments(&self) -> Result<Vec<Template>, TemplateError> {
        if self.shell {
            self.command.iter().try_for_each(|script| check_script(script))?;
            return Ok(Vec::new());
        }
        let mut words = self.command.iter().map(|word| Template::parse(word));
        if let Some(placeholder) = words.next().transpose()?.and_then(|program| program.first()) {
            return Err(TemplateError::InProgram { placeholder });
        }
        words.collect()
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let refuse = |key, why| Err(ConfigError::Value { key, why });
        if self.command.first().is_none_or(String::is_empty) {
            return refuse("process.command", "it must name a program");
        }
        if self.shell && self.command.len() != 1 {
            return refuse("process.command", "with `shell = true` it must be one script");
        }
        if let [program] = &self.command[..]
            && !self.shell
            && program.contains(' ')
            && !program.contains('/')
        {
            let why = "no program is called that: write it and its arguments as a list, or add \
                       `shell = true`";
            return refuse("process.command", why);
        }
        self.arguments().map_err(ConfigError::Command)?;
        // Each running command takes a thread of its own.
        if !(1..=256).contains(&self.workers) {
            return refuse("process.workers", "it must be from 1 to 256");
        }
        if self.waiting == 0 {
            return refuse("process.waiting", "it must be at least 1");
        }
        if self.nice.is_some_and(|nice| !(-20..=19).contains(&nice)) {
            return refuse("process.nice", "it must be from -20 to 19");
        }
        Ok(())
    }
}

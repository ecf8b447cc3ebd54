//! How the processes of a command are kept together: what is had, and how that is found out.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::error::ProcessError;
use super::guard;
use super::guards::Guards;
use super::spec::{Exit, Mark, Spec};
use crate::config::Isolation;

/// What holds the processes of a command together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Mode {
    /// A guard and a PID namespace: nothing survives, whatever dies.
    PidNamespace,
    /// The same inside a user namespace that holds only the daemon's own user and group.
    UserNamespace,
    /// A guard: nothing survives unless daemon and guard are killed at the same moment; what is left
    /// then ends at the next start, by [`kill_leftovers`](super::kill_leftovers).
    Group,
    /// No guard. The command dies with the daemon, what it started does not.
    Direct,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PidNamespace => "pid-namespace",
            Self::UserNamespace => "user-namespace",
            Self::Group => "group",
            Self::Direct => "direct",
        })
    }
}

impl Guards {
    /// Finds the best mode for what is wanted, by running something in it.
    ///
    /// Second comes why it is not the better one, where there is a better one.
    ///
    /// # Errors
    /// [`IsolationUnavailable`](ProcessError::IsolationUnavailable) where a namespace is wanted and
    /// there is none; others where not even a guard can be started.
    pub fn probe(&self, wanted: Isolation) -> Result<(Mode, Option<String>), ProcessError> {
        let candidates: &[Mode] = match wanted {
            Isolation::Auto => &[Mode::PidNamespace, Mode::Group],
            Isolation::Namespace => &[Mode::PidNamespace, Mode::UserNamespace],
            Isolation::Group => &[Mode::Group],
        };
        if !guard::can_be_started() {
            let why = "this program does not call longshore::process::guard_main".to_owned();
            return match wanted {
                Isolation::Namespace => Err(ProcessError::IsolationUnavailable { why }),
                _ => Ok((Mode::Direct, Some(why))),
            };
        }
        let mut reasons = Vec::new();
        for &mode in candidates {
            match self.try_out(mode) {
                Ok(()) if reasons.is_empty() => return Ok((mode, None)),
                Ok(()) => return Ok((mode, Some(reasons.join("; ")))),
                // No lesser mode can do without a guard.
                Err(error @ (ProcessError::Guard { .. } | ProcessError::Stopping)) => {
                    return Err(error);
                }
                Err(error) if mode == Mode::Group => return Err(error),
                Err(error) => {
                    let error = crate::error::Chain(&error);
                    reasons.push(format!("{mode}: failed to {error}"));
                }
            }
        }
        Err(ProcessError::IsolationUnavailable { why: reasons.join("; ") })
    }

    fn try_out(&self, mode: Mode) -> Result<(), ProcessError> {
        let spec = Spec {
            argv: guard::probe_command(),
            cwd: "/".into(),
            env: Vec::new(),
            nice: None,
            memory_bytes: None,
            timeout: Some(std::time::Duration::from_secs(10)),
            kill_after: std::time::Duration::ZERO,
            mark: Mark::new("probe", 1).map_err(|source| ProcessError::Guard { source })?,
        };
        match self.run(mode, spec, &mut |_| ())? {
            Exit::Code(0) => Ok(()),
            exit => Err(ProcessError::Probe { exit }),
        }
    }
}

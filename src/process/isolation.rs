//! Which isolation is available for commands, found by trying it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::error::ProcessError;
use super::guard;
use super::guards::Guards;
use super::mode::Mode;
use super::reach::Reach;
use super::spec::{Exit, Mark, Spec};
use crate::config::Isolation;

/// The isolation of commands on this machine, as found by a trial.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Isolated {
    /// What keeps the processes of a command together.
    pub mode: Mode,
    /// Whether a [`Reach`] takes effect in this mode.
    pub confines: bool,
    /// Why no better mode is available; `None` if this is the best of those wanted.
    pub why: Option<String>,
}

impl Guards {
    /// Finds the best mode of those that `wanted` allows, by running a trial command in each.
    ///
    /// `protected` are the folders that a [`Reach`] will name. The trial uses those that exist.
    ///
    /// # Errors
    /// [`IsolationUnavailable`](ProcessError::IsolationUnavailable) if a namespace is required and
    /// there is none, or none in which a [`Reach`] takes effect; other errors if not even a guard
    /// can be started, or if the trial in a group fails.
    pub fn probe(
        &self,
        wanted: Isolation,
        protected: &Arc<[PathBuf]>,
    ) -> Result<Isolated, ProcessError> {
        let candidates: &[(Mode, bool)] = match wanted {
            Isolation::Auto => {
                &[(Mode::PidNamespace, true), (Mode::PidNamespace, false), (Mode::Group, false)]
            }
            Isolation::Namespace => &[(Mode::PidNamespace, true), (Mode::UserNamespace, true)],
            Isolation::Group => &[(Mode::Group, false)],
        };
        if !guard::can_be_started() {
            let why = "this program does not call longshore::process::guard_main".to_owned();
            return match wanted {
                Isolation::Namespace => Err(ProcessError::IsolationUnavailable { why }),
                _ => Ok(Isolated { mode: Mode::Direct, confines: false, why: Some(why) }),
            };
        }
        let mut reasons = Vec::new();
        let mut refused = None;
        for &(mode, confines) in candidates {
            // A mode that failed before any mount fails without mounts, too.
            if refused == Some(mode) {
                continue;
            }
            match self.try_out(mode, confines.then_some(protected)) {
                Ok(()) => {
                    let why = (!reasons.is_empty()).then(|| reasons.join("; "));
                    return Ok(Isolated { mode, confines, why });
                }
                // Every other mode needs a guard, too.
                Err(error @ (ProcessError::Guard { .. } | ProcessError::Stopping)) => {
                    return Err(error);
                }
                Err(error) if mode == Mode::Group => return Err(error),
                Err(error) => {
                    refused = (!matches!(error, ProcessError::Mount { .. })).then_some(mode);
                    let error = crate::error::Chain(&error);
                    reasons.push(format!("{mode}: failed to {error}"));
                }
            }
        }
        Err(ProcessError::IsolationUnavailable { why: reasons.join("; ") })
    }

    fn try_out(&self, mode: Mode, protected: Option<&Arc<[PathBuf]>>) -> Result<(), ProcessError> {
        let failed = |source| ProcessError::Guard { source };
        // A protected folder, so that both kinds of mount are tried. At a first start, none may
        // exist yet.
        let folder = protected.and_then(|all| all.iter().find(|path| path.is_dir()));
        let folder = folder.map_or(Path::new("/"), PathBuf::as_path);
        let reach = protected.map(|all| Reach::new(folder, Arc::clone(all))).transpose();
        let spec = Spec {
            argv: guard::probe_command(),
            cwd: folder.into(),
            env: Vec::new(),
            nice: None,
            memory_bytes: None,
            timeout: Some(Duration::from_secs(10)),
            kill_after: Duration::ZERO,
            reach: reach
                .map_err(|source| ProcessError::Mount { path: folder.to_path_buf(), source })?,
            mark: Mark::new("probe", 1).map_err(failed)?,
        };
        match self.run(mode, spec, &mut |_| ())? {
            Exit::Code(0) => Ok(()),
            exit => Err(ProcessError::Probe { exit }),
        }
    }
}

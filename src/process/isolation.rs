//! How the processes of a command are kept together: what is had, and how that is found out.

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

/// How commands can be run here, as a trial showed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Isolated {
    /// What holds their processes together.
    pub mode: Mode,
    /// Whether a [`Reach`] holds in it.
    pub confines: bool,
    /// Why it is not the better one; `None` if it is the best that was wanted.
    pub why: Option<String>,
}

impl Guards {
    /// Finds the best way to run commands for what is wanted, by running something in it.
    ///
    /// `protected` are the folders that a [`Reach`] will name; those that are there are tried out.
    ///
    /// # Errors
    /// [`IsolationUnavailable`](ProcessError::IsolationUnavailable) where a namespace is wanted and
    /// there is none, or none in which a [`Reach`] holds; others where not even a guard can be
    /// started.
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
            // What failed before any mount fails without one, too.
            if refused == Some(mode) {
                continue;
            }
            match self.try_out(mode, confines.then_some(protected)) {
                Ok(()) => {
                    let why = (!reasons.is_empty()).then(|| reasons.join("; "));
                    return Ok(Isolated { mode, confines, why });
                }
                // No lesser mode can do without a guard.
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
        // One that is protected, too, so that both kinds of mount are tried; at a first start none
        // may be there yet.
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

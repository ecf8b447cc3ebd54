//! [`Mode`]: how a command is isolated.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The mechanism that keeps the processes of a command together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Mode {
    /// A guard and a PID namespace: nothing survives, whichever process dies.
    PidNamespace,
    /// Like `PidNamespace`, inside a user namespace that maps only the daemon's own user and group.
    UserNamespace,
    /// A guard: nothing survives unless daemon and guard are killed at the same moment. The
    /// processes that survive this are killed at the next start, by
    /// [`kill_leftovers`](super::kill_leftovers).
    Group,
    /// No guard. The command dies with the daemon; processes that it started may survive.
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

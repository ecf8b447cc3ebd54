//! [`Mode`]: how a command is isolated.

use std::fmt;

use serde::{Deserialize, Serialize};

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

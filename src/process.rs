//! Runs one command so that nothing it started survives it, its daemon, or its time limit.
//!
//! In: a [`Spec`]: a whole argument list, a folder, an environment. Out: chunks of the command's
//! output, and an [`Exit`]. This module knows no actor, and only [`CommandLine`] and [`logs`] know
//! packages.
//!
//! # How
//!
//! [`Guards::run`] starts a *guard*: this program, executed again, which [`guard_main`] turns into
//! a process that starts the command and outlives it. Daemon and guard share a socket. The order
//! goes to the guard, the report comes back, and an end of file tells either side that the other is
//! dead.
//!
//! - [`Mode::Group`]: the guard is a child subreaper, so that every orphan below the command
//!   becomes its child. When the command or the daemon ends, the guard stops, kills and reaps
//!   everything below it.
//! - [`Mode::PidNamespace`] and [`Mode::UserNamespace`]: the guard forks an *init*, the first
//!   process of a PID namespace, which starts the command. When an init dies, the kernel kills
//!   everything in its namespace, and an init dies with its guard. So nothing survives even if
//!   daemon and guard die at the same moment.
//! - [`Mode::Direct`]: there is no guard, because the program never called [`guard_main`]. The
//!   command itself dies with the daemon; processes that it started may survive.
//!
//! In a namespace, a command can also be confined to its own folder: a [`Reach`] names longshore's
//! folders, which are read-only for the command.
//!
//! **Invariant:** when [`Guards::run`] returns, nothing that the command started is alive, in every
//! mode but `Direct`. Processes that may not be killed are an error ([`ProcessError::Unkillable`]).
//! Every mode has one gap: a process that another daemon starts on the command's behalf (`at`,
//! `systemd-run`, a container engine) is not a descendant of the command.
//!
//! Source: `docs/decisions/0021-guards.md`, `docs/decisions/0030-what-a-command-can-change.md`.

mod child;
mod command;
mod descend;
mod direct;
mod error;
mod guard;
mod guards;
mod init;
mod isolation;
mod leftovers;
pub mod logs;
mod lookup;
mod mode;
mod order;
mod output;
mod pipe;
mod procfs;
mod reach;
mod register;
mod runner;
mod signals;
mod spec;

pub use command::CommandLine;
pub use error::{FirstLineFault, ProcessError, Step};
pub use guard::guard_main;
pub use guards::Guards;
pub use isolation::Isolated;
pub use leftovers::{Leftover, kill_leftovers, marked};
pub use lookup::check_command;
pub use mode::Mode;
pub use output::{Lines, LogFile, Tail};
pub use reach::Reach;
pub use spec::{Exit, MARK_VARIABLE, Mark, Spec};

//! Runs one command so that nothing it started survives it, its daemon, or its time limit.
//!
//! In: a [`Spec`]: a whole argument list, a folder, an environment. Out: chunks of what the command
//! prints, and an [`Exit`]. No actor is known here, and only [`CommandLine`] and [`logs`] know what a
//! package is.
//!
//! # How
//!
//! [`Guards::run`] starts a *guard*: this very program, executed again, which [`guard_main`] turns
//! into a process that starts the command and outlives it. Daemon and guard share a socket: what to
//! run goes in, how it ended comes out, and its end of file tells either that the other is dead.
//!
//! - [`Mode::Group`]: the guard is a child subreaper, so that every orphan below the command becomes
//!   its child. When the command or the daemon ends it stops, kills and reaps whatever is below it.
//! - [`Mode::PidNamespace`] and [`Mode::UserNamespace`]: the guard forks an *init*, the first process
//!   of a PID namespace, which starts the command. When an init dies the kernel kills all in its
//!   namespace, and an init dies with its guard. So even the death of daemon and guard at the same
//!   moment leaves nobody.
//! - [`Mode::Direct`]: no guard, in a program that never called [`guard_main`]. The command itself
//!   dies with the daemon; what it started may not.
//!
//! In a namespace a command can be kept to its own folder, too: a [`Reach`] names longshore's folders,
//! which are read-only for it.
//!
//! **Invariant:** when [`Guards::run`] returns, nothing that the command started is alive, in every
//! mode but `Direct`. One thing escapes each mode: a process that another daemon starts on the
//! command's behalf (`at`, `systemd-run`, a container engine); it is no descendant.
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

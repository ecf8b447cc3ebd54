//! The command line: one file a command.
//!
//! Data goes to stdout, messages to stderr, and what became of it into the exit code. Nothing here
//! panics on a closed pipe.

mod args;
mod by_hand;
mod demo;
mod explain;
mod logs;
mod machine;
mod progress;
mod run;
mod scheduling;
mod test;
mod unpack;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

use args::{Args, Command};

use crate::actors::supervisor::signals;

/// Exit codes: those of `sysexits.h` where it has one.
pub mod exit {
    /// Done; also after a stop that was asked for.
    pub const OK: u8 = 0;
    /// Ran, but a package failed under `--once`, a folder is not ready, or a ZIP is refused.
    pub const FAILED: u8 = 1;
    /// The command line makes no sense.
    pub const USAGE: u8 = 2;
    /// There is no such package, file or log.
    pub const NO_INPUT: u8 = 66;
    /// The pipeline would not stay up.
    pub const INTERNAL: u8 = 70;
    /// The machine gives this process too few threads or files.
    pub const MACHINE: u8 = 71;
    /// The file system refused, or nothing moved for `once_wait`.
    pub const IO: u8 = 74;
    /// A permission is missing.
    pub const PERMISSION: u8 = 77;
    /// The configuration cannot work.
    pub const CONFIG: u8 = 78;
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    // Without it such a limit ends the process, as the system has it by default.
    signals::survive_file_size_limit().ok();
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(help) => {
            // clap knows which of its messages are errors, and prints each where it belongs.
            help.print().ok();
            return ExitCode::from(if help.use_stderr() { exit::USAGE } else { exit::OK });
        }
    };
    let code = match args.command {
        Command::Run(command) => run::run(command),
        Command::Explain(command) => explain::run(&command),
        Command::Logs(command) => logs::run(&command),
        Command::Demo(command) => demo::run(&command),
        Command::Test(command) => test::run(&command),
        Command::Unpack(command) => unpack::run(&command),
    };
    ExitCode::from(code)
}

/// Prints a line to stderr; a closed pipe is no reason to fail.
fn complain(message: impl std::fmt::Display) {
    writeln!(io::stderr(), "longshore: {message}").ok();
}

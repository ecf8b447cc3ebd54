//! The command line: one file per command.
//!
//! Data goes to stdout, messages go to stderr, and the exit code tells the outcome. A closed pipe causes
//! no panic here.

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

/// Exit codes: those of `sysexits.h`, if it defines one.
pub mod exit {
    /// Success; also after a stop that was requested.
    pub const OK: u8 = 0;
    /// Ran, but a package failed under `--once`, a folder is not ready, or a ZIP is refused.
    pub const FAILED: u8 = 1;
    /// The command line is not valid.
    pub const USAGE: u8 = 2;
    /// The package, file or log does not exist.
    pub const NO_INPUT: u8 = 66;
    /// The pipeline could not be kept up.
    pub const INTERNAL: u8 = 70;
    /// The machine gives this process too few threads or files.
    pub const MACHINE: u8 = 71;
    /// An I/O operation failed, or nothing moved for `once_wait`.
    pub const IO: u8 = 74;
    /// A permission is missing.
    pub const PERMISSION: u8 = 77;
    /// The configuration cannot be used.
    pub const CONFIG: u8 = 78;
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    // Without this, exceeding the file size limit ends the process, which is the system's default.
    signals::survive_file_size_limit().ok();
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(help) => {
            // clap knows which of its messages are errors, and prints each to the right stream.
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

/// Prints a line to stderr; a closed pipe is no error.
fn complain(message: impl std::fmt::Display) {
    writeln!(io::stderr(), "longshore: {message}").ok();
}

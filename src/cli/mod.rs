//! The command line: one file per command.
//!
//! Data goes to stdout, messages go to stderr, and the exit code tells the outcome. A closed pipe causes
//! no panic here.

mod args;
mod by_hand;
mod complain;
mod demo;
pub mod exit;
mod explain;
mod logs;
mod machine;
mod progress;
mod run;
mod scheduling;
mod source;
mod test;
mod unpack;

use std::process::ExitCode;

use clap::Parser;

use args::{Args, Command};

use crate::actors::supervisor::signals;

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

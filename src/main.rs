//! The `longshore` binary: a thin shell over the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    longshore::cli::main()
}

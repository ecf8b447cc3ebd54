//! The `longshore` binary: a thin shell over the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    // First of all: started as the guard of a command, it is nothing else.
    longshore::process::guard_main();
    longshore::cli::main()
}

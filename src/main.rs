//! The `longshore` binary: a thin shell over the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Must be first: if this process was started as the guard of a command, this never returns.
    longshore::process::guard_main();
    longshore::cli::main()
}

//! Messages to a person, on stderr.

use std::io::{self, Write};

/// Prints a line to stderr; a closed pipe is no error.
pub(super) fn complain(message: impl std::fmt::Display) {
    writeln!(io::stderr(), "longshore: {message}").ok();
}

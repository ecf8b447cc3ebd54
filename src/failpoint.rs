//! Fail points: places where a test makes a step fail, or ends the process before the step.
//!
//! Every transition of a package and every commit of the ledger passes a fail point. Without the
//! feature `failpoints`, fail points do nothing. With it, the environment determines what happens,
//! in the syntax of the `fail` crate: `FAILPOINTS="rename:.out:.done=2*off->1*return(abort)"` ends
//! the process the third time, and `return(EIO)` makes the step fail with that error (`EACCES`,
//! `ENOSPC` or `EIO`). `LONGSHORE_FAILPOINTS_SEEN` names a file that gets a line for each point
//! that is passed, and a line with `!` for each that fired. Without this variable, no point fires.

/// Passes a fail point. `name` is called only if fail points are recorded.
///
/// # Errors
/// The error that a test has requested.
#[cfg(not(feature = "failpoints"))]
#[inline]
pub(crate) fn pass(_: impl FnOnce() -> String) -> std::io::Result<()> {
    Ok(())
}

#[cfg(feature = "failpoints")]
pub(crate) use armed::pass;

#[cfg(feature = "failpoints")]
mod armed {
    use std::fs::File;
    use std::io::{self, Write};
    use std::sync::OnceLock;

    use rustix::io::Errno;

    pub(crate) fn pass(name: impl FnOnce() -> String) -> io::Result<()> {
        static SEEN: OnceLock<Option<File>> = OnceLock::new();
        let seen = SEEN.get_or_init(|| {
            // Reads FAILPOINTS, which stays in effect for the whole life of the process.
            std::mem::forget(fail::FailScenario::setup());
            let path = std::env::var_os("LONGSHORE_FAILPOINTS_SEEN")?;
            File::options().append(true).create(true).open(path).ok()
        });
        let Some(mut seen) = seen.as_ref() else { return Ok(()) };
        let name = name();
        // Each line is a single write: several threads pass fail points at the same time.
        seen.write_all(format!("{name}\n").as_bytes())?;
        let Some(fault) = fail::eval(&name, |fault| fault.unwrap_or_default()) else {
            return Ok(());
        };
        seen.write_all(format!("!{name}\n").as_bytes())?;
        Err(match &*fault {
            "abort" => std::process::abort(),
            "EACCES" => Errno::ACCESS,
            "ENOSPC" => Errno::NOSPC,
            _ => Errno::IO,
        }
        .into())
    }
}

//! Fail points: where a test has a step fail, or ends the process before it.
//!
//! Every transition of a package and every commit of the ledger passes one. Without the feature
//! `failpoints` it is nothing at all. With it, the environment says what happens, in the syntax of the
//! `fail` crate: `FAILPOINTS="rename:.out:.done=2*off->1*return(abort)"` ends the process the third
//! time, `return(EIO)` has the step fail with that error. `LONGSHORE_FAILPOINTS_SEEN` names a file that
//! gets a line for each point that is passed, and one with a `!` for each that fired.

/// Passes a point; `name` is asked for only where somebody listens.
///
/// # Errors
/// Whatever a test has asked for.
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
            // Reads FAILPOINTS, and holds for the whole life of the process.
            std::mem::forget(fail::FailScenario::setup());
            let path = std::env::var_os("LONGSHORE_FAILPOINTS_SEEN")?;
            File::options().append(true).create(true).open(path).ok()
        });
        let Some(mut seen) = seen.as_ref() else { return Ok(()) };
        let name = name();
        // In one write each: several threads pass at a time.
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

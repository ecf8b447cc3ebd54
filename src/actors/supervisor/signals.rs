//! Signals, on a thread of their own.
//!
//! The first SIGTERM or SIGINT asks the Supervisor for a graceful stop. A second one, and SIGQUIT,
//! end the process from here, whatever the arbiters do: a thread that hangs in a dead file system
//! must not be able to keep the daemon alive.

use std::io;
use std::sync::Arc;

use actix::Recipient;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;
use slog::{Logger, info, warn};

use super::StopRequested;
use crate::actors::post::post;
use crate::messages::StopMode;

/// What is done on the signal thread before the process ends at once: it must not block on anything
/// that an arbiter holds.
pub type LastWords = Arc<dyn Fn() + Send + Sync>;

/// The exit code of a process that was ended by a signal at once, as shells count it.
#[must_use]
pub fn exit_code(signal: i32) -> i32 {
    128 + signal
}

/// Starts the thread. It lives as long as the process.
///
/// # Errors
/// Where the system refuses the handlers or the thread.
pub fn listen(
    stop: Recipient<StopRequested>,
    last_words: LastWords,
    log: Logger,
) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGQUIT, SIGHUP])?;
    let serve = move || {
        let mut asked = false;
        for signal in signals.forever() {
            match signal {
                SIGHUP => info!(log, "there is nothing to reload yet"; "signal" => "SIGHUP"),
                SIGQUIT => end_now(signal, &last_words, &log),
                _ if std::mem::replace(&mut asked, true) => end_now(signal, &last_words, &log),
                _ => {
                    let by = if signal == SIGINT { "SIGINT" } else { "SIGTERM" };
                    if !post(&stop, StopRequested { mode: StopMode::Graceful, by }) {
                        end_now(signal, &last_words, &log); // nobody is left to stop gracefully
                    }
                }
            }
        }
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(serve).map(drop)
}

fn end_now(signal: i32, last_words: &LastWords, log: &Logger) {
    warn!(log, "stopping at once; what is in work stays in the work area"; "signal" => signal);
    last_words();
    std::process::exit(exit_code(signal));
}

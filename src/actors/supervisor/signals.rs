//! Handles signals, on separate threads.
//!
//! The first SIGTERM or SIGINT asks the Supervisor for a graceful stop; so do SIGXCPU and SIGPWR. A
//! further SIGTERM or SIGINT, and SIGQUIT, make the signal thread end the process, whatever the arbiters
//! do. So does a graceful stop that is not over at its limit. A thread that hangs in a dead file system
//! cannot keep the daemon alive: another thread writes what the next start needs, and is waited for no
//! longer than 2 s.
//!
//! Signals that are sent by habit or by mistake, and would end the process, are logged and ignored. They
//! have handlers instead of the "ignore" disposition: `exec` resets a handler, so no command inherits
//! it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use actix::Recipient;
use nix::sys::signal::Signal;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGXCPU, SIGXFSZ};
use signal_hook::iterator::{Handle, Signals};
use slog::{Logger, debug, error, info, warn};

use super::StopRequested;
use crate::actors::post::post;
use crate::messages::StopMode;

/// How long writing the record of the stop, or the log, may take before the process ends without it.
const NOTE: Duration = Duration::from_secs(2);

/// Signals that have no meaning here, and would end the process.
const IGNORED: [i32; 6] = [
    Signal::SIGUSR1 as i32,
    Signal::SIGUSR2 as i32,
    Signal::SIGALRM as i32,
    Signal::SIGVTALRM as i32,
    Signal::SIGPROF as i32,
    Signal::SIGIO as i32,
];

/// An action that the signal thread runs for the pipeline. It may block.
pub type Action = Arc<dyn Fn() + Send + Sync>;

/// The actions of signals on a pipeline.
#[derive(Clone)]
pub struct StopActions {
    /// Receives the request for a graceful stop.
    pub stop: Recipient<StopRequested>,
    /// Kills the running commands; does not block.
    pub kill_commands: Action,
    /// Records that a stop was asked for.
    pub record_stopping: Action,
    /// Records that the run ended as requested.
    pub record_stopped: Action,
    /// Runs before the process ends at once; writes the rest of the log.
    pub before_exit: Option<Action>,
    /// How long a graceful stop may take before the process ends at once.
    pub limit: Duration,
}

impl std::fmt::Debug for StopActions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StopActions").field("limit", &self.limit).finish_non_exhaustive()
    }
}

/// Returns the exit code of a process that was ended at once by a signal, as shells count it.
#[must_use]
pub fn exit_code(signal: i32) -> i32 {
    128 + signal
}

/// Makes a write beyond the process's file size limit (`ulimit -f`) fail with `EFBIG`, which costs one
/// package, instead of ending the process.
///
/// # Errors
/// The system refuses the handler.
pub fn survive_file_size_limit() -> io::Result<()> {
    // Nothing reads the flag: all that is needed is a handler that returns.
    signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false))).map(drop)
}

/// The threads that handle signals. They live as long as the process.
#[derive(Debug)]
pub struct SignalThreads {
    handle: Handle,
    tell: Sender<Event>,
}

enum Event {
    Signal(i32),
    /// From now on signals stop this pipeline.
    Stops(StopActions),
}

impl SignalThreads {
    /// Starts the threads. Until [`SignalThreads::listen`] they only log the signals to ignore.
    ///
    /// # Errors
    /// The system refuses the handlers or the threads.
    pub fn start(log: Logger) -> io::Result<Self> {
        survive_file_size_limit()?;
        let mut signals = Signals::new(IGNORED)?;
        let handle = signals.handle();
        let (tell, events) = channel();
        let to = tell.clone();
        spawn("signals", move || {
            for signal in signals.forever() {
                if to.send(Event::Signal(signal)).is_err() {
                    return;
                }
            }
        })?;
        spawn("stop", move || Stopper::new(log).run(&events))?;
        Ok(Self { handle, tell })
    }

    /// Makes SIGTERM, SIGINT, SIGQUIT, SIGXCPU and SIGPWR stop a pipeline from now on.
    ///
    /// # Errors
    /// The system refuses the handlers.
    pub fn listen(&self, actions: StopActions) -> io::Result<()> {
        // The order matters: a signal must find its pipeline.
        self.tell.send(Event::Stops(actions)).map_err(|_| io::ErrorKind::BrokenPipe)?;
        for signal in [SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGXCPU, Signal::SIGPWR as i32] {
            self.handle.add_signal(signal)?;
        }
        Ok(())
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.to_owned()).spawn(work).map(drop)
}

/// Acts on signals.
struct Stopper {
    actions: Option<StopActions>,
    /// The signal that asked for a stop, and the limit of that stop.
    asked: Option<(i32, Instant)>,
    /// Ignored signals that were logged as warnings.
    told: Vec<i32>,
    log: Logger,
}

impl Stopper {
    fn new(log: Logger) -> Self {
        Self { actions: None, asked: None, told: Vec::new(), log }
    }

    fn run(mut self, events: &Receiver<Event>) {
        loop {
            let event = match self.asked {
                None => events.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some((_, limit)) => {
                    events.recv_timeout(limit.saturating_duration_since(Instant::now()))
                }
            };
            match (event, self.asked) {
                (Ok(Event::Stops(actions)), _) => self.actions = Some(actions),
                (Ok(Event::Signal(signal)), _) => self.take(signal),
                (Err(RecvTimeoutError::Timeout), Some((signal, _))) => {
                    error!(self.log, "the stop is not over at its limit, something hangs");
                    self.end_now(signal);
                }
                (Err(_), _) => return,
            }
        }
    }

    fn take(&mut self, signal: i32) {
        match signal {
            SIGHUP => info!(self.log, "there is nothing to reload yet"; "signal" => "SIGHUP"),
            SIGQUIT => self.end_now(signal),
            SIGTERM | SIGINT if self.asked.is_some() => self.end_now(signal),
            _ if IGNORED.contains(&signal) => self.ignore(signal),
            _ if self.asked.is_none() => self.stop(signal),
            // After the CPU time limit, SIGXCPU is repeated each second.
            _ => {}
        }
    }

    /// Warns once for each signal: a signal that a timer sends must not fill the log.
    fn ignore(&mut self, signal: i32) {
        if self.told.contains(&signal) {
            debug!(self.log, "signal ignored"; "signal" => name(signal));
        } else {
            self.told.push(signal);
            warn!(self.log, "signal ignored: it means nothing to longshore"; "signal" => name(signal));
        }
    }

    fn stop(&mut self, signal: i32) {
        let Some(actions) = &self.actions else { return };
        self.asked = Some((signal, Instant::now() + actions.limit));
        let record = Arc::clone(&actions.record_stopping);
        // If no thread can be created, the end of the stop is still recorded.
        spawn("stop-note", move || record()).ok();
        if signal == SIGXCPU {
            warn!(self.log, "the CPU time limit of this process (ulimit -t) is reached");
        }
        if !post(&actions.stop, StopRequested { mode: StopMode::Graceful, by: name(signal) }) {
            self.end_now(signal); // the Supervisor is gone: nothing could stop gracefully
        }
    }

    fn end_now(&self, signal: i32) {
        warn!(self.log, "stopping at once; what is in work stays in the work area"; "signal" => name(signal));
        if let Some(actions) = &self.actions {
            (actions.kill_commands)();
            within(NOTE, &actions.record_stopped);
            if let Some(last) = &actions.before_exit {
                within(NOTE, last);
            }
        }
        // Runs no destructors: a destructor that waits for a hanging thread would hang, too.
        signal_hook::low_level::exit(exit_code(signal));
    }
}

/// Runs an action that may block forever, and waits for it for at most `longest`.
fn within(longest: Duration, action: &Action) {
    let (done, is_done) = sync_channel(1);
    let action = Arc::clone(action);
    let started = spawn("stop-note", move || {
        action();
        done.send(()).ok(); // the action took too long, and nothing waits any longer
    });
    if started.is_ok() {
        is_done.recv_timeout(longest).ok();
    }
}

fn name(signal: i32) -> &'static str {
    Signal::try_from(signal).map_or("unknown", Signal::as_str)
}

//! Whether every actor still answers.
//!
//! The lifeline reports an actor that is gone. This module is about an actor that exists but hangs, in a
//! dead file system for example. The Supervisor reports that and waits: a restart would not revive the
//! file system.

use std::time::Duration;

use actix::Recipient;
use slog::{Logger, error, info};
use tokio::time::{Instant, timeout};

use crate::messages::{ActorHealth, Health, Ping};

/// How often each actor is pinged.
pub(super) const PACE: Duration = Duration::from_secs(10);
/// A silence that is reported.
const SILENCE: Duration = Duration::from_secs(60);

/// When each actor last answered.
#[derive(Default)]
pub(super) struct Pulses(Vec<Pulse>);

struct Pulse {
    name: String,
    actor: Recipient<Ping>,
    answered: Instant,
    reported: bool,
}

impl Pulses {
    pub(super) fn of(actors: &[(String, Recipient<Ping>)]) -> Self {
        let answered = Instant::now();
        let pulse = |(name, actor): &(String, Recipient<Ping>)| Pulse {
            name: name.clone(),
            actor: actor.clone(),
            answered,
            reported: false,
        };
        Self(actors.iter().map(pulse).collect())
    }

    /// Pings every actor, and returns for each whether it answered within the pace. Reports actors that
    /// have been silent for long.
    pub(super) fn ask(&mut self, log: &Logger) -> impl Future<Output = Vec<bool>> + use<> {
        for pulse in &mut self.0 {
            let silent = pulse.answered.elapsed();
            if silent >= SILENCE && !std::mem::replace(&mut pulse.reported, true) {
                error!(log, "an actor does not answer, the file system that it works on may hang";
                    "silent_for" => ?silent, "actor" => &pulse.name);
            }
        }
        let asked: Vec<_> =
            self.0.iter().map(|pulse| timeout(PACE / 2, pulse.actor.send(Ping))).collect();
        async move {
            let mut answers = Vec::new();
            for answer in asked {
                answers.push(matches!(answer.await, Ok(Ok(()))));
            }
            answers
        }
    }

    /// Records the answers. Ignores answers that do not fit the current actors: they are from before a
    /// restart.
    pub(super) fn note(&mut self, answers: &[bool], log: &Logger) {
        if answers.len() != self.0.len() {
            return;
        }
        for (pulse, _) in self.0.iter_mut().zip(answers).filter(|(_, answered)| **answered) {
            pulse.answered = Instant::now();
            if std::mem::take(&mut pulse.reported) {
                info!(log, "an actor answers again"; "actor" => &pulse.name);
            }
        }
    }

    pub(super) fn health(&self, restarts: usize) -> Health {
        let actor = |pulse: &Pulse| ActorHealth {
            name: pulse.name.clone(),
            silent_for: pulse.answered.elapsed(),
            hangs: pulse.answered.elapsed() >= SILENCE,
        };
        Health { actors: self.0.iter().map(actor).collect(), threads: Vec::new(), restarts }
    }
}

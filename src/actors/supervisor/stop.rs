//! Stops the actors of a pipeline in order, along the data flow.

use std::time::Duration;

use actix::Recipient;
use slog::{Logger, warn};
use tokio::time::timeout;

use super::peers::{Ended, Peers};
use crate::messages::{Shutdown, StopMode};

/// How long an idle actor may take to answer a stop.
const PATIENCE: Duration = Duration::from_secs(5);

const GRACEFUL: Shutdown = Shutdown { mode: StopMode::Graceful };
const NOW: Shutdown = Shutdown { mode: StopMode::Immediate };

/// Stops the Watchers first. Then nothing new comes, and the Dispatcher waits for what is in flight, for at
/// most the grace period. Then the Archiver commits what is not in the ledger yet.
pub(super) fn in_order(
    peers: &Peers,
    grace: Duration,
    log: Logger,
) -> impl Future<Output = Ended> + use<> {
    let (watchers, dispatcher) = (peers.watchers.clone(), peers.dispatcher.clone());
    let archiver = peers.archiver.clone();
    let (rest, ending) = (rest(peers), peers.ending.clone());
    async move {
        stop_watchers(&watchers, &log).await;
        let mut how = Ended::Drained;
        if let Some(dispatcher) = &dispatcher {
            let drained = timeout(grace, dispatcher.send(GRACEFUL)).await;
            ending.begin();
            if drained.is_err() {
                how = Ended::GraceOver;
            }
            // A Dispatcher that is gone counts as stopped.
            dispatcher.send(NOW).await.ok();
        }
        ending.begin();
        if let Some(archiver) = &archiver
            && timeout(PATIENCE, archiver.send(GRACEFUL)).await.is_err()
        {
            warn!(log, "settling takes longer, and goes on at the next start");
        }
        stop_rest(&rest, &log).await;
        how
    }
}

/// Ends what is left of a pipeline that lost an actor, and waits until no part of it works on the work
/// areas any longer.
///
/// The Archiver's jobs are settled first: one of them may be the package that caused the loss of the
/// actor, and its attempt has to be counted.
///
/// # Errors
/// A thread does not end: the work areas must not be recovered while it works on them.
pub(super) async fn for_restart(
    mut peers: Peers,
    grace: Duration,
    log: Logger,
) -> Result<(), String> {
    peers.ending.begin();
    stop_watchers(&peers.watchers, &log).await;
    for arbiter in &peers.arbiters {
        arbiter.stop();
    }
    if let Some(archiver) = &peers.archiver
        && timeout(grace, archiver.send(GRACEFUL)).await.is_err()
    {
        warn!(log, "settling takes longer than the grace");
    }
    if let Some(dispatcher) = &peers.dispatcher {
        dispatcher.send(NOW).await.ok(); // the Dispatcher may be the lost actor
    }
    stop_rest(&rest(&peers), &log).await;
    let released = peers.released.take();
    drop(peers); // a pool thread ends when no sender is left
    let Some(released) = released else {
        return Ok(());
    };
    // An error is as good as the message: its sender is gone.
    match timeout(grace, released).await {
        Ok(_) => Ok(()),
        Err(_) => Err(format!("a thread still works on a package after {grace:?}")),
    }
}

/// Returns every actor on this thread that can be told to stop.
pub(super) fn receivers(peers: &Peers) -> impl Iterator<Item = Recipient<Shutdown>> + use<> {
    let rest = rest(peers).into_iter().map(|(_, actor)| actor);
    peers.dispatcher.clone().into_iter().chain(rest)
}

fn rest(peers: &Peers) -> Vec<(&'static str, Recipient<Shutdown>)> {
    let processors = peers.processors.iter().map(|processor| ("processor", processor.clone()));
    let archiver = peers.archiver.iter().map(|archiver| ("archiver", archiver.clone()));
    processors.chain(archiver).chain(peers.rest.iter().cloned()).collect()
}

async fn stop_watchers(watchers: &[Recipient<Shutdown>], log: &Logger) {
    for watcher in watchers {
        // A Watcher that hangs in a dead file system is on its own arbiter, and is left behind.
        if timeout(PATIENCE, watcher.send(GRACEFUL)).await.is_err() {
            warn!(log, "a watcher does not answer, its landing may hang");
        }
    }
}

async fn stop_rest(rest: &[(&'static str, Recipient<Shutdown>)], log: &Logger) {
    for (name, actor) in rest {
        if timeout(PATIENCE, actor.send(NOW)).await.is_err() {
            warn!(log, "an actor does not stop"; "actor" => name);
        }
    }
}

//! Tests the Ledger through its messages.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc;
use std::time::SystemTime;

use actix::Addr;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;
use crate::id::{Digest, JobId, PackageName, SourceName};
use crate::ledger::{
    AttemptEntry, JobEntry, JobFilter, LedgerError, MemoryStore, Page, State, Store,
};
use crate::messages::{Fact, StopMode};

/// A store that reports the size of each write, accepts it only when allowed to, or fails when told to.
struct Gate {
    store: MemoryStore,
    told: tokio::sync::mpsc::UnboundedSender<usize>,
    go: mpsc::Receiver<bool>,
}

#[rustfmt::skip]
impl Store for Gate {
    fn record(&mut self, records: &[Record]) -> Result<(), LedgerError> {
        self.told.send(records.len()).unwrap();
        if self.go.recv().unwrap() {
            return self.store.record(records);
        }
        Err(LedgerError::Locked { path: "/ledger".into(), source: "as the test wants it".into() })
    }
    fn job(&mut self, job: JobId) -> Result<Option<JobEntry>, LedgerError> { self.store.job(job) }
    fn jobs_starting(&mut self, prefix: &str, limit: u32) -> Result<Vec<JobId>, LedgerError> { self.store.jobs_starting(prefix, limit) }
    fn jobs(&mut self, filter: &JobFilter, page: &Page) -> Result<Vec<JobEntry>, LedgerError> { self.store.jobs(filter, page) }
    fn attempts(&mut self, job: JobId) -> Result<Vec<AttemptEntry>, LedgerError> { self.store.attempts(job) }
    fn counts(&mut self, filter: &JobFilter) -> Result<BTreeMap<State, u64>, LedgerError> { self.store.counts(filter) }
    fn last_archived(&mut self, source: &SourceName, name: &PackageName) -> Result<Option<JobEntry>, LedgerError> { self.store.last_archived(source, name) }
    fn archived_alike(&mut self, source: &SourceName, name: &PackageName, bytes: u64, digest: Digest) -> Result<Vec<JobEntry>, LedgerError> { self.store.archived_alike(source, name, bytes, digest) }
    fn archived_names(&mut self, visit: &mut dyn FnMut(&str, &str)) -> Result<(), LedgerError> { self.store.archived_names(visit) }
    fn prune(&mut self, before: i64) -> Result<u64, LedgerError> { self.store.prune(before) }
    fn check(&mut self) -> Result<Vec<String>, LedgerError> { self.store.check() }
    fn backup(&mut self, to: &Path) -> Result<(), LedgerError> { self.store.backup(to) }
}

struct Stand {
    ledger: Addr<Ledger>,
    handle: LedgerHandle,
    told: UnboundedReceiver<usize>,
    go: mpsc::Sender<bool>,
}

fn stand(pause: Duration) -> Stand {
    let (tell, told) = unbounded_channel();
    let (go, gone) = mpsc::channel();
    let store = Gate { store: MemoryStore::new("n1"), told: tell, go: gone };
    let log = Logger::root(slog::Discard, slog::o!());
    let handle = LedgerHandle::with_pause(Box::new(store), pause, log.clone()).unwrap();
    let ledger = Ledger::new(handle.clone(), log, Lifeline::loose()).start();
    Stand { ledger, handle, told, go }
}

fn claimed(name: &str) -> PackageEvent {
    PackageEvent {
        at: SystemTime::now(),
        source: SourceName::default(),
        name: name.to_owned(),
        job: Some(JobId::generate()),
        attempt: 1,
        fact: Fact::Claimed,
    }
}

impl Stand {
    async fn stop(&mut self) {
        let shutdown = Shutdown { mode: StopMode::Graceful };
        self.ledger.send(shutdown).await.unwrap();
    }

    fn jobs(&self) -> u64 {
        let counts = self.handle.ask(|store| store.counts(&JobFilter::default())).unwrap();
        counts.values().sum()
    }
}

#[actix::test]
async fn ledger_told_much_while_it_writes_writes_that_in_one_transaction() {
    let mut stand = stand(Duration::from_secs(5));
    stand.ledger.send(claimed("first")).await.unwrap();
    assert_eq!(stand.told.recv().await, Some(1));
    for n in 0..100 {
        stand.ledger.send(claimed(&format!("p{n}"))).await.unwrap();
    }
    let mut landed = claimed("in the landing");
    (landed.job, landed.fact) = (None, Fact::Vanished);
    stand.ledger.send(landed).await.unwrap();
    stand.go.send(true).unwrap();
    assert_eq!(stand.told.recv().await, Some(100), "what gathered was not written at once");
    stand.go.send(true).unwrap();
    stand.stop().await;
    assert!(stand.told.try_recv().is_err(), "there were more than two transactions");
    assert_eq!(stand.jobs(), 101);
}

#[actix::test]
async fn ledger_asked_to_stop_answers_when_all_is_written() {
    let mut stand = stand(Duration::from_secs(5));
    stand.ledger.send(claimed("a")).await.unwrap();
    stand.told.recv().await.unwrap();
    stand.ledger.send(claimed("b")).await.unwrap();
    let shutdown = Shutdown { mode: StopMode::Graceful };
    let stopped = stand.ledger.send(shutdown);
    stand.go.send(true).unwrap();
    stand.go.send(true).unwrap();
    stopped.await.unwrap();
    assert_eq!(stand.jobs(), 2);
}

#[actix::test]
async fn ledger_that_failed_tries_again_by_itself_with_all_that_came_meanwhile() {
    let mut stand = stand(Duration::from_millis(20));
    stand.ledger.send(claimed("a")).await.unwrap();
    assert_eq!(stand.told.recv().await, Some(1));
    stand.ledger.send(claimed("b")).await.unwrap();
    stand.go.send(false).unwrap();
    assert_eq!(stand.told.recv().await, Some(2), "it did not try again with both");
    stand.go.send(true).unwrap();
    stand.stop().await;
    assert_eq!(stand.jobs(), 2);
}

#[actix::test]
async fn ledger_that_cannot_be_written_to_the_last_does_not_hold_up_the_stop() {
    let mut stand = stand(Duration::from_secs(3600));
    stand.ledger.send(claimed("a")).await.unwrap();
    stand.told.recv().await.unwrap();
    stand.go.send(false).unwrap();
    stand.go.send(false).unwrap();
    stand.stop().await;
    assert_eq!(stand.told.recv().await, Some(1), "it was not tried a last time");
    assert_eq!(stand.jobs(), 0);
}

//! [`LedgerHandle`]: one store for all threads of a pipeline. A failed ledger does not hold them up.
//!
//! **Invariants:** facts that could not be committed are kept, and committed before any others. A ledger
//! that cannot be written is reported once, with a loud line, and stops nothing. A name that was never
//! archived costs no disk access.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use slog::{Logger, debug, error, info, warn};

use super::error::LedgerError;
use super::record::{Ending, Record, Settlement, Step};
use super::store::Store;
use crate::error::{Chain, Failure};

const PAUSE: Duration = Duration::from_secs(5);

/// How many facts are kept for a ledger that cannot be written. Beyond that, single steps are dropped:
/// the settlements of the jobs matter, and they repeat most of the facts.
const KEPT: usize = 20_000;

/// A shared ledger; cheap to clone. Methods block unless their documentation says otherwise.
#[derive(Clone)]
pub struct LedgerHandle(Arc<Shared>);

struct Shared {
    books: Mutex<Books>,
    told: Mutex<Vec<Record>>,
    /// Hashes of source and name of all packages that were ever archived; a false hit costs one query.
    archived: RwLock<HashSet<u64>>,
    hasher: RandomState,
    pause: Duration,
    log: Logger,
}

struct Books {
    store: Box<dyn Store>,
    backlog: Vec<Record>,
    /// When it last failed; `None` while it works.
    failed: Option<Instant>,
}

impl LedgerHandle {
    /// Shares a store; reads the archived names from it.
    ///
    /// # Errors
    /// [`LedgerError`] if the store cannot be read.
    pub fn new(store: Box<dyn Store>, log: Logger) -> Result<Self, LedgerError> {
        Self::with_pause(store, PAUSE, log)
    }

    /// The same, with another pause after a failure.
    ///
    /// # Errors
    /// [`LedgerError`] if the store cannot be read.
    pub fn with_pause(
        mut store: Box<dyn Store>,
        pause: Duration,
        log: Logger,
    ) -> Result<Self, LedgerError> {
        let hasher = RandomState::new();
        let mut archived = HashSet::new();
        store.archived_names(&mut |source, name| {
            archived.insert(hasher.hash_one((source, name)));
        })?;
        archived.shrink_to_fit();
        let books = Mutex::new(Books { store, backlog: Vec::new(), failed: None });
        let told = Mutex::default();
        Ok(Self(Arc::new(Shared {
            books,
            told,
            archived: RwLock::new(archived),
            hasher,
            pause,
            log,
        })))
    }

    /// Queues a fact that is not urgent: it is committed with the next urgent ones, or by the next
    /// [`LedgerHandle::flush`]. Does not block.
    pub fn tell(&self, record: Record) {
        self.told().push(record);
    }

    /// Commits all queued facts; returns false as [`LedgerHandle::commit`] does.
    pub fn flush(&self) -> bool {
        self.try_commit(Vec::new(), true, false)
    }

    /// Like [`LedgerHandle::flush`], but also right after a failure: for the end of the process. Then moves the
    /// whole ledger into its one file.
    pub fn flush_at_last(&self) -> bool {
        let done = self.try_commit(Vec::new(), true, true);
        if done && let Err(error) = self.books().store.checkpoint() {
            // The ledger then consists of the file and its log beside it, which serves us as well.
            debug!(self.0.log, "the ledger could not be gathered in one file"; "why" => %Chain(&error));
        }
        done
    }

    /// Whether there is anything to flush. Does not block.
    #[must_use]
    pub fn has_told(&self) -> bool {
        !self.told().is_empty()
    }

    /// Commits facts, together with all that are queued or could not be committed before, in one
    /// transaction. Returns false if that failed, or failed a moment ago (see [`LedgerHandle::pause`]); then
    /// the facts are kept.
    pub fn commit(&self, records: Vec<Record>) -> bool {
        let hurry = !records.is_empty();
        self.try_commit(records, hurry, false)
    }

    fn try_commit(&self, mut records: Vec<Record>, with_told: bool, now: bool) -> bool {
        self.remember(&records);
        let mut books = self.books();
        if with_told {
            // The queued facts happened first.
            let mut told = std::mem::take(&mut *self.told());
            told.append(&mut records);
            records = told;
        }
        if books.backlog.is_empty() && records.is_empty() {
            return true;
        }
        if !books.backlog.is_empty() {
            let mut all = std::mem::take(&mut books.backlog);
            all.append(&mut records);
            records = all;
        }
        if !now && books.failed.is_some_and(|at| at.elapsed() < self.0.pause) {
            books.keep(records);
            return false;
        }
        match books.store.record(&records) {
            Ok(()) => {
                if let Some(remark) = books.store.take_remark() {
                    warn!(self.0.log, "{}", remark);
                }
                if books.failed.take().is_some() {
                    info!(self.0.log, "the ledger is written again"; "facts" => records.len());
                }
                true
            }
            Err(error) => {
                let why = Chain(&error).to_string();
                if books.failed.replace(Instant::now()).is_none() {
                    error!(self.0.log, "the ledger cannot be written; packages go on, and it is told \
                        of them later"; "why" => why, "code" => error.code());
                } else {
                    debug!(self.0.log, "the ledger can still not be written"; "why" => why);
                }
                books.keep(records);
                false
            }
        }
    }

    /// The pause after a failure: a try may take a second, during which threads wait.
    #[must_use]
    pub fn pause(&self) -> Duration {
        self.0.pause
    }

    /// Runs a query on the store.
    ///
    /// # Errors
    /// Those of the query.
    pub fn ask<T>(
        &self,
        question: impl FnOnce(&mut dyn Store) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        question(self.books().store.as_mut())
    }

    /// Whether a package of that source and name may have been archived. Never returns false for an archived
    /// name. Does not block, and costs no disk access.
    #[must_use]
    pub fn may_know(&self, source: &str, name: &str) -> bool {
        let hash = self.0.hasher.hash_one((source, name));
        self.0.archived.read().unwrap_or_else(PoisonError::into_inner).contains(&hash)
    }

    /// Logs that a query failed, and what was done instead.
    pub(super) fn complain(&self, error: &LedgerError, instead: &str) {
        let why = Chain(error).to_string();
        error!(self.0.log, "the ledger does not answer: {}", instead; "why" => why, "code" => error.code());
    }

    fn remember(&self, records: &[Record]) {
        let archived = records.iter().filter(|record| {
            let Step::Settled(Settlement { ending, .. }) = &record.step else { return false };
            matches!(ending, Ending::Archived { .. })
        });
        let mut known = None;
        for record in archived {
            let hash = self.0.hasher.hash_one((record.source.as_str(), record.name.as_str()));
            let write = || self.0.archived.write().unwrap_or_else(PoisonError::into_inner);
            known.get_or_insert_with(write).insert(hash);
        }
    }

    fn told(&self) -> MutexGuard<'_, Vec<Record>> {
        self.0.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Books {
    fn keep(&mut self, mut records: Vec<Record>) {
        if records.len() > KEPT {
            records.retain(|record| matches!(record.step, Step::Settled(_) | Step::Noted { .. }));
        }
        self.backlog = records;
    }
}

impl std::fmt::Debug for LedgerHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LedgerHandle").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::contract::{archived, fact};
    use crate::ledger::{JobFilter, MemoryStore, SqliteStore};

    fn discard() -> Logger {
        Logger::root(slog::Discard, slog::o!())
    }

    fn count(ledger: &LedgerHandle) -> u64 {
        let counts = ledger.ask(|store| store.counts(&JobFilter::default())).unwrap();
        counts.values().sum()
    }

    #[test]
    fn name_is_known_once_it_was_archived_in_this_run_or_before() {
        let mut store = MemoryStore::new("n1");
        store
            .record(&[fact("before", 0, archived("before")), fact("x", 0, Step::Claimed)])
            .unwrap();
        let ledger = LedgerHandle::new(Box::new(store), discard()).unwrap();
        assert!(ledger.may_know("default", "before"));
        assert!(!ledger.may_know("other", "before") && !ledger.may_know("default", "x"));
        assert!(ledger.commit(vec![fact("now", 0, archived("now"))]));
        assert!(ledger.may_know("default", "now"));
    }

    #[test]
    fn facts_of_a_locked_ledger_are_kept_and_committed_when_it_is_free() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.sqlite");
        let store = SqliteStore::open(&path, "n1").unwrap();
        let other = rusqlite::Connection::open(&path).unwrap();
        let ledger = LedgerHandle::new(Box::new(store), discard()).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        assert!(!ledger.commit(vec![fact("a", 0, archived("a"))]), "it was locked");
        let since = Instant::now();
        assert!(!ledger.commit(vec![fact("b", 0, archived("b"))]));
        assert!(since.elapsed() < Duration::from_millis(500), "the second one waited, too");
        assert!(ledger.may_know("default", "b"), "a name is known before it is written");
        other.execute_batch("ROLLBACK").unwrap();
        ledger.tell(fact("c", 0, archived("c")));
        assert!(ledger.flush_at_last());
        assert_eq!(count(&ledger), 3);
        assert!(ledger.commit(Vec::new()), "there is nothing left to tell");
    }
}

//! The ledger: the record of every package and every attempt.
//!
//! In: [`Record`]s. Out: [`JobEntry`] and [`AttemptEntry`], for whoever asks what became of a
//! package, and for the comparison of a name that comes again.
//!
//! A [`Store`] keeps it; [`sqlite`] is the one that there is, and `contract` the suite that every one
//! must pass.
//!
//! **Invariants:** it is history, never state: losing it loses no package, and where it and the work
//! area disagree about work, the work area is right. Nothing in [`Store`] speaks of SQL, and every
//! method blocks: call none on an arbiter.
//!
//! **Several nodes** (not built): a store that nodes share needs claims and leases as well: who works
//! on which job, until when. They are to be two more methods here (take a lease, renew it) and a table
//! of their own, keyed by job; entries carry their node from the start so that nothing else changes.

#[cfg(test)]
mod contract;
mod entry;
mod error;
mod handle;
#[cfg(any(test, feature = "testkit"))]
mod memory;
mod query;
mod record;
mod redelivery;
pub mod sqlite;

use std::collections::BTreeMap;
use std::path::Path;

pub use entry::{AttemptEnd, AttemptEntry, JobEntry, State, UnknownState};
pub use error::{Cause, LedgerError};
pub use handle::LedgerHandle;
#[cfg(any(test, feature = "testkit"))]
pub use memory::MemoryStore;
pub use query::{JobFilter, NamePattern, Page};
pub use record::{Ending, Record, Settlement, Step, unix_ms};
pub use redelivery::{compare, confirm, zip_facts};
pub use sqlite::SqliteStore;

use crate::id::{Digest, JobId, PackageName, SourceName};

/// Keeps the ledger. Every method blocks, and fails with the [`LedgerError`] that tells why the store
/// cannot be used.
pub trait Store: Send {
    /// Takes facts, all of them or none. What is known already changes nothing.
    ///
    /// # Errors
    /// [`LedgerError`]: none was taken, and all can be told again.
    fn record(&mut self, records: &[Record]) -> Result<(), LedgerError>;

    /// Gathers what was recorded where it is kept for good, at the end of a run.
    ///
    /// # Errors
    /// [`LedgerError`]: nothing is lost.
    fn checkpoint(&mut self) -> Result<(), LedgerError> {
        Ok(())
    }

    /// What a person should hear of it since the last time; mostly `None`.
    fn take_remark(&mut self) -> Option<&'static str> {
        None
    }

    /// One job.
    ///
    /// # Errors
    /// [`LedgerError`].
    fn job(&mut self, job: JobId) -> Result<Option<JobEntry>, LedgerError>;

    /// Jobs whose id begins with `prefix`, oldest first, at most `limit`: two tell that the prefix is
    /// not enough.
    ///
    /// # Errors
    /// [`LedgerError`].
    fn jobs_starting(&mut self, prefix: &str, limit: u32) -> Result<Vec<JobId>, LedgerError>;

    /// Jobs, newest first.
    ///
    /// # Errors
    /// [`LedgerError`].
    fn jobs(&mut self, filter: &JobFilter, page: &Page) -> Result<Vec<JobEntry>, LedgerError>;

    /// All attempts at a job, in their order.
    ///
    /// # Errors
    /// [`LedgerError`].
    fn attempts(&mut self, job: JobId) -> Result<Vec<AttemptEntry>, LedgerError>;

    /// How many jobs there are in each state; states without any are left out.
    ///
    /// # Errors
    /// [`LedgerError`].
    fn counts(&mut self, filter: &JobFilter) -> Result<BTreeMap<State, u64>, LedgerError>;

    /// The package of that source and name that was archived last.
    ///
    /// # Errors
    /// [`LedgerError`].
    fn last_archived(
        &mut self,
        source: &SourceName,
        name: &PackageName,
    ) -> Result<Option<JobEntry>, LedgerError>;

    /// Archived packages of that source and name with this size and digest, newest first.
    ///
    /// # Errors
    /// [`LedgerError`].
    fn archived_alike(
        &mut self,
        source: &SourceName,
        name: &PackageName,
        zip_bytes: u64,
        digest: Digest,
    ) -> Result<Vec<JobEntry>, LedgerError>;

    /// Visits source and name of every archived package, in no order; more than once where there are
    /// revisions.
    ///
    /// # Errors
    /// [`LedgerError`]; some may have been visited.
    fn archived_names(&mut self, visit: &mut dyn FnMut(&str, &str)) -> Result<(), LedgerError>;

    /// Forgets jobs that were settled before this time (ms since 1970), with their attempts; the
    /// answer is how many. Jobs in work stay, however old.
    ///
    /// # Errors
    /// [`LedgerError`]; some may be forgotten already.
    fn prune(&mut self, settled_before_ms: i64) -> Result<u64, LedgerError>;

    /// Looks the whole store over; one line for each thing that is wrong, none where all is well.
    ///
    /// # Errors
    /// [`LedgerError`].
    fn check(&mut self) -> Result<Vec<String>, LedgerError>;

    /// Copies the store to a file that is not there yet, while others go on using it.
    ///
    /// # Errors
    /// [`LedgerError::BackupExists`], and [`LedgerError::Unsupported`] where the store is no file.
    fn backup(&mut self, to: &Path) -> Result<(), LedgerError>;
}

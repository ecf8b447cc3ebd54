//! [`Store`]: what keeps a ledger.

use std::collections::BTreeMap;
use std::path::Path;

use super::entry::{AttemptEntry, JobEntry, State};
use super::error::LedgerError;
use super::query::{JobFilter, Page};
use super::record::Record;
use crate::id::{Digest, JobId, PackageName, SourceName};

/// Keeps the ledger. Every method blocks, and fails with a [`LedgerError`] that says why the store
/// cannot be used.
pub trait Store: Send {
    /// Records facts, all of them or none. A known fact changes nothing.
    ///
    /// # Errors
    /// [`LedgerError`]: no fact was recorded, and all can be recorded again.
    fn record(&mut self, records: &[Record]) -> Result<(), LedgerError>;

    /// Moves the recorded facts to their permanent place, at the end of a run.
    ///
    /// # Errors
    /// [`LedgerError`]: nothing is lost.
    fn checkpoint(&mut self) -> Result<(), LedgerError> {
        Ok(())
    }

    /// Returns a new remark for the operator; `None` if there is none since the last call.
    fn take_remark(&mut self) -> Option<&'static str> {
        None
    }

    /// Returns one job.
    ///
    /// # Errors
    /// [`LedgerError`].
    fn job(&mut self, job: JobId) -> Result<Option<JobEntry>, LedgerError>;

    /// Returns jobs whose id starts with `prefix`, oldest first, at most `limit`. Two of them show that the
    /// prefix is ambiguous.
    ///
    /// # Errors
    /// [`LedgerError`].
    fn jobs_starting(&mut self, prefix: &str, limit: u32) -> Result<Vec<JobId>, LedgerError>;

    /// Returns jobs, newest first.
    ///
    /// # Errors
    /// [`LedgerError`].
    fn jobs(&mut self, filter: &JobFilter, page: &Page) -> Result<Vec<JobEntry>, LedgerError>;

    /// Returns all attempts at a job, in their order.
    ///
    /// # Errors
    /// [`LedgerError`].
    fn attempts(&mut self, job: JobId) -> Result<Vec<AttemptEntry>, LedgerError>;

    /// Returns the number of jobs in each state; states without jobs are left out.
    ///
    /// # Errors
    /// [`LedgerError`].
    fn counts(&mut self, filter: &JobFilter) -> Result<BTreeMap<State, u64>, LedgerError>;

    /// Returns the package of that source and name that was archived last.
    ///
    /// # Errors
    /// [`LedgerError`].
    fn last_archived(
        &mut self,
        source: &SourceName,
        name: &PackageName,
    ) -> Result<Option<JobEntry>, LedgerError>;

    /// Returns archived packages of that source and name with this size and digest, newest first.
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

    /// Visits source and name of every archived package, in no order; repeatedly if there are
    /// revisions.
    ///
    /// # Errors
    /// [`LedgerError`]; some may have been visited.
    fn archived_names(&mut self, visit: &mut dyn FnMut(&str, &str)) -> Result<(), LedgerError>;

    /// Deletes the entries of jobs that were settled before this time (ms since 1970), with their attempts.
    /// Returns their number. Jobs in work stay, however old.
    ///
    /// # Errors
    /// [`LedgerError`]; some may be deleted already.
    fn prune(&mut self, settled_before_ms: i64) -> Result<u64, LedgerError>;

    /// Checks the whole store; returns one line for each defect, and an empty list if there is none.
    ///
    /// # Errors
    /// [`LedgerError`].
    fn check(&mut self) -> Result<Vec<String>, LedgerError>;

    /// Copies the store to a file that does not exist yet, while others continue to use it.
    ///
    /// # Errors
    /// [`LedgerError::BackupExists`], and [`LedgerError::Unsupported`] if the store is not a file.
    fn backup(&mut self, to: &Path) -> Result<(), LedgerError>;
}

//! [`MemoryStore`]: a ledger in memory, for tests.

use std::collections::BTreeMap;
use std::path::Path;

use super::entry::{AttemptEntry, JobEntry, State};
use super::error::LedgerError;
use super::query::{JobFilter, Page};
use super::record::Record;
use super::store::Store;
use crate::id::{Digest, JobId, PackageName, SourceName};

/// A ledger without a file.
#[derive(Debug, Default)]
pub struct MemoryStore {
    node: String,
    jobs: BTreeMap<JobId, JobEntry>,
    attempts: BTreeMap<(JobId, u32), AttemptEntry>,
    transactions: u64,
}

impl MemoryStore {
    /// Creates an empty ledger, whose entries carry `node`.
    #[must_use]
    pub fn new(node: &str) -> Self {
        Self { node: node.to_owned(), ..Self::default() }
    }

    /// How often [`Store::record`] was called.
    #[must_use]
    pub fn transactions(&self) -> u64 {
        self.transactions
    }
}

impl Store for MemoryStore {
    fn record(&mut self, records: &[Record]) -> Result<(), LedgerError> {
        self.transactions += 1;
        for record in records {
            let id = record.job;
            let job = self.jobs.entry(id).or_insert_with(|| JobEntry::new(&self.node, record));
            let key = (id, record.attempt);
            let new = || AttemptEntry::new(id, record.attempt);
            job.take(self.attempts.entry(key).or_insert_with(new), record);
        }
        Ok(())
    }

    fn job(&mut self, job: JobId) -> Result<Option<JobEntry>, LedgerError> {
        Ok(self.jobs.get(&job).cloned())
    }

    fn jobs_starting(&mut self, prefix: &str, limit: u32) -> Result<Vec<JobId>, LedgerError> {
        let jobs = self.jobs.keys().filter(|job| job.to_string().starts_with(prefix));
        Ok(jobs.take(limit as usize).copied().collect())
    }

    fn jobs(&mut self, filter: &JobFilter, page: &Page) -> Result<Vec<JobEntry>, LedgerError> {
        let older = |job: &&JobEntry| page.before.is_none_or(|before| job.job < before);
        let jobs = self.jobs.values().rev().filter(older).filter(|job| filter.admits(job));
        Ok(jobs.take(page.limit as usize).cloned().collect())
    }

    fn attempts(&mut self, job: JobId) -> Result<Vec<AttemptEntry>, LedgerError> {
        let attempts = self.attempts.range((job, 0)..=(job, u32::MAX));
        Ok(attempts.map(|(_, attempt)| attempt.clone()).collect())
    }

    fn counts(&mut self, filter: &JobFilter) -> Result<BTreeMap<State, u64>, LedgerError> {
        let mut counts = BTreeMap::new();
        for job in self.jobs.values().filter(|job| filter.admits(job)) {
            *counts.entry(job.state).or_default() += 1;
        }
        Ok(counts)
    }

    fn last_archived(
        &mut self,
        source: &SourceName,
        name: &PackageName,
    ) -> Result<Option<JobEntry>, LedgerError> {
        Ok(self.archived(source, name).next().cloned())
    }

    fn archived_alike(
        &mut self,
        source: &SourceName,
        name: &PackageName,
        zip_bytes: u64,
        digest: Digest,
    ) -> Result<Vec<JobEntry>, LedgerError> {
        let alike = |job: &&JobEntry| {
            job.zip.as_ref().is_some_and(|zip| zip.zip_bytes == zip_bytes && zip.digest == digest)
        };
        Ok(self.archived(source, name).filter(alike).cloned().collect())
    }

    fn archived_names(&mut self, visit: &mut dyn FnMut(&str, &str)) -> Result<(), LedgerError> {
        for job in self.jobs.values().filter(|job| job.state == State::Archived) {
            visit(job.source.as_str(), job.name.as_str());
        }
        Ok(())
    }

    fn prune(&mut self, settled_before_ms: i64) -> Result<u64, LedgerError> {
        let before = self.jobs.len();
        let old = |job: &JobEntry| {
            job.state.is_settled() && job.settled_ms.is_some_and(|at| at < settled_before_ms)
        };
        self.jobs.retain(|_, job| !old(job));
        let left = &self.jobs;
        self.attempts.retain(|(job, _), _| left.contains_key(job));
        Ok((before - self.jobs.len()) as u64)
    }

    fn check(&mut self) -> Result<Vec<String>, LedgerError> {
        let jobs = &self.jobs;
        let strays = self.attempts.keys().filter(|(job, _)| !jobs.contains_key(job));
        Ok(strays.map(|(job, attempt)| format!("attempt {attempt} of no job {job}")).collect())
    }

    fn backup(&mut self, _: &Path) -> Result<(), LedgerError> {
        let (what, remedy) = ("back it up", "it ends with its process");
        Err(LedgerError::Unsupported { what, remedy })
    }
}

impl MemoryStore {
    /// Returns archived jobs, newest first.
    fn archived<'a>(
        &'a self,
        source: &'a SourceName,
        name: &'a PackageName,
    ) -> impl Iterator<Item = &'a JobEntry> {
        self.jobs.values().rev().filter(move |job| {
            job.state == State::Archived && job.source == *source && job.name == *name
        })
    }
}

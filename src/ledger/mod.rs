//! The ledger: the record of every package and every attempt.
//!
//! In: [`Record`]s. Out: [`JobEntry`] and [`AttemptEntry`], for queries about a package, and for the
//! comparison of a name that was delivered again.
//!
//! A [`Store`] keeps it. [`sqlite`] is the only production store, and `contract` is the test suite that
//! every store must pass.
//!
//! **Invariants:** it is history, never state: losing it loses no package, and where it and the work
//! area disagree about work, the work area is right. Nothing in [`Store`] is specific to SQL, and every
//! method blocks: call none on an arbiter.
//!
//! **Several nodes** (not built): a store that nodes share also needs claims and leases: which node works
//! on which job, until when. They are to be two more methods here (take a lease, renew it) and a table
//! of their own, keyed by job. Entries carry their node from the start so that nothing else changes.

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
mod store;

pub use entry::{AttemptEnd, AttemptEntry, JobEntry, State, UnknownState};
pub use error::{Cause, LedgerError};
pub use handle::LedgerHandle;
#[cfg(any(test, feature = "testkit"))]
pub use memory::MemoryStore;
pub use query::{JobFilter, NamePattern, Page};
pub use record::{Ending, Record, Settlement, Step, unix_ms};
pub use redelivery::{compare, confirm, zip_facts};
pub use sqlite::SqliteStore;
pub use store::Store;

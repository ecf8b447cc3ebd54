//! The decision about a job and its reason: [`Decision`], and `reason.json` for those in quarantine.

use std::error::Error;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::JobDir;
use crate::error::{Chain, Failure};
use crate::id::{JobId, PackageName, SourceName};
use crate::package::ZipStamp;

/// A job that is ready to be settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settling {
    /// The job's folder.
    pub job: JobDir,
    /// The decision about it.
    pub decision: Decision,
}

/// The decision about a job. A job that is already further on its way continues from there,
/// regardless of the decision.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decision {
    /// Move it into the archive.
    Archive {
        /// The ZIP as extraction saw it; compared if it is known.
        stamp: Option<ZipStamp>,
        /// The job passed through no stage: what was unpacked is verified, and still in `.out`.
        untouched: bool,
    },
    /// Move it into quarantine.
    Quarantine(Box<Reason>),
    /// Delete it: an identical delivery, under `identical = "discard"`.
    Discard,
    /// Continue as its folder says, after a restart.
    Resume,
}

/// `reason.json`: why a package is in quarantine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Reason {
    /// Version of this record: 1.
    pub v: u32,
    /// The job.
    #[serde(with = "id_text")]
    pub id: JobId,
    /// Its source.
    pub source: SourceName,
    /// The package's full name; the name of its folder may be cut.
    pub name: PackageName,
    /// The attempt that failed; counted from 1.
    pub attempt: u32,
    /// How often the daemon ended uncleanly while it was active.
    pub crashes: u32,
    /// The error's code.
    pub code: String,
    /// The error and its causes on one line; completes "failed to …".
    pub message: String,
    /// The error, then its causes, outermost first.
    pub chain: Vec<String>,
    /// When it was decided, in UTC.
    pub at: jiff::Timestamp,
    /// The notes of stages, in the order in which they were made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<(String, String)>,
    /// The last lines of output of the package's command, if a command failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub output: Vec<String>,
    /// The path of the rest of the package, for files that arrived after it was archived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archived: Option<PathBuf>,
}

impl Reason {
    /// Records why `job` goes to quarantine, with the current time.
    #[must_use]
    pub fn new(
        source: &SourceName,
        job: &JobDir,
        error: &dyn Failure,
        notes: &[(String, String)],
    ) -> Self {
        let mut chain = vec![error.to_string()];
        let mut cause = error.source();
        while let Some(next) = cause {
            chain.push(next.to_string());
            cause = next.source();
        }
        Self {
            v: 1,
            id: job.id(),
            source: source.clone(),
            name: job.name().clone(),
            attempt: job.attempt(),
            crashes: job.crashes(),
            code: error.code().to_owned(),
            message: Chain(as_error(error)).to_string(),
            chain,
            at: jiff::Timestamp::now(),
            notes: notes.to_vec(),
            output: error.output().to_vec(),
            archived: None,
        }
    }

    /// Creates a substitute for a record that a power loss left empty.
    pub(crate) fn unreadable(job: &JobDir) -> Self {
        Self {
            v: 1,
            id: job.id(),
            source: SourceName::default(),
            name: job.name().clone(),
            attempt: job.attempt(),
            crashes: job.crashes(),
            code: "unknown".to_owned(),
            message: "keep the reason: reason.json cannot be read".to_owned(),
            chain: Vec::new(),
            at: jiff::Timestamp::now(),
            notes: Vec::new(),
            output: Vec::new(),
            archived: None,
        }
    }
}

fn as_error(error: &dyn Failure) -> &(dyn Error + 'static) {
    error
}

/// Serializes a job's id as its 26 characters.
mod id_text {
    use serde::{Deserialize, Deserializer, Serializer, de};

    use crate::id::JobId;

    pub(super) fn serialize<S: Serializer>(id: &JobId, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(id)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<JobId, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

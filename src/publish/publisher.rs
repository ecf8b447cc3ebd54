//! A publisher of the embedding program, which takes packages in place of the archive; and the protocol
//! around it, so that no crash loses a package.
//!
//! ```text
//! work/SOURCE/JOB.A.C/.final     complete, and no publisher has confirmed that it took it
//! work/SOURCE/JOB.A.C/.copied    the publisher has it; `.copy.json` says where
//! ```
//!
//! **Invariant:** the record is on disk before `.final` becomes `.copied`, and `.copied` exists before a
//! byte of the package is removed. If the process is killed before the record, the job is handed over
//! again.

use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use super::cleanup::clear;
use super::copy::sync_folder;
use super::error::PublishError;
use super::{Settled, home_of};
use crate::config::Durability;
use crate::folder::Folder;
use crate::id::{JobId, PackageName, SourceName};
use crate::names::{COPIED, COPY, FINAL};
use crate::workspace::{CopyRecord, JobDir, Site, WorkspaceError};

/// Why a publisher did not accept a package.
pub type Refusal = Box<dyn Error + Send + Sync>;

/// Takes packages in place of the archive: into an object store, a database, another folder.
///
/// It is called on a thread where it may block, for one package at a time on each of at most two
/// threads, after the package has passed all stages.
///
/// **At least once:** if the process dies after a package was taken and before that is recorded,
/// the same job is offered again. [`Delivery::job`] is the same each time: use it as the key if a
/// package must not be taken twice.
///
/// ```no_run
/// use longshore::{Config, Delivery, Pipeline, Publish, Refusal, Source, SourceName};
/// use std::path::PathBuf;
///
/// struct Shelf;
///
/// impl Publish for Shelf {
///     fn publish(&self, delivery: &Delivery<'_>) -> Result<PathBuf, Refusal> {
///         let to = PathBuf::from("/srv/shelf").join(delivery.job.to_string());
///         let mut cp = std::process::Command::new("cp");
///         if !cp.arg("-rT").arg(delivery.folder).arg(&to).status()?.success() {
///             return Err("cp failed".into());
///         }
///         Ok(to)
///     }
/// }
///
/// let source = Source::new(SourceName::default(), "/srv/landing", "/srv/archive");
/// let pipeline = Pipeline::builder(Config::new(source)).publisher(Shelf);
/// ```
pub trait Publish: Send + Sync {
    /// Takes a package, and returns its new place: a path, or any other text that identifies it. The log,
    /// the events and the ledger report it. The folder may be read and changed; it is removed after the
    /// call.
    ///
    /// # Errors
    /// The package stays in the work area and is offered again until the publisher accepts it: after 5 s at
    /// first, then at growing intervals of up to `backoff_max`. Defects of a package are for a stage to
    /// find. A panic counts as an error.
    fn publish(&self, delivery: &Delivery<'_>) -> Result<PathBuf, Refusal>;
}

impl<T: Publish + ?Sized> Publish for std::sync::Arc<T> {
    fn publish(&self, delivery: &Delivery<'_>) -> Result<PathBuf, Refusal> {
        (**self).publish(delivery)
    }
}

/// A package on its way to a [`Publish`].
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Delivery<'a> {
    /// The source of the package.
    pub source: &'a SourceName,
    /// The package's name.
    pub name: &'a PackageName,
    /// The package's job; the same if it is offered again.
    pub job: JobId,
    /// The folder as it would be archived: the contents, with `NAME.zip` and the other originals
    /// beside them; absolute.
    pub folder: &'a Path,
}

/// Whether a publisher has taken a job, or is to take it.
pub(super) fn has_or_gets(job: &JobDir, publisher: Option<&dyn Publish>) -> bool {
    let Ok(home) = job.open() else { return publisher.is_some() };
    match CopyRecord::read(&home) {
        Ok(Some(record)) if record.published().is_some() => true,
        // It was copied to an archive by an earlier run that had no publisher.
        Ok(Some(_)) if home.has(COPIED).unwrap_or(false) => false,
        _ => publisher.is_some(),
    }
}

/// Hands a job's package over, or continues after that was done.
pub(super) fn hand_over(
    site: &Site,
    job: JobDir,
    publisher: Option<&dyn Publish>,
) -> Result<Settled, PublishError> {
    let home = home_of(&job)?;
    let failed = |action| WorkspaceError::io(action, job.path());
    if !home.has(COPIED).map_err(failed("look into"))? {
        let Some(publisher) = publisher else {
            return Err(PublishError::CopyUnknown { job: job.id() }); // cannot happen: the caller has checked it
        };
        offer(site, &job, &home, publisher)?;
    }
    let record = CopyRecord::read(&home).map_err(failed("read the record in"))?;
    let Some(path) = record.and_then(|record| record.published()) else {
        home.rename(COPIED, &home, FINAL, None).map_err(failed("unmark"))?;
        return Err(PublishError::CopyUnknown { job: job.id() });
    };
    clear(&home, COPIED);
    Ok(Settled::Archived { path, job })
}

fn offer(
    site: &Site,
    job: &JobDir,
    home: &Folder,
    publisher: &dyn Publish,
) -> Result<(), PublishError> {
    let (final_, source) = (job.final_(), site.source());
    let delivery =
        Delivery { source: &source.name, name: job.name(), job: job.id(), folder: &final_ };
    let taken = catch_unwind(AssertUnwindSafe(|| publisher.publish(&delivery)));
    let path = taken
        .unwrap_or_else(|_| Err("it panicked; the log has its message".into()))
        .map_err(|source| PublishError::Publisher { name: job.name().clone(), source })?;
    let record = home.join(COPY);
    let failed = |action| WorkspaceError::io(action, &record);
    CopyRecord::handed_over(job, &path).write(home).map_err(failed("write"))?;
    if source.durability == Durability::Batch {
        home.open_file(COPY).and_then(|file| file.sync_all()).map_err(failed("sync"))?;
        sync_folder(home).map_err(|error| failed("sync")(error.into()))?;
    }
    Ok(home.rename(FINAL, home, COPIED, None).map_err(WorkspaceError::io("mark", final_))?)
}

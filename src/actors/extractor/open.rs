//! The start of an attempt: claims, judges and plans the package, and cuts it into slices.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::sync::Arc;

use slog::warn;
use thiserror::Error;

use super::bench::Bench;
use super::job::{Job, Ticket};
use crate::actors::post::post;
use crate::error::{Disposition, Failure};
use crate::extract::{Options, Plan, Unpacking};
use crate::id::JobId;
use crate::ledger;
use crate::messages::{ExtractReport, Fact, JobSpec, Rejected, SliceWork, Unpacked};
use crate::package::{Package, PackageFacts};
use crate::progress::{Progress, Steps};
use crate::publish::PublishError;
use crate::workspace::{
    Amount, Begun, ClaimError, JobDir, OpenHome, Reservation, Site, Target, WorkspaceError,
    transient,
};

/// Unpacked bytes of one slice. Small enough to share the pool fairly among packages in work, and large
/// enough that the cost of dealing a slice is negligible.
const SLICE_BYTES: u64 = 16 << 20;

/// Entries of one slice: creating this many files takes about as long as writing `SLICE_BYTES`.
const SLICE_ENTRIES: usize = 512;

/// Why a package is not unpacked although its ZIP may be intact. Completes "failed to …".
#[derive(Debug, Error)]
#[non_exhaustive]
pub(super) enum OpenError {
    /// An entry has the name of a file that was delivered beside the ZIP, or of the ZIP itself.
    #[error("unpack entry {entry:?}: a file of that name was delivered beside the ZIP")]
    EntryOverOriginal {
        /// The entry's first path component.
        entry: String,
    },
    /// The ZIP cannot be read to its end.
    #[error("read {path:?}")]
    Hash {
        /// The ZIP.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The output folder was created but cannot be opened.
    #[error("open {path:?}")]
    Output {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

impl Failure for OpenError {
    fn code(&self) -> &'static str {
        match self {
            Self::EntryOverOriginal { .. } => "entry_over_original",
            Self::Hash { .. } => "read_zip",
            Self::Output { .. } => "output",
        }
    }

    fn disposition(&self) -> Disposition {
        match self {
            Self::EntryOverOriginal { .. } => Disposition::Quarantine,
            Self::Output { source, .. } | Self::Hash { source, .. } => transient(source),
        }
    }
}

/// Starts an attempt and returns how it went; rejects a package that cannot continue.
pub(super) fn open(bench: &Arc<Bench>, spec: &JobSpec, progress: &Progress) -> ExtractReport {
    let job = spec.id;
    let nothing = ExtractReport::Planned { job, bytes: 0, slices: Vec::new() };
    let Some(site) = bench.sites.get(&spec.source) else {
        return ExtractReport::Vanished { job }; // impossible: the site's Watcher offered it
    };
    let (dir, begun): (JobDir, Result<OpenHome, Box<dyn Failure>>) = match site.begin(spec) {
        Ok(Begun { job, home }) => (job, Ok(home)),
        Err(ClaimError::Vanished { .. }) => return ExtractReport::Vanished { job },
        Err(error @ ClaimError::Refused { .. }) => return refused(site, spec, error),
        Err(ClaimError::WorkArea(WorkspaceError::PastExtraction { path })) => {
            let package = package(bench, spec, path);
            post(&bench.archiver, Unpacked { package });
            return nothing;
        }
        Err(error) if spec.is_in_landing() => return refused(site, spec, error),
        Err(error) => {
            let name = spec.name.clone();
            let dir = JobDir::new(&site.part(), spec.id, spec.attempt, spec.crashes, name);
            (dir, Err(Box::new(error)))
        }
    };
    bench.tell(spec, if spec.is_in_landing() { Fact::Claimed } else { Fact::Reopened });
    let mut package = package(bench, spec, dir.path().to_owned());
    let planned =
        begun.and_then(|home| plan(bench, site, (&dir, home), &mut package, progress.steps()));
    match planned {
        Ok((unpacking, room)) => {
            let plan = unpacking.plan();
            if let Some(zip) = package.zip() {
                bench.tell(spec, Fact::Planned { zip: zip.clone() });
            }
            let slices = plan.slices(SLICE_BYTES, SLICE_ENTRIES);
            let tickets = Job::share(bench, spec, dir, unpacking, package, room, slices);
            deal(job, tickets, progress)
        }
        Err(error) => {
            site.clear_out(&dir).ok(); // cleared again before the next attempt
            post(&bench.rejected, Rejected { package, error });
            nothing
        }
    }
}

fn refused(site: &Site, spec: &JobSpec, error: ClaimError) -> ExtractReport {
    let is_news = site.refused_anew(spec, &error);
    ExtractReport::ClaimRefused { job: spec.id, error: Box::new(error), is_news }
}

/// Finishes a plan of one slice on the spot, unless the slice is a single huge entry. Such a slice is
/// dealt, so that the schedule charges its bytes to this package, not to all packages that are still to
/// be opened.
fn deal(job: JobId, mut tickets: Vec<Ticket>, progress: &Progress) -> ExtractReport {
    let mut bytes = 0;
    if tickets.len() == 1
        && let Some(ticket) = tickets.pop_if(|ticket| ticket.bytes() <= SLICE_BYTES)
    {
        bytes = ticket.bytes();
        Box::new(ticket).run(progress);
    }
    let slices = tickets.into_iter().map(|ticket| Box::new(ticket) as Box<dyn SliceWork>).collect();
    ExtractReport::Planned { job, bytes, slices }
}

fn package(bench: &Bench, spec: &JobSpec, home: PathBuf) -> Package {
    let facts = PackageFacts {
        source: spec.source.clone(),
        name: spec.name.clone(),
        job: spec.id,
        attempt: spec.attempt,
        home,
        entries: 0,
        bytes: 0,
        untouched: false,
    };
    Package::new(facts, Some(Arc::clone(&bench.lost)))
}

/// Judges the whole package before a byte of it is written.
fn plan(
    bench: &Bench,
    site: &Site,
    (dir, home): (&JobDir, OpenHome),
    package: &mut Package,
    steps: &Steps,
) -> Result<(Unpacking, Reservation), Box<dyn Failure>> {
    let source = site.source();
    let opened = dir.open_delivery_in(home).map_err(boxed)?;
    opened.name_zip().map_err(boxed)?;
    let originals = opened.take_over(&source.limits).map_err(boxed)?;
    let (zip, stamp) = opened.open_zip().map_err(boxed)?;
    package.set_stamp(stamp);
    let mut remarks = Vec::new();
    let plan = match bench.options.get(&source.name) {
        Some(options) => Plan::read_remarking(&zip, options, &mut remarks),
        None => Plan::read(&zip, &Options::default()), // impossible: options are created with the site
    };
    for remark in remarks {
        let (source, name) = (source.name.as_str(), package.name().as_str());
        warn!(bench.log, "{remark}"; "job" => %package.job(), "name" => name, "source" => source);
        package.add_note("remark", remark);
    }
    let plan = plan.map_err(boxed)?;
    let facts = ledger::zip_facts(&plan, &zip, source.hash, steps);
    let facts = facts.map_err(|source| boxed(OpenError::Hash { path: dir.zip(), source }))?;
    package.set_zip(facts.clone(), plan.records());
    // A clash over an ignored name is no reason to refuse: the delivered file gets another name.
    let over = |entry: &&str| {
        let entry = OsStr::new(entry);
        originals.iter().any(|original| original.name == entry)
            && (entry == OsStr::new(&dir.name().zip()) || !source.ignore.matches(entry))
    };
    if let Some(entry) = plan.top_level().find(over) {
        return Err(boxed(OpenError::EntryOverOriginal { entry: entry.to_owned() }));
    }
    // The folder beneath an unmounted archive does not show what is archived.
    let unreachable = |error| boxed(PublishError::unreachable(source.archive.clone(), error));
    let (archive, elsewhere) = site.reach_staged(Target::Archive).map_err(unreachable)?;
    let known = bench.ledger.as_ref();
    let before = ledger::compare(known, &archive, &source.name, dir.name(), (&zip, &facts), steps);
    let before = before.map_err(boxed)?;
    before.judge(source).map_err(boxed)?;
    let need = Amount { bytes: plan.total_bytes(), inodes: plan.inodes() };
    let min_free = source.min_free.as_u64();
    if elsewhere.is_some() {
        // Only checked here: the space is reserved when the package is copied there.
        drop(bench.space.reserve(&source.archive, need, min_free).map_err(boxed)?);
    }
    let room = bench.space.reserve(site.work(), need, min_free).map_err(boxed)?;
    let out = opened.open_out();
    let out = out.map_err(|source| boxed(OpenError::Output { path: dir.out(), source }))?;
    let unpacking = Unpacking::new_counted(plan, zip, out, steps).map_err(boxed)?;
    Ok((unpacking, room))
}

fn boxed(error: impl Failure) -> Box<dyn Failure> {
    Box::new(error)
}

//! [`Outlet`]: the exit of a stage, to the next stage or to the Archiver.
//!
//! In: packages, from the stage that holds them. Out: [`Unpacked`] to the package's next stage or the
//! Archiver, [`Rejected`] to the Archiver, and [`PackageMoved`] to the Dispatcher, which counts where
//! packages are.
//!
//! **Invariant:** a package is moved into an outlet, so it cannot be passed twice:
//!
//! ```compile_fail,E0382
//! # fn stage(outlet: longshore::Outlet, package: longshore::package::Package) {
//! outlet.pass(package);
//! outlet.pass(package);
//! # }
//! ```

mod error;
#[cfg(any(test, feature = "testkit"))]
mod kill;

use std::collections::HashMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use actix::Recipient;
use slog::{Logger, error};

pub use error::StageError;
#[cfg(any(test, feature = "testkit"))]
pub use kill::KillPoints;

use super::lifeline::Lifeline;
use super::post::post;
use crate::error::Failure;
use crate::id::SourceName;
use crate::messages::{PackageMoved, Rejected, StageName, Unpacked, Whereabouts};
use crate::package::{Package, PackageView};

/// A step on a package's way: a stage, or the Archiver.
#[derive(Clone)]
pub struct Hop {
    /// The stage; `None` for the Archiver.
    pub stage: Option<StageName>,
    /// Receives the package.
    pub to: Recipient<Unpacked>,
    /// Counts where packages are.
    pub moved: Recipient<PackageMoved>,
}

impl Hop {
    /// Sends a newly unpacked package to this hop. Reports the move only if the hop is a stage: the
    /// Dispatcher counts such a package as being with the Archiver by default.
    pub(crate) fn begin(&self, package: Package) {
        if self.stage.is_some() {
            self.send(package);
        } else {
            post(&self.to, Unpacked { package });
        }
    }

    /// Sends a package to this hop. If the receiver is gone, the package reports itself as lost.
    pub(crate) fn send(&self, package: Package) {
        let to = match &self.stage {
            Some(stage) => Whereabouts::Stage(Arc::clone(stage)),
            None => Whereabouts::Archiver,
        };
        post(&self.moved, PackageMoved { job: package.job(), attempt: package.attempt(), to });
        post(&self.to, Unpacked { package });
    }
}

/// The exit of one stage; cheap to clone.
///
/// A stage is done with a package when it calls [`pass`](Self::pass) or [`reject`](Self::reject). A
/// package that is dropped instead reports itself, which costs it an attempt. If the last outlet of a
/// stage is dropped while the pipeline runs, the stage's actor is gone, and the pipeline is restarted.
#[derive(Clone)]
pub struct Outlet {
    shared: Arc<Shared>,
    #[cfg(any(test, feature = "testkit"))]
    kill: KillPoints,
}

struct Shared {
    stage: StageName,
    next: HashMap<SourceName, Hop>,
    rejected: Recipient<Rejected>,
    moved: Recipient<PackageMoved>,
    /// The maximum number of packages parked here at the same time.
    parking: usize,
    parked: Arc<AtomicUsize>,
    log: Logger,
    lifeline: Lifeline,
}

/// The parts of an [`Outlet`].
pub(crate) struct Wiring {
    pub(crate) stage: StageName,
    /// By source: the hop after this stage.
    pub(crate) next: HashMap<SourceName, Hop>,
    pub(crate) rejected: Recipient<Rejected>,
    pub(crate) moved: Recipient<PackageMoved>,
    pub(crate) parking: usize,
    pub(crate) log: Logger,
    pub(crate) lifeline: Lifeline,
}

impl Outlet {
    pub(crate) fn new(wiring: Wiring) -> Self {
        let Wiring { stage, next, rejected, moved, parking, log, lifeline } = wiring;
        let parked = Arc::default();
        let shared = Shared { stage, next, rejected, moved, parking, parked, log, lifeline };
        Self {
            shared: Arc::new(shared),
            #[cfg(any(test, feature = "testkit"))]
            kill: KillPoints::default(),
        }
    }

    /// Adds kill points, for a stage that a test makes panic.
    #[cfg(any(test, feature = "testkit"))]
    #[must_use]
    pub(crate) fn with_kill_points(self, kill: KillPoints) -> Self {
        Self { kill, ..self }
    }

    /// The stage's name in the pipeline.
    #[must_use]
    pub fn stage(&self) -> &str {
        &self.shared.stage
    }

    /// Sends a package on to the next hop: this stage is done with it.
    pub fn pass(&self, package: Package) {
        #[cfg(any(test, feature = "testkit"))]
        self.kill.strike(&package);
        match self.shared.next.get(package.source()) {
            Some(hop) => hop.send(package),
            // The package is dropped and reports itself as lost.
            None => error!(self.shared.log, "a package of another pipeline came by";
                "stage" => self.stage(), "source" => %package.source()),
        }
    }

    /// Rejects a package; `error` decides what becomes of it.
    pub fn reject(&self, package: Package, error: impl Failure) {
        #[cfg(any(test, feature = "testkit"))]
        self.kill.strike(&package);
        post(&self.shared.rejected, Rejected { package, error: Box::new(error) });
    }

    /// Sets a package aside until something else arrives. Meanwhile the package gives its place in the
    /// pipeline to others.
    ///
    /// # Errors
    /// Returns the package if the maximum number of packages is parked here already.
    pub fn park(&self, package: Package) -> Result<Parked, Package> {
        #[cfg(any(test, feature = "testkit"))]
        self.kill.strike(&package);
        let Shared { parked, parking, moved, .. } = &*self.shared;
        let mut taken = parked.load(Ordering::Relaxed);
        loop {
            if taken >= *parking {
                return Err(package);
            }
            let more = taken + 1;
            match parked.compare_exchange_weak(taken, more, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => break,
                Err(now) => taken = now,
            }
        }
        self.tell(&package, Whereabouts::Parked(Arc::clone(&self.shared.stage)));
        let place = Place(Arc::clone(parked));
        let back = Whereabouts::Stage(Arc::clone(&self.shared.stage));
        Ok(Parked { package, back, moved: moved.clone(), _place: place })
    }

    /// Whether the pipeline no longer uses this stage: the pipeline is stopped, or was restarted with a new
    /// instance. An actor ends by itself when its last address is dropped. An actor with an interval of its
    /// own does not end then: it should check this and stop.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.lifeline.is_ending()
    }

    /// Runs `work` so that a panic in it ends neither this thread nor its actor. In a `SyncArbiter`, a
    /// panic would remove the thread from the pool for good. A package held by `work` is dropped on a
    /// panic, which costs it an attempt.
    pub fn guarded(&self, work: impl FnOnce()) {
        if catch_unwind(AssertUnwindSafe(work)).is_err() {
            error!(self.shared.log, "a stage panicked; what it held is tried again";
                "stage" => self.stage());
        }
    }

    fn tell(&self, package: &Package, to: Whereabouts) {
        let (job, attempt) = (package.job(), package.attempt());
        post(&self.shared.moved, PackageMoved { job, attempt, to });
    }
}

impl fmt::Debug for Outlet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outlet").field("stage", &self.shared.stage).finish_non_exhaustive()
    }
}

/// A place among a stage's parked packages, given back when it is dropped.
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A package that its stage holds back. It can be inspected; [`Parked::resume`] returns it to work.
///
/// A package that is parked longer than its stage allows (`parking_deadline`) is quarantined by the
/// pipeline, whatever its stage does with it later.
pub struct Parked {
    package: Package,
    back: Whereabouts,
    moved: Recipient<PackageMoved>,
    _place: Place,
}

impl Parked {
    /// Returns what is known of the package.
    #[must_use]
    pub fn view(&self) -> PackageView {
        self.package.view()
    }

    /// Returns the package to work.
    #[must_use]
    pub fn resume(self) -> Package {
        let (job, attempt) = (self.package.job(), self.package.attempt());
        post(&self.moved, PackageMoved { job, attempt, to: self.back });
        self.package
    }
}

impl fmt::Debug for Parked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Parked").field(&self.package).finish()
    }
}

//! Wires the actors together, starts them bottom-up, and restarts them when one is lost.
//!
//! In: a [`Config`], and what a program adds to it: stages, subscribers. Out: a [`PipelineHandle`] to a
//! running pipeline.
//!
//! **Invariant:** start-up recovery is complete, and the Dispatcher has every recovered job, before the
//! first Watcher looks: a name in work is known before it can be offered again.

mod blueprint;
mod error;
mod handle;
mod ledger;
mod old_ledger;
mod processing;
mod stages;
mod wiring;

use std::sync::Arc;
use std::time::Duration;

use actix::Recipient;
use slog::{Logger, o};

pub use crate::names::LEDGER as LEDGER_FILE;
pub use error::{PipelineError, explain};
pub use handle::PipelineHandle;

use crate::actors::Outlet;
use crate::config::Config;
use crate::id::SourceName;
use crate::ledger::Store;
use crate::messages::{PackageEvent, Unpacked};
use crate::publish::Publish;
use blueprint::Blueprint;
use ledger::Keeping;
use stages::Stage;
pub use stages::StageFault;

/// A pipeline before its start.
pub struct Pipeline {
    config: Config,
    log: Logger,
    subscribers: Vec<Recipient<PackageEvent>>,
    stages: Vec<Stage>,
    parking_deadline: Option<Duration>,
    once: bool,
    adopts: bool,
    ledger: Keeping,
    publisher: Option<Arc<dyn Publish>>,
    /// A setting that was made before the stage that it is for.
    misplaced: Option<StageFault>,
}

impl Pipeline {
    /// Creates a pipeline that does what `config` says, without a log.
    #[must_use]
    pub fn builder(config: Config) -> Self {
        let log = Logger::root(slog::Discard, o!());
        let (subscribers, stages) = (Vec::new(), Vec::new());
        let (parking_deadline, ledger) = (None, Keeping::InStateFolder);
        let (publisher, misplaced) = (None, None);
        Self {
            config,
            log,
            subscribers,
            stages,
            parking_deadline,
            once: false,
            adopts: false,
            ledger,
            publisher,
            misplaced,
        }
    }

    /// Sets the log of the actors.
    #[must_use]
    pub fn logger(mut self, log: Logger) -> Self {
        self.log = log;
        self
    }

    /// Sends every [`PackageEvent`], from the first one on, to `to`.
    #[must_use]
    pub fn subscribe(mut self, to: Recipient<PackageEvent>) -> Self {
        self.subscribers.push(to);
        self
    }

    /// Adds a stage that every package passes, after the stages added before it.
    ///
    /// `start` starts the stage's actor and returns its address. It is called at the start, and again after
    /// the pipeline has lost an actor, each time with a new [`Outlet`].
    #[must_use]
    pub fn stage(
        self,
        name: &str,
        start: impl Fn(Outlet) -> Recipient<Unpacked> + 'static,
    ) -> Self {
        self.add(Stage::new(name, None, start))
    }

    /// Adds a stage for the packages of one source; packages of other sources bypass it.
    #[must_use]
    pub fn stage_for(
        self,
        source: SourceName,
        name: &str,
        start: impl Fn(Outlet) -> Recipient<Unpacked> + 'static,
    ) -> Self {
        self.add(Stage::new(name, Some(source), start))
    }

    fn add(mut self, stage: Stage) -> Self {
        self.stages.push(stage);
        self
    }

    /// Sets how long the stage added last may have each package. After that the attempt is over, and
    /// another one starts. By default a stage may take any time.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        match self.stages.last_mut() {
            Some(stage) => stage.deadline = Some(deadline),
            None => self.misplaced = Some(StageFault::NoStage { setting: "deadline" }),
        }
        self
    }

    /// Sets how many packages the stage added last may park at the same time (by default 1,000). Beyond
    /// that, [`Outlet::park`] returns the package.
    #[must_use]
    pub fn parking(mut self, packages: usize) -> Self {
        match self.stages.last_mut() {
            Some(stage) => stage.parking = packages,
            None => self.misplaced = Some(StageFault::NoStage { setting: "parking" }),
        }
        self
    }

    /// Quarantines a package that a stage has parked for this long. By default a package may be parked for
    /// as long as the pipeline runs.
    #[must_use]
    pub fn parking_deadline(mut self, deadline: Duration) -> Self {
        self.parking_deadline = Some(deadline);
        self
    }

    /// Stops by itself once everything that was in the landings at the start is settled.
    #[must_use]
    pub fn once(mut self) -> Self {
        self.once = true;
        self
    }

    /// Makes processes that packages' commands leave behind children of this process (a child
    /// subreaper), so that they are found and killed even if a command has killed its guard.
    ///
    /// Only for a program that starts no other processes: they would be taken for such leftovers.
    #[must_use]
    pub fn adopt_orphans(mut self) -> Self {
        self.adopts = true;
        self
    }

    /// Hands packages to the program's own publisher instead of the archive. Quarantine stays the same, and
    /// so does everything that prevents the loss of a package in a crash; see [`Publish`].
    #[must_use]
    pub fn publisher(mut self, publisher: impl Publish + 'static) -> Self {
        self.publisher = Some(Arc::new(publisher));
        self
    }

    /// Keeps the ledger in this store instead of a file in the state folder.
    #[must_use]
    pub fn ledger(mut self, store: Box<dyn Store>) -> Self {
        self.ledger = Keeping::In(store);
        self
    }

    /// Keeps no ledger: what was archived before is known from the archive alone.
    #[must_use]
    pub fn without_ledger(mut self) -> Self {
        self.ledger = Keeping::Nowhere;
        self
    }

    /// Creates and checks the folders, opens the ledger, recovers what an earlier run left, and starts the
    /// actors.
    ///
    /// Needs a running actix system. Blocks while the work areas are recovered.
    ///
    /// # Errors
    /// [`PipelineError`]: nothing was started, nothing was moved.
    pub fn start(self) -> Result<PipelineHandle, PipelineError> {
        let blueprint = Blueprint::draw(self)?;
        let recovered = blueprint.ground.recover()?;
        Ok(PipelineHandle::of(blueprint, recovered))
    }
}

#[cfg(test)]
mod tests;

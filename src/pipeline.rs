//! Wires the actors together, starts them bottom-up, and starts them again when one is lost.
//!
//! In: a [`Config`], and whatever a program adds to it: stages, subscribers. Out: a
//! [`PipelineHandle`] to a running pipeline.
//!
//! **Invariant:** start-up recovery is through, and every recovered job is with the Dispatcher,
//! before the first Watcher looks: a name that is in work is known before it can be offered again.

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
    /// A setting that came before the stage that it is for.
    misplaced: Option<StageFault>,
}

impl Pipeline {
    /// One that does what `config` says, without a log.
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

    /// Where its actors log to.
    #[must_use]
    pub fn logger(mut self, log: Logger) -> Self {
        self.log = log;
        self
    }

    /// Sends every [`PackageEvent`], from the first on, to `to`.
    #[must_use]
    pub fn subscribe(mut self, to: Recipient<PackageEvent>) -> Self {
        self.subscribers.push(to);
        self
    }

    /// Adds a stage that every package passes, after those that were added before it.
    ///
    /// `start` starts the stage's actor and gives its address; it is called at the start and, when
    /// the pipeline has lost an actor, again, each time with a new [`Outlet`].
    #[must_use]
    pub fn stage(
        self,
        name: &str,
        start: impl Fn(Outlet) -> Recipient<Unpacked> + 'static,
    ) -> Self {
        self.add(Stage::new(name, None, start))
    }

    /// Adds a stage for the packages of one source; the others go past it.
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

    /// Gives the stage that was added last so long for each package; beyond that the attempt is
    /// over, and another one begins. Without it a stage may take as long as it takes.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        match self.stages.last_mut() {
            Some(stage) => stage.deadline = Some(deadline),
            None => self.misplaced = Some(StageFault::NoStage { setting: "deadline" }),
        }
        self
    }

    /// Lets the stage that was added last hold back so many packages at the same time (by default
    /// 1,000). What [`Outlet::park`] does beyond that is to give the package back.
    #[must_use]
    pub fn parking(mut self, packages: usize) -> Self {
        match self.stages.last_mut() {
            Some(stage) => stage.parking = packages,
            None => self.misplaced = Some(StageFault::NoStage { setting: "parking" }),
        }
        self
    }

    /// Quarantines a package that a stage has held back for so long. Without it a package may be
    /// parked for as long as the pipeline runs.
    #[must_use]
    pub fn parking_deadline(mut self, deadline: Duration) -> Self {
        self.parking_deadline = Some(deadline);
        self
    }

    /// Stops by itself once everything is settled that lay in the landings at the start.
    #[must_use]
    pub fn once(mut self) -> Self {
        self.once = true;
        self
    }

    /// Has what the commands of packages leave become children of this process (a child subreaper), so
    /// that it is found and killed even where a command has killed its guard.
    ///
    /// For a program that starts no processes of its own: they would be taken for such leftovers.
    #[must_use]
    pub fn adopt_orphans(mut self) -> Self {
        self.adopts = true;
        self
    }

    /// Hands packages to a publisher of the program's own, in place of the archive. Quarantine stays
    /// as it is, and so does all that is done so that no crash loses a package; see [`Publish`].
    #[must_use]
    pub fn publisher(mut self, publisher: impl Publish + 'static) -> Self {
        self.publisher = Some(Arc::new(publisher));
        self
    }

    /// Keeps the ledger in this store, in place of a file in the state folder.
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

    /// Makes and checks the folders, opens the ledger, recovers what an earlier run left, and starts
    /// the actors.
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

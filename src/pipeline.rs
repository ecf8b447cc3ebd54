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
mod processing;
mod stages;
mod wiring;

<<<<<<< HEAD
use actix::{Actor, Addr, Arbiter, AsyncContext, Context, Recipient, SyncArbiter};
use slog::{Logger, error, info, o, warn};
use thiserror::Error;
use tokio::sync::oneshot;

use crate::actors::archiver::SettleRecovered;
use crate::actors::archiver::books::Books;
use crate::actors::extractor::Bench;
use crate::actors::extractor::options::{self, OptionsError};
use crate::actors::lifeline::{ActorLost, Ending};
use crate::actors::post::post_to;
use crate::actors::supervisor::signals::LastWords;
use crate::actors::supervisor::{Ended, StopRequested};
use crate::actors::watcher::BeforeScan;
use crate::actors::{
    Archiver, Dispatcher, EventBus, Extractor, Ledger, Lifeline, Supervisor, Watcher, dispatcher,
    supervisor, watcher,
};
use crate::config::{Config, OnCorrupt};
use crate::error::{Chain, Disposition, Failure};
use crate::extract::Options;
use crate::id::SourceName;
use crate::ledger::{LedgerError, LedgerHandle, SqliteStore, Store};
use crate::messages::{
    GetStatus, JobsRecovered, PackageEvent, Rejected, Status, StopMode, Unpacked,
};
use crate::package::LostHandler;
use crate::schedule::{Bounds, Schedule};
use crate::workspace::{
    Recovery, Site, Space, StartError, WorkspaceError, keep_apart, state_folder, strangers,
};

/// Why a pipeline did not start. Completes "failed to …".
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PipelineError {
    /// A source's folders cannot be used.
    #[error("start source {name}: {source}")]
    Source {
        /** The source. */
        name: SourceName,
        /** What is wrong, where, and what to do. */
        #[source]
        source: StartError,
    },
    /// Two sources cannot run side by side.
    #[error("run these sources side by side: {0}")]
    Together(StartError),
    /// A source's work area cannot be recovered.
    #[error("recover the work area of source {name}")]
    Recover {
        /** The source. */
        name: SourceName,
        /** What is wrong. */
        #[source]
        source: WorkspaceError,
    },
    /// There is no place for the ledger.
    #[error("find a place for the ledger")]
    State(#[source] io::Error),
    /// The ledger cannot be used.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A source's ZIPs cannot be read as it is configured: its charset, zone or password.
    #[error("configure source {name}")]
    Options {
        /** The source. */
        name: SourceName,
        /** Why. */
        #[source]
        source: OptionsError,
    },
}

impl PipelineError {
    /// The exit code that tells this kind of error.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Source { source, .. } | Self::Together(source) => source.exit_code(),
            Self::Recover { .. } => 74,
            Self::Options { .. } | Self::State(_) => 78,
            Self::Ledger(error) => error.exit_code(),
        }
    }
}

/// Somebody dropped a package. Completes "failed to …".
#[derive(Debug, Error)]
#[error("keep hold of it: a stage dropped it or panicked; the log may say more")]
struct PackageLost;

impl Failure for PackageLost {
    fn code(&self) -> &'static str {
        "package_lost"
    }

    fn disposition(&self) -> Disposition {
        Disposition::Retry
    }
}
=======
use std::time::Duration;

use actix::Recipient;
use slog::{Logger, o};

pub use error::{PipelineError, explain};
pub use handle::PipelineHandle;

use crate::actors::Outlet;
use crate::config::Config;
use crate::id::SourceName;
use crate::messages::{PackageEvent, Unpacked};
use blueprint::Blueprint;
use stages::Stage;
>>>>>>> main

/// A pipeline before its start.
pub struct Pipeline {
    config: Config,
    log: Logger,
    subscribers: Vec<Recipient<PackageEvent>>,
    stages: Vec<Stage>,
    parking_deadline: Option<Duration>,
    once: bool,
    ledger: Where,
}

/// Where a pipeline keeps its ledger.
enum Where {
    /// In a file of the state folder.
    StateFolder,
    Given(Box<dyn Store>),
    Nowhere,
}

/// The ledger's file in the state folder.
pub const LEDGER_FILE: &str = "ledger.sqlite";

/// Whose entries this process's are. Nodes that share a ledger are to be told apart by it.
const NODE: &str = "local";

impl Pipeline {
    /// One that does what `config` says, without a log.
    #[must_use]
    pub fn builder(config: Config) -> Self {
        let log = Logger::root(slog::Discard, o!());
<<<<<<< HEAD
        Self { config, log, subscribers: Vec::new(), once: false, ledger: Where::StateFolder }
=======
        let (subscribers, stages) = (Vec::new(), Vec::new());
        Self { config, log, subscribers, stages, parking_deadline: None, once: false }
>>>>>>> main
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
        if let Some(stage) = self.stages.last_mut() {
            stage.deadline = Some(deadline);
        }
        self
    }

    /// Lets the stage that was added last hold back so many packages at the same time (by default
    /// 1,000). What [`Outlet::park`] does beyond that is to give the package back.
    #[must_use]
    pub fn parking(mut self, packages: usize) -> Self {
        if let Some(stage) = self.stages.last_mut() {
            stage.parking = packages;
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

    /// Keeps the ledger in this store, in place of a file in the state folder.
    #[must_use]
    pub fn ledger(mut self, store: Box<dyn Store>) -> Self {
        self.ledger = Where::Given(store);
        self
    }

    /// Keeps no ledger: what was archived before is known from the archive alone.
    #[must_use]
    pub fn without_ledger(mut self) -> Self {
        self.ledger = Where::Nowhere;
        self
    }

    /// Makes and checks the folders, opens the ledger, recovers what an earlier run left, and starts the actors.
    ///
    /// Needs a running actix system. Blocks while the work areas are recovered.
    ///
    /// # Errors
    /// [`PipelineError`]: nothing was started, nothing was moved.
<<<<<<< HEAD
    pub fn start(mut self) -> Result<PipelineHandle, PipelineError> {
        keep_apart(&self.config.sources).map_err(PipelineError::Together)?;
        let mut options = HashMap::new();
        for source in &self.config.sources {
            let name = source.name.clone();
            let read = options::of(source);
            let failed = |error| PipelineError::Options { name: name.clone(), source: error };
            options.insert(name.clone(), read.map_err(failed)?);
        }
        let mut sites = HashMap::new();
        let mut recovered = Vec::new();
        for source in &self.config.sources {
            let failed = |error| PipelineError::Source { name: source.name.clone(), source: error };
            let site = Arc::new(Site::open(source).map_err(failed)?);
            sites.insert(source.name.clone(), site);
        }
        let ledger = self.open_ledger()?;
        for stranger in strangers(&self.config) {
            warn!(self.log, "jobs of a source that is not configured stay in the work area; run a source of that name to finish them"; "path" => ?stranger);
        }
        for (name, site) in &sites {
            let failed = |error| PipelineError::Recover { name: name.clone(), source: error };
            let recovery = site.recover().map_err(failed)?;
            report(&self.log, name, &recovery);
            recovered.push(recovery);
        }
        Ok(self.start_actors(sites, options, recovered, ledger))
    }

    /// Comes after the locks: another daemon's ledger is its own.
    fn open_ledger(&mut self) -> Result<Option<LedgerHandle>, PipelineError> {
        let store: Box<dyn Store> = match std::mem::replace(&mut self.ledger, Where::Nowhere) {
            Where::Nowhere => return Ok(None),
            Where::Given(store) => store,
            Where::StateFolder => {
                let folder = state_folder(&self.config).map_err(PipelineError::State)?;
                let path = folder.join(LEDGER_FILE);
                match SqliteStore::open(&path, NODE) {
                    Err(LedgerError::Corrupt { what, .. })
                        if self.config.ledger.on_corrupt == OnCorrupt::MoveAside =>
                    {
                        let aside = SqliteStore::move_aside(&path)?;
                        error!(self.log, "the ledger was damaged: it is moved aside, and a new one begins";
                            "what" => what, "aside" => ?aside);
                        Box::new(SqliteStore::open(&path, NODE)?)
                    }
                    opened => Box::new(opened?),
                }
            }
        };
        let log = self.log.new(o!("actor" => "ledger"));
        Ok(Some(LedgerHandle::new(store, log)?))
    }

    fn start_actors(
        self,
        sites: HashMap<SourceName, Arc<Site>>,
        options: HashMap<SourceName, Options>,
        recovered: Vec<Recovery>,
        ledger: Option<LedgerHandle>,
    ) -> PipelineHandle {
        let Self { config, log, mut subscribers, once, .. } = self;
        let sites = Arc::new(sites);
        let ending = Ending::default();
        let supervisor_ctx = Context::<Supervisor>::new();
        let supervisor = supervisor_ctx.address();
        let lifeline = {
            let (lost, ending) = (supervisor.clone().recipient::<ActorLost>(), ending.clone());
            move |name| Lifeline::new(name, lost.clone(), ending.clone())
        };
        let log_of = |actor: &'static str| log.new(o!("actor" => actor));

        let writer = ledger.clone().map(|handle| {
            let writer = Ledger::new(handle, log_of("ledger"), lifeline("ledger")).start();
            subscribers.push(writer.clone().recipient());
            writer
        });
        let bus = EventBus::new(subscribers, lifeline("event bus")).start();
        let dispatcher_ctx = Context::<Dispatcher>::new();
        let dispatcher = dispatcher_ctx.address();
        let archiver = Archiver::new(
            Arc::clone(&sites),
            dispatcher.clone().recipient(),
            Books::new(ledger.clone()),
            log_of("archiver"),
            lifeline("archiver"),
        )
        .start();
        let bench = Arc::new(Bench {
            next: next_of_all(&sites, &archiver),
            sites: Arc::clone(&sites),
            options,
            archiver: archiver.clone().recipient(),
            rejected: archiver.clone().recipient(),
            events: bus.clone().recipient(),
            ledger: ledger.clone(),
            space: Space::new(),
            lost: lost_handler(archiver.clone().recipient(), ending.clone()),
            ending: ending.clone(),
            scratch: Default::default(),
            log: log_of("extractor"),
        });
        let pool = SyncArbiter::start(config.workers, move || Extractor::new(Arc::clone(&bench)));
        let peers = dispatcher::Peers {
            extractors: pool.recipient(),
            events: bus.clone().recipient(),
            all_settled: once.then(|| supervisor.clone().recipient()),
        };
        dispatcher_ctx.run(Dispatcher::new(
            Schedule::new(Bounds::for_pool(config.workers), sites.keys().cloned()),
            sites.keys().cloned(),
            peers,
            log_of("dispatcher"),
            lifeline("dispatcher"),
        ));
        for recovery in recovered {
            hand_over(recovery, &dispatcher, &archiver);
        }

        let mut arbiters = Vec::new();
        let mut watchers = Vec::new();
        for site in sites.values() {
            let arbiter = Arbiter::new();
            let peers = watcher::Peers {
                ready: dispatcher.clone().recipient(),
                started: dispatcher.clone().recipient(),
                first_scan: dispatcher.clone().recipient(),
                events: bus.clone().recipient(),
            };
            let source = Arc::new(site.source().clone());
            let before_scan = before_scan(Arc::clone(site), &log, &dispatcher, &archiver);
            let (log, lifeline) = (log_of("watcher"), lifeline("watcher"));
            let watcher = Watcher::start_in_arbiter(&arbiter.handle(), move |_| {
                Watcher::new(source, peers, &log, once).before_scan(before_scan).lifeline(lifeline)
            });
            watchers.push(watcher.recipient());
            arbiters.push(arbiter);
        }

        let (ended_tx, ended) = oneshot::channel();
        let mut rest =
            vec![("archiver", archiver.recipient()), ("event bus", bus.clone().recipient())];
        rest.extend(writer.map(|writer| ("ledger", writer.recipient())));
        let quiet = Some(dispatcher.clone().recipient());
        let peers = supervisor::Peers { watchers, dispatcher: quiet, rest };
        let (grace, log_s) = (config.grace, log_of("supervisor"));
        supervisor_ctx.run(Supervisor::new(peers, grace, ending, ended_tx, log_s));
        PipelineHandle { sites, supervisor, dispatcher, ledger, arbiters, ended }
    }
}

/// Without stages of its own a source's packages go from the extractors to the Archiver.
fn next_of_all(
    sites: &HashMap<SourceName, Arc<Site>>,
    archiver: &Addr<Archiver>,
) -> HashMap<SourceName, Recipient<Unpacked>> {
    sites.keys().map(|name| (name.clone(), archiver.clone().recipient())).collect()
}

fn lost_handler(rejected: Recipient<Rejected>, ending: Ending) -> LostHandler {
    Arc::new(move |package| {
        if ending.has_begun() {
            package.settle(); // it is in the work area, and the next start unpacks it afresh
        } else {
            let error = Box::new(PackageLost);
            crate::actors::post::post(&rejected, Rejected { package, error });
        }
    })
}

fn hand_over(recovery: Recovery, dispatcher: &Addr<Dispatcher>, archiver: &Addr<Archiver>) {
    let settling = recovery.settle.iter().map(|job| job.spec.clone()).collect();
    post_to(dispatcher, JobsRecovered { extract: recovery.extract, settling });
    post_to(archiver, SettleRecovered { jobs: recovery.settle });
}

/// A landing that comes back is locked again, a work area that is gone is made again; jobs that lie
/// in it go on.
fn before_scan(
    site: Arc<Site>,
    log: &Logger,
    dispatcher: &Addr<Dispatcher>,
    archiver: &Addr<Archiver>,
) -> BeforeScan {
    let (log, dispatcher, archiver) = (log.clone(), dispatcher.clone(), archiver.clone());
    Box::new(move |returned| {
        if !returned && site.is_there() {
            return Ok(());
        }
        if site.reopen_after_return().map_err(io::Error::other)?.work_changed {
            let recovery = site.recover().map_err(io::Error::other)?;
            report(&log, &site.source().name, &recovery);
            hand_over(recovery, &dispatcher, &archiver);
        }
        Ok(())
    })
}

fn report(log: &Logger, source: &SourceName, recovery: &Recovery) {
    for remark in &recovery.remarks {
        warn!(log, "{}", remark; "source" => %source);
    }
    let jobs = recovery.extract.len() + recovery.settle.len();
    if jobs > 0 || recovery.unclean {
        let facts =
            o!("crashed" => recovery.crashed.len(), "unclean" => recovery.unclean, "jobs" => jobs);
        info!(log, "went on from an earlier run"; facts, "source" => %source);
    }
}

/// A running pipeline. Dropping it leaves the pipeline running.
pub struct PipelineHandle {
    sites: Arc<HashMap<SourceName, Arc<Site>>>,
    supervisor: Addr<Supervisor>,
    dispatcher: Addr<Dispatcher>,
    ledger: Option<LedgerHandle>,
    arbiters: Vec<Arbiter>,
    ended: oneshot::Receiver<Ended>,
}

impl PipelineHandle {
    /// Who may be asked to stop, by a signal thread for example.
    #[must_use]
    pub fn stopper(&self) -> Recipient<StopRequested> {
        self.supervisor.clone().recipient()
    }

    /// Asks for a stop; [`PipelineHandle::ended`] tells when it is done.
    pub fn stop(&self, mode: StopMode) {
        post_to(&self.supervisor, StopRequested { mode, by: "the program" });
    }

    /// Who tells how much is where.
    #[must_use]
    pub fn status(&self) -> Recipient<GetStatus> {
        self.dispatcher.clone().recipient()
    }

    /// How much is where; none where the pipeline has ended.
    pub async fn get_status(&self) -> Option<Status> {
        self.dispatcher.send(GetStatus).await.ok()
    }

    /// What was recorded of packages; none for a pipeline without a ledger. It blocks: no actor of
    /// one's own asks it on an arbiter.
    #[must_use]
    pub fn ledger(&self) -> Option<LedgerHandle> {
        self.ledger.clone()
    }

    /// What has to be done before the process ends at once: puts down that it was asked to.
    #[must_use]
    pub fn last_words(&self) -> LastWords {
        let sites = Arc::clone(&self.sites);
        Arc::new(move || mark_stopped(&sites))
    }

    /// Waits for the end.
    pub async fn ended(&mut self) -> Ended {
        let ended = (&mut self.ended).await.unwrap_or(Ended::Failed { actor: "supervisor" });
        if !matches!(ended, Ended::Failed { .. }) {
            mark_stopped(&self.sites);
        }
        if ended == Ended::Drained {
            self.sites.values().for_each(|site| site.release());
        }
        for arbiter in &self.arbiters {
            arbiter.stop();
        }
        ended
    }
}

fn mark_stopped(sites: &HashMap<SourceName, Arc<Site>>) {
    for site in sites.values() {
        // Then what was active now counts as crashed once: that costs nothing but a count.
        site.mark_stopped().ok();
    }
}

impl std::fmt::Debug for PipelineHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PipelineHandle").finish_non_exhaustive()
    }
}

/// An error with its causes on one line, for whoever only prints it.
#[must_use]
pub fn explain(error: &PipelineError) -> String {
    match error {
        // Its message has its cause in it.
        PipelineError::Source { name, source } => {
            format!("start source {name}: {}", Chain(source))
        }
        PipelineError::Together(_)
        | PipelineError::Ledger(_)
        | PipelineError::State(_)
        | PipelineError::Options { .. }
        | PipelineError::Recover { .. } => Chain(error).to_string(),
=======
    pub fn start(self) -> Result<PipelineHandle, PipelineError> {
        let blueprint = Blueprint::draw(self)?;
        let recovered = blueprint.ground.recover()?;
        Ok(PipelineHandle::of(blueprint, recovered))
>>>>>>> main
    }
}

#[cfg(test)]
mod tests;

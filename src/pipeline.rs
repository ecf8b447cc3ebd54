//! Starts the actors bottom-up and wires them together.
//!
//! In: a [`Config`]. Out: a [`PipelineHandle`] to a running pipeline.
//!
//! **Invariant:** start-up recovery is through, and every recovered job is with the Dispatcher,
//! before the first Watcher looks: a name that is in work is known before it can be offered again.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use actix::{Actor, Addr, Arbiter, AsyncContext, Context, Recipient, SyncArbiter};
use slog::{Logger, info, o, warn};
use thiserror::Error;
use tokio::sync::oneshot;

use crate::actors::archiver::SettleRecovered;
use crate::actors::extractor::Bench;
use crate::actors::extractor::options::{self, OptionsError};
use crate::actors::lifeline::{ActorLost, Ending};
use crate::actors::post::post_to;
use crate::actors::supervisor::signals::LastWords;
use crate::actors::supervisor::{Ended, StopRequested};
use crate::actors::watcher::BeforeScan;
use crate::actors::{
    Archiver, Dispatcher, EventBus, Extractor, Lifeline, Supervisor, Watcher, dispatcher,
    supervisor, watcher,
};
use crate::config::Config;
use crate::error::{Chain, Disposition, Failure};
use crate::extract::Options;
use crate::id::SourceName;
use crate::messages::{
    GetStatus, JobsRecovered, PackageEvent, Rejected, Status, StopMode, Unpacked,
};
use crate::package::LostHandler;
use crate::publish::Copying;
use crate::schedule::{Bounds, Schedule};
use crate::workspace::{Recovery, Site, Space, StartError, WorkspaceError, keep_apart, strangers};

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
            Self::Options { .. } => 78,
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

/// A pipeline before its start.
pub struct Pipeline {
    config: Config,
    log: Logger,
    subscribers: Vec<Recipient<PackageEvent>>,
    once: bool,
}

impl Pipeline {
    /// One that does what `config` says, without a log.
    #[must_use]
    pub fn builder(config: Config) -> Self {
        let log = Logger::root(slog::Discard, o!());
        Self { config, log, subscribers: Vec::new(), once: false }
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

    /// Stops by itself once everything is settled that lay in the landings at the start.
    #[must_use]
    pub fn once(mut self) -> Self {
        self.once = true;
        self
    }

    /// Makes and checks the folders, recovers what an earlier run left, and starts the actors.
    ///
    /// Needs a running actix system. Blocks while the work areas are recovered.
    ///
    /// # Errors
    /// [`PipelineError`]: nothing was started, nothing was moved.
    pub fn start(self) -> Result<PipelineHandle, PipelineError> {
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
        for stranger in strangers(&self.config) {
            warn!(self.log, "jobs of a source that is not configured stay in the work area; run a source of that name to finish them"; "path" => ?stranger);
        }
        for (name, site) in &sites {
            let failed = |error| PipelineError::Recover { name: name.clone(), source: error };
            let recovery = site.recover().map_err(failed)?;
            report(&self.log, name, &recovery);
            recovered.push(recovery);
        }
        Ok(self.start_actors(sites, options, recovered))
    }

    fn start_actors(
        self,
        sites: HashMap<SourceName, Arc<Site>>,
        options: HashMap<SourceName, Options>,
        recovered: Vec<Recovery>,
    ) -> PipelineHandle {
        let Self { config, log, subscribers, once } = self;
        let sites = Arc::new(sites);
        let ending = Ending::default();
        let supervisor_ctx = Context::<Supervisor>::new();
        let supervisor = supervisor_ctx.address();
        let lifeline = {
            let (lost, ending) = (supervisor.clone().recipient::<ActorLost>(), ending.clone());
            move |name| Lifeline::new(name, lost.clone(), ending.clone())
        };
        let log_of = |actor: &'static str| log.new(o!("actor" => actor));

        let bus = EventBus::new(subscribers, lifeline("event bus")).start();
        let dispatcher_ctx = Context::<Dispatcher>::new();
        let dispatcher = dispatcher_ctx.address();
        let space = Space::new();
        let archiver = Archiver::new(
            Arc::clone(&sites),
            dispatcher.clone().recipient(),
            Copying::new(Arc::clone(&space)),
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
            space,
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
        let peers = supervisor::Peers {
            watchers,
            dispatcher: Some(dispatcher.clone().recipient()),
            rest: vec![("archiver", archiver.recipient()), ("event bus", bus.clone().recipient())],
        };
        let (grace, log_s) = (config.grace, log_of("supervisor"));
        supervisor_ctx.run(Supervisor::new(peers, grace, ending, ended_tx, log_s));
        PipelineHandle { sites, supervisor, dispatcher, arbiters, ended }
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
        | PipelineError::Options { .. }
        | PipelineError::Recover { .. } => Chain(error).to_string(),
    }
}

#[cfg(test)]
mod tests;

//! The parts of a pipeline that stay the same each time it is started.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix::Recipient;
use slog::{Logger, info, o, warn};

use super::Pipeline;
use super::error::PipelineError;
use super::processing::Processing;
use super::stages::{self, Stage};
use crate::actors::extractor::options;
use crate::actors::lifeline::Census;
use crate::config::Config;
use crate::extract::Options;
use crate::id::SourceName;
use crate::ledger::LedgerHandle;
use crate::messages::PackageEvent;
use crate::publish::Publish;
use crate::workspace::{Recovery, Site, Space, State, keep_apart, strangers};

/// The parts that outlive the actors and can be used on any thread.
pub(super) struct Ground {
    pub(super) config: Config,
    pub(super) sites: Arc<HashMap<SourceName, Arc<Site>>>,
    /// Held and locked, if it contains the ledger or the logs of commands.
    state: Option<Arc<State>>,
    /// How each source's ZIPs are read.
    pub(super) options: HashMap<SourceName, Options>,
    pub(super) space: Arc<Space>,
    pub(super) processing: Processing,
    pub(super) ledger: Option<LedgerHandle>,
    /// Counts what is left of this pipeline's actors.
    pub(super) census: Census,
    /// Whether packages are left in the landings; outlives a Dispatcher.
    paused: AtomicBool,
    pub(super) log: Logger,
}

/// The ground, and the parts that stay on the thread of the actor system.
pub(super) struct Blueprint {
    pub(super) ground: Arc<Ground>,
    pub(super) subscribers: Vec<Recipient<PackageEvent>>,
    pub(super) stages: Vec<Stage>,
    pub(super) parking_deadline: Option<Duration>,
    pub(super) publisher: Option<Arc<dyn Publish>>,
    pub(super) once: bool,
}

impl Blueprint {
    /// Creates, checks and locks the folders.
    pub(super) fn draw(pipeline: Pipeline) -> Result<Self, PipelineError> {
        let Pipeline {
            config,
            log,
            subscribers,
            stages,
            parking_deadline,
            once,
            adopts,
            ledger,
            publisher,
            misplaced,
        } = pipeline;
        misplaced.map_or(Ok(()), Err)?;
        stages::check(&stages, &config.sources)?;
        keep_apart(&config.sources).map_err(PipelineError::Together)?;
        let mut options = HashMap::new();
        for source in &config.sources {
            let name = source.name.clone();
            let read = options::of(source);
            let failed = |error| PipelineError::Options { name: name.clone(), source: error };
            options.insert(name.clone(), read.map_err(failed)?);
        }
        let mut sites = HashMap::new();
        for source in &config.sources {
            let failed = |error| PipelineError::Source { name: source.name.clone(), source: error };
            let mut site = Site::open(source).map_err(failed)?;
            if publisher.is_some() {
                site.leave_to_publisher();
            }
            sites.insert(source.name.clone(), Arc::new(site));
        }
        let has_command = config.sources.iter().any(|source| source.process.is_some());
        let state = match ledger.is_in_state_folder() || has_command {
            true => Some(Arc::new(State::open(&config).map_err(PipelineError::State)?)),
            false => None,
        };
        let processing = Processing::check(&config, &sites, state.as_ref(), adopts, &log)?;
        let ledger = ledger.open(&config, state.as_ref(), &log)?;
        for (name, site) in &sites {
            for remark in site.remarks() {
                warn!(log, "{}", remark; "source" => %name);
            }
        }
        for stranger in strangers(sites.values().map(|site| &**site)) {
            warn!(log, "jobs of a source that is not configured stay in the work area; run a source of that name to finish them"; "path" => ?stranger);
        }
        let (sites, space) = (Arc::new(sites), Space::new());
        let census = Census::default();
        let paused = AtomicBool::new(false);
        let ground = Ground {
            config,
            sites,
            state,
            options,
            space,
            processing,
            ledger,
            census,
            paused,
            log,
        };
        let ground = Arc::new(ground);
        Ok(Self { ground, subscribers, stages, parking_deadline, publisher, once })
    }
}

impl Ground {
    /// Recovers what an earlier run left, or what was in work when an actor was lost. Blocks.
    pub(super) fn recover(&self) -> Result<Vec<Recovery>, PipelineError> {
        self.processing.recover(self)?;
        let mut recovered = Vec::new();
        for (name, site) in &*self.sites {
            let failed = |error| PipelineError::Recover { name: name.clone(), source: error };
            let recovery = site.recover().map_err(failed)?;
            report(&self.log, name, &recovery);
            recovered.push(recovery);
        }
        Ok(recovered)
    }

    /// Sets whether new Dispatchers start paused.
    pub(super) fn pause(&self, paused: bool) {
        self.paused.store(paused, Ordering::Relaxed);
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }

    pub(super) fn log_of(&self, actor: &'static str) -> Logger {
        self.log.new(o!("actor" => actor))
    }

    /// Releases the folders for another pipeline.
    pub(super) fn release(&self) {
        self.sites.values().for_each(|site| site.release());
        if let Some(state) = &self.state {
            state.release();
        }
    }

    /// Records that this run was asked to stop, before it has stopped.
    pub(super) fn mark_stopping(&self) {
        for site in self.sites.values() {
            // After a failure, a death before the end counts as a crash: that costs nothing but a count.
            site.mark_stopping().ok();
        }
    }

    /// Records that this run has stopped as requested.
    pub(super) fn mark_stopped(&self) {
        for site in self.sites.values() {
            // After a failure, what is active now counts as crashed once: that costs nothing but a count.
            site.mark_stopped().ok();
        }
    }
}

pub(super) fn report(log: &Logger, source: &SourceName, recovery: &Recovery) {
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

//! Prepares the sources' commands: finds and probes them at the start, and creates each Processor.
//!
//! **Invariant:** the program of a command is found once, as an absolute path: a file in a package's
//! folder is never run in its place, whatever `PATH` says.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actix::{Actor, Addr};
use slog::{info, o, warn};

use super::blueprint::Ground;
use super::error::PipelineError;
use crate::actors::lifeline::Hold;
use crate::actors::processor::CommandRunner;
use crate::actors::{Outlet, Processor};
use crate::config::{Config, Isolation, Process};
use crate::id::SourceName;
use crate::process::logs::Logs;
use crate::process::{CommandLine, Guards, Isolated, Mode, check_command, kill_leftovers};
use crate::workspace::{Site, State};

/// The stage name of every Processor.
pub(super) const STAGE: &str = "processor";

/// The commands of all sources that have one.
#[derive(Default)]
pub(super) struct Processing {
    commands: HashMap<SourceName, Command>,
    /// The guards of the current actors.
    guards: Mutex<Option<Guards>>,
    /// Whether orphans of commands become children of this process.
    adopts: bool,
}

struct Command {
    process: Process,
    line: CommandLine,
    mode: Mode,
    /// The folders that the command must not change; `None` if they cannot be protected.
    protected: Option<Arc<[PathBuf]>>,
    logs: Logs,
}

impl Processing {
    /// Checks the commands, and determines how they can be isolated. Touches no folder.
    pub(super) fn check(
        config: &Config,
        sites: &HashMap<SourceName, Arc<Site>>,
        state: Option<&Arc<State>>,
        adopts: bool,
        log: &slog::Logger,
    ) -> Result<Self, PipelineError> {
        let mut processing = Self { adopts, ..Self::default() };
        let wanted = config.sources.iter().filter_map(|s| Some((&s.name, s.process.as_ref()?)));
        let mut known: Vec<(Isolation, Isolated)> = Vec::new();
        let mut folders = None;
        for (name, process) in wanted {
            let failed = |source: Box<dyn std::error::Error + Send + Sync>| {
                PipelineError::Command { name: name.clone(), source }
            };
            let line = CommandLine::new(process, env::vars_os());
            let mut line = line.map_err(|error| failed(error.into()))?;
            let here = env::current_dir().map_err(|error| failed(error.into()))?;
            let found = check_command(line.program(), &here, line.path());
            line.set_program(found.map_err(|error| failed(error.into()))?);
            let Some(state) = state else { continue }; // impossible: a command's logs are in it
            let held = state.folder();
            let folders = folders.get_or_insert_with(|| own_folders(sites, held.path()));
            let isolated = match known.iter().find(|(wanted, _)| *wanted == process.isolation) {
                Some((_, isolated)) => isolated.clone(),
                None => {
                    let guards = processing.begin().map_err(|error| failed(error.into()))?;
                    let tried = guards.probe(process.isolation, folders);
                    let isolated = tried.map_err(|error| failed(error.into()))?;
                    report(log, &isolated);
                    known.push((process.isolation, isolated.clone()));
                    isolated
                }
            };
            let command = Command {
                process: process.clone(),
                line,
                mode: isolated.mode,
                protected: isolated.confines.then(|| Arc::clone(folders)),
                logs: Logs::held(Arc::clone(state)),
            };
            processing.commands.insert(name.clone(), command);
        }
        Ok(processing)
    }

    /// Prepares for new actors: kills what an earlier run left, before its jobs are touched, and allows
    /// commands to start.
    pub(super) fn recover(&self, ground: &Ground) -> Result<(), PipelineError> {
        let failed = |source: io::Error| PipelineError::Leftovers { source };
        let mut jobs = HashSet::new();
        for site in ground.sites.values() {
            for entry in fs::read_dir(site.root()).map_err(failed)? {
                let name = entry.map_err(failed)?.file_name();
                let job = name.to_str().and_then(|name| name.split_once('.'));
                jobs.extend(job.map(|(job, _)| job.to_owned()));
            }
        }
        if !jobs.is_empty() {
            for left in kill_leftovers(&|job| jobs.contains(job)).map_err(failed)? {
                warn!(ground.log, "a process of an earlier run was still alive, and is killed";
                    "pid" => left.pid, "attempt" => left.attempt, "job" => left.job);
            }
        }
        if self.commands.is_empty() {
            return Ok(());
        }
        self.begin().map_err(failed)?;
        for command in self.commands.values() {
            let path = || command.logs.folder().to_path_buf();
            command.logs.make().map_err(|source| PipelineError::Logs { path: path(), source })?;
        }
        Ok(())
    }

    /// Allows commands to start after a stop, which closed the guards, by creating new ones.
    fn begin(&self) -> io::Result<Guards> {
        let mut guards = self.guards();
        if let Some(guards) = guards.as_ref().filter(|guards| !guards.is_closed()) {
            return Ok(guards.clone());
        }
        let fresh = guards.as_ref().map_or_else(Guards::start, Guards::renewed)?;
        if self.adopts {
            fresh.adopt_orphans()?;
        }
        Ok(guards.insert(fresh).clone())
    }

    /// Kills every running command. Does not block.
    pub(super) fn kill_all(&self) {
        if let Some(guards) = self.guards().as_ref() {
            guards.kill_all();
        }
    }

    fn guards(&self) -> MutexGuard<'_, Option<Guards>> {
        self.guards.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the Processor of a source, if it has a command.
    pub(super) fn start(
        &self,
        ground: &Ground,
        source: &SourceName,
        outlet: impl FnOnce() -> Outlet,
        hold: &Hold,
    ) -> Option<Addr<Processor>> {
        let Command { process, line, mode, protected, logs } = self.commands.get(source)?;
        let guards = self.guards().clone()?;
        let log = ground.log_of("processor").new(o!("source" => source.to_string()));
        let runner = CommandRunner {
            source: source.clone(),
            process: process.clone(),
            line: line.clone(),
            guards,
            mode: *mode,
            protected: protected.clone(),
            logs: logs.clone(),
            unlogged: AtomicBool::new(false),
            log: log.clone(),
        };
        let processor =
            Processor::new(Arc::new(runner), process.workers, outlet(), log, hold.clone());
        Some(processor.start())
    }
}

/// Returns the folders of longshore that no command may change; a nested folder comes after its parent.
fn own_folders(sites: &HashMap<SourceName, Arc<Site>>, state: &Path) -> Arc<[PathBuf]> {
    let of_sites = sites.values().flat_map(|site| {
        let source = site.source();
        [&*source.landing, &source.archive, &source.quarantine, site.work()]
    });
    let all: BTreeSet<&Path> = of_sites.chain([state]).collect();
    all.into_iter().map(Path::to_path_buf).collect()
}

fn report(log: &slog::Logger, isolated: &Isolated) {
    let folders = if isolated.confines { "read-only but for {dir}" } else { "open to commands" };
    let facts = o!("folders" => folders, "isolation" => isolated.mode.to_string());
    match &isolated.why {
        None => info!(log, "commands are isolated"; facts),
        Some(why) => {
            info!(log, "commands are isolated less than they could be"; facts, "why" => why)
        }
    }
}

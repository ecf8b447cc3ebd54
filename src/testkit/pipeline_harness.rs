//! [`PipelineHarness`]: a whole pipeline in a temporary folder, in the test's own actix system.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::log_lines::LogLines;
use super::package_maker::PackageMaker;
use super::probe::Probe;
use super::temp_landing::TempLanding;
use super::until;
use crate::actors::outlet::KillPoints;
use crate::actors::supervisor::Ended;
use crate::config::Config;
use crate::id::JobId;
use crate::messages::{Fact, Outcome, PackageEvent, Status, StopMode};
use crate::pipeline::{Pipeline, PipelineHandle};
use crate::process::marked;
use crate::workspace::Reason;

/// Runs a pipeline with a landing, an archive and a quarantine of its own.
///
/// It is configured for short tests: packages need not settle, attempts follow each other at once, the
/// landing is scanned ten times a second, and a graceful stop waits for 10 s at most.
///
/// ```
/// use longshore::testkit::{Flaw, PackageMaker, PipelineHarness};
///
/// # actix::System::new().block_on(async {
/// let mut harness = PipelineHarness::start(|pipeline| pipeline);
/// harness.deliver(PackageMaker::new("plate-1").file("a.csv", "1,2\n"));
/// harness.deliver(PackageMaker::new("plate-2").flaw(Flaw::CutOff));
/// assert!(harness.archived("plate-1").await.join("a.csv").exists());
/// assert_eq!(harness.quarantined("plate-2").await.reason.code, "no_end_record");
/// harness.stop().await;
/// # });
/// ```
pub struct PipelineHarness {
    handle: Option<PipelineHandle>,
    config: Config,
    landing: TempLanding,
    probe: Probe<PackageEvent>,
    events: Vec<PackageEvent>,
    /// The number of events from before each package's last delivery.
    old: HashMap<String, usize>,
    kill: HashMap<String, KillPoints>,
    log: LogLines,
}

/// A package in quarantine.
#[derive(Debug)]
#[non_exhaustive]
pub struct Quarantined {
    /// Its folder there; absolute. It contains `reason.json`, `delivered/` and perhaps `unpacked/`.
    pub path: PathBuf,
    /// The content of `reason.json`.
    pub reason: Reason,
}

impl PipelineHarness {
    /// Starts a pipeline; `build` adds stages and anything else to it. Needs a running actix system.
    ///
    /// # Panics
    /// It cannot be started.
    #[must_use]
    pub fn start(build: impl FnOnce(Pipeline) -> Pipeline) -> Self {
        Self::start_with(|_| {}, build)
    }

    /// The same with another configuration: `configure` changes the harness's own.
    ///
    /// # Panics
    /// It cannot be started.
    #[must_use]
    pub fn start_with(
        configure: impl FnOnce(&mut Config),
        build: impl FnOnce(Pipeline) -> Pipeline,
    ) -> Self {
        let landing = TempLanding::new();
        let mut source = landing.source();
        (source.settle, source.broken_after) = (Duration::ZERO, Duration::ZERO);
        source.rescan = Duration::from_millis(100);
        (source.backoff, source.backoff_max) = (Duration::from_millis(1), Duration::from_millis(1));
        let mut config = Config::new(source);
        (config.workers, config.grace) = (2, Duration::from_secs(10));
        configure(&mut config);
        Self::start_in(landing, config, build)
    }

    /// Starts a pipeline on the landing that [`stop`](Self::stop) of another one returned, with that one's
    /// [`config`](Self::config).
    ///
    /// # Panics
    /// It cannot be started.
    #[must_use]
    pub fn start_in(
        landing: TempLanding,
        config: Config,
        build: impl FnOnce(Pipeline) -> Pipeline,
    ) -> Self {
        let (probe, log) = (Probe::start(), LogLines::default());
        let pipeline = Pipeline::builder(config.clone()).subscribe(probe.recipient());
        let pipeline = build(pipeline.logger(log.logger()));
        let mut kill = HashMap::new();
        let pipeline = pipeline.with_kill_points(|stage| {
            kill.entry(stage.to_owned()).or_insert_with(KillPoints::default).clone()
        });
        let handle = match pipeline.start() {
            Ok(handle) => Some(handle),
            Err(error) => panic!("failed to {}", crate::pipeline::explain(&error)),
        };
        let (events, old) = (Vec::new(), HashMap::new());
        Self { handle, config, landing, probe, events, old, kill, log }
    }

    /// The landing, for deliveries that [`deliver`](Self::deliver) does not support.
    #[must_use]
    pub fn landing(&self) -> &TempLanding {
        &self.landing
    }

    /// The configuration that the pipeline was started with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The pipeline itself.
    ///
    /// # Panics
    /// Never: it exists until the harness is stopped.
    #[must_use]
    pub fn pipeline(&self) -> &PipelineHandle {
        #[expect(clippy::expect_used, reason = "only `stop` takes it, and the harness with it")]
        self.handle.as_ref().expect("a harness that was stopped")
    }

    /// Delivers a package as a careful sender does: under `NAME-downloading`, then renamed.
    ///
    /// Later calls that wait for this name refer to this delivery: await its end before you deliver the same
    /// name again.
    ///
    /// # Panics
    /// The landing refuses it, for example because it already has an entry of that name.
    pub fn deliver(&mut self, package: impl Into<PackageMaker>) {
        let maker = package.into();
        self.old.insert(maker.name().to_owned(), self.events.len());
        if let Err(error) = maker.deliver(&self.landing) {
            panic!("failed to deliver {}: {error}", maker.name());
        }
    }

    /// Waits until a package is in the archive; returns its folder there, absolute.
    ///
    /// # Panics
    /// It ends in another way, or no package has an event for 20 s.
    pub async fn archived(&mut self, name: &str) -> PathBuf {
        match self.settled(name).await {
            Outcome::Archived { path } => path,
            other => panic!("{name} was not archived: {other:?}\n{}", self.log.text()),
        }
    }

    /// Waits until a package is in quarantine.
    ///
    /// # Panics
    /// It ends in another way, or no package has an event for 20 s.
    pub async fn quarantined(&mut self, name: &str) -> Quarantined {
        match self.settled(name).await {
            Outcome::Quarantined { path, .. } => match reason(&path) {
                Ok(reason) => Quarantined { path, reason },
                Err(error) => panic!("failed to read reason.json in {path:?}: {error}"),
            },
            other => panic!("{name} was not quarantined: {other:?}\n{}", self.log.text()),
        }
    }

    /// Waits until a package is settled in any way. A scheduled attempt does not count.
    ///
    /// # Panics
    /// No package has an event for 20 s.
    pub async fn settled(&mut self, name: &str) -> Outcome {
        let end = |fact: &Fact| match fact {
            Fact::Settled(Outcome::Retry { .. }) => false,
            fact => matches!(fact, Fact::Settled(_)),
        };
        match self.happened(name, end).await.fact {
            Fact::Settled(outcome) => outcome,
            other => panic!("this is no end: {other:?}"),
        }
    }

    /// Waits until something has happened to a package; returns its event.
    ///
    /// # Panics
    /// No package has an event for 20 s.
    pub async fn happened(&mut self, name: &str, what: impl Fn(&Fact) -> bool) -> PackageEvent {
        let wanted = |event: &&PackageEvent| event.name == name && what(&event.fact);
        self.hear().await;
        let old = self.old.get(name).copied().unwrap_or_default();
        if let Some(event) = self.events[old..].iter().find(wanted) {
            return event.clone();
        }
        loop {
            let event = self.probe.next().await;
            self.events.push(event.clone());
            if wanted(&&event) {
                return event;
            }
        }
    }

    /// Returns all events so far, in order.
    pub async fn events(&mut self) -> &[PackageEvent] {
        self.hear().await;
        &self.events
    }

    async fn hear(&mut self) {
        self.events.extend(self.probe.drain().await);
    }

    /// Waits until `wanted` accepts the pipeline's counts, for example the number of parked packages.
    ///
    /// # Panics
    /// That does not happen within 30 s, or the pipeline has ended.
    pub async fn counts(&self, wanted: impl Fn(&Status) -> bool) -> Status {
        let begun = std::time::Instant::now();
        loop {
            let status = self.pipeline().get_status().await;
            match status {
                Some(status) if wanted(&status) => return status,
                Some(status) => assert!(
                    begun.elapsed() < Duration::from_secs(30),
                    "the counts stay at {status:?}\n{}",
                    self.log.text()
                ),
                None => panic!("the pipeline has ended\n{}", self.log.text()),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Makes a stage's actor panic when it next answers for this package: its work is done then, but the
    /// answer is lost. All stages are started again, and the package's next attempt starts.
    ///
    /// # Panics
    /// There is no stage with that name.
    pub fn kill_stage_at(&self, stage: &str, package: &str) {
        match self.kill.get(stage) {
            Some(points) => points.set(package),
            None => panic!("there is no stage {stage:?}"),
        }
    }

    /// The log so far.
    #[must_use]
    pub fn log(&self) -> &LogLines {
        &self.log
    }

    /// Stops the pipeline gracefully, and checks that it leaves no actor, no package held by an actor,
    /// and no child process. Every test must end with it: a harness that is only dropped fails the test.
    ///
    /// # Panics
    /// It does not end within its grace period, or something is left 30 s later.
    pub async fn stop(self) -> TempLanding {
        let log = self.log.clone();
        let (ended, landing) = self.stop_as(StopMode::Graceful).await;
        assert_eq!(ended, Ended::Drained, "the pipeline did not come to its end\n{}", log.text());
        landing
    }

    /// The same with any stop mode, for tests of the work area after a stop.
    ///
    /// # Panics
    /// Something is left 30 s after the end.
    pub async fn stop_as(mut self, mode: StopMode) -> (Ended, TempLanding) {
        self.hear().await;
        let landing = std::mem::take(&mut self.landing);
        let Some(mut handle) = self.handle.take() else {
            return (Ended::Immediately, landing);
        };
        handle.stop(mode);
        let ended = handle.ended().await;
        until("the pipeline's actors, stages and packages are gone", || handle.left() == 0).await;
        let jobs: Vec<JobId> = self.events.iter().filter_map(|event| event.job).collect();
        let is_ours = |id: &str| jobs.iter().any(|job| job.to_string() == id);
        let is_left = || match marked(&is_ours) {
            Ok(left) => !left.is_empty(),
            Err(error) => panic!("failed to look for child processes: {error}"),
        };
        until("the pipeline's child processes are gone", || !is_left()).await;
        (ended, landing)
    }
}

fn reason(quarantined: &Path) -> Result<Reason, Box<dyn std::error::Error>> {
    Ok(serde_json::from_slice(&fs::read(quarantined.join("reason.json"))?)?)
}

impl Drop for PipelineHarness {
    fn drop(&mut self) {
        let stopped = self.handle.is_none() || std::thread::panicking();
        assert!(
            stopped,
            "end the test with `harness.stop().await`: it checks that nothing is left"
        );
    }
}

impl fmt::Debug for PipelineHarness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PipelineHarness").field("landing", &self.landing).finish_non_exhaustive()
    }
}

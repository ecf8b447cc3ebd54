//! [`StageHarness`]: a single stage that is given one package after the other.

use std::collections::HashMap;
use std::fmt;
use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Addr, Context, Handler, Recipient};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::answer::{Answer, Rejection};
use super::log_lines::LogLines;
use super::package_maker::PackageMaker;
use super::until::until_within;
use crate::actors::Outlet;
use crate::actors::lifeline::{ActorLost, Census, Ending, Lifeline};
use crate::actors::outlet::{Hop, KillPoints, StageError, Wiring};
use crate::actors::post::post;
use crate::error::Failure;
use crate::extract::{Options, Plan, Scratch, Unpacking};
use crate::id::{JobId, PackageName, SourceName};
use crate::messages::{PackageMoved, Rejected, Unpacked, Whereabouts};
use crate::package::{LostHandler, Package, PackageFacts};

/// The name of the stage.
const STAGE: &str = "stage";

/// The default time for an answer of the stage.
const PATIENCE: Duration = Duration::from_secs(20);

/// Starts one stage as a pipeline would, gives it packages, and returns what it did with them.
///
/// ```
/// use actix::{Actor, Context, Handler};
/// use longshore::testkit::{PackageMaker, StageHarness};
/// use longshore::{Outlet, Unpacked};
///
/// struct Counter {
///     outlet: Outlet,
/// }
///
/// impl Actor for Counter {
///     type Context = Context<Self>;
/// }
///
/// impl Handler<Unpacked> for Counter {
///     type Result = ();
///
///     fn handle(&mut self, Unpacked { package }: Unpacked, _: &mut Context<Self>) {
///         let count = package.entries();
///         self.outlet.pass(package.note("entries", count));
///     }
/// }
///
/// # actix::System::new().block_on(async {
/// let mut harness = StageHarness::start(|outlet| Counter { outlet }.start().recipient());
/// let plate = PackageMaker::new("plate-1").file("a.csv", "1,2\n").file("b.csv", "3,4\n");
/// let package = harness.give(plate).await.passed();
/// assert_eq!(package.notes(), [("entries".to_owned(), "2".to_owned())]);
/// harness.stop().await;
/// # });
/// ```
pub struct StageHarness {
    start: Option<Box<dyn Fn(Outlet) -> Recipient<Unpacked>>>,
    stage: Option<Recipient<Unpacked>>,
    starts: usize,
    patience: Duration,
    parking: usize,
    kill: KillPoints,
    log: LogLines,
    recorder: Addr<Recorder>,
    told: mpsc::UnboundedReceiver<(JobId, Answer)>,
    /// Each job's package.
    names: HashMap<JobId, String>,
    attempts: HashMap<String, u32>,
    /// Answers about other packages that came while one was waited for.
    aside: Vec<(String, Answer)>,
    census: Census,
    ending: Ending,
    folder: TempDir,
    stopped: bool,
}

impl StageHarness {
    /// Starts a stage: `start` is the argument of [`Pipeline::stage`](crate::Pipeline::stage). Needs a
    /// running actix system.
    ///
    /// # Panics
    /// There is no space for a temporary folder.
    #[must_use]
    pub fn start(start: impl Fn(Outlet) -> Recipient<Unpacked> + 'static) -> Self {
        let (tell, told) = mpsc::unbounded_channel();
        #[expect(clippy::expect_used, reason = "a test without its folder fails, as it should")]
        let folder = tempfile::tempdir().expect("make a temporary folder");
        let census = Census::default();
        let ending = Ending::counted(&census);
        let mut harness = Self {
            start: Some(Box::new(start)),
            stage: None,
            starts: 0,
            patience: PATIENCE,
            parking: 1000,
            kill: KillPoints::default(),
            log: LogLines::default(),
            recorder: Recorder { tell }.start(),
            told,
            names: HashMap::new(),
            attempts: HashMap::new(),
            aside: Vec::new(),
            census,
            ending,
            folder,
            stopped: false,
        };
        harness.start_stage();
        harness
    }

    /// Sets the time for each answer, in place of 20 s.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Sets how many packages the stage may hold back, in place of 1,000. Starts the stage again for that.
    #[must_use]
    pub fn parking(mut self, packages: usize) -> Self {
        self.parking = packages;
        self.start_stage();
        self
    }

    fn start_stage(&mut self) {
        // The end of the previous stage is not the end of this one.
        self.ending = Ending::counted(&self.census);
        let here = self.recorder.clone();
        let moved = here.clone().recipient();
        let next = Hop { stage: None, to: here.clone().recipient(), moved: moved.clone() };
        let lifeline = Lifeline::new(STAGE, here.clone().recipient(), self.ending.clone());
        let outlet = Outlet::new(Wiring {
            stage: STAGE.into(),
            next: HashMap::from([(SourceName::default(), next)]),
            rejected: here.recipient(),
            moved,
            parking: self.parking,
            log: self.log.logger(),
            lifeline,
        });
        let outlet = outlet.with_kill_points(self.kill.clone());
        self.stage = self.start.as_ref().map(|start| start(outlet));
        self.starts += 1;
    }

    /// Gives a package to the stage and waits for its answer.
    ///
    /// Unpacks the package first, into a folder of its own. A name that was given before starts that package's
    /// next attempt. If the stage's actor has ended, it is started again, as in a pipeline.
    ///
    /// # Panics
    /// The package cannot be unpacked: in a pipeline, no stage would receive it.
    pub async fn give(&mut self, package: impl Into<PackageMaker>) -> Answer {
        let maker = package.into();
        if self.stage.as_ref().is_none_or(|stage| !stage.connected()) {
            self.start_stage();
        }
        let package = match self.unpack(&maker) {
            Ok(package) => package,
            Err(error) => panic!("failed to unpack {}: {error}", maker.name()),
        };
        if let Some(stage) = &self.stage {
            post(stage, Unpacked { package });
        }
        self.next(maker.name()).await
    }

    /// Waits for the next answer about a package that the stage was given before: for example, it may pass
    /// on a parked package.
    pub async fn next(&mut self, package: &str) -> Answer {
        if let Some(at) = self.aside.iter().position(|(name, _)| name == package) {
            return self.aside.remove(at).1;
        }
        let deadline = Instant::now() + self.patience;
        while let Ok(Some((job, answer))) = timeout_at(deadline, self.told.recv()).await {
            let name = self.names.get(&job).cloned().unwrap_or_default();
            if name == package {
                return answer;
            }
            self.aside.push((name, answer));
        }
        Answer::Nothing
    }

    /// Makes the stage's actor panic when it next answers for this package: its work is done then, but the
    /// answer is lost. The package is lost, and its next attempt starts afresh.
    pub fn kill_at(&self, package: &str) {
        self.kill.set(package);
    }

    /// How often the stage was started; 1 unless its actor was lost.
    #[must_use]
    pub fn starts(&self) -> usize {
        self.starts
    }

    /// The log of the outlet.
    #[must_use]
    pub fn log(&self) -> &LogLines {
        &self.log
    }

    /// Drops the stage's address, and waits until its actor has ended and dropped every package. Every test
    /// must end with it: a harness that is only dropped fails the test.
    ///
    /// # Panics
    /// The actor does not end within the time for an answer: it holds its own address, or has an
    /// interval that never ends (see [`Outlet::is_closed`]).
    pub async fn stop(mut self) {
        self.ending.begin();
        (self.stage, self.start) = (None, None);
        self.ending = Ending::default();
        let gone = "the stage's actor and its packages are gone";
        until_within(self.patience, gone, || self.census.others() == 0).await;
        self.stopped = true;
    }

    fn unpack(&mut self, maker: &PackageMaker) -> Result<Package, Box<dyn std::error::Error>> {
        let name = PackageName::new(maker.name())?;
        let attempt = self.attempts.entry(maker.name().to_owned()).or_default();
        *attempt += 1;
        let job = JobId::generate();
        let mut facts = PackageFacts {
            source: SourceName::default(),
            name,
            job,
            attempt: *attempt,
            home: self.folder.path().join(format!("{job}.{attempt}.0")),
            entries: 0,
            bytes: 0,
            untouched: false,
        };
        fs::create_dir_all(facts.delivered())?;
        maker.write_to(&facts.delivered())?;
        fs::create_dir(facts.dir())?;
        let zip = facts.delivered().join(format!("{}.zip", maker.name()));
        (facts.entries, facts.bytes) = unpack(&zip, &facts.dir())?;
        self.names.insert(job, maker.name().to_owned());
        let (recorder, ending) = (self.recorder.clone().recipient(), self.ending.clone());
        let lost: LostHandler = Arc::new(move |package| {
            if !ending.has_begun() {
                post(&recorder, Rejected { package, error: Box::new(StageError::Lost) });
            }
        });
        Ok(Package::new(facts, Some(lost)))
    }
}

/// Unpacks a ZIP into an empty folder: only files and folders, and their contents.
fn unpack(zip: &Path, to: &Path) -> Result<(u64, u64), Box<dyn std::error::Error>> {
    let zip = File::open(zip)?;
    let plan = Plan::read(&zip, &Options::default())?;
    let (counted, slices) = ((plan.inodes(), plan.total_bytes()), plan.slices(1 << 30, 100_000));
    let unpacking = Unpacking::new(plan, zip, File::open(to)?.into())?;
    let mut scratch = Scratch::default();
    for slice in &slices {
        unpacking.write(slice, &mut scratch)?;
    }
    unpacking.finish()?;
    Ok(counted)
}

impl Drop for StageHarness {
    fn drop(&mut self) {
        let stopped = self.stopped || std::thread::panicking();
        assert!(
            stopped,
            "end the test with `harness.stop().await`: it checks that nothing is left"
        );
    }
}

impl fmt::Debug for StageHarness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StageHarness").field("starts", &self.starts).finish_non_exhaustive()
    }
}

/// Plays all peers of a stage.
struct Recorder {
    tell: mpsc::UnboundedSender<(JobId, Answer)>,
}

impl Recorder {
    fn tell(&self, job: JobId, answer: Answer) {
        self.tell.send((job, answer)).ok(); // the harness may have been dropped
    }
}

impl Actor for Recorder {
    type Context = Context<Self>;
}

impl Handler<Unpacked> for Recorder {
    type Result = ();

    fn handle(&mut self, Unpacked { package }: Unpacked, _: &mut Self::Context) {
        self.tell(package.job(), Answer::Passed(package.out_of_work()));
    }
}

impl Handler<Rejected> for Recorder {
    type Result = ();

    fn handle(&mut self, Rejected { package, error }: Rejected, _: &mut Self::Context) {
        let (job, package) = (package.job(), package.out_of_work());
        let lost = error.code() == StageError::Lost.code();
        let rejected = || Answer::Rejected(Rejection::of(package, &*error));
        self.tell(job, if lost { Answer::Lost } else { rejected() });
    }
}

impl Handler<PackageMoved> for Recorder {
    type Result = ();

    fn handle(&mut self, moved: PackageMoved, _: &mut Self::Context) {
        if let Whereabouts::Parked(_) = moved.to {
            self.tell(moved.job, Answer::Parked);
        }
    }
}

impl Handler<ActorLost> for Recorder {
    type Result = ();

    fn handle(&mut self, _: ActorLost, _: &mut Self::Context) {
        // The closed address shows it, too; the next package starts the stage again.
    }
}

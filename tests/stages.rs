//! What becomes of a package whose stage does not do its duty, as its user sees it: attempts,
//! `reason.json`, log.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::time::Duration;

use actix::{Actor, Context, Handler, Recipient, SyncArbiter, SyncContext};
use longshore::testkit::{Answer, PackageMaker, PipelineHarness, Quarantined, StageHarness};
use longshore::{Disposition, Outcome, Outlet, Package, Parked, Unpacked};
use longshore::{Fact, Failure};

/// What a stage does with the packages called `bad…`; the others it passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Vice {
    Panic,
    Drop,
    Keep,
    Park,
    Reject,
}

struct Vicious {
    vice: Vice,
    outlet: Outlet,
    kept: Vec<Package>,
    parked: Vec<Parked>,
}

impl Vicious {
    fn of(vice: Vice) -> impl Fn(Outlet) -> Recipient<Unpacked> {
        move |outlet| {
            Self { vice, outlet, kept: Vec::new(), parked: Vec::new() }.start().recipient()
        }
    }
}

impl Actor for Vicious {
    type Context = Context<Self>;
}

#[derive(Debug, thiserror::Error)]
#[error("find a calibration")]
struct NotCalibrated;

impl Failure for NotCalibrated {
    fn code(&self) -> &'static str {
        "not_calibrated"
    }

    fn disposition(&self) -> Disposition {
        Disposition::Quarantine
    }
}

impl Handler<Unpacked> for Vicious {
    type Result = ();

    fn handle(&mut self, Unpacked { package }: Unpacked, _: &mut Self::Context) {
        if !package.name().as_str().starts_with("bad") {
            self.outlet.pass(package);
            return;
        }
        match self.vice {
            Vice::Panic => panic!("as the test wants it"),
            Vice::Drop => drop(package),
            Vice::Keep => self.kept.push(package),
            Vice::Park => self.parked.extend(self.outlet.park(package).ok()),
            Vice::Reject => self.outlet.reject(package.note("seen", true), NotCalibrated),
        }
    }
}

/// Attempts at a package that ended with another one to come: their codes.
async fn retries(harness: &mut PipelineHarness, name: &str) -> Vec<String> {
    let events = harness.events().await.iter().filter(|event| event.name == name);
    let codes = events.filter_map(|event| match &event.fact {
        Fact::Settled(Outcome::Retry { code, .. }) => Some(code.clone()),
        _ => None,
    });
    codes.collect()
}

/// Its code in `reason.json` and the attempt that failed.
fn verdict(Quarantined { reason, .. }: &Quarantined) -> (&str, u32) {
    (&reason.code, reason.attempt)
}

#[actix::test]
async fn stage_that_panics_costs_the_package_its_attempts_and_restarts_the_pipeline() {
    let build = |pipeline: longshore::Pipeline| pipeline.stage("vicious", Vicious::of(Vice::Panic));
    let mut harness = PipelineHarness::start(build);
    for name in ["good-1", "bad", "good-2"] {
        harness.deliver(name);
    }
    let bad = harness.quarantined("bad").await;
    assert_eq!(verdict(&bad), ("package_lost", 3));
    assert!(bad.path.join("delivered/bad.zip").exists(), "it goes to quarantine whole");
    assert_eq!(retries(&mut harness, "bad").await, ["package_lost"; 2]);
    for name in ["good-1", "good-2"] {
        assert!(harness.archived(name).await.join("hello.txt").exists(), "{name}");
    }
    for words in [
        &["an actor is lost, the pipeline starts again", "stage"][..],
        &["will be tried again", "package_lost", "bad"],
        &["quarantined", "package_lost", "bad"],
    ] {
        assert!(harness.log().line_with(words).is_some(), "{words:?}\n{}", harness.log().text());
    }
    harness.stop().await;
}

#[actix::test]
async fn stage_that_drops_a_package_costs_it_its_attempts_and_nothing_else() {
    let build = |pipeline: longshore::Pipeline| pipeline.stage("vicious", Vicious::of(Vice::Drop));
    let mut harness = PipelineHarness::start(build);
    harness.deliver("bad");
    let bad = harness.quarantined("bad").await;
    assert_eq!(verdict(&bad), ("package_lost", 3));
    assert!(bad.reason.message.contains("a stage dropped it or panicked"), "{:?}", bad.reason);
    assert_eq!(retries(&mut harness, "bad").await, ["package_lost"; 2]);
    let health = harness.pipeline().get_health().await.unwrap();
    assert_eq!(health.restarts, 0, "the actor lives, so nothing starts again");
    harness.deliver("good");
    harness.archived("good").await;
    harness.stop().await;
}

#[actix::test]
async fn stage_that_never_answers_is_overdue_at_its_deadline() {
    let mut harness = PipelineHarness::start(|pipeline| {
        let pipeline = pipeline.stage("vicious", Vicious::of(Vice::Keep));
        pipeline.deadline(Duration::from_millis(200))
    });
    harness.deliver("bad");
    let bad = harness.quarantined("bad").await;
    assert_eq!(verdict(&bad), ("stage_overdue", 3));
    assert!(bad.reason.message.contains("vicious"), "it names the stage: {:?}", bad.reason);
    assert_eq!(retries(&mut harness, "bad").await, ["stage_overdue"; 2]);
    let line = harness.log().line_with(&["will be tried again", "stage_overdue", "bad"]);
    assert!(line.is_some(), "{}", harness.log().text());
    harness.deliver("good");
    harness.archived("good").await;
    harness.stop().await;
}

#[actix::test]
async fn stage_that_parks_for_ever_has_the_package_quarantined_at_the_parking_deadline() {
    let mut harness = PipelineHarness::start(|pipeline| {
        let pipeline = pipeline.stage("vicious", Vicious::of(Vice::Park));
        pipeline.parking_deadline(Duration::from_millis(300))
    });
    harness.deliver("bad");
    harness.counts(|status| status.parked == 1).await;
    harness.deliver("good");
    harness.archived("good").await;
    let bad = harness.quarantined("bad").await;
    assert_eq!(verdict(&bad), ("parked_too_long", 1));
    assert_eq!(
        retries(&mut harness, "bad").await,
        [""; 0],
        "no attempt can bring what it waits for"
    );
    let line = harness.log().line_with(&["quarantined", "parked_too_long", "bad"]);
    assert!(line.is_some(), "{}", harness.log().text());
    harness.stop().await;
}

#[actix::test]
async fn stage_that_rejects_has_its_own_code_and_notes_in_the_reason() {
    let build =
        |pipeline: longshore::Pipeline| pipeline.stage("vicious", Vicious::of(Vice::Reject));
    let mut harness = PipelineHarness::start(build);
    harness.deliver("bad");
    let bad = harness.quarantined("bad").await;
    assert_eq!(verdict(&bad), ("not_calibrated", 1));
    assert_eq!(bad.reason.message, "find a calibration");
    assert_eq!(bad.reason.notes, [("seen".to_owned(), "true".to_owned())]);
    harness.stop().await;
}

/// Its work panics over `bad…`; in a pool, under guard.
struct Guarded {
    outlet: Outlet,
}

impl Actor for Guarded {
    type Context = SyncContext<Self>;
}

impl Handler<Unpacked> for Guarded {
    type Result = ();

    fn handle(&mut self, Unpacked { package }: Unpacked, _: &mut Self::Context) {
        self.outlet.guarded(|| {
            assert!(!package.name().as_str().starts_with("bad"), "as the test wants it");
            self.outlet.pass(package);
        });
    }
}

/// One thread: were it lost, nothing would pass any more.
fn guarded(outlet: Outlet) -> Recipient<Unpacked> {
    SyncArbiter::start(1, move || Guarded { outlet: outlet.clone() }).recipient()
}

#[actix::test]
async fn guarded_stage_that_panics_costs_the_package_an_attempt_and_not_the_pool_its_thread() {
    let mut harness = PipelineHarness::start(|pipeline| pipeline.stage("pool", guarded));
    harness.deliver("bad");
    assert_eq!(verdict(&harness.quarantined("bad").await), ("package_lost", 3));
    for name in ["good-1", "good-2"] {
        harness.deliver(name);
        harness.archived(name).await;
    }
    let health = harness.pipeline().get_health().await.unwrap();
    assert_eq!(health.restarts, 0, "the thread lives, so nothing starts again");
    let line = harness.log().line_with(&["a stage panicked", "pool"]);
    assert!(line.is_some(), "{}", harness.log().text());
    harness.stop().await;
}

#[actix::test]
async fn stage_killed_as_it_answers_begins_afresh_with_the_next_attempt() {
    let mut harness = PipelineHarness::start(|pipeline| {
        pipeline.stage("marker", |outlet| Marker { outlet }.start().recipient())
    });
    harness.kill_stage_at("marker", "plate");
    harness.deliver("plate");
    let archived = harness.archived("plate").await;
    assert_eq!(std::fs::read_to_string(archived.join("attempt")).unwrap(), "2");
    assert!(!archived.join("attempt-1").exists(), "the first attempt's work was kept");
    assert_eq!(retries(&mut harness, "plate").await, ["package_lost"]);
    harness.stop().await;
}

/// Writes down which attempt this is.
struct Marker {
    outlet: Outlet,
}

impl Actor for Marker {
    type Context = Context<Self>;
}

impl Handler<Unpacked> for Marker {
    type Result = ();

    fn handle(&mut self, Unpacked { package }: Unpacked, _: &mut Self::Context) {
        let attempt = package.attempt().to_string();
        std::fs::write(package.dir().join(format!("attempt-{attempt}")), "").unwrap();
        std::fs::write(package.dir().join("attempt"), attempt).unwrap();
        self.outlet.pass(package);
    }
}

// The same, without a pipeline.

#[actix::test]
async fn stage_alone_answers_as_it_would_in_a_pipeline() {
    for vice in [Vice::Panic, Vice::Drop, Vice::Keep, Vice::Park, Vice::Reject] {
        let harness = StageHarness::start(Vicious::of(vice));
        let mut harness = harness.patience(Duration::from_millis(300));
        let good = harness.give("good").await.passed();
        assert!(good.dir().join("hello.txt").exists());
        assert!(good.delivered().join("good.zip").exists());
        let bad = PackageMaker::new("bad").file("a", "b");
        let starts = match (vice, harness.give(&bad).await) {
            (Vice::Panic, Answer::Lost) => 2,
            (Vice::Drop, Answer::Lost)
            | (Vice::Keep, Answer::Nothing)
            | (Vice::Park, Answer::Parked) => 1,
            (Vice::Reject, answer) => {
                let rejection = answer.rejected();
                assert_eq!(rejection.code, "not_calibrated");
                assert_eq!(rejection.disposition, Disposition::Quarantine);
                1
            }
            (vice, answer) => panic!("{vice:?}: {answer}"),
        };
        harness.give("good").await.passed();
        assert_eq!(harness.starts(), starts, "{vice:?}");
        harness.stop().await;
    }
}

#[actix::test]
async fn stage_alone_that_is_killed_as_it_answers_loses_the_package_once() {
    let mut harness = StageHarness::start(Vicious::of(Vice::Drop));
    harness.kill_at("good");
    assert!(harness.give("good").await.is_lost());
    let package = harness.give("good").await.passed();
    assert_eq!(package.attempt(), 2);
    harness.stop().await;
}

#[actix::test]
async fn stage_alone_that_may_park_one_gets_the_second_back() {
    let harness = StageHarness::start(Vicious::of(Vice::Park));
    let mut harness = harness.parking(1).patience(Duration::from_millis(300));
    assert!(harness.give("bad-1").await.is_parked());
    // This stage lets go of what it gets back.
    assert!(harness.give("bad-2").await.is_lost());
    harness.stop().await;
}

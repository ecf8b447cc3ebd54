//! Tests the pipeline as a whole, and the wiring.

use std::fs;

use super::wiring::lost_handler;
use super::*;
use crate::actors::lifeline::{ActorLost, Ending, Lifeline};
use crate::actors::outlet::Wiring;
use crate::actors::post::post;
use crate::actors::supervisor::Ended;
use crate::config::Source;
use crate::error::Disposition;
use crate::id::{JobId, PackageName};
use crate::messages::{Fact, Outcome, PackageMoved, Rejected, StopMode};
use crate::package::{LostHandler, Package, PackageFacts};
use crate::testkit::{Probe, TempLanding};
use std::sync::Arc;

fn package(name: &str, lost: LostHandler) -> Package {
    let facts = PackageFacts {
        source: SourceName::default(),
        name: PackageName::new(name).unwrap(),
        job: JobId::generate(),
        attempt: 1,
        home: "/work/job".into(),
        entries: 0,
        bytes: 0,
        untouched: false,
    };
    Package::new(facts, Some(lost))
}

#[actix::test]
async fn package_that_is_dropped_costs_an_attempt_but_not_after_a_stop() {
    let mut archiver = Probe::<Rejected>::start();
    let ending = Ending::default();
    let lost = lost_handler(archiver.recipient(), ending.clone());
    drop(package("a", Arc::clone(&lost)));
    let Rejected { package: found, error } = archiver.next().await;
    assert_eq!((error.code(), error.disposition()), ("package_lost", Disposition::Retry));
    found.settle();
    ending.begin();
    drop(package("a", lost));
    assert!(archiver.drain().await.is_empty(), "a stop cost the package an attempt");
}

fn once(source: Source, events: &Probe<PackageEvent>) -> Pipeline {
    Pipeline::builder(Config::new(source)).subscribe(events.recipient()).once()
}

#[actix::test]
async fn pipeline_run_once_archives_what_is_there_and_ends() {
    let landing = TempLanding::new();
    landing.deliver("a").unwrap();
    landing.deliver("b").unwrap();
    let mut events = Probe::start();
    let mut source = landing.source();
    source.settle = std::time::Duration::ZERO;
    let archive = source.archive.clone();
    let mut handle = once(source, &events).start().unwrap();
    assert_eq!(handle.ended().await, Ended::Drained);
    let archived = events
        .drain()
        .await
        .into_iter()
        .filter(|event| matches!(event.fact, Fact::Settled(Outcome::Archived { .. })));
    assert_eq!(archived.count(), 2);
    assert!(archive.join("a/a.zip").exists() && archive.join("b/hello.txt").exists());
    assert_eq!(fs::read_dir(landing.path()).unwrap().count(), 1, "more than .longshore");
}

#[actix::test]
async fn pipeline_whose_actors_panic_one_by_one_archives_every_package_once() {
    let actors = ["dispatcher", "archiver", "event bus", "extractor", "watcher of default"];
    let landing = TempLanding::new();
    let mut events = Probe::start();
    let mut source = landing.source();
    (source.settle, source.rescan) = (Duration::ZERO, Duration::from_millis(100));
    let archive = source.archive.clone();
    let mut handle =
        Pipeline::builder(Config::new(source)).subscribe(events.recipient()).start().unwrap();
    for (round, actor) in actors.into_iter().enumerate() {
        // Some packages are in work when the actor is lost, and some are left for the next run.
        for n in 0..10 {
            landing.deliver(&format!("before-{round}-{n}")).unwrap();
        }
        while !matches!(events.next().await.fact, Fact::Claimed) {}
        // Packages after the last loss may be settled while the next run is still starting.
        let panicked = async {
            while !handle.have_panic(actor).await {
                actix_rt::task::yield_now().await;
            }
        };
        let within = tokio::time::timeout(Duration::from_secs(20), panicked).await;
        assert!(within.is_ok(), "there is no {actor}");
        landing.deliver(&format!("after-{round}")).unwrap();
        let last = archive.join(format!("after-{round}"));
        crate::testkit::until("the package that came after it is archived", || last.exists()).await;
        let health = handle.get_health().await.unwrap();
        assert_eq!(health.restarts, round + 1, "after {actor}");
    }
    let count = || fs::read_dir(&archive).unwrap().count();
    crate::testkit::until("all are archived", || count() == 55).await;
    handle.stop(StopMode::Graceful);
    assert_eq!(handle.ended().await, Ended::Drained);
    let revisions = fs::read_dir(&archive)
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_str().unwrap().contains('.'));
    assert_eq!(revisions.count(), 0, "a package was archived twice");
    assert_eq!(fs::read_dir(landing.path()).unwrap().count(), 1, "more than .longshore");
}

#[actix::test]
async fn pipeline_whose_processor_panics_runs_its_command_again_over_what_it_had() {
    let landing = TempLanding::new();
    let mut source = landing.source();
    (source.settle, source.rescan) = (Duration::ZERO, Duration::from_millis(100));
    let archive = source.archive.clone();
    let go = landing.outside().join("go");
    let script = format!("until [ -e {} ]; do sleep 0.01; done; touch made", go.display());
    let mut process = crate::config::Process::new(vec![script]);
    (process.shell, process.workers) = (true, 2);
    source.process = Some(process);
    let mut handle = Pipeline::builder(Config::new(source)).start().unwrap();
    for n in 0..5 {
        landing.deliver(&format!("plate-{n}")).unwrap();
    }
    let logs = landing.join(".longshore/logs");
    let begun = || fs::read_dir(&logs).is_ok_and(|logs| logs.count() == 2);
    crate::testkit::until("two commands run", begun).await;
    assert!(handle.have_panic("processor of default").await);
    fs::write(go, "").unwrap();
    let made = |n| archive.join(format!("plate-{n}/made")).exists();
    crate::testkit::until("all are archived", || (0..5).all(made)).await;
    assert_eq!(handle.get_health().await.unwrap().restarts, 1);
    handle.stop(StopMode::Graceful);
    assert_eq!(handle.ended().await, Ended::Drained);
    assert_eq!(fs::read_dir(&archive).unwrap().count(), 5, "a package was archived twice");
}

/// Panics on one package and passes the others.
struct Fragile {
    outlet: Outlet,
}

impl actix::Actor for Fragile {
    type Context = actix::Context<Self>;
}

impl actix::Handler<Unpacked> for Fragile {
    type Result = ();

    fn handle(&mut self, Unpacked { package }: Unpacked, _: &mut Self::Context) {
        assert!(package.name().as_str() != "poison", "as the test wants it");
        self.outlet.pass(package);
    }
}

fn settled(events: Vec<PackageEvent>) -> std::collections::BTreeMap<String, Vec<String>> {
    let mut by_name: std::collections::BTreeMap<String, Vec<String>> = Default::default();
    for event in events {
        let how = match event.fact {
            Fact::Settled(Outcome::Archived { .. }) => "archived".to_owned(),
            Fact::Settled(Outcome::Quarantined { code, .. }) => code,
            _ => continue,
        };
        by_name.entry(event.name).or_default().push(how);
    }
    by_name
}

#[actix::test]
async fn package_whose_stage_panics_each_time_is_quarantined_and_its_neighbours_are_not() {
    use actix::Actor;

    let landing = TempLanding::new();
    for name in ["a", "poison", "z"] {
        landing.deliver(name).unwrap();
    }
    let mut events = Probe::start();
    let mut source = landing.source();
    (source.settle, source.backoff) = (Duration::ZERO, Duration::from_millis(1));
    let mut handle = once(source, &events)
        .stage("fragile", |outlet| Fragile { outlet }.start().recipient())
        .start()
        .unwrap();
    assert_eq!(handle.ended().await, Ended::Drained);
    let settled = settled(events.drain().await);
    assert_eq!(settled["poison"], ["package_lost"]);
    for name in ["a", "z"] {
        assert!(landing.source().archive.join(name).join("hello.txt").exists(), "{name}");
    }
}

#[actix::test]
async fn package_that_waits_in_the_mailbox_of_a_stage_that_dies_pays_no_attempt() {
    use actix::Actor;

    let (mut rejected, mut gone) = (Probe::<Rejected>::start(), Probe::<ActorLost>::start());
    let ending = Ending::default();
    let outlet = Outlet::new(Wiring {
        stage: "fragile".into(),
        next: std::collections::HashMap::new(),
        rejected: rejected.recipient(),
        moved: Probe::<PackageMoved>::start().recipient(),
        parking: 0,
        log: Logger::root(slog::Discard, o!()),
        lifeline: Lifeline::new("stage", gone.recipient(), ending.clone()),
    });
    let stage = Fragile { outlet }.start().recipient();
    let lost = lost_handler(rejected.recipient(), ending);
    for name in ["poison", "z"] {
        post(&stage, Unpacked { package: package(name, Arc::clone(&lost)) });
    }
    gone.next().await;
    let mut paid = Vec::new();
    for Rejected { package, error } in rejected.drain().await {
        paid.push((package.name().to_string(), error.code()));
        package.settle();
    }
    assert_eq!(paid, [("poison".to_owned(), "package_lost")]);
}

#[actix::test]
async fn pipeline_asked_to_stop_drains_and_can_be_started_again() {
    let landing = TempLanding::new();
    for _ in 0..2 {
        let mut handle = Pipeline::builder(Config::new(landing.source())).start().unwrap();
        handle.stop(StopMode::Graceful);
        assert_eq!(handle.ended().await, Ended::Drained);
    }
}

#[actix::test]
async fn stages_that_cannot_be_as_they_were_added_are_refused_at_the_start() {
    let landing = TempLanding::new();
    let pipeline = || Pipeline::builder(Config::new(landing.source()));
    let stage = |_| Probe::<Unpacked>::start().recipient();
    let elsewhere = || SourceName::new("elsewhere").unwrap();
    let why = |pipeline: Pipeline| match pipeline.start() {
        Err(PipelineError::Stages(fault)) => fault.to_string(),
        Err(other) => panic!("it should be refused for its stages: {other}"),
        Ok(_) => panic!("it should not start"),
    };
    let second = Duration::from_secs(1);
    assert!(why(pipeline().deadline(second).stage("a", stage)).contains(".deadline(…)"));
    assert!(why(pipeline().parking(1)).contains(".parking(…)"));
    let unknown = why(pipeline().stage_for(elsewhere(), "a", stage));
    assert!(unknown.contains("elsewhere") && unknown.contains("there is default"), "{unknown}");
    assert!(why(pipeline().stage("a", stage).stage("a", stage)).contains("second stage"));
    for name in ["", " ", "processor"] {
        assert!(why(pipeline().stage(name, stage)).contains("choose one"), "{name:?}");
    }
}

//! The pipeline as a whole, and what it wires.

use std::fs;

use super::*;
use crate::config::Source;
use crate::id::{JobId, PackageName};
use crate::messages::{Fact, Outcome};
use crate::package::{Package, PackageFacts};
use crate::testkit::{Probe, TempLanding};

fn package(lost: LostHandler) -> Package {
    let facts = PackageFacts {
        source: SourceName::default(),
        name: PackageName::new("a").unwrap(),
        job: JobId::generate(),
        attempt: 1,
        home: "/work/job".into(),
        entries: 0,
        bytes: 0,
    };
    Package::new(facts, Some(lost))
}

#[actix::test]
async fn package_that_is_dropped_costs_an_attempt_but_not_after_a_stop() {
    let mut archiver = Probe::<Rejected>::start();
    let ending = Ending::default();
    let lost = lost_handler(archiver.recipient(), ending.clone());
    drop(package(Arc::clone(&lost)));
    let Rejected { package: found, error } = archiver.next().await;
    assert_eq!((error.code(), error.disposition()), ("package_lost", Disposition::Retry));
    found.settle();
    ending.begin();
    drop(package(lost));
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
async fn pipeline_that_loses_an_actor_ends_and_its_jobs_count_as_crashed() {
    let landing = TempLanding::new();
    let events = Probe::start();
    let mut handle = Pipeline::builder(Config::new(landing.source()))
        .subscribe(events.recipient())
        .start()
        .unwrap();
    post_to(&handle.supervisor, ActorLost { name: "archiver" });
    assert_eq!(handle.ended().await, Ended::Failed { actor: "archiver" });
    let boot = landing.path().join(".longshore/work/default/.boot");
    assert!(fs::read_to_string(boot).unwrap().contains("running"), "it looks like a stop");
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

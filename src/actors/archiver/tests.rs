//! Tests the Archiver through its messages, on real folders.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

use actix::Addr;

use super::*;
use crate::error::{Disposition, Failure};
use crate::id::PackageName;
use crate::messages::Outcome;
use crate::package::{Package, PackageFacts};
use crate::testkit::Probe;
use crate::workspace::{JobDir, testing::Bench};

#[derive(Debug, thiserror::Error)]
#[error("like it")]
struct Dislike(Disposition);

impl Failure for Dislike {
    fn code(&self) -> &'static str {
        "dislike"
    }

    fn disposition(&self) -> Disposition {
        self.0
    }
}

struct Stand {
    bench: Bench,
    settled: Probe<JobSettled>,
    archiver: Addr<Archiver>,
}

fn stand() -> Stand {
    let bench = Bench::with(|source| source.backoff = Duration::from_secs(8));
    let settled = Probe::start();
    let sites = Arc::new(HashMap::from([(SourceName::default(), bench.site())]));
    let log = Logger::root(slog::Discard, slog::o!());
    let copying = Copying::new(crate::workspace::Space::new());
    let archiver = Archiver::new(
        sites,
        settled.recipient(),
        copying,
        Books::new(None),
        log,
        Lifeline::loose(),
        Hold::loose(),
    )
    .start();
    Stand { bench, settled, archiver }
}

fn package(job: &JobDir) -> Package {
    let facts = PackageFacts {
        source: SourceName::default(),
        name: job.name().clone(),
        job: job.id(),
        attempt: job.attempt(),
        home: job.path().to_owned(),
        entries: 1,
        bytes: 4,
        untouched: false,
    };
    Package::new(facts, None)
}

impl Stand {
    async fn unpacked(&mut self, job: &JobDir) -> Outcome {
        self.archiver.send(Unpacked { package: package(job) }).await.unwrap();
        self.settled.next().await.outcome
    }

    async fn rejected(&mut self, package: Package, disposition: Disposition) -> JobSettled {
        let error = Box::new(Dislike(disposition));
        self.archiver.send(Rejected { package, error }).await.unwrap();
        self.settled.next().await
    }

    fn in_work(&self) -> Vec<String> {
        let names = fs::read_dir(self.bench.site.root()).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| !name.starts_with('.')).collect()
    }
}

#[actix::test]
async fn package_that_passed_is_archived_with_its_originals_and_leaves_no_trace_in_work() {
    let mut stand = stand();
    let job = stand.bench.unpacked("a");
    let outcome = stand.unpacked(&job).await;
    let path = stand.bench.path("mv_zip/a");
    assert_eq!(outcome, Outcome::Archived { path: path.clone() });
    assert!(path.join("a.zip").exists() && path.join("data.txt").exists());
    assert!(stand.in_work().is_empty());
}

#[actix::test]
async fn package_of_a_name_that_is_archived_becomes_a_revision() {
    let mut stand = stand();
    for path in ["mv_zip/a", "mv_zip/a.2"] {
        let job = stand.bench.unpacked("a");
        let path = stand.bench.path(path);
        assert_eq!(stand.unpacked(&job).await, Outcome::Archived { path });
    }
}

#[actix::test]
async fn package_at_fault_goes_to_quarantine_whole_with_its_notes_and_the_reason() {
    let mut stand = stand();
    let job = stand.bench.unpacked("a");
    let package = package(&job).note("seen", 3);
    let settled = stand.rejected(package, Disposition::Quarantine).await;
    let Outcome::Quarantined { code, path, .. } = settled.outcome else { panic!("{settled:?}") };
    assert_eq!(code, "dislike");
    assert!(path.join("delivered/a.zip").exists() && path.join("unpacked/data.txt").exists());
    let reason = fs::read_to_string(path.join("reason.json")).unwrap();
    assert!(reason.contains("\"dislike\"") && reason.contains("\"seen\""), "{reason}");
    assert!(stand.in_work().is_empty());
}

#[actix::test]
async fn package_that_may_be_tried_again_is_put_aside_until_its_attempts_are_used_up() {
    let mut stand = stand();
    let mut job = stand.bench.unpacked("a");
    for attempt in 1..=2 {
        let before = Instant::now();
        let settled = stand.rejected(package(&job), Disposition::Retry).await;
        let Outcome::Retry { at, attempt: next, pause_source: false, .. } = settled.outcome else {
            panic!("{settled:?}")
        };
        assert_eq!((settled.attempt, next), (attempt, attempt + 1));
        let pause = at - before;
        let least = Duration::from_secs(8) * attempt;
        assert!(pause >= least && pause < least * 2, "attempt {attempt} waits {pause:?}");
        let name = PackageName::new("a").unwrap();
        job = stand.bench.site.find(job.id(), &name, next, 0).unwrap();
        assert_eq!(job.attempt(), next, "a restart would not know of the attempt");
        assert!(!job.done().exists(), "the next attempt would find the last one's output");
    }
    let settled = stand.rejected(package(&job), Disposition::Retry).await;
    assert!(matches!(settled.outcome, Outcome::Quarantined { .. }), "{settled:?}");
}

#[actix::test]
async fn package_that_waits_for_room_pays_no_attempt_and_pauses_its_source() {
    let mut stand = stand();
    let job = stand.bench.unpacked("a");
    let settled = stand.rejected(package(&job), Disposition::Wait).await;
    assert!(
        matches!(settled.outcome, Outcome::Retry { attempt: 1, pause_source: true, .. }),
        "{settled:?}"
    );
}

#[actix::test]
async fn package_whose_archive_is_gone_waits_and_is_archived_when_it_is_back() {
    let mut stand = stand();
    let job = stand.bench.unpacked("a");
    let archive = stand.bench.path("mv_zip");
    fs::remove_dir(&archive).unwrap();
    let outcome = stand.unpacked(&job).await;
    assert!(matches!(outcome, Outcome::Retry { pause_source: true, .. }), "{outcome:?}");
    fs::create_dir(&archive).unwrap();
    let outcome = stand.unpacked(&job).await;
    assert!(matches!(outcome, Outcome::Archived { .. }), "{outcome:?}");
}

#[actix::test]
async fn job_whose_folder_somebody_took_away_is_reported_as_vanished() {
    let mut stand = stand();
    let job = stand.bench.unpacked("a");
    fs::remove_dir_all(job.path()).unwrap();
    assert_eq!(stand.unpacked(&job).await, Outcome::Vanished);
}

#[actix::test]
async fn duplicate_that_is_to_be_discarded_is_deleted() -> io::Result<()> {
    let mut stand = stand();
    let job = stand.bench.unpacked("a");
    let settled = stand.rejected(package(&job), Disposition::Discard).await;
    assert_eq!(settled.outcome, Outcome::Discarded);
    assert!(stand.in_work().is_empty());
    assert_eq!(fs::read_dir(stand.bench.path("mv_zip"))?.count(), 0);
    Ok(())
}

#[test]
fn job_that_waits_alone_is_tried_more_and_more_rarely() {
    let source = crate::config::Source::new(SourceName::default(), "/a", "/b");
    let job = crate::id::JobId::generate();
    for (age, pause) in [(0, 5), (19, 5), (40, 10), (400, 100), (100_000, 600)] {
        let now = job.created() + Duration::from_secs(age);
        assert_eq!(batch::pause_alone(&source, job, now), Duration::from_secs(pause), "{age}");
    }
    let before = job.created() - Duration::from_secs(3600);
    assert_eq!(batch::pause_alone(&source, job, before), Duration::from_secs(5), "the clock moved");
}

#[test]
fn log_is_told_once_of_each_thing_that_is_wrong_with_a_job() {
    let books = Books::new(None);
    let (one, other) = (crate::id::JobId::generate(), crate::id::JobId::generate());
    let told = [(one, "a"), (one, "a"), (other, "a"), (one, "b"), (one, "b"), (one, "a")]
        .map(|(job, why)| books.is_news(job, why));
    assert_eq!(told, [true, false, true, true, false, true]);
}

//! Tests the Dispatcher through its messages.

use super::*;
use crate::id::{JobId, PackageName};
use crate::messages::{Form, FoundBy, SliceWork, Work};
use crate::package::FolderId;
use crate::progress::Progress;
use crate::schedule::Bounds;
use crate::testkit::Probe;
use actix::Addr;

struct Part;

impl SliceWork for Part {
    fn run(self: Box<Self>, _: &Progress) {}

    fn bytes(&self) -> u64 {
        1
    }
}

struct Bench {
    extractors: Probe<Extract>,
    events: Probe<PackageEvent>,
    all_settled: Probe<AllSettled>,
    vacancy: Probe<Vacancy>,
    dispatcher: Addr<Dispatcher>,
}

async fn bench(workers: usize) -> Bench {
    let (extractors, events, all_settled, vacancy) =
        (Probe::start(), Probe::start(), Probe::start(), Probe::start());
    let peers = Peers {
        overdue: Probe::start().recipient(),
        extractors: extractors.recipient(),
        events: events.recipient(),
        all_settled: Some(all_settled.recipient()),
    };
    let source = SourceName::default();
    let schedule = Schedule::new(Bounds::for_pool(workers), [source.clone()]);
    let log = Logger::root(slog::Discard, slog::o!());
    let dispatcher =
        Dispatcher::new(schedule, [source.clone()], peers, log, Lifeline::loose()).start();
    dispatcher.send(WatcherStarted { source, vacancy: vacancy.recipient() }).await.unwrap();
    Bench { extractors, events, all_settled, vacancy, dispatcher }
}

fn ready(name: &str) -> PackageReady {
    PackageReady {
        source: SourceName::default(),
        name: PackageName::new(name).unwrap(),
        identity: FolderId { inode: 7, birth_ns: 7 },
        form: Form::Folder,
        found_by: FoundBy::Event,
    }
}

fn opened(extract: &Extract) -> JobId {
    match &extract.work {
        Work::Open(spec) => spec.id,
        Work::Slice(..) => panic!("a slice where a package should be opened"),
    }
}

fn archived(job: JobId) -> JobSettled {
    JobSettled { job, attempt: 1, outcome: Outcome::Archived { path: "/archive/x".into() } }
}

async fn finish(bench: &Bench, job: JobId) {
    bench.dispatcher.send(ExtractReport::Planned { job, bytes: 0, slices: vec![] }).await.unwrap();
    bench.dispatcher.send(archived(job)).await.unwrap();
}

#[actix::test]
async fn dispatcher_offered_the_same_package_twice_extracts_it_once() {
    let mut bench = bench(2).await;
    let first = bench.dispatcher.send(ready("sample-1")).await.unwrap();
    let second = bench.dispatcher.send(ready("sample-1")).await.unwrap();
    assert_eq!((first, second), (Admission::Accepted, Admission::Known));
    assert_eq!(bench.extractors.drain().await.len(), 1, "the second offer reached the pool");
}

#[actix::test]
async fn dispatcher_keeps_twice_the_pool_in_flight_and_no_more() {
    let mut bench = bench(1).await;
    for name in ["a", "b", "c"] {
        bench.dispatcher.send(ready(name)).await.unwrap();
    }
    let extracts = bench.extractors.drain().await;
    assert_eq!(extracts.len(), 2);
    finish(&bench, opened(&extracts[0])).await;
    assert_eq!(bench.extractors.drain().await.len(), 1);
}

#[actix::test]
async fn dispatcher_given_slices_deals_them_and_tells_what_became_of_the_job() {
    let mut bench = bench(2).await;
    bench.dispatcher.send(ready("a")).await.unwrap();
    let job = opened(&bench.extractors.drain().await[0]);
    let slices: Vec<Box<dyn SliceWork>> = vec![Box::new(Part), Box::new(Part)];
    bench.dispatcher.send(ExtractReport::Planned { job, bytes: 0, slices }).await.unwrap();
    assert_eq!(bench.extractors.drain().await.len(), 2);
    for _ in 0..2 {
        bench.dispatcher.send(ExtractReport::SliceEnded { job }).await.unwrap();
    }
    bench.dispatcher.send(archived(job)).await.unwrap();
    let facts: Vec<Fact> = bench.events.drain().await.into_iter().map(|e| e.fact).collect();
    assert!(matches!(facts[..], [Fact::Accepted { .. }, Fact::Settled(Outcome::Archived { .. })]));
    let status = bench.dispatcher.send(GetStatus).await.unwrap();
    assert_eq!((status.archived, status.extracting, status.archiving), (1, 0, 0));
}

#[actix::test]
async fn dispatcher_asks_for_a_look_when_a_name_that_came_again_is_free() {
    let mut bench = bench(2).await;
    bench.dispatcher.send(ready("a")).await.unwrap();
    let job = opened(&bench.extractors.drain().await[0]);
    bench.dispatcher.send(ready("a")).await.unwrap();
    assert_eq!(bench.vacancy.drain().await, []);
    finish(&bench, job).await;
    assert_eq!(bench.vacancy.drain().await, [Vacancy { epoch: 1 }]);
}

#[actix::test]
async fn dispatcher_whose_package_vanished_or_cannot_be_claimed_frees_its_name() {
    let mut bench = bench(2).await;
    bench.dispatcher.send(ready("a")).await.unwrap();
    let job = opened(&bench.extractors.drain().await[0]);
    bench.dispatcher.send(ExtractReport::Vanished { job }).await.unwrap();
    assert_eq!(bench.dispatcher.send(ready("a")).await.unwrap(), Admission::Accepted);
}

#[actix::test]
async fn dispatcher_tells_once_when_the_first_scan_has_ended_and_no_job_is_left() {
    let mut bench = bench(2).await;
    bench.dispatcher.send(ready("a")).await.unwrap();
    let job = opened(&bench.extractors.drain().await[0]);
    bench.dispatcher.send(FirstScanEnded { source: SourceName::default() }).await.unwrap();
    assert_eq!(bench.all_settled.drain().await, []);
    finish(&bench, job).await;
    assert_eq!(bench.all_settled.drain().await, [AllSettled]);
}

#[actix::test]
async fn dispatcher_tries_again_when_it_is_time_and_ignores_an_old_attempts_settlement() {
    let mut bench = bench(2).await;
    bench.dispatcher.send(ready("a")).await.unwrap();
    let job = opened(&bench.extractors.drain().await[0]);
    bench.dispatcher.send(ExtractReport::Planned { job, bytes: 0, slices: vec![] }).await.unwrap();
    let again = Outcome::Retry {
        at: Instant::now() + std::time::Duration::from_millis(5),
        attempt: 2,
        code: "io".into(),
        why: "the disk".into(),
        pause_source: false,
    };
    bench.dispatcher.send(JobSettled { job, attempt: 1, outcome: again }).await.unwrap();
    let Work::Open(spec) = bench.extractors.next().await.work else { panic!("not opened") };
    assert_eq!((spec.id, spec.attempt), (job, 2));
    bench.dispatcher.send(archived(job)).await.unwrap();
    assert_eq!(bench.dispatcher.send(GetStatus).await.unwrap().archived, 0);
}

#[actix::test]
async fn dispatcher_asked_to_stop_answers_when_nothing_is_in_flight() {
    let mut bench = bench(2).await;
    bench.dispatcher.send(ready("a")).await.unwrap();
    let job = opened(&bench.extractors.drain().await[0]);
    let mut stopped = Box::pin(bench.dispatcher.send(Shutdown { mode: StopMode::Graceful }));
    assert!(futures_poll(&mut stopped).await.is_none(), "it stopped with a package in flight");
    let refused = bench.dispatcher.send(ready("b")).await.unwrap();
    assert_eq!(refused, Admission::Full { epoch: u64::MAX });
    finish(&bench, job).await;
    stopped.await.unwrap();
}

/// Runs everything that is ready, and returns the output of `future` if it is done.
async fn futures_poll<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    tokio::select! {
        biased;
        output = future => Some(output),
        () = tokio::task::yield_now() => None,
    }
}

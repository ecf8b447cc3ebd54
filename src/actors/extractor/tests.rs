//! Tests the Extractor through its messages, on real folders.

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::path::Path;

use actix::{Addr, SyncArbiter};
use slog::Logger;
use zip::write::SimpleFileOptions;

use super::*;
use crate::actors::lifeline::{Ending, Hold};
use crate::actors::outlet::Hop;
use crate::error::Disposition;
use crate::id::SourceName;
use crate::messages::{Form, JobSpec, PackageEvent, Rejected, SliceWork, Unpacked};
use crate::testkit::Probe;
use crate::workspace::{Free, Site, Space, Total, testing};

struct Stand {
    bench: testing::Bench,
    pool: Addr<Extractor>,
    shared: Arc<super::Bench>,
    reports: Probe<ExtractReport>,
    unpacked: Probe<Unpacked>,
    settled_before: Probe<Unpacked>,
    rejected: Probe<Rejected>,
    _events: Probe<PackageEvent>,
}

fn stand(workers: usize) -> Stand {
    stand_with(workers, Space::new())
}

fn stand_with(workers: usize, space: Arc<Space>) -> Stand {
    let bench = testing::Bench::new();
    let source = SourceName::default();
    let (unpacked, settled_before, rejected, events) =
        (Probe::start(), Probe::start(), Probe::start(), Probe::start());
    let sites: Arc<HashMap<_, Arc<Site>>> =
        Arc::new(HashMap::from([(source.clone(), bench.site())]));
    let options = sites.values().map(|site| site.source());
    let options =
        options.map(|source| (source.name.clone(), options::of(source).unwrap())).collect();
    let shared = Arc::new(super::Bench {
        sites,
        options,
        next: HashMap::from([(
            source,
            Hop { stage: None, to: unpacked.recipient(), moved: Probe::start().recipient() },
        )]),
        archiver: settled_before.recipient(),
        rejected: rejected.recipient(),
        events: events.recipient(),
        ledger: None,
        space,
        lost: Arc::new(drop),
        ending: Ending::default(),
        hold: Hold::loose(),
        roster: Arc::default(),
        scratch: ScratchPool::default(),
        log: Logger::root(slog::Discard, slog::o!()),
    });
    let for_pool = Arc::clone(&shared);
    let pool = SyncArbiter::start(workers, move || {
        Extractor::new(Arc::clone(&for_pool), Lifeline::loose())
    });
    let reports = Probe::start();
    Stand { bench, pool, shared, reports, unpacked, settled_before, rejected, _events: events }
}

impl Stand {
    fn deliver(&self, name: &str, files: &[(&str, &[u8])]) -> JobSpec {
        let package = self.bench.deliver(name);
        write_zip(&self.bench.path("zip").join(name).join(package.zip()), files);
        self.bench.offer(&package, Form::Folder)
    }

    async fn run(&mut self, work: Work) -> ExtractReport {
        let report_to = self.reports.recipient();
        self.pool.send(Extract { work, report_to }).await.unwrap();
        self.reports.next().await
    }

    /// Opens a package that must be rejected, and returns the code.
    async fn rejection(&mut self, spec: JobSpec) -> (&'static str, Disposition) {
        let report = self.run(Work::Open(spec)).await;
        assert!(matches!(report, ExtractReport::Planned { slices, .. } if slices.is_empty()));
        let Rejected { package, error } = self.rejected.next().await;
        let home = package.settle().home.clone();
        assert!(!home.join(".out").exists(), "something was left in the output folder");
        (error.code(), error.disposition())
    }
}

fn write_zip(path: &Path, files: &[(&str, &[u8])]) {
    let mut zip = zip::ZipWriter::new(fs::File::create(path).unwrap());
    for (name, bytes) in files {
        zip.start_file(*name, SimpleFileOptions::default()).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap();
}

/// More entries than one slice has.
fn many() -> Vec<(String, Vec<u8>)> {
    (0..1200).map(|n| (format!("d{}/{n}", n % 7), vec![b'x'; n % 50])).collect()
}

fn slices_of(report: ExtractReport) -> Vec<Box<dyn SliceWork>> {
    match report {
        ExtractReport::Planned { slices, .. } => slices,
        other => panic!("not planned, but {other:?}"),
    }
}

#[actix::test]
async fn extractor_given_a_package_of_one_slice_finishes_it_on_the_spot() {
    let mut stand = stand(1);
    let spec = stand.deliver("a", &[("x.txt", b"hello"), ("d/y.txt", b"")]);
    let slices = slices_of(stand.run(Work::Open(spec)).await);
    assert!(slices.is_empty());
    let Unpacked { package } = stand.unpacked.next().await;
    assert_eq!(fs::read(package.dir().join("x.txt")).unwrap(), b"hello");
    assert!(package.delivered().join("a.zip").exists());
    assert_eq!(package.entries(), 2);
    package.settle();
}

#[actix::test]
async fn job_of_several_slices_is_committed_by_the_last_one_to_end() {
    let mut stand = stand(2);
    let files = many();
    let files: Vec<(&str, &[u8])> = files.iter().map(|(n, b)| (n.as_str(), &b[..])).collect();
    let spec = stand.deliver("a", &files);
    let job = spec.id;
    let mut slices = slices_of(stand.run(Work::Open(spec)).await);
    assert!(slices.len() > 1, "one slice proves nothing");
    slices.reverse();
    let last = slices.pop().unwrap();
    for slice in slices {
        stand.run(Work::Slice(job, slice)).await;
    }
    assert!(stand.unpacked.drain().await.is_empty(), "it was sent on before its last slice");
    stand.run(Work::Slice(job, last)).await;
    let Unpacked { package } = stand.unpacked.next().await;
    assert_eq!(package.entries(), 1200);
    assert_eq!(fs::read(package.dir().join("d1/1198")).unwrap(), vec![b'x'; 48]);
    package.settle();
}

#[actix::test]
async fn slice_that_is_thrown_away_fails_its_job_when_the_others_have_ended() {
    let mut stand = stand(1);
    let files = many();
    let files: Vec<(&str, &[u8])> = files.iter().map(|(n, b)| (n.as_str(), &b[..])).collect();
    let spec = stand.deliver("a", &files);
    let job = spec.id;
    let mut slices = slices_of(stand.run(Work::Open(spec)).await);
    drop(slices.pop());
    assert!(stand.rejected.drain().await.is_empty(), "rejected while slices of it live");
    for slice in slices {
        stand.run(Work::Slice(job, slice)).await;
    }
    let Rejected { package, error } = stand.rejected.next().await;
    assert_eq!((error.code(), error.disposition()), ("extractor_interrupted", Disposition::Retry));
    assert!(!package.home().join(".out").exists());
    assert!(stand.unpacked.drain().await.is_empty());
    package.settle();
}

#[actix::test]
async fn slices_that_a_stop_throws_away_cost_their_job_nothing() {
    let mut stand = stand(1);
    let files = many();
    let files: Vec<(&str, &[u8])> = files.iter().map(|(n, b)| (n.as_str(), &b[..])).collect();
    let spec = stand.deliver("a", &files);
    let slices = slices_of(stand.run(Work::Open(spec)).await);
    stand.shared.ending.begin();
    drop(slices);
    assert!(stand.rejected.drain().await.is_empty(), "a stop cost the package an attempt");
}

struct Panics;

impl SliceWork for Panics {
    fn run(self: Box<Self>, _: &Progress) {
        panic!("as the test wants it");
    }

    fn bytes(&self) -> u64 {
        0
    }
}

#[actix::test]
async fn pool_whose_threads_panic_again_and_again_keeps_its_size() {
    let mut stand = stand(1);
    let job = crate::id::JobId::generate();
    for _ in 0..3 {
        let report = stand.run(Work::Slice(job, Box::new(Panics))).await;
        assert!(matches!(report, ExtractReport::SliceEnded { .. }), "a panic lost its report");
    }
    let spec = stand.deliver("a", &[("x", b"x")]);
    stand.run(Work::Open(spec)).await;
    stand.unpacked.next().await.package.settle();
}

#[actix::test]
async fn package_that_is_gone_or_another_by_now_is_reported_as_vanished() {
    let mut stand = stand(1);
    let spec = stand.deliver("a", &[("x", b"x")]);
    let landing = stand.bench.path("zip");
    fs::rename(landing.join("a"), stand.bench.path("kept")).unwrap();
    let report = stand.run(Work::Open(spec.clone())).await;
    assert!(matches!(report, ExtractReport::Vanished { .. }), "{report:?}");
    let _other = stand.bench.deliver("a");
    let report = stand.run(Work::Open(spec)).await;
    assert!(matches!(report, ExtractReport::Vanished { .. }), "{report:?}");
    assert!(landing.join("a/a.zip").exists(), "the other folder was taken");
}

#[actix::test]
async fn package_that_cannot_be_unpacked_is_rejected_with_its_code_and_leaves_no_output() {
    let mut stand = stand(1);
    let spec = stand.deliver("escapes", &[("ok", b"1"), ("../x", b"2")]);
    assert_eq!(stand.rejection(spec).await, ("entry_escapes", Disposition::Quarantine));

    let spec = stand.deliver("over", &[("over.zip/x", b"1")]);
    assert_eq!(stand.rejection(spec).await, ("entry_over_original", Disposition::Quarantine));

    let spec = stand.deliver("no-zip", &[]);
    fs::write(stand.bench.path("zip/no-zip/no-zip.zip"), "not a ZIP at all").unwrap();
    let (code, disposition) = stand.rejection(spec).await;
    assert_eq!((code, disposition), ("no_end_record", Disposition::Quarantine));

    let spec = stand.deliver("linked", &[("x", b"x")]);
    std::os::unix::fs::symlink("/etc/passwd", stand.bench.path("zip/linked/more")).unwrap();
    assert_eq!(stand.rejection(spec).await, ("odd_original", Disposition::Quarantine));
}

#[actix::test]
async fn package_that_finds_too_few_inodes_waits_and_its_promise_ends_with_it() {
    // Two files, one of them in a folder: three inodes, plus 64 that stay free.
    let space = |inodes| {
        Space::with_probe(move |_| {
            Ok(Free { device: 1, bytes: u64::MAX, inodes: Some(inodes), total: Total::UNKNOWN })
        })
    };
    let contents: [(&str, &[u8]); 2] = [("x", b"1"), ("d/y", b"2")];
    let mut few = stand_with(1, space(66));
    let spec = few.deliver("a", &contents);
    assert_eq!(few.rejection(spec).await, ("no_space", Disposition::Wait));

    let mut enough = stand_with(1, space(67));
    for name in ["a", "b"] {
        let spec = enough.deliver(name, &contents);
        enough.run(Work::Open(spec)).await;
        enough.unpacked.next().await.package.settle();
    }
}

#[actix::test]
async fn delivery_that_is_archived_already_is_a_duplicate_and_a_changed_one_is_not() {
    let mut stand = stand(1);
    for (name, content) in [("same", b"1"), ("changed", b"2")] {
        let folder = stand.bench.path("mv_zip").join(name);
        fs::create_dir_all(&folder).unwrap();
        write_zip(&folder.join(format!("{name}.zip")), &[("x", content)]);
    }
    let spec = stand.deliver("same", &[("x", b"1")]);
    assert_eq!(stand.rejection(spec).await, ("duplicate", Disposition::Quarantine));
    let spec = stand.deliver("changed", &[("x", b"3")]);
    stand.run(Work::Open(spec)).await;
    stand.unpacked.next().await.package.settle();
}

#[actix::test]
async fn job_that_is_past_its_stages_goes_to_the_archiver_and_not_through_them_again() {
    let mut stand = stand(1);
    let spec = stand.deliver("a", &[("x", b"x")]);
    let dir = stand.bench.site().begin(&spec).unwrap().job;
    fs::create_dir(dir.final_()).unwrap();
    fs::rename(dir.zip(), dir.final_().join("a.zip")).unwrap();
    let spec = JobSpec { origin: crate::messages::Origin::WorkArea, ..spec };
    stand.run(Work::Open(spec)).await;
    stand.settled_before.next().await.package.settle();
    assert!(stand.unpacked.drain().await.is_empty(), "it went through the stages again");
}

/// Waits in the middle of its work until the test continues it.
struct Waits(std::sync::mpsc::Receiver<()>);

impl SliceWork for Waits {
    fn run(self: Box<Self>, progress: &Progress) {
        progress.steps().add();
        self.0.recv().ok();
    }

    fn bytes(&self) -> u64 {
        0
    }
}

#[actix::test]
async fn thread_at_work_is_seen_with_its_job_and_with_none_when_it_waits() {
    let mut stand = stand(1);
    let spec = stand.deliver("a", &[("x", b"x")]);
    stand.run(Work::Open(spec)).await;
    stand.unpacked.next().await.package.settle();
    let roster = Arc::clone(&stand.shared.roster);
    let before = roster.look();
    assert!(matches!(&before[..], [thread] if thread.task.is_none()), "{before:?}");
    // Two steps to begin (the package, its slice), one for the entry, one for its part, one at the end.
    assert!(before[0].steps >= 5, "{before:?}");

    let (go, wait) = std::sync::mpsc::channel();
    let job = crate::id::JobId::generate();
    let work = Work::Slice(job, Box::new(Waits(wait)));
    let report_to = stand.reports.recipient();
    post(&stand.pool.clone().recipient(), Extract { work, report_to });
    let at_work = || roster.look()[0].task.as_ref().is_some_and(|task| task.job == job);
    crate::testkit::until("the thread is at work", at_work).await;
    assert!(roster.look()[0].steps > before[0].steps, "beginning is a step");
    go.send(()).unwrap();
    stand.reports.next().await;
    assert!(roster.look()[0].task.is_none());
}

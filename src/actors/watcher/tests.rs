//! Tests the Watcher through its messages, on real folders; a test waits for messages only.

mod scans;

use std::cell::RefCell;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};

use actix::Addr;
use notify::event::{EventKind, Flag};

use super::*;
use crate::config::Accept;
use crate::messages::{Admission, Form, FoundBy, StopMode};
use crate::testkit::temp_landing::sample_zip;
use crate::testkit::{Probe, TempLanding};

/// A Watcher with a probe at each peer. No rescan happens during a test.
struct Bench {
    landing: TempLanding,
    source: Source,
    events_wanted: bool,
    once: bool,
}

struct Watched {
    landing: TempLanding,
    watcher: Addr<Watcher>,
    hints: Arc<Hints>,
    ready: Probe<PackageReady>,
    first_scan: Probe<FirstScanEnded>,
    events: Probe<PackageEvent>,
    started: Probe<WatcherStarted>,
    returns: Arc<AtomicUsize>,
}

impl Bench {
    fn new() -> Self {
        let landing = TempLanding::new();
        let mut source = landing.source();
        source.rescan = Duration::from_secs(3600);
        source.settle = Duration::from_millis(50);
        Self { landing, source, events_wanted: true, once: false }
    }

    /// Disables events, so that only scans find packages.
    fn deaf(mut self) -> Self {
        self.events_wanted = false;
        self
    }

    fn start(self) -> Watched {
        self.answering(|_| Admission::Accepted)
    }

    fn answering(self, answer: impl FnMut(&PackageReady) -> Admission + 'static) -> Watched {
        let (ready, first_scan) = (Probe::answering(answer), Probe::start());
        let (events, started) = (Probe::start(), Probe::start());
        let peers = Peers {
            started: started.recipient(),
            ready: ready.recipient(),
            first_scan: first_scan.recipient(),
            events: events.recipient(),
        };
        let log = Logger::root(slog::Discard, o!());
        let mut watcher = Watcher::new(Arc::new(self.source), peers, &log, self.once);
        watcher.wants_events &= self.events_wanted;
        let returns = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&returns);
        watcher = watcher.before_scan(Box::new(move |returned| {
            count.fetch_add(usize::from(returned), Ordering::SeqCst);
            Ok(())
        }));
        let hints = Arc::clone(&watcher.hints);
        let watcher = watcher.start();
        let landing = self.landing;
        Watched { landing, watcher, hints, ready, first_scan, events, started, returns }
    }
}

impl Watched {
    /// Returns the name of the next package that is offered.
    async fn offered(&mut self) -> String {
        self.ready.next().await.name.to_string()
    }

    /// Asserts that nothing has been offered yet: the Watcher has handled everything that it knows.
    async fn nothing_more(&mut self) {
        self.watcher.send(Wake).await.unwrap();
        assert_eq!(self.ready.drain().await, []);
    }

    async fn overflow(&self) {
        let lost = notify::Event::new(EventKind::Other).set_flag(Flag::Rescan);
        self.hints.note(Ok(lost));
        self.watcher.send(Wake).await.unwrap();
    }

    fn code(event: &PackageEvent) -> (&str, &'static str) {
        match &event.fact {
            Fact::HeldBack { code, .. } => (event.name.as_str(), code),
            other => panic!("{other:?}"),
        }
    }
}

#[actix::test]
async fn watcher_offers_a_package_renamed_into_place_however_long_settling_takes() {
    let mut bench = Bench::new();
    bench.source.settle = Duration::from_secs(3600);
    let mut watched = bench.start();
    watched.first_scan.next().await;

    watched.landing.deliver("sample-1").unwrap();

    let offer = watched.ready.next().await;
    assert_eq!(offer.name.as_str(), "sample-1");
    assert_eq!((offer.form, offer.found_by), (Form::Folder, FoundBy::Event));
    watched.nothing_more().await;
}

#[actix::test]
async fn watcher_offers_a_package_copied_in_place_once_it_has_settled() {
    let mut watched = Bench::new().start();
    watched.first_scan.next().await;
    watched.landing.copy_in("sample-1").unwrap();
    assert_eq!(watched.offered().await, "sample-1");
}

#[actix::test]
async fn watcher_waits_for_the_late_file_of_a_copy_with_old_times() {
    let mut bench = Bench::new();
    bench.source.settle = Duration::from_millis(600);
    let mut watched = bench.start();
    watched.first_scan.next().await;
    let path = watched.landing.copy_in("sample-1").unwrap();
    let zip = fs::File::options().write(true).open(path.join("sample-1.zip")).unwrap();
    zip.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    watched.overflow().await;
    watched.nothing_more().await;

    fs::write(path.join("late"), "late").unwrap();
    let late = SystemTime::now();
    assert_eq!(watched.offered().await, "sample-1");
    let quiet = late.elapsed().unwrap();
    assert!(quiet >= Duration::from_millis(590), "offered {quiet:?} after the last change");
}

#[actix::test]
async fn watcher_offers_what_was_there_before_it_started_oldest_first() {
    let bench = Bench::new();
    let names = ["b", "a", "aa", "c"];
    for name in names {
        bench.landing.copy_in(name).unwrap();
        // ctime advances with the kernel's tick.
        // The ZIP is written after its folder is made, and its time counts, too.
        let folder = bench.landing.join(name);
        let made = changed(&folder).max(changed(&folder.join(format!("{name}.zip"))));
        while fs::write(bench.landing.outside().join("clock"), "").is_ok()
            && changed(&bench.landing.outside().join("clock")) <= made
        {}
    }
    fs::create_dir(bench.landing.join("d-downloading")).unwrap();
    let mut watched = bench.start();
    assert_eq!(watched.first_scan.next().await.source.as_str(), "default");
    let offers = watched.ready.drain().await;
    assert!(offers.iter().all(|offer| offer.found_by == FoundBy::Scan));
    let offered: Vec<_> = offers.iter().map(|offer| offer.name.as_str()).collect();
    assert_eq!(offered, names);
}

fn changed(path: &std::path::Path) -> (i64, i64) {
    use std::os::unix::fs::MetadataExt;
    let metadata = fs::metadata(path).unwrap();
    (metadata.ctime(), metadata.ctime_nsec())
}

#[actix::test]
async fn watcher_leaves_incomplete_names_alone_and_reports_none_of_them() {
    let mut bench = Bench::new();
    bench.source.incomplete.push(".part".to_owned());
    for name in ["a-downloading", "b.part", ".hidden"] {
        bench.landing.copy_in(name).unwrap();
    }
    let mut watched = bench.start();
    watched.first_scan.next().await;
    watched.overflow().await;
    watched.nothing_more().await;
    assert_eq!(watched.events.drain().await, []);
}

#[actix::test]
async fn watcher_that_knew_the_incomplete_name_takes_the_rename_for_one_without_its_event() {
    let mut bench = Bench::new().deaf();
    bench.source.settle = Duration::from_secs(3600);
    bench.landing.copy_in("a-downloading").unwrap();
    fs::rename(bench.landing.join("a-downloading/a-downloading.zip"), {
        bench.landing.join("a-downloading/a.zip")
    })
    .unwrap();
    let mut watched = bench.start();
    watched.first_scan.next().await;
    fs::rename(watched.landing.join("a-downloading"), watched.landing.join("a")).unwrap();
    watched.overflow().await;
    assert_eq!(watched.offered().await, "a");
}

#[actix::test]
async fn watcher_with_a_folder_renamed_while_empty_takes_it_when_it_is_filled() {
    let mut watched = Bench::new().start();
    watched.first_scan.next().await;
    fs::create_dir(watched.landing.join("a-downloading")).unwrap();
    fs::rename(watched.landing.join("a-downloading"), watched.landing.join("a")).unwrap();
    let zip = sample_zip();
    fs::write(watched.landing.join("a/a.zip"), &zip[..80]).unwrap();
    watched.nothing_more().await;
    fs::write(watched.landing.join("a/a.zip"), &zip).unwrap();
    assert_eq!(watched.offered().await, "a");
}

#[actix::test]
async fn watcher_waits_for_a_zip_that_grows_until_its_end_record_is_there() {
    let mut watched = Bench::new().start();
    watched.first_scan.next().await;
    let zip = sample_zip();
    fs::create_dir(watched.landing.join("a")).unwrap();
    fs::write(watched.landing.join("a/a.zip"), &zip[..80]).unwrap();
    tokio::time::timeout(Duration::from_millis(300), watched.ready.next())
        .await
        .expect_err("half a ZIP was offered after settling");
    fs::write(watched.landing.join("a/a.zip"), &zip).unwrap();
    assert_eq!(watched.offered().await, "a");
}

#[actix::test]
async fn watcher_offers_a_zip_that_stays_cut_off_after_broken_after() {
    let mut bench = Bench::new();
    bench.source.broken_after = Duration::from_millis(200);
    bench.landing.copy_in("a").unwrap();
    fs::write(bench.landing.join("a/a.zip"), &sample_zip()[..80]).unwrap();
    let mut watched = bench.start();
    assert_eq!(watched.offered().await, "a");
    watched.first_scan.next().await;
}

#[actix::test]
async fn watcher_reports_each_thing_that_cannot_be_taken_once() {
    let mut bench = Bench::new();
    bench.once = true;
    let landing = &bench.landing;
    fs::create_dir(landing.join("empty")).unwrap();
    fs::create_dir(landing.join("other")).unwrap();
    fs::write(landing.join("other/another.zip"), sample_zip()).unwrap();
    fs::write(landing.join("file"), "").unwrap();
    symlink(landing.outside(), landing.join("link")).unwrap();
    fs::create_dir(landing.join(std::ffi::OsStr::from_bytes(b"caf\xE9"))).unwrap();
    fs::create_dir(landing.join("linked-zip")).unwrap();
    symlink("/etc/hostname", landing.join("linked-zip/linked-zip.zip")).unwrap();
    let mut watched = bench.start();
    watched.first_scan.next().await;
    watched.overflow().await;
    let events = watched.events.drain().await;
    let mut codes: Vec<_> = events.iter().map(Watched::code).collect();
    codes.sort_unstable();
    assert_eq!(
        codes,
        [
            ("caf\u{FFFD}", "bad_name"),
            ("empty", "no_zip"),
            ("file", "not_a_folder"),
            ("link", "symlink"),
            ("linked-zip", "zip_not_a_file"),
            ("other", "zip_named_otherwise"),
        ]
    );
    watched.nothing_more().await;
}

#[actix::test]
async fn watcher_reports_a_stale_folder_once() {
    let mut bench = Bench::new();
    bench.source.stale_after = Duration::ZERO;
    bench.source.broken_after = Duration::from_secs(3600);
    bench.landing.copy_in("a").unwrap();
    fs::write(bench.landing.join("a/a.zip"), &sample_zip()[..80]).unwrap();
    let mut watched = bench.start();
    assert_eq!(Watched::code(&watched.events.next().await), ("a", "stale"));
    watched.overflow().await;
    assert_eq!(watched.events.drain().await, []);
}

#[actix::test]
async fn watcher_told_full_offers_again_after_a_vacancy_of_that_epoch() {
    let answers = Rc::new(RefCell::new(vec![Admission::Full { epoch: 2 }]));
    let script = Rc::clone(&answers);
    let bench = Bench::new();
    bench.landing.copy_in("a").unwrap();
    let mut watched =
        bench.answering(move |_| script.borrow_mut().pop().unwrap_or(Admission::Accepted));
    assert_eq!(watched.offered().await, "a");
    watched.watcher.send(Vacancy { epoch: 1 }).await.unwrap();
    watched.overflow().await;
    watched.nothing_more().await;
    assert_eq!(watched.first_scan.drain().await, [], "nothing was admitted");

    watched.watcher.send(Vacancy { epoch: 2 }).await.unwrap();
    assert_eq!(watched.offered().await, "a");
    watched.first_scan.next().await;
}

#[actix::test]
async fn watcher_told_full_after_the_vacancy_offers_again_at_once() {
    let mut answers = vec![Admission::Full { epoch: 3 }];
    let mut watched = Bench::new().answering(move |_| answers.pop().unwrap_or(Admission::Accepted));
    watched.first_scan.next().await;
    watched.watcher.send(Vacancy { epoch: 3 }).await.unwrap();
    watched.landing.deliver("a").unwrap();
    assert_eq!(watched.offered().await, "a");
    assert_eq!(watched.offered().await, "a");
    watched.nothing_more().await;
}

#[actix::test]
async fn watcher_told_known_offers_again_at_a_vacancy_and_at_a_scan() {
    let mut answers = vec![Admission::Known; 2];
    let mut watched = Bench::new().answering(move |_| answers.pop().unwrap_or(Admission::Accepted));
    watched.first_scan.next().await;
    watched.landing.deliver("a").unwrap();
    assert_eq!(watched.offered().await, "a");
    watched.nothing_more().await;
    watched.watcher.send(Vacancy { epoch: 1 }).await.unwrap();
    assert_eq!(watched.offered().await, "a");
    watched.overflow().await;
    assert_eq!(watched.offered().await, "a");
}

#[actix::test]
async fn watcher_with_an_event_for_what_it_has_offered_does_not_offer_it_again() {
    let mut watched = Bench::new().start();
    watched.first_scan.next().await;
    let path = watched.landing.deliver("a").unwrap();
    assert_eq!(watched.offered().await, "a");
    let event = notify::Event::new(EventKind::Create(notify::event::CreateKind::Folder));
    watched.hints.note(Ok(event.add_path(path.clone())));
    watched.nothing_more().await;

    fs::rename(&path, watched.landing.outside().join("claimed")).unwrap();
    watched.landing.deliver("a").unwrap();
    assert_eq!(watched.offered().await, "a", "another folder of that name is another package");
}

#[actix::test]
async fn watcher_with_a_folder_and_a_bare_zip_of_one_name_offers_the_folder_first() {
    let mut bench = Bench::new();
    bench.source.accept = vec![Accept::Folder, Accept::Zip];
    fs::write(bench.landing.join("a.zip"), sample_zip()).unwrap();
    bench.landing.copy_in("a").unwrap();
    fs::write(bench.landing.join("b.zip"), sample_zip()).unwrap();
    let mut watched = bench.start();
    let mut forms = Vec::new();
    for _ in 0..3 {
        let offer = watched.ready.next().await;
        forms.push((offer.name.to_string(), offer.form));
    }
    let place = |form| forms.iter().position(|known| *known == ("a".to_owned(), form)).unwrap();
    assert!(place(Form::Folder) < place(Form::Zip), "{forms:?}");
    assert!(forms.contains(&("b".to_owned(), Form::Zip)), "{forms:?}");
}

#[actix::test]
async fn watcher_with_once_takes_no_notice_of_what_comes_later() {
    let mut bench = Bench::new();
    bench.once = true;
    bench.landing.copy_in("early").unwrap();
    let mut watched = bench.start();
    assert_eq!(watched.offered().await, "early");
    watched.first_scan.next().await;
    watched.landing.deliver("later").unwrap();
    watched.overflow().await;
    watched.landing.copy_in("early-2").unwrap();
    watched.overflow().await;
    let again: Vec<_> = watched.ready.drain().await.into_iter().map(|offer| offer.name).collect();
    assert!(again.iter().all(|name| name.as_str() == "early"), "{again:?}");
}

#[actix::test]
async fn watcher_says_where_vacancies_go_before_it_offers() {
    let mut watched = Bench::new().start();
    let started = watched.started.next().await;
    assert_eq!(started.source.as_str(), "default");
    started.vacancy.send(Vacancy { epoch: 1 }).await.unwrap();
}

#[actix::test]
async fn watcher_told_to_stop_stops() {
    let watched = Bench::new().start();
    watched.watcher.send(Shutdown { mode: StopMode::Graceful }).await.unwrap();
    assert!(!watched.watcher.connected());
}

use super::*;
use crate::id::SourceName;
use crate::landing::{Kind, Reach, Signs, Zip};

const SECOND: Duration = Duration::from_secs(1);
const SCAN: Because = Because { hint: None, scan: true };
const EVENT: Because = Because { hint: Some(Arrival::Moved), scan: false };

struct Bench {
    book: Book,
    start: Instant,
    /// The time by the landing's disk at the start.
    disk: SystemTime,
}

impl Bench {
    fn new() -> Self {
        let source = Source::new(SourceName::default(), "/landing", "/archive");
        let (mut book, start, disk) =
            (Book::new(&source, false), Instant::now(), SystemTime::now());
        book.begins(Some(DiskClock::new(disk, start)), true);
        Self { book, start, disk }
    }

    fn at(&self, after: Duration) -> Instant {
        self.start + after
    }

    /// Returns a look at a folder that settled long ago; the smaller its inode, the older it is.
    fn look(&self, name: &str, inode: u64) -> Look {
        let age = 100 * SECOND - SECOND * u32::try_from(inode).unwrap();
        Look {
            name: name.into(),
            identity: FolderId { inode, birth_ns: 0 },
            kind: Kind::Folder,
            trace: Trace { newest: self.disk - age, entries: 2, bytes: 1, digest: 1 },
            access: Reach::Free,
            zip: Zip::File { size: 1, end_record: true },
            signs: Signs::default(),
        }
    }

    fn saw(&mut self, name: &str, inode: u64, because: Because) {
        let look = self.look(name, inode);
        assert_eq!(self.book.saw(&look, because, self.start), None);
    }

    fn next(&mut self) -> Option<String> {
        match self.book.next(self.start)? {
            Next::Offer(offer) => Some(offer.name.to_string()),
            Next::LookAgain(name) => panic!("{name:?} is fresh"),
        }
    }

    fn answer(&mut self, name: &str, inode: u64, answer: Admission) {
        self.book.answered(OsStr::new(name), FolderId { inode, birth_ns: 0 }, answer);
    }

    fn scanned(&mut self, names: &[&str]) {
        let names = names.iter().map(|name| (*name).into()).collect();
        self.book.scanned(&names, &HashSet::new());
    }
}

#[test]
fn offers_go_oldest_first_and_wait_for_answers_beyond_the_window() {
    let mut bench = Bench::new();
    for inode in (1..=20).rev() {
        bench.saw(&format!("p{inode}"), inode, SCAN);
    }
    let offered: Vec<_> = std::iter::from_fn(|| bench.next()).collect();
    let oldest: Vec<_> = (1..=16).map(|inode| format!("p{inode}")).collect();
    assert_eq!(offered, oldest);
    bench.answer("p1", 1, Admission::Accepted);
    assert_eq!(bench.next().as_deref(), Some("p17"));
    assert_eq!(bench.next(), None);
}

#[test]
fn offers_that_met_full_go_again_in_their_order() {
    let mut bench = Bench::new();
    for inode in 1..=3 {
        bench.saw(&format!("p{inode}"), inode, SCAN);
    }
    while bench.next().is_some() {}
    bench.answer("p1", 1, Admission::Accepted);
    bench.answer("p3", 3, Admission::Full { epoch: 5 });
    bench.answer("p2", 2, Admission::Full { epoch: 4 });
    bench.book.vacancy(4);
    assert_eq!(bench.next(), None, "the later Full still holds");
    bench.book.vacancy(5);
    assert_eq!(bench.next().as_deref(), Some("p2"));
    assert_eq!(bench.next().as_deref(), Some("p3"));
    assert_eq!(bench.next(), None);
}

#[test]
fn offer_answered_known_after_a_vacancy_overtook_the_answer_goes_again() {
    let mut bench = Bench::new();
    bench.saw("a", 1, EVENT);
    assert_eq!(bench.next().as_deref(), Some("a"));
    bench.book.vacancy(1);
    bench.answer("a", 1, Admission::Known);
    assert_eq!(bench.next().as_deref(), Some("a"));
    bench.answer("a", 1, Admission::Known);
    assert_eq!(bench.next(), None, "this answer was overtaken by none");
}

#[test]
fn offer_that_was_accepted_goes_again_by_a_scan_and_by_nothing_else() {
    let mut bench = Bench::new();
    bench.saw("a", 1, EVENT);
    bench.next();
    bench.answer("a", 1, Admission::Accepted);
    bench.saw("a", 1, EVENT);
    bench.book.vacancy(1);
    assert_eq!(bench.next(), None);
    bench.saw("a", 1, SCAN);
    assert_eq!(bench.next().as_deref(), Some("a"));
    bench.answer("a", 1, Admission::Known);
    bench.book.vacancy(2);
    assert_eq!(bench.next(), None, "it is itself what is known");
}

#[test]
fn answer_about_an_earlier_folder_of_the_name_leaves_the_later_one_alone() {
    let mut bench = Bench::new();
    bench.saw("a", 1, EVENT);
    bench.next();
    bench.saw("a", 2, EVENT);
    bench.answer("a", 1, Admission::Accepted);
    assert_eq!(bench.next().as_deref(), Some("a"), "the second folder was never offered");
}

#[test]
fn offer_that_waited_long_is_looked_at_again_first() {
    let mut bench = Bench::new();
    bench.saw("a", 1, EVENT);
    let later = bench.at(2 * SECOND);
    assert_eq!(bench.book.next(later), Some(Next::LookAgain("a".into())));
    bench.book.gone(OsStr::new("a"));
    assert_eq!(bench.book.next(later), None);
}

#[test]
fn names_that_begin_alike_are_different_names() {
    let mut bench = Bench::new();
    for (inode, name) in [(1, "AA"), (2, "AABB"), (3, "A")] {
        bench.saw(name, inode, EVENT);
    }
    let offered: Vec<_> = std::iter::from_fn(|| bench.next()).collect();
    assert_eq!(offered, ["AA", "AABB", "A"]);
}

#[test]
fn what_may_not_be_the_oldest_waits_for_the_rest_of_the_scan() {
    let mut bench = Bench::new();
    for (inode, name) in [(1, "a"), (2, "b")] {
        bench.saw(name, inode, SCAN);
    }
    let newest = |bench: &Bench, name: &str| bench.book.entries[OsStr::new(name)].trace.newest;
    let (first, second) = (newest(&bench, "a"), newest(&bench, "b"));
    assert!(first < second);
    bench.book.still_to_look_at(first);
    assert_eq!(bench.next().as_deref(), Some("a"), "no folder is older than it");
    assert_eq!(bench.next(), None, "one that was not looked at may be older than b");
    bench.scanned(&["a", "b"]);
    assert_eq!(bench.next().as_deref(), Some("b"));
}

#[test]
fn book_forgets_what_a_scan_no_longer_meets() {
    let mut bench = Bench::new();
    for (inode, name) in [(1, "a"), (2, "b")] {
        bench.saw(name, inode, SCAN);
    }
    bench.scanned(&["b"]);
    assert_eq!(bench.book.entries.len(), 1);
    assert_eq!(bench.book.lines.queued().count(), 1);
    assert_eq!(bench.next().as_deref(), Some("b"));
}

#[test]
fn first_scan_ends_when_all_it_met_is_admitted_or_given_up() {
    let mut bench = Bench::new();
    for (inode, name) in [(1, "a"), (2, "b"), (3, "c")] {
        bench.saw(name, inode, SCAN);
    }
    let empty = Look { zip: Zip::Missing { other: None }, ..bench.look("empty", 4) };
    let report = bench.book.saw(&empty, SCAN, bench.start).unwrap();
    assert_eq!(report.code, "no_zip");
    assert!(!bench.book.first_scan_has_ended(), "there was no scan yet");
    bench.scanned(&["a", "b", "c", "empty"]);
    while bench.next().is_some() {}
    bench.answer("a", 1, Admission::Accepted);
    bench.answer("b", 2, Admission::Known);
    bench.book.gone(OsStr::new("c"));
    assert!(!bench.book.first_scan_has_ended(), "b is there and not admitted");
    bench.book.vacancy(1);
    assert_eq!(bench.next().as_deref(), Some("b"));
    bench.answer("b", 2, Admission::Accepted);
    assert!(bench.book.first_scan_has_ended());
}

#[test]
fn folder_without_its_zip_is_looked_at_ever_more_rarely_and_reported_once() {
    let mut bench = Bench::new();
    let zip = Zip::Missing { other: None };
    let mut look = Look { zip, ..bench.look("a", 1) };
    look.trace.newest = bench.disk;
    let (mut now, mut looks, mut reports) = (bench.start, 0, 0);
    loop {
        reports += usize::from(bench.book.saw(&look, EVENT, now).is_some());
        looks += 1;
        let Some(due) = bench.book.next_due() else { break };
        now = due;
    }
    assert_eq!((looks, reports), (9, 1), "0, ¼, ½, 1, 2, 4, 8, 16 and 32 s; then by rescans");
}

/// Returns when a folder is offered whose first look is at `start` and which does not change.
fn ready_after(bench: &mut Bench, because: Because) -> Duration {
    let old = bench.look("a", 1);
    ready_after_look(bench, &old, because)
}

fn ready_after_look(bench: &mut Bench, look: &Look, because: Because) -> Duration {
    let mut now = bench.start;
    loop {
        bench.book.saw(look, because, now);
        if bench.book.next(now).is_some() {
            return now - bench.start;
        }
        now = bench.book.next_due().unwrap();
        assert!(now > bench.start, "the next look is never later than the start");
    }
}

fn about(span: Duration, wanted: Duration) -> bool {
    span >= wanted && span < wanted + SECOND / 10
}

#[test]
fn age_counts_only_for_what_was_there_at_the_start_on_a_local_disk() {
    let mut bench = Bench::new();
    assert_eq!(ready_after(&mut bench, SCAN), Duration::ZERO);

    let mut bench = Bench::new();
    bench.scanned(&[]);
    let came_later = ready_after(&mut bench, SCAN);
    assert!(about(came_later, SECOND), "{came_later:?}: its times may be any");

    let mut bench = Bench::new();
    let hinted = Because { hint: Some(Arrival::Made), scan: false };
    let made = ready_after(&mut bench, hinted);
    assert!(about(made, SECOND), "{made:?}: it came while the first scan went on");

    for (clock, is_local) in [(true, false), (false, true)] {
        let mut bench = Bench::new();
        let clock = clock.then(|| DiskClock::new(bench.disk, bench.start));
        bench.book.begins(clock, is_local);
        let measured = ready_after(&mut bench, SCAN);
        assert!(about(measured, SECOND), "{measured:?}: nothing can be said of its age");
    }

    let mut bench = Bench::new();
    let mut future = bench.look("a", 1);
    future.trace.newest = bench.disk + 3600 * SECOND;
    let measured = ready_after_look(&mut bench, &future, SCAN);
    assert!(about(measured, SECOND), "{measured:?}: a time in the future is no age");
}

#[test]
fn folder_that_changed_between_looks_is_quiet_from_the_look_that_saw_it() {
    let mut bench = Bench::new();
    let mut look = bench.look("a", 1);
    look.zip = Zip::File { size: 1, end_record: false };
    look.trace.newest = bench.disk;
    let mut now = bench.start;
    for _ in 0..100 {
        bench.book.saw(&look, SCAN, now);
        assert_eq!(bench.book.next(now), None, "its sender still writes");
        // The server's clock does not advance; only the content shows the change.
        look.trace.digest += 1;
        now += 20 * SECOND;
    }
    look.trace.digest -= 1;
    bench.book.saw(&look, SCAN, now);
    bench.book.saw(&look, SCAN, now + 30 * SECOND);
    assert!(bench.book.next(now + 30 * SECOND).is_some());
}

#[test]
fn folder_that_is_still_arriving_by_what_it_holds_is_given_up_quietly_and_reported_as_stale() {
    let mut bench = Bench::new();
    let placeholder = Zip::File { size: 0, end_record: false };
    let look = Look { zip: placeholder, ..bench.look("a", 1) };
    assert_eq!(bench.book.saw(&look, SCAN, bench.start), None);
    bench.scanned(&["a"]);
    assert!(bench.book.first_scan_has_ended(), "--once waits for a placeholder");
    let later = bench.at(24 * 3600 * SECOND);
    let report = bench.book.saw(&look, SCAN, later).unwrap();
    assert_eq!(report.code, "stale");
    assert_eq!(bench.book.saw(&look, SCAN, later), None);
    let filled = Look { zip: Zip::File { size: 9, end_record: true }, ..look };
    let filled = Look { trace: Trace { digest: 2, ..filled.trace }, ..filled };
    bench.book.saw(&filled, SCAN, later);
    bench.book.saw(&filled, SCAN, later + SECOND);
    assert!(bench.book.next(later + SECOND).is_some());
}

#[test]
fn name_that_is_still_arriving_is_stale_by_the_age_that_it_had_at_the_start() {
    let mut bench = Bench::new();
    bench.book.stale_after = 60 * SECOND;
    let old = bench.look("a-downloading", 1);
    assert!(bench.book.arriving(old.identity, bench.start));
    let report = bench.book.saw_arriving(&old, SCAN, bench.start);
    assert_eq!(report.unwrap().code, "stale", "it is 99 s old");

    bench.scanned(&[]);
    let later = bench.look("b-downloading", 2);
    assert!(bench.book.arriving(later.identity, bench.start));
    assert_eq!(bench.book.saw_arriving(&later, SCAN, bench.start), None, "its times may be any");
    assert!(!bench.book.arriving(later.identity, bench.at(59 * SECOND)));
    assert!(bench.book.arriving(later.identity, bench.at(60 * SECOND)));
    let report = bench.book.saw_arriving(&later, SCAN, bench.at(60 * SECOND));
    assert_eq!(report.unwrap().code, "stale");
}

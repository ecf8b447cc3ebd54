//! The rules of the schedule, one by one.

use std::time::Duration;

use super::*;
use crate::id::PackageName;
use crate::job::{Form, FoundBy, Origin, Work};
use crate::package::FolderId;
use crate::progress::Progress;

struct Part(u64);

impl SliceWork for Part {
    fn run(self: Box<Self>, _: &Progress) {}

    fn bytes(&self) -> u64 {
        self.0
    }
}

fn source(name: &str) -> SourceName {
    SourceName::new(name).unwrap()
}

fn found(source_name: &str, name: &str) -> PackageReady {
    PackageReady {
        source: source(source_name),
        name: PackageName::new(name).unwrap(),
        identity: FolderId { inode: 1, birth_ns: 1 },
        form: Form::Folder,
        found_by: FoundBy::Scan,
    }
}

fn recovered(name: &str, crashes: u32) -> JobSpec {
    JobSpec {
        id: JobId::generate(),
        source: source("a"),
        name: PackageName::new(name).unwrap(),
        attempt: 1,
        crashes,
        origin: Origin::WorkArea,
    }
}

fn schedule(in_flight: usize) -> Schedule {
    schedule_with(in_flight, 0)
}

fn schedule_with(in_flight: usize, small_bytes: u64) -> Schedule {
    let bounds = Bounds { in_flight, small_bytes, waiting: 4, open: 4, archiving: 4, ahead: 64 };
    Schedule::new(bounds, [source("a"), source("b")])
}

fn slices(count: u64) -> Vec<Box<dyn SliceWork>> {
    (0..count).map(|n| Box::new(Part(n)) as Box<dyn SliceWork>).collect()
}

fn job_of(work: &Work) -> JobId {
    match work {
        Work::Open(spec) => spec.id,
        Work::Slice(job, _) => *job,
    }
}

/// Formats the next work as `open NAME` or `slice NAME`.
fn show(schedule: &Schedule, work: Option<Work>) -> String {
    let Some(work) = work else { return "nothing".to_owned() };
    let kind = if matches!(work, Work::Open(_)) { "open" } else { "slice" };
    format!("{kind} {}", schedule.spec(job_of(&work)).unwrap().name)
}

fn open(schedule: &mut Schedule) -> JobId {
    match schedule.next(Instant::now()) {
        Some(Work::Open(spec)) => spec.id,
        other => panic!("nothing to open, but {other:?}"),
    }
}

fn finish(schedule: &mut Schedule, job: JobId, outcome: &Outcome) {
    schedule.planned(job, 0, Vec::new());
    schedule.ended(job);
    let attempt = schedule.spec(job).unwrap().attempt;
    assert!(schedule.settled(job, attempt, outcome));
}

fn archived() -> Outcome {
    Outcome::Archived { path: "/archive/x".into() }
}

fn again(at: Instant, attempt: u32, pause_source: bool) -> Outcome {
    Outcome::Retry { at, attempt, code: "io".into(), why: "disk".into(), pause_source }
}

#[test]
fn offer_of_a_name_in_work_is_known_and_leads_to_a_look_when_it_settles() {
    let mut schedule = schedule(4);
    assert_eq!(schedule.admit(&found("a", "x")), Admission::Accepted);
    assert_eq!(schedule.admit(&found("a", "x")), Admission::Known);
    let job = open(&mut schedule);
    assert_eq!(schedule.admit(&found("a", "x")), Admission::Known);
    assert_eq!(schedule.admit(&found("b", "x")), Admission::Accepted, "sources share no names");
    assert!(schedule.vacancies().is_empty());
    finish(&mut schedule, job, &archived());
    assert_eq!(schedule.vacancies(), [(source("a"), 1)]);
    assert_eq!(schedule.admit(&found("a", "x")), Admission::Accepted);
}

#[test]
fn queue_that_is_full_tells_the_epoch_of_the_vacancy_that_ends_it() {
    let mut schedule = schedule(8);
    for name in ["1", "2", "3", "4"] {
        assert_eq!(schedule.admit(&found("a", name)), Admission::Accepted);
    }
    assert_eq!(schedule.admit(&found("a", "5")), Admission::Full { epoch: 1 });
    assert_eq!(schedule.admit(&found("b", "1")), Admission::Accepted, "b is not full");
    open(&mut schedule);
    open(&mut schedule); // b's
    assert!(schedule.vacancies().is_empty(), "a vacancy for each package would be a scan for each");
    open(&mut schedule);
    assert_eq!(schedule.vacancies(), [(source("a"), 1)]);
    assert!(schedule.vacancies().is_empty());
}

#[test]
fn small_packages_are_in_flight_in_larger_numbers_until_a_large_one_comes() {
    let now = Instant::now();
    let mut schedule = schedule_with(1, 1 << 20);
    for name in ["w", "x", "y", "z"] {
        schedule.admit(&found("a", name));
    }
    let first = job_of(&schedule.next(now).unwrap());
    assert!(schedule.next(now).is_none(), "nobody knows yet how large they are");
    schedule.planned(first, 0, Vec::new());
    schedule.ended(first);
    let second = job_of(&schedule.next(now).unwrap());
    assert!(schedule.next(now).is_some(), "as small as the first, they say");

    schedule.planned(second, 0, vec![Box::new(Part(1 << 30))]);
    schedule.ended(second);
    assert!(schedule.next(now).is_none(), "one is in flight, which may be as large");
}

#[test]
fn work_in_flight_never_exceeds_its_bound() {
    let mut schedule = schedule(2);
    for name in ["1", "2", "3"] {
        schedule.admit(&found("a", name));
    }
    let first = open(&mut schedule);
    open(&mut schedule);
    assert!(schedule.next(Instant::now()).is_none(), "a third piece of work with room for two");
    schedule.planned(first, 0, slices(1));
    schedule.ended(first);
    assert!(schedule.next(Instant::now()).is_some());
    assert!(schedule.next(Instant::now()).is_none());
}

#[test]
fn giant_package_shares_the_pool_with_small_ones_behind_it() {
    let mut schedule = schedule(100);
    schedule.admit(&found("a", "giant"));
    let giant = open(&mut schedule);
    schedule.planned(giant, 0, slices(9));
    schedule.ended(giant);
    for name in ["s1", "s2"] {
        schedule.admit(&found("a", name));
    }
    schedule.admit(&found("b", "other"));
    let now = Instant::now();
    let order: Vec<String> = (0..6)
        .map(|_| {
            let work = schedule.next(now);
            show(&schedule, work)
        })
        .collect();
    let other = order.iter().position(|w| w == "open other").unwrap();
    let small = order.iter().position(|w| w == "open s1").unwrap();
    assert!(other < 2 && small < 3, "the giant held the pool: {order:?}");
    assert!(order.contains(&"slice giant".to_owned()), "the giant starved: {order:?}");
}

#[test]
fn slices_of_two_open_packages_are_dealt_in_turn() {
    let mut schedule = schedule(100);
    schedule.admit(&found("a", "x"));
    schedule.admit(&found("a", "y"));
    let (x, y) = (open(&mut schedule), open(&mut schedule));
    for job in [x, y] {
        schedule.planned(job, 0, slices(2));
        schedule.ended(job);
    }
    let now = Instant::now();
    let order: Vec<JobId> =
        std::iter::from_fn(|| schedule.next(now).as_ref().map(job_of)).collect();
    assert!(order == [x, y, x, y] || order == [y, x, y, x], "not in turn");
}

#[test]
fn retry_waits_for_its_time_and_for_the_last_slice_of_the_attempt_before() {
    let mut schedule = schedule(4);
    schedule.admit(&found("a", "x"));
    let job = open(&mut schedule);
    schedule.planned(job, 0, slices(1));
    schedule.ended(job);
    assert!(matches!(schedule.next(Instant::now()), Some(Work::Slice(..))));
    let now = Instant::now();
    let at = now + Duration::from_secs(5);
    assert!(schedule.settled(job, 1, &again(at, 2, false)));
    assert_eq!(schedule.wake_at(now), Some(at));
    assert!(schedule.next(at).is_none(), "attempt 2 began while a slice of attempt 1 lived");
    schedule.ended(job);
    assert!(schedule.next(now).is_none(), "attempt 2 began before its time");
    match schedule.next(at) {
        Some(Work::Open(spec)) => {
            assert_eq!((spec.attempt, spec.origin), (2, Origin::WorkArea));
        }
        other => panic!("no second attempt, but {other:?}"),
    }
}

#[test]
fn settlement_of_an_older_attempt_is_ignored() {
    let mut schedule = schedule(4);
    schedule.admit(&found("a", "x"));
    let job = open(&mut schedule);
    let now = Instant::now();
    finish(&mut schedule, job, &again(now, 2, false));
    assert_eq!(open(&mut schedule), job);
    assert!(!schedule.settled(job, 1, &archived()), "attempt 1 settled attempt 2's job");
    assert_eq!(schedule.status().archived, 0);
}

#[test]
fn job_that_waits_for_space_stops_the_intake_of_its_source_alone() {
    let mut schedule = schedule(4);
    schedule.admit(&found("a", "x"));
    schedule.admit(&found("a", "y"));
    schedule.admit(&found("b", "z"));
    let x = open(&mut schedule);
    let now = Instant::now();
    let at = now + Duration::from_secs(5);
    finish(&mut schedule, x, &again(at, 1, true));
    let work = schedule.next(now);
    assert_eq!(show(&schedule, work), "open z");
    assert!(schedule.next(now).is_none(), "y was claimed although there is no space");
    assert!(schedule.is_blocked(&source("a")) && !schedule.is_blocked(&source("b")));
    assert_eq!(schedule.next(at).as_ref().map(job_of), Some(x));
    finish(&mut schedule, x, &archived());
    let work = schedule.next(now);
    assert_eq!(show(&schedule, work), "open y");
}

#[test]
fn job_that_was_active_at_two_crashes_runs_with_nothing_beside_it() {
    let mut schedule = schedule(4);
    let (suspect, other) = (recovered("suspect", 2), recovered("other", 1));
    schedule.recover(suspect.clone());
    schedule.recover(other);
    schedule.admit(&found("a", "x"));
    let now = Instant::now();
    let work = schedule.next(now);
    assert_eq!(show(&schedule, work), "open suspect");
    assert!(schedule.next(now).is_none(), "something ran beside the suspect");
    schedule.planned(suspect.id, 0, slices(1));
    schedule.ended(suspect.id);
    let work = schedule.next(now);
    assert_eq!(show(&schedule, work), "slice suspect");
    schedule.ended(suspect.id);
    assert!(schedule.next(now).is_none(), "something ran beside the suspect's stages");
    assert!(schedule.settled(suspect.id, 1, &archived()));
    let work = schedule.next(now);
    assert_eq!(show(&schedule, work), "open other");
}

#[test]
fn job_that_runs_alone_waits_for_those_that_are_active() {
    let mut schedule = schedule(4);
    let settling = recovered("settling", 0);
    schedule.recover_settling(settling.clone());
    schedule.recover(recovered("suspect", 2));
    let now = Instant::now();
    assert!(schedule.next(now).is_none(), "the suspect ran beside another's settlement");
    assert!(schedule.settled(settling.id, 1, &archived()));
    let work = schedule.next(now);
    assert_eq!(show(&schedule, work), "open suspect");
}

#[test]
fn package_that_vanished_frees_its_name() {
    let mut schedule = schedule(4);
    schedule.admit(&found("a", "x"));
    let job = open(&mut schedule);
    schedule.ended(job);
    schedule.dropped(job);
    assert!(schedule.is_empty());
    assert_eq!(schedule.admit(&found("a", "x")), Admission::Accepted);
}

#[test]
fn schedule_that_is_closed_finishes_what_is_open_and_starts_nothing() {
    let mut schedule = schedule(4);
    schedule.admit(&found("a", "x"));
    schedule.admit(&found("a", "y"));
    let x = open(&mut schedule);
    schedule.planned(x, 0, slices(1));
    schedule.ended(x);
    schedule.close();
    assert_eq!(schedule.admit(&found("a", "z")), Admission::Full { epoch: u64::MAX });
    assert!(!schedule.is_quiet());
    let work = schedule.next(Instant::now());
    assert_eq!(show(&schedule, work), "slice x");
    assert!(schedule.next(Instant::now()).is_none(), "y was opened after the close");
    schedule.ended(x);
    assert!(schedule.settled(x, 1, &archived()));
    assert!(schedule.is_quiet() && schedule.is_empty());
}

#[test]
fn second_job_of_a_name_keeps_the_name_when_the_first_settles() {
    let mut schedule = schedule(4);
    let (first, second) = (recovered("x", 0), recovered("x", 0));
    schedule.recover_settling(first.clone());
    schedule.recover(second.clone());
    assert!(schedule.settled(first.id, 1, &archived()));
    assert_eq!(schedule.admit(&found("a", "x")), Admission::Known);
}

#[test]
fn source_whose_archive_is_slow_holds_up_itself_alone() {
    let mut schedule = schedule(1);
    for at in 0..4 {
        schedule.recover_settling(recovered(&format!("slow-{at}"), 0));
    }
    schedule.admit(&found("a", "of-a"));
    assert_eq!(schedule.next(Instant::now()).map(|work| job_of(&work)), None);
    schedule.admit(&found("b", "of-b"));
    let work = schedule.next(Instant::now());
    assert_eq!(show(&schedule, work), "open of-b");
}

//! The contract of every [`Store`], whatever it keeps the ledger in.
//!
//! `contract_for!(maker)` creates a test for each case; `maker` returns an empty store whose node is `n1`.

use std::path::PathBuf;

use super::{
    AttemptEnd, Ending, JobFilter, LedgerError, NamePattern, Page, Record, Settlement, State, Step,
    Store,
};
use crate::id::{Digest, JobId, PackageName, SourceName};
use crate::package::ZipFacts;

macro_rules! contract_for {
    ($maker:expr) => {
        $crate::ledger::contract::contract_for!(@ $maker;
            empty_store_answers_every_question_with_nothing
            job_told_step_by_step_has_them_all
            settlement_alone_tells_all_there_is_to_know
            settlement_told_twice_changes_nothing
            settlement_that_differs_replaces_the_one_before
            steps_told_after_the_settlement_fill_in_their_times
            retries_are_attempts_of_one_job
            wait_is_the_same_attempt_again
            retry_told_twice_or_late_changes_nothing
            note_is_kept_once
            facts_of_many_jobs_in_one_go_are_all_taken
            jobs_are_found_by_all_that_is_asked_for
            jobs_come_in_pages_newest_first
            jobs_are_found_by_the_begin_of_their_id
            names_of_every_script_and_quote_are_kept
            archived_are_found_by_name_and_likeness
            pruning_forgets_the_old_and_keeps_what_is_in_work
            sizes_beyond_32_bits_are_kept
        );
    };
    (@ $maker:expr; $($case:ident)*) => {
        $(
            #[test]
            fn $case() {
                let mut made = ($maker)();
                $crate::ledger::contract::$case(made.store());
            }
        )*
    };
}
pub(super) use contract_for;

/// A store, together with values that must live as long.
pub(super) trait Made {
    fn store(&mut self) -> &mut dyn Store;
}

pub(super) const AT: i64 = 1_790_000_000_000;

pub(super) fn digest(text: &str) -> Digest {
    blake3::hash(text.as_bytes()).into()
}

pub(super) fn zip(text: &str) -> ZipFacts {
    ZipFacts {
        zip_bytes: text.len() as u64,
        digest: digest(text),
        hash: None,
        entries: 3,
        bytes: 300,
        charset: "UTF-8".to_owned(),
    }
}

/// Returns a fact about attempt 1 of a new job, `ms` after [`AT`].
pub(super) fn fact(name: &str, ms: i64, step: Step) -> Record {
    Record {
        at_ms: AT + ms,
        job: JobId::generate(),
        source: SourceName::default(),
        name: PackageName::new(name).unwrap(),
        attempt: 1,
        step,
    }
}

pub(super) fn then(before: &Record, ms: i64, attempt: u32, step: Step) -> Record {
    Record { at_ms: AT + ms, attempt, step, ..before.clone() }
}

pub(super) fn settled(ending: Ending) -> Step {
    Step::Settled(Settlement { ending, zip: None, notes: Vec::new() })
}

pub(super) fn archived(name: &str) -> Step {
    settled(Ending::Archived { path: PathBuf::from("/archive").join(name) })
}

fn archived_with(name: &str, content: &str) -> Step {
    let ending = Ending::Archived { path: PathBuf::from("/archive").join(name) };
    Step::Settled(Settlement { ending, zip: Some(zip(content)), notes: Vec::new() })
}

fn quarantined(code: &str) -> Step {
    let (code, why) = (code.to_owned(), "read the ZIP: it ends early".to_owned());
    settled(Ending::Quarantined { path: "/quarantine/x".into(), code, why })
}

fn retry(code: &str, waits: bool) -> Step {
    settled(Ending::Retry { waits, code: code.to_owned(), why: "write: no space".to_owned() })
}

fn ids(store: &mut dyn Store, filter: &JobFilter) -> Vec<JobId> {
    let jobs = store.jobs(filter, &Page::default()).unwrap();
    jobs.into_iter().map(|job| job.job).collect()
}

/// Ids of the same millisecond are in random order: this sets ids in the order of the records.
fn newer(records: &mut [Record]) {
    let mut ids: Vec<JobId> = records.iter().map(|record| record.job).collect();
    ids.sort();
    for (record, id) in records.iter_mut().zip(ids) {
        record.job = id;
    }
}

pub(super) fn empty_store_answers_every_question_with_nothing(store: &mut dyn Store) {
    let (source, name) = (SourceName::default(), PackageName::new("a").unwrap());
    store.record(&[]).unwrap();
    assert_eq!(store.job(JobId::generate()).unwrap(), None);
    assert_eq!(store.jobs_starting("", 5).unwrap(), []);
    assert_eq!(store.jobs(&JobFilter::default(), &Page::default()).unwrap(), []);
    assert_eq!(store.attempts(JobId::generate()).unwrap(), []);
    assert!(store.counts(&JobFilter::default()).unwrap().is_empty());
    assert_eq!(store.last_archived(&source, &name).unwrap(), None);
    assert_eq!(store.archived_alike(&source, &name, 1, digest("a")).unwrap(), []);
    store.archived_names(&mut |_, name| panic!("{name} is archived")).unwrap();
    assert_eq!(store.prune(i64::MAX).unwrap(), 0);
    assert_eq!(store.check().unwrap(), Vec::<String>::new());
}

pub(super) fn job_told_step_by_step_has_them_all(store: &mut dyn Store) {
    let claimed = fact("a", 0, Step::Claimed);
    let state = |store: &mut dyn Store| store.job(claimed.job).unwrap().unwrap().state;
    store.record(std::slice::from_ref(&claimed)).unwrap();
    assert_eq!(state(store), State::Extracting);
    store.record(&[then(&claimed, 10, 1, Step::Planned(zip("abc")))]).unwrap();
    assert_eq!(state(store), State::Extracting);
    store.record(&[then(&claimed, 20, 1, Step::Unpacked)]).unwrap();
    assert_eq!(state(store), State::Archiving);
    store.record(&[then(&claimed, 25, 1, Step::Entered)]).unwrap();
    assert_eq!(state(store), State::Processing);
    store.record(&[then(&claimed, 30, 1, archived("a"))]).unwrap();

    let job = store.job(claimed.job).unwrap().unwrap();
    assert_eq!((job.job, &*job.node, job.state), (claimed.job, "n1", State::Archived));
    assert_eq!((job.source, job.name.as_str()), (SourceName::default(), "a"));
    assert_eq!((job.attempt, job.code, job.why), (1, None, None));
    assert_eq!(job.path, Some("/archive/a".into()));
    assert_eq!(job.zip, Some(zip("abc")));
    assert_eq!((job.claimed_ms, job.settled_ms), (Some(AT), Some(AT + 30)));
    assert_eq!(job.updated_ms, AT + 30);
    let [attempt] = &store.attempts(claimed.job).unwrap()[..] else { panic!("one attempt") };
    assert_eq!((attempt.job, attempt.attempt), (claimed.job, 1));
    assert_eq!((attempt.begun_ms, attempt.planned_ms), (Some(AT), Some(AT + 10)));
    assert_eq!((attempt.unpacked_ms, attempt.ended_ms), (Some(AT + 20), Some(AT + 30)));
    assert_eq!(attempt.end, Some(AttemptEnd::Final(State::Archived)));
}

pub(super) fn settlement_alone_tells_all_there_is_to_know(store: &mut dyn Store) {
    let notes = vec![("files".to_owned(), "3".to_owned()), ("\"q\"".to_owned(), "ü".to_owned())];
    let mut hashed = zip("abc");
    hashed.hash = Some(digest("whole"));
    let ending = Ending::Quarantined {
        path: "/quarantine/a".into(),
        code: "bad_crc".to_owned(),
        why: "check entry".to_owned(),
    };
    let settlement = Settlement { ending, zip: Some(hashed.clone()), notes: notes.clone() };
    let record = fact("a", 5, Step::Settled(settlement));
    store.record(std::slice::from_ref(&record)).unwrap();
    let job = store.job(record.job).unwrap().unwrap();
    assert_eq!((job.state, job.zip, job.notes), (State::Quarantined, Some(hashed), notes));
    assert_eq!(job.code.as_deref(), Some("bad_crc"));
    assert_eq!(job.why.as_deref(), Some("check entry"));
    assert_eq!((job.claimed_ms, job.settled_ms), (None, Some(AT + 5)));
    let attempts = store.attempts(record.job).unwrap();
    assert_eq!(attempts[0].code.as_deref(), Some("bad_crc"));
}

pub(super) fn settlement_told_twice_changes_nothing(store: &mut dyn Store) {
    for step in [archived("a"), quarantined("bad_crc"), settled(Ending::Vanished)] {
        let first = fact("a", 0, step.clone());
        store.record(std::slice::from_ref(&first)).unwrap();
        let before = store.job(first.job).unwrap();
        let attempts = store.attempts(first.job).unwrap();
        store.record(&[then(&first, 999, 1, step)]).unwrap();
        assert_eq!(store.job(first.job).unwrap(), before);
        assert_eq!(store.attempts(first.job).unwrap(), attempts);
    }
    let reason = Some(("duplicate".to_owned(), "it is there".to_owned()));
    let first = fact("b", 0, settled(Ending::Discarded { reason }));
    store.record(std::slice::from_ref(&first)).unwrap();
    let before = store.job(first.job).unwrap();
    // As a later start reports it, which does not know the reason.
    store.record(&[then(&first, 9, 1, settled(Ending::Discarded { reason: None }))]).unwrap();
    assert_eq!(store.job(first.job).unwrap(), before);
}

pub(super) fn settlement_that_differs_replaces_the_one_before(store: &mut dyn Store) {
    let decided = fact("a", 0, quarantined("bad_crc"));
    store.record(std::slice::from_ref(&decided)).unwrap();
    store.record(&[then(&decided, 50, 2, archived_with("a", "abc"))]).unwrap();
    let job = store.job(decided.job).unwrap().unwrap();
    assert_eq!((job.state, job.attempt, job.code), (State::Archived, 2, None));
    assert_eq!((job.path, job.settled_ms), (Some("/archive/a".into()), Some(AT + 50)));
    assert_eq!(store.counts(&JobFilter::default()).unwrap(), [(State::Archived, 1)].into());
}

pub(super) fn steps_told_after_the_settlement_fill_in_their_times(store: &mut dyn Store) {
    let last = fact("a", 30, archived("a"));
    store.record(std::slice::from_ref(&last)).unwrap();
    let late = [
        then(&last, 0, 1, Step::Claimed),
        then(&last, 10, 1, Step::Planned(zip("abc"))),
        then(&last, 20, 1, Step::Unpacked),
    ];
    store.record(&late).unwrap();
    let job = store.job(last.job).unwrap().unwrap();
    assert_eq!((job.state, job.claimed_ms), (State::Archived, Some(AT)));
    assert_eq!((job.updated_ms, job.zip), (AT + 30, Some(zip("abc"))));
    let attempts = store.attempts(last.job).unwrap();
    assert_eq!(attempts[0].unpacked_ms, Some(AT + 20));
    assert_eq!(attempts[0].end, Some(AttemptEnd::Final(State::Archived)));
}

pub(super) fn retries_are_attempts_of_one_job(store: &mut dyn Store) {
    let first = fact("a", 0, Step::Claimed);
    store.record(&[first.clone(), then(&first, 10, 1, retry("write", false))]).unwrap();
    let job = store.job(first.job).unwrap().unwrap();
    assert_eq!((job.state, job.code.as_deref()), (State::Retrying, Some("write")));
    store.record(&[then(&first, 20, 2, Step::Reopened)]).unwrap();
    let job = store.job(first.job).unwrap().unwrap();
    assert_eq!((job.state, job.attempt), (State::Extracting, 2));
    store.record(&[then(&first, 30, 2, archived("a"))]).unwrap();
    let job = store.job(first.job).unwrap().unwrap();
    assert_eq!((job.state, job.attempt, job.code), (State::Archived, 2, None));
    assert_eq!((job.claimed_ms, job.settled_ms), (Some(AT), Some(AT + 30)));
    let [one, two] = &store.attempts(first.job).unwrap()[..] else { panic!("two attempts") };
    assert_eq!((one.attempt, one.end), (1, Some(AttemptEnd::Retry)));
    assert_eq!((one.code.as_deref(), one.ended_ms), (Some("write"), Some(AT + 10)));
    assert_eq!((two.attempt, two.begun_ms, two.code.clone()), (2, Some(AT + 20), None));
}

pub(super) fn wait_is_the_same_attempt_again(store: &mut dyn Store) {
    let first = fact("a", 0, Step::Claimed);
    store.record(&[first.clone(), then(&first, 10, 1, retry("no_space", true))]).unwrap();
    assert_eq!(store.job(first.job).unwrap().unwrap().state, State::Retrying);
    assert_eq!(store.attempts(first.job).unwrap()[0].end, Some(AttemptEnd::Wait));
    store.record(&[then(&first, 20, 1, Step::Reopened)]).unwrap();
    assert_eq!(store.job(first.job).unwrap().unwrap().state, State::Extracting);
    store.record(&[then(&first, 30, 1, archived("a"))]).unwrap();
    let [attempt] = &store.attempts(first.job).unwrap()[..] else { panic!("one attempt") };
    assert_eq!(attempt.end, Some(AttemptEnd::Final(State::Archived)));
    assert_eq!((attempt.begun_ms, attempt.code.clone()), (Some(AT + 20), None));
}

pub(super) fn retry_told_twice_or_late_changes_nothing(store: &mut dyn Store) {
    let first = fact("a", 10, retry("write", false));
    store.record(std::slice::from_ref(&first)).unwrap();
    let before = (store.job(first.job).unwrap(), store.attempts(first.job).unwrap());
    store.record(std::slice::from_ref(&first)).unwrap();
    assert_eq!((store.job(first.job).unwrap(), store.attempts(first.job).unwrap()), before);
    store.record(&[then(&first, 20, 2, archived("a"))]).unwrap();
    let before = store.job(first.job).unwrap();
    store.record(&[then(&first, 15, 1, retry("write", false))]).unwrap();
    assert_eq!(store.job(first.job).unwrap(), before, "the job was archived");
}

pub(super) fn note_is_kept_once(store: &mut dyn Store) {
    let first = fact("a", 0, archived("a"));
    let (key, value) = ("late_arrivals".to_owned(), "/quarantine/a".to_owned());
    let note = then(&first, 1, 1, Step::Noted { key: key.clone(), value: value.clone() });
    store.record(&[first.clone(), note.clone()]).unwrap();
    store.record(&[note]).unwrap();
    let job = store.job(first.job).unwrap().unwrap();
    assert_eq!((job.state, job.notes), (State::Archived, vec![(key, value)]));
}

pub(super) fn facts_of_many_jobs_in_one_go_are_all_taken(store: &mut dyn Store) {
    let mut facts = Vec::new();
    for n in 0..500 {
        let claimed = fact(&format!("p{n}"), n, Step::Claimed);
        facts.push(then(&claimed, n + 1, 1, Step::Planned(zip("abc"))));
        facts.push(then(&claimed, n + 2, 1, archived("p")));
        facts.push(claimed);
    }
    store.record(&facts).unwrap();
    assert_eq!(store.counts(&JobFilter::default()).unwrap(), [(State::Archived, 500)].into());
    assert_eq!(store.check().unwrap(), Vec::<String>::new());
}

pub(super) fn jobs_are_found_by_all_that_is_asked_for(store: &mut dyn Store) {
    let mut records = [
        fact("plate-1", 0, archived("plate-1")),
        fact("plate-2", 10, quarantined("bad_crc")),
        fact("scan-1", 20, quarantined("entry_escapes")),
        fact("Plate-3", 30, Step::Claimed),
    ];
    newer(&mut records);
    records[2].source = SourceName::new("scans").unwrap();
    store.record(&records).unwrap();
    let [one, two, three, four] = records.map(|record| record.job);
    let mut find = |filter: JobFilter| {
        let found = ids(store, &filter);
        let sum: u64 = store.counts(&filter).unwrap().values().sum();
        assert_eq!(sum, found.len() as u64, "counts and list disagree on {filter:?}");
        found
    };
    let name = |pattern: &str| Some(NamePattern::new(pattern).unwrap());
    let any = JobFilter::default;
    assert_eq!(find(any()), [four, three, two, one]);
    assert_eq!(find(JobFilter { name: name("plate-*"), ..any() }), [two, one]);
    assert_eq!(find(JobFilter { name: name("plate-1"), ..any() }), [one]);
    assert_eq!(find(JobFilter { name: name("*-[12]"), ..any() }), [three, two, one]);
    assert_eq!(find(JobFilter { name: name("*"), ..any() }), [four, three, two, one]);
    let scans = SourceName::new("scans").ok();
    assert_eq!(find(JobFilter { source: scans.clone(), ..any() }), [three]);
    assert_eq!(find(JobFilter { source: scans, name: name("plate*"), ..any() }), []);
    let states = vec![State::Archived, State::Extracting];
    assert_eq!(find(JobFilter { states, ..any() }), [four, one]);
    assert_eq!(find(JobFilter { code: Some("bad_crc".to_owned()), ..any() }), [two]);
    let (since_ms, until_ms) = (Some(AT + 10), Some(AT + 20));
    assert_eq!(find(JobFilter { since_ms, ..any() }), [four, three, two]);
    assert_eq!(find(JobFilter { until_ms, ..any() }), [two, one]);
    assert_eq!(find(JobFilter { since_ms, until_ms, ..any() }), [two]);
}

pub(super) fn jobs_come_in_pages_newest_first(store: &mut dyn Store) {
    let mut records: Vec<Record> = (0..10).map(|n| fact("a", n, archived("a"))).collect();
    newer(&mut records);
    store.record(&records).unwrap();
    let mut all = Vec::new();
    let mut page = Page { before: None, limit: 4 };
    loop {
        let jobs = store.jobs(&JobFilter::default(), &page).unwrap();
        assert!(jobs.len() <= 4, "a page is longer than was asked for");
        let Some(last) = jobs.last() else { break };
        page.before = Some(last.job);
        all.extend(jobs.into_iter().map(|job| job.job));
    }
    let expected: Vec<JobId> = records.iter().rev().map(|record| record.job).collect();
    assert_eq!(all, expected);
}

pub(super) fn jobs_are_found_by_the_begin_of_their_id(store: &mut dyn Store) {
    let mut records = [fact("a", 0, Step::Claimed), fact("b", 0, Step::Claimed)];
    newer(&mut records);
    store.record(&records).unwrap();
    let [a, b] = records.map(|record| record.job);
    assert_eq!(store.jobs_starting(&a.to_string(), 2).unwrap(), [a]);
    assert_eq!(store.jobs_starting(&b.to_string()[..25], 1).unwrap().len(), 1);
    assert_eq!(store.jobs_starting("", 5).unwrap(), [a, b]);
    assert_eq!(store.jobs_starting("", 1).unwrap(), [a]);
    assert_eq!(store.jobs_starting("ZZZZ", 5).unwrap(), []);
    assert_eq!(store.jobs_starting("%", 5).unwrap(), []);
}

pub(super) fn names_of_every_script_and_quote_are_kept(store: &mut dyn Store) {
    for name in ["名字", "a'b\"c", "50%_x", "a*b", "ünï", "-- x;", "👾"] {
        let record = fact(name, 0, archived(name));
        store.record(std::slice::from_ref(&record)).unwrap();
        let job = store.job(record.job).unwrap().unwrap();
        assert_eq!(job.name.as_str(), name);
        assert_eq!(job.path, Some(PathBuf::from("/archive").join(name)));
        let found = store.last_archived(&record.source, &record.name).unwrap();
        assert_eq!(found.map(|job| job.job), Some(record.job), "{name}");
        let escaped = name.replace('*', "\\*");
        let filter = JobFilter { name: NamePattern::new(&escaped).ok(), ..JobFilter::default() };
        assert_eq!(ids(store, &filter), [record.job], "{name}");
    }
}

pub(super) fn archived_are_found_by_name_and_likeness(store: &mut dyn Store) {
    let mut records = [
        fact("a", 0, archived_with("a", "one")),
        fact("a", 10, archived_with("a.2", "two")),
        fact("a", 20, quarantined("duplicate")),
        fact("b", 30, archived_with("b", "one")),
        fact("a", 40, archived_with("a", "one")),
    ];
    newer(&mut records);
    records[4].source = SourceName::new("other").unwrap();
    store.record(&records).unwrap();
    let (source, name) = (SourceName::default(), PackageName::new("a").unwrap());
    let last = store.last_archived(&source, &name).unwrap().unwrap();
    assert_eq!((last.job, last.path), (records[1].job, Some("/archive/a.2".into())));
    let mut alike = |content: &str| -> Vec<JobId> {
        let zip = zip(content);
        let found = store.archived_alike(&source, &name, zip.zip_bytes, zip.digest).unwrap();
        found.into_iter().map(|job| job.job).collect()
    };
    assert_eq!(alike("one"), [records[0].job]);
    assert_eq!(alike("two"), [records[1].job]);
    assert_eq!(alike("six"), []);
    let mut seen = Vec::new();
    store.archived_names(&mut |source, name| seen.push(format!("{source}/{name}"))).unwrap();
    seen.sort();
    assert_eq!(seen, ["default/a", "default/a", "default/b", "other/a"]);
}

pub(super) fn pruning_forgets_the_old_and_keeps_what_is_in_work(store: &mut dyn Store) {
    let records = [
        fact("old", 0, archived("old")),
        fact("bad", 10, quarantined("bad_crc")),
        fact("works", 0, Step::Claimed),
        fact("waits", 0, retry("no_space", true)),
        fact("new", 100, archived("new")),
    ];
    store.record(&records).unwrap();
    assert_eq!(store.prune(AT + 100).unwrap(), 2);
    assert_eq!(store.prune(AT + 100).unwrap(), 0);
    let [old, bad, works, waits, new] = records.map(|record| record.job);
    for gone in [old, bad] {
        assert_eq!(store.job(gone).unwrap(), None);
        assert_eq!(store.attempts(gone).unwrap(), []);
    }
    for kept in [works, waits, new] {
        assert!(store.job(kept).unwrap().is_some(), "{kept} is forgotten");
        assert_eq!(store.attempts(kept).unwrap().len(), 1);
    }
    assert_eq!(store.check().unwrap(), Vec::<String>::new());
}

pub(super) fn sizes_beyond_32_bits_are_kept(store: &mut dyn Store) {
    let mut big = zip("big");
    (big.zip_bytes, big.bytes, big.entries) = (5 << 40, 7 << 50, 100_000_000);
    let record = fact("a", 0, Step::Planned(big.clone()));
    store.record(std::slice::from_ref(&record)).unwrap();
    assert_eq!(store.job(record.job).unwrap().unwrap().zip, Some(big));
}

mod memory {
    use super::{Made, Store};
    use crate::ledger::MemoryStore;

    impl Made for MemoryStore {
        fn store(&mut self) -> &mut dyn Store {
            self
        }
    }

    super::contract_for!(|| MemoryStore::new("n1"));

    #[test]
    fn backup_of_a_store_without_a_file_says_so() {
        let mut store = MemoryStore::new("n1");
        let error = store.backup("/nowhere/ledger".as_ref()).unwrap_err();
        assert!(matches!(error, super::LedgerError::Unsupported { .. }));
    }
}

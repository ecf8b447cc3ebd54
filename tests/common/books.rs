//! What a place's ledger says, against what is on its disk.

use std::collections::BTreeMap;
use std::path::PathBuf;

use longshore::ledger::{JobEntry, JobFilter, Page, SqliteStore, State, Store};

use super::Place;

pub(crate) fn ledger_path(place: &Place) -> PathBuf {
    place.landing().join(".longshore/ledger.sqlite")
}

/// Everything in the ledger, newest first.
pub(crate) fn ledger_jobs(place: &Place) -> Vec<JobEntry> {
    let mut store = SqliteStore::open_to_read(&ledger_path(place)).unwrap();
    let page = Page { before: None, limit: 10_000 };
    let jobs = store.jobs(&JobFilter::default(), &page).unwrap();
    assert_eq!(store.check().unwrap(), Vec::<String>::new());
    jobs
}

/// Where the ledger and the disk differ: each job must be settled, have its folder if it left one, and
/// each folder but those of `others` must have its job.
pub(crate) fn differences(place: &Place, others: &[PathBuf]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut told: BTreeMap<PathBuf, State> = BTreeMap::new();
    for job in ledger_jobs(place) {
        if !job.state.is_settled() {
            wrong.push(format!("the ledger has it not settled: {job:?}"));
        }
        for (_, late) in job.notes.iter().filter(|(key, _)| key == "late_arrivals") {
            told.insert(late.into(), State::Quarantined);
        }
        if let Some(path) = job.path
            && told.insert(path.clone(), job.state).is_some()
        {
            wrong.push(format!("the ledger has two jobs at {path:?}"));
        }
    }
    let mut there = BTreeMap::new();
    for (names, folder, state) in [
        (place.archived_names(), place.archive(), State::Archived),
        (place.quarantined_names(), place.quarantine(), State::Quarantined),
    ] {
        there.extend(names.into_iter().map(|name| (folder.join(name), state)));
    }
    there.retain(|path, _| !others.contains(path));
    for (path, state) in &told {
        if there.get(path) != Some(state) {
            wrong.push(format!(
                "the ledger has {path:?} as {state:?}, the disk {:?}",
                there.get(path)
            ));
        }
    }
    let untold = there.keys().filter(|path| !told.contains_key(*path));
    wrong.extend(untold.map(|path| format!("the ledger does not know {path:?}")));
    wrong
}

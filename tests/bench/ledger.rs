//! What the ledger costs a pipeline: `cargo bench --bench ledger`.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark is read by people")]

mod price;

use longshore::ledger::{JobFilter, SqliteStore, Store};

fn main() {
    price::compare(
        "ledger",
        |pipeline, ledger| if ledger { pipeline } else { pipeline.without_ledger() },
        |landing, ledger| {
            if ledger {
                let path = landing.path().join(".longshore/ledger.sqlite");
                let mut store = SqliteStore::open_to_read(&path).unwrap();
                let told: u64 = store.counts(&JobFilter::default()).unwrap().values().sum();
                assert_eq!(told, price::PACKAGES as u64, "the ledger does not know all of them");
            }
        },
    );
}

//! A publisher of the program's own: packages reach it, whatever fails or ends in between.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use longshore::messages::StopMode;
use longshore::testkit::{Flaw, PackageMaker, PipelineHarness, TempLanding};
use longshore::{Delivery, Fact, JobId, Outcome, Publish, Refusal};

/// Keeps the names and bytes of what it is handed; fails as often as it is told to.
#[derive(Default)]
struct Shelf {
    failures: Mutex<u32>,
    panics: Mutex<u32>,
    /// Each time that something was offered.
    offered: Mutex<Vec<JobId>>,
    kept: Mutex<BTreeMap<String, BTreeMap<PathBuf, Vec<u8>>>>,
}

impl Publish for Shelf {
    fn publish(&self, delivery: &Delivery<'_>) -> Result<PathBuf, Refusal> {
        self.offered.lock().unwrap().push(delivery.job);
        if take_one(&self.failures) {
            return Err("the shelf is closed".into());
        }
        assert!(!take_one(&self.panics), "the shelf falls down, as it was told to");
        let mut files = BTreeMap::new();
        read(delivery.folder, Path::new(""), &mut files)?;
        self.kept.lock().unwrap().insert(delivery.name.to_string(), files);
        Ok(Path::new("/shelf").join(delivery.name.as_str()))
    }
}

fn take_one(count: &Mutex<u32>) -> bool {
    let mut count = count.lock().unwrap();
    let is_left = *count > 0;
    *count = count.saturating_sub(1);
    is_left
}

fn read(top: &Path, below: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) -> std::io::Result<()> {
    for entry in fs::read_dir(top.join(below))? {
        let path = below.join(entry?.file_name());
        if top.join(&path).is_dir() {
            read(top, &path, files)?;
        } else {
            files.insert(path.clone(), fs::read(top.join(path))?);
        }
    }
    Ok(())
}

fn start(shelf: &Arc<Shelf>) -> PipelineHarness {
    let shelf = Arc::clone(shelf);
    PipelineHarness::start(|pipeline| pipeline.publisher(shelf))
}

fn plate() -> PackageMaker {
    PackageMaker::new("plate").file("wells/a.csv", "1,2").beside("note.txt", "by hand")
}

fn jobs(landing: &TempLanding) -> Vec<PathBuf> {
    let work = fs::read_dir(landing.join(".longshore/work/default")).unwrap();
    let paths = work.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.is_dir()).collect()
}

#[actix::test]
async fn publisher_gets_what_the_archive_would_hold_and_the_archive_gets_nothing() {
    let shelf = Arc::default();
    let mut harness = start(&shelf);
    harness.deliver(plate());
    harness.deliver(PackageMaker::new("broken").flaw(Flaw::ALL[0]));
    assert_eq!(harness.archived("plate").await, Path::new("/shelf/plate"));
    harness.quarantined("broken").await;
    let archive = harness.config().sources[0].archive.clone();
    let landing = harness.stop().await;
    let kept = shelf.kept.lock().unwrap();
    let names: Vec<_> = kept["plate"].keys().map(|path| path.to_str().unwrap()).collect();
    assert_eq!(names, ["note.txt", "plate.zip", "wells/a.csv"]);
    assert_eq!(kept["plate"][Path::new("plate.zip")], plate().zip());
    assert_eq!(kept.len(), 1, "what was not sound was handed over");
    assert_eq!(fs::read_dir(archive).unwrap().count(), 0);
    assert_eq!(jobs(&landing), [""; 0].map(PathBuf::from));
}

#[actix::test]
async fn publisher_that_fails_and_panics_is_offered_the_same_job_again() {
    let shelf =
        Arc::new(Shelf { failures: Mutex::new(2), panics: Mutex::new(1), ..<_>::default() });
    let mut harness = start(&shelf);
    harness.deliver(plate());
    let is_retry = |fact: &Fact| {
        matches!(fact, Fact::Settled(Outcome::Retry { code, why, attempt: 1, .. })
            if code == "publisher" && why.contains("the shelf is closed"))
    };
    harness.happened("plate", is_retry).await;
    harness.archived("plate").await;
    harness.stop().await;
    let offered = shelf.offered.lock().unwrap();
    assert_eq!(offered.len(), 4);
    assert!(offered.iter().all(|job| *job == offered[0]), "{offered:?}");
}

/// Has a package handed to a closed shelf, and ends the pipeline over that.
async fn ended_before_it_was_taken() -> (TempLanding, longshore::Config, PathBuf) {
    let shelf = Arc::new(Shelf { failures: Mutex::new(u32::MAX), ..<_>::default() });
    let mut harness = start(&shelf);
    harness.deliver(plate());
    let is_retry = |fact: &Fact| matches!(fact, Fact::Settled(Outcome::Retry { .. }));
    harness.happened("plate", is_retry).await;
    let config = harness.config().clone();
    let (_, landing) = harness.stop_as(StopMode::Immediate).await;
    let [job] = <[_; 1]>::try_from(jobs(&landing)).unwrap();
    (landing, config, job)
}

async fn go_on(landing: TempLanding, config: longshore::Config) -> (Arc<Shelf>, PathBuf) {
    let shelf = Arc::<Shelf>::default();
    let publisher = Arc::clone(&shelf);
    let mut harness =
        PipelineHarness::start_in(landing, config, |pipeline| pipeline.publisher(publisher));
    let path = harness.archived("plate").await;
    let landing = harness.stop().await;
    assert_eq!(jobs(&landing), [""; 0].map(PathBuf::from));
    (shelf, path)
}

#[actix::test]
async fn package_that_nobody_took_before_the_end_is_offered_by_the_next_start() {
    let (landing, config, _) = ended_before_it_was_taken().await;
    let (shelf, _) = go_on(landing, config).await;
    assert_eq!(shelf.kept.lock().unwrap()["plate"].len(), 3);
}

#[actix::test]
async fn package_that_was_taken_before_the_kill_is_not_offered_again() {
    let (landing, config, job) = ended_before_it_was_taken().await;
    let id = serde_json::json!({ "inode": 0, "birth": "0" });
    let record = serde_json::json!({ "v": 1, "name": "plate", "target": "/shelf/one",
        "staging": id, "copy": id, "published": "/shelf/one" });
    fs::write(job.join(".copy.json"), record.to_string()).unwrap();
    fs::rename(job.join(".final"), job.join(".copied")).unwrap();
    fs::remove_file(job.join(".copied/plate.zip")).unwrap(); // half removed already
    let (shelf, path) = go_on(landing, config).await;
    assert_eq!(path, Path::new("/shelf/one"));
    assert_eq!(shelf.offered.lock().unwrap().len(), 0);
}

#[actix::test]
async fn package_whose_record_the_power_loss_took_is_offered_again() {
    let (landing, config, job) = ended_before_it_was_taken().await;
    fs::rename(job.join(".final"), job.join(".copied")).unwrap();
    let (shelf, _) = go_on(landing, config).await;
    assert_eq!(shelf.kept.lock().unwrap()["plate"].len(), 3);
}

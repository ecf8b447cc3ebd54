use std::fs;
use std::io::Write;
use std::path::PathBuf;

use slog::Logger;
use tempfile::TempDir;
use zip::write::SimpleFileOptions;

use super::*;
use crate::extract::Options;
use crate::ledger::contract::fact;
use crate::ledger::{Ending, MemoryStore, Settlement, SqliteStore, Step, Store};

struct Stand {
    folder: TempDir,
    ledger: LedgerHandle,
}

fn stand() -> Stand {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("archive")).unwrap();
    Stand { folder, ledger: handle(Box::new(MemoryStore::new("n1"))) }
}

fn handle(store: Box<dyn Store>) -> LedgerHandle {
    LedgerHandle::new(store, Logger::root(slog::Discard, slog::o!())).unwrap()
}

/// Creates a ZIP of stored files, all dated to a second of 1980.
fn zip(files: &[(&str, &str)], second: u8) -> Vec<u8> {
    let mut to = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let at = zip::DateTime::from_date_and_time(1980, 1, 1, 0, 0, second).unwrap();
    for (name, text) in files {
        let options = SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Stored)
            .last_modified_time(at);
        to.start_file(*name, options).unwrap();
        to.write_all(text.as_bytes()).unwrap();
    }
    to.finish().unwrap().into_inner()
}

fn source() -> SourceName {
    SourceName::default()
}

fn name() -> PackageName {
    PackageName::new("a").unwrap()
}

impl Stand {
    fn archive(&self) -> PathBuf {
        self.folder.path().join("archive")
    }

    fn delivered(&self, bytes: &[u8]) -> (File, ZipFacts) {
        let path = self.folder.path().join("delivered.zip");
        fs::write(&path, bytes).unwrap();
        let file = File::open(path).unwrap();
        let plan = Plan::read(&file, &Options::default()).unwrap();
        let facts = zip_facts(&plan, &file, false, &Steps::default()).unwrap();
        (file, facts)
    }

    /// Records a package as archived in `path` in the ledger, and creates it there.
    fn archived(&self, path: &Path, bytes: &[u8], hash: bool) {
        fs::create_dir_all(path).unwrap();
        fs::write(path.join("a.zip"), bytes).unwrap();
        let (file, mut facts) = self.delivered(bytes);
        if hash {
            facts.hash = Some(hash_of(&file, &Steps::default()).unwrap());
        }
        let ending = Ending::Archived { path: path.to_owned() };
        let settlement = Settlement { ending, zip: Some(facts), notes: Vec::new() };
        assert!(self.ledger.commit(vec![fact("a", 0, Step::Settled(settlement))]));
    }

    fn compare(&self, bytes: &[u8]) -> Redelivery {
        let (file, facts) = self.delivered(bytes);
        let ledger = Some(&self.ledger);
        let archive = crate::folder::Folder::open(&self.archive()).unwrap();
        compare(ledger, &archive, &source(), &name(), (&file, &facts), &Steps::default()).unwrap()
    }
}

#[test]
fn digest_is_of_names_sizes_and_contents_and_of_nothing_else() {
    let stand = stand();
    let digest = |files: &[(&str, &str)], second| stand.delivered(&zip(files, second)).1.digest;
    let one = digest(&[("x", "one"), ("y", "two")], 0);
    assert_eq!(one, digest(&[("x", "one"), ("y", "two")], 30), "times do not count");
    for other in [
        &[("x", "one"), ("y", "tow")][..],
        &[("x", "one"), ("z", "two")],
        &[("x", "one"), ("y", "two ")],
        &[("y", "two"), ("x", "one")],
        &[("x", "one")],
        &[],
    ] {
        assert_ne!(one, digest(other, 0), "{other:?}");
    }
    let expected = {
        let mut form = Vec::new();
        for (name, text) in [("x", "one"), ("y", "two")] {
            form.extend(1u64.to_le_bytes());
            form.extend(name.as_bytes());
            form.extend(3u64.to_le_bytes());
            form.extend(libdeflater::crc32(text.as_bytes()).to_le_bytes());
        }
        Digest::from(blake3::hash(&form))
    };
    assert_eq!(one, expected, "the digest is not that of its documented form");
}

#[test]
fn hash_is_blake3_of_the_whole_file_however_large() {
    let folder = tempfile::tempdir().unwrap();
    let bytes: Vec<u8> = (0..700_000u32).map(|n| (n % 251) as u8).collect();
    let path = folder.path().join("big");
    fs::write(&path, &bytes).unwrap();
    let hash = hash_of(&File::open(path).unwrap(), &Steps::default()).unwrap();
    assert_eq!(hash, blake3::hash(&bytes).into());
}

#[test]
fn package_that_neither_ledger_nor_archive_knows_is_new() {
    assert_eq!(stand().compare(&zip(&[("x", "one")], 0)), Redelivery::New);
}

#[test]
fn package_that_was_archived_in_another_archive_is_new_in_this_one() {
    let stand = stand();
    let elsewhere = stand.folder.path().join("old-archive/a.2");
    let bytes = zip(&[("x", "one")], 0);
    stand.archived(&elsewhere, &bytes, false);
    assert_eq!(stand.compare(&bytes), Redelivery::New, "that archive may be another daemon's");
}

#[test]
fn package_whose_archived_folder_is_gone_is_remembered() {
    let stand = stand();
    let path = stand.archive().join("a");
    let bytes = zip(&[("x", "one")], 0);
    for hash in [false, true] {
        stand.archived(&path, &bytes, hash);
        fs::remove_dir_all(&path).unwrap();
        let found = stand.compare(&bytes);
        assert!(
            matches!(&found, Redelivery::Remembered { path: at, .. } if *at == path),
            "{found:?}"
        );
    }
}

#[test]
fn package_packed_again_is_a_change_where_its_bytes_or_their_hash_can_tell() {
    let stand = stand();
    let path = stand.archive().join("a");
    stand.archived(&path, &zip(&[("x", "one")], 0), true);
    let again = zip(&[("x", "one")], 30);
    assert_eq!(stand.compare(&again), Redelivery::Changed { path: path.clone() });
    fs::remove_dir_all(&path).unwrap();
    assert_eq!(stand.compare(&again), Redelivery::Changed { path });
}

#[test]
fn package_with_other_contents_is_a_change_though_the_archived_one_is_gone() {
    let stand = stand();
    let path = stand.archive().join("a");
    stand.archived(&path, &zip(&[("x", "one")], 0), false);
    fs::remove_dir_all(&path).unwrap();
    assert_eq!(stand.compare(&zip(&[("x", "two")], 0)), Redelivery::Changed { path });
}

#[test]
fn package_that_only_the_archive_knows_is_found_there() {
    let stand = stand();
    let path = stand.archive().join("a");
    let (one, two) = (zip(&[("x", "one")], 0), zip(&[("x", "two")], 0));
    fs::create_dir(&path).unwrap();
    fs::write(path.join("a.zip"), &one).unwrap();
    assert_eq!(stand.compare(&one), Redelivery::Identical { path: path.clone() });
    // The ledger knows the name, but not that revision.
    stand.archived(&stand.archive().join("a.2"), &two, false);
    assert_eq!(stand.compare(&one), Redelivery::Identical { path });
}

#[test]
fn package_is_looked_up_in_the_archive_when_the_ledger_does_not_answer() {
    let mut stand = stand();
    let file = stand.folder.path().join("ledger.sqlite");
    stand.ledger = handle(Box::new(SqliteStore::open(&file, "n1").unwrap()));
    let path = stand.archive().join("a");
    let bytes = zip(&[("x", "one")], 0);
    stand.archived(&path, &bytes, false);
    rusqlite::Connection::open(&file).unwrap().execute_batch("DROP TABLE jobs").unwrap();
    assert_eq!(stand.compare(&bytes), Redelivery::Identical { path });
}

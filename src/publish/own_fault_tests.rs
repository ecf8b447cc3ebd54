//! A package at fault after it passed: it is turned back as a whole, or it waits alone.

use std::fs::{self, File};
use std::process::Command;
use std::time::SystemTime;

use super::archive::Gathering;
use super::*;
use crate::error::{Disposition, Failure};
use crate::workspace::testing::{Bench, tree};

fn archive_of(job: &JobDir) -> Settling {
    Settling { job: job.clone(), decision: Decision::Archive { stamp: None, untouched: false } }
}

fn reason(bench: &Bench, job: &JobDir) -> Reason {
    let error = WorkspaceError::CrashesDaemon { crashes: 9 };
    Reason::new(&bench.site.source().name, job, &error, &[])
}

fn quarantine_of(bench: &Bench, job: &JobDir) -> Settling {
    let decision = Decision::Quarantine(Box::new(reason(bench, job)));
    Settling { job: job.clone(), decision }
}

fn one(bench: &Bench, settling: Settling) -> Result<Settled, PublishError> {
    settle(&bench.site, &[settling], None).remove(0)
}

fn quarantined(settled: Result<Settled, PublishError>) -> PathBuf {
    match settled {
        Ok(Settled::Quarantined { path, .. }) => path,
        other => panic!("not quarantined: {other:?}"),
    }
}

/// Sets or clears an attribute; prints a note if that is not possible.
fn chattr(how: &str, path: &std::path::Path) -> bool {
    let output = Command::new("chattr").arg(how).arg(path).output();
    let done = output.is_ok_and(|output| output.status.success());
    if !done {
        println!("SKIP: this user may set no attributes, or this file system has none");
    }
    done
}

#[test]
fn original_that_can_no_longer_be_moved_has_its_package_put_back_whole() {
    let bench = Bench::new();
    let job = bench.unpacked("a");
    for name in ["beside.txt", "raw.dat"] {
        fs::write(job.delivered().join(name), name).unwrap();
    }
    let gathering = Gathering::pass(&bench.site.source().ignore, &job, false, None);
    let gathering = gathering.unwrap().unwrap();
    let fixed = job.delivered().join("raw.dat");
    if !chattr("+i", &fixed) {
        return;
    }
    let published = gathering.publish(&bench.site);
    let whole = tree(&job.delivered());
    chattr("-i", &fixed);
    let Err(error) = published else { panic!("archived without raw.dat") };
    let told = (error.code(), error.disposition());
    assert_eq!(told, ("original_not_movable", Disposition::Quarantine));
    assert!(crate::error::Chain(&error).to_string().contains("raw.dat"));
    assert_eq!(whole, ["a.zip", "beside.txt", "raw.dat"]);
    let path = quarantined(one(&bench, quarantine_of(&bench, &job)));
    assert_eq!(tree(&path.join("delivered")), whole);
}

#[test]
fn original_whose_name_its_sender_took_meanwhile_is_put_back_under_another_one() {
    let bench = Bench::new();
    let job = bench.unpacked("a");
    fs::write(job.delivered().join("beside.txt"), "first").unwrap();
    Gathering::pass(&bench.site.source().ignore, &job, false, None).unwrap().unwrap();
    for name in ["a.zip", "beside.txt"] {
        fs::rename(job.delivered().join(name), job.final_().join(name)).unwrap();
    }
    fs::write(job.delivered().join("beside.txt"), "second").unwrap();
    let home = job.open().unwrap();
    let passed = crate::workspace::Passed::read(&home).unwrap().unwrap();
    put_back::ungather(&job, &home, &passed).unwrap();
    assert_eq!(tree(&job.delivered()), ["a.zip", "beside.txt", "gathered-2"]);
    let read = |name: &str| fs::read(job.delivered().join(name)).unwrap();
    assert_eq!((read("beside.txt"), read("gathered-2")), (b"second".to_vec(), b"first".to_vec()));
    assert!(!job.final_().join("beside.txt").exists(), "it would be archived");
}

#[test]
fn quarantine_has_what_was_delivered_whatever_a_command_called_it() {
    for (found, expected) in [(&["a.x"][..], &["a.zip"][..]), (&[], &[])] {
        let bench = Bench::new();
        let job = bench.unpacked("a");
        match found {
            [other] => fs::rename(job.delivered(), job.path().join(other)).unwrap(),
            _ => fs::remove_dir_all(job.delivered()).unwrap(),
        }
        let path = quarantined(one(&bench, quarantine_of(&bench, &job)));
        assert_eq!(tree(&path.join("delivered")), expected);
        assert!(!job.path().exists());
    }
}

#[test]
fn quarantine_is_not_published_while_it_is_unclear_what_was_delivered() {
    let bench = Bench::new();
    let job = bench.unpacked("a");
    fs::rename(job.delivered(), job.path().join("b")).unwrap();
    fs::create_dir(job.path().join("c")).unwrap();
    let error = one(&bench, quarantine_of(&bench, &job)).unwrap_err();
    let told = (error.code(), error.disposition());
    assert_eq!(told, ("delivered_unclear", Disposition::WaitAlone));
    assert_eq!(tree(&bench.path("quarantine")), [""; 0]);
    assert!(job.path().join("b/a.zip").exists());
    fs::remove_dir(job.path().join("c")).unwrap();
    let path = quarantined(one(&bench, quarantine_of(&bench, &job)));
    assert_eq!(tree(&path.join("delivered")), ["a.zip"]);
}

#[test]
fn quarantine_that_is_tried_again_is_not_archived_instead() {
    let bench = Bench::new();
    let job = bench.unpacked("a");
    quarantine::decide(&job.open().unwrap(), &job, &reason(&bench, &job)).unwrap();
    // As the dispatcher sends it, which knows of no decision.
    let path = quarantined(one(&bench, archive_of(&job)));
    assert_eq!(
        tree(&path),
        ["delivered/", "delivered/a.zip", "reason.json", "unpacked/", "unpacked/data.txt"]
    );
    assert_eq!(tree(&bench.path("mv_zip")), [""; 0]);
}

#[test]
fn file_that_no_user_wants_gets_another_name_beside_that_of_the_zip() {
    for turned_back in [false, true] {
        let bench = Bench::new();
        let job = bench.unpacked("a");
        for name in [".DS_Store", ".DS_Store.2", "beside.txt"] {
            fs::write(job.delivered().join(name), "delivered").unwrap();
        }
        fs::write(job.done().join(".DS_Store"), "unpacked").unwrap();
        let gathering = Gathering::pass(&bench.site.source().ignore, &job, false, None);
        let gathering = gathering.unwrap().unwrap();
        if turned_back {
            fs::create_dir(bench.path("mv_zip/a")).unwrap();
            fs::copy(job.zip(), bench.path("mv_zip/a/a.zip")).unwrap();
            let Err(error) = gathering.publish(&bench.site) else { panic!("archived twice") };
            assert_eq!(error.code(), "duplicate");
            assert_eq!(tree(&job.delivered()), [".DS_Store", ".DS_Store.2", "a.zip", "beside.txt"]);
            assert_eq!(fs::read(job.delivered().join(".DS_Store")).unwrap(), b"delivered");
            assert_eq!(fs::read(job.final_().join(".DS_Store")).unwrap(), b"unpacked");
            continue;
        }
        assert!(gathering.publish(&bench.site).is_ok());
        let path = bench.path("mv_zip/a");
        assert_eq!(
            tree(&path),
            [".DS_Store", ".DS_Store.2", ".DS_Store.3", "a.zip", "beside.txt", "data.txt"]
        );
        assert_eq!(fs::read(path.join(".DS_Store")).unwrap(), b"unpacked");
        assert_eq!(fs::read(path.join(".DS_Store.3")).unwrap(), b"delivered");
    }
}

/// Creates a tree with one file, its listing, and a folder to copy it to.
fn listed(bytes: &[u8]) -> (tempfile::TempDir, Folder, Folder, listing::Listing) {
    let top = tempfile::tempdir().unwrap();
    let (from, to) = (top.path().join("from"), top.path().join("to"));
    fs::create_dir_all(from.join("deep")).unwrap();
    fs::create_dir(&to).unwrap();
    fs::write(from.join("deep/file"), bytes).unwrap();
    let (from, to) = (Folder::open(&from).unwrap(), Folder::open(&to).unwrap());
    let listing = listing::Listing::of(&from, listing::Purpose::Archive).unwrap();
    (top, from, to, listing)
}

fn copied(
    listing: listing::Listing,
    from: &Folder,
    to: &Folder,
) -> Result<copy::TreeCopy, PublishError> {
    let space = crate::workspace::Space::new();
    let room = space.reserve(to.path(), listing.need(), 0).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let made = copy::copy(listing, from, to, &copy::Terms { stop: &stop, room: &room })?;
    made.verify(to, &stop)?;
    Ok(made)
}

#[test]
fn file_that_grows_while_it_is_copied_is_not_read_beyond_what_was_listed() {
    let (_top, from, to, listing) = listed(b"1234");
    fs::write(from.join("deep/file"), "123456789").unwrap();
    let Err(error) = copied(listing, &from, &to) else { panic!("copied") };
    assert_eq!((error.code(), error.disposition()), ("original_changed", Disposition::Retry));
    assert!(error.turns_back());
    assert_eq!(fs::read_dir(to.join("deep")).unwrap().count(), 0);
}

#[test]
fn sparse_file_is_copied_with_its_holes_and_compared_by_what_is_in_it() {
    use std::os::unix::fs::{FileExt, MetadataExt};

    let (top, from, to, _) = listed(b"");
    let sparse = File::create(from.join("deep/sparse")).unwrap();
    let len = 1 << 40;
    sparse.set_len(len).unwrap();
    for at in [0, 1 << 30, len - 3] {
        sparse.write_all_at(b"abc", at).unwrap();
    }
    if sparse.metadata().unwrap().blocks() > 10_000 {
        return println!("SKIP: there are no holes on {top:?}");
    }
    let listing = listing::Listing::of(&from, listing::Purpose::Archive).unwrap();
    assert!(listing.need().bytes < 1 << 20, "{:?}", listing.need());
    let made = copied(listing, &from, &to).map_err(|error| error.to_string()).unwrap();
    let found = fs::metadata(to.join("deep/sparse")).unwrap();
    assert!(found.len() == len && found.blocks() < 10_000, "{found:?}");
    let copy = File::options().write(true).open(to.join("deep/sparse")).unwrap();
    copy.write_all_at(b"x", (1 << 30) + 1).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let Err(error) = made.verify(&to, &stop) else { panic!("not noticed") };
    assert_eq!(error.code(), "copy_differs");
}

#[test]
fn tree_of_many_folders_is_listed_and_copied_in_time_that_grows_with_it_alone() {
    use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};

    let (_top, from, to, _) = listed(b"");
    let mut at = openat(CWD, from.path(), OFlags::PATH, Mode::empty()).unwrap();
    for _ in 0..3000 {
        mkdirat(&at, "d", Mode::RWXU).unwrap();
        at = openat(&at, "d", OFlags::PATH, Mode::empty()).unwrap();
    }
    let started = SystemTime::now();
    let listing = listing::Listing::of(&from, listing::Purpose::Archive).unwrap();
    assert_eq!(listing.need().inodes, 3003);
    copied(listing, &from, &to).map_err(|error| error.to_string()).unwrap();
    // Opening each of the folders from the top took a minute.
    assert!(started.elapsed().unwrap().as_secs() < 15);
    from.remove_tree("d").unwrap();
    to.remove_tree("d").unwrap();
}

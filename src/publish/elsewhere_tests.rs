//! Each step of a job to another file system, and each row of the restart table that it adds, with
//! two real file systems.

use std::fs::File;
use std::os::unix::fs::symlink;
use std::time::{Duration, SystemTime};

use rustix::fs::{FileType, Mode, mknodat};
use tempfile::TempDir;

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use super::*;
use crate::error::{Disposition, Failure};
use crate::publish::{Finished, finish, settle};
use crate::workspace::testing::{Bench, tree};
use crate::workspace::{Decision, Free, Settling, Total};

fn copying() -> Copying {
    Copying::new(Space::new())
}

fn archive(job: &JobDir) -> Settling {
    Settling { job: job.clone(), decision: Decision::Archive { stamp: None, untouched: false } }
}

fn quarantine(bench: &Bench, job: &JobDir) -> Settling {
    let error = WorkspaceError::CrashesDaemon { crashes: 9 };
    let reason = Reason::new(&bench.site.source().name, job, &error, &[]);
    Settling { job: job.clone(), decision: Decision::Quarantine(Box::new(reason)) }
}

fn one(bench: &Bench, settling: Settling) -> Result<Settled, PublishError> {
    settle(&bench.site, &[settling], Some(&copying())).remove(0)
}

fn archived(settled: Result<Settled, PublishError>) -> (PathBuf, JobDir) {
    match settled {
        Ok(Settled::Archived { path, job }) => (path, job),
        other => panic!("not archived: {other:?}"),
    }
}

fn quarantined(settled: Result<Settled, PublishError>) -> (PathBuf, Box<Reason>) {
    match settled {
        Ok(Settled::Quarantined { path, reason }) => (path, reason),
        other => panic!("not quarantined: {other:?}"),
    }
}

/// Returns the only job that a restart finds, to be settled.
fn recovered(bench: &Bench) -> Settling {
    let mut recovery = bench.site.recover().unwrap();
    assert_eq!(recovery.remarks, [""; 0], "nothing odd is there");
    assert_eq!((recovery.settle.len(), recovery.extract.len()), (1, 0), "{recovery:?}");
    let found = recovery.settle.remove(0);
    assert_eq!(found.spec.name.as_str(), "a");
    found.settling
}

/// Lists the archive without the folder for copies, which must be empty.
fn in_archive(bench: &Bench) -> Vec<String> {
    let mut found = tree(&bench.site.source().archive);
    let staging = found.iter().position(|path| path == ".longshore/");
    found.remove(staging.expect("the folder for copies"));
    assert!(!found.iter().any(|path| path.starts_with(".longshore")), "{found:?}");
    found
}

fn jobs(bench: &Bench) -> Vec<String> {
    tree(bench.site.root()).into_iter().filter(|path| !path.starts_with('.')).collect()
}

const WHOLE: [&str; 3] = ["a/", "a/a.zip", "a/data.txt"];

/// Creates a package whose copy is complete and marked, but has not got its name.
fn marked(bench: &Bench) -> StagedCopy {
    let job = bench.unpacked("a");
    let settled = settle(&bench.site, &[archive(&job)], None).remove(0).unwrap();
    assert_eq!(settled, Settled::ToCopy { target: bench.site.source().archive.clone() });
    let mut stage = begin(&bench.site, Errand::new(job, Load::Package), &copying()).unwrap();
    confirm(&mut stage, &copying()).unwrap();
    stage
}

/// The same for a package on its way to quarantine.
fn marked_for_quarantine(bench: &Bench) -> StagedCopy {
    let job = bench.unpacked("a");
    let settled = settle(&bench.site, &[quarantine(bench, &job)], None).remove(0).unwrap();
    assert_eq!(settled, Settled::ToCopy { target: bench.site.source().quarantine.clone() });
    let errand = Errand::new(job, Load::Quarantine(None));
    let mut stage = begin(&bench.site, errand, &copying()).unwrap();
    confirm(&mut stage, &copying()).unwrap();
    stage
}

/// Settles the recovered job, and checks that it is there once and nowhere else.
fn ends_well(bench: &Bench, _there: &TempDir) {
    let (path, job) = archived(one(bench, recovered(bench)));
    assert_eq!(path, bench.site.source().archive.join("a"));
    assert_eq!(in_archive(bench), WHOLE);
    let left = [".copy.json", ".passed.json", "a/"];
    assert_eq!(tree(job.path()), left, "what a restart asks the archive by");
    assert_eq!(finish(&bench.site, &job).unwrap(), Finished::default());
    assert_eq!(jobs(bench), [""; 0]);
}

#[test]
fn package_is_copied_whole_with_modes_times_and_links_but_without_set_id_bits() {
    let Some((bench, _there)) = Bench::across(true, false) else { return };
    let job = bench.unpacked("a");
    fs::create_dir_all(job.done().join("deep/er")).unwrap();
    fs::write(job.done().join("deep/er/big"), vec![7; 3_000_000]).unwrap();
    symlink("../data.txt", job.done().join("deep/link")).unwrap();
    let then = SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, 123_000_000);
    for (path, mode) in [("deep/er/big", 0o640), ("deep/er", 0o500), ("deep", 0o2750)] {
        let path = job.done().join(path);
        File::open(&path).unwrap().set_modified(then).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    }
    fs::set_permissions(job.delivered(), Permissions::from_mode(0o2770)).unwrap();
    File::open(job.delivered()).unwrap().set_modified(then).unwrap();
    let (path, job) = archived(one(&bench, archive(&job)));
    for (below, mode) in [("", 0o770), ("deep/er/big", 0o640), ("deep/er", 0o500), ("deep", 0o750)]
    {
        let found = fs::metadata(path.join(below)).unwrap();
        assert_eq!(found.mode() & 0o7777, mode, "{below:?}");
        assert_eq!(found.modified().unwrap(), then, "{below:?}");
    }
    assert_eq!(fs::read(path.join("deep/er/big")).unwrap(), vec![7; 3_000_000]);
    assert_eq!(fs::read_link(path.join("deep/link")).unwrap(), Path::new("../data.txt"));
    finish(&bench.site, &job).unwrap();
    assert_eq!(jobs(&bench), [""; 0]);
}

#[test]
fn revision_is_copied_under_the_next_free_name() {
    let Some((bench, _there)) = Bench::across(true, false) else { return };
    for name in ["a", "a.2", "a.3"] {
        let job = bench.unpacked("a");
        let (path, job) = archived(one(&bench, archive(&job)));
        assert_eq!(path, bench.site.source().archive.join(name));
        finish(&bench.site, &job).unwrap();
    }
    assert_eq!(jobs(&bench), [""; 0]);
}

#[test]
fn batch_of_copies_settles_each_by_itself() {
    let Some((bench, _there)) = Bench::across(true, true) else { return };
    let good = bench.unpacked("good");
    let special = bench.unpacked("special");
    mknodat(rustix::fs::CWD, special.done().join("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    let bad = bench.unpacked("bad");
    let batch = [archive(&good), archive(&special), quarantine(&bench, &bad)];
    let mut settled = settle(&bench.site, &batch, Some(&copying()));
    quarantined(settled.remove(2));
    let error = settled.remove(1).unwrap_err();
    assert_eq!((error.code(), error.disposition()), ("special_file", Disposition::Quarantine));
    archived(settled.remove(0));
    // It could still be turned back, and the FIFO is copied along.
    let (path, _) = quarantined(one(&bench, quarantine(&bench, &special)));
    assert!(tree(&path).contains(&"unpacked/fifo".to_owned()), "{:?}", tree(&path));
}

#[test]
fn unreadable_file_beside_the_zip_is_found_before_it_is_gathered() {
    if rustix::process::geteuid().is_root() {
        return println!("SKIP: root may read everything");
    }
    let Some((bench, _there)) = Bench::across(true, false) else { return };
    let job = bench.unpacked("a");
    fs::write(job.delivered().join("b"), "").unwrap();
    fs::set_permissions(job.delivered().join("b"), Permissions::from_mode(0o000)).unwrap();
    let error = one(&bench, archive(&job)).unwrap_err();
    assert_eq!((error.code(), error.disposition()), ("unreadable", Disposition::Quarantine));
    quarantined(one(&bench, quarantine(&bench, &job)));
}

#[test]
fn recovery_of_a_half_made_copy_removes_it_and_begins_again() {
    let Some((bench, there)) = Bench::across(true, false) else { return };
    let job = bench.unpacked("a");
    settle(&bench.site, &[archive(&job)], None).remove(0).unwrap();
    let staging = bench.site.staging(Target::Archive).unwrap().unwrap();
    let copy = staging.folder().join(job.id().to_string());
    fs::create_dir_all(copy.join("half")).unwrap();
    fs::write(copy.join("half/a.zip"), "ha").unwrap();
    fs::set_permissions(copy.join("half"), Permissions::from_mode(0o500)).unwrap();
    ends_well(&bench.restarted(false), &there);
}

#[test]
fn copy_of_another_owner_that_has_the_same_job_is_left_alone() {
    let Some((bench, _there)) = Bench::across(true, false) else { return };
    let job = bench.unpacked("a");
    let staging = bench.site.staging(Target::Archive).unwrap().unwrap();
    // As of a cloned machine: the same job, in another work area.
    let other = staging.folder().join(format!("{}.0123456789abcdef", job.id()));
    fs::create_dir(&other).unwrap();
    fs::write(other.join("half"), "").unwrap();
    archived(one(&bench, archive(&job)));
    assert!(other.join("half").exists(), "it was removed");
    assert_eq!(tree(&bench.site.source().archive.join("a")), ["a.zip", "data.txt"]);
}

#[test]
fn recovery_of_a_copy_under_the_name_of_an_earlier_version_renames_it() {
    let Some((bench, there)) = Bench::across(true, false) else { return };
    let stage = marked(&bench);
    let job = &stage.errand.job;
    let (staging, name) = stage.staging.as_ref().unwrap();
    fs::rename(staging.join(name), staging.join(job.id().to_string())).unwrap();
    let record = job.path().join(COPY);
    let text: serde_json::Value = serde_json::from_slice(&fs::read(&record).unwrap()).unwrap();
    let serde_json::Value::Object(mut fields) = text else { panic!("{text}") };
    assert_eq!(fields.remove("called").unwrap(), name.as_str());
    fs::write(&record, serde_json::to_vec(&fields).unwrap()).unwrap();
    ends_well(&bench.restarted(false), &there);
}

#[test]
fn package_larger_than_the_archives_whole_disk_is_turned_back_and_quarantined() {
    let Some((bench, _there)) = Bench::across(true, false) else { return };
    let job = bench.unpacked("a");
    fs::write(job.delivered().join("beside"), "").unwrap();
    let total = Total { bytes: 4096, inodes: None };
    let small = Copying::new(Space::with_probe(move |_| {
        Ok(Free { device: 1, bytes: 4096, inodes: None, total })
    }));
    let error = settle(&bench.site, &[archive(&job)], Some(&small)).remove(0).unwrap_err();
    let told = (error.code(), error.disposition());
    assert_eq!(told, ("too_large_for_disk", Disposition::Quarantine));
    assert_eq!(tree(&job.delivered()), ["a.zip", "beside"], "it is put back");
    let (path, _) = quarantined(one(&bench, quarantine(&bench, &job)));
    assert_eq!(tree(&path.join("delivered")), ["a.zip", "beside"]);
}

#[test]
fn package_that_cannot_be_copied_to_quarantine_stays_in_the_work_area() {
    let Some((bench, _there)) = Bench::across(false, true) else { return };
    let job = bench.unpacked("a");
    let total = Total { bytes: 4096, inodes: None };
    let small = Copying::new(Space::with_probe(move |_| {
        Ok(Free { device: 1, bytes: 4096, inodes: None, total })
    }));
    let settled = settle(&bench.site, &[quarantine(&bench, &job)], Some(&small)).remove(0);
    let (path, reason) = quarantined(settled);
    assert_eq!(reason.code, "crashes_daemon");
    assert_eq!(path, bench.site.root().join(".quarantine").join(format!("a.{}", job.id())));
    let whole = ["delivered/", "delivered/a.zip", "reason.json", "unpacked/", "unpacked/data.txt"];
    assert_eq!(tree(&path), whole);
    assert!(!job.path().exists());
}

#[test]
fn recovery_of_a_whole_copy_without_its_name_renames_it() {
    for durable in [true, false] {
        let Some((bench, there)) = Bench::across(true, false) else { return };
        let stage = marked(&bench);
        assert_eq!(
            tree(stage.errand.job.path()),
            [".copied/", ".copied/a.zip", ".copied/data.txt", ".copy.json", ".passed.json", "a/"]
        );
        if !durable {
            bench.in_a_new_boot();
        }
        let inode = stage.copy().unwrap().seen().unwrap().st_ino;
        let bench = bench.restarted(false);
        ends_well(&bench, &there);
        let found = fs::metadata(bench.site.source().archive.join("a")).unwrap().ino();
        assert_eq!(found, inode, "it was copied again");
    }
}

#[test]
fn recovery_of_a_copy_that_has_its_name_cleans_up() {
    for half_removed in [false, true] {
        let Some((bench, there)) = Bench::across(true, false) else { return };
        let mut stage = marked(&bench);
        name(&bench.site, &mut stage).unwrap();
        if half_removed {
            fs::remove_file(stage.errand.job.path().join(COPIED).join("a.zip")).unwrap();
        }
        ends_well(&bench.restarted(false), &there);
    }
}

#[test]
fn recovery_of_a_copy_that_somebody_fetched_from_the_archive_knows_that_it_was_archived() {
    let Some((bench, there)) = Bench::across(true, false) else { return };
    let mut stage = marked(&bench);
    name(&bench.site, &mut stage).unwrap();
    let path = stage.target_path.join(stage.name.unwrap());
    fs::rename(&path, there.path().join("fetched")).unwrap();
    let bench = bench.restarted(false);
    let (told, job) = archived(one(&bench, recovered(&bench)));
    assert_eq!(told, path);
    assert_eq!(in_archive(&bench), [""; 0], "it was archived twice");
    finish(&bench.site, &job).unwrap();
    assert_eq!(jobs(&bench), [""; 0]);
}

#[test]
fn recovery_of_a_revision_finds_its_copy_whatever_the_emptied_folder_is_called() {
    for renamed_back in [false, true] {
        let Some((bench, _there)) = Bench::across(true, false) else { return };
        fs::create_dir(bench.site.source().archive.join("a")).unwrap();
        let mut stage = marked(&bench);
        name(&bench.site, &mut stage).unwrap();
        let job = &stage.errand.job;
        assert_eq!(job.target(), "a.2");
        if renamed_back {
            // As after a power loss, which undid that rename.
            fs::rename(job.delivered(), job.path().join("a")).unwrap();
        }
        let bench = bench.restarted(false);
        let (path, _) = archived(one(&bench, recovered(&bench)));
        assert_eq!(path, bench.site.source().archive.join("a.2"));
        assert_eq!(in_archive(&bench), ["a.2/", "a.2/a.zip", "a.2/data.txt", "a/"]);
    }
}

#[test]
fn recovery_whose_archive_is_another_one_waits_and_removes_nothing() {
    for named in [false, true] {
        let Some((bench, there)) = Bench::across(true, false) else { return };
        let mut stage = marked(&bench);
        if named {
            name(&bench.site, &mut stage).unwrap();
        }
        let (archive, away) = (bench.site.source().archive.clone(), there.path().join("away"));
        fs::rename(&archive, &away).unwrap(); // unmounted; the start creates an empty one
        let bench = bench.restarted(false);
        let settling = recovered(&bench);
        let error = one(&bench, settling.clone()).unwrap_err();
        assert_eq!((error.code(), error.disposition()), ("copy_gone", Disposition::Wait));
        assert_eq!(tree(&settling.job.path().join(COPIED)), ["a.zip", "data.txt"]);
        assert_eq!(in_archive(&bench), [""; 0]);
        fs::remove_dir_all(&archive).unwrap();
        fs::rename(&away, &archive).unwrap(); // mounted again
        let (path, _) = archived(one(&bench, settling));
        assert_eq!(path, archive.join("a"));
        assert_eq!(in_archive(&bench), WHOLE);
    }
}

#[test]
fn recovery_of_a_mark_whose_record_a_power_loss_took_copies_again() {
    for record in [None, Some("")] {
        let Some((bench, there)) = Bench::across(true, false) else { return };
        let stage = marked(&bench);
        let path = stage.errand.job.path().join(COPY);
        match record {
            None => fs::remove_file(path).unwrap(),
            Some(text) => fs::write(path, text).unwrap(),
        }
        let bench = bench.restarted(false);
        let settling = recovered(&bench);
        let error = one(&bench, settling).unwrap_err();
        assert_eq!((error.code(), error.disposition()), ("copy_unknown", Disposition::Wait));
        ends_well(&bench.restarted(true), &there);
    }
}

#[test]
fn job_whose_copy_is_whole_goes_to_the_archive_that_it_was_copied_to() {
    let Some((bench, _there)) = Bench::across(true, false) else { return };
    let stage = marked(&bench);
    let (old, new) = (bench.site.source().archive.clone(), bench.path("other"));
    let bench = bench.reconfigured(|source| source.archive = new.clone());
    let (path, _) = archived(one(&bench, recovered(&bench)));
    assert_eq!(path, old.join("a"));
    assert_eq!(tree(&new), [""; 0]);
    assert!(stage.copy().is_err());
}

#[test]
fn quarantine_is_copied_whole_with_what_could_not_be_archived() {
    let Some((bench, _there)) = Bench::across(false, true) else { return };
    let job = bench.unpacked("a");
    symlink("/etc/passwd", job.delivered().join("link")).unwrap();
    let fifo = job.delivered().join("fifo");
    mknodat(rustix::fs::CWD, fifo, FileType::Fifo, Mode::RUSR, 0).unwrap();
    let (path, reason) = quarantined(one(&bench, quarantine(&bench, &job)));
    assert_eq!(path, bench.site.source().quarantine.join(format!("a.{}", job.id())));
    assert_eq!(reason.code, "crashes_daemon");
    assert_eq!(
        tree(&path),
        [
            "delivered/",
            "delivered/a.zip",
            "delivered/fifo",
            "delivered/link",
            "reason.json",
            "unpacked/",
            "unpacked/data.txt"
        ]
    );
    assert_eq!(fs::read_link(path.join("delivered/link")).unwrap(), Path::new("/etc/passwd"));
    assert_eq!(jobs(&bench), [""; 0]);
}

#[test]
fn recovery_of_a_quarantine_elsewhere_goes_on_from_every_step() {
    for step in ["half", "marked", "named", "half removed", "fetched"] {
        let Some((bench, there)) = Bench::across(false, true) else { return };
        let id;
        if step == "half" {
            let job = bench.unpacked("a");
            id = job.id();
            settle(&bench.site, &[quarantine(&bench, &job)], None).remove(0).unwrap();
            let staging = bench.site.staging(Target::Quarantine).unwrap().unwrap();
            let copy = staging.folder().join(id.to_string());
            fs::create_dir(&copy).unwrap();
            fs::write(copy.join("reason.json"), "").unwrap();
        } else {
            let mut stage = marked_for_quarantine(&bench);
            id = stage.errand.job.id();
            if step != "marked" {
                name(&bench.site, &mut stage).unwrap();
            }
            if step == "half removed" {
                fs::remove_file(stage.errand.job.path().join(Q_COPIED).join("reason.json"))
                    .unwrap();
            }
            if step == "fetched" {
                let path = stage.target_path.join(stage.name.unwrap());
                fs::rename(path, there.path().join("fetched")).unwrap();
            }
        }
        let bench = bench.restarted(false);
        let (path, reason) = quarantined(one(&bench, recovered(&bench)));
        let folder = bench.site.source().quarantine.clone();
        assert_eq!(path, folder.join(format!("a.{id}")), "{step}");
        assert_eq!(reason.code, "crashes_daemon", "{step}");
        assert_eq!(jobs(&bench), [""; 0], "{step}");
        let found = fs::read_dir(&folder).unwrap().count();
        assert_eq!(found, if step == "fetched" { 1 } else { 2 }, "{step}");
        if step != "fetched" {
            let whole =
                ["delivered/", "delivered/a.zip", "reason.json", "unpacked/", "unpacked/data.txt"];
            assert_eq!(tree(&path), whole, "{step}");
        }
    }
}

#[test]
fn recovery_of_an_ended_quarantine_with_its_record_removes_the_folder() {
    let bench = Bench::new();
    let job = bench.lay_out("a", 1, 0, &[".copy.json"]);
    let bench = bench.restarted(true);
    assert_eq!(bench.site.recover().unwrap().cleaned, [job.id()]);
    assert_eq!(jobs(&bench), [""; 0]);
}

#[test]
fn files_that_came_late_are_copied_to_a_quarantine_elsewhere() {
    let Some((bench, _there)) = Bench::across(true, true) else { return };
    let job = bench.unpacked("a");
    let (_, job) = archived(one(&bench, archive(&job)));
    fs::write(job.delivered().join("late.txt"), "late").unwrap();
    let finished = finish(&bench.site, &job).unwrap();
    assert!(finished.to_copy && finished.late.is_none(), "{finished:?}");
    let resume = Settling { job, decision: Decision::Resume };
    let (path, reason) = quarantined(one(&bench, resume));
    assert_eq!(reason.code, "late_arrivals");
    assert_eq!(tree(&path), ["delivered/", "delivered/late.txt", "reason.json"]);
    assert_eq!(jobs(&bench), [""; 0]);
}

#[test]
fn copy_that_differs_from_what_was_read_is_not_marked() {
    let Some((bench, there)) = Bench::across(true, false) else { return };
    let job = bench.unpacked("a");
    settle(&bench.site, &[archive(&job)], None).remove(0).unwrap();
    let errand = Errand::new(job.clone(), Load::Package);
    let mut stage = begin(&bench.site, errand, &copying()).unwrap();
    fs::write(stage.copy().unwrap().join("data.txt"), "dato").unwrap();
    let error = confirm(&mut stage, &copying()).unwrap_err();
    assert_eq!((error.code(), error.disposition()), ("copy_differs", Disposition::Wait));
    assert!(job.final_().exists() && !job.path().join(COPIED).exists());
    ends_well(&bench.restarted(false), &there);
}

#[test]
fn archive_elsewhere_without_room_makes_the_package_wait_and_leaves_no_half_copy() {
    let Some((bench, _there)) = Bench::across(true, false) else { return };
    let job = bench.unpacked("a");
    let full = Copying::new(Space::with_probe(|_| {
        Ok(Free { device: 1, bytes: 4096, inodes: None, total: Total::UNKNOWN })
    }));
    let error = settle(&bench.site, &[archive(&job)], Some(&full)).remove(0).unwrap_err();
    assert_eq!((error.code(), error.disposition()), ("no_space", Disposition::Wait));
    assert_eq!(in_archive(&bench), [""; 0]);
    archived(one(&bench, archive(&job)));
    assert_eq!(in_archive(&bench), WHOLE);
}

#[test]
fn archive_elsewhere_that_is_gone_makes_the_package_wait() {
    let Some((bench, there)) = Bench::across(true, false) else { return };
    let job = bench.unpacked("a");
    let (folder, away) = (bench.site.source().archive.clone(), there.path().join("away"));
    fs::rename(&folder, &away).unwrap();
    for empty in [false, true] {
        if empty {
            fs::create_dir(&folder).unwrap();
        }
        let error = one(&bench, archive(&job)).unwrap_err();
        assert_eq!((error.code(), error.disposition()), ("target_gone", Disposition::Wait));
    }
    assert_eq!(tree(&folder), [""; 0], "it was written to what is beneath the mount");
    fs::remove_dir(&folder).unwrap();
    fs::rename(&away, &folder).unwrap();
    archived(one(&bench, archive(&job)));
    assert_eq!(in_archive(&bench), WHOLE);
}

#[test]
fn copy_that_is_stopped_leaves_its_job_for_the_next_start() {
    let Some((bench, there)) = Bench::across(true, false) else { return };
    let job = bench.unpacked("a");
    let stopped = copying();
    stopped.stop();
    let error = settle(&bench.site, &[archive(&job)], Some(&stopped)).remove(0).unwrap_err();
    assert_eq!((error.code(), error.disposition()), ("stopped", Disposition::Wait));
    ends_well(&bench.restarted(true), &there);
}

#[test]
fn folders_deeper_than_a_path_can_be_long_are_copied() {
    let Some((bench, _there)) = Bench::across(false, true) else { return };
    let job = bench.unpacked("a");
    let name = "d".repeat(250);
    let mut at = rustix::fs::open(job.done(), rustix::fs::OFlags::PATH, Mode::empty()).unwrap();
    for _ in 0..40 {
        rustix::fs::mkdirat(&at, &*name, Mode::RWXU).unwrap();
        at = rustix::fs::openat(&at, &*name, rustix::fs::OFlags::PATH, Mode::empty()).unwrap();
    }
    quarantined(one(&bench, quarantine(&bench, &job)));
    assert_eq!(jobs(&bench), [""; 0]);
}

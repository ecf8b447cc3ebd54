//! Each step to the archive and to quarantine, from wherever a job stopped.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::*;
use crate::error::{Disposition, Failure};
use crate::id::PackageName;
use crate::progress::Steps;
use crate::workspace::testing::{Bench, tree};
use crate::workspace::{Recovery, WorkspaceError};

fn archive(job: &JobDir) -> Settling {
    Settling { job: job.clone(), decision: Decision::Archive { stamp: None, untouched: false } }
}

fn resume(job: &JobDir) -> Settling {
    Settling { job: job.clone(), decision: Decision::Resume }
}

fn quarantine(site: &Site, job: &JobDir) -> Settling {
    let error = WorkspaceError::ZipMissing { path: job.zip() };
    let notes = [("files".to_owned(), "3".to_owned())];
    let reason = Reason::new(&site.source().name, job, &error, &notes);
    Settling { job: job.clone(), decision: Decision::Quarantine(Box::new(reason)) }
}

fn one(site: &Site, settling: Settling) -> Result<Settled, PublishError> {
    let mut settled = settle(site, &[settling], None);
    assert_eq!(settled.len(), 1);
    settled.remove(0)
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

fn jobs(bench: &Bench) -> usize {
    let root = fs::read_dir(bench.site.root()).unwrap();
    root.filter(|entry| !entry.as_ref().unwrap().file_name().to_str().unwrap().starts_with('.'))
        .count()
}

#[test]
fn job_that_passed_is_archived_with_its_originals_and_leaves_nothing_behind() {
    let bench = Bench::new();
    let job = bench.unpacked("a");
    fs::write(job.delivered().join("readme.txt"), "").unwrap();
    fs::create_dir_all(job.delivered().join("sub/deep")).unwrap();
    let (_, stamp) = job.open_delivery().unwrap().open_zip().unwrap();
    let decision = Decision::Archive { stamp: Some(stamp), untouched: false };
    let (path, job) = archived(one(&bench.site, Settling { job, decision }));
    assert_eq!(path, bench.path("mv_zip/a"));
    assert_eq!(tree(&path), ["a.zip", "data.txt", "readme.txt", "sub/", "sub/deep/"]);
    let left = [".passed.json", "a/"];
    assert_eq!(tree(job.path()), left, "what the restart asks the archive by");
    assert_eq!(finish(&bench.site, &job).unwrap(), Finished::default());
    assert_eq!(finish(&bench.site, &job).unwrap(), Finished::default(), "finishing twice");
    assert_eq!(jobs(&bench), 0);
}

#[test]
fn archived_folder_takes_mode_times_and_group_of_the_delivered_one() {
    // Without write permission on it, only root can empty it: other users get `zip_not_movable`.
    let root = rustix::process::geteuid().is_root();
    for mode in [0o755, 0o700, 0o2775, if root { 0o555 } else { 0o750 }] {
        let bench = Bench::new();
        let job = bench.unpacked("a");
        let then = SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, 123_000_000);
        let folder = job.delivered();
        std::os::unix::fs::chown(&folder, None, Some(65534)).ok();
        File::open(&folder).unwrap().set_modified(then).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).unwrap();
        let group = fs::metadata(&folder).unwrap().gid();
        let (path, _) = archived(one(&bench.site, archive(&job)));
        let found = fs::metadata(&path).unwrap();
        // Without the set-group-ID bit, and without write permission for everyone.
        assert_eq!(found.mode() & 0o7777, mode & 0o775);
        assert_eq!(found.modified().unwrap(), then, "mode {mode:o}");
        assert_eq!(found.gid(), group);
    }
}

#[test]
fn job_goes_on_from_every_step_on_its_way_to_the_archive() {
    for (paths, expected) in [
        (&["a/a.zip", "a/b", ".done/x"][..], "mv_zip/a"),
        (&["a/a.zip", "a/b", ".final/x"], "mv_zip/a"),
        (&["a/b", ".final/a.zip", ".final/x"], "mv_zip/a"),
        (&["a/", ".final/a.zip", ".final/b", ".final/x"], "mv_zip/a"),
        (&["a/", ".=a", ".final/a.zip", ".final/b", ".final/x"], "mv_zip/a"),
        (&["a.2/", ".=a", ".final/a.zip", ".final/b", ".final/x"], "mv_zip/a.2"),
    ] {
        // Recovery never returns `Resume` for a job without `.final`: it is unpacked afresh.
        let decisions: &[fn(&JobDir) -> Settling] =
            if paths.contains(&".done/x") { &[archive] } else { &[archive, resume] };
        for decision in decisions {
            let bench = Bench::new();
            let job = bench.lay_out("a", 1, 0, paths);
            let (path, job) = archived(one(&bench.site, decision(&job)));
            assert_eq!(path, bench.path(expected), "{paths:?}");
            assert_eq!(tree(&path), ["a.zip", "b", "x"], "{paths:?}");
            assert_eq!(archived(one(&bench.site, decision(&job))), (path, job.clone()), "again");
            finish(&bench.site, &job).unwrap();
            assert_eq!(jobs(&bench), 0, "{paths:?}");
        }
    }
}

#[test]
fn unpacked_folder_that_a_stage_made_read_only_is_archived_all_the_same() {
    let bench = Bench::new();
    let job = bench.unpacked("a");
    fs::set_permissions(job.done(), fs::Permissions::from_mode(0o500)).unwrap();
    let (path, _) = archived(one(&bench.site, archive(&job)));
    assert_eq!(tree(&path), ["a.zip", "data.txt"]);
}

#[test]
fn revision_takes_the_next_free_name_and_recovery_still_knows_its_package() {
    let bench = Bench::new();
    for name in ["mv_zip/a", "mv_zip/a.2"] {
        fs::create_dir(bench.path(name)).unwrap();
    }
    fs::write(bench.path("mv_zip/a.3"), "not even a folder").unwrap();
    let job = bench.unpacked("a");
    // An unpacked file must not be taken for the package's name.
    fs::write(job.done().join("a.4.zip"), "").unwrap();
    let (path, job) = archived(one(&bench.site, archive(&job)));
    assert_eq!(path, bench.path("mv_zip/a.4"));
    assert_eq!(tree(job.path()), [".=a", ".passed.json", "a.4/"]);
    let bench = bench.restarted(false);
    let Recovery { settle, .. } = bench.site.recover().unwrap();
    assert_eq!(settle[0].spec.name.as_str(), "a");
    let (again, job) = archived(one(&bench.site, settle[0].settling.clone()));
    assert_eq!(again, path);
    finish(&bench.site, &job).unwrap();
    assert_eq!(jobs(&bench), 0);
}

#[test]
fn entry_that_would_overwrite_an_original_is_the_packages_own_fault() {
    for entry in ["a.zip", "readme.txt"] {
        let bench = Bench::new();
        let job = bench.unpacked("a");
        fs::write(job.delivered().join("readme.txt"), "").unwrap();
        fs::write(job.done().join(entry), "").unwrap();
        let before = tree(job.path());
        let error = one(&bench.site, archive(&job)).unwrap_err();
        assert_eq!(error.code(), "overwrites_original");
        assert_eq!(error.disposition(), Disposition::Quarantine);
        assert_eq!(tree(job.path()), before);
        quarantined(one(&bench.site, quarantine(&bench.site, &job)));
    }
}

#[test]
fn zip_changed_or_gone_before_gathering_stops_it() {
    let bench = Bench::new();
    let job = bench.unpacked("a");
    let (_, stamp) = job.open_delivery().unwrap().open_zip().unwrap();
    fs::write(job.zip(), "another").unwrap();
    let decision = Decision::Archive { stamp: Some(stamp), untouched: false };
    let error = one(&bench.site, Settling { job: job.clone(), decision }).unwrap_err();
    assert_eq!((error.code(), error.disposition()), ("zip_changed", Disposition::Retry));
    fs::remove_file(job.zip()).unwrap();
    let error = one(&bench.site, archive(&job)).unwrap_err();
    assert_eq!((error.code(), error.disposition()), ("zip_missing", Disposition::Quarantine));
}

#[test]
fn files_that_came_late_are_quarantined_and_their_package_stays_archived() {
    let bench = Bench::new();
    let job = bench.unpacked("a");
    let (path, job) = archived(one(&bench.site, archive(&job)));
    fs::write(job.delivered().join("late.txt"), "").unwrap();
    fs::write(job.delivered().join("a.zip"), "").unwrap();
    let finished = finish(&bench.site, &job).unwrap();
    let late = finished.late.unwrap();
    assert_eq!(tree(&late), ["delivered/", "delivered/a.zip", "delivered/late.txt", "reason.json"]);
    let reason: Reason =
        serde_json::from_slice(&fs::read(late.join("reason.json")).unwrap()).unwrap();
    assert_eq!((&*reason.code, reason.archived), ("late_arrivals", Some(path)));
    assert_eq!(jobs(&bench), 0);
}

#[test]
fn file_that_came_late_under_an_unpacked_name_replaces_nothing() {
    let bench = Bench::new();
    let job = bench.lay_out("a", 1, 0, &["a/x", ".final/a.zip", ".final/x"]);
    symlink("/etc/passwd", job.delivered().join("link")).unwrap();
    let (path, job) = archived(one(&bench.site, resume(&job)));
    assert_eq!(tree(&path), ["a.zip", "x"]);
    let late = finish(&bench.site, &job).unwrap().late.unwrap();
    assert_eq!(tree(&late.join("delivered")), ["link", "x"]);
}

#[test]
fn archive_that_is_gone_makes_the_package_wait() {
    let bench = Bench::new();
    let job = bench.unpacked("a");
    fs::remove_dir(bench.path("mv_zip")).unwrap();
    let error = one(&bench.site, archive(&job)).unwrap_err();
    assert_eq!((error.code(), error.disposition()), ("target_gone", Disposition::Wait));
    assert!(error.to_string().contains("mv_zip"), "{error}");
    fs::create_dir(bench.path("mv_zip")).unwrap();
    let (path, _) = archived(one(&bench.site, archive(&job)));
    assert_eq!(tree(&path), ["a.zip", "data.txt"]);
}

#[test]
fn batch_with_failures_in_it_settles_the_others() {
    let bench = Bench::new();
    let good = bench.unpacked("good");
    let clash = bench.unpacked("clash");
    fs::write(clash.done().join("clash.zip"), "").unwrap();
    let gone = bench.unpacked("gone");
    fs::remove_dir_all(gone.path()).unwrap();
    let bad = bench.claimed("bad");
    let unfinished = bench.claimed("unfinished");
    let settled = settle(
        &bench.site,
        &[
            archive(&good),
            archive(&clash),
            archive(&gone),
            quarantine(&bench.site, &bad),
            archive(&unfinished),
        ],
        None,
    );
    let told: Vec<_> = settled
        .iter()
        .map(|one| match one {
            Ok(Settled::Archived { .. }) => "archived",
            Ok(Settled::Quarantined { .. }) => "quarantined",
            Ok(Settled::Discarded { .. }) => "discarded",
            Ok(Settled::ToCopy { .. }) => "to copy",
            Ok(Settled::Vanished { .. }) => "vanished",
            Err(error) => error.code(),
        })
        .collect();
    let expected = ["archived", "overwrites_original", "job_gone", "quarantined", "not_unpacked"];
    assert_eq!(told, expected);
}

#[test]
fn quarantined_package_is_whole_with_its_reason() {
    let bench = Bench::new();
    let job = bench.unpacked("a");
    let (path, reason) = quarantined(one(&bench.site, quarantine(&bench.site, &job)));
    assert_eq!(path, bench.path("quarantine").join(format!("a.{}", job.id())));
    let expected =
        ["delivered/", "delivered/a.zip", "reason.json", "unpacked/", "unpacked/data.txt"];
    assert_eq!(tree(&path), expected);
    let text = fs::read_to_string(path.join("reason.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    for (key, value) in [("code", "zip_missing"), ("name", "a"), ("source", "default")] {
        assert_eq!(json[key], value);
    }
    assert_eq!((&json["v"], &json["attempt"], &json["crashes"]), (&1.into(), &1.into(), &0.into()));
    assert_eq!(json["id"], job.id().to_string());
    assert!(json["at"].as_str().unwrap().ends_with('Z') && json["notes"][0][0] == "files");
    assert_eq!(serde_json::from_str::<Reason>(&text).unwrap(), *reason);
    assert_eq!(jobs(&bench), 0);
}

#[test]
fn quarantine_goes_on_from_every_step() {
    for paths in [
        &["a/a.zip", ".out/x"][..],
        &["a/a.zip", ".out/x", ".q/"],
        &["a/a.zip", ".done/x", ".q/reason.json.new"],
        &["a/a.zip", ".final/x", ".q/reason.json"],
        &[".final/x", ".q/delivered/a.zip", ".q/reason.json"],
        &[".q/unpacked/x", ".q/delivered/a.zip", ".q/reason.json"],
    ] {
        let bench = Bench::new();
        let job = bench.lay_out("a", 1, 0, paths);
        let decision = if paths.contains(&".q/reason.json") {
            fs::write(job.path().join(".q/reason.json"), "").unwrap(); // left empty by a power loss
            resume(&job)
        } else {
            quarantine(&bench.site, &job)
        };
        let (path, _) = quarantined(one(&bench.site, decision));
        let expected = ["delivered/", "delivered/a.zip", "reason.json", "unpacked/", "unpacked/x"];
        assert_eq!(tree(&path), expected, "{paths:?}");
        assert_eq!(jobs(&bench), 0, "{paths:?}");
    }
}

#[test]
fn quarantine_decided_once_is_not_decided_anew() {
    let bench = Bench::new();
    let job = bench.claimed("a");
    let error = WorkspaceError::CrashesDaemon { crashes: 5 };
    let first = Reason::new(&bench.site.source().name, &job, &error, &[]);
    super::quarantine::decide(&job.open().unwrap(), &job, &first).unwrap();
    let (_, reason) = quarantined(one(&bench.site, quarantine(&bench.site, &job)));
    assert_eq!(reason.code, "crashes_daemon");
}

#[test]
fn package_that_is_gathered_can_only_be_archived() {
    for decision in [quarantine, |_: &Site, job: &JobDir| Settling {
        job: job.clone(),
        decision: Decision::Discard,
    }] {
        let bench = Bench::new();
        let job = bench.lay_out("a", 1, 0, &["a/b", ".final/a.zip"]);
        let error = one(&bench.site, decision(&bench.site, &job)).unwrap_err();
        assert_eq!(error.code(), "gathered");
        assert_eq!(tree(job.path()), [".final/", ".final/a.zip", "a/", "a/b"]);
    }
}

#[test]
fn package_with_a_hostile_name_is_archived_and_quarantined_like_any_other() {
    let long = "x".repeat(251);
    for name in ["out", "reason.json", "JOB.1.0", "delivered", "名字", "a.2", &long] {
        let bench = Bench::new();
        for _ in 0..3 {
            let job = bench.unpacked(name);
            let (path, job) = archived(one(&bench.site, archive(&job)));
            assert!(path.join(format!("{name}.zip")).is_file());
            finish(&bench.site, &job).unwrap();
            let job = bench.claimed(name);
            let (path, reason) = quarantined(one(&bench.site, quarantine(&bench.site, &job)));
            assert!(path.join("delivered").join(format!("{name}.zip")).is_file());
            assert_eq!(reason.name.as_str(), name);
        }
        assert_eq!(fs::read_dir(bench.path("mv_zip")).unwrap().count(), 3, "{name}");
        assert_eq!(jobs(&bench), 0, "{name}");
    }
}

#[test]
fn quarantine_whose_name_is_taken_uses_another() {
    let bench = Bench::new();
    let job = bench.claimed("a");
    fs::write(bench.path("quarantine").join(format!("a.{}", job.id())), "").unwrap();
    let (path, _) = quarantined(one(&bench.site, quarantine(&bench.site, &job)));
    assert_eq!(path, bench.path("quarantine").join(format!("{}.2", job.id())));
}

#[test]
fn discarded_package_is_gone() {
    let bench = Bench::new();
    let job = bench.claimed("a");
    let discard = Settling { job, decision: Decision::Discard };
    assert_eq!(one(&bench.site, discard).unwrap(), Settled::Discarded { left: None });
    assert_eq!(jobs(&bench), 0);
}

fn compare(bench: &Bench, content: &[u8]) -> Redelivery {
    let path = bench.path("again.zip");
    fs::write(&path, content).unwrap();
    let name = PackageName::new("a").unwrap();
    let zip = File::open(path).unwrap();
    compare_with_archive(
        &bench.site.reach(Target::Archive).unwrap(),
        &name,
        &zip,
        &Steps::default(),
    )
    .unwrap()
}

fn keep(folder: &Path, content: &[u8]) {
    fs::create_dir(folder).unwrap();
    fs::write(folder.join("a.zip"), content).unwrap();
}

#[test]
fn redelivery_is_told_by_the_bytes_of_each_archived_revision() {
    let bench = Bench::new();
    let (first, second) = (bench.path("mv_zip/a"), bench.path("mv_zip/a.2"));
    let mut big = vec![7; 300_000];
    assert_eq!(compare(&bench, &big), Redelivery::New);
    keep(&first, b"one");
    assert_eq!(compare(&bench, &big), Redelivery::Changed { path: first.clone() });
    keep(&second, &big);
    assert_eq!(compare(&bench, &big), Redelivery::Identical { path: second.clone() });
    assert_eq!(compare(&bench, b"one"), Redelivery::Identical { path: first });
    for at in [0, 150_000, 299_999] {
        big[at] = 8;
        assert_eq!(compare(&bench, &big), Redelivery::Changed { path: second.clone() }, "{at}");
        big[at] = 7;
    }
}

#[test]
fn redelivery_of_a_name_whose_archived_zip_is_gone_or_odd_has_changed() {
    for odd in ["no zip", "a file", "a link"] {
        let bench = Bench::new();
        let path = bench.path("mv_zip/a");
        match odd {
            "a file" => fs::write(&path, "zip").unwrap(),
            "a link" => {
                fs::create_dir(&path).unwrap();
                symlink(bench.path("again.zip"), path.join("a.zip")).unwrap();
            }
            _ => fs::create_dir(&path).unwrap(),
        }
        assert_eq!(compare(&bench, b"zip"), Redelivery::Changed { path }, "{odd}");
    }
}

/// Creates a package whose ZIP has this content, on its way to the archive.
fn passed(bench: &Bench, name: &str, zip: &[u8], sub: &str) -> (JobDir, Settling) {
    let job = bench.unpacked(name);
    fs::write(job.zip(), zip).unwrap();
    fs::write(job.delivered().join("beside.txt"), sub).unwrap();
    let (_, stamp) = job.open_delivery().unwrap().open_zip().unwrap();
    let decision = Decision::Archive { stamp: Some(stamp), untouched: false };
    (job.clone(), Settling { job, decision })
}

#[test]
fn package_whose_name_was_taken_meanwhile_is_compared_again() {
    use crate::config::{Changed, Identical};

    for (identical, changed, zip, told) in [
        (Identical::Quarantine, Changed::Process, b"same", "duplicate"),
        (Identical::Discard, Changed::Process, b"same", "duplicate"),
        (Identical::Process, Changed::Process, b"same", "archived"),
        (Identical::Quarantine, Changed::Process, b"else", "archived"),
        (Identical::Quarantine, Changed::Quarantine, b"else", "changed"),
    ] {
        let bench = Bench::with(|source| (source.identical, source.changed) = (identical, changed));
        let (job, settling) = passed(&bench, "a", b"same", "one");
        keep(&bench.path("mv_zip/a"), zip);
        match one(&bench.site, settling) {
            Ok(Settled::Archived { path, .. }) => {
                assert_eq!((told, path), ("archived", bench.path("mv_zip/a.2")));
            }
            Err(error) => {
                assert_eq!(error.code(), told);
                let discards = identical == Identical::Discard;
                assert_eq!(error.disposition() == Disposition::Discard, discards);
                // As it was delivered, so that it can be quarantined or deleted.
                assert_eq!(tree(&job.delivered()), ["a.zip", "beside.txt"]);
                assert_eq!(tree(&job.final_()), ["data.txt"]);
                let (path, _) = quarantined(one(&bench.site, quarantine(&bench.site, &job)));
                assert_eq!(tree(&path.join("delivered")), ["a.zip", "beside.txt"]);
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(fs::read(bench.path("mv_zip/a/a.zip")).unwrap(), zip, "it was replaced");
    }
}

#[test]
fn zip_that_is_exchanged_after_the_last_comparison_is_not_archived() {
    for (odd, code) in [("link", "zip_changed"), ("other", "zip_changed")] {
        let bench = Bench::new();
        let (job, settling) = passed(&bench, "a", b"zip", "one");
        let Decision::Archive { stamp, .. } = &settling.decision else { unreachable!() };
        let gathering =
            archive::Gathering::pass(&bench.site.source().ignore, &job, false, stamp.as_ref())
                .unwrap()
                .unwrap();
        // The sender replaces the ZIP at this point.
        fs::remove_file(job.zip()).unwrap();
        match odd {
            "link" => symlink("/etc/passwd", job.zip()).unwrap(),
            _ => fs::write(job.zip(), "zap").unwrap(),
        }
        let Err(error) = gathering.publish(&bench.site) else { panic!("{odd} was archived") };
        assert_eq!((error.code(), error.disposition()), (code, Disposition::Retry), "{odd}");
        assert_eq!(tree(&bench.path("mv_zip")), [""; 0]);
        assert_eq!(tree(&job.delivered()), ["a.zip", "beside.txt"]);
    }
}

#[test]
fn package_that_the_archive_does_not_have_is_vanished_and_not_archived() {
    for found in ["nothing", "another", "it"] {
        let bench = Bench::new();
        let (_, settling) = passed(&bench, "a", b"zip", "one");
        let (path, job) = archived(one(&bench.site, settling));
        match found {
            "nothing" => fs::rename(&path, bench.path("fetched")).unwrap(),
            "another" => {
                fs::rename(&path, bench.path("fetched")).unwrap();
                keep(&path, b"zip");
            }
            _ => {}
        }
        let bench = bench.restarted(false);
        let recovery = bench.site.recover().unwrap();
        let [recovered] = &recovery.settle[..] else { panic!("{recovery:?}") };
        let settled = one(&bench.site, recovered.settling.clone()).unwrap();
        match settled {
            Settled::Archived { .. } => assert_eq!(found, "it"),
            Settled::Vanished { .. } => assert_ne!(found, "it"),
            other => panic!("{other:?}"),
        }
        finish(&bench.site, &job).unwrap();
        assert_eq!(jobs(&bench), 0);
    }
}

#[test]
fn output_that_does_not_belong_in_an_archive_goes_to_quarantine() {
    use std::os::unix::fs::PermissionsExt;

    for (odd, code) in [
        ("fifo", "special_file"),
        ("setuid", "set_id"),
        ("link out", "link_leads_out"),
        ("link", ""),
    ] {
        let bench = Bench::new();
        let job = bench.unpacked("a");
        let path = job.done().join("deep/odd");
        fs::create_dir(job.done().join("deep")).unwrap();
        match odd {
            "fifo" => {
                let mode = rustix::fs::Mode::RUSR;
                let kind = rustix::fs::FileType::Fifo;
                rustix::fs::mknodat(rustix::fs::CWD, &path, kind, mode, 0).unwrap();
            }
            "setuid" => {
                fs::write(&path, "").unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(0o4755)).unwrap();
            }
            "link out" => symlink("../../outside", &path).unwrap(),
            _ => symlink("../data.txt", &path).unwrap(),
        }
        match one(&bench.site, archive(&job)) {
            Ok(Settled::Archived { .. }) => assert_eq!(code, "", "{odd}"),
            Ok(other) => panic!("{other:?}"),
            Err(error) => {
                assert_eq!((error.code(), error.disposition()), (code, Disposition::Quarantine));
                quarantined(one(&bench.site, quarantine(&bench.site, &job)));
            }
        }
    }
}

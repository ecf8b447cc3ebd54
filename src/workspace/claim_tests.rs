//! Claims, attempts and delivered files.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::testing::{Bench, tree};
use super::*;
use rustix::io::Errno;

use crate::config::Limits;
use crate::error::{Disposition, Failure};
use crate::folder::Folder;
use crate::job::{Form, JobSpec, Origin};

fn fifo(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
}

fn again(job: &JobDir, attempt: u32) -> JobSpec {
    JobSpec {
        id: job.id(),
        source: crate::id::SourceName::default(),
        name: job.name().clone(),
        attempt,
        crashes: job.crashes(),
        origin: Origin::WorkArea,
    }
}

#[test]
fn claim_of_a_package_takes_its_folder_and_makes_out() {
    let bench = Bench::new();
    let job = bench.claimed("a");
    assert_eq!(tree(job.path()), [".out/", "a/", "a/a.zip"]);
    assert_eq!(fs::metadata(job.out()).unwrap().mode() & 0o7777, 0o700);
    assert_eq!(tree(&bench.path("zip")).iter().filter(|path| path.starts_with('a')).count(), 0);
    let home = job.path().to_path_buf();
    assert_eq!(home.file_name().unwrap().to_str().unwrap(), format!("{}.1.0", job.id()));
}

#[test]
fn claim_of_a_bare_zip_makes_a_folder_for_it() {
    let bench = Bench::new();
    fs::write(bench.path("zip/a.zip"), "zip").unwrap();
    let spec = bench.offer(&PackageName::new("a").unwrap(), Form::Zip);
    let job = bench.site.begin(&spec).unwrap().job;
    assert_eq!(tree(job.path()), [".out/", "a/", "a/a.zip"]);
}

#[test]
fn claim_of_another_folder_of_that_name_leaves_it_and_says_vanished() {
    let bench = Bench::new();
    let name = bench.deliver("a");
    let spec = bench.offer(&name, Form::Folder);
    fs::rename(bench.path("zip/a"), bench.path("elsewhere")).unwrap();
    for other in ["nothing", "folder", "file", "link"] {
        let path = bench.path("zip/a");
        match other {
            "folder" => fs::create_dir(&path).unwrap(),
            "file" => fs::write(&path, "").unwrap(),
            "link" => symlink(bench.path("elsewhere"), &path).unwrap(),
            _ => {}
        }
        let error = bench.site.begin(&spec).unwrap_err();
        assert!(matches!(error, ClaimError::Vanished { .. }), "{other}: {error}");
        assert_eq!(path.symlink_metadata().is_ok(), other != "nothing", "{other} was taken");
        fs::remove_file(&path).or_else(|_| fs::remove_dir(&path)).ok();
        assert!(!bench.site.root().join(format!("{}.1.0", spec.id)).exists(), "{other}");
    }
}

#[test]
fn claim_that_the_system_refuses_says_what_to_change() {
    // A mount point cannot be renamed. A process that may not mount cannot test this.
    let bench = Bench::new();
    let name = bench.deliver("a");
    let spec = bench.offer(&name, Form::Folder);
    let error = super::claim::refusal(
        &bench.path("zip/a"),
        &Folder::open(&bench.path("zip")).unwrap(),
        std::io::Error::from_raw_os_error(Errno::ACCESS.raw_os_error()),
    );
    assert_eq!((error.code(), error.disposition()), ("claim_refused", Disposition::Wait));
    assert!(error.to_string().contains("write permission on the folder itself"), "{error}");
    fs::set_permissions(bench.path("zip"), fs::Permissions::from_mode(0o1777)).unwrap();
    let error = super::claim::refusal(
        &bench.path("zip/a"),
        &Folder::open(&bench.path("zip")).unwrap(),
        std::io::Error::from_raw_os_error(Errno::PERM.raw_os_error()),
    );
    assert!(error.to_string().contains("sticky"), "{error}");
    bench.site.begin(&spec).unwrap();
}

#[test]
fn claim_without_a_work_area_says_that_it_is_gone() {
    let bench = Bench::new();
    let name = bench.deliver("a");
    let spec = bench.offer(&name, Form::Folder);
    fs::remove_dir_all(bench.site.root()).unwrap();
    let error = bench.site.begin(&spec).unwrap_err();
    assert_eq!((error.code(), error.disposition()), ("work_gone", Disposition::Wait));
    assert!(bench.path("zip/a/a.zip").exists());
}

#[test]
fn attempt_from_the_work_area_renames_its_job_and_starts_afresh() {
    let bench = Bench::new();
    let job = bench.unpacked("a");
    let secret = job.done().join("secret");
    fs::create_dir(&secret).unwrap();
    fs::write(secret.join("x"), "").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o000)).unwrap();
    symlink("/etc", job.done().join("link")).unwrap();
    let second = bench.site.begin(&again(&job, 2)).unwrap().job;
    assert_eq!((second.attempt(), second.id()), (2, job.id()));
    assert_eq!(tree(second.path()), [".out/", "a/", "a/a.zip"]);
    assert!(!job.path().exists() && Path::new("/etc/passwd").exists());
}

#[test]
fn job_shelved_keeps_only_what_was_delivered_and_its_next_attempt() {
    let bench = Bench::new();
    let job = bench.unpacked("a");
    let Shelved::Extract(shelved) = bench.site.shelve(&job, 2).unwrap() else { panic!() };
    assert_eq!(tree(shelved.path()), ["a/", "a/a.zip"]);
    assert_eq!(shelved.attempt(), 2);
    let Shelved::Extract(same) = bench.site.shelve(&job, 2).unwrap() else { panic!() };
    assert_eq!(same, shelved, "shelving twice, the second time under its old name");
    assert_eq!(bench.site.begin(&again(&job, 2)).unwrap().job.path(), shelved.path());
}

#[test]
fn job_that_is_gathered_or_decided_is_neither_shelved_nor_begun_again() {
    for paths in [&["a/", ".final/a.zip"][..], &["a/a.zip", ".out/x", ".q/reason.json"]] {
        let bench = Bench::new();
        let job = bench.lay_out("a", 1, 0, paths);
        assert_eq!(bench.site.shelve(&job, 2).unwrap(), Shelved::Settle(job.clone()));
        let before = tree(job.path());
        let error = bench.site.begin(&again(&job, 1)).unwrap_err();
        assert_eq!(error.code(), "past_extraction");
        assert_eq!(tree(job.path()), before);
    }
}

#[test]
fn job_that_is_not_there_is_gone() {
    let bench = Bench::new();
    let job = bench.claimed("a");
    fs::remove_dir_all(job.path()).unwrap();
    assert_eq!(bench.site.begin(&again(&job, 2)).unwrap_err().code(), "job_gone");
}

#[test]
fn originals_lists_what_was_delivered_whatever_its_name() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let bench = Bench::new();
    let job = bench.claimed("a");
    let odd = OsStr::from_bytes(b"\xff\xfe");
    fs::write(job.delivered().join(odd), "").unwrap();
    fs::create_dir_all(job.delivered().join(".hidden/deep")).unwrap();
    let mut found = job.open_delivery().unwrap().take_over(&Limits::default()).unwrap();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    let found: Vec<_> = found.iter().map(|one| (one.name.as_os_str(), one.kind)).collect();
    assert_eq!(
        found,
        [
            (OsStr::new(".hidden"), Kind::Folder),
            (OsStr::new("a.zip"), Kind::File),
            (odd, Kind::File)
        ]
    );
}

#[test]
fn originals_with_a_link_or_a_special_file_are_the_packages_own_fault() {
    for (deep, kind) in
        [(false, Kind::Link), (true, Kind::Link), (false, Kind::Fifo), (true, Kind::Fifo)]
    {
        let bench = Bench::new();
        let job = bench.claimed("a");
        let folder = job.delivered().join(if deep { "sub/sub" } else { "" });
        fs::create_dir_all(&folder).unwrap();
        match kind {
            Kind::Link => symlink("/etc/passwd", folder.join("x")).unwrap(),
            _ => fifo(&folder.join("x")),
        }
        let error = job.open_delivery().unwrap().take_over(&Limits::default()).unwrap_err();
        assert_eq!((error.code(), error.disposition()), ("odd_original", Disposition::Quarantine));
        assert!(error.to_string().contains(&kind.to_string()), "{error}");
    }
}

#[test]
fn originals_over_a_limit_are_the_packages_own_fault() {
    let usual = Limits::default;
    let path = bytesize::ByteSize::b(12);
    for (limits, code) in [
        (Limits { beside_entries: 4, ..usual() }, ""),
        (Limits { beside_entries: 3, ..usual() }, "too_many_originals"),
        (Limits { beside_total: bytesize::ByteSize::b(10), ..usual() }, ""),
        (Limits { beside_total: bytesize::ByteSize::b(9), ..usual() }, "originals_too_large"),
        (Limits { beside_depth: 2, ..usual() }, ""),
        (Limits { beside_depth: 1, ..usual() }, "originals_too_deep"),
        (Limits { beside_path: path, ..usual() }, ""),
        (Limits { beside_path: bytesize::ByteSize::b(11), ..usual() }, "original_path_too_long"),
    ] {
        let bench = Bench::new();
        let job = bench.claimed("a");
        fs::create_dir_all(job.delivered().join("sub/sub")).unwrap();
        fs::write(job.delivered().join("sub/sub/file"), "12345").unwrap();
        fs::write(job.delivered().join("b"), "12345").unwrap();
        match job.open_delivery().unwrap().take_over(&limits) {
            Ok(_) => assert_eq!(code, ""),
            Err(error) => {
                let told = (error.code(), error.disposition());
                assert_eq!(told, (code, Disposition::Quarantine));
            }
        }
    }
}

#[test]
fn zip_that_is_no_file_is_not_opened() {
    for kind in [Kind::Link, Kind::Fifo, Kind::Folder] {
        let bench = Bench::new();
        let job = bench.claimed("a");
        fs::remove_file(job.zip()).unwrap();
        match kind {
            Kind::Link => symlink("/etc/passwd", job.zip()).unwrap(),
            Kind::Fifo => fifo(&job.zip()),
            _ => fs::create_dir(job.zip()).unwrap(),
        }
        let error = job.open_delivery().unwrap().open_zip().unwrap_err();
        assert!(
            matches!(error, WorkspaceError::ZipNotAFile { kind: found, .. } if found == kind),
            "{kind}: {error}"
        );
    }
}

#[test]
fn zip_that_is_missing_is_the_packages_own_fault() {
    let bench = Bench::new();
    let job = bench.claimed("a");
    fs::remove_file(job.zip()).unwrap();
    let error = job.open_delivery().unwrap().open_zip().unwrap_err();
    assert_eq!((error.code(), error.disposition()), ("zip_missing", Disposition::Quarantine));
}

#[test]
fn zip_written_to_while_in_work_is_noticed() {
    let bench = Bench::new();
    let job = bench.claimed("a");
    let (_, stamp) = job.open_delivery().unwrap().open_zip().unwrap();
    let delivered = Folder::open(&job.delivered()).unwrap();
    let mount = delivered.metadata().unwrap().mount;
    job.check_unchanged(&delivered, mount, Some(&stamp)).unwrap();
    let error = job.check_unchanged(&delivered, Some(u64::MAX), Some(&stamp)).unwrap_err();
    let expected = ("original_not_movable", Disposition::Quarantine);
    assert_eq!(
        (error.code(), error.disposition()),
        expected,
        "it is on another mount than its folder"
    );
    fs::write(job.zip(), "zip of b").unwrap();
    let error = job.check_unchanged(&delivered, mount, Some(&stamp)).unwrap_err();
    assert_eq!((error.code(), error.disposition()), ("zip_changed", Disposition::Retry));
}

#[test]
fn claim_of_what_is_in_use_and_is_no_mount_point_says_that_another_process_has_it() {
    let bench = Bench::new();
    bench.deliver("a");
    let landing = Folder::open(&bench.path("zip")).unwrap();
    for (errno, says) in [
        (Errno::BUSY, "another process has it open or uses it"),
        (Errno::TXTBSY, "another process has it open or uses it"),
        (Errno::XDEV, "on another file system than the work area"),
    ] {
        let error = std::io::Error::from_raw_os_error(errno.raw_os_error());
        let error = super::claim::refusal(&bench.path("zip/a"), &landing, error);
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[test]
fn claim_that_is_refused_again_for_the_same_reason_is_no_news() {
    let bench = Bench::new();
    let name = bench.deliver("a");
    let spec = bench.offer(&name, Form::Folder);
    let landing = Folder::open(&bench.path("zip")).unwrap();
    let refused = |errno: Errno| {
        let error = std::io::Error::from_raw_os_error(errno.raw_os_error());
        let error = super::claim::refusal(&bench.path("zip/a"), &landing, error);
        bench.site.refused_anew(&spec, &error)
    };
    assert!(refused(Errno::BUSY));
    assert!(!refused(Errno::BUSY));
    assert!(refused(Errno::XDEV), "the reason is another");
    fs::set_permissions(bench.site.root(), fs::Permissions::from_mode(0o700)).unwrap();
    bench.site.begin(&spec).unwrap();
    assert!(refused(Errno::XDEV), "it was claimed meanwhile");
}

#[test]
fn claim_that_the_work_area_refuses_is_the_same_reason_for_each_attempt() {
    let bench = Bench::new();
    let name = bench.deliver("a");
    fs::remove_dir_all(bench.site.root()).unwrap();
    let refused = || {
        let spec = bench.offer(&name, Form::Folder);
        let error = bench.site.begin(&spec).unwrap_err();
        bench.site.refused_anew(&spec, &error)
    };
    assert_eq!([refused(), refused()], [true, false], "each attempt has another folder");
}

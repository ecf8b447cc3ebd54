//! Conditions under which a start fails, each with its own error and exit code, and the locks.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::testing::{Bench, elsewhere, source};
use super::*;
use crate::config::Source;
use crate::id::SourceName;

fn refused(source: &Source) -> (u8, String) {
    let error = Site::open(source).unwrap_err();
    (error.exit_code(), error.to_string())
}

#[test]
fn start_makes_the_folders_that_are_missing() {
    let bench = Bench::new();
    for folder in ["zip", "mv_zip", "quarantine", "zip/.longshore/work/default"] {
        assert!(bench.path(folder).is_dir(), "{folder}");
    }
    let root = bench.site.root();
    assert_eq!(fs::metadata(root).unwrap().permissions().mode() & 0o777, 0o700);
    assert!(super::testing::tree(root).iter().all(|name| name.starts_with(".boot")), "{root:?}");
    assert_eq!(fs::read_dir(bench.path("mv_zip")).unwrap().count(), 0, "the probe is still there");
}

#[test]
fn start_with_folders_inside_each_other_is_refused() {
    let top = tempfile::tempdir().unwrap();
    let top = top.path();
    fs::create_dir(top.join("real")).unwrap();
    symlink(top.join("real"), top.join("link")).unwrap();
    for (landing, archive, quarantine, work, part) in [
        ("a", "a", "q", "w", "as landing and as archive"),
        ("real", "link", "q", "w", "as landing and as archive"),
        ("a", "b", "b", "w", "as archive and as quarantine"),
        ("a/zip", "a", "q", "w", "lies inside the archive"),
        ("link/zip", "real", "q", "w", "lies inside the archive"),
        ("q/zip", "b", "q", "w", "lies inside the quarantine"),
        ("a/.zip", "a", "q", "w", "lies inside the archive"),
        ("a", "a/archive", "q", "w", "leading dot"),
        ("a", "b", "a/bad", "w", "leading dot"),
        ("a", "b", "q", "a/work", "leading dot"),
        ("a", "w/b", "q", "w", "longshore's own"),
        ("a", "b", "w/.q", "w", "longshore's own"),
        ("a", "b", "q", "b/work", "inside the archive"),
        ("a", "b", "b/bad", "w", "inside the archive"),
    ] {
        let mut source = source(top);
        source.landing = top.join(landing);
        source.archive = top.join(archive);
        source.quarantine = top.join(quarantine);
        source.work = Some(top.join(work));
        let (code, message) = refused(&source);
        assert_eq!(code, 78, "{landing} {archive} {quarantine} {work}: {message}");
        assert!(message.contains(part), "{message:?} lacks {part:?}");
    }
    assert_eq!(fs::read_dir(top).unwrap().count(), 2, "a refused start made folders");
}

#[test]
fn start_with_folders_under_a_dot_folder_of_the_landing_is_fine() {
    let top = tempfile::tempdir().unwrap();
    let mut source = source(top.path());
    source.archive = source.landing.join(".done/archive");
    source.quarantine = source.landing.join(".done/quarantine");
    Site::open(&source).unwrap();
}

#[test]
fn start_with_a_file_where_a_folder_is_expected_is_refused() {
    for file in ["zip", "mv_zip", "quarantine", "work", "work/default"] {
        let top = tempfile::tempdir().unwrap();
        let mut source = source(top.path());
        source.work = Some(top.path().join("work"));
        if file.contains('/') {
            fs::create_dir(top.path().join("work")).unwrap();
        }
        fs::write(top.path().join(file), "").unwrap();
        let (code, message) = refused(&source);
        assert_eq!(code, 78, "{message}");
        assert!(message.contains("it is no folder"), "{message}");
    }
}

#[test]
fn start_with_a_landing_below_a_file_is_refused() {
    let top = tempfile::tempdir().unwrap();
    fs::write(top.path().join("file"), "").unwrap();
    let mut source = source(top.path());
    source.landing = top.path().join("file/zip");
    let (code, message) = refused(&source);
    assert_eq!(code, 78, "{message}");
    assert!(message.contains("file/zip"), "{message}");
}

#[test]
fn start_with_a_work_area_that_others_can_write_to_is_refused() {
    for mode in [0o777, 0o770, 0o702] {
        let top = tempfile::tempdir().unwrap();
        let mut source = source(top.path());
        source.work = Some(top.path().join("work"));
        let work = top.path().join("work");
        fs::create_dir(&work).unwrap();
        fs::set_permissions(&work, fs::Permissions::from_mode(mode)).unwrap();
        let (code, message) = refused(&source);
        assert_eq!(code, 77, "{message}");
        assert!(
            message.contains(&format!("{mode:04o}")) && message.contains("--work"),
            "{message}"
        );
    }
}

#[test]
fn start_with_a_work_area_of_another_user_is_refused() {
    let top = tempfile::tempdir().unwrap();
    let mut source = source(top.path());
    source.work = Some(top.path().join("work"));
    let work = top.path().join("work");
    fs::create_dir(&work).unwrap();
    if !rustix::process::geteuid().is_root() {
        return println!("SKIP: only root can give a folder away");
    }
    std::os::unix::fs::chown(&work, Some(65534), None).unwrap();
    assert_eq!(refused(&source).0, 77);
}

#[test]
fn start_on_a_work_area_of_another_version_is_refused() {
    let bench = Bench::new();
    fs::write(bench.path("zip/.longshore/work/FORMAT"), "7\n").unwrap();
    let source = bench.site.source().clone();
    let (code, message) = refused(&source);
    assert_eq!(code, 78, "{message}");
    assert!(message.contains("\"7\"") && message.contains("\"1\""), "{message}");
}

#[test]
fn second_start_on_a_landing_names_the_process_that_holds_it() {
    let bench = Bench::new();
    let mut other = bench.site.source().clone();
    let pid = format!("process {}", std::process::id());
    for work in ["zip/.longshore/work", "other-work"] {
        other.work = Some(bench.path(work));
        let (code, message) = refused(&other);
        assert_eq!(code, 75, "{message}");
        assert!(message.contains(&pid) && message.contains("zip"), "{message}");
    }
}

#[test]
fn second_landing_on_a_work_area_is_refused_for_a_source_of_the_same_name_only() {
    let bench = Bench::with(|source| source.work = Some(source.landing.with_file_name("work")));
    let mut other = bench.site.source().clone();
    other.landing = bench.path("zip2");
    let (code, message) = refused(&other);
    assert_eq!(code, 75, "{message}");
    assert!(message.contains("work area"), "{message}");
    other.name = SourceName::new("other").unwrap();
    Site::open(&other).unwrap();
}

#[test]
fn lock_is_free_again_when_its_site_is_dropped() {
    let bench = Bench::new().restarted(false);
    bench.site.recover().unwrap();
}

#[test]
fn start_with_the_work_area_elsewhere_is_refused_with_the_remedy() {
    let top = tempfile::tempdir().unwrap();
    let Some(other) = elsewhere(top.path()) else { return };
    let mut source = source(top.path());
    source.work = Some(other.path().join("work"));
    let (code, message) = refused(&source);
    assert_eq!(code, 78, "{message}");
    assert!(message.contains("--work") && message.contains("different file systems"), "{message}");
    for left in [&source.landing, &other.path().to_path_buf()] {
        let probes = super::testing::tree(left);
        assert!(!probes.iter().any(|path| path.contains("probe")), "{probes:?}");
    }
}

#[test]
fn start_finds_by_a_rename_which_targets_are_elsewhere() {
    for (archive, quarantine) in [(false, false), (true, false), (false, true), (true, true)] {
        let Some((bench, there)) = Bench::across(archive, quarantine) else { return };
        for (target, is) in [(Target::Archive, archive), (Target::Quarantine, quarantine)] {
            assert_eq!(bench.site.is_elsewhere(target), is, "{target:?}");
            let staging = bench.site.staging(target).unwrap();
            let path = bench.site.path_of(target).join(".longshore");
            assert_eq!(
                staging.map(|found| found.folder().path().to_path_buf()),
                is.then(|| path.clone())
            );
            assert_eq!(path.exists(), is, "{path:?}");
            if is {
                assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
            }
        }
        let left = super::testing::tree(there.path());
        assert!(!left.iter().any(|path| path.contains("probe")), "{left:?}");
    }
}

#[test]
fn start_with_a_folder_for_copies_that_others_can_write_to_is_refused() {
    let top = tempfile::tempdir().unwrap();
    let Some(other) = elsewhere(top.path()) else { return };
    let mut source = source(top.path());
    source.archive = other.path().join("mv_zip");
    let staging = source.archive.join(".longshore");
    fs::create_dir_all(&staging).unwrap();
    fs::set_permissions(&staging, fs::Permissions::from_mode(0o777)).unwrap();
    let (code, message) = refused(&source);
    assert_eq!(code, 77, "{message}");
    assert!(message.contains("0777") && message.contains(".longshore"), "{message}");
    fs::remove_dir(&staging).unwrap();
    symlink(top.path(), &staging).unwrap();
    let (code, message) = refused(&source);
    assert_eq!(code, 78, "a link may lead anywhere: {message}");
}

#[test]
fn target_elsewhere_that_is_gone_is_missed_and_known_again() {
    let Some((bench, there)) = Bench::across(true, false) else { return };
    let (archive, away) = (bench.site.source().archive.clone(), there.path().join("away"));
    // As if unmounted: the folder beneath has no folder for copies.
    fs::rename(&archive, &away).unwrap();
    bench.site.staging(Target::Archive).unwrap_err();
    fs::create_dir(&archive).unwrap();
    bench.site.staging(Target::Archive).unwrap_err();
    assert!(!archive.join(".longshore").exists(), "it was made in what is beneath");
    fs::remove_dir(&archive).unwrap();
    fs::rename(&away, &archive).unwrap();
    bench.site.staging(Target::Archive).unwrap().unwrap();
    // The folder for copies was removed by an operator.
    fs::remove_dir(archive.join(".longshore")).unwrap();
    bench.site.staging(Target::Archive).unwrap().unwrap();
    assert!(archive.join(".longshore").is_dir());
}

#[test]
fn landing_that_comes_back_is_locked_again_with_a_work_area() {
    let bench = Bench::new();
    assert!(bench.site.is_there());
    assert_eq!(
        bench.site.reopen_after_return().unwrap(),
        Return { landing_changed: false, work_changed: false }
    );
    fs::rename(bench.path("zip"), bench.path("away")).unwrap();
    assert!(!bench.site.is_there());
    bench.site.reopen_after_return().unwrap_err();
    assert!(!bench.path("zip").exists(), "an unmounted landing is waited for, not made");

    fs::create_dir(bench.path("zip")).unwrap();
    let found = bench.site.reopen_after_return().unwrap();
    assert_eq!(found, Return { landing_changed: true, work_changed: true });
    assert!(bench.site.is_there());
    assert_eq!(refused(bench.site.source()).0, 75);
    assert_eq!(bench.site.recover().unwrap(), Recovery::default());
    bench.claimed("a");
}

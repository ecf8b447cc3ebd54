//! The rules one by one, with the time given; and what looks see of real folders.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::io::Errno;

use super::*;
use crate::id::SourceName;
use crate::package::FolderId;
use crate::testkit::TempLanding;
use crate::testkit::temp_landing::sample_zip;

const SECOND: Duration = Duration::from_secs(1);

fn rules() -> Rules {
    Rules::of(&source())
}

fn source() -> Source {
    Source::new(SourceName::default(), "/data/landing", "/data/archive")
}

fn zips_too() -> Rules {
    let mut source = source();
    source.accept = vec![Accept::Folder, Accept::Zip];
    Rules::of(&source)
}

fn noon() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

/// A good folder that was last changed at noon.
fn look(name: &str) -> Look {
    Look {
        name: name.into(),
        identity: FolderId { inode: 7, birth_ns: 7 },
        kind: Kind::Folder,
        trace: Trace { newest: noon(), entries: 2, bytes: 4096 },
        access: Reach::Free,
        zip: Zip::File { size: 100, end_record: true },
    }
}

fn unfinished(name: &str) -> Look {
    Look { zip: Zip::File { size: 100, end_record: false }, ..look(name) }
}

fn empty(name: &str) -> Look {
    Look { zip: Zip::Missing { other: None }, ..look(name) }
}

fn at(look: &Look, past: &Past, after: Duration) -> Verdict {
    judge(look, past, noon() + after, &rules())
}

fn found(look: &Look) -> Past {
    Past::of_first(look, false)
}

fn moved(look: &Look) -> Past {
    Past::of_first(look, true)
}

#[test]
fn folder_made_in_place_is_ready_once_it_has_settled() {
    let look = look("a");
    let early = at(&look, &found(&look), SECOND / 4);
    assert_eq!(early, Verdict::NotYet { until: noon() + SECOND });
    assert_eq!(at(&look, &found(&look), SECOND), Verdict::Ready);
}

#[test]
fn folder_renamed_into_place_is_ready_at_once_where_its_zip_is_whole() {
    let look = look("a");
    assert_eq!(at(&look, &moved(&look), Duration::ZERO), Verdict::Ready);
}

#[test]
fn folder_renamed_while_empty_and_filled_after_settles_like_one_made_in_place() {
    let past = moved(&empty("a"));
    let filled = look("a");
    assert_eq!(at(&filled, &past, SECOND / 2), Verdict::NotYet { until: noon() + SECOND });
    assert_eq!(at(&filled, &past, SECOND), Verdict::Ready);
    let growing = unfinished("a");
    let until = noon() + 30 * SECOND;
    assert_eq!(at(&growing, &past, 2 * SECOND), Verdict::NotYet { until });
}

#[test]
fn folder_renamed_with_a_zip_cut_off_is_ready_once_it_has_settled() {
    let look = unfinished("a");
    assert!(matches!(at(&look, &moved(&look), SECOND / 2), Verdict::NotYet { .. }));
    assert_eq!(at(&look, &moved(&look), SECOND), Verdict::Ready, "extraction judges it");
}

#[test]
fn zip_without_an_end_record_is_ready_after_broken_after() {
    let look = unfinished("a");
    let until = noon() + 30 * SECOND;
    assert_eq!(at(&look, &found(&look), 29 * SECOND), Verdict::NotYet { until });
    assert_eq!(at(&look, &found(&look), 30 * SECOND), Verdict::Ready);
}

#[test]
fn folder_with_a_clock_that_is_ahead_is_ready_when_two_looks_saw_no_change() {
    let look = look("a");
    let now = noon() - 3600 * SECOND;
    let seen = |quiet| judge(&look, &Past { quiet, ..found(&look) }, now, &rules());
    assert_eq!(seen(SECOND / 2), Verdict::NotYet { until: now + SECOND / 2 }, "not in an hour");
    assert_eq!(seen(SECOND), Verdict::Ready);
}

#[test]
fn folder_with_settle_zero_is_ready_at_the_first_look() {
    let rules = Rules { settle: Duration::ZERO, ..rules() };
    let look = look("a");
    assert_eq!(judge(&look, &found(&look), noon(), &rules), Verdict::Ready);
}

#[test]
fn name_that_says_incomplete_is_never_judged() {
    let mut source = source();
    source.incomplete = vec!["-downloading".to_owned(), ".part".to_owned()];
    source.archive = "/data/landing/done".into();
    let rules = Rules::of(&source);
    let ending = |text: &str| Verdict::Incomplete(Incomplete::Ending(text.to_owned()));
    for (name, verdict) in [
        ("a-downloading", ending("-downloading")),
        ("a.part", ending(".part")),
        ("-downloading", ending("-downloading")),
        (".a", Verdict::Incomplete(Incomplete::Hidden)),
        (".longshore", Verdict::Incomplete(Incomplete::Hidden)),
        ("done", Verdict::Incomplete(Incomplete::Own)),
        ("a-downloading-2", Verdict::Ready),
        ("adownloading", Verdict::Ready),
        ("done.2", Verdict::Ready),
    ] {
        let look = look(name);
        assert_eq!(judge(&look, &moved(&look), noon(), &rules), verdict, "{name:?}");
    }
}

#[test]
fn bare_zip_is_a_package_only_where_it_is_accepted() {
    let look = Look { kind: Kind::File, ..look("a.zip") };
    let verdict = |rules: &Rules| judge(&look, &found(&look), noon() + SECOND, rules);
    assert_eq!(verdict(&zips_too()), Verdict::Ready);
    assert_eq!(verdict(&rules()), Verdict::Unfit(Unfit::NotAFolder { bare_zip: true }));
    let (form, name) = zips_too().package(&look).unwrap();
    assert_eq!((form, name.as_str()), (Form::Zip, "a"));
    assert!(zips_too().incomplete(OsStr::new("a-downloading.zip")).is_some());
    assert!(!zips_too().takes_zip(OsStr::new(".zip")));
}

#[test]
fn thing_that_cannot_be_taken_is_unfit_once_it_has_settled() {
    let other = Zip::Missing { other: Some("b.zip".into()) };
    let access = |access| Look { access, ..look("a") };
    let kind = |kind| Look { kind, zip: Zip::Missing { other: None }, ..look("a") };
    for (look, code) in [
        (kind(Kind::Symlink), "symlink"),
        (kind(Kind::File), "not_a_folder"),
        (kind(Kind::Special), "special_file"),
        (look(&"x".repeat(252)), "bad_name"),
        (look("a\nb"), "bad_name"),
        (Look { name: OsStr::from_bytes(b"a\xFF").to_owned(), ..look("a") }, "bad_name"),
        (access(Reach::Unreadable(Errno::ACCESS)), "unreadable"),
        (access(Reach::Unwritable(Errno::ACCESS)), "unwritable"),
        (access(Reach::Sticky), "sticky_landing"),
        (empty("a"), "no_zip"),
        (Look { zip: other, ..look("a") }, "zip_named_otherwise"),
        (Look { zip: Zip::NotAFile(Kind::Symlink), ..look("a") }, "zip_not_a_file"),
        (Look { zip: Zip::NotAFile(Kind::Special), ..look("a") }, "zip_not_a_file"),
        (Look { zip: Zip::Unreadable(Errno::ACCESS), ..look("a") }, "zip_unreadable"),
    ] {
        let young = at(&look, &moved(&look), SECOND / 2);
        assert!(matches!(young, Verdict::NotYet { .. }), "{code} may be right when it is done");
        let Verdict::Unfit(unfit) = at(&look, &moved(&look), SECOND) else { panic!("{code}") };
        assert_eq!(unfit.code(), code);
        assert!(unfit.to_string().contains(": ") || code == "bad_name", "{unfit}");
        let failed = |check: &Check| check.passed == Some(false);
        let checks = checks(&look, &found(&look), noon() + SECOND, &rules());
        assert!(checks.iter().any(failed), "{code} passes every check");
    }
}

#[test]
fn checks_of_a_ready_folder_all_pass() {
    let look = look("a");
    let checks = checks(&look, &found(&look), noon() + SECOND, &rules());
    assert!(checks.iter().all(|check| check.passed == Some(true)), "{checks:?}");
}

/// Looks at a name of a real landing.
fn seen(landing: &TempLanding, name: &str) -> Look {
    Landing::open(&landing.path()).unwrap().look(OsStr::new(name), &zips_too()).unwrap()
}

#[test]
fn look_at_a_delivered_folder_sees_its_zip_and_all_that_changed() {
    let landing = TempLanding::new();
    let path = landing.deliver("a").unwrap();
    let before = seen(&landing, "a");
    assert_eq!((before.kind, before.access), (Kind::Folder, Reach::Free));
    assert!(before.zip.is_whole());
    assert_eq!(before.trace.entries, 2);

    fs::create_dir_all(path.join("deep/er")).unwrap();
    fs::write(path.join("deep/er/late"), "late").unwrap();
    let after = seen(&landing, "a");
    assert_eq!(after.identity, before.identity);
    assert_eq!(after.trace.entries, 5);
    assert!(after.trace.newest > before.trace.newest, "a change deep in it went unseen");
}

#[test]
fn look_at_a_copy_with_old_times_sees_when_it_was_really_made() {
    let landing = TempLanding::new();
    let path = landing.copy_in("a").unwrap();
    let zip = fs::File::options().write(true).open(path.join("a.zip")).unwrap();
    zip.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    let age = SystemTime::now().duration_since(seen(&landing, "a").trace.newest).unwrap();
    assert!(age < 60 * SECOND, "the sender's mtime was believed: {age:?}");
}

#[test]
fn look_at_a_zip_that_is_none_neither_follows_nor_blocks() {
    let landing = TempLanding::new();
    fs::write(landing.outside().join("real.zip"), sample_zip()).unwrap();
    for name in ["link", "fifo", "folder", "other", "cut"] {
        fs::create_dir(landing.join(name)).unwrap();
    }
    symlink(landing.outside().join("real.zip"), landing.join("link/link.zip")).unwrap();
    let fifo = landing.join("fifo/fifo.zip");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    fs::create_dir(landing.join("folder/folder.zip")).unwrap();
    fs::write(landing.join("other/Other.ZIP"), sample_zip()).unwrap();
    fs::write(landing.join("cut/cut.zip"), &sample_zip()[..80]).unwrap();

    assert_eq!(seen(&landing, "link").zip, Zip::NotAFile(Kind::Symlink));
    assert_eq!(seen(&landing, "fifo").zip, Zip::NotAFile(Kind::Special));
    assert_eq!(seen(&landing, "folder").zip, Zip::NotAFile(Kind::Folder));
    assert_eq!(seen(&landing, "other").zip, Zip::Missing { other: Some("Other.ZIP".into()) });
    assert_eq!(seen(&landing, "cut").zip, Zip::File { size: 80, end_record: false });
}

#[test]
fn look_at_what_is_no_folder_tells_what_it_is() {
    let landing = TempLanding::new();
    fs::write(landing.join("file"), "").unwrap();
    fs::write(landing.join("bare.zip"), sample_zip()).unwrap();
    symlink(landing.deliver("real").unwrap(), landing.join("link")).unwrap();
    symlink("nowhere", landing.join("dangling")).unwrap();
    mknodat(CWD, landing.join("fifo.zip"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    for (name, kind) in [
        ("file", Kind::File),
        ("bare.zip", Kind::File),
        ("link", Kind::Symlink),
        ("dangling", Kind::Symlink),
        ("fifo.zip", Kind::Special),
    ] {
        assert_eq!(seen(&landing, name).kind, kind, "{name}");
    }
    assert!(seen(&landing, "bare.zip").zip.is_whole());
    let open = Landing::open(&landing.path()).unwrap();
    assert_eq!(open.look(OsStr::new("absent"), &rules()), None);
}

#[test]
fn identity_of_another_folder_of_the_same_name_differs() {
    let landing = TempLanding::new();
    let path = landing.copy_in("a").unwrap();
    let first = seen(&landing, "a").identity;
    fs::rename(&path, landing.join("b")).unwrap();
    assert_eq!(seen(&landing, "b").identity, first, "a rename keeps it");
    landing.copy_in("a").unwrap();
    assert_ne!(seen(&landing, "a").identity, first);
}

#[test]
fn landing_that_is_gone_cannot_be_opened() {
    let landing = TempLanding::new();
    fs::remove_dir(landing.path()).unwrap();
    assert_eq!(Landing::open(&landing.path()).unwrap_err().kind(), std::io::ErrorKind::NotFound);
}

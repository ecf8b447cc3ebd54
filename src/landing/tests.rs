//! The rules one by one, with a given time; and looks at real folders.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::time::SystemTime;

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

/// Returns a look at a good folder.
fn look(name: &str) -> Look {
    Look {
        name: name.into(),
        identity: FolderId { inode: 7, birth_ns: 7 },
        kind: Kind::Folder,
        trace: Trace { newest: noon(), entries: 2, bytes: 4096, digest: 1 },
        access: Reach::Free,
        zip: Zip::File { size: 100, end_record: true },
        signs: Signs::default(),
    }
}

fn unfinished(name: &str) -> Look {
    Look { zip: Zip::File { size: 100, end_record: false }, ..look(name) }
}

fn empty(name: &str) -> Look {
    Look { zip: Zip::Missing { other: None }, ..look(name) }
}

/// Returns the verdict after the folder was quiet for this time.
fn at(look: &Look, past: &Past, quiet: Duration) -> Verdict {
    judge(look, &Past { quiet, ..*past }, &rules())
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
    assert_eq!(early, Verdict::NotYet { wait: SECOND * 3 / 4 });
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
    assert_eq!(at(&filled, &past, SECOND / 2), Verdict::NotYet { wait: SECOND / 2 });
    assert_eq!(at(&filled, &past, SECOND), Verdict::Ready);
    let growing = unfinished("a");
    assert_eq!(at(&growing, &past, 2 * SECOND), Verdict::NotYet { wait: 28 * SECOND });
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
    assert_eq!(at(&look, &found(&look), 29 * SECOND), Verdict::NotYet { wait: SECOND });
    assert_eq!(at(&look, &found(&look), 30 * SECOND), Verdict::Ready);
}

#[test]
fn folder_is_quiet_by_what_was_measured_whatever_its_times_are() {
    for newest in [SystemTime::UNIX_EPOCH, noon(), noon() + 3600 * 24 * 365 * 100 * SECOND] {
        let look = Look { trace: Trace { newest, ..look("a").trace }, ..look("a") };
        assert_eq!(at(&look, &found(&look), SECOND / 2), Verdict::NotYet { wait: SECOND / 2 });
        assert_eq!(at(&look, &found(&look), SECOND), Verdict::Ready);
    }
}

fn signs(look: Look, unfinished: Option<&str>, said_complete: bool) -> Look {
    Look { signs: Signs { unfinished: unfinished.map(Into::into), said_complete }, ..look }
}

#[test]
fn folder_with_an_unfinished_file_is_arriving_unless_a_rename_said_that_it_is_complete() {
    let look = signs(look("a"), Some("a.zip.part"), false);
    let arriving = Verdict::Incomplete(Incomplete::Inside("a.zip.part".into()));
    assert!(matches!(at(&look, &found(&look), SECOND / 2), Verdict::NotYet { .. }));
    assert_eq!(at(&look, &found(&look), 3600 * SECOND), arriving);
    assert_eq!(at(&look, &moved(&look), Duration::ZERO), Verdict::Ready, "a delivered file");
    let past = moved(&empty("a"));
    assert_eq!(at(&look, &past, SECOND), arriving, "it was renamed while it was empty");
}

#[test]
fn folder_that_needs_a_file_to_be_ready_is_ready_once_it_has_it() {
    let mut source = source();
    source.ready_when = Some(Patterns::exact(vec!["Complete.txt".to_owned()]).unwrap());
    let rules = Rules::of(&source);
    let says = |look: &Look, past: &Past, quiet| judge(look, &Past { quiet, ..*past }, &rules);
    let awaits = Verdict::Incomplete(Incomplete::Awaits("Complete.txt".to_owned()));
    let without = look("a");
    assert_eq!(says(&without, &found(&without), 3600 * SECOND), awaits);
    assert_eq!(says(&without, &moved(&without), SECOND), awaits, "a rename is not its word");
    assert_eq!(says(&empty("a"), &found(&empty("a")), SECOND), awaits, "its ZIP may follow");
    let with = signs(look("a"), Some("b.part"), true);
    assert_eq!(says(&with, &found(&with), Duration::ZERO), Verdict::Ready);
    let growing = signs(unfinished("a"), None, true);
    assert_eq!(says(&growing, &found(&growing), SECOND), Verdict::NotYet { wait: 29 * SECOND });
    let bare = Look { kind: Kind::File, ..look("a") };
    assert_ne!(says(&bare, &found(&bare), SECOND), awaits, "a file holds none");
}

#[test]
fn zip_of_no_bytes_is_a_placeholder_for_ever() {
    let look = Look { zip: Zip::File { size: 0, end_record: false }, ..look("a") };
    let placeholder = Verdict::Incomplete(Incomplete::Placeholder);
    assert_eq!(at(&look, &found(&look), 3600 * SECOND), placeholder);
    assert_eq!(at(&look, &moved(&look), 3600 * SECOND), placeholder);
}

#[test]
fn folder_with_settle_zero_is_ready_at_the_first_look() {
    let rules = Rules { settle: Duration::ZERO, ..rules() };
    let look = look("a");
    assert_eq!(judge(&look, &found(&look), &rules), Verdict::Ready);
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
        ("lost+found", Verdict::Incomplete(Incomplete::Ignored)),
        ("THUMBS.DB", Verdict::Incomplete(Incomplete::Ignored)),
        (".longshore", Verdict::Incomplete(Incomplete::Hidden)),
        ("done", Verdict::Incomplete(Incomplete::Own)),
        ("a-downloading-2", Verdict::Ready),
        ("adownloading", Verdict::Ready),
        ("done.2", Verdict::Ready),
    ] {
        let look = look(name);
        assert_eq!(judge(&look, &moved(&look), &rules), verdict, "{name:?}");
    }
}

#[test]
fn bare_zip_is_a_package_only_where_it_is_accepted() {
    let look = Look { kind: Kind::File, ..look("a.zip") };
    let verdict = |rules: &Rules| judge(&look, &Past { quiet: SECOND, ..found(&look) }, rules);
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
        (access(Reach::MountPoint), "mount_point"),
        (empty("a"), "no_zip"),
        (Look { zip: Zip::Below { folder: "b".into() }, ..look("a") }, "packages_below"),
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
        let checks = checks(&look, &Past { quiet: SECOND, ..found(&look) }, Ok(SECOND), &rules());
        assert!(checks.iter().any(failed), "{code} passes every check");
    }
}

#[test]
fn checks_of_a_ready_folder_all_pass() {
    let look = look("a");
    let checks = checks(&look, &Past { quiet: SECOND, ..found(&look) }, Ok(SECOND), &rules());
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
fn look_sees_a_change_whose_time_is_not_the_newest() {
    let landing = TempLanding::new();
    let path = landing.copy_in("a").unwrap();
    let before = seen(&landing, "a");
    // The same folder as a server would show it after a write by a host whose clock is behind.
    let zip = fs::File::options().write(true).open(path.join("a.zip")).unwrap();
    zip.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    let after = seen(&landing, "a");
    assert_eq!(after.trace.bytes, before.trace.bytes);
    assert_ne!(after.trace.digest, before.trace.digest);
}

#[test]
fn look_finds_the_zip_among_more_files_than_are_looked_at() {
    let landing = TempLanding::new();
    let path = landing.copy_in("a").unwrap();
    for at in 0..10_500 {
        fs::write(path.join(format!("image-{at}")), "").unwrap();
    }
    fs::rename(path.join("a.zip"), path.join("x")).unwrap();
    fs::rename(path.join("x"), path.join("a.zip")).unwrap();
    let look = seen(&landing, "a");
    assert!(look.zip.is_whole(), "{:?}", look.zip);
    assert_eq!(look.trace.entries, 10_000);
}

#[test]
fn look_takes_a_zip_whose_name_has_the_same_letters_in_another_form() {
    let landing = TempLanding::new();
    let (composed, apart) = ("\u{e9}", "e\u{301}");
    for (folder, zip) in [(composed, apart), (apart, composed)] {
        fs::create_dir(landing.join(folder)).unwrap();
        fs::write(landing.join(format!("{folder}/{zip}.zip")), sample_zip()).unwrap();
        assert!(seen(&landing, folder).zip.is_whole(), "{folder:?}");
        fs::write(landing.join(format!("{folder}/{folder}.zip")), "its own").unwrap();
        assert!(!seen(&landing, folder).zip.is_whole(), "the exact name goes first");
    }
}

#[test]
fn look_reads_signs_of_the_sender_from_names_inside() {
    let landing = TempLanding::new();
    let mut source = landing.source();
    source.ready_when = Some(Patterns::exact(vec!["*.done".to_owned()]).unwrap());
    let path = landing.copy_in("a").unwrap();
    let signs = || {
        let open = Landing::open(&landing.path()).unwrap();
        open.look(OsStr::new("a"), &Rules::of(&source)).unwrap().signs
    };
    assert_eq!(signs(), Signs::default());
    fs::create_dir(path.join("deep")).unwrap();
    fs::write(path.join("deep/x.done"), "").unwrap();
    fs::write(path.join("deep/.x.zip.kT3x9Q"), "").unwrap();
    assert_eq!(signs(), Signs { unfinished: Some(".x.zip.kT3x9Q".into()), said_complete: false });
    fs::write(path.join("x.done"), "").unwrap();
    assert!(signs().said_complete);
}

#[test]
fn look_at_a_folder_of_packages_names_one_of_them() {
    let landing = TempLanding::new();
    fs::create_dir_all(landing.join("day/plate")).unwrap();
    fs::create_dir_all(landing.join("day/notes")).unwrap();
    assert_eq!(seen(&landing, "day").zip, Zip::Missing { other: None });
    fs::write(landing.join("day/plate/plate.zip"), sample_zip()).unwrap();
    assert_eq!(seen(&landing, "day").zip, Zip::Below { folder: "plate".into() });
    fs::write(landing.join("day/other.zip"), sample_zip()).unwrap();
    assert_eq!(seen(&landing, "day").zip, Zip::Missing { other: Some("other.zip".into()) });
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

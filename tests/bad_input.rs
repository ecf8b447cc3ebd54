//! Bad input of every kind: a clear error, nothing lost, and the daemon goes on with the rest.
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod common;

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use common::daemon::{Daemon, Ended, run_to_end};
use common::zips::{self, Entry, Files};
use common::{NOBODY, Node, Place, is_root, skip, tree};

/// Holds a start to its promise: the exit code, and one line that names all of `parts`.
fn assert_refused(ended: &Ended, code: i32, parts: &[&str]) {
    assert_eq!(ended.code, code, "{}", ended.err);
    let lines: Vec<_> = ended.err.lines().filter(|line| line.starts_with("longshore: ")).collect();
    let [line] = lines[..] else { panic!("one line should say it: {}", ended.err) };
    for part in parts {
        assert!(line.contains(part), "{part:?} is not in {line:?}");
    }
    assert_eq!(ended.out, "", "there is no data to print");
}

fn shm() -> Option<tempfile::TempDir> {
    let (here, there) = (fs::metadata(std::env::temp_dir()).ok()?, fs::metadata("/dev/shm").ok()?);
    if here.dev() == there.dev() {
        skip("/dev/shm is not another file system than the temporary folder");
        return None;
    }
    let made = tempfile::Builder::new().prefix("longshore-test-").tempdir_in("/dev/shm").ok();
    if made.is_none() {
        skip("/dev/shm is not writable");
    }
    made
}

// --- what cannot start ---------------------------------------------------------------------------

#[test]
fn landing_below_a_file_is_refused() {
    let place = Place::new();
    fs::write(place.path("file"), "").unwrap();
    let landing = place.path("file/landing");
    let mut run = place.longshore(&["run", "--once", "--archive", "mv_zip", "--landing"]);
    run.arg(&landing);
    assert_refused(&run_to_end(run), 78, &["landing", landing.to_str().unwrap()]);
}

#[test]
fn landing_that_is_a_file_is_refused() {
    let place = Place::new();
    fs::write(place.path("file"), "").unwrap();
    let run = place.longshore(&["run", "--once", "--archive", "mv_zip", "--landing", "file"]);
    assert_refused(&run_to_end(run), 78, &["landing", "file", "no folder"]);
}

#[test]
fn landing_that_no_file_system_can_hold_is_refused() {
    let place = Place::new();
    let run =
        place.longshore(&["run", "--once", "--archive", "mv_zip", "--landing", "/proc/landing"]);
    let ended = run_to_end(run);
    assert!([74, 77].contains(&ended.code), "{}: {}", ended.code, ended.err);
    assert_refused(&ended, ended.code, &["landing", "/proc/landing", "make it by hand"]);
}

#[test]
fn landing_that_may_not_be_made_is_refused() {
    let place = Place::new();
    let closed = place.path("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o555)).unwrap();
    let mut run = place.longshore(&["run", "--once", "--archive", "mv_zip", "--landing"]);
    run.arg(closed.join("landing"));
    let ended = run_to_end(place.unprivileged(run));
    assert_refused(&ended, 77, &["landing", "closed/landing", "write to the folder above"]);
}

#[test]
fn folders_that_may_not_be_written_to_are_refused() {
    for which in ["zip", "mv_zip", "quarantine"] {
        let place = Place::new();
        let run = place.unprivileged(place.run(&["--once"]));
        let folder = place.path(which);
        fs::create_dir_all(&folder).unwrap();
        if is_root() {
            chown(&folder, Some(0), Some(0)).unwrap();
        }
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o555)).unwrap();
        assert_refused(&run_to_end(run), 77, &[which, "write"]);
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

#[test]
fn folders_inside_one_another_are_refused_and_left_as_they_are() {
    let place = Place::new();
    place.deliver("plate", &zips::deflated(&zips::sample(1)));
    symlink(place.landing(), place.path("alias")).unwrap();
    let before = tree(place.top());
    for (landing, archive, part) in [
        ("zip", "zip", "a folder of its own"),
        ("zip", "alias", "a folder of its own"),
        ("zip", "zip/archive", "inside the landing"),
        ("zip", "alias/archive", "inside the landing"),
        ("mv_zip/in", "mv_zip", "inside the archive"),
        ("zip", "zip/.longshore/work/archive", "inside the work area"),
    ] {
        let run = place.longshore(&["run", "--once", "--landing", landing, "--archive", archive]);
        assert_refused(&run_to_end(run), 78, &[part]);
        assert_eq!(tree(place.top()), before, "{landing}, {archive}: something was made or moved");
    }
}

#[test]
fn work_area_on_another_file_system_is_refused() {
    let Some(elsewhere) = shm() else { return };
    let place = Place::new();
    place.deliver("plate", &zips::deflated(&zips::sample(1)));
    let work = elsewhere.path().join("work");
    let mut run = place.run(&["--once", "--work"]);
    run.arg(&work);
    assert_refused(&run_to_end(run), 78, &["work area", work.to_str().unwrap(), "--work"]);
    assert_eq!(place.landed_names(), ["plate"], "it is neither taken nor whole");
}

#[test]
fn folder_for_copies_that_others_can_write_to_is_refused() {
    let Some(elsewhere) = shm() else { return };
    let place = Place::new().with_archive(elsewhere.path().join("there"));
    place.deliver("plate", &zips::deflated(&zips::sample(1)));
    let staging = place.archive().join(".longshore");
    fs::create_dir_all(&staging).unwrap();
    fs::set_permissions(&staging, fs::Permissions::from_mode(0o777)).unwrap();
    let ended = run_to_end(place.run(&["--once"]));
    assert_refused(&ended, 77, &["archive", "there/.longshore", "0777", "chmod"]);
    assert_eq!(place.landed_names(), ["plate"]);
    fs::set_permissions(&staging, fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(run_to_end(place.run(&["--once"])).code, 0, "the advice does not help");
}

#[test]
fn work_area_that_others_can_write_to_is_refused() {
    let place = Place::new();
    let work = place.landing().join(".longshore/work");
    fs::create_dir_all(&work).unwrap();
    fs::set_permissions(&work, fs::Permissions::from_mode(0o777)).unwrap();
    let ended = run_to_end(place.run(&["--once"]));
    assert_refused(&ended, 77, &["work area", ".longshore/work", "0777", "chmod", "--work"]);
    fs::set_permissions(&work, fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(run_to_end(place.run(&["--once"])).code, 0, "the advice does not help");
}

#[test]
fn work_area_of_another_user_is_refused() {
    if !is_root() {
        return skip("only root can give a folder to another user");
    }
    let place = Place::new();
    let work = place.path("work");
    fs::create_dir(&work).unwrap();
    chown(&work, Some(NOBODY), Some(NOBODY)).unwrap();
    let ended = run_to_end(place.run(&["--once", "--work", "work"]));
    assert_refused(&ended, 77, &["work area", "belongs to uid 65534", "chown"]);
}

#[test]
fn work_area_of_another_version_is_refused_and_left_as_it_is() {
    let place = Place::new();
    assert_eq!(run_to_end(place.run(&["--once"])).code, 0);
    let format = place.landing().join(".longshore/work/FORMAT");
    assert_eq!(fs::read_to_string(&format).unwrap().trim(), "1");
    fs::write(&format, "99\n").unwrap();
    assert_refused(&run_to_end(place.run(&["--once"])), 78, &["FORMAT", "99", "--work"]);
    assert_eq!(fs::read_to_string(&format).unwrap(), "99\n");
}

#[test]
fn second_daemon_on_a_landing_is_refused_with_the_pid_of_the_first() {
    let place = Place::new();
    let mut first = Daemon::start(place.run(&[]));
    let pid = format!("process {} ", first.pid());
    let other = place.path("other-work");
    for options in [vec![], vec!["--work", other.to_str().unwrap()]] {
        let ended = run_to_end(place.run(&options));
        assert_refused(&ended, 75, &["landing", "zip", &pid, "stop that one first"]);
    }
    place.deliver("plate", &zips::deflated(&zips::sample(1)));
    place.wait_archived(&mut first, "plate");
    assert_eq!(first.terminate(), 0);
    assert_eq!(run_to_end(place.run(&["--once"])).code, 0, "the lock outlived its holder");
}

#[test]
fn second_daemon_on_a_work_area_is_refused() {
    let place = Place::new();
    let work = place.path("shared-work");
    let first = Daemon::start(place.run(&["--work", work.to_str().unwrap()]));
    let mut run = place.longshore(&["run", "--landing", "other", "--archive", "other-archive"]);
    run.arg("--work").arg(&work);
    let pid = format!("process {} ", first.pid());
    assert_refused(&run_to_end(run), 75, &["work area", "shared-work", &pid]);
}

#[test]
fn lock_of_a_killed_daemon_is_free_at_once() {
    let place = Place::new();
    let mut first = Daemon::start(place.run(&[]));
    first.kill();
    assert_eq!(run_to_end(place.run(&["--once"])).code, 0);
}

// --- what cannot be taken, and stays -------------------------------------------------------------

/// Puts something beside a good package, and holds the daemon to: the one is reported with `code`
/// and `parts`, and stays as it is; the other is archived; `--once` says that it left one.
fn assert_stays(name: &str, code: &str, parts: &[&str], put: impl Fn(&Place, &Path)) {
    let place = Place::new();
    let odd = place.landing().join(name);
    put(&place, &odd);
    let before = tree(&place.landing());
    let mut daemon = Daemon::start(place.run(&["--settle", "0s"]));
    let line = daemon.wait_line("not taken");
    for part in parts.iter().chain([&name, &code]) {
        assert!(line.contains(part), "{part:?} is not in {line:?}");
    }
    place.deliver("good", &zips::deflated(&zips::sample(1)));
    place.wait_archived(&mut daemon, "good");
    assert_eq!(daemon.terminate(), 0);
    let mut after = tree(&place.landing());
    after.retain(|path, _| !path.starts_with(".longshore"));
    assert_eq!(after, before, "it was to be left alone");
    assert_eq!((place.archived_names(), place.quarantined_names()), (vec!["good".into()], vec![]));

    let ended = run_to_end(place.run(&["--once", "--settle", "0s"]));
    assert_eq!(ended.code, 1, "it is no success: {}", ended.err);
    assert!(ended.err.contains("1 left in the landing"), "{}", ended.err);
}

fn folder_with_zip(folder: &Path, name: &str) {
    fs::create_dir(folder).unwrap();
    fs::write(folder.join(format!("{name}.zip")), zips::deflated(&zips::sample(2))).unwrap();
}

fn fifo(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o644), 0).unwrap();
}

#[test]
fn file_where_a_folder_is_expected_stays() {
    assert_stays("stray", "not_a_folder", &["move it away"], |_, path| {
        fs::write(path, "text").unwrap();
    });
}

#[test]
fn bare_zip_where_folders_are_expected_stays_with_the_advice_to_accept_it() {
    assert_stays("bare.zip", "not_a_folder", &["accept"], |_, path| {
        fs::write(path, zips::deflated(&zips::sample(1))).unwrap();
    });
}

#[test]
fn symlink_as_package_stays_and_is_never_followed() {
    assert_stays("link", "symlink", &["deliver the folder itself"], |place, path| {
        folder_with_zip(&place.path("elsewhere"), "link");
        symlink(place.path("elsewhere"), path).unwrap();
    });
}

#[test]
fn symlink_as_zip_stays() {
    assert_stays("plate", "zip_not_a_file", &["symbolic link"], |place, path| {
        fs::write(place.path("real.zip"), zips::deflated(&zips::sample(1))).unwrap();
        fs::create_dir(path).unwrap();
        symlink(place.path("real.zip"), path.join("plate.zip")).unwrap();
    });
}

#[test]
fn fifo_as_zip_stays_and_blocks_nobody() {
    assert_stays("plate", "zip_not_a_file", &["no regular file"], |_, path| {
        fs::create_dir(path).unwrap();
        fifo(&path.join("plate.zip"));
    });
}

#[test]
fn folder_as_zip_stays() {
    assert_stays("plate", "zip_not_a_file", &["a folder"], |_, path| {
        fs::create_dir_all(path.join("plate.zip")).unwrap();
    });
}

#[test]
fn fifo_as_package_stays() {
    assert_stays("pipe", "special_file", &["FIFO"], |_, path| fifo(path));
}

#[test]
fn folder_without_a_zip_stays() {
    assert_stays("plate", "no_zip", &["NAME.zip"], |_, path| {
        fs::create_dir(path).unwrap();
        fs::write(path.join("notes.txt"), "no ZIP here").unwrap();
    });
}

#[test]
fn zip_named_otherwise_stays() {
    assert_stays("plate", "zip_named_otherwise", &["other.zip", "rename"], |_, path| {
        folder_with_zip(path, "other");
    });
}

#[test]
fn name_with_a_control_character_stays() {
    assert_stays("a\\nb", "bad_name", &["control character", "rename"], |place, _| {
        folder_with_zip(&place.landing().join("a\nb"), "a\nb");
    });
}

#[test]
fn name_too_long_for_its_zip_stays() {
    let name = "n".repeat(252);
    assert_stays(&name, "bad_name", &["251 bytes", "rename"], |_, path| {
        fs::create_dir(path).unwrap();
        fs::write(path.join("data.zip"), zips::deflated(&zips::sample(2))).unwrap();
    });
}

#[test]
fn name_that_is_not_utf8_stays() {
    let name = std::ffi::OsStr::from_bytes(b"plate-\xff\xfe");
    assert_stays("plate-", "bad_name", &["not UTF-8", "rename"], |place, _| {
        let folder = place.landing().join(name);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("data.zip"), zips::deflated(&zips::sample(2))).unwrap();
    });
}

/// As [`assert_stays`], for a daemon without rights: the line, and that the package is untouched.
fn assert_stays_for_nobody(code: &str, parts: &[&str], put: impl Fn(&Place, &Path)) {
    let place = Place::new();
    let command = place.unprivileged(place.run(&["--settle", "0s"]));
    let odd = place.landing().join("plate");
    put(&place, &odd);
    let mut daemon = Daemon::start(command);
    let line = daemon.wait_line("plate");
    for part in parts.iter().chain([&code]) {
        assert!(line.contains(part), "{part:?} is not in {line:?}");
    }
    let staged = place.stage("good", &zips::deflated(&zips::sample(1)));
    place.give(&staged);
    fs::rename(staged, place.landing().join("good")).unwrap();
    place.wait_archived(&mut daemon, "good");
    assert_eq!(daemon.terminate(), 0);
    assert!(odd.exists(), "it is gone");
    assert_eq!((place.archived_names(), place.quarantined_names()), (vec!["good".into()], vec![]));
    // So that the temporary folder can be removed.
    fs::set_permissions(odd, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn unreadable_folder_stays() {
    assert_stays_for_nobody("unreadable", &["r-x"], |place, path| {
        folder_with_zip(path, "plate");
        place.give(path);
        fs::set_permissions(path, fs::Permissions::from_mode(0o000)).unwrap();
    });
}

#[test]
fn zip_of_mode_000_stays() {
    assert_stays_for_nobody("zip_unreadable", &["read permission"], |place, path| {
        folder_with_zip(path, "plate");
        place.give(path);
        fs::set_permissions(path.join("plate.zip"), fs::Permissions::from_mode(0o000)).unwrap();
    });
}

#[test]
fn folder_without_write_permission_stays() {
    assert_stays_for_nobody(
        "unwritable",
        &["write permission on the folder itself"],
        |place, path| {
            folder_with_zip(path, "plate");
            place.give(path);
            fs::set_permissions(path, fs::Permissions::from_mode(0o555)).unwrap();
        },
    );
}

#[test]
fn senders_folder_of_mode_755_under_another_user_stays() {
    if !is_root() {
        return skip("only root can deliver as another user");
    }
    assert_stays_for_nobody("unwritable", &["write permission on the folder itself"], |_, path| {
        folder_with_zip(path, "plate");
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    });
}

#[test]
fn senders_folder_that_is_given_to_the_daemon_later_is_taken_then() {
    if !is_root() {
        return skip("only root can deliver as another user");
    }
    let place = Place::new();
    let config = place.config("settle = '0s'\nrescan = '200ms'\n");
    let command = place.unprivileged(place.run_with(&config, &[]));
    let folder = place.landing().join("plate");
    folder_with_zip(&folder, "plate");
    let mut daemon = Daemon::start(command);
    daemon.wait_line("unwritable");
    place.give(&folder);
    place.wait_archived(&mut daemon, "plate");
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn package_of_another_user_in_a_sticky_landing_stays() {
    if !is_root() {
        return skip("only root can deliver as another user");
    }
    assert_stays_for_nobody("sticky_landing", &["chmod -t"], |place, path| {
        chown(place.landing(), Some(0), Some(0)).unwrap();
        // Others can write to such a landing, so that the work area is beside it. The folder has to be
        // there: only root could make it.
        let own = place.path(".longshore-zip");
        fs::create_dir(&own).unwrap();
        place.give(&own);
        fs::set_permissions(place.landing(), fs::Permissions::from_mode(0o1777)).unwrap();
        folder_with_zip(path, "plate");
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    });
}

#[test]
fn packages_that_vanish_again_are_either_taken_or_not_and_the_daemon_goes_on() {
    let place = Place::new();
    let mut daemon = Daemon::start(place.run(&["--workers", "2"]));
    let zip = zips::deflated(&zips::sample(1));
    let away = place.path("away");
    fs::create_dir(&away).unwrap();
    let mut withdrawn = 0;
    for n in 0..300 {
        let name = format!("plate-{n:03}");
        place.deliver(&name, &zip);
        // Sometimes before it was noticed, sometimes between offer and claim, sometimes too late.
        if n % 7 == 0 {
            std::thread::yield_now();
        }
        withdrawn += usize::from(fs::rename(place.landing().join(&name), away.join(&name)).is_ok());
    }
    daemon.wait_until("the rest are archived", || place.archived_names().len() + withdrawn == 300);
    println!("{withdrawn} of 300 were withdrawn in time");
    place.deliver("last", &zip);
    place.wait_archived(&mut daemon, "last");
    assert_eq!(daemon.terminate(), 0);
    assert_eq!((place.landed_names(), place.jobs().len()), (vec![], 0));
    assert_eq!(place.quarantined_names(), [""; 0]);
    for folder in [away, place.archive()] {
        for name in common::names(&folder) {
            let found = fs::read(folder.join(&name).join(format!("{name}.zip"))).unwrap();
            assert_eq!(found, zip, "{name} was delivered whole");
        }
    }
}

// --- what is taken, and goes to quarantine -------------------------------------------------------

#[test]
fn odd_originals_send_the_package_to_quarantine_whole() {
    let device = |path: &Path| {
        // 1:3, as /dev/null.
        let made = mknodat(CWD, path, FileType::CharacterDevice, Mode::from_raw_mode(0o644), 0x103);
        if made.is_err() {
            skip("no device can be made here");
            fifo(path);
        }
    };
    let link = |path: &Path| symlink("/etc/passwd", path).unwrap();
    let socket = |path: &Path| drop(UnixListener::bind(path).unwrap());
    let deep = |path: &Path| {
        fs::create_dir(path).unwrap();
        fifo(&path.join("pipe"));
    };
    type Put<'a> = &'a dyn Fn(&Path);
    let kinds: [(&str, Put<'_>); 5] = [
        ("fifo", &fifo),
        ("device", &device),
        ("link", &link),
        ("socket", &socket),
        ("deep", &deep),
    ];
    let place = Place::new();
    for (name, put) in kinds {
        let staged = place.stage(name, &zips::deflated(&zips::sample(1)));
        put(&staged.join("odd"));
        fs::write(staged.join("notes.txt"), "beside it").unwrap();
        fs::rename(staged, place.landing().join(name)).unwrap();
    }
    let expected = place.deliver_files("good", &zips::sample(4));
    let delivered: Vec<_> = kinds.map(|(name, _)| tree(&place.landing().join(name))).into();
    let ended = run_to_end(place.run(&["--once", "--settle", "0s"]));
    assert_eq!(ended.code, 1, "{}", ended.err);
    assert_eq!(place.archived_names(), ["good"]);
    assert_eq!(tree(&place.archive().join("good")), expected);
    for ((name, _), before) in kinds.iter().zip(delivered) {
        let (folder, reason) = place.quarantined(name);
        assert_eq!(reason["code"], "odd_original", "{name}");
        assert!(reason["message"].as_str().unwrap().contains("odd"), "{name}: {reason}");
        assert_eq!(tree(&folder.join("delivered")), before, "{name} is not whole");
    }
}

/// Every way in which a ZIP can be wrong, with the code that says so.
fn wrong_zips() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let fine = || Entry::file("fine.txt", b"some text\n");
    let named = |name: &str| zips::raw(&[fine(), Entry::file(name, b"x")]);
    let changed = |change: fn(&mut Entry)| {
        zips::raw(&[fine(), Entry::file("b.txt", b"more text").with(change)])
    };
    let sound = zips::deflated(&zips::sample(3));
    let flipped = {
        let mut zip = zips::raw(&[Entry::deflated("noise.bin", &zips::noise(9000))]);
        zip[3000] ^= 0x10;
        zip
    };
    let bomb = Entry::deflated("zeros.bin", &vec![0; 80 << 20]);
    vec![
        ("parent", named("../escaped.txt"), "entry_escapes"),
        ("deep-parent", named("a/b/../../../escaped.txt"), "entry_escapes"),
        ("absolute", named("/escaped.txt"), "entry_escapes"),
        ("drive", named("C:/escaped.txt"), "entry_escapes"),
        ("backslash", named("..\\escaped.txt"), "entry_escapes"),
        ("control", named("a\x01b.txt"), "bad_name"),
        ("nul", named("a.txt\0.exe"), "bad_name"),
        ("no-name", named(""), "bad_name"),
        ("long-name", named(&"x".repeat(256)), "name_too_long"),
        ("deep", named(&format!("{}x", "d/".repeat(100))), "too_deep"),
        ("symlink", changed(|entry| entry.mode = 0o120_777), "symlink"),
        ("device-entry", changed(|entry| entry.mode = 0o020_644), "special_file"),
        ("twice", zips::raw(&[fine(), fine()]), "duplicate_entry"),
        (
            "file-and-folder",
            zips::raw(&[Entry::file("a", b"x"), Entry::file("a/b", b"y")]),
            "file_against_folder",
        ),
        ("crc", changed(|entry| entry.crc ^= 1), "crc_mismatch"),
        (
            "flipped",
            flipped,
            "crc_mismatch|corrupt_data|data_too_short|data_too_long|data_after_end",
        ),
        ("size-up", changed(|entry| entry.size += 1), "data_too_short|malformed"),
        ("size-down", changed(|entry| entry.size -= 1), "data_too_long|malformed|data_after_end"),
        (
            "inflates-to-more",
            zips::raw(&[Entry::deflated("b", &[7; 5000]).with(|entry| entry.size = 100)]),
            "data_too_long",
        ),
        (
            "inflates-to-less",
            zips::raw(&[Entry::deflated("b", &[7; 5000]).with(|entry| entry.size = 6000)]),
            "data_too_short",
        ),
        ("method", changed(|entry| entry.method = 99), "unsupported|encrypted"),
        ("encrypted", changed(|entry| entry.flags |= 1), "encrypted|malformed"),
        ("truncated", sound[..sound.len() * 2 / 3].to_vec(), "no_end_record"),
        ("no-head", sound[100..].to_vec(), "malformed|end_record_mismatch|prefix_data|overlap|gap"),
        ("tail", [&sound[..], b"and more"].concat(), "trailing_data"),
        ("text", b"this is no ZIP\n".repeat(100), "no_end_record"),
        ("bomb", zips::raw(&[bomb]), "ratio_too_high"),
        ("over-itself", named("over-itself.zip"), "entry_over_original"),
        ("over-itself-folder", named("over-itself-folder.zip/a"), "entry_over_original"),
    ]
}

#[test]
fn wrong_zips_are_quarantined_whole_each_with_its_code_and_nothing_gets_out() {
    let place = Place::new();
    fs::create_dir(place.path("beside")).unwrap();
    let wrong = wrong_zips();
    for (name, zip, _) in &wrong {
        place.deliver(name, zip);
    }
    let expected = place.deliver_files("good", &zips::sample(4));
    fs::remove_dir_all(place.path(".stage")).unwrap();
    let outside = |place: &Place| {
        let mut all = tree(place.top());
        let own = ["zip", "mv_zip", "quarantine", "longshore.toml"];
        all.retain(|path, _| !own.iter().any(|own| path.starts_with(own)));
        (
            all,
            Path::new("/escaped.txt").exists(),
            place.top().parent().unwrap().join("escaped.txt").exists(),
        )
    };
    let before = outside(&place);
    let config = place.config("settle = '0s'\nbroken_after = '0s'\n");
    let ended = run_to_end(place.run_with(&config, &["--once"]));
    assert_eq!(ended.code, 1, "{}", ended.err);
    assert_eq!(outside(&place), before, "something got out");
    assert_eq!(place.archived_names(), ["good"], "{}", ended.out);
    assert_eq!(tree(&place.archive().join("good")), expected);
    assert_eq!((place.landed_names(), place.jobs()), (vec![], Vec::<PathBuf>::new()));

    let mut surprises = Vec::new();
    for (name, zip, codes) in &wrong {
        let (folder, reason) = place.quarantined(name);
        let code = reason["code"].as_str().unwrap();
        if !codes.split('|').any(|wanted| wanted == code) {
            surprises.push(format!("{name}: {code}, not {codes}: {}", reason["message"]));
        }
        let delivered = tree(&folder.join("delivered"));
        let wanted = [(PathBuf::from(format!("{name}.zip")), Node::File(zip.clone()))];
        assert_eq!(delivered, wanted.into(), "{name} is not whole");
        let all: Vec<_> = common::names(&folder);
        assert_eq!(all, ["delivered", "reason.json"], "{name}: half-unpacked files are no use");
        assert_eq!(reason["v"], 1, "{name}");
        assert_eq!(reason["source"], "default", "{name}");
        assert!(!reason["message"].as_str().unwrap().is_empty(), "{name}");
        let line = format!("({code})");
        let said =
            ended.out.lines().any(|l| l.contains(&format!(" {name} -> ")) && l.ends_with(&line));
        assert!(said, "{name}: no line says {code}: {}", ended.out);
    }
    assert_eq!(surprises, [""; 0]);
}

#[test]
fn limits_of_the_config_are_kept() {
    let files: Files = (0..20).map(|n| (format!("{n}.txt"), vec![b'x'; 1000])).collect();
    let zip = zips::deflated(&files);
    for (limit, code) in [
        ("entries = 19", "too_many_entries"),
        ("total = '19KB'", "total_too_large"),
        ("entry = '999B'", "entry_too_large"),
    ] {
        let place = Place::new();
        place.deliver("plate", &zip);
        let config = place.config(&format!("settle = '0s'\nlimits = {{ {limit} }}\n"));
        let ended = run_to_end(place.run_with(&config, &["--once"]));
        assert_eq!(ended.code, 1, "{limit}: {}", ended.err);
        assert_eq!(place.quarantined("plate").1["code"], code, "{limit}");
    }
}

#[test]
fn name_that_is_longshores_own_is_a_name_like_any_other() {
    let place = Place::new();
    let names =
        ["out", "reason.json", "JOB.1.0", "delivered", "unpacked", "FORMAT", "default", "a.2"];
    let expected: Vec<_> = names
        .iter()
        .enumerate()
        .map(|(n, name)| place.deliver_files(name, &zips::sample(n)))
        .collect();
    // Of a broken one all those folders are made, too.
    let broken = zips::raw(&[Entry::file("a", b"x").with(|entry| entry.crc ^= 1)]);
    place.deliver("unpacked.json", &broken);
    let ended = run_to_end(place.run(&["--once", "--settle", "0s"]));
    assert_eq!(ended.code, 1, "{}", ended.err);
    for (name, expected) in names.iter().zip(expected) {
        assert_eq!(tree(&place.archive().join(name)), expected, "{name}");
    }
    assert_eq!(place.quarantined("unpacked.json").1["code"], "crc_mismatch");
}

// --- what is waited for --------------------------------------------------------------------------

/// A daemon on a file system of its own, mounted with `options`, where `fill` has taken the room before
/// the start (`$1` is the disk). None where nothing can be mounted here. The path is where to see the disk.
fn daemon_on_a_small_disk(place: &Place, options: &str, fill: &str) -> Option<(Daemon, PathBuf)> {
    if !is_root() {
        skip("only root can mount a small file system");
        return None;
    }
    let disk = place.path("disk");
    fs::create_dir(&disk).unwrap();
    // A mount of its own that goes with the daemon: nobody else sees it.
    let script = format!(
        r#"
mount -t tmpfs -o {options} longshore-test "$1" || {{ echo no mount >&2; exit 99; }}
mkdir "$1/zip" "$1/mv_zip" && {fill} || exit 98
shift
exec "$@"
"#
    );
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", &script, "sh"]).arg(&disk).arg(env!("CARGO_BIN_EXE_longshore"));
    command.args(["run", "--workers", "2"]);
    command.arg("--landing").arg(disk.join("zip")).arg("--archive").arg(disk.join("mv_zip"));
    let mut daemon = Daemon::spawn(command);
    let mut started = false;
    // It ends with 99 where nothing can be mounted.
    while daemon.is_alive() && !started {
        daemon.run_for(Duration::from_millis(10));
        started = daemon.log().contains("watching");
    }
    if !started {
        skip(&format!("no private mount: {}", daemon.log()));
        return None;
    }
    // Only by way of the daemon its mount is to be seen.
    let inside = PathBuf::from(format!("/proc/{}/root", daemon.pid()));
    Some((daemon, inside.join(disk.strip_prefix("/").unwrap())))
}

/// Delivers `zip` as `name` to the daemon of [`daemon_on_a_small_disk`].
fn deliver_inside(disk: &Path, name: &str, zip: &[u8]) {
    let arriving = disk.join("zip").join(format!("{name}-downloading"));
    fs::create_dir(&arriving).unwrap();
    fs::write(arriving.join(format!("{name}.zip")), zip).unwrap();
    fs::rename(arriving, disk.join("zip").join(name)).unwrap();
}

#[test]
fn archive_that_is_full_is_waited_for_and_the_job_goes_on_by_itself() {
    let place = Place::new();
    let fill = r#"head -c 128m /dev/zero > "$1/ballast""#;
    let Some((mut daemon, disk)) = daemon_on_a_small_disk(&place, "size=192m", fill) else {
        return;
    };
    let files = Files::from([("data.bin".to_owned(), vec![7; 8 << 20])]);
    let zip = zips::raw(&[Entry::deflated("data.bin", &files["data.bin"])]);
    for name in ["one", "two"] {
        deliver_inside(&disk, name, &zip);
    }
    let line = daemon.wait_line("waiting");
    assert!(line.contains("no_space") && line.contains("make room"), "{line}");
    assert_eq!(common::names(&disk.join("mv_zip")), [""; 0]);
    // It asks every five seconds, and says nothing more.
    daemon.run_for(Duration::from_secs(6));
    assert_eq!(
        daemon.log().matches("waiting").count(),
        1,
        "one loud line is enough: {}",
        daemon.log()
    );
    fs::remove_file(disk.join("ballast")).unwrap();
    for name in ["one", "two"] {
        let path = disk.join("mv_zip").join(name);
        daemon.wait_until("it goes on by itself", || path.join("data.bin").exists());
        assert_eq!(tree(&path), common::archived(name, &files, zip.clone()));
    }
    assert_eq!(common::names(&disk.join("quarantine")), [""; 0], "no space is no package's fault");
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn archive_without_inodes_is_waited_for_and_the_job_goes_on_by_itself() {
    let place = Place::new();
    let fill = r#"mkdir "$1/ballast" && (cd "$1/ballast" && seq 600 | xargs touch)"#;
    let options = "size=256m,nr_inodes=1000";
    let Some((mut daemon, disk)) = daemon_on_a_small_disk(&place, options, fill) else {
        return;
    };
    let files: Files = (0..400).map(|n| (format!("d/{n}"), b"small".to_vec())).collect();
    let zip = zips::deflated(&files);
    deliver_inside(&disk, "plate", &zip);
    let line = daemon.wait_line("waiting");
    assert!(line.contains("no_space") && line.contains("401 inodes"), "{line}");
    assert_eq!(common::names(&disk.join("mv_zip")), [""; 0]);
    fs::remove_dir_all(disk.join("ballast")).unwrap();
    let path = disk.join("mv_zip/plate");
    daemon.wait_until("it goes on by itself", || path.join("plate.zip").exists());
    assert_eq!(tree(&path), common::archived("plate", &files, zip));
    assert_eq!(common::names(&disk.join("quarantine")), [""; 0], "no space is no package's fault");
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn archive_that_goes_away_is_waited_for_and_nothing_is_lost() {
    let place = Place::new();
    let mut daemon = Daemon::start(place.run(&[]));
    place.deliver_files("first", &zips::sample(1));
    place.wait_archived(&mut daemon, "first");
    fs::rename(place.archive(), place.path("unmounted")).unwrap();
    let expected = place.deliver_files("second", &zips::sample(2));
    let line = daemon.wait_line("waiting");
    assert!(line.contains("mv_zip"), "{line}");
    fs::rename(place.path("unmounted"), place.archive()).unwrap();
    place.wait_archived(&mut daemon, "second");
    assert_eq!(tree(&place.archive().join("second")), expected);
    assert_eq!(daemon.terminate(), 0);
    assert_eq!(place.quarantined_names(), [""; 0]);
}

#[test]
fn helpers_of_this_file_clean_up_after_themselves() {
    let place = Place::new();
    let top = place.top().to_owned();
    let daemon = Daemon::start(place.run(&[]));
    let pid = daemon.pid();
    drop(daemon);
    drop(place);
    assert!(!Path::new(&format!("/proc/{pid}")).exists() && !top.exists());
}

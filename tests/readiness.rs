//! When a folder is taken and when it stays, by what it is called, what it holds and where it lies; and what
//! the log and `explain` say of the ones that stay.
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod common;

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use common::daemon::{Daemon, Ended, Stream, run_to_end};
use common::mounts::Mount;
use common::{Node, Place, archived, has, skip, tree, zips};

/// A ZIP and what is in it.
fn zip() -> (zips::Files, Vec<u8>) {
    let files = zips::sample(1);
    let zip = zips::deflated(&files);
    (files, zip)
}

/// Makes a folder in place, with these files.
fn fill(place: &Place, name: &str, files: &[(&str, &[u8])]) -> PathBuf {
    let folder = place.landing().join(name);
    fs::create_dir(&folder).unwrap();
    for (file, bytes) in files {
        fs::write(folder.join(file), bytes).unwrap();
    }
    folder
}

fn explain(place: &Place, name: &str) -> Ended {
    let config = place.path("longshore.toml");
    let mut command = place.longshore(&["explain", name, "--config"]);
    command.arg(config);
    run_to_end(command)
}

/// Lines of the log that have `part` in them.
fn count(daemon: &mut Daemon, part: &str) -> usize {
    daemon.said(Stream::Err).lines().filter(|line| line.contains(part)).count()
}

#[test]
fn names_that_systems_leave_are_no_reason_to_say_anything_and_can_be_named() {
    let place = Place::new();
    let (_, zip) = zip();
    for folder in ["lost+found", "@eaDir", "#recycle", ".Trash-1000", "System Volume Information"] {
        fs::create_dir(place.landing().join(folder)).unwrap();
    }
    for file in ["Thumbs.db", "desktop.ini", "plate.zip:Zone.Identifier"] {
        fs::write(place.landing().join(file), "").unwrap();
    }
    place.deliver("plate", &zip);
    let ended = run_to_end(place.run(&["--once"]));
    assert_eq!(ended.code, 0, "{}{}", ended.out, ended.err);
    assert!(!ended.err.contains("not taken"), "{}", ended.err);
    assert_eq!(place.archived_names(), ["plate"]);

    fs::write(place.landing().join("status.log"), "").unwrap();
    assert_eq!(run_to_end(place.run(&["--once"])).code, 1, "a file of another name is reported");
    let config = place.config("ignore = ['*.LOG', '@*', '#*', 'lost+found', '[TSd]*', '*:*']\n");
    let ended = run_to_end(place.run_with(&config, &["--once"]));
    assert_eq!(ended.code, 0, "{}{}", ended.out, ended.err);
    let said = explain(&place, "status.log");
    assert_eq!(said.code, 1);
    assert!(said.out.contains("the name is one of `ignore`"), "{}", said.out);
}

#[test]
fn folder_with_a_file_that_is_being_sent_stays_until_that_has_its_name() {
    let place = Place::new();
    let (files, zip) = zip();
    let mut daemon = Daemon::start(place.run_with(&place.config("settle = '100ms'\n"), &[]));
    let names = ["two.dat.filepart", ".two.dat.kT3x9Q", "two.dat.crdownload"];
    for (at, part) in names.into_iter().enumerate() {
        let name = format!("plate-{at}");
        let own = format!("{name}.zip");
        let folder = fill(&place, &name, &[(&own, &zip), (part, b"tw")]);
        daemon.run_for(Duration::from_millis(700));
        assert!(folder.exists(), "taken with {part}: {}", daemon.log());
        let said = explain(&place, &name);
        assert_eq!(said.code, 1, "{}", said.out);
        assert!(said.out.contains(part) && said.out.contains("incomplete_inside"), "{}", said.out);
        fs::write(folder.join(part), b"two").unwrap();
        fs::rename(folder.join(part), folder.join("two.dat")).unwrap();
        place.wait_archived(&mut daemon, &name);
        let mut expected = archived(&name, &files, zip.clone());
        expected.insert("two.dat".into(), Node::File(b"two".to_vec()));
        assert_eq!(tree(&place.archive().join(&name)), expected);
    }
    // Renamed into place: its sender has said that it is complete, and delivers such a file.
    let staged = place.stage("renamed", &zip);
    fs::write(staged.join("data.part"), "data").unwrap();
    fs::rename(staged, place.landing().join("renamed")).unwrap();
    place.wait_archived(&mut daemon, "renamed");
    assert!(place.archive().join("renamed/data.part").exists());
    assert_eq!(daemon.terminate(), 0);
    assert_eq!(count(&mut daemon, "not taken"), 0);
    // One that stays is still arriving: nothing is wrong with it, and --once does not wait for it.
    fill(&place, "left", &[("left.zip", &zip), ("left.part", b"")]);
    let ended = run_to_end(place.run_with(&place.config("settle = '100ms'\n"), &["--once"]));
    assert_eq!((ended.code, place.landed_names()), (0, vec!["left".to_owned()]), "{}", ended.err);
}

#[test]
fn folder_is_taken_with_the_file_that_its_sender_says_complete_with_and_not_before() {
    let place = Place::new();
    let (files, zip) = zip();
    let config = place.config("settle = '100ms'\nready_when = 'CopyComplete.txt'\n");
    let mut daemon = Daemon::start(place.run_with(&config, &[]));
    let folder = fill(&place, "plate", &[("plate.zip", &zip)]);
    place.deliver("renamed", &zip);
    daemon.run_for(Duration::from_millis(700));
    assert_eq!(place.landed_names(), ["plate", "renamed"], "{}", daemon.log());
    let said = explain(&place, "plate");
    assert_eq!(said.code, 1);
    assert!(said.out.contains("CopyComplete.txt") && said.out.contains("ready_when"));
    for name in ["plate", "renamed"] {
        fs::write(place.landing().join(name).join("CopyComplete.txt"), "").unwrap();
        place.wait_archived(&mut daemon, name);
        let mut expected = archived(name, &files, zip.clone());
        expected.insert("CopyComplete.txt".into(), Node::File(Vec::new()));
        assert_eq!(tree(&place.archive().join(name)), expected);
    }
    assert!(!folder.exists());
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn folder_that_has_its_file_is_taken_without_settling() {
    let place = Place::new();
    let (_, zip) = zip();
    let config = place.config("settle = '1h'\nready_when = '*.done'\nrescan = '200ms'\n");
    let mut daemon = Daemon::start(place.run_with(&config, &[]));
    let staged = place.stage("plate", &zip);
    fs::write(staged.join("plate.done"), "").unwrap();
    let folder = place.landing().join("plate");
    fs::create_dir(&folder).unwrap();
    for file in ["plate.zip", "plate.done"] {
        fs::copy(staged.join(file), folder.join(file)).unwrap();
    }
    place.wait_archived(&mut daemon, "plate");
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn zip_of_no_bytes_stays_is_reported_as_stale_and_is_taken_when_it_is_written() {
    let place = Place::new();
    let (files, zip) = zip();
    let more = "settle = '50ms'\nbroken_after = '100ms'\nstale_after = '600ms'\nrescan = '200ms'\n";
    let mut daemon = Daemon::start(place.run_with(&place.config(more), &[]));
    let folder = fill(&place, "plate", &[("plate.zip", b"")]);
    let staged = place.stage("renamed", b"");
    fs::rename(staged, place.landing().join("renamed")).unwrap();
    for _ in ["plate", "renamed"] {
        let line = daemon.wait_line("not taken");
        assert!(line.contains("stale"), "{line}");
    }
    assert!(folder.exists());
    let said = explain(&place, "plate");
    assert!(said.code == 1 && said.out.contains("a placeholder"), "{}", said.out);
    for name in ["plate", "renamed"] {
        fs::write(place.landing().join(format!("{name}/{name}.zip")), &zip).unwrap();
        place.wait_archived(&mut daemon, name);
        assert_eq!(tree(&place.archive().join(name)), archived(name, &files, zip.clone()));
    }
    assert_eq!(daemon.terminate(), 0);
    assert_eq!(place.quarantined_names(), [""; 0]);
    assert_eq!(count(&mut daemon, "not taken"), 2, "each once");
}

#[test]
fn zip_whose_name_is_written_in_another_unicode_form_is_archived_under_the_folders_name() {
    let place = Place::new();
    let (files, zip) = zip();
    let mut daemon = Daemon::start(place.run_with(&place.config("settle = '100ms'\n"), &[]));
    let (composed, apart) = ("caf\u{e9}", "e\u{301}te\u{301}");
    for (folder, zip_name) in [(composed, "cafe\u{301}.zip"), (apart, "\u{e9}t\u{e9}.zip")] {
        let staged = place.stage("x", &zip);
        fs::rename(staged.join("x.zip"), staged.join(zip_name)).unwrap();
        fs::write(staged.join("beside"), "b").unwrap();
        fs::rename(staged, place.landing().join(folder)).unwrap();
        place.wait_archived(&mut daemon, folder);
        let mut expected = archived(folder, &files, zip.clone());
        expected.insert("beside".into(), Node::File(b"b".to_vec()));
        assert_eq!(tree(&place.archive().join(folder)), expected);
    }
    assert_eq!(daemon.terminate(), 0);
    assert_eq!(place.quarantined_names(), [""; 0]);
}

#[test]
fn package_with_more_files_beside_its_zip_than_are_looked_at_is_taken() {
    let place = Place::new();
    let (files, zip) = zip();
    let staged = place.stage("plate", &zip);
    fs::remove_file(staged.join("plate.zip")).unwrap();
    for at in 0..10_500 {
        fs::write(staged.join(format!("image-{at:05}")), "").unwrap();
    }
    fs::write(staged.join("plate.zip"), &zip).unwrap();
    let mut daemon = Daemon::start(place.run(&[]));
    fs::rename(staged, place.landing().join("plate")).unwrap();
    place.wait_archived(&mut daemon, "plate");
    let found = tree(&place.archive().join("plate"));
    assert_eq!(found.len(), archived("plate", &files, zip).len() + 10_500);
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn folder_that_holds_packages_is_named_as_one() {
    let place = Place::new();
    let (_, zip) = zip();
    let day = place.landing().join("2026-11-25");
    fs::create_dir(&day).unwrap();
    fs::rename(place.stage("plate", &zip), day.join("plate")).unwrap();
    let ended = run_to_end(place.run_with(&place.config("settle = '0s'\n"), &["--once"]));
    assert_eq!(ended.code, 1);
    let says = "packages one folder down (\"plate\")";
    assert!(ended.err.replace('\\', "").contains(says), "{}", ended.err);
    assert!(explain(&place, "2026-11-25").out.contains(says));
}

#[test]
fn mount_point_in_a_landing_is_reported_once_and_explained() {
    let place = Place::new();
    let (_, zip) = zip();
    let folder = fill(&place, "plate", &[]);
    let Some(mounted) = Mount::at(folder.clone(), &["-t", "tmpfs", "t"]) else { return };
    fs::write(folder.join("plate.zip"), &zip).unwrap();
    let config = place.config("settle = '50ms'\nrescan = '200ms'\n");
    let mut daemon = Daemon::start(place.run_with(&config, &[]));
    let line = daemon.wait_line("plate");
    assert!(line.contains("mount_point"), "{line}");
    // A rescan that comes after another package's whole way has found the folder again.
    for name in ["one", "two"] {
        place.deliver(name, &zip);
        place.wait_archived(&mut daemon, name);
        daemon.run_for(Duration::from_millis(500));
    }
    assert_eq!(count(&mut daemon, "plate"), 1, "{}", daemon.log());
    let said = explain(&place, "plate");
    assert_eq!(said.code, 1, "{}", said.out);
    assert!(said.out.contains("it is a mount point"), "{}", said.out);
    drop(mounted);
    fs::write(folder.join("plate.zip"), &zip).unwrap();
    place.wait_archived(&mut daemon, "plate");
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn claim_that_is_refused_is_logged_once_for_each_folder_and_explained_until_it_is_taken() {
    let place = Place::new();
    let (_, zip) = zip();
    let layers = ["lower", "upper", "work"].map(|name| place.path(format!("layers/{name}")));
    for layer in &layers {
        fs::create_dir_all(layer).unwrap();
    }
    fs::create_dir(layers[0].join("plate")).unwrap();
    fs::write(layers[0].join("plate/plate.zip"), &zip).unwrap();
    let [lower, upper, work] = layers.each_ref().map(|layer| layer.display());
    let options = format!("lowerdir={lower},upperdir={upper},workdir={work},redirect_dir=off");
    let overlay = ["-t", "overlay", "overlay", "-o", &options];
    let Some(_mounted) = Mount::at(place.landing().to_path_buf(), &overlay) else { return };
    let config = place.config("settle = '0s'\nrescan = '200ms'\n");
    fs::write(place.path("longshore.toml"), &config).unwrap();
    let before = explain(&place, "plate");
    assert_eq!(before.code, 1, "no daemon has tried it: {}", before.out);
    assert!(before.out.contains("lower layer of an overlay"), "{}", before.out);
    let mut daemon = Daemon::start(place.run_with(&config, &[]));
    let line = daemon.wait_line("stays in the landing");
    assert!(line.contains("lower layer of an overlay") && line.contains("copy it"), "{line}");
    daemon.run_for(Duration::from_millis(1500));
    assert_eq!(count(&mut daemon, "stays in the landing"), 1, "{}", daemon.log());
    let said = explain(&place, "plate");
    assert_eq!(said.code, 1, "{}", said.out);
    assert!(said.out.contains("lower layer of an overlay"), "{}", said.out);
    assert!(said.out.contains("not taken: claim_refused"), "{}", said.out);
    // The way out that the message names.
    let folder = place.landing().join("plate");
    common::run(Command::new("cp").arg("-a").arg(&folder).arg(place.landing().join(".copy")));
    fs::remove_dir_all(&folder).unwrap();
    fs::rename(place.landing().join(".copy"), &folder).unwrap();
    place.wait_archived(&mut daemon, "plate");
    assert_eq!(count(&mut daemon, "stays in the landing"), 1, "{}", daemon.log());
    assert_eq!(daemon.terminate(), 0);
    assert_eq!(explain(&place, "plate").code, 1, "it is archived");
    assert!(!explain(&place, "plate").out.contains("not taken"));
}

#[test]
fn explain_of_a_folder_whose_name_is_in_work_says_that_it_waits() {
    let place = Place::new();
    let (_, zip) = zip();
    let gate = place.path("gate");
    common::make_fifo(&gate);
    let config = place.script(&format!("cat {}", gate.display()), "");
    let mut daemon = Daemon::start(place.run_with(&config, &[]));
    place.deliver("plate", &zip);
    daemon.wait_until("the first is in work", || !place.landing().join("plate").exists());
    place.deliver("plate", &zips::deflated(&zips::sample(2)));
    let said = explain(&place, "plate");
    assert_eq!(said.code, 1, "{}", said.out);
    assert!(said.out.contains("until the package of its name that is in work"), "{}", said.out);
    for name in ["plate", "plate.2"] {
        // Ends the command that reads from it, or waits for that.
        drop(File::options().write(true).open(&gate).unwrap());
        place.wait_archived(&mut daemon, name);
    }
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn landing_without_inotify_is_scanned_and_the_limit_is_named() {
    if !has("unshare") {
        return;
    }
    for (limit, named) in [
        ("max_inotify_instances", "fs.inotify.max_user_instances"),
        ("max_inotify_watches", "fs.inotify.max_user_watches"),
    ] {
        let place = Place::new();
        let inner = place.run(&[]);
        let script = format!("echo 0 > /proc/sys/user/{limit} || exit 77; exec \"$@\"");
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "sh", "-c", &script, "sh"]);
        command.arg(inner.get_program()).args(inner.get_args()).current_dir(place.top());
        let mut daemon = Daemon::spawn(command);
        daemon.run_for(Duration::from_millis(300));
        if !daemon.is_alive() {
            let said = daemon.log();
            return skip(&format!("no user namespace with a limit of its own: {said}"));
        }
        let line = daemon.wait_line("no events from the landing");
        assert!(line.contains(named), "{line}");
        place.deliver("plate", &zip().1);
        place.wait_archived(&mut daemon, "plate");
        assert_eq!(count(&mut daemon, "no events"), 1);
        assert_eq!(daemon.terminate(), 0);
    }
}

#[test]
fn landing_full_of_other_things_has_so_many_lines_and_the_rest_in_one() {
    let place = Place::new();
    for at in 0..1_200 {
        fs::write(place.landing().join(format!("junk-{at:04}")), "").unwrap();
    }
    let ended = run_to_end(place.run_with(&place.config("settle = '0s'\n"), &["--once"]));
    assert_eq!(ended.code, 1);
    let lines = ended.err.lines().filter(|line| line.contains("not_a_folder")).count();
    assert_eq!(lines, 500, "each has a line of its own");
    let rest = ended.err.lines().find(|line| line.contains("more names than are listed"));
    assert!(rest.is_some_and(|line| line.contains("more: 700")), "{rest:?}");
}

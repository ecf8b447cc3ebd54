//! How packages arrive: renamed, copied, filled late, grown, delivered again, under odd names.
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod common;

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use common::daemon::{Daemon, run_to_end};
use common::zips::{self, Entry};
use common::{Node, Place, archived, run, tree};

/// Half of the default `settle`: a sender that is slower than this is still within it.
const HALF: Duration = Duration::from_millis(500);

/// Copies files with their old times, as `cp -a` and `rsync -t` do.
fn copy_old(from: &Path, to: &Path) {
    run(Command::new("cp").arg("-a").arg(from).arg(to));
}

/// A staged package whose files are years old.
fn old_package(place: &Place, name: &str, zip: &[u8]) -> PathBuf {
    let staged = place.stage(name, zip);
    fs::write(staged.join("second.txt"), "it comes late\n").unwrap();
    for path in [staged.join("second.txt"), staged.join(format!("{name}.zip")), staged.clone()] {
        run(Command::new("touch").args(["-d", "2019-05-05T05:05:05Z"]).arg(path));
    }
    staged
}

#[test]
fn folder_copied_with_old_times_waits_for_its_second_file() {
    let place = Place::new();
    let files = zips::sample(1);
    let zip = zips::deflated(&files);
    let old = old_package(&place, "plate", &zip);
    let mut daemon = Daemon::start(place.run(&[]));
    let folder = place.landing().join("plate");
    fs::create_dir(&folder).unwrap();
    copy_old(&old.join("plate.zip"), &folder.join("plate.zip"));
    run(Command::new("touch").args(["-d", "2019-05-05T05:05:05Z"]).arg(&folder));
    daemon.run_for(HALF);
    assert!(folder.exists(), "old times were taken for a folder that has settled");
    copy_old(&old.join("second.txt"), &folder.join("second.txt"));
    let written = Instant::now();
    place.wait_archived(&mut daemon, "plate");
    assert!(written.elapsed() >= Duration::from_millis(950), "it had not settled");
    let mut expected = archived("plate", &files, zip);
    expected.insert("second.txt".into(), Node::File(b"it comes late\n".to_vec()));
    assert_eq!(tree(&place.archive().join("plate")), expected);
    assert_eq!(daemon.terminate(), 0);
    assert_eq!(place.quarantined_names(), [""; 0]);
}

#[test]
fn folder_copied_whole_with_old_times_is_archived_whole() {
    let place = Place::new();
    let files = zips::sample(1);
    let zip = zips::deflated(&files);
    let old = old_package(&place, "plate", &zip);
    let mut daemon = Daemon::start(place.run(&[]));
    copy_old(&old, &place.landing().join("plate"));
    place.wait_archived(&mut daemon, "plate");
    let mut expected = archived("plate", &files, zip);
    expected.insert("second.txt".into(), Node::File(b"it comes late\n".to_vec()));
    assert_eq!(tree(&place.archive().join("plate")), expected);
}

#[test]
fn folder_renamed_while_empty_waits_until_what_fills_it_has_settled() {
    let place = Place::new();
    let files = zips::sample(1);
    let zip = zips::deflated(&files);
    let mut daemon = Daemon::start(place.run(&[]));
    let arriving = place.landing().join("plate-downloading");
    let folder = place.landing().join("plate");
    fs::create_dir(&arriving).unwrap();
    fs::rename(arriving, &folder).unwrap();
    daemon.run_for(HALF);
    let mut file = File::create(folder.join("plate.zip")).unwrap();
    for part in zip.chunks(zip.len() / 3 + 1) {
        file.write_all(part).unwrap();
        daemon.run_for(HALF);
        assert!(folder.exists(), "it was taken while it was being filled");
    }
    drop(file);
    let written = Instant::now();
    place.wait_archived(&mut daemon, "plate");
    println!("archived {:?} after its last byte", written.elapsed());
    assert_eq!(tree(&place.archive().join("plate")), archived("plate", &files, zip));
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn folder_renamed_with_a_growing_zip_waits_until_it_is_whole() {
    let place = Place::new();
    let files = zips::sample(1);
    let zip = zips::deflated(&files);
    let mut daemon = Daemon::start(place.run(&[]));
    let folder = place.landing().join("plate");
    fs::create_dir(&folder).unwrap();
    let mut file = File::create(folder.join("plate.zip")).unwrap();
    let (most, rest) = zip.split_at(zip.len() - 30);
    file.write_all(most).unwrap();
    // Longer than `settle`: without an end record that is not enough.
    daemon.run_for(Duration::from_millis(1800));
    assert!(folder.exists(), "half a ZIP was taken");
    file.write_all(rest).unwrap();
    drop(file);
    place.wait_archived(&mut daemon, "plate");
    assert_eq!(tree(&place.archive().join("plate")), archived("plate", &files, zip));
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn zip_that_stays_half_is_judged_in_the_end() {
    let place = Place::new();
    let zip = zips::deflated(&zips::sample(1));
    let config = place.config("settle = '50ms'\nbroken_after = '700ms'\n");
    let mut daemon = Daemon::start(place.run_with(&config, &[]));
    let folder = place.landing().join("plate");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("plate.zip"), &zip[..zip.len() / 2]).unwrap();
    let written = Instant::now();
    daemon.wait_line("quarantined");
    assert!(written.elapsed() >= Duration::from_millis(650), "its sender had no time to go on");
    assert_eq!(place.quarantined("plate").1["code"], "no_end_record");
}

#[test]
fn folders_that_were_there_before_the_start_are_taken_and_incomplete_ones_are_not() {
    let place = Place::new();
    let zip = zips::deflated(&zips::sample(1));
    for name in ["one", "two", "three-downloading", "four.part"] {
        let staged = place.stage(name, &zip);
        fs::rename(staged, place.landing().join(name)).unwrap();
    }
    let hidden = place.stage("hidden", &zip);
    fs::rename(hidden, place.landing().join(".hidden")).unwrap();
    let config = place.config("incomplete = ['-downloading', '.part', '~']\n");
    let mut daemon = Daemon::start(place.run_with(&config, &[]));
    place.wait_archived(&mut daemon, "one");
    place.wait_archived(&mut daemon, "two");
    for (from, to) in [("four.part", "four"), (".hidden", "hidden")] {
        // Both carry a ZIP of another name than the folder had: now they agree, or do not.
        let inside = place.landing().join(from);
        fs::rename(inside.join(format!("{from}.zip")), inside.join(format!("{to}.zip"))).ok();
        fs::rename(inside, place.landing().join(to)).unwrap();
        place.wait_archived(&mut daemon, to);
    }
    assert_eq!(daemon.terminate(), 0);
    assert_eq!(place.landed_names(), ["three-downloading"]);
    assert_eq!(place.quarantined_names(), [""; 0]);
}

#[test]
fn name_delivered_again_while_the_first_is_in_work_waits_for_it_and_is_archived_too() {
    let place = Place::new();
    let files = zips::many(10_000);
    let mut daemon = Daemon::start(place.run(&["--workers", "2"]));
    let (first, second) = (zips::stored(&files), zips::deflated(&zips::sample(2)));
    place.deliver("plate", &first);
    let folder = place.landing().join("plate");
    daemon.wait_until("the first is claimed", || !folder.exists());
    place.deliver("plate", &second);
    assert!(place.archived_names().is_empty(), "the first is through already: make it larger");
    place.wait_archived(&mut daemon, "plate.2");
    assert_eq!(tree(&place.archive().join("plate")), archived("plate", &files, first));
    assert_eq!(
        tree(&place.archive().join("plate.2")),
        archived("plate", &zips::sample(2), second),
        "the second came out of the first's folder"
    );
    place.wait_empty(&mut daemon);
    assert_eq!(daemon.terminate(), 0);
    assert_eq!(place.archived_names(), ["plate", "plate.2"]);
}

#[test]
fn landing_moved_away_and_back_is_taken_up_again() {
    let place = Place::new();
    let config = place.config("rescan = '300ms'\n");
    let mut daemon = Daemon::start(place.run_with(&config, &[]));
    place.deliver_files("before", &zips::sample(1));
    place.wait_archived(&mut daemon, "before");
    let away = place.path("away");
    fs::rename(place.landing(), &away).unwrap();
    daemon.wait_line("landing");
    // What comes meanwhile is found when it is back.
    fs::rename(place.stage("meanwhile", &zips::deflated(&zips::sample(2))), away.join("meanwhile"))
        .unwrap();
    assert!(daemon.is_alive(), "an unmounted landing is no reason to end");
    fs::rename(away, place.landing()).unwrap();
    place.wait_archived(&mut daemon, "meanwhile");
    place.deliver_files("after", &zips::sample(3));
    place.wait_archived(&mut daemon, "after");
    assert_eq!(daemon.terminate(), 0);
    assert_eq!(place.archived_names(), ["after", "before", "meanwhile"]);
}

#[test]
fn landing_removed_and_made_anew_is_taken_up_and_locked_again() {
    let place = Place::new();
    let config = place.config("rescan = '300ms'\n");
    let mut daemon = Daemon::start(place.run_with(&config, &[]));
    fs::remove_dir_all(place.landing()).unwrap();
    daemon.wait_line("landing");
    fs::create_dir(place.landing()).unwrap();
    let expected = place.deliver_files("plate", &zips::sample(1));
    place.wait_archived(&mut daemon, "plate");
    assert_eq!(tree(&place.archive().join("plate")), expected);
    // By an event again, not only by a scan.
    place.deliver_files("second", &zips::sample(2));
    place.wait_archived(&mut daemon, "second");
    let other = run_to_end(place.run(&["--once"]));
    assert_eq!(other.code, 75, "the new landing is not locked: {}", other.err);
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn another_folder_in_the_landings_place_is_watched_instead() {
    let place = Place::new();
    let config = place.config("rescan = '300ms'\n");
    let mut daemon = Daemon::start(place.run_with(&config, &[]));
    fs::create_dir(place.path("next")).unwrap();
    fs::rename(place.landing(), place.path("last")).unwrap();
    fs::rename(place.path("next"), place.landing()).unwrap();
    daemon.wait_line("landing");
    place.deliver_files("plate", &zips::sample(1));
    place.wait_archived(&mut daemon, "plate");
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn names_of_every_kind_are_archived_and_come_again() {
    let long = "n".repeat(251);
    let wide = "名".repeat(83);
    let names = [
        "plate",
        "plate-1",
        "plate-10",
        "plate.zip",
        "pl", // one the other's prefix
        "实验-2026-11",
        "Ünïcödé",
        "a b  c",
        "-rf",
        "--help",
        "$(touch x)",
        "a'b\"c",
        "%s%n",
        "a\\b",
        "*",
        "CON",
        "x.2",
        &long,
        &wide,
    ];
    let place = Place::new();
    let mut daemon = Daemon::start(place.run(&["--workers", "2"]));
    let expected: Vec<_> = names
        .iter()
        .enumerate()
        .map(|(n, name)| place.deliver_files(name, &zips::sample(n)))
        .collect();
    for (name, expected) in names.iter().zip(expected) {
        place.wait_archived(&mut daemon, name);
        assert_eq!(tree(&place.archive().join(name)), expected, "{name}");
    }
    // Revisions of the longest, and their quarantine, have to fit as well.
    for (name, code) in [(long.as_str(), "crc_mismatch"), (&wide, "crc_mismatch")] {
        let bad = Entry::file("a", b"x").with(|entry| entry.crc ^= 1);
        place.deliver(name, &zips::raw(&[bad]));
        daemon.wait_until("it is quarantined", || {
            common::names(&place.quarantine()).iter().any(|folder| folder.starts_with(&name[..90]))
        });
        assert_eq!(place.quarantined(name).1["code"], code, "{name}");
        place.deliver_files(name, &zips::sample(50));
        place.wait_archived(&mut daemon, &format!("{name}.2"));
    }
    assert_eq!(daemon.terminate(), 0);
    assert_eq!((place.landed_names(), place.jobs().len()), (vec![], 0));
}

#[test]
fn bare_zips_are_packages_where_the_config_says_so() {
    let place = Place::new();
    let config = place.config("accept = ['folder', 'zip']\n");
    let mut daemon = Daemon::start(place.run_with(&config, &[]));
    let files = zips::sample(1);
    let zip = zips::deflated(&files);
    fs::write(place.path("bare.tmp"), &zip).unwrap();
    fs::rename(place.path("bare.tmp"), place.landing().join("bare.zip")).unwrap();
    let expected = place.deliver_files("folder", &zips::sample(2));
    place.wait_archived(&mut daemon, "bare");
    place.wait_archived(&mut daemon, "folder");
    assert_eq!(tree(&place.archive().join("bare")), archived("bare", &files, zip));
    assert_eq!(tree(&place.archive().join("folder")), expected);
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn many_packages_that_come_faster_than_events_are_all_found() {
    // More than the queue of waiting packages holds: back-pressure, vacancies and scans take part.
    let count = if common::is_long() { 20_000 } else { 1_500 };
    let place = Place::new();
    let zip = zips::stored(&[("a.txt".to_owned(), b"a".to_vec())].into());
    let staged: Vec<_> = (0..count)
        .map(|n| {
            let name = format!("plate-{n:05}");
            (place.stage(&name, &zip), place.landing().join(name))
        })
        .collect();
    let mut daemon = Daemon::start(place.run(&["--workers", "2"]));
    for (from, to) in staged {
        fs::rename(from, to).unwrap();
    }
    let delivered = Instant::now();
    daemon.wait_until("all are archived", || place.archived_names().len() == count);
    println!("{count} archived {:?} after the last was delivered", delivered.elapsed());
    assert_eq!(daemon.terminate(), 0);
    assert_eq!((place.landed_names(), place.quarantined_names()), (vec![], vec![]));
}

#[test]
fn files_written_into_a_package_while_it_is_taken_are_never_lost() {
    use std::os::fd::AsRawFd;

    let place = Place::new();
    let mut daemon = Daemon::start(place.run(&["--workers", "2"]));
    let zip = zips::deflated(&zips::sample(1));
    // From here on the landing is watched: a rename is seen as one.
    place.deliver("warm-up", &zip);
    place.wait_archived(&mut daemon, "warm-up");
    let mut written = Vec::new();
    for n in 0..12 {
        let name = format!("plate-{n:02}");
        let staged = place.stage(&name, &zip);
        // A sender that still holds its folder open, and writes to it wherever it goes.
        let handle = File::open(&staged).unwrap();
        fs::rename(staged, place.landing().join(&name)).unwrap();
        let writer = std::thread::spawn(move || {
            let inside = PathBuf::from(format!("/proc/self/fd/{}", handle.as_raw_fd()));
            let names = (0..400).map(|at| format!("late-{n:02}-{at:04}"));
            names.take_while(|file| fs::write(inside.join(file), file).is_ok()).collect::<Vec<_>>()
        });
        written.extend(writer.join().unwrap());
    }
    println!("{} files came late", written.len());
    place.wait_empty(&mut daemon);
    assert_eq!(place.archived_names().len(), 13, "{}", daemon.log());
    println!("{} files came late", written.len());
    assert_eq!(daemon.terminate(), 0);
    for folder in place.quarantined_names() {
        let reason =
            fs::read_to_string(place.quarantine().join(folder).join("reason.json")).unwrap();
        assert!(reason.contains("late_arrivals"), "{reason}");
    }
    let mut found: Vec<String> = Vec::new();
    for top in [place.archive(), place.quarantine(), place.work()] {
        let late = tree(&top).into_iter().filter_map(|(path, node)| {
            let name = path.file_name()?.to_str()?.to_owned();
            (name.starts_with("late-") && node == Node::File(name.clone().into_bytes()))
                .then_some(name)
        });
        found.extend(late);
    }
    found.sort();
    written.sort();
    assert_eq!(found, written, "some are gone, or are there twice");
}

//! The main job on real folders: a landing in, an archive out.

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use common::daemon::{Daemon, run_to_end};
use common::zips::{self, Files};
use common::{Node, Place, has, names, run, tree};

/// Lays out a landing as senders do: `NAME/NAME.zip` by Python's zipfile and by Info-ZIP's `zip`,
/// and one that is still arriving. False where a tool is missing.
fn seed_layout(landing: &Path) -> bool {
    const BY_PYTHON: &str = "
import os, sys, zipfile
landing = sys.argv[1]
for n in range(4):
    name = f'python-{n}'
    os.mkdir(os.path.join(landing, name))
    method = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED][n % 2]
    with zipfile.ZipFile(os.path.join(landing, name, name + '.zip'), 'w', method) as z:
        z.writestr('readme.txt', f'package {n}\\n' * 100)
        z.writestr('data/a/readings.csv', '1,2,3\\n' * 5000)
        z.writestr('data/b/noise.bin', bytes(i * i * 7 % 251 for i in range(70000)))
        z.writestr('数据/读数.txt', 'π\\n')
        z.writestr('empty.txt', '')
        z.writestr('empty folder/', '')
";
    const BY_ZIP: &str = r#"
set -e
cd "$1"
for n in 0 1 2; do
    mkdir -p "zip-$n/tree/sub dir" "zip-$n/tree/empty"
    cd "zip-$n"
    i=0
    while [ $i -lt 40 ]; do echo "line $i of $n" > "tree/sub dir/file $i.txt"; i=$((i+1)); done
    head -c 100000 /dev/zero > tree/zeros
    : > tree/nothing
    zip -q -r "zip-$n.zip" tree
    rm -r tree
    cd ..
done
mkdir zip-3-downloading
head -c 1000 zip-0/zip-0.zip > zip-3-downloading/zip-3.zip
"#;
    if !(has("python3") && has("zip") && has("bsdtar")) {
        return false;
    }
    run(Command::new("python3").arg("-c").arg(BY_PYTHON).arg(landing));
    run(Command::new("sh").args(["-c", BY_ZIP, "sh"]).arg(landing));
    true
}

#[test]
fn seed_layout_is_archived_as_unpacking_in_place_and_moving_does() {
    let place = Place::new();
    if !seed_layout(&place.landing()) {
        return;
    }
    let expected = place.path("expected");
    fs::create_dir(&expected).unwrap();
    for name in place.landed_names().iter().filter(|name| !name.ends_with("-downloading")) {
        let folder = expected.join(name);
        run(Command::new("cp").arg("-a").arg(place.landing().join(name)).arg(&folder));
        run(Command::new("bsdtar").arg("-xf").arg(format!("{name}.zip")).current_dir(&folder));
    }
    let arriving = place.landing().join("zip-3-downloading");
    let before = tree(&arriving);

    let mut daemon = Daemon::start(place.run(&[]));
    for name in names(&expected) {
        place.wait_archived(&mut daemon, &name);
    }
    assert_eq!(daemon.terminate(), 0, "a stop that was asked for is a good end");

    run(Command::new("diff").arg("-r").arg(&expected).arg(place.archive()));
    assert_eq!(names(&expected), place.archived_names());
    assert_eq!(tree(&arriving), before, "the folder that was still arriving was touched");
    assert_eq!(place.landed_names(), ["zip-3-downloading"]);
    assert_eq!(place.quarantined_names(), [""; 0]);
}

#[test]
fn package_of_every_kind_of_entry_is_archived_with_its_zip_beside_its_contents() {
    let place = Place::new();
    let expected = place.deliver_files("plate-1", &zips::sample(1));
    let ended = run_to_end(place.run(&["--once", "--settle", "0s"]));
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert_eq!(tree(&place.archive().join("plate-1")), expected);
    assert_eq!(place.landed_names(), [""; 0]);
    assert_eq!(place.jobs(), [""; 0].map(std::path::PathBuf::from));
}

#[test]
fn package_renamed_into_place_is_taken_at_once() {
    let place = Place::new();
    let mut daemon = Daemon::start(place.run(&[]));
    let zip = zips::deflated(&zips::sample(0));
    place.deliver("warm-up", &zip);
    place.wait_archived(&mut daemon, "warm-up");
    let mut latencies: Vec<Duration> = (0..20)
        .map(|n| {
            let name = format!("plate-{n}");
            let staged = place.stage(&name, &zip);
            let (from, to) =
                (place.landing().join(format!("{name}-downloading")), place.landing().join(&name));
            fs::rename(staged, &from).unwrap();
            let renamed = Instant::now();
            fs::rename(from, &to).unwrap();
            daemon.wait_until("the package is taken", || !to.exists());
            let taken = renamed.elapsed();
            place.wait_archived(&mut daemon, &name);
            println!("{name}: taken after {taken:?}, in the archive after {:?}", renamed.elapsed());
            taken
        })
        .collect();
    latencies.sort();
    println!("taken after: median {:?}, worst {:?}", latencies[10], latencies[19]);
    // Below `settle`, which would be a second: the rename was taken for the sender's word.
    assert!(latencies[10] < Duration::from_millis(900), "{latencies:?}");
}

#[test]
fn package_copied_in_place_is_taken_once_it_has_settled() {
    let place = Place::new();
    let mut daemon = Daemon::start(place.run(&[]));
    let files = zips::sample(5);
    let zip = zips::deflated(&files);
    let folder = place.landing().join("copied");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("copied.zip"), &zip).unwrap();
    let written = Instant::now();
    place.wait_archived(&mut daemon, "copied");
    let waited = written.elapsed();
    println!("archived {waited:?} after its last byte");
    assert!(
        waited >= Duration::from_millis(950),
        "it was taken after {waited:?}, before it settled"
    );
    assert_eq!(tree(&place.archive().join("copied")), common::archived("copied", &files, zip));
}

#[test]
fn packages_two_hundred_at_once_with_two_workers_are_all_archived_complete() {
    let place = Place::new();
    let mut daemon = Daemon::start(place.run(&["--workers", "2"]));
    let expected: Vec<_> = (0..200)
        .map(|n| {
            let name = format!("plate-{n:03}");
            let tree = place.deliver_files(&name, &zips::sample(n));
            (name, tree)
        })
        .collect();
    let started = Instant::now();
    daemon.wait_until("all are archived", || names(&place.archive()).len() == expected.len());
    println!("the last of 200 archived {:?} after the last was delivered", started.elapsed());
    assert_eq!(daemon.terminate(), 0);
    for (name, expected) in expected {
        assert_eq!(tree(&place.archive().join(&name)), expected, "{name}");
    }
    assert_eq!(place.quarantined_names(), [""; 0]);
    assert_eq!(place.landed_names(), [""; 0]);
}

#[test]
fn package_of_many_entries_is_archived_complete() {
    let place = Place::new();
    let files = zips::many(6000);
    let zip = zips::stored(&files);
    place.deliver("large", &zip);
    let ended = run_to_end(place.run(&["--once", "--settle", "0s", "--workers", "3"]));
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert_eq!(tree(&place.archive().join("large")), common::archived("large", &files, zip));
}

#[test]
fn sources_of_a_config_file_run_side_by_side() {
    let place = Place::new();
    let path = |name: &str| place.path(name);
    let config = format!(
        "workers = 2\nstate = {:?}\n[defaults]\nsettle = '0s'\n\
         [source.microscopes]\nlanding = {:?}\narchive = {:?}\n\
         [source.sequencers]\nlanding = {:?}\narchive = {:?}\nincomplete = ['.part']\n",
        path("state"),
        path("m/in"),
        path("m/out"),
        path("s/in"),
        path("s/out"),
    );
    let mut daemon = Daemon::spawn(place.run_with(&config, &[]));
    daemon.wait_line("watching");
    daemon.wait_line("watching");
    let zip = zips::deflated(&zips::sample(1));
    for (folder, name) in
        [("m/in", "same-name"), ("s/in", "same-name"), ("s/in", "run.part"), ("m/in", "run.part")]
    {
        fs::rename(place.stage(name, &zip), path(folder).join(name)).unwrap();
    }
    daemon.wait_until("three of the four are archived", || {
        names(&path("m/out")).len() == 2 && names(&path("s/out")).len() == 1
    });
    assert_eq!(daemon.terminate(), 0);
    assert_eq!(
        names(&path("m/out")),
        ["run.part", "same-name"],
        "`.part` is only the sequencers' word"
    );
    assert_eq!(names(&path("s/out")), ["same-name"]);
    assert_eq!(names(&path("s/in")), ["run.part"]);
}

#[test]
fn package_delivered_again_is_quarantined_as_duplicate_and_a_changed_one_is_a_revision() {
    let place = Place::new();
    let (one, two, three) = (
        zips::deflated(&zips::sample(1)),
        zips::deflated(&zips::sample(2)),
        zips::deflated(&zips::sample(3)),
    );
    let mut daemon = Daemon::start(place.run(&[]));
    place.deliver("plate", &one);
    place.wait_archived(&mut daemon, "plate");
    place.deliver("plate", &two);
    place.wait_archived(&mut daemon, "plate.2");
    place.deliver("plate", &three);
    place.wait_archived(&mut daemon, "plate.3");
    place.deliver("plate", &two);
    daemon.wait_line("quarantined");
    assert_eq!(daemon.terminate(), 0);

    assert_eq!(place.archived_names(), ["plate", "plate.2", "plate.3"]);
    for (folder, zip) in [("plate", &one), ("plate.2", &two), ("plate.3", &three)] {
        let archived = fs::read(place.archive().join(folder).join("plate.zip")).unwrap();
        assert_eq!(&archived, zip, "{folder} has another delivery's ZIP");
    }
    let (folder, reason) = place.quarantined("plate");
    assert_eq!(reason["code"], "duplicate");
    assert!(reason["message"].as_str().unwrap().contains("plate.2"), "it names its twin: {reason}");
    assert_eq!(fs::read(folder.join("delivered/plate.zip")).unwrap(), two);
    assert_eq!(place.jobs().len(), 0, "an ended job is still in the work area");
}

#[test]
fn packages_of_the_archive_of_another_tool_count_as_archived() {
    let place = Place::new();
    let zip = zips::deflated(&zips::sample(1));
    fs::create_dir_all(place.archive().join("plate")).unwrap();
    fs::write(place.archive().join("plate/plate.zip"), &zip).unwrap();
    place.deliver("plate", &zip);
    let ended = run_to_end(place.run(&["--once", "--settle", "0s"]));
    assert_eq!(ended.code, 1, "a duplicate is no success: {}", ended.err);
    assert_eq!(place.quarantined("plate").1["code"], "duplicate");
    assert_eq!(place.archived_names(), ["plate"]);
}

#[test]
fn identical_package_where_the_config_says_so_is_discarded_or_processed() {
    let zip = zips::deflated(&zips::sample(1));
    for (how, archived) in [("discard", vec!["plate"]), ("process", vec!["plate", "plate.2"])] {
        let place = Place::new();
        let config = place.config(&format!("settle = '0s'\nidentical = '{how}'\n"));
        for _ in 0..2 {
            place.deliver("plate", &zip);
            let ended = run_to_end(place.run_with(&config, &["--once"]));
            assert_eq!(ended.code, 0, "{how}: {}", ended.err);
        }
        assert_eq!(place.archived_names(), archived, "{how}");
        assert_eq!((place.landed_names(), place.jobs().len()), (vec![], 0), "{how}");
    }
}

#[test]
fn originals_beside_the_zip_are_archived_with_it() {
    let place = Place::new();
    let folder = place.stage("plate", &zips::deflated(&zips::sample(1)));
    fs::write(folder.join("checksum.md5"), "d41d8cd98f00b204e9800998ecf8427e\n").unwrap();
    fs::write(folder.join(".hidden"), "a dot-file\n").unwrap();
    fs::create_dir(folder.join("photos")).unwrap();
    fs::write(folder.join("photos/1.jpg"), [1, 2, 3]).unwrap();
    let delivered = tree(&folder);
    fs::rename(folder, place.landing().join("plate")).unwrap();
    let ended = run_to_end(place.run(&["--once", "--settle", "0s"]));
    assert_eq!(ended.code, 0, "{}", ended.err);
    let archived = tree(&place.archive().join("plate"));
    for (path, node) in delivered {
        assert_eq!(archived.get(&path), Some(&node), "{path:?} did not come along");
    }
    assert!(archived.contains_key(Path::new("wells/a/readings.csv")), "the contents are missing");
}

#[test]
fn entry_with_the_name_of_an_original_is_quarantined_before_anything_is_written() {
    let place = Place::new();
    let files = Files::from([("notes.txt".to_owned(), b"from the ZIP".to_vec())]);
    let folder = place.stage("plate", &zips::deflated(&files));
    fs::write(folder.join("notes.txt"), "delivered").unwrap();
    let delivered = tree(&folder);
    fs::rename(folder, place.landing().join("plate")).unwrap();
    let ended = run_to_end(place.run(&["--once", "--settle", "0s"]));
    assert_eq!(ended.code, 1, "{}", ended.err);
    let (folder, reason) = place.quarantined("plate");
    assert_eq!(reason["code"], "entry_over_original");
    assert_eq!(tree(&folder.join("delivered")), delivered, "what was delivered is not whole");
}

#[test]
fn once_with_good_packages_only_exits_0_and_says_what_became_of_each() {
    let place = Place::new();
    for n in 0..3 {
        place.deliver_files(&format!("plate-{n}"), &zips::sample(n));
    }
    let staged = place.stage("plate-9", &zips::deflated(&zips::sample(9)));
    fs::rename(staged, place.landing().join("plate-9-downloading")).unwrap();
    let ended = run_to_end(place.run(&["--once"]));
    assert_eq!(ended.code, 0, "{}", ended.err);
    let lines: Vec<_> = ended.out.lines().collect();
    assert_eq!(lines.len(), 3, "a line a package, and nothing else, on stdout: {}", ended.out);
    for n in 0..3 {
        let place = place.archive().join(format!("plate-{n}"));
        let wanted = format!("plate-{n} -> {}", place.display());
        assert!(
            lines.iter().any(|line| line.starts_with("archived") && line.ends_with(&wanted)),
            "{wanted}: {lines:?}"
        );
    }
    assert!(
        ended.err.lines().any(|line| line.starts_with("longshore: 3 archived in ")),
        "{}",
        ended.err
    );
    assert_eq!(place.landed_names(), ["plate-9-downloading"]);
}

#[test]
fn once_with_a_bad_package_exits_1_and_sums_up_why() {
    let place = Place::new();
    place.deliver_files("good", &zips::sample(1));
    let bad = zips::Entry::file("a.txt", b"some text").with(|entry| entry.crc ^= 1);
    place.deliver("bad", &zips::raw(&[bad]));
    let ended = run_to_end(place.run(&["--once", "--settle", "0s"]));
    assert_eq!(ended.code, 1, "{}", ended.err);
    assert!(
        ended.err.contains("longshore: 1 archived, 1 quarantined (crc_mismatch 1) in "),
        "{}",
        ended.err
    );
    assert!(
        ended.out.lines().any(
            |line| line.starts_with("quarantined  bad -> ") && line.ends_with("(crc_mismatch)")
        ),
        "{}",
        ended.out
    );
    assert_eq!(place.archived_names(), ["good"]);
}

#[test]
fn once_with_nothing_there_exits_0_at_once() {
    let place = Place::new();
    let ended = run_to_end(place.run(&["--once"]));
    assert_eq!((ended.code, ended.out.as_str()), (0, ""), "{}", ended.err);
    assert!(ended.err.contains("longshore: 0 archived in "), "{}", ended.err);
}

#[test]
fn zip_with_modes_and_times_is_archived_with_them_as_configured() {
    use std::os::unix::fs::PermissionsExt;

    let entries = [
        zips::Entry::file("run.sh", b"#!/bin/sh\n").with(|entry| entry.mode = 0o104_755),
        zips::Entry::file("secret.txt", b"psst\n").with(|entry| entry.mode = 0o100_600),
    ];
    let mask = rustix::process::umask(rustix::fs::Mode::empty());
    rustix::process::umask(mask);
    let mask = mask.bits();
    for (modes, script, secret) in
        [("umask", 0o777 & !mask, 0o666 & !mask), ("zip", 0o755 & !mask, 0o600 & !mask)]
    {
        let place = Place::new();
        place.deliver("plate", &zips::raw(&entries));
        let config = place.config(&format!("settle = '0s'\nmodes = '{modes}'\n"));
        let ended = run_to_end(place.run_with(&config, &["--once"]));
        assert_eq!(ended.code, 0, "{}", ended.err);
        for (file, wanted) in [("run.sh", script), ("secret.txt", secret)] {
            let found = fs::metadata(place.archive().join("plate").join(file)).unwrap();
            let mode = found.permissions().mode() & 0o7777;
            assert_eq!(mode, wanted, "{file} with modes = {modes}: {mode:o}, not {wanted:o}");
        }
    }
}

#[test]
fn archived_folder_has_the_mode_and_time_of_the_delivered_one() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    let place = Place::new();
    let folder = place.stage("plate", &zips::deflated(&zips::sample(1)));
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o750)).unwrap();
    run(Command::new("touch").args(["-d", "2020-02-29T12:00:00Z"]).arg(&folder));
    fs::rename(folder, place.landing().join("plate")).unwrap();
    let ended = run_to_end(place.run(&["--once", "--settle", "0s"]));
    assert_eq!(ended.code, 0, "{}", ended.err);
    let found = fs::metadata(place.archive().join("plate")).unwrap();
    assert_eq!(found.permissions().mode() & 0o7777, 0o750);
    assert_eq!(found.mtime(), 1_582_977_600, "the sender's time is lost");
}

#[test]
fn tree_tells_a_changed_file_from_the_same() {
    // The helper that every comparison here rests on.
    let place = Place::new();
    fs::write(place.path("a"), "one").unwrap();
    let before = tree(place.top());
    fs::write(place.path("a"), "two").unwrap();
    assert_ne!(tree(place.top()), before);
    assert_eq!(before.get(Path::new("a")), Some(&Node::File(b"one".to_vec())));
}

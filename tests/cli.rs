//! The command line: what it says, and the exit codes that scripts rely on.

mod common;

use std::fs;
use std::process::Stdio;

use common::Place;
use common::daemon::{Daemon, Ended, run_to_end};
use common::zips;

fn longshore(place: &Place, arguments: &[&str]) -> Ended {
    run_to_end(place.longshore(arguments))
}

#[test]
fn help_names_every_command_and_exit_code() {
    let place = Place::new();
    let ended = longshore(&place, &["--help"]);
    assert_eq!((ended.code, ended.err.as_str()), (0, ""), "help is data, not a message");
    for command in ["run", "explain", "demo"] {
        assert!(ended.out.contains(&format!("\n  {command} ")), "{command}: {}", ended.out);
    }
    let ended = longshore(&place, &["run", "--help"]);
    assert_eq!(ended.code, 0);
    for part in [
        "--landing",
        "--archive",
        "--once",
        "--config",
        "--settle",
        "SIGTERM",
        "75",
        "78",
        "Examples",
    ] {
        assert!(ended.out.contains(part), "{part}: {}", ended.out);
    }
    for command in ["explain", "demo"] {
        assert_eq!(longshore(&place, &[command, "--help"]).code, 0, "{command}");
    }
}

#[test]
fn version_is_the_packages() {
    let ended = longshore(&Place::new(), &["--version"]);
    assert_eq!(
        (ended.code, ended.out.trim()),
        (0, concat!("longshore ", env!("CARGO_PKG_VERSION")))
    );
}

#[test]
fn command_lines_that_make_no_sense_exit_2_and_say_why() {
    let place = Place::new();
    for (arguments, part) in [
        (&[][..], "Usage"),
        (&["walk"], "walk"),
        (&["run"], "--landing"),
        (&["run", "--landing"], "--landing"),
        (&["run", "--lnding", "zip", "--archive", "mv_zip"], "--landing"),
        (&["run", "--landing", "zip", "--archive", "mv_zip", "--settle", "soon"], "soon"),
        (&["run", "--landing", "zip", "--archive", "mv_zip", "--workers", "many"], "many"),
        (&["run", "--landing", "zip", "--config", "x.toml"], "--config"),
        (&["run", "--landing", "zip", "--archive", "mv_zip", "-v", "-q"], "--quiet"),
        (&["explain", "--landing", "zip"], "NAME"),
        (&["demo", "--all"], "--all"),
    ] {
        let ended = longshore(&place, arguments);
        assert_eq!(ended.code, 2, "{arguments:?}: {}", ended.err);
        assert!(ended.err.contains(part), "{part:?} for {arguments:?}: {}", ended.err);
        assert_eq!(ended.out, "", "{arguments:?}");
    }
    assert!(!place.archive().exists(), "something was made");
}

#[test]
fn run_without_an_archive_says_what_is_missing() {
    let place = Place::new();
    let ended = longshore(&place, &["run", "--landing", "zip"]);
    assert!([2, 78].contains(&ended.code), "{}: {}", ended.code, ended.err);
    assert!(ended.err.contains("archive"), "{}", ended.err);
}

#[test]
fn config_with_an_unknown_key_exits_78_with_the_nearest_known_one() {
    let place = Place::new();
    for (config, parts) in [
        (place.config("setle = '1s'\n"), &["longshore.toml", "setle", "did you mean `settle`"][..]),
        (format!("wrkers = 2\n{}", place.config("")), &["wrkers", "did you mean `workers`"]),
        (place.config("limits = { entrys = 2 }\n"), &["entrys"]),
        (place.config("settle = 'soon'\n"), &["longshore.toml", "settle"]),
        (place.config("max_attempts = 0\n"), &["max_attempts", "at least 1"]),
        ("not toml at all [".to_owned(), &["longshore.toml"]),
        (String::new(), &["source"]),
    ] {
        let ended = run_to_end(place.run_with(&config, &["--once"]));
        assert!([2, 78].contains(&ended.code), "{config}: {}", ended.err);
        assert!(ended.code == 78 || config.is_empty(), "{config}: {}", ended.code);
        for part in parts {
            assert!(ended.err.contains(part), "{part:?} for {config}: {}", ended.err);
        }
        assert!(!place.archive().exists(), "{config}: something was made");
    }
}

#[test]
fn config_that_is_not_there_exits_78_and_names_it() {
    let ended = longshore(&Place::new(), &["run", "--once", "--config", "no-such.toml"]);
    assert_eq!(ended.code, 78, "{}", ended.err);
    assert!(
        ended.err.contains("no-such.toml") && ended.err.contains("No such file"),
        "{}",
        ended.err
    );
}

#[test]
fn folders_are_made_where_they_are_missing_and_relative_paths_start_here() {
    let place = Place::new();
    let ended =
        longshore(&place, &["run", "--once", "--landing", "new/in", "--archive", "new/out"]);
    assert_eq!(ended.code, 0, "{}", ended.err);
    for folder in ["new/in", "new/out", "new/quarantine"] {
        assert!(place.path(folder).is_dir(), "{folder} was not made");
    }
}

#[test]
fn explain_tells_ready_from_not_ready_and_from_absent() {
    let place = Place::new();
    let zip = zips::deflated(&zips::sample(1));
    place.deliver("plate", &zip);
    let staged = place.stage("late", &zip);
    fs::rename(staged, place.landing().join("late-downloading")).unwrap();
    fs::create_dir(place.landing().join("empty")).unwrap();
    let explain =
        |name: &str| longshore(&place, &["explain", "--landing", "zip", "--settle", "0s", name]);
    for (name, code) in [("plate", 0), ("late-downloading", 1), ("empty", 1), ("nowhere", 66)] {
        let ended = explain(name);
        assert_eq!(ended.code, code, "{name}: {}{}", ended.out, ended.err);
        assert!(format!("{}{}", ended.out, ended.err).contains(name), "{name}: {}", ended.out);
    }
    assert_eq!(place.landed_names(), ["empty", "late-downloading", "plate"], "it only looks");
    assert!(!place.landing().join(".longshore").exists(), "it only looks");
}

#[test]
fn explain_beside_a_running_daemon_needs_no_lock() {
    let place = Place::new();
    fs::create_dir(place.landing().join("empty")).unwrap();
    let mut daemon = Daemon::start(place.run(&[]));
    let ended = longshore(&place, &["explain", "--landing", "zip", "empty"]);
    assert_eq!(ended.code, 1, "{}{}", ended.out, ended.err);
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn demo_shows_what_became_of_good_and_bad_packages() {
    let place = Place::new();
    let ended = longshore(&place, &["demo", "--dir", "."]);
    assert_eq!(ended.code, 0, "{}", ended.err);
    for part in ["archived", "crc_mismatch", "entry_escapes", "-downloading", "实验"] {
        assert!(ended.out.contains(part), "{part}: {}", ended.out);
    }
    let made: Vec<_> = common::names(place.top())
        .into_iter()
        .filter(|name| name.starts_with("longshore-demo-"))
        .collect();
    assert_eq!(made.len(), 1, "there is no folder to look at");
    assert!(place.path(&made[0]).join("archive").is_dir());
}

#[test]
fn closed_pipes_are_no_panic() {
    let place = Place::new();
    let zip = zips::deflated(&zips::sample(1));
    for n in 0..50 {
        place.deliver(&format!("plate-{n}"), &zip);
    }
    for (arguments, code) in [
        (&["run", "--once", "--settle", "0s", "--landing", "zip", "--archive", "mv_zip"][..], 0),
        (&["demo", "--dir", "."], 0),
        (&["--help"], 0),
        (&["run", "--help"], 0),
    ] {
        let mut child = place
            .longshore(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Whoever was to read it is gone before the first line.
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!said.contains("panicked"), "{arguments:?}: {said}");
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    }
    assert_eq!(place.archived_names().len(), 50, "the work went on");
}

#[test]
fn output_has_no_colour_where_it_is_no_terminal() {
    let place = Place::new();
    let bad = zips::Entry::file("a", b"x").with(|entry| entry.crc ^= 1);
    place.deliver("bad", &zips::raw(&[bad]));
    let mut run = place.run(&["--once", "--settle", "0s", "-v"]);
    run.env_remove("NO_COLOR");
    let ended = run_to_end(run);
    assert!(!ended.out.contains('\x1b') && !ended.err.contains('\x1b'), "{}", ended.err);
}

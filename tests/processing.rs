//! Commands over packages, on the real binary: what they see, what becomes of their packages, and
//! what they may not do.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use common::daemon::{Daemon, Ended, Stream, run_to_end};
use common::processes::{MARKER, children, marked, poll_until};
use common::zips;
use common::{Place, make_fifo, tree};

fn once(place: &Place, text: &str) -> Ended {
    run_to_end(place.run_with(text, &["--once"]))
}

/// Delivers one package and runs a script over it, once.
fn run_over(place: &Place, text: &str) -> Ended {
    place.deliver("plate", &zips::deflated(&zips::sample(1)));
    once(place, &place.script(text, ""))
}

fn logs(place: &Place, arguments: &[&str]) -> Ended {
    let mut command = place.longshore(&["logs", "--landing"]);
    command.arg(place.landing()).args(arguments);
    run_to_end(command)
}

#[test]
fn command_that_writes_into_its_folder_has_that_archived() {
    let place = Place::new();
    let mut expected = place.deliver_files("plate 1; x", &zips::sample(1));
    let command = "sh -c 'cp -r wells copied; pwd >pwd; echo \"$1\" >argument' sh {name}.{attempt}";
    let ended = run_to_end(place.run(&["--once", "--settle", "0s", "--process", command]));
    assert_eq!(ended.code, 0, "{}", ended.err);
    let archived = place.archive().join("plate 1; x");
    let read = |name: &str| fs::read_to_string(archived.join(name)).unwrap();
    assert_eq!(read("argument"), "plate 1; x.1\n", "a value is a part of one argument");
    assert!(read("pwd").ends_with("/.done\n"), "{}", read("pwd"));
    let mut found = tree(&archived);
    let own = |path: &Path| {
        path.starts_with("copied") || ["pwd", "argument"].iter().any(|name| path == Path::new(name))
    };
    assert!(found.contains_key(Path::new("copied/a/readings.csv")));
    found.retain(|path, _| !own(path));
    expected.retain(|path, _| !own(path));
    assert_eq!(found, expected);
}

#[test]
fn command_has_a_clean_environment_and_its_packages_facts() {
    let place = Place::new();
    let folder = place.path("seen");
    fs::create_dir(&folder).unwrap();
    let out = folder.display();
    let text = format!(
        "env >{out}/env; echo \"$LONGSHORE_DIR\" >{out}/dir; pwd >{out}/pwd; \
         ls \"$LONGSHORE_DELIVERED\" >{out}/delivered; readlink /proc/self/fd/0 >{out}/stdin"
    );
    place.deliver("plate", &zips::deflated(&zips::sample(1)));
    let text = place.script(&text, "process.env = { GREETING = '{dir}' }\n");
    let mut command = place.run_with(&text, &["--once"]);
    command.env("SECRET", "not for commands").env("TZ", "Asia/Shanghai");
    let ended = run_to_end(command);
    assert_eq!(ended.code, 0, "{}", ended.err);
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    let env = read("env");
    let has = |line: &str| env.lines().any(|found| found == line);
    assert!(!env.contains("SECRET"), "it was passed on though nobody asked:\n{env}");
    assert!(has("TZ=Asia/Shanghai") && has("GREETING={dir}"), "{env}");
    assert!(has("LONGSHORE_NAME=plate") && has("LONGSHORE_ATTEMPT=1"), "{env}");
    assert!(has("LONGSHORE_SOURCE=default"), "{env}");
    assert_eq!(read("dir"), read("pwd"));
    assert_eq!(read("delivered"), "plate.zip\n");
    assert_eq!(read("stdin"), "/dev/null\n");
}

#[test]
fn command_that_exits_with_75_is_tried_again_on_the_packages_own_bytes() {
    let place = Place::new();
    let seen = place.path("seen");
    let text = format!(
        "ls >>{0}; echo \"attempt $LONGSHORE_ATTEMPT of $LONGSHORE_JOB\" >>{0}; \
         rm -r wells; touch made; test $LONGSHORE_ATTEMPT = 2 || exit 75",
        seen.display()
    );
    let expected = place.deliver_files("plate", &zips::sample(1));
    let ended = once(&place, &place.script(&text, ""));
    assert_eq!(ended.code, 0, "{}", ended.err);
    let seen = fs::read_to_string(seen).unwrap();
    let (first, second) = seen.split_once(" of ").unwrap();
    let second = second.split_once('\n').unwrap().1;
    assert_eq!(
        first.replace("attempt 1", ""),
        second.split("attempt 2").next().unwrap(),
        "the second attempt saw what the first one had made"
    );
    let archived = tree(&place.archive().join("plate"));
    assert!(archived.contains_key(Path::new("made")));
    assert!(!archived.contains_key(Path::new("wells")), "what it removed is gone");
    assert!(archived.len() < expected.len());
    let log = logs(&place, &["plate", "--attempt", "1"]);
    assert!(log.out.contains("\"attempt\":1") && log.out.contains("# exit code 75"), "{}", log.out);
    let log = logs(&place, &["plate"]);
    assert!(log.out.contains("\"attempt\":2") && log.out.contains("# exit code 0"), "{}", log.out);
}

#[test]
fn command_that_exits_with_75_each_time_is_quarantined_with_its_last_lines() {
    let place = Place::new();
    let ended = run_over(&place, "echo no server; exit 75");
    assert_eq!(ended.code, 1, "{}", ended.err);
    let (_, reason) = place.quarantined("plate");
    assert_eq!((&reason["code"], &reason["attempt"]), (&"command_deferred".into(), &3.into()));
    assert_eq!(reason["output"], serde_json::json!(["no server"]));
}

#[test]
fn command_that_fails_has_its_package_quarantined_with_code_log_and_last_lines() {
    let place = Place::new();
    let ended = run_over(
        &place,
        "i=0; while [ $i -lt 200 ]; do i=$((i+1)); echo \"line $i\"; done; echo bad >&2; exit 3",
    );
    assert_eq!(ended.code, 1, "{}", ended.err);
    assert!(ended.err.contains("1 quarantined (command_failed 1)"), "{}", ended.err);
    let (folder, reason) = place.quarantined("plate");
    assert_eq!(reason["code"], "command_failed");
    let message = reason["message"].as_str().unwrap();
    assert!(message.contains("exited with 3"), "{message}");
    let output = reason["output"].as_array().unwrap();
    assert_eq!((output.len(), &output[0], &output[49]), (50, &"line 152".into(), &"bad".into()));
    let notes = reason["notes"].as_array().unwrap();
    assert_eq!(notes[0], serde_json::json!(["exit_code", "3"]));
    let log = notes.iter().find(|note| note[0] == "log").unwrap()[1].as_str().unwrap();
    let log = fs::read_to_string(log).unwrap();
    assert_eq!(log.lines().count(), 1 + 201 + 1, "a header, all lines, an end");
    assert!(folder.join("delivered/plate.zip").exists());
    assert!(folder.join("unpacked/wells").exists());
}

#[test]
fn command_that_is_killed_or_takes_too_long_has_its_package_quarantined_as_that() {
    for (text, more, code, part) in [
        ("kill -SEGV $$", "", "command_killed", "signal 11 (SIGSEGV)"),
        ("exec sleep 1000", "process.timeout = '200ms'\n", "command_timed_out", "in 200ms"),
    ] {
        let place = Place::new();
        place.deliver("plate", &zips::deflated(&zips::sample(1)));
        let ended = once(&place, &place.script(text, more));
        assert_eq!(ended.code, 1, "{}", ended.err);
        let (_, reason) = place.quarantined("plate");
        assert_eq!(reason["code"], code);
        let message = reason["message"].as_str().unwrap();
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn sources_have_commands_of_their_own_or_none() {
    let place = Place::new();
    let path = |name: &str| place.path(name);
    let text = format!(
        "state = {:?}\n[defaults]\nsettle = '0s'\n\
         [source.a]\nlanding = {:?}\narchive = {:?}\nprocess.command = ['touch', 'by-a-{{name}}']\n\
         [source.b]\nlanding = {:?}\narchive = {:?}\n\
         process = {{ command = 'touch by-b', shell = true, isolation = 'group' }}\n\
         [source.c]\nlanding = {:?}\narchive = {:?}\n",
        path("state"),
        path("a/in"),
        path("a/out"),
        path("b/in"),
        path("b/out"),
        path("c/in"),
        path("c/out"),
    );
    let zip = zips::deflated(&zips::sample(1));
    for source in ["a", "b", "c"] {
        fs::create_dir_all(path(source).join("in")).unwrap();
        fs::rename(place.stage("plate", &zip), path(source).join("in/plate")).unwrap();
    }
    let ended = once(&place, &text);
    assert_eq!(ended.code, 0, "{}", ended.err);
    for (source, made) in [("a", Some("by-a-plate")), ("b", Some("by-b")), ("c", None)] {
        let archived = tree(&path(source).join("out/plate"));
        let found: Vec<_> = archived
            .keys()
            .filter_map(|path| path.to_str().filter(|path| path.starts_with("by-")))
            .collect();
        assert_eq!(found, Vec::from_iter(made), "{source}");
    }
    assert_eq!(common::names(&path("state/logs")).len(), 2);
}

#[test]
fn command_that_cannot_be_started_stops_the_start_and_touches_no_package() {
    for (command, part) in [
        ("no-such-program {dir}", "find the command \"no-such-program\" in PATH"),
        ("/etc/passwd", "execute \"/etc/passwd\""),
        ("/no/such/program", "execute \"/no/such/program\""),
        ("ls {nmae}", "did you mean {name}?"),
        ("{dir}/run", "only be in its arguments"),
    ] {
        let place = Place::new();
        place.deliver("plate", &zips::deflated(&zips::sample(1)));
        let ended = run_to_end(place.run(&["--once", "--process", command]));
        assert_eq!(ended.code, 78, "{command}: {}", ended.err);
        assert!(ended.err.contains(part), "{command}: {}", ended.err);
        assert_eq!(place.landed_names(), ["plate"], "{command}");
    }
    let place = Place::new();
    let ended = run_to_end(place.run(&["--once", "--process", "it's broken"]));
    assert_eq!(ended.code, 2, "{}", ended.err);
}

#[test]
fn command_that_disappears_while_the_daemon_runs_has_its_packages_wait() {
    let place = Place::new();
    let program = place.path("analyse");
    let install = || {
        fs::write(&program, "#!/bin/sh\ntouch analysed\n").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    };
    install();
    let mut daemon = Daemon::start(place.run(&["--process", program.to_str().unwrap()]));
    fs::remove_file(&program).unwrap();
    place.deliver("plate", &zips::deflated(&zips::sample(1)));
    let line = daemon.wait_line("intake of this source is paused");
    assert!(line.contains("command_not_started"), "{line}");
    assert_eq!(place.quarantined_names(), [""; 0]);
    install();
    place.wait_archived(&mut daemon, "plate");
    assert!(place.archive().join("plate/analysed").exists());
    assert_eq!(daemon.terminate(), 0);
    let (folder, log) = (place.landing().join(".longshore/logs"), daemon.log());
    assert_eq!(common::names(&folder).len(), 1, "waiting is no attempt:\n{log}");
}

/// A program of the package's own is never taken for the command, nor one beside it in `PATH`.
#[test]
fn program_in_a_package_is_never_run_in_place_of_the_command() {
    let place = Place::new();
    let evil = zips::Entry::file("true", b"#!/bin/sh\ntouch owned\n").with(|entry| {
        entry.mode = 0o100_755;
    });
    place.deliver("plate", &zips::raw(&[evil]));
    let mut command = place.run(&["--once", "--settle", "0s", "--process", "true"]);
    command.env("PATH", format!(".:{}", std::env::var("PATH").unwrap()));
    let ended = run_to_end(command);
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(place.archive().join("plate/true").exists());
    assert!(!place.archive().join("plate/owned").exists(), "the package's own program was run");
}

/// What a command should not do, and can do without a namespace: each has its reason, nothing is lost,
/// nothing outside is touched.
#[test]
fn command_that_breaks_its_package_has_it_quarantined_with_a_clear_reason() {
    for (text, code, part, unpacked) in [
        ("echo x >plate.zip", "overwrites_original", "\"plate.zip\"", true),
        ("rm -rf \"$LONGSHORE_DIR\"", "command_removed_output", "removed or moved", false),
        ("mv \"$LONGSHORE_DIR\" ../elsewhere", "command_removed_output", "removed or moved", false),
        (
            "cd ..; mv .done \"$OUTSIDE/moved\"; ln -s \"$OUTSIDE/moved\" .done",
            "command_replaced_output",
            "no folder any more",
            true,
        ),
        (
            "cd ..; rm -rf .done; echo x >.done",
            "command_replaced_output",
            "no folder any more",
            true,
        ),
        (
            "echo x >>\"$LONGSHORE_DELIVERED/plate.zip\"",
            "command_changed_delivery",
            "another",
            true,
        ),
        ("rm \"$LONGSHORE_DELIVERED/plate.zip\"", "command_changed_delivery", "gone", true),
        (
            "rm \"$LONGSHORE_DELIVERED/readme.txt\"; exit 75",
            "command_changed_delivery",
            "gone",
            true,
        ),
        ("rm -r \"$LONGSHORE_DELIVERED\"", "command_changed_delivery", "gone", true),
    ] {
        let place = Place::new();
        let outside = place.path("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("bystander"), "untouched").unwrap();
        let folder = place.stage("plate", &zips::deflated(&zips::sample(1)));
        fs::write(folder.join("readme.txt"), "delivered").unwrap();
        fs::rename(folder, place.landing().join("plate")).unwrap();
        let more =
            format!("process.isolation = 'group'\nprocess.env = {{ OUTSIDE = {outside:?} }}\n");
        let ended = once(&place, &place.script(text, &more));
        assert_eq!(ended.code, 1, "{text}: {}", ended.err);
        let (folder, reason) = place.quarantined("plate");
        assert_eq!((&reason["code"], &reason["attempt"]), (&code.into(), &1.into()), "{text}");
        let message = reason["message"].as_str().unwrap();
        assert!(message.contains(part), "{text}: {message}");
        let there = fs::symlink_metadata(folder.join("unpacked")).is_ok();
        assert_eq!(there, unpacked, "{text}");
        if !text.contains("$LONGSHORE_DELIVERED") {
            let delivered = common::names(&folder.join("delivered"));
            assert_eq!(delivered, ["plate.zip", "readme.txt"], "{text}");
        }
        assert_eq!(fs::read_to_string(outside.join("bystander")).unwrap(), "untouched");
        for stray in ["plate.zip", "moved/plate.zip"] {
            assert!(!outside.join(stray).exists(), "{text}: an original was moved outside");
        }
        assert_eq!(place.archived_names(), [""; 0], "{text}");
    }
}

#[test]
fn command_that_makes_its_folder_unreadable_has_it_archived_all_the_same() {
    let place = Place::new();
    let zip = zips::deflated(&zips::sample(1));
    place.deliver("plate", &zip);
    place.give(&place.landing());
    let text = place.script("touch made; chmod 0 wells .", "");
    let command = place.unprivileged(place.run_with(&text, &["--once"]));
    let ended = run_to_end(command);
    assert_eq!(ended.code, 0, "{}", ended.err);
    let archived = place.archive().join("plate");
    assert_eq!(fs::read(archived.join("plate.zip")).unwrap(), zip);
    assert!(archived.join("made").exists());
}

#[test]
fn command_that_leaves_an_unreadable_folder_can_be_tried_again() {
    let place = Place::new();
    place.deliver("plate", &zips::deflated(&zips::sample(1)));
    place.give(&place.landing());
    let text = "chmod 0 wells .; test $LONGSHORE_ATTEMPT = 2 || exit 75";
    let ended =
        run_to_end(place.unprivileged(place.run_with(&place.script(text, ""), &["--once"])));
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert_eq!(place.archived_names(), ["plate"]);
}

/// Starts a daemon with a command that hangs, whose processes carry a marker, and waits for them.
fn hanging(place: &Place, grace: &str) -> (Daemon, String) {
    let marker = format!("processing-{}-{}", std::process::id(), place.top().display());
    let text = format!(
        "grace = '{grace}'\n{}",
        place.script(
            "trap '' TERM; setsid sleep 1000 & sleep 1000",
            &format!("process.env = {{ {MARKER} = {marker:?} }}\n")
        )
    );
    let mut daemon = Daemon::start(place.run_with(&text, &[]));
    place.deliver("plate", &zips::deflated(&zips::sample(1)));
    daemon.wait_until("its processes run", || marked(&marker).len() >= 3);
    (daemon, marker)
}

#[test]
fn command_that_runs_at_a_stop_is_killed_and_its_package_goes_on_at_the_next_start() {
    for (signals, code) in [
        (&[Signal::TERM][..], 0),
        (&[Signal::TERM, Signal::TERM], 128 + 15),
        (&[Signal::QUIT], 128 + 3),
        (&[Signal::KILL], 1000 + 9),
    ] {
        let place = Place::new();
        let grace = if signals.len() == 1 { "100ms" } else { "1h" };
        let (mut daemon, marker) = hanging(&place, grace);
        for (n, signal) in signals.iter().enumerate() {
            daemon.signal(*signal);
            if n + 1 < signals.len() {
                daemon.wait_line("stopping");
            }
        }
        assert_eq!(daemon.code(), code, "{signals:?}: {}", daemon.log());
        poll_until("nothing of the command is alive", Duration::from_secs(1), || {
            marked(&marker).is_empty().then_some(())
        });
        assert_eq!((place.jobs().len(), place.quarantined_names().len()), (1, 0), "{signals:?}");

        let ended = once(&place, &place.script("echo \"$LONGSHORE_ATTEMPT\" >attempt", ""));
        assert_eq!(ended.code, 0, "{}", ended.err);
        let attempt = fs::read_to_string(place.archive().join("plate/attempt")).unwrap();
        let log = daemon.log();
        assert_eq!(attempt, "1\n", "{signals:?}: a stop was counted as an attempt: {log}");
    }
}

/// The one case in which nobody is left to clean up: daemon and guard are killed together, without a
/// namespace.
#[test]
fn leftovers_of_a_killed_daemon_and_guard_are_killed_before_their_package_is_unpacked_again() {
    let place = Place::new();
    let marker = format!("leftovers-{}-{}", std::process::id(), place.top().display());
    let more = format!("process.isolation = 'group'\nprocess.env = {{ {MARKER} = {marker:?} }}\n");
    let text = place.script("setsid sleep 1000 & sleep 1000", &more);
    let mut daemon = Daemon::start(place.run_with(&text, &[]));
    place.deliver("plate", &zips::deflated(&zips::sample(1)));
    // By name: in the middle of its exec a process shows no environment.
    let asleep = || marked(&marker).iter().filter(|process| process.name == "sleep").count();
    daemon.wait_until("its processes run", || asleep() == 2);
    let [guard] = &children(i32::try_from(daemon.pid()).unwrap())[..] else { panic!("one guard") };
    let guard = Pid::from_raw(guard.pid).unwrap();
    // A daemon that is stopped cannot act on its guard's death before its own. (The other way round
    // does not work: the kernel lets a stopped guard go on when its daemon's death orphans its group.)
    let pid = Pid::from_raw(i32::try_from(daemon.pid()).unwrap()).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    kill_process(guard, Signal::KILL).unwrap();
    daemon.kill();
    assert!(!marked(&marker).is_empty(), "nothing was left: the test tests nothing");

    let seen = place.path("seen");
    let script =
        format!("grep -lz {MARKER}={marker} /proc/[0-9]*/environ >{} || :", seen.display());
    // In a namespace of its own it would see nobody else.
    let text = place.script(&script, "process.isolation = 'group'\n");
    let mut again = Daemon::start(place.run_with(&text, &[]));
    place.wait_archived(&mut again, "plate");
    assert_eq!(again.terminate(), 0);
    assert!(again.log().contains("was still alive, and is killed"), "{}", again.log());
    assert!(marked(&marker).is_empty(), "a leftover lives on");
    assert_eq!(fs::read_to_string(seen).unwrap(), "", "the next command met a leftover");
}

#[test]
fn command_that_ends_within_the_grace_has_its_package_archived() {
    let place = Place::new();
    let go = place.path("go");
    make_fifo(&go);
    let text = place.script(&format!("echo began; read line <{}", go.display()), "");
    let mut daemon = Daemon::start(place.run_with(&text, &["-v"]));
    place.deliver("plate", &zips::deflated(&zips::sample(1)));
    daemon.wait_line("began");
    daemon.signal(Signal::TERM);
    daemon.wait_line("stopping");
    fs::write(&go, "on\n").unwrap();
    assert_eq!(daemon.code(), 0);
    assert_eq!(place.archived_names(), ["plate"]);
    assert!(place.jobs().is_empty());
}

#[test]
fn extraction_goes_on_while_commands_run_up_to_the_bound_on_waiting_packages() {
    let place = Place::new();
    let text = place.script("exec sleep 1000", "process.workers = 1\nprocess.waiting = 2\n");
    let mut daemon = Daemon::start(place.run_with(&format!("grace = '0s'\n{text}"), &[]));
    for n in 0..8 {
        place.deliver(&format!("plate-{n}"), &zips::deflated(&zips::sample(n)));
    }
    let unpacked = || place.jobs().iter().filter(|job| job.join(".done").exists()).count();
    daemon.wait_until("one runs and two wait", || unpacked() == 3);
    daemon.run_for(Duration::from_millis(500));
    assert_eq!((unpacked(), place.landed_names().len()), (3, 5), "the bound does not hold");
    assert_eq!(daemon.terminate(), 0);
    assert!(!daemon.said(Stream::Err).contains("quarantined"));
}

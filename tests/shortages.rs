//! A machine that gives too few files or threads: a sentence at the start, waiting later on; no package
//! is to blame.
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use common::daemon::{Daemon, run_to_end};
use common::{Place, has, is_root, skip, zips};

/// A command with limits of the shell's.
fn limited(limits: &str, run: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("{limits}; exec \"$0\" \"$@\""));
    shell.arg(run.get_program()).args(run.get_args());
    if let Some(folder) = run.get_current_dir() {
        shell.current_dir(folder);
    }
    shell
}

#[test]
fn start_with_too_few_files_is_a_sentence_and_a_code() {
    for count in [8, 12, 20, 28] {
        let place = Place::new();
        place.deliver_files("plate", &zips::sample(1));
        let run = place.run(&["--once", "--workers", "2"]);
        let ended = run_to_end(limited(&format!("ulimit -n {count}"), &run));
        assert_eq!(ended.code, 71, "{count}: {}{}", ended.out, ended.err);
        assert!(ended.err.contains("ulimit -n"), "{count}: {}", ended.err);
        assert!(!ended.err.contains("panicked"), "{count}: {}", ended.err);
        assert_eq!(place.landed_names(), ["plate"]);
    }
}

/// Processes and threads of a user.
fn count_of(uid: u32) -> usize {
    let is_its = |text: &str| {
        let line = text.lines().find(|line| line.starts_with("Uid:"));
        line.is_some_and(|line| line.split_whitespace().nth(1) == Some(&uid.to_string()))
    };
    let all = fs::read_dir("/proc").unwrap().flatten();
    let of = |entry: fs::DirEntry| {
        let status = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        let tasks = || fs::read_dir(entry.path().join("task")).map_or(0, Iterator::count);
        if is_its(&status) { tasks() } else { 0 }
    };
    all.map(of).sum()
}

/// A user that nothing else of the tests runs as.
const LONELY: u32 = 40_961;

fn as_lonely(place: &Place, run: Command) -> Command {
    use std::os::unix::process::CommandExt;

    let mut command = place.unprivileged(run);
    for folder in [place.landing(), place.archive(), place.quarantine()] {
        std::os::unix::fs::chown(folder, Some(LONELY), Some(LONELY)).unwrap();
    }
    command.uid(LONELY).gid(LONELY);
    command
}

/// `prlimit` as that user: root may not change the limits of others in every container.
fn lonely_prlimit() -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &LONELY.to_string(), "--regid", &LONELY.to_string()]);
    command.args(["--clear-groups", "prlimit"]);
    command
}

/// Changes the soft limit of a daemon that runs as that user.
fn limit_processes(daemon: &Daemon, soft: &str) {
    let pid = daemon.pid().to_string();
    common::run(lonely_prlimit().args(["--pid", &pid, &format!("--nproc={soft}:")]));
}

#[test]
fn start_with_too_few_threads_is_a_sentence_and_a_code() {
    if !is_root() || !has("prlimit") {
        return skip("there is no prlimit, or no root who becomes a user with limits");
    }
    for count in [1, 4, 8] {
        let place = Place::new();
        place.deliver_files("plate", &zips::sample(1));
        place.give(&place.landing().join("plate"));
        let run = as_lonely(&place, place.run(&["--once", "--workers", "2"]));
        let mut limited = lonely_prlimit();
        limited.args([&format!("--nproc={count}"), "--"]);
        limited.arg(run.get_program()).args(run.get_args()).current_dir(place.top());
        let ended = run_to_end(limited);
        assert_eq!(ended.code, 71, "{count}: {}{}", ended.out, ended.err);
        assert!(ended.err.contains("ulimit -u"), "{count}: {}", ended.err);
        assert!(!ended.err.contains("panicked"), "{count}: {}", ended.err);
    }
}

fn prlimit(daemon: &Daemon, limit: &str) {
    common::run(Command::new("prlimit").args(["--pid", &daemon.pid().to_string(), limit]));
}

#[test]
fn files_that_run_out_at_work_cost_no_attempt() {
    if !has("prlimit") {
        return skip("there is no prlimit");
    }
    let place = Place::new();
    let config = place.config("settle = '0s'\nmax_attempts = 1\nrescan = '200ms'\n");
    let mut daemon = Daemon::start(place.run_with(&config, &["--workers", "2"]));
    let open = fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap().count();
    prlimit(&daemon, &format!("--nofile={}:4096", open + 3));
    for n in 0..8 {
        place.deliver_files(&format!("plate-{n}"), &zips::sample(n));
    }
    daemon.wait_line("Too many open files");
    prlimit(&daemon, "--nofile=1024:4096");
    daemon.wait_until("all are archived", || place.archived_names().len() == 8);
    assert_eq!(place.quarantined_names(), [""; 0]);
    assert_eq!(daemon.terminate(), 0);
    let log = daemon.log();
    assert!(!log.contains("give this user"), "wrong advice: {log}");
}

#[test]
fn threads_that_run_out_at_work_cost_neither_the_daemon_nor_a_package() {
    if !is_root() || !has("prlimit") {
        return skip("there is no prlimit, or no root who becomes a user with limits");
    }
    let place = Place::new();
    fs::set_permissions(place.landing(), fs::Permissions::from_mode(0o755)).unwrap();
    let config = place.script("true", "max_attempts = 1\nrescan = '200ms'\n");
    let run = as_lonely(&place, place.run_with(&config, &["--workers", "2"]));
    let mut daemon = Daemon::start(run);
    let deliver = |name: &str| {
        let staged = place.stage(name, &zips::deflated(&zips::sample(1)));
        for path in [staged.clone(), staged.join(format!("{name}.zip"))] {
            std::os::unix::fs::chown(path, Some(LONELY), Some(LONELY)).unwrap();
        }
        fs::rename(staged, place.landing().join(name)).unwrap();
    };
    deliver("before");
    place.wait_archived(&mut daemon, "before");
    limit_processes(&daemon, &format!("{}", count_of(LONELY)));
    deliver("during");
    daemon.wait_line("during");
    limit_processes(&daemon, "4096");
    place.wait_archived(&mut daemon, "during");
    deliver("after");
    place.wait_archived(&mut daemon, "after");
    assert_eq!(place.quarantined_names(), [""; 0]);
    assert_eq!(daemon.terminate(), 0);
    let log = daemon.log();
    assert!(!log.contains("panicked") && !log.contains("starts again"), "{log}");
}

#[test]
fn script_that_names_no_program_is_refused_at_the_start_and_named_later() {
    let place = Place::new();
    let script = place.path("analyse");
    let write = |line: &str| {
        fs::write(&script, format!("{line}\ntrue\n")).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    };
    let process = script.to_str().unwrap();
    for (line, named) in [("#!/bin/sh\r", "\"/bin/sh\\r\""), ("#!/no/such", "\"/no/such\"")] {
        write(line);
        let ended = run_to_end(place.run(&["--once", "--process", process]));
        assert_eq!(ended.code, 78, "{}", ended.err);
        assert!(ended.err.contains(named), "{}", ended.err);
    }
    write("#!/bin/sh");
    let mut daemon = Daemon::start(place.run(&["--process", process]));
    write("#!/no/such");
    place.deliver_files("plate", &zips::sample(1));
    let line = daemon.wait_line("its first line names");
    assert!(line.contains("/no/such") && line.contains("command_not_executable"), "{line}");
    write("#!/bin/sh");
    place.wait_archived(&mut daemon, "plate");
    assert_eq!(daemon.terminate(), 0);
}

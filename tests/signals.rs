//! Signals: what they do, what they do not do, and that a stop that was asked for comes to its end
//! whatever hangs.
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod common;

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use common::daemon::{DEADLINE, Daemon, run_to_end};
use common::processes::{Process, poll_until};
use common::{Place, names, skip, zips};

/// Beyond what any stop here may take, on a busy machine.
const SOON: Duration = Duration::from_secs(20);

fn boot(place: &Place) -> String {
    fs::read_to_string(place.work().join(".boot")).unwrap_or_default()
}

/// Has the binary's step fail or hang, in the syntax of `FAILPOINTS`.
fn with_fault(mut command: Command, fault: &str, place: &Place) -> Command {
    command.env("FAILPOINTS", fault).env("LONGSHORE_FAILPOINTS_SEEN", place.path("seen"));
    command
}

/// Whether a step that is to hang has been reached.
fn hangs(place: &Place, point: &str) -> bool {
    // The line is written before the step hangs.
    fs::read_to_string(place.path("seen")).is_ok_and(|seen| seen.lines().any(|line| line == point))
}

#[test]
fn signals_that_mean_nothing_are_told_once_each_and_the_work_goes_on() {
    let place = Place::new();
    let mut daemon = Daemon::start(place.run(&["-v"]));
    let ignored =
        [Signal::USR1, Signal::USR2, Signal::ALARM, Signal::VTALARM, Signal::PROF, Signal::IO];
    for signal in ignored {
        daemon.signal(signal);
        daemon.wait_line("signal ignored: it means nothing");
        daemon.signal(signal);
        daemon.wait_line("signal ignored");
    }
    place.deliver_files("plate", &zips::sample(1));
    place.wait_archived(&mut daemon, "plate");
    assert_eq!(daemon.terminate(), 0);
    let log = daemon.log();
    assert_eq!(log.matches("it means nothing").count(), ignored.len(), "{log}");
}

#[test]
fn file_beyond_the_size_limit_costs_its_package_and_no_other() {
    let place = Place::new();
    let large = zips::stored(&[("large.bin".to_owned(), vec![7; 8 << 20])].into());
    let mut shell = Command::new("sh");
    // 512 or 1024 bytes a block: the ledger fits, the file does not.
    shell.arg("-c").arg("ulimit -f 6000; exec \"$0\" \"$@\"");
    let run = place.run(&["--once", "--settle", "0s"]);
    shell.arg(run.get_program()).args(run.get_args()).current_dir(place.top());
    place.deliver("large", &large);
    place.deliver_files("small", &zips::sample(1));
    let ended = run_to_end(shell);
    assert_eq!(ended.code, 1, "{}{}", ended.out, ended.err);
    assert_eq!(place.archived_names(), ["small"]);
    let (folder, reason) = place.quarantined("large");
    assert_eq!(reason["code"], "write");
    assert!(reason["message"].as_str().unwrap().contains("File too large"), "{reason}");
    assert_eq!(reason["attempt"], 1, "another attempt would fare no better");
    assert_eq!(fs::read(folder.join("delivered/large.zip")).unwrap(), large);
}

#[test]
fn command_finds_every_signal_at_its_default_whatever_its_daemon_ignores() {
    for isolation in ["auto", "group"] {
        let place = Place::new();
        let config = place.config(&format!(
            "settle = '0s'\n[source.default.process]\nisolation = '{isolation}'\n\
             command = ['grep', '-E', '^Sig(Ign|Blk)', '/proc/self/status']\n"
        ));
        let run = place.run_with(&config, &["--once"]);
        let mut shell = Command::new("sh");
        shell.arg("-c").arg("trap '' HUP USR1 USR2 PIPE TSTP XFSZ; exec \"$0\" \"$@\"");
        shell.arg(run.get_program()).args(run.get_args()).current_dir(place.top());
        place.deliver_files("plate", &zips::sample(1));
        let ended = run_to_end(shell);
        assert_eq!(ended.code, 0, "{}", ended.err);
        let logs = place.landing().join(".longshore/logs");
        let text = fs::read_to_string(logs.join(&names(&logs)[0])).unwrap();
        // Those above 31 have no meaning of the system's own; the C library keeps two for itself.
        let none = |what: &str| {
            let mask = text.lines().find_map(|line| line.strip_prefix(what)).unwrap();
            u64::from_str_radix(mask.trim(), 16).unwrap() & 0x7fff_ffff == 0
        };
        assert!(none("SigIgn:") && none("SigBlk:"), "{isolation}: {text}");
    }
}

#[test]
fn stop_that_is_cut_short_is_no_crash_however_often_that_happens() {
    let place = Place::new();
    place.deliver_files("plate", &zips::sample(1));
    let config = place.script("exec sleep 1000", "max_crashes = 1\n");
    for _ in 0..5 {
        let mut daemon = Daemon::start(place.run_with(&config, &[]));
        let is_running = || names(&place.landing().join(".longshore/logs")).len() == 1;
        daemon.wait_until("its command runs", is_running);
        assert!(boot(&place).contains("running"), "{}", boot(&place));
        daemon.signal(Signal::TERM);
        daemon.wait_until("the stop is recorded", || boot(&place).contains("stopping"));
        daemon.kill();
    }
    let mut daemon = Daemon::spawn(place.run_with(&config, &[]));
    daemon.wait_line("unclean: false");
    daemon.wait_line("watching");
    assert_eq!(place.quarantined_names(), [""; 0], "a stop was counted as a crash");
    daemon.signal(Signal::QUIT);
    assert_eq!(daemon.code(), 128 + 3);
    assert!(boot(&place).contains("stopped"), "{}", boot(&place));
}

/// Starts a daemon whose log goes into a pipe that is full, and that nobody reads.
fn unread(place: &Place, options: &[&str]) -> (Child, io::PipeReader) {
    let (reader, mut writer) = io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&writer, true).unwrap();
    while writer.write(&[b'.'; 4096]).is_ok() {}
    while writer.write(b".").is_ok() {}
    rustix::io::ioctl_fionbio(&writer, false).unwrap();
    let mut run = place.run(options);
    let child = run.stdin(Stdio::null()).stdout(Stdio::null()).stderr(writer).spawn().unwrap();
    (child, reader)
}

#[test]
fn log_that_nobody_reads_holds_up_neither_the_work_nor_the_end() {
    for (signals, code) in [(vec![Signal::TERM], Some(0)), (vec![Signal::QUIT], Some(128 + 3))] {
        let place = Place::new();
        let (mut child, _reader) = unread(&place, &["-vv"]);
        for n in 0..20 {
            place.deliver_files(&format!("plate-{n}"), &zips::sample(n));
        }
        poll_until("all are archived", DEADLINE, || {
            (place.archived_names().len() == 20).then_some(())
        });
        let asked = Instant::now();
        for signal in &signals {
            kill_process(Pid::from_child(&child), *signal).unwrap();
        }
        let status = poll_until("its end", DEADLINE, || child.try_wait().unwrap());
        assert_eq!(status.code(), code, "{signals:?}");
        assert!(asked.elapsed() < SOON, "{signals:?} took {:?}", asked.elapsed());
        assert!(boot(&place).contains("stopped"), "{}", boot(&place));
    }
}

#[test]
fn stop_ends_although_the_landings_server_hangs() {
    // The first write is at the start; at the second one the server hangs.
    let fault = "write:.boot.new=1*off->pause";
    let cases: [(&[Signal], i32); 3] = [
        (&[Signal::QUIT], 128 + 3),
        (&[Signal::TERM, Signal::TERM], 128 + 15),
        // By itself, after the grace and some seconds.
        (&[Signal::TERM], 128 + 15),
    ];
    for (signals, code) in cases {
        let place = Place::new();
        let config = format!("grace = '0s'\n{}", place.config(""));
        let run = with_fault(place.run_with(&config, &[]), fault, &place);
        let mut daemon = Daemon::start(run);
        let asked = Instant::now();
        for (n, signal) in signals.iter().enumerate() {
            if n > 0 {
                daemon.wait_line("stopping"); // two at the same moment are one
            }
            daemon.signal(*signal);
        }
        assert_eq!(daemon.code(), code, "{signals:?}: {}", daemon.log());
        assert!(asked.elapsed() < SOON, "{signals:?} took {:?}", asked.elapsed());
        assert!(hangs(&place, "write:.boot.new"), "it never hung");
    }
}

#[test]
fn stop_ends_although_threads_at_work_hang() {
    for point in ["mkdir:.out", "sync:work"] {
        let place = Place::new();
        let config = format!("grace = '100ms'\n{}", place.config(""));
        let run = with_fault(place.run_with(&config, &[]), &format!("{point}=pause"), &place);
        let mut daemon = Daemon::start(run);
        place.deliver_files("plate", &zips::sample(1));
        daemon.wait_until("a thread hangs", || hangs(&place, point));
        let asked = Instant::now();
        daemon.signal(Signal::TERM);
        let code = daemon.code();
        assert!([0, 128 + 15].contains(&code), "{point}: {code}\n{}", daemon.log());
        assert!(asked.elapsed() < SOON, "{point} took {:?}", asked.elapsed());
        let ended = run_to_end(place.run(&["--once"]));
        assert_eq!(ended.code, 0, "{point}: {}", ended.err);
        assert_eq!(place.archived_names(), ["plate"], "{point}");
    }
}

/// Processes that were started so.
fn started_as(line: &str) -> Vec<Process> {
    let all = fs::read_dir("/proc").unwrap().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        let words = fs::read(Path::new("/proc").join(pid.to_string()).join("cmdline"));
        words.is_ok_and(|words| String::from_utf8_lossy(&words).replace('\0', " ").trim() == line)
    })
    .filter_map(Process::read)
    .collect()
}

fn in_group(place: &Place, script: &str, more: &str) -> String {
    format!(
        "grace = '200ms'\n{}process.isolation = 'group'\n{more}",
        place.script(script, "max_attempts = 1\n")
    )
}

#[test]
fn command_that_stops_its_guard_keeps_neither_the_daemon_nor_itself_alive() {
    let line = format!("sleep 1000.{}", std::process::id());
    let place = Place::new();
    let script = format!("kill -STOP $PPID; exec {line}");
    let mut daemon = Daemon::start(place.run_with(&in_group(&place, &script, ""), &[]));
    place.deliver_files("plate", &zips::sample(1));
    daemon.wait_until("its command runs", || !started_as(&line).is_empty());
    let asked = Instant::now();
    assert_eq!(daemon.terminate(), 0, "{}", daemon.log());
    assert!(asked.elapsed() < SOON, "it took {:?}", asked.elapsed());
    assert_eq!(started_as(&line), [], "its command outlived it");
}

#[test]
fn command_whose_guard_is_stopped_is_ended_at_its_time() {
    let line = format!("sleep 1001.{}", std::process::id());
    let place = Place::new();
    // It stops its guard again and again.
    let script = format!("while :; do kill -STOP $PPID; sleep 0.01; done & exec {line}");
    let more = "process.timeout = '100ms'\nprocess.kill_after = '100ms'\n";
    let mut daemon = Daemon::start(place.run_with(&in_group(&place, &script, more), &[]));
    place.deliver_files("plate", &zips::sample(1));
    daemon.wait_until("it is given up", || !place.quarantined_names().is_empty());
    assert_eq!(place.quarantined("plate").1["code"], "command_timed_out");
    assert_eq!(started_as(&line), [], "it is still there");
    assert_eq!(daemon.terminate(), 0, "{}", daemon.log());
}

#[test]
fn process_that_hides_and_loses_its_guard_is_ended_with_its_command() {
    if !Path::new("/usr/bin/setsid").exists() {
        return skip("there is no `setsid` here");
    }
    let line = format!("sleep 1002.{}", std::process::id());
    let place = Place::new();
    // Without its mark, in a session of its own; and its own child.
    let hidden = format!("setsid env -i /bin/sh -c '{line} & exec {line}' &");
    let script = format!(
        "{hidden} while ! pgrep -fx '{line}' >/dev/null; do sleep 0.01; done; kill -9 $PPID"
    );
    // The quotes of TOML end at three of them: the script is a file.
    let file = place.path("hide.sh");
    fs::write(&file, script).unwrap();
    let config = in_group(&place, &format!("exec sh {}", file.display()), "");
    let mut daemon = Daemon::start(place.run_with(&config, &[]));
    place.deliver_files("plate", &zips::sample(1));
    daemon.wait_until("it is given up", || !place.quarantined_names().is_empty());
    assert_eq!(place.quarantined("plate").1["code"], "guard_lost");
    assert_eq!(started_as(&line), [], "it outlived its command");
    // Nor is there anything dead that nobody reaped.
    let children = common::processes::children(i32::try_from(daemon.pid()).unwrap());
    assert_eq!(children, [], "children of a daemon that runs nothing");
    assert_eq!(daemon.terminate(), 0, "{}", daemon.log());
}

#[test]
fn once_gives_up_when_attempts_end_the_same_way_each_time() {
    let place = Place::new();
    let config = format!("once_wait = '8s'\n{}", place.config("settle = '0s'\n"));
    place.deliver_files("plate", &zips::sample(1));
    // Each attempt takes longer than a look at what moves, and then the disk is full.
    let fault = "sync:work=sleep(1500);rename:zip:gathered=return(ENOSPC)";
    let run = with_fault(place.run_with(&config, &["--once"]), fault, &place);
    let begun = Instant::now();
    let ended = run_to_end(run);
    assert_eq!(ended.code, 74, "{}{}", ended.out, ended.err);
    assert!(ended.err.contains("nothing has moved"), "{}", ended.err);
    println!("gave up after {:?}", begun.elapsed());
}

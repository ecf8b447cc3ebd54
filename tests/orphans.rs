//! No orphans: whatever ends the daemon, nothing that its commands started is alive a second later.
//!
//! Every way to end × every shape that a command can take × every isolation that this machine allows,
//! on the real binary. All shapes of one case run in one daemon, a package each. Prints a table.
//!
//! Without the standard harness, for the table.
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]
#![expect(clippy::print_stdout, reason = "the table is the result")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};
use rustix::process::{Pid, Signal, kill_process};

use common::daemon::{DEADLINE, Daemon, PACE, pause};
use common::processes::{MARKER, Process, marked, poll_until, variable};
use common::{Place, is_root, skip, zips};

/// How soon nobody is left.
const PROMISED: Duration = Duration::from_secs(1);
const GRACE: Duration = Duration::from_millis(400);
/// Long enough for all shapes to be there before it.
const TIMEOUT: Duration = Duration::from_secs(4);
const KILL_AFTER: Duration = Duration::from_millis(100);

/// What a command can be: a name, how many processes that makes, and how.
const SHAPES: [(&str, usize, &str); 7] = [
    ("direct", 1, "exec sleep 1000"),
    ("grandchild", 2, "sleep 1000 & wait"),
    ("setsid", 2, "setsid sleep 1000 & wait"),
    (
        "double-fork",
        3,
        "(setsid sh -c 'sleep 1000 & wait' >/dev/null 2>&1 </dev/null &); exec sleep 1000",
    ),
    (
        "ignores-term",
        3,
        "trap '' TERM INT HUP QUIT; setsid sleep 1000 & while :; do sleep 1000; done",
    ),
    ("stopped", 2, "setsid sh -c 'kill -STOP $$; sleep 1000' & kill -STOP $$; wait"),
    ("closed-output", 2, "exec >/dev/null 2>&1; setsid sleep 1000 & wait"),
];

/// What ends the commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Term,
    TermTwice,
    Quit,
    Kill,
    Abort,
    Timeout,
    KillWithGuards,
}

impl End {
    const ALL: [Self; 7] = [
        Self::Term,
        Self::TermTwice,
        Self::Quit,
        Self::Kill,
        Self::Abort,
        Self::Timeout,
        Self::KillWithGuards,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Term => "SIGTERM, grace over",
            Self::TermTwice => "SIGTERM twice",
            Self::Quit => "SIGQUIT",
            Self::Kill => "SIGKILL of the daemon",
            Self::Abort => "abort",
            Self::Timeout => "timeout",
            Self::KillWithGuards => "SIGKILL of daemon and guards",
        }
    }

    /// What passes before anybody is to end.
    fn allowance(self) -> Duration {
        match self {
            Self::Term => GRACE,
            Self::Timeout => TIMEOUT + KILL_AFTER,
            _ => Duration::ZERO,
        }
    }
}

/// How the commands are isolated: what is configured, who runs it, and what that comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Isolation {
    configured: &'static str,
    unprivileged: bool,
    mode: &'static str,
}

const ISOLATIONS: [Isolation; 3] = [
    Isolation { configured: "auto", unprivileged: false, mode: "pid-namespace" },
    // As root it would come to the same as `auto`.
    Isolation { configured: "namespace", unprivileged: true, mode: "user-namespace" },
    Isolation { configured: "group", unprivileged: false, mode: "group" },
];

/// Of each case and shape: processes that were gone in time, and all; and how long it took.
type Table = BTreeMap<(Isolation, End), (BTreeMap<&'static str, (usize, usize)>, Duration)>;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // They wait most of the time.
    arguments.test_threads = arguments.test_threads.or(Some(4));
    let table = Arc::new(Mutex::new(Table::new()));
    // The binary, for daemons without rights. Written once, before there are threads: a file cannot be
    // executed while another thread's fork holds it open for writing.
    let shared = Arc::new(Place::new());
    shared.unprivileged(shared.longshore(&[]));
    let mut trials = Vec::new();
    for isolation in ISOLATIONS {
        if !arguments.list && !is_to_be_had(isolation, &shared) {
            skip(&format!("commands cannot be isolated by a {} here", isolation.mode));
            continue;
        }
        for end in End::ALL {
            let (table, shared) = (Arc::clone(&table), Arc::clone(&shared));
            let name = format!("{}::{}", isolation.mode, end.name().replace([',', ' '], "_"));
            trials.push(Trial::test(name, move || {
                let case = AssertUnwindSafe(|| nobody_is_left(isolation, end, &shared, &table));
                catch_unwind(case).map_err(|_| Failed::without_message())
            }));
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    print(&table.lock().unwrap());
    conclusion.exit_code()
}

fn is_to_be_had(isolation: Isolation, shared: &Place) -> bool {
    let place = Place::new();
    let mut daemon = Daemon::spawn(command(&place, shared, isolation, "probe", End::Quit));
    let wanted = format!("isolation: {}", isolation.mode);
    let begun = Instant::now();
    loop {
        let log = daemon.log();
        if log.contains(&wanted) {
            return true;
        }
        if log.contains("isolation: ") || !daemon.is_alive() {
            return false;
        }
        assert!(begun.elapsed() < DEADLINE, "it never says which isolation it has:\n{log}");
        pause(PACE);
    }
}

fn command(
    place: &Place,
    shared: &Place,
    isolation: Isolation,
    marker: &str,
    end: End,
) -> std::process::Command {
    let script = place.path("shape.sh");
    let cases = SHAPES.map(|(name, _, script)| format!("{name}) {script} ;;\n")).concat();
    fs::write(&script, format!("case $1 in\n{cases}esac\n")).unwrap();
    let timeout = match end {
        End::Timeout => format!("timeout = \"{}ms\"\n", TIMEOUT.as_millis()),
        _ => String::new(),
    };
    let process = format!(
        "[source.default.process]\ncommand = [\"sh\", {script:?}, \"{{name}}\"]\n{timeout}\
         isolation = \"{}\"\nkill_after = \"{}ms\"\nworkers = {}\nenv = {{ {MARKER} = \"{marker}\" }}\n",
        isolation.configured,
        KILL_AFTER.as_millis(),
        SHAPES.len(),
    );
    let grace = format!("grace = \"{}ms\"\n", GRACE.as_millis());
    let command = place.run_with(&format!("{grace}{}", place.config(&process)), &[]);
    if !isolation.unprivileged {
        return command;
    }
    if is_root() && !place.path("longshore").exists() {
        fs::hard_link(shared.path("longshore"), place.path("longshore")).unwrap();
    }
    place.unprivileged(command)
}

/// The live processes of each shape.
fn shapes(marker: &str) -> BTreeMap<&'static str, Vec<Process>> {
    let mut found: BTreeMap<_, Vec<_>> = SHAPES.iter().map(|shape| (shape.0, vec![])).collect();
    for process in marked(marker) {
        let name = variable(process.pid, "LONGSHORE_NAME");
        if let Some(shape) = SHAPES.iter().find(|shape| Some(shape.0) == name.as_deref()) {
            found.entry(shape.0).or_default().push(process);
        }
    }
    found
}

/// Whether every process of every shape is there, and in the state that makes the shape.
fn all_there(found: &BTreeMap<&'static str, Vec<Process>>) -> bool {
    SHAPES.iter().all(|(name, count, _)| {
        let of_shape = &found[name];
        let stopped = of_shape.iter().filter(|process| process.state.starts_with('T')).count();
        let settled = of_shape.iter().all(|process| process.name != "sh" || *name != "direct");
        of_shape.len() == *count && settled && (*name != "stopped" || stopped == 2)
    })
}

fn nobody_is_left(isolation: Isolation, end: End, shared: &Place, table: &Mutex<Table>) {
    let place = Place::new();
    let marker = format!("orphans-{}-{end:?}-{}", isolation.mode, std::process::id());
    let mut daemon = Daemon::start(command(&place, shared, isolation, &marker, end));
    for (name, ..) in SHAPES {
        place.deliver(name, &zips::deflated(&zips::sample(1)));
        if isolation.unprivileged {
            place.give(&place.landing().join(name));
        }
    }
    let started = poll_until("all shapes to be there", DEADLINE, || {
        assert!(daemon.is_alive(), "{}", daemon.log());
        Some(shapes(&marker)).filter(all_there)
    });
    let pids: BTreeSet<i32> = started.values().flatten().map(|process| process.pid).collect();
    let left = || marked(&marker).into_iter().filter(|process| pids.contains(&process.pid));

    let begun = Instant::now();
    strike(&daemon, end, &started);
    let survivors_expected = isolation.mode == "group" && end == End::KillWithGuards;
    let limit = end.allowance() + PROMISED;
    let mut again = None;
    if survivors_expected {
        daemon.wait();
        // Nobody is there to kill them. The next start finds them by their mark.
        assert!(left().count() > 0, "the case is not what it says: somebody killed them");
        again = Some(Daemon::start(command(&place, shared, isolation, &marker, end)));
    } else {
        while left().count() > 0 && begun.elapsed() < limit {
            pause(PACE);
        }
    }
    let took = begun.elapsed();
    assert!(end != End::Term || took >= GRACE, "they have the grace to end by themselves");
    let alive: BTreeSet<i32> = left().map(|process| process.pid).collect();
    let counts = started.iter().map(|(shape, processes)| {
        let gone = processes.iter().filter(|process| !alive.contains(&process.pid)).count();
        (*shape, (gone, processes.len()))
    });
    table.lock().unwrap().insert((isolation, end), (counts.collect(), took));
    let log = daemon.log();
    let seen: Vec<_> = left().collect();
    for process in &seen {
        kill_process(Pid::from_raw(process.pid).unwrap(), Signal::KILL).ok();
    }
    if let Some(mut again) = again {
        again.signal(Signal::QUIT);
        again.wait();
    }
    assert!(seen.is_empty(), "alive after {took:?}: {seen:?}\n{log}");
    if end != End::Timeout {
        daemon.wait();
    }
}

/// Ends the commands.
fn strike(daemon: &Daemon, end: End, started: &BTreeMap<&'static str, Vec<Process>>) {
    match end {
        End::Term => daemon.signal(Signal::TERM),
        End::TermTwice => {
            daemon.signal(Signal::TERM);
            // Two at the same moment are one.
            let pid = daemon.pid();
            poll_until("the first one to be taken", DEADLINE, || (!is_pending(pid)).then_some(()));
            daemon.signal(Signal::TERM);
        }
        End::Quit => daemon.signal(Signal::QUIT),
        End::Kill => daemon.signal(Signal::KILL),
        End::Abort => daemon.signal(Signal::ABORT),
        End::Timeout => {}
        End::KillWithGuards => {
            let guards = guards(started);
            assert_eq!(guards.len(), SHAPES.len(), "every command has a guard");
            // Stopped, it cannot answer the death of its guards: all die at the same moment.
            daemon.signal(Signal::STOP);
            for guard in guards {
                kill_process(Pid::from_raw(guard).unwrap(), Signal::KILL).unwrap();
            }
            daemon.signal(Signal::KILL);
        }
    }
}

/// Whether a SIGTERM waits to be taken by a process.
fn is_pending(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("ShdPnd:"));
    line.is_some_and(|mask| u64::from_str_radix(mask.trim(), 16).unwrap() & (1 << 14) != 0)
}

/// The guards above these processes.
fn guards(started: &BTreeMap<&'static str, Vec<Process>>) -> BTreeSet<i32> {
    let above = |process: &Process| Process::read(process.parent);
    let lines = started.values().flatten();
    lines
        .filter_map(|process| {
            let mut line = std::iter::successors(Some(process.clone()), above);
            Some(line.find(|process| process.name == "longshore-guard")?.pid)
        })
        .collect()
}

/// Prints how many processes of each case and shape were gone in time.
fn print(table: &Table) {
    for isolation in ISOLATIONS {
        let rows: Vec<_> = table.iter().filter(|((of, _), _)| *of == isolation).collect();
        if rows.is_empty() {
            continue;
        }
        println!("\nisolation {}: processes gone within a second / all", isolation.mode);
        print!("{:<30}", "");
        SHAPES.iter().for_each(|(name, ..)| print!("{name:>14}"));
        println!("{:>10}", "took");
        for ((_, end), (counts, took)) in rows {
            print!("{:<30}", end.name());
            for (name, ..) in SHAPES {
                let (gone, all) = counts[name];
                print!("{:>14}", format!("{gone}/{all}"));
            }
            let took = took.saturating_sub(end.allowance());
            let when = if isolation.mode == "group" && *end == End::KillWithGuards {
                " (at the next start)"
            } else {
                ""
            };
            println!("{:>7} ms{when}", took.as_millis());
        }
    }
}

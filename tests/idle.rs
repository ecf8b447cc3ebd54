//! An idle daemon: it waits for events, and does nothing.
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod common;

use std::fs;
use std::time::{Duration, Instant};

use common::daemon::Daemon;
use common::zips;
use common::{Place, is_long};

/// CPU time of a process and all its threads, in clock ticks; a tick is 10 ms on Linux.
fn ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The name, in brackets, can have spaces; user and system time are the 14th and 15th field.
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// How often its threads were put to work again.
fn wakeups(pid: u32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let status = tasks.filter_map(|task| fs::read_to_string(task.path().join("status")).ok());
    let voluntary = status.filter_map(|status| {
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
        line.trim().parse::<u64>().ok()
    });
    voluntary.sum()
}

#[test]
fn daemon_with_nothing_to_do_uses_no_measurable_cpu() {
    let place = Place::new();
    // Something that is never ready must not keep it busy, either.
    let zip = zips::deflated(&zips::sample(1));
    for n in 0..20 {
        let staged = place.stage("x", &zip);
        fs::rename(staged, place.landing().join(format!("plate-{n}-downloading"))).unwrap();
        fs::create_dir(place.landing().join(format!("empty-{n}"))).unwrap();
    }
    let mut daemon = Daemon::start(place.run(&["--workers", "4"]));
    place.deliver("plate", &zip);
    place.wait_archived(&mut daemon, "plate");
    // Those without a ZIP are reported when they have settled: then it is idle.
    for _ in 0..20 {
        daemon.wait_line("not taken");
    }
    let span = Duration::from_secs(if is_long() { 60 } else { 6 });
    let (before, woken, started) = (ticks(daemon.pid()), wakeups(daemon.pid()), Instant::now());
    daemon.run_for(span);
    let seconds = started.elapsed().as_secs_f64();
    let used = ticks(daemon.pid()) - before;
    let woken = wakeups(daemon.pid()) - woken;
    let share = used as f64 / 100.0 / seconds;
    println!("{used} ticks, {woken} wake-ups in {seconds:.1} s: {:.3} % of a core", share * 100.0);
    // 0.2 % of a core; over the short span one tick is as little as can be seen, and no more.
    let allowed = ((seconds * 100.0 * 0.002) as u64).max(1);
    assert!(used <= allowed, "{used} ticks of 10 ms in {seconds:.1} s");
    assert_eq!(daemon.terminate(), 0);
}

//! An idle daemon: it waits for events, and does nothing.
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod common;

use std::fs;
use std::time::{Duration, Instant};

use common::daemon::Daemon;
use common::zips;
use common::{Place, is_long};

/// CPU time of a process and all its threads.
fn cpu_time(pid: u32) -> Duration {
    let tasks: Vec<_> = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten().collect();
    // To the nanosecond, where the kernel counts so.
    let exact = tasks.iter().map(|task| {
        let spent = fs::read_to_string(task.path().join("schedstat")).ok()?;
        spent.split_whitespace().next()?.parse::<u64>().ok()
    });
    if let Some(nanos) = exact.sum::<Option<u64>>().filter(|nanos| *nanos > 0) {
        return Duration::from_nanos(nanos);
    }
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The name, in brackets, can have spaces; user and system time are the 14th and 15th field, in
    // ticks of 10 ms.
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
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
    for n in 0..3 {
        let staged = place.stage("x", &zip);
        fs::rename(staged, place.landing().join(format!("plate-{n}-downloading"))).unwrap();
        fs::create_dir(place.landing().join(format!("empty-{n}"))).unwrap();
    }
    let mut daemon = Daemon::start(place.run(&["--workers", "4"]));
    place.deliver("plate", &zip);
    place.wait_archived(&mut daemon, "plate");
    // Those without a ZIP are reported when they have settled: then it is idle.
    for _ in 0..3 {
        daemon.wait_line("not taken");
    }
    let span = Duration::from_secs(if is_long() { 60 } else { 6 });
    let (before, woken, started) = (cpu_time(daemon.pid()), wakeups(daemon.pid()), Instant::now());
    daemon.run_for(span);
    let elapsed = started.elapsed();
    let used = cpu_time(daemon.pid()) - before;
    let woken = wakeups(daemon.pid()) - woken;
    let percent = used.as_secs_f64() / elapsed.as_secs_f64() * 100.0;
    println!("{used:?} and {woken} wake-ups in {elapsed:?}: {percent:.3} % of a core");
    assert!(percent < 0.2, "{percent:.3} % of a core while there is nothing to do");
    assert_eq!(daemon.terminate(), 0);
}

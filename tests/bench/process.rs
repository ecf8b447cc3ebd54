//! What a command costs over running it bare: the median of 300 × `true` in each mode.
//!
//! `cargo bench --bench process`
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark is read by people")]

use std::ffi::OsString;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use longshore::process::{Exit, Guards, Mark, Mode, Spec, guard_main};

const RUNS: usize = 300;

fn main() {
    guard_main();
    let bare = median(|| {
        let mut command = Command::new("true");
        command.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        assert!(command.status().unwrap().success());
    });
    println!("bare            {bare:>8.2?}");
    let guards = Guards::start().unwrap();
    for mode in [Mode::PidNamespace, Mode::UserNamespace, Mode::Group, Mode::Direct] {
        let run = || guards.run(mode, spec(), &mut |_| ());
        match run() {
            Ok(exit) => assert_eq!(exit, Exit::Code(0)),
            Err(error) => {
                println!("{:<15} none: failed to {error}", mode.to_string());
                continue;
            }
        }
        let took = median(|| assert_eq!(run().unwrap(), Exit::Code(0)));
        let over = took.saturating_sub(bare);
        println!("{:<15} {took:>8.2?}, {over:.2?} over bare", mode.to_string());
    }
}

fn median(mut run: impl FnMut()) -> Duration {
    let mut times: Vec<Duration> = (0..RUNS)
        .map(|_| {
            let begun = Instant::now();
            run();
            begun.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[RUNS / 2]
}

fn spec() -> Spec {
    Spec {
        argv: vec![OsString::from("true")],
        cwd: "/".into(),
        env: Vec::new(),
        nice: None,
        memory_bytes: None,
        timeout: None,
        kill_after: Duration::ZERO,
        reach: None,
        mark: Mark::new("bench", 1).unwrap(),
    }
}

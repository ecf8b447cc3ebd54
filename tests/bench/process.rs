//! What a command costs over running it bare: the median of 300 × `true` in each mode, and with the
//! folders of one source, or of ten, read-only.
//!
//! `cargo bench --bench process`
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark is read by people")]

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use longshore::process::{Exit, Guards, Mark, Mode, Reach, Spec, guard_main};

const RUNS: usize = 300;

fn main() {
    guard_main();
    let bare = median(|| {
        let mut command = Command::new("true");
        command.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        assert!(command.status().unwrap().success());
    });
    println!("{:<36} {bare:>8.2?}", "bare");
    let guards = Guards::start().unwrap();
    let top = tempfile::tempdir().unwrap();
    let (one, ten) = (folders(top.path(), 1), folders(top.path(), 10));
    for mode in [Mode::PidNamespace, Mode::UserNamespace, Mode::Group, Mode::Direct] {
        let in_namespace = matches!(mode, Mode::PidNamespace | Mode::UserNamespace);
        measure(&guards, mode, "", bare, spec);
        for (sources, protected) in [("1 source", &one), ("10 sources", &ten)] {
            if in_namespace {
                let what = format!(", read-only: {sources}");
                measure(&guards, mode, &what, bare, || confined(top.path(), protected));
            }
        }
    }
}

fn measure(guards: &Guards, mode: Mode, more: &str, bare: Duration, spec: impl Fn() -> Spec) {
    let run = || guards.run(mode, spec(), &mut |_| ());
    let what = format!("{mode}{more}");
    match run() {
        Ok(exit) => assert_eq!(exit, Exit::Code(0)),
        Err(error) => return println!("{what:<36} none: failed to {error}"),
    }
    let took = median(|| assert_eq!(run().unwrap(), Exit::Code(0)));
    let over = took.saturating_sub(bare);
    println!("{what:<36} {took:>8.2?}, {over:.2?} over bare");
}

/// The folders of sources as they lie by default: the work area and the state in the landing.
fn folders(top: &Path, sources: usize) -> Arc<[PathBuf]> {
    let of_source = |n: usize| {
        let path = move |name: &str| top.join(n.to_string()).join(name);
        ["archive", "landing", "landing/.longshore", "landing/.longshore/work", "quarantine"]
            .map(path)
    };
    let all: Vec<PathBuf> = (0..sources).flat_map(of_source).collect();
    for folder in &all {
        fs::create_dir_all(folder).unwrap();
    }
    all.into()
}

fn confined(top: &Path, protected: &Arc<[PathBuf]>) -> Spec {
    let cwd = top.join("0/landing/.longshore/work");
    let reach = Reach::new(&cwd, Arc::clone(protected)).unwrap();
    Spec { cwd, reach: Some(reach), ..spec() }
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

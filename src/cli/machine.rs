//! Whether the machine gives this process the threads and files that it needs.
//!
//! They are tried out at the start: the limits are many (`ulimit`, cgroups, the kernel's own), and what
//! is below this program panics where it gets none.

use std::fs::File;
use std::io;
use std::sync::{Arc, RwLock};
use std::thread;

use tokio::runtime::{Builder, Runtime};

use crate::config::Config;

/// Threads that there are besides extractors and those of the sources.
const THREADS: usize = 12;
/// A Watcher, and what hears the kernel's events for it.
const THREADS_OF_SOURCE: usize = 2;
/// Files that are open while nothing is in work.
const FILES: usize = 24;
/// Handles on the folders of a source, and what its Watcher waits with.
const FILES_OF_SOURCE: usize = 12;
/// What is open while a package is unpacked.
const FILES_OF_WORKER: usize = 6;

/// What the machine refuses. Completes "failed to …".
#[derive(Debug, thiserror::Error)]
pub(super) enum Shortage {
    #[error(
        "start {wanted} threads, as many as this configuration needs; allow this user more of them \
         (ulimit -u, TasksMax= of systemd, pids.max of a container), or have fewer --workers"
    )]
    Threads { wanted: usize, source: io::Error },
    #[error(
        "open {wanted} files at the same time, as many as this configuration needs; allow this process \
         more of them (ulimit -n, LimitNOFILE= of systemd), or have fewer --workers"
    )]
    Files { wanted: usize, source: io::Error },
    #[error("start the runtime; allow this process more files or memory")]
    Runtime { source: io::Error },
}

/// Tries out whether there are enough threads and files for what is configured.
pub(super) fn check(config: &Config) -> Result<(), Shortage> {
    let (sources, workers) = (config.sources.len(), config.workers);
    let files = FILES + FILES_OF_SOURCE * sources + FILES_OF_WORKER * workers;
    try_files(files).map_err(|source| Shortage::Files { wanted: files, source })?;
    let threads = THREADS + THREADS_OF_SOURCE * sources + workers;
    try_threads(threads).map_err(|source| Shortage::Threads { wanted: threads, source })
}

/// Makes the runtime of the main thread.
pub(super) fn runtime() -> Result<Runtime, Shortage> {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.map_err(|source| Shortage::Runtime { source })
}

fn try_files(count: usize) -> io::Result<()> {
    let opened: io::Result<Vec<File>> = (0..count).map(|_| File::open("/dev/null")).collect();
    opened.map(drop)
}

/// All of them at the same time; they end at once.
fn try_threads(count: usize) -> io::Result<()> {
    let hold = Arc::new(RwLock::new(()));
    let held = hold.write();
    let threads: io::Result<Vec<_>> = (0..count)
        .map(|_| {
            let hold = Arc::clone(&hold);
            thread::Builder::new().stack_size(64 << 10).spawn(move || drop(hold.read()))
        })
        .collect();
    drop(held);
    for thread in threads? {
        thread.join().ok(); // it cannot panic
    }
    Ok(())
}

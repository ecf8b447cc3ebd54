//! Checks whether the machine gives this process the threads and files that it needs.
//!
//! They are tried out at the start: there are many limits (`ulimit`, cgroups, the kernel's own), and
//! libraries below this program panic if they get none.

use std::fs::File;
use std::io;
use std::sync::{Arc, RwLock};
use std::thread;

use tokio::runtime::{Builder, Runtime};

use crate::config::Config;

/// Threads besides the extractors and those of the sources.
const THREADS: usize = 12;
/// Threads per source: a Watcher, and the thread that reads the kernel's events for it.
const THREADS_OF_SOURCE: usize = 2;
/// Files that are open while nothing is in work.
const FILES: usize = 24;
/// Files per source: handles on its folders, and those that its Watcher waits with.
const FILES_OF_SOURCE: usize = 12;
/// Files that are open while a package is unpacked.
const FILES_OF_WORKER: usize = 6;

/// A resource that the machine refuses. Completes "failed to …".
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

/// Tries out whether there are enough threads and files for the configuration.
pub(super) fn check(config: &Config) -> Result<(), Shortage> {
    let (sources, workers) = (config.sources.len(), config.workers);
    let files = FILES + FILES_OF_SOURCE * sources + FILES_OF_WORKER * workers;
    try_files(files).map_err(|source| Shortage::Files { wanted: files, source })?;
    let threads = THREADS + THREADS_OF_SOURCE * sources + workers;
    try_threads(threads).map_err(|source| Shortage::Threads { wanted: threads, source })
}

/// Creates the runtime of the main thread.
pub(super) fn runtime() -> Result<Runtime, Shortage> {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.map_err(|source| Shortage::Runtime { source })
}

fn try_files(count: usize) -> io::Result<()> {
    let opened: io::Result<Vec<File>> = (0..count).map(|_| File::open("/dev/null")).collect();
    opened.map(drop)
}

/// Starts `count` threads that exist at the same time, and then ends all of them.
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
        thread.join().ok(); // the thread cannot panic
    }
    Ok(())
}

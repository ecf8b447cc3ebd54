//! [`Witness`]: watches an archive for packages that are not whole; and [`Dice`] for the moments of kills.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::SystemTime;

use super::names;
use super::zips::Files;

/// What of a package the archive should hold, for [`Witness::of`]: each file with its size.
pub(crate) fn whole(name: &str, files: &Files, zip: &[u8]) -> BTreeMap<String, u64> {
    let contents = files.iter().filter(|(path, _)| !path.ends_with('/'));
    let mut sizes: BTreeMap<_, _> =
        contents.map(|(path, bytes)| (path.clone(), bytes.len() as u64)).collect();
    sizes.insert(format!("{name}.zip"), zip.len() as u64);
    sizes
}

/// What a [`Witness`] has to say.
#[derive(Default)]
pub(crate) struct Testimony {
    pub(crate) seen: BTreeSet<String>,
    /// Those that were not whole when they were first seen.
    pub(crate) partial: Vec<String>,
    pub(crate) looks: u64,
}

/// Looks at the archive all the time: a package must be whole when it is first seen.
pub(crate) struct Witness {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Testimony>>,
}

impl Witness {
    /// `whole` has the size of each file of each package, by package.
    pub(crate) fn of(archive: &Path, whole: BTreeMap<String, BTreeMap<String, u64>>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (archive, stopped) = (archive.to_owned(), Arc::clone(&stop));
        let look = move || {
            let mut told = Testimony::default();
            loop {
                let last = stopped.load(Ordering::SeqCst);
                told.looks += 1;
                for name in names(&archive) {
                    if told.seen.contains(&name) {
                        continue;
                    }
                    let found = sizes(&archive.join(&name));
                    match whole.get(&name) {
                        Some(wanted) if *wanted == found => {}
                        Some(_) => told.partial.push(format!("{name}: {found:?}")),
                        None => told.partial.push(format!("{name} is no package's name")),
                    }
                    told.seen.insert(name);
                }
                if last {
                    return told;
                }
                std::thread::yield_now();
            }
        };
        Self { stop, thread: Some(std::thread::spawn(look)) }
    }

    pub(crate) fn end(mut self) -> Testimony {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

/// Every file below a folder, with its size.
fn sizes(top: &Path) -> BTreeMap<String, u64> {
    let mut sizes = BTreeMap::new();
    let mut rest = vec![top.to_path_buf()];
    while let Some(folder) = rest.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let Ok(found) = entry.metadata() else { continue };
            if found.is_dir() {
                rest.push(entry.path());
            } else {
                let below = entry.path().strip_prefix(top).unwrap().to_str().unwrap().to_owned();
                sizes.insert(below, found.len());
            }
        }
    }
    sizes
}

/// The same numbers for the same seed.
pub(crate) struct Dice(u64);

impl Dice {
    /// Of `LONGSHORE_SEED`, or of the time; with the seed, to be printed.
    pub(crate) fn thrown() -> (Self, u64) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        Self::thrown_or(now.as_nanos() as u64 | 1)
    }

    /// Of `LONGSHORE_SEED`, or of this seed; with the seed, to be printed.
    pub(crate) fn thrown_or(seed: u64) -> (Self, u64) {
        let said = std::env::var("LONGSHORE_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = said.unwrap_or(seed);
        (Self(seed), seed)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % end
    }
}

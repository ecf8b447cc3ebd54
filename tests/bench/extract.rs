//! Unpacks a folder of packages (`NAME/NAME.zip`) and prints the seconds, as peers are measured.
//!
//! `cargo bench --bench extract -- plan ZIP LIMIT` only plans, with that limit of entries.
//!
//! `cargo bench --bench extract -- across|within SRC DST [THREADS]`: `across` gives each thread whole
//! packages, `within` gives all threads the slices of one package after another. Each package is
//! unpacked beside its ZIP, then renamed to DST: run it on a copy.

#![expect(clippy::print_stderr, reason = "the figure is the point")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use longshore::extract::{Options, Plan, Scratch, Unpacking};

type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

fn open(src: &Path, name: &str) -> Result<Unpacking, Box<dyn std::error::Error + Send + Sync>> {
    let root = src.join(name);
    let zip = File::open(root.join(format!("{name}.zip")))?;
    let plan = Plan::read(&zip, &Options::default())?;
    Ok(Unpacking::new(plan, zip, File::open(&root)?.into())?)
}

fn slices(unpacking: &Unpacking, threads: usize, scratches: &mut [Scratch]) -> Outcome {
    let slices = unpacking.plan().slices(8 << 20, 512);
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        let work = |scratch: &mut Scratch| -> Outcome {
            while let Some(slice) = slices.get(next.fetch_add(1, Ordering::Relaxed)) {
                unpacking.write(slice, scratch)?;
            }
            Ok(())
        };
        let workers: Vec<_> = scratches
            .iter_mut()
            .take(threads.min(slices.len()))
            .map(|scratch| scope.spawn(move || work(scratch)))
            .collect();
        workers.into_iter().try_for_each(|worker| worker.join().map_err(|_| "a worker panicked")?)
    })?;
    Ok(unpacking.finish()?)
}

fn plan(zip: &Path, limit: u64) -> Outcome {
    let mut options = Options::default();
    options.limits.entries = limit;
    let start = Instant::now();
    let plan = Plan::read(&File::open(zip)?, &options);
    let peak = fs::read_to_string("/proc/self/status")?;
    let peak = peak.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default();
    let found = plan.map(|plan| plan.entries().len());
    eprintln!("{found:?} {:.3} s {peak}", start.elapsed().as_secs_f64());
    Ok(())
}

fn main() -> Outcome {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let [mode, src, dst, rest @ ..] = &args[..] else {
        eprintln!("usage: extract across|within SRC DST [THREADS]");
        return Ok(());
    };
    if mode == "plan" {
        return plan(Path::new(src), dst.parse()?);
    }
    let (src, dst) = (PathBuf::from(src), PathBuf::from(dst));
    let threads = rest.first().map_or(Ok(2), |text| text.parse())?;
    let start = Instant::now();
    let mut names = Vec::new();
    for entry in fs::read_dir(&src)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    if mode == "within" {
        let mut scratches: Vec<_> = (0..threads).map(|_| Scratch::default()).collect();
        for name in &names {
            slices(&open(&src, name)?, threads, &mut scratches)?;
            fs::rename(src.join(name), dst.join(name))?;
        }
    } else {
        let next = AtomicUsize::new(0);
        thread::scope(|scope| {
            let work = || -> Outcome {
                let mut scratch = [Scratch::default()];
                while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let unpacking = open(&src, name)?;
                    for slice in unpacking.plan().slices(u64::MAX, usize::MAX) {
                        unpacking.write(&slice, &mut scratch[0])?;
                    }
                    unpacking.finish()?;
                    fs::rename(src.join(name), dst.join(name))?;
                }
                Ok(())
            };
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            workers
                .into_iter()
                .try_for_each(|worker| worker.join().map_err(|_| "a worker panicked")?)
        })?;
    }
    eprintln!("{mode} {:.3} s", start.elapsed().as_secs_f64());
    Ok(())
}

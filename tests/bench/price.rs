//! What a thing costs a pipeline: 2,000 packages of 10 × 8 KiB with and without it, alternately.
//!
//! `ROUNDS` says how often (7). The folder is `TMPDIR`'s.

use std::fs;
use std::io::Write;
use std::time::{Duration, Instant};

use longshore::testkit::TempLanding;
use longshore::{Config, Pipeline};

pub(crate) const PACKAGES: usize = 2000;

/// Runs with (true) and without `what`, and prints each time, the medians and the price. `check` looks
/// at what a run has left.
pub(crate) fn compare(
    what: &str,
    build: impl Fn(Pipeline, bool) -> Pipeline,
    check: impl Fn(&TempLanding, bool),
) {
    let rounds: usize = std::env::var("ROUNDS").map_or(7, |text| text.parse().unwrap());
    let run = |is_with| run(|pipeline| build(pipeline, is_with), |landing| check(landing, is_with));
    let (mut with, mut without) = (Vec::new(), Vec::new());
    // Whatever comes first pays for what is cold.
    run(false);
    for round in 0..rounds {
        // Neither always follows the other.
        for is_with in [round % 2 == 0, round % 2 == 1] {
            let took = run(is_with);
            println!("{} {what}: {took:.3?}", if is_with { "with   " } else { "without" });
            if is_with { &mut with } else { &mut without }.push(took);
        }
    }
    let (with, without) = (median(with), median(without));
    let price = (with.as_secs_f64() / without.as_secs_f64() - 1.0) * 100.0;
    println!("medians of {rounds}: {with:.3?} with, {without:.3?} without: {price:+.1} %");
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// Ten files of 8 KiB, half of which can be packed.
fn package() -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let mut state = 1_u64;
    for number in 0..10 {
        let options = zip::write::SimpleFileOptions::default();
        zip.start_file(format!("data/{number:02}/part.bin"), options).unwrap();
        let body: Vec<u8> = (0..8192_usize)
            .map(|at| {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1);
                if at / 2048 % 2 == 0 { (state >> 56) as u8 } else { b"longshore "[at % 10] }
            })
            .collect();
        zip.write_all(&body).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn run(build: impl FnOnce(Pipeline) -> Pipeline, check: impl FnOnce(&TempLanding)) -> Duration {
    let landing = TempLanding::new();
    let zip = package();
    for number in 0..PACKAGES {
        let name = format!("package-{number:05}");
        let folder = landing.path().join(&name);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join(format!("{name}.zip")), &zip).unwrap();
    }
    let mut source = landing.source();
    source.settle = Duration::ZERO;
    let archive = source.archive.clone();
    let took = actix::System::new().block_on(async move {
        let pipeline = build(Pipeline::builder(Config::new(source)).once());
        let begun = Instant::now();
        pipeline.start().unwrap().ended().await;
        begun.elapsed()
    });
    assert_eq!(fs::read_dir(archive).unwrap().count(), PACKAGES);
    check(&landing);
    took
}

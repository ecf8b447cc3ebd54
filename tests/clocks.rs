//! A sender that is still writing is left alone, whatever the clock of this host shows: ahead of the disk's,
//! behind it, or set while the daemon runs.
//!
//! The daemon runs with a library before libc that moves the wall clock by what a file says, so that it and
//! the disk have different clocks, as with a file server.
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod common;

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use common::daemon::Daemon;
use common::{Place, archived, has, run, tree, zips};

/// `clock_gettime` with the seconds of `$CLOCK_SHIFT` (a file) added to the wall clock.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t id, struct timespec *now) {
  int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
  int result = real(id, now);
  const char *path = getenv("CLOCK_SHIFT");
  if (result || !path || (id != CLOCK_REALTIME && id != CLOCK_REALTIME_COARSE)) return result;
  char text[32] = {0};
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file >= 0) { if (read(file, text, sizeof text - 1) < 0) text[0] = 0; close(file); }
  now->tv_sec += atol(text);
  return 0;
}
"#;

/// A place whose daemons have a clock that can be set.
struct Shifted {
    place: Place,
    shim: PathBuf,
}

impl Shifted {
    /// One by so many seconds; `None` where no shim can be built.
    fn by(seconds: i64) -> Option<Self> {
        if !has("cc") {
            return None;
        }
        let place = Place::new();
        let shim = place.path("clock.so");
        fs::write(place.path("clock.c"), SHIM).unwrap();
        run(Command::new("cc")
            .args(["-shared", "-fPIC", "-o"])
            .arg(&shim)
            .args([place.path("clock.c").as_os_str(), "-ldl".as_ref()]));
        let shifted = Self { place, shim };
        shifted.set(seconds);
        Some(shifted)
    }

    fn set(&self, seconds: i64) {
        let new = self.place.path("shift.new");
        fs::write(&new, seconds.to_string()).unwrap();
        fs::rename(new, self.place.path("shift")).unwrap();
    }

    fn under(&self, mut command: Command) -> Command {
        command.env("LD_PRELOAD", &self.shim).env("CLOCK_SHIFT", self.place.path("shift"));
        command
    }

    fn start(&self, more: &str) -> Daemon {
        let config = self.place.config(more);
        Daemon::start(self.under(self.place.run_with(&config, &[])))
    }
}

/// A ZIP of one stored file.
fn large() -> (zips::Files, Vec<u8>) {
    let files: zips::Files = [("blob".to_owned(), vec![7; 400_000])].into();
    let zip = zips::stored(&files);
    (files, zip)
}

/// Writes a package in place, slowly: each pause is less than `settle`, the whole much more.
fn write_slowly(shifted: &Shifted, daemon: &mut Daemon, zip: &[u8]) {
    let folder = shifted.place.landing().join("plate");
    fs::create_dir(&folder).unwrap();
    let mut file = File::create(folder.join("plate.zip")).unwrap();
    for part in zip.chunks(zip.len() / 8 + 1) {
        file.write_all(part).unwrap();
        daemon.run_for(Duration::from_millis(300));
        assert!(folder.exists(), "taken from a sender that is still writing:\n{}", daemon.log());
    }
}

/// The package that was written slowly is in the archive, whole, and nothing is in quarantine.
fn assert_archived(shifted: &Shifted, daemon: &mut Daemon, files: &zips::Files, zip: Vec<u8>) {
    shifted.place.wait_archived(daemon, "plate");
    assert_eq!(tree(&shifted.place.archive().join("plate")), archived("plate", files, zip));
    assert_eq!(shifted.place.quarantined_names(), [""; 0]);
}

#[test]
fn zip_that_is_being_written_stays_with_a_clock_that_is_ahead_or_behind() {
    for seconds in [90, -90] {
        let Some(shifted) = Shifted::by(seconds) else { return };
        let (files, zip) = large();
        let mut daemon = shifted.start("");
        write_slowly(&shifted, &mut daemon, &zip);
        assert_archived(&shifted, &mut daemon, &files, zip);
        assert_eq!(daemon.terminate(), 0);
    }
}

#[test]
fn zip_that_was_being_written_before_the_start_stays_with_a_clock_that_is_ahead_or_behind() {
    for seconds in [90, -90] {
        let Some(shifted) = Shifted::by(seconds) else { return };
        let (files, zip) = large();
        let folder = shifted.place.landing().join("plate");
        fs::create_dir(&folder).unwrap();
        let (first, rest) = zip.split_at(zip.len() / 2);
        let mut file = File::create(folder.join("plate.zip")).unwrap();
        file.write_all(first).unwrap();
        let mut daemon = shifted.start("");
        daemon.run_for(Duration::from_millis(1500));
        assert!(folder.exists(), "taken from a sender that is still writing:\n{}", daemon.log());
        file.write_all(rest).unwrap();
        drop(file);
        assert_archived(&shifted, &mut daemon, &files, zip);
        assert_eq!(daemon.terminate(), 0);
    }
}

#[test]
fn file_beside_a_whole_zip_that_comes_late_comes_along_with_a_clock_that_is_ahead_or_behind() {
    for seconds in [90, -90] {
        let Some(shifted) = Shifted::by(seconds) else { return };
        let (files, zip) = large();
        let mut daemon = shifted.start("");
        let folder = shifted.place.landing().join("plate");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("plate.zip"), &zip).unwrap();
        daemon.run_for(Duration::from_millis(600));
        fs::write(folder.join("late.txt"), "late").unwrap();
        let written = Instant::now();
        shifted.place.wait_archived(&mut daemon, "plate");
        assert!(written.elapsed() >= Duration::from_millis(950), "settle was not kept");
        let mut expected = archived("plate", &files, zip);
        expected.insert("late.txt".into(), common::Node::File(b"late".to_vec()));
        assert_eq!(tree(&shifted.place.archive().join("plate")), expected);
        assert_eq!(daemon.terminate(), 0);
    }
}

#[test]
fn zip_cut_off_is_judged_after_broken_after_with_a_clock_that_is_ahead_or_behind() {
    for seconds in [3600, -3600] {
        let Some(shifted) = Shifted::by(seconds) else { return };
        let (_, zip) = large();
        let mut daemon = shifted.start("settle = '50ms'\nbroken_after = '700ms'\n");
        let folder = shifted.place.landing().join("plate");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("plate.zip"), &zip[..zip.len() / 2]).unwrap();
        let written = Instant::now();
        daemon.wait_line("quarantined");
        let waited = written.elapsed();
        assert!(waited >= Duration::from_millis(650), "broken_after was not kept: {waited:?}");
        assert!(waited < Duration::from_secs(20), "the clock was waited for: {waited:?}");
        assert_eq!(shifted.place.quarantined("plate").1["code"], "no_end_record");
        assert_eq!(daemon.terminate(), 0);
    }
}

#[test]
fn clock_that_is_set_while_a_sender_writes_ends_nothing_early() {
    let Some(shifted) = Shifted::by(0) else { return };
    let (files, zip) = large();
    let mut daemon = shifted.start("");
    let folder = shifted.place.landing().join("plate");
    fs::create_dir(&folder).unwrap();
    let mut file = File::create(folder.join("plate.zip")).unwrap();
    for (at, part) in (1..).zip(zip.chunks(zip.len() / 6 + 1)) {
        file.write_all(part).unwrap();
        shifted.set(if at % 2 == 0 { -7200 } else { 7200 });
        daemon.run_for(Duration::from_millis(350));
        assert!(folder.exists(), "taken from a sender that is still writing:\n{}", daemon.log());
    }
    drop(file);
    assert_archived(&shifted, &mut daemon, &files, zip);
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn what_was_there_before_the_start_and_what_is_renamed_is_taken_at_once_by_any_clock() {
    for seconds in [7200, -7200] {
        let Some(shifted) = Shifted::by(seconds) else { return };
        let (_, zip) = large();
        // By the disk's clock it is older than `settle`, which is far more than a rename may take.
        let folder = shifted.place.landing().join("before");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("before.zip"), &zip).unwrap();
        common::daemon::pause(Duration::from_millis(300));
        let started = Instant::now();
        let mut daemon = shifted.start("settle = '250ms'\nbroken_after = '1h'\n");
        shifted.place.wait_archived(&mut daemon, "before");
        println!("there before: archived {:?} after the start", started.elapsed());
        assert_eq!(daemon.terminate(), 0);

        let mut daemon = shifted.start("settle = '1h'\n");
        shifted.place.deliver("renamed", &zip);
        let renamed = Instant::now();
        shifted.place.wait_archived(&mut daemon, "renamed");
        println!("renamed: archived after {:?}", renamed.elapsed());
        assert_eq!(daemon.terminate(), 0);
    }
}

#[test]
fn shim_moves_the_clock_that_the_daemon_sees() {
    let Some(shifted) = Shifted::by(0) else { return };
    let said = [0, 40 * 24 * 60 * 60].map(|seconds| {
        shifted.set(seconds);
        let mut daemon = shifted.start("");
        let line = daemon.log().lines().find(|line| line.contains("watching")).unwrap().to_owned();
        assert_eq!(daemon.terminate(), 0);
        line
    });
    let month = |line: &str| line.split(' ').next().map(str::to_owned);
    assert_ne!(month(&said[0]), month(&said[1]), "the other tests here test nothing");
}

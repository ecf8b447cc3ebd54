//! Any bytes as a ZIP, through the whole engine: a tree, or a refusal that leaves nothing.
//!
//! In: bytes. They are read twice, strictly and leniently; what is accepted is written to a folder
//! on a memory file system where there is one, and checked without writing. How to run it:
//! `docs/testing.md`.

#![no_main]

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use libfuzzer_sys::{Corpus, fuzz_target};
use longshore::error::{Disposition, Failure};
use longshore::extract::{
    EntryKind, ExtractError, Framing, Options, Password, Plan, Scratch, Symlinks, Unpacking,
};

/// Where it is unpacked: of this process alone, and all in it but `out` stays as it is.
static HOME: LazyLock<PathBuf> = LazyLock::new(|| {
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let home =
        tempfile::Builder::new().prefix("longshore-fuzz-").tempdir_in(parent).unwrap().keep();
    fs::create_dir(home.join("out")).unwrap();
    fs::write(home.join("neighbour"), "untouched").unwrap();
    home
});

/// Limits that keep a run short and that small inputs can break.
fn options(framing: Framing) -> Options {
    let mut options = Options::default();
    options.framing = framing;
    let limits = &mut options.limits;
    (limits.entries, limits.depth) = (500, 16);
    (limits.total_bytes, limits.entry_bytes) = (4 << 20, 2 << 20);
    (limits.ratio, limits.ratio_from_bytes) = (100, 1 << 20);
    if framing == Framing::Lenient {
        options.symlinks = Symlinks::Skip;
        options.password = Some(Password::new(b"password"));
    }
    options
}

/// Writes all of a plan, or checks it; the number of entries.
fn write(unpacking: &Unpacking) -> Result<u64, ExtractError> {
    let mut scratch = Scratch::default();
    let mut entries = 0;
    for slice in unpacking.plan().slices(1 << 20, 16) {
        entries += unpacking.write(&slice, &mut scratch)?.entries;
    }
    unpacking.finish()?;
    Ok(entries)
}

/// Files and folders below a folder, and the bytes of the files.
fn count(folder: &Path) -> (u64, u64) {
    let mut found = (0, 0);
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let seen = fs::symlink_metadata(entry.path()).unwrap();
        found.0 += 1;
        if seen.is_dir() {
            let below = count(&entry.path());
            found = (found.0 + below.0, found.1 + below.1);
        } else {
            assert!(seen.is_file(), "{:?} is neither file nor folder", entry.path());
            found.1 += seen.len();
        }
    }
    found
}

/// Everything outside of `out` is as it was.
fn assert_home_is_untouched() {
    let mut names: Vec<_> =
        fs::read_dir(&*HOME).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["neighbour", "out"], "something is outside of the output folder");
    assert_eq!(fs::read(HOME.join("neighbour")).unwrap(), b"untouched");
}

/// The hash of the plan's records where it is accepted; its code else.
fn unpack(zip: &File, framing: Framing) -> Result<[u8; 32], &'static str> {
    let refused = |error: ExtractError| {
        // The disk is sound and nobody stops anything: it can only be the archive's fault.
        assert_eq!(error.disposition(), Disposition::Quarantine, "{error:?}");
        error.code()
    };
    let plan = Plan::read(zip, &options(framing)).map_err(refused)?;
    let planned = plan.entries().iter().filter(|entry| entry.kind != EntryKind::SkippedLink);
    let expected = (planned.count() as u64, plan.inodes(), plan.total_bytes());
    let records = plan.records();
    let out = HOME.join("out");
    let handle = File::open(&out).unwrap().into();
    let unpacking =
        Unpacking::new(plan, zip.try_clone().unwrap(), handle).unwrap_or_else(|e| panic!("{e:?}"));
    let written = write(&unpacking).map_err(refused);
    match written {
        Ok(entries) => {
            let (inodes, bytes) = count(&out);
            assert_eq!((entries, inodes, bytes), expected, "it is not what was planned");
        }
        Err(_) => unpacking.discard().unwrap(),
    }
    assert_home_is_untouched();
    if written.is_ok() {
        fs::remove_dir_all(&out).unwrap();
        fs::create_dir(&out).unwrap();
    } else {
        assert_eq!(fs::read_dir(&out).unwrap().count(), 0, "{written:?} left something");
    }
    let plan = Plan::read(zip, &options(framing)).unwrap_or_else(|e| panic!("{e:?}"));
    let check = Unpacking::check_only(plan, zip.try_clone().unwrap());
    assert_eq!(write(&check).map_err(refused), written, "to check is not to write");
    written.map(|_| records)
}

fuzz_target!(|bytes: &[u8]| -> Corpus {
    let mut zip = tempfile::tempfile_in(&*HOME).unwrap();
    zip.write_all(bytes).unwrap();
    let strict = unpack(&zip, Framing::Strict);
    let lenient = unpack(&zip, Framing::Lenient);
    if strict.is_ok() {
        assert_eq!(lenient, strict, "what is accepted strictly is another leniently");
    }
    // Most bytes have no end record at all, and teach nothing.
    if lenient == Err("no_end_record") { Corpus::Reject } else { Corpus::Keep }
});

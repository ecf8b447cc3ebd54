//! Shared by `test` and `unpack`: the engine's options as flags, opening a ZIP, work on all cores.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use bytesize::ByteSize;
use rustix::fs::{Mode, OFlags};
use serde::de::DeserializeOwned;

use super::exit;
use crate::actors::extractor::options::{self, OptionsError};
use crate::config::{Framing, Modes, PasswordFrom, Source, Symlinks};
use crate::error::{Disposition, Failure};
use crate::extract::{Charset, ExtractError, Options, Scratch, Unpacking};
use crate::id::SourceName;

/// Bytes and entries of a slice: small enough to keep all cores busy until the end.
const SLICE: (u64, usize) = (8 << 20, 512);
/// How often progress is shown and a requested stop is noticed.
const PACE: Duration = Duration::from_millis(100);

/// How a ZIP is read; the same that a source's configuration says.
#[derive(Debug, clap::Args)]
pub(super) struct EngineArgs {
    /// How exact the framing must be: strict, or lenient (a prefix, trailing bytes and gaps are skipped)
    #[arg(long, value_name = "HOW", default_value = "strict", value_parser = word::<Framing>)]
    framing: Framing,
    /// Charset of names that are neither marked nor valid UTF-8 [default: detected]
    #[arg(long, value_name = "NAME", value_parser = charset)]
    charset: Option<String>,
    /// What becomes of symbolic links: refuse (the ZIP), or skip (leave them out)
    #[arg(long, value_name = "HOW", default_value = "refuse", value_parser = word::<Symlinks>)]
    symlinks: Symlinks,
    /// Where modes come from: umask, or zip
    #[arg(long, value_name = "HOW", default_value = "umask", value_parser = word::<Modes>)]
    modes: Modes,
    /// A file with the password for encrypted entries; its last line ending does not count
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Refuse more files and folders [default: 100000]
    #[arg(long, value_name = "N", help_heading = "Limits")]
    max_entries: Option<u64>,
    /// Refuse more bytes of all files together, unpacked [default: 1TiB]
    #[arg(long, value_name = "SIZE", help_heading = "Limits")]
    max_total: Option<ByteSize>,
    /// Refuse a file of more bytes, unpacked [default: 1TiB]
    #[arg(long, value_name = "SIZE", help_heading = "Limits")]
    max_entry: Option<ByteSize>,
    /// Refuse more unpacked bytes for a packed one [default: 200]
    #[arg(long, value_name = "N", help_heading = "Limits")]
    max_ratio: Option<u64>,
    /// Refuse more folders within folders [default: 64]
    #[arg(long, value_name = "N", help_heading = "Limits")]
    max_depth: Option<usize>,
}

/// Parses a word of the configuration file.
fn word<T: DeserializeOwned>(text: &str) -> Result<T, serde_json::Error> {
    serde_json::from_value(text.into())
}

fn charset(label: &str) -> Result<String, crate::extract::UnknownCharset> {
    label.parse::<Charset>().map(|_| label.to_owned())
}

impl EngineArgs {
    /// Converts the flags by way of a source, so that words mean the same as there; reads the password.
    pub(super) fn options(&self) -> Result<Options, OptionsError> {
        let mut source = Source::new(SourceName::default(), "/", "/");
        source.framing = self.framing;
        source.charset.clone_from(&self.charset);
        source.symlinks = self.symlinks;
        source.modes = self.modes;
        source.password = self.password_file.clone().map(PasswordFrom::File);
        let limits = &mut source.limits;
        limits.entries = self.max_entries.unwrap_or(limits.entries);
        limits.total = self.max_total.unwrap_or(limits.total);
        limits.entry = self.max_entry.unwrap_or(limits.entry);
        limits.ratio = self.max_ratio.unwrap_or(limits.ratio);
        limits.depth = self.max_depth.unwrap_or(limits.depth);
        options::of(&source)
    }
}

/// Returns the exit code for options that cannot be used.
pub(super) fn code_of_options(error: &OptionsError) -> u8 {
    match error {
        OptionsError::PasswordFile { source, .. } => code_of_io(source),
        _ => exit::USAGE,
    }
}

/// Opens a regular file. Does not block if the path is something else, such as a pipe.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"))
    }
}

/// Returns the exit code for a file that cannot be opened or written.
pub(super) fn code_of_io(error: &io::Error) -> u8 {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::InvalidInput => {
            exit::NO_INPUT
        }
        io::ErrorKind::PermissionDenied => exit::PERMISSION,
        _ => exit::IO,
    }
}

/// Returns the exit code for an error of the engine: the ZIP is refused, or is not at fault.
pub(super) fn code_of(error: &ExtractError) -> u8 {
    match error {
        _ if error.disposition() == Disposition::Quarantine => exit::FAILED,
        ExtractError::Read { source, .. } | ExtractError::Write { source, .. }
            if source.kind() == io::ErrorKind::PermissionDenied =>
        {
            exit::PERMISSION
        }
        ExtractError::Unaccounted { .. } => exit::INTERNAL,
        _ => exit::IO,
    }
}

/// Unpacks or checks everything on all cores, and finishes the extraction.
///
/// Calls `tick` at intervals with the bytes so far; `tick` returns false to request a stop.
///
/// # Errors
/// The error of the first slice that failed; [`ExtractError::Stopped`] after a stop.
pub(super) fn work(
    unpacking: &Unpacking,
    scratches: &mut [Scratch],
    mut tick: impl FnMut(u64) -> bool,
) -> Result<(), ExtractError> {
    let slices = unpacking.plan().slices(SLICE.0, SLICE.1);
    let next = AtomicUsize::new(0);
    let mut failure = None;
    thread::scope(|scope| {
        let (tell, ended) = mpsc::channel();
        for scratch in scratches.iter_mut().take(slices.len()) {
            let (tell, slices, next) = (tell.clone(), &slices, &next);
            scope.spawn(move || {
                while let Some(slice) = slices.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(error) = unpacking.write(slice, scratch) {
                        tell.send(error).ok(); // received until all threads have ended
                        break;
                    }
                }
            });
        }
        drop(tell);
        loop {
            match ended.recv_timeout(PACE) {
                // Another slice failed and stopped this one.
                Ok(ExtractError::Stopped) => {}
                Ok(error) => failure = failure.take().or(Some(error)),
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    if !tick(unpacking.bytes_so_far()) {
                        unpacking.stop();
                    }
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
            }
        }
    });
    match failure {
        Some(error) => Err(error),
        None => unpacking.finish(),
    }
}

/// Creates buffers for all cores.
pub(super) fn scratches() -> Vec<Scratch> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    (0..cores).map(|_| Scratch::default()).collect()
}

/// Formats a count: `1 entry`, `2 entries`.
pub(super) fn entries(count: u64) -> String {
    format!("{count} {}", if count == 1 { "entry" } else { "entries" })
}

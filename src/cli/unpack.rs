//! `longshore unpack`: unpacks one ZIP by hand, with the daemon's engine.
//!
//! **Invariant:** the folder contains all of the ZIP or nothing. The ZIP is unpacked into a private folder
//! inside the target, verified, and then moved up by renames that replace nothing.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytesize::ByteSize;
use indicatif::{ProgressBar, ProgressStyle};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use signal_hook::consts::{SIGINT, SIGTERM};
use tempfile::TempDir;
use thiserror::Error;

use super::by_hand::{self, EngineArgs};
use super::complain::complain;
use super::exit;
use crate::actors::extractor::options::OptionsError;
use crate::error::{Chain, Failure};
use crate::extract::{ExtractError, Plan, Room, Unpacking};

#[derive(Debug, clap::Args)]
pub(super) struct UnpackArgs {
    /// The ZIP
    #[arg(value_name = "ZIP")]
    zip: PathBuf,
    /// Where to: a folder that is empty, or is made
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    #[command(flatten)]
    engine: EngineArgs,
}

/// Why nothing was unpacked. Completes "failed to …".
#[derive(Debug, Error)]
enum UnpackError {
    #[error(transparent)]
    Options(#[from] OptionsError),
    #[error("open {path:?}")]
    Open {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("unpack into {path:?}: there is something in it already")]
    Occupied { path: PathBuf },
    #[error("make {path:?} a folder to unpack into")]
    Target {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Extract(#[from] ExtractError),
}

impl UnpackError {
    fn exit_code(&self, signal: usize) -> u8 {
        match self {
            Self::Options(error) => by_hand::code_of_options(error),
            Self::Open { source, .. } => by_hand::code_of_io(source),
            Self::Occupied { .. } => exit::FAILED,
            Self::Target { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                exit::PERMISSION
            }
            Self::Target { .. } => exit::IO,
            // As shells count a process that was ended by a signal.
            Self::Extract(ExtractError::Stopped) => {
                u8::try_from(128 + signal).unwrap_or(exit::INTERNAL)
            }
            Self::Extract(error) => by_hand::code_of(error),
        }
    }
}

/// Runs the command and returns the exit code.
pub(super) fn run(args: &UnpackArgs) -> u8 {
    let signal = Arc::new(AtomicUsize::new(0));
    for number in [SIGINT, SIGTERM] {
        let value = number.unsigned_abs() as usize;
        if let Err(error) = signal_hook::flag::register_usize(number, Arc::clone(&signal), value) {
            complain(format_args!("failed to listen to signals: {error}"));
            return exit::INTERNAL;
        }
    }
    match unpack(args, &signal) {
        Ok((entries, bytes)) => {
            let bytes = ByteSize::b(bytes).display().iec();
            let (entries, to) = (by_hand::entries(entries), args.to.display());
            writeln!(io::stdout(), "unpacked {entries}, {bytes}, into {to}").ok();
            exit::OK
        }
        Err(error) => {
            match &error {
                UnpackError::Extract(refused) => {
                    let (zip, code) = (&args.zip, refused.code());
                    complain(format_args!("{zip:?}: {code}: failed to {}", Chain(&error)));
                    complain(format_args!("what to do: {}", refused.advice()));
                }
                _ => complain(format_args!("failed to {}", Chain(&error))),
            }
            error.exit_code(signal.load(Ordering::Relaxed))
        }
    }
}

fn unpack(args: &UnpackArgs, signal: &AtomicUsize) -> Result<(u64, u64), UnpackError> {
    let options = args.engine.options()?;
    let opened = by_hand::open(&args.zip);
    let zip = opened.map_err(|source| UnpackError::Open { path: args.zip.clone(), source })?;
    let mut remarks = Vec::new();
    let plan = Plan::read_remarking(&zip, &options, &mut remarks);
    for remark in remarks {
        complain(format_args!("{remark}"));
    }
    let plan = plan?;
    let mut target = Target::make(&args.to)?;
    let private = target.private()?;
    let failed = |source| UnpackError::Target { path: args.to.clone(), source };
    let out = File::open(private.path()).map_err(failed)?;
    Room::of(&out)?.fits(&plan, 0)?;
    let unpacking = Unpacking::new(plan, zip, out.into())?;
    let plan = unpacking.plan();
    let (inodes, bytes) = (plan.inodes(), plan.total_bytes());
    let bar = io::stderr().is_terminal().then(|| bar(bytes));
    let worked = by_hand::work(&unpacking, &mut by_hand::scratches(), |so_far| {
        if let Some(bar) = &bar {
            bar.set_position(so_far);
        }
        signal.load(Ordering::Relaxed) == 0
    });
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    if signal.load(Ordering::Relaxed) != 0 {
        return Err(ExtractError::Stopped.into());
    }
    worked?;
    target.fill(private.path()).map_err(failed)?;
    Ok((inodes, bytes))
}

fn bar(bytes: u64) -> ProgressBar {
    let template =
        "{spinner} {binary_bytes}/{binary_total_bytes} {wide_bar} {binary_bytes_per_sec} {eta}";
    let style = ProgressStyle::with_template(template);
    ProgressBar::new(bytes).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// The folder to unpack into. Folders created for it are removed again unless it is filled.
struct Target<'a> {
    path: &'a Path,
    /// Folders created for the target, outermost last.
    made: Vec<&'a Path>,
}

impl<'a> Target<'a> {
    fn make(path: &'a Path) -> Result<Self, UnpackError> {
        let failed = |source| UnpackError::Target { path: path.into(), source };
        let is_missing = |path: &&Path| {
            !path.as_os_str().is_empty() && fs::symlink_metadata(path).is_err_and(is_not_found)
        };
        let target = Self { path, made: path.ancestors().take_while(is_missing).collect() };
        fs::create_dir_all(path).map_err(failed)?;
        if fs::read_dir(path).map_err(failed)?.next().is_some() {
            return Err(UnpackError::Occupied { path: path.into() });
        }
        Ok(target)
    }

    /// Creates a private folder inside the target; it is removed with everything in it.
    fn private(&self) -> Result<TempDir, UnpackError> {
        let made = tempfile::Builder::new().prefix(".longshore-").tempdir_in(self.path);
        made.map_err(|source| UnpackError::Target { path: self.path.into(), source })
    }

    /// Moves everything up: all of it, or nothing.
    fn fill(&mut self, from: &Path) -> io::Result<()> {
        let mut moved: Vec<OsString> = Vec::new();
        for entry in fs::read_dir(from)? {
            let name = entry?.file_name();
            let (old, new) = (from.join(&name), self.path.join(&name));
            if let Err(error) = renameat_with(CWD, &old, CWD, &new, RenameFlags::NOREPLACE) {
                for name in &moved {
                    // Moved back into the private folder, which is removed. A file that cannot be moved
                    // back is better kept than hidden.
                    fs::rename(self.path.join(name), from.join(name)).ok();
                }
                return Err(error.into());
            }
            moved.push(name);
        }
        self.made.clear();
        Ok(())
    }
}

impl Drop for Target<'_> {
    fn drop(&mut self) {
        for path in &self.made {
            fs::remove_dir(path).ok(); // if something else has been put into it, it stays
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "what `is_err_and` calls")]
fn is_not_found(error: io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

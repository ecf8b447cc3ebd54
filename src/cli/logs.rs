//! `longshore logs`: shows what a package's command printed, now or before. Needs no daemon.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::complain::complain;
use super::exit;
use super::source::{SourceArgs, code_of};
use crate::config::ConfigError;
use crate::error::Chain;
use crate::process::logs::{Logs, Search, has_ended, open};
use crate::workspace::state_folder;

/// How often a followed log is read.
const PACE: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

#[derive(Debug, Args)]
pub(super) struct LogsArgs {
    /// A job's id, the beginning of one that no other has, or a package's name: of that the last job
    #[arg(value_name = "ID")]
    id: String,
    /// Go on with what comes, until the attempt ends
    #[arg(short, long)]
    follow: bool,
    /// Of this attempt [default: the last one]
    #[arg(long, value_name = "N")]
    attempt: Option<u32>,
    /// The landing, where there is no config file
    #[arg(long, value_name = "DIR")]
    landing: Option<PathBuf>,
    /// Where the ledger and the commands' logs are [default: .longshore in the landing; outside of it if
    /// others can write to the landing]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// The daemon's config file
    #[arg(long, value_name = "FILE", conflicts_with = "landing")]
    config: Option<PathBuf>,
}

pub(super) fn run(args: &LogsArgs) -> u8 {
    let logs = match folder(args) {
        Ok(logs) => logs,
        Err(code) => return code,
    };
    let found = match logs.find(&args.id, args.attempt) {
        Ok(found) => found,
        Err(error) => {
            complain(format_args!("failed to look into {:?}: {error}", logs.folder()));
            return exit::IO;
        }
    };
    let id = &args.id;
    let log = match found {
        Search::Found(log) => log,
        Search::OtherAttempts(attempts) => {
            let attempts: Vec<_> = attempts.iter().map(u32::to_string).collect();
            complain(format_args!(
                "there is no log of that attempt at {id}, but of {}",
                attempts.join(", ")
            ));
            return exit::NO_INPUT;
        }
        Search::Several(jobs) => {
            complain(format_args!("several jobs begin with {id}; say more of:"));
            for job in jobs {
                complain(format_args!("  {job}"));
            }
            return exit::NO_INPUT;
        }
        Search::Nothing => {
            complain(format_args!("there is no log of {id:?} in {:?}", logs.folder()));
            return exit::NO_INPUT;
        }
    };
    match show(&log.path, args.follow) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            complain(format_args!("failed to show {:?}: {error}", log.path));
            exit::IO
        }
        _ => exit::OK,
    }
}

fn folder(args: &LogsArgs) -> Result<Logs, u8> {
    if let Some(state) = &args.state {
        return Ok(Logs::of(state));
    }
    let source = SourceArgs::of(args.landing.as_ref(), args.config.as_ref());
    let config = source.config(None, None).map_err(|error| {
        match error {
            ConfigError::NoSource => complain("give --landing, --state or --config"),
            _ => complain(format_args!("failed to {}", Chain(&error))),
        }
        code_of(&error)
    })?;
    let state = state_folder(&config).map_err(|error| {
        complain(format_args!("failed to {}", Chain(&error)));
        error.exit_code()
    })?;
    Ok(Logs::of(&state))
}

/// Copies a log to stdout, with only a part of it in memory at a time.
fn show(path: &Path, follow: bool) -> io::Result<()> {
    let mut log = open(path)?;
    let mut out = io::stdout().lock();
    loop {
        // Checked before the copy: what is written in between is copied.
        let ended = !follow || has_ended(&log);
        copy(&mut log, &mut out)?;
        if ended {
            return Ok(());
        }
        if is_closed(&out)? {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
    }
}

fn copy(log: &mut File, out: &mut impl Write) -> io::Result<()> {
    let mut chunk = vec![0; 64 * 1024];
    loop {
        match log.read(&mut chunk) {
            Ok(0) => return out.flush(),
            Ok(n) => out.write_all(&chunk[..n])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Waits for at most one interval, and returns whether the reader of stdout is gone.
fn is_closed(out: &io::StdoutLock<'_>) -> io::Result<bool> {
    let mut ready = [PollFd::new(out, PollFlags::empty())];
    match poll(&mut ready, Some(&PACE)) {
        Ok(_) | Err(Errno::INTR) => {
            Ok(ready[0].revents().intersects(PollFlags::ERR | PollFlags::HUP))
        }
        Err(error) => Err(error.into()),
    }
}

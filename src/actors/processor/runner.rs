//! [`CommandRunner`]: runs the configured command of a source, and checks the state of the package after.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Instant, SystemTime};

use slog::{Drain, Level, Logger, debug, info, warn};

use super::error::ProcessorError;
use super::{Ran, Runner};
use crate::config::Process;
use crate::error::Chain;
use crate::id::SourceName;
use crate::package::{PackageFacts, ZipStamp};
use crate::process::logs::{Header, Logs};
use crate::process::{
    CommandLine, Exit, Guards, Lines, LogFile, Mark, Mode, ProcessError, Reach, Spec,
};

/// The exit code with which a command asks for another attempt: `EX_TEMPFAIL` of `sysexits.h`.
const TEMPFAIL: i32 = 75;

/// Maximum bytes per output line in the daemon's log.
const LINE_MAX: usize = 1024;

/// Maximum number of delivered names that are compared before and after the command.
const COMPARED_MAX: usize = 10_000;

/// Runs a source's command.
pub struct CommandRunner {
    /// The source.
    pub source: SourceName,
    /// Its options.
    pub process: Process,
    /// The command to run.
    pub line: CommandLine,
    /// Starts and guards the command.
    pub guards: Guards,
    /// How the processes of a command are kept together.
    pub mode: Mode,
    /// The folders that the command must not change; `None` if they cannot be protected.
    pub protected: Option<Arc<[PathBuf]>>,
    /// Where the command's output goes.
    pub logs: Logs,
    /// Whether the last log could not be created.
    pub unlogged: AtomicBool,
    /// The daemon's log.
    pub log: Logger,
}

impl Runner for CommandRunner {
    fn run(&self, package: &PackageFacts, stamp: Option<ZipStamp>) -> Ran {
        let mut ran = Ran { verdict: Ok(()), stopped: false, log: None, notes: Vec::new() };
        let judged = self.run_logged(package, stamp, &mut ran);
        ran.verdict = judged;
        ran
    }

    fn stop(&self) {
        self.guards.kill_all();
    }

    fn tidy(&self) {
        match self.logs.prune(&self.source, self.process.keep_logs, SystemTime::now()) {
            Ok(0) => {}
            Ok(removed) => {
                info!(self.log, "old logs of commands are removed"; "number" => removed);
            }
            Err(error) => {
                warn!(self.log, "old logs of commands could not be removed"; "error" => %error);
            }
        }
    }
}

impl CommandRunner {
    fn run_logged(
        &self,
        package: &PackageFacts,
        stamp: Option<ZipStamp>,
        ran: &mut Ran,
    ) -> Result<(), ProcessorError> {
        let before = Delivery::look(package, stamp)?;
        let argv = self.line.argv(package);
        let words = argv.iter().map(|word| word.to_string_lossy().into_owned()).collect();
        let mut log = self.begin_log(&Header::new(package, words), ran)?;
        let dir = package.dir();
        let reach = self.protected.as_ref().map(|all| Reach::new(&dir, Arc::clone(all)));
        let reach = reach.transpose().map_err(io_error("look at", &dir))?;
        let spec = Spec {
            argv,
            cwd: dir,
            env: self.line.env(package),
            nice: self.process.nice,
            memory_bytes: self.process.memory.map(|memory| memory.as_u64()),
            timeout: self.process.timeout,
            kill_after: self.process.kill_after,
            reach,
            mark: Mark::new(package.job.to_string(), package.attempt)
                .map_err(io_error("look into", Path::new("/proc")))?,
        };
        let begun = Instant::now();
        let ended = self.run_heard(package, spec, &mut log);
        let took = humantime::format_duration(round(begun.elapsed()));
        log.end(&match &ended {
            Ok(exit) => format!("{exit} after {took}"),
            Err(error) => format!("failed to {}", Chain(error)),
        });
        if let Some(error) = log.error() {
            warn!(self.log, "the log of a command is not whole"; "error" => %error, "path" => ?ran.log);
        }
        let exit = match ended {
            Ok(Exit::Killed) | Err(ProcessError::Stopping) => {
                ran.stopped = true;
                return Ok(());
            }
            Ok(exit) => exit,
            Err(error) => return Err(error.into()),
        };
        ran.notes.push(match exit {
            Exit::Signal(signal) => ("signal", signal.to_string()),
            Exit::Code(code) => ("exit_code", code.to_string()),
            _ => ("exit", exit.to_string()),
        });
        ran.notes.push(("took", took.to_string()));
        // A change takes precedence over a requested attempt, which would start with the change.
        if matches!(exit, Exit::Code(0 | TEMPFAIL)) {
            before.compare()?;
        }
        self.judge(exit, package, &log)
    }

    /// Creates the command's log. If that fails (the disk is full, the state folder is gone), the command
    /// runs without a log, and one warning is logged.
    fn begin_log(&self, header: &Header, ran: &mut Ran) -> Result<LogFile, ProcessorError> {
        let max_bytes = self.process.log_max.as_u64();
        let error = match self.logs.begin(header, max_bytes) {
            Ok((path, log)) => {
                if self.unlogged.swap(false, Ordering::Relaxed) {
                    info!(self.log, "commands have logs again"; "path" => ?self.logs.folder());
                }
                ran.log = Some(path);
                return Ok(log);
            }
            Err(error) => error,
        };
        if !self.unlogged.swap(true, Ordering::Relaxed) {
            warn!(self.log, "commands run without a log: there is no place for one";
                "why" => %error, "path" => ?self.logs.folder());
        }
        let nowhere = Path::new("/dev/null");
        let file = fs::File::options().write(true).open(nowhere);
        Ok(LogFile::new(file.map_err(io_error("open", nowhere))?, max_bytes))
    }

    /// Runs the command. Each output line also goes to the daemon's log, as long as the command's own log
    /// has room.
    fn run_heard(
        &self,
        package: &PackageFacts,
        spec: Spec,
        log: &mut LogFile,
    ) -> Result<Exit, ProcessError> {
        let listens = self.log.is_enabled(Level::Debug);
        let (mut lines, job) = (Lines::new(LINE_MAX), package.job);
        let mut tell = |line: &str| debug!(self.log, "{}", printable(line); "job" => %job);
        let exit = self.guards.run(self.mode, spec, &mut |chunk| {
            log.write(chunk);
            if listens && !log.is_capped() {
                lines.push(chunk, &mut tell);
            }
        });
        lines.finish(&mut tell);
        exit
    }

    fn judge(
        &self,
        exit: Exit,
        package: &PackageFacts,
        log: &LogFile,
    ) -> Result<(), ProcessorError> {
        let output = || log.tail();
        match exit {
            Exit::Code(0) => check_output(&package.dir()),
            Exit::Code(TEMPFAIL) => Err(ProcessorError::Deferred { output: output() }),
            Exit::Code(code) => Err(ProcessorError::Failed { code, output: output() }),
            Exit::Signal(signal) => Err(ProcessorError::Killed { signal, output: output() }),
            Exit::TimedOut | Exit::Killed => Err(ProcessorError::TimedOut {
                timeout: self.process.timeout.unwrap_or_default(),
                output: output(),
            }),
        }
    }
}

/// Returns a line that is safe for a terminal: nothing in it moves the cursor or sets a colour.
fn printable(line: &str) -> Cow<'_, str> {
    if line.chars().any(char::is_control) {
        line.replace(char::is_control, "\u{fffd}").into()
    } else {
        line.into()
    }
}

/// Checks that the command's output can continue: it must be a folder, still in its place.
fn check_output(path: &Path) -> Result<(), ProcessorError> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(ProcessorError::OutputReplaced { path: path.into() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(ProcessorError::OutputGone { path: path.into() })
        }
        Err(source) => Err(ProcessorError::Io { action: "look at", path: path.into(), source }),
    }
}

/// The state of the delivered files before the command runs. Another attempt, and a person who looks into
/// quarantine, must find them as they came.
///
/// A new file is no change: a sender may still add files.
struct Delivery {
    top: PathBuf,
    zip: PathBuf,
    zip_stamp: Option<ZipStamp>,
    seen: HashMap<PathBuf, Seen>,
}

/// Identifies a folder, or one state of a file.
#[derive(PartialEq, Eq)]
struct Seen {
    inode: u64,
    is_dir: bool,
    /// Length and time of the last content change; for files only.
    content: Option<(u64, i64, i64)>,
}

impl Seen {
    fn of(found: &fs::Metadata) -> Self {
        let content = (!found.is_dir()).then(|| (found.len(), found.mtime(), found.mtime_nsec()));
        Self { inode: found.ino(), is_dir: found.is_dir(), content }
    }
}

impl Delivery {
    fn look(package: &PackageFacts, zip_stamp: Option<ZipStamp>) -> Result<Self, ProcessorError> {
        let top = package.delivered();
        let zip = top.join(package.name.zip());
        let mut delivery = Self { top: top.clone(), zip, zip_stamp, seen: HashMap::new() };
        let mut rest = vec![top];
        while let Some(folder) = rest.pop() {
            let failed =
                |source| ProcessorError::Io { action: "list", path: folder.clone(), source };
            for entry in fs::read_dir(&folder).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                // An entry that disappears at this moment was removed by its sender.
                let Ok(found) = entry.metadata() else { continue };
                if found.is_dir() {
                    rest.push(entry.path());
                }
                delivery.seen.insert(entry.path(), Seen::of(&found));
                if delivery.seen.len() >= COMPARED_MAX {
                    return Ok(delivery);
                }
            }
        }
        Ok(delivery)
    }

    fn compare(&self) -> Result<(), ProcessorError> {
        let changed = |path: &Path, how| {
            Err(ProcessorError::DeliveryChanged { path: path.to_path_buf(), how })
        };
        match fs::symlink_metadata(&self.top) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => return changed(&self.top, "another"),
            Err(error) => return gone(&self.top, error),
        }
        match (fs::symlink_metadata(&self.zip), &self.zip_stamp) {
            // A touched ZIP alone is no change: its contents are compared before it is archived.
            (Ok(found), Some(stamp)) if stamp.difference(&ZipStamp::from(&found)).is_some() => {
                return changed(&self.zip, "another");
            }
            (Ok(_), _) => {}
            (Err(error), _) => return gone(&self.zip, error),
        }
        for (path, seen) in &self.seen {
            match fs::symlink_metadata(path) {
                Ok(found) if Seen::of(&found) == *seen => {}
                Ok(_) => return changed(path, "another"),
                Err(error) => return gone(path, error),
            }
        }
        Ok(())
    }
}

fn gone(path: &Path, error: io::Error) -> Result<(), ProcessorError> {
    let path = path.to_path_buf();
    Err(match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            ProcessorError::DeliveryChanged { path, how: "gone" }
        }
        _ => ProcessorError::Io { action: "look at", path, source: error },
    })
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ProcessorError {
    let path = path.to_path_buf();
    move |source| ProcessorError::Io { action, path, source }
}

/// Rounds to whole milliseconds; more precision is not useful in a log.
fn round(span: std::time::Duration) -> std::time::Duration {
    std::time::Duration::from_millis(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{JobId, PackageName};

    /// Creates a delivered package `plate` with a ZIP, a file and a folder.
    fn delivered() -> (tempfile::TempDir, PackageFacts, ZipStamp) {
        let home = tempfile::tempdir().unwrap();
        let package = PackageFacts {
            source: SourceName::default(),
            name: PackageName::new("plate").unwrap(),
            job: JobId::generate(),
            attempt: 1,
            home: home.path().to_path_buf(),
            entries: 0,
            bytes: 0,
            untouched: false,
        };
        fs::create_dir_all(package.delivered().join("photos")).unwrap();
        for name in ["plate.zip", "readme.txt", "photos/1.jpg"] {
            fs::write(package.delivered().join(name), name).unwrap();
        }
        let zip = fs::metadata(package.delivered().join("plate.zip")).unwrap();
        (home, package, ZipStamp::from(&zip))
    }

    #[test]
    fn delivery_that_a_command_leaves_alone_or_adds_to_is_unchanged() {
        let (_home, package, stamp) = delivered();
        let before = Delivery::look(&package, Some(stamp)).unwrap();
        fs::write(package.delivered().join("late.txt"), "new").unwrap();
        fs::write(package.delivered().join("photos/2.jpg"), "new").unwrap();
        let zip = package.delivered().join("plate.zip");
        fs::hard_link(&zip, package.delivered().join("link")).unwrap();
        before.compare().unwrap();
    }

    #[test]
    fn delivery_that_a_command_changes_is_refused_with_the_name_of_what_changed() {
        type Change = fn(&Path) -> io::Result<()>;
        let changes: [(&str, &str, Change); 6] = [
            ("plate.zip", "another", |top| fs::write(top.join("plate.zip"), "another text")),
            ("plate.zip", "gone", |top| fs::remove_file(top.join("plate.zip"))),
            ("readme.txt", "another", |top| fs::write(top.join("readme.txt"), "another text")),
            ("photos/1.jpg", "gone", |top| fs::remove_file(top.join("photos/1.jpg"))),
            ("", "gone", |top| fs::rename(top, top.with_extension("moved"))),
            ("", "another", |top| {
                fs::rename(top, top.with_extension("moved"))?;
                std::os::unix::fs::symlink(top.with_extension("moved"), top)
            }),
        ];
        for (what, change, make) in changes {
            let (_home, package, stamp) = delivered();
            let before = Delivery::look(&package, Some(stamp)).unwrap();
            make(&package.delivered()).unwrap();
            match before.compare() {
                Err(ProcessorError::DeliveryChanged { path, how }) => {
                    assert_eq!((path, how), (package.delivered().join(what), change));
                }
                other => panic!("{what} {change} gave {other:?}"),
            }
        }
    }

    #[test]
    fn line_with_terminal_controls_has_none_left() {
        assert_eq!(printable("a\u{1b}[31mb\r"), "a\u{fffd}[31mb\u{fffd}");
        assert_eq!(printable("plain π"), "plain π");
    }
}

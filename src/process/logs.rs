//! The logs of commands: one file for each attempt, in `STATE/logs`.
//!
//! In: the output of a command. Out: `JOB.ATTEMPT.log`, with a [`Header`] on the first line, the
//! output, and a last line that says how the command ended.
//!
//! **Invariant:** the writer of a log holds a lock (`flock`) on it, from before the log gets its
//! name until the attempt ends, however it ends. So a reader knows when the log has ended, and the
//! log is not removed before that.

use std::fs::{self, File, TryLockError};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

use super::LogFile;
use crate::folder::Folder;
use crate::id::{JobId, SourceName};
use crate::names::LOGS;
use crate::package::PackageFacts;
use crate::workspace::State;

/// The start of a header line.
const MARK: &str = "# longshore ";

/// How many bytes of a first line are read to find a header.
const HEADER_MAX: u64 = 256 * 1024;

/// The content of a log's first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Version of this record: 1.
    pub v: u32,
    /// The package's name.
    pub package: String,
    /// The package's source.
    pub source: SourceName,
    /// The job's id.
    pub job: String,
    /// The attempt, counted from 1.
    pub attempt: u32,
    /// When the attempt started, in UTC.
    pub at: jiff::Timestamp,
    /// Program and arguments; what is not UTF-8 is replaced.
    pub command: Vec<String>,
}

impl Header {
    /// Creates the header for a command that starts now.
    #[must_use]
    pub fn new(package: &PackageFacts, command: Vec<String>) -> Self {
        Self {
            v: 1,
            package: package.name.to_string(),
            source: package.source.clone(),
            job: package.job.to_string(),
            attempt: package.attempt,
            at: jiff::Timestamp::now(),
            command,
        }
    }

    fn line(&self) -> io::Result<String> {
        Ok(format!("{MARK}{}\n", serde_json::to_string(self)?))
    }

    fn read(path: &Path) -> Option<Self> {
        let mut line = String::new();
        BufReader::new(open(path).ok()?.take(HEADER_MAX)).read_line(&mut line).ok()?;
        serde_json::from_str(line.strip_prefix(MARK)?).ok()
    }
}

/// A log in the folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The job. Younger jobs sort after older ones.
    pub job: JobId,
    /// The attempt, counted from 1.
    pub attempt: u32,
    /// The file. Absolute if the folder's path is.
    pub path: PathBuf,
}

/// The result of [`Logs::find`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Search {
    /// The requested log.
    Found(Entry),
    /// There is no such log.
    Nothing,
    /// The job has logs of these attempts, but not of the requested one.
    OtherAttempts(Vec<u32>),
    /// Several jobs have ids that start with the text.
    Several(Vec<JobId>),
}

/// The folder with all logs.
#[derive(Debug, Clone)]
pub struct Logs {
    folder: PathBuf,
    /// The state folder. `None` if logs are only read.
    state: Option<Arc<State>>,
}

impl Logs {
    /// Returns the logs of a state folder, for reading only. Does not create the folder.
    #[must_use]
    pub fn of(state: &Path) -> Self {
        Self { folder: state.join(LOGS), state: None }
    }

    /// Returns the logs of a state folder that this process holds. Does not create the folder.
    #[must_use]
    pub fn held(state: Arc<State>) -> Self {
        Self { folder: state.folder().join(LOGS), state: Some(state) }
    }

    /// Returns the path of the folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Creates the folder if it is missing. Only its owner can enter it.
    ///
    /// # Errors
    /// I/O errors; `Unsupported` for logs that are only read.
    pub fn make(&self) -> io::Result<()> {
        self.open_folder().map(drop)
    }

    fn open_folder(&self) -> io::Result<Folder> {
        let state = self.state.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        state.again()?.make_or_open(LOGS)
    }

    /// Starts the log of an attempt. Replaces a log of the same attempt that an earlier run left.
    ///
    /// # Errors
    /// I/O errors; `Unsupported` for logs that are only read.
    pub fn begin(&self, header: &Header, max_bytes: u64) -> io::Result<(PathBuf, LogFile)> {
        let folder = self.open_folder()?;
        let name = format!("{}.{}.log", header.job, header.attempt);
        // The log gets its name after it is locked, so that no reader sees it unlocked.
        let fresh = format!(".{}.{}.new", header.job, header.attempt);
        folder.remove_file(&fresh)?;
        let file = folder.create(&fresh, Mode::RUSR | Mode::WUSR)?;
        let log = LogFile::begin(file, &header.line()?, max_bytes)?;
        folder.replace(&fresh, &name)?;
        Ok((self.folder.join(name), log))
    }

    /// Returns all logs, oldest job first. Empty if the folder does not exist.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn list(&self) -> io::Result<Vec<Entry>> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut logs = Vec::new();
        for entry in entries {
            let path = entry?.path();
            logs.extend(parse(&path).map(|(job, attempt)| Entry { job, attempt, path }));
        }
        logs.sort();
        Ok(logs)
    }

    /// Finds a log by a job's id, a prefix of exactly one job's id, or a package's name, which selects
    /// the package's last job. Without `attempt`, returns the log of the job's last attempt.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn find(&self, what: &str, attempt: Option<u32>) -> io::Result<Search> {
        let logs = self.list()?;
        let id = what.to_ascii_uppercase();
        let mut jobs: Vec<JobId> = logs.iter().map(|log| log.job).collect();
        jobs.dedup();
        let begin_so = |job: &&JobId| !id.is_empty() && job.to_string().starts_with(&id);
        let begun: Vec<JobId> = jobs.iter().filter(begin_so).copied().collect();
        let job = match begun[..] {
            [job] => job,
            _ => match self.last_of(what, &logs) {
                Some(job) => job,
                None if begun.is_empty() => return Ok(Search::Nothing),
                None => return Ok(Search::Several(begun)),
            },
        };
        let mut attempts: Vec<Entry> = logs.into_iter().filter(|log| log.job == job).collect();
        let Some(attempt) = attempt else {
            return Ok(attempts.pop().map_or(Search::Nothing, Search::Found));
        };
        Ok(match attempts.iter().find(|log| log.attempt == attempt) {
            Some(log) => Search::Found(log.clone()),
            None => Search::OtherAttempts(attempts.iter().map(|log| log.attempt).collect()),
        })
    }

    /// Returns the last job of a package.
    fn last_of(&self, name: &str, logs: &[Entry]) -> Option<JobId> {
        let is_its = |log: &&Entry| Header::read(&log.path).is_some_and(|h| h.package == name);
        logs.iter().rev().find(is_its).map(|log| log.job)
    }

    /// Removes the logs of a source that are older than `keep`, except those that are being
    /// written. Returns how many it removed. A log without a readable header counts as a log of
    /// this source.
    ///
    /// # Errors
    /// The folder cannot be read, or a log cannot be opened or removed.
    pub fn prune(&self, source: &SourceName, keep: Duration, now: SystemTime) -> io::Result<usize> {
        let Some(oldest) = now.checked_sub(keep) else {
            return Ok(0);
        };
        let mut removed = 0;
        for Entry { path, .. } in self.list()? {
            let Ok(found) = fs::symlink_metadata(&path) else { continue };
            let is_old = found.modified().is_ok_and(|modified| modified < oldest);
            let is_its = || Header::read(&path).is_none_or(|header| header.source == *source);
            if !is_old || !is_its() || !has_ended(&open(&path)?) {
                continue;
            }
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => removed += 1,
            }
        }
        Ok(removed)
    }
}

/// Opens a log for reading.
///
/// # Errors
/// I/O errors.
pub fn open(path: &Path) -> io::Result<File> {
    #[expect(clippy::cast_possible_wrap, reason = "flags are bits in an int of that size")]
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
    File::options().read(true).custom_flags(flags).open(path)
}

/// Whether this log no longer has a writer.
#[must_use]
pub fn has_ended(log: &File) -> bool {
    match log.try_lock_shared() {
        Err(TryLockError::WouldBlock) => false,
        // If the file system has no locks, there is no way to wait for a writer.
        Ok(()) | Err(TryLockError::Error(_)) => {
            log.unlock().ok();
            true
        }
    }
}

/// Parses `JOB.ATTEMPT.log`.
fn parse(path: &Path) -> Option<(JobId, u32)> {
    let (job, attempt) = path.file_name()?.to_str()?.strip_suffix(".log")?.split_once('.')?;
    Some((job.parse().ok()?, attempt.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::PackageName;
    use std::os::unix::fs::MetadataExt;

    struct Fixture {
        _top: tempfile::TempDir,
        logs: Logs,
    }

    fn folder() -> Fixture {
        let top = tempfile::tempdir().unwrap();
        let state = State::at(top.path().to_path_buf(), Vec::new()).unwrap();
        let logs = Logs::held(Arc::new(state));
        logs.make().unwrap();
        Fixture { _top: top, logs }
    }

    fn header(name: &str, job: &str, attempt: u32) -> Header {
        let package = PackageFacts {
            source: SourceName::default(),
            name: PackageName::new(name).unwrap(),
            job: job.parse().unwrap(),
            attempt,
            home: "/work/job".into(),
            entries: 0,
            bytes: 0,
            untouched: false,
        };
        Header::new(&package, vec!["true".to_owned()])
    }

    const OLD: &str = "01JD0000000000000000000000";
    const NEW: &str = "01JD9000000000000000000000";

    fn found(search: Search) -> (String, u32) {
        match search {
            Search::Found(log) => (log.job.to_string(), log.attempt),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn log_is_found_by_job_prefix_and_name_and_is_private() {
        let Fixture { logs, .. } = &folder();
        for (name, job, attempt) in
            [("plate", OLD, 1), ("plate", OLD, 2), ("plate", NEW, 1), ("01JD", NEW, 3)]
        {
            logs.begin(&header(name, job, attempt), 100).unwrap();
        }
        assert_eq!(found(logs.find(OLD, None).unwrap()), (OLD.to_owned(), 2));
        assert_eq!(found(logs.find("01jd00", Some(1)).unwrap()), (OLD.to_owned(), 1));
        assert_eq!(found(logs.find("plate", Some(1)).unwrap()), (NEW.to_owned(), 1));
        assert_eq!(found(logs.find("01JD", None).unwrap()), (NEW.to_owned(), 3), "it is a name");
        let several = Search::Several(vec![OLD.parse().unwrap(), NEW.parse().unwrap()]);
        assert_eq!(logs.find("01J", None).unwrap(), several);
        assert_eq!(logs.find("plat", None).unwrap(), Search::Nothing);
        assert_eq!(logs.find("", None).unwrap(), Search::Nothing);
        assert_eq!(logs.find(OLD, Some(7)).unwrap(), Search::OtherAttempts(vec![1, 2]));
        let modes = [logs.folder().to_path_buf(), logs.folder().join(format!("{OLD}.1.log"))]
            .map(|path| fs::metadata(path).unwrap().mode() & 0o777);
        assert_eq!(modes, [0o700, 0o600]);
    }

    #[test]
    fn log_that_is_written_has_not_ended_until_its_writer_lets_go() {
        let Fixture { logs, .. } = &folder();
        let (path, mut log) = logs.begin(&header("plate", OLD, 1), 100).unwrap();
        log.write(b"no line end");
        let reader = open(&path).unwrap();
        assert!(!has_ended(&reader));
        log.end("exit code 0");
        assert!(!has_ended(&reader), "it is not closed yet");
        drop(log);
        assert!(has_ended(&reader));
        let text = fs::read_to_string(path).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[1..], ["no line end", "# exit code 0"]);
        assert!(lines[0].starts_with("# longshore {\"v\":1,\"package\":\"plate\""), "{text}");
    }

    #[test]
    fn prune_removes_old_logs_of_its_source_and_none_that_is_written() {
        let Fixture { logs, .. } = &folder();
        drop(logs.begin(&header("ended", OLD, 1), 100).unwrap());
        let running = logs.begin(&header("running", NEW, 1), 100).unwrap();
        let mut other = header("other", NEW, 2);
        other.source = SourceName::new("other").unwrap();
        drop(logs.begin(&other, 100).unwrap());
        let (own, day) = (SourceName::default(), Duration::from_secs(86400));
        let now = SystemTime::now();
        assert_eq!(logs.prune(&own, day, now).unwrap(), 0, "none is old");
        assert_eq!(logs.prune(&own, day, now + 2 * day).unwrap(), 1);
        let left: Vec<_> = logs.list().unwrap().into_iter().map(|log| log.attempt).collect();
        assert_eq!(left, [1, 2], "the one that runs, and the other source's");
        drop(running);
        assert_eq!(logs.prune(&own, day, now + 2 * day).unwrap(), 1);
    }
}

//! Recovers the work area at a restart: the restart table, row by row.
//!
//! In: the folders, and `.boot`. Out: [`Recovery`]: jobs to extract, jobs to settle, and remarks.
//!
//! **Invariant:** recovery can die between any two steps and run again. Crashes are not counted twice,
//! and the state after every row is again a row of the table.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use super::boot::{Boot, State, boot_id};
use super::claim::{clear, is_gathered};
use super::contents::Contents;
use super::error::WorkspaceError;
use super::reason::{Decision, Reason, Settling};
use super::site::Site;
use super::staging::CopyRecord;
use super::trust::ours_alone;
use super::{JobDir, JobKey};
use crate::folder::Folder;
use crate::id::{JobId, PackageName};
use crate::job::{ALONE_FROM, JobSpec, Origin};
use crate::names::{
    APART, BOOT, BOOT_NEW, CLAIM, COPY, DISCARD, DONE, KEPT, LOCK, NAME_MARK, OLD_PROBE, OUT,
    PASSED, PROBE, Q, REASON, REASON_NEW, REFUSED, REFUSED_NEW, job_folder, parse_job_folder,
};

/// The jobs found in the work area at the start, and how each continues.
#[derive(Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovery {
    /// Jobs to be extracted afresh, oldest first.
    pub extract: Vec<JobSpec>,
    /// Jobs of `extract` that must run alone, because the daemon died before while they or their
    /// neighbours were in work: one at a time, with nothing else in work. If such a job is past its
    /// extraction, the attempt notices that and settles it.
    pub alone: Vec<JobId>,
    /// Jobs to be settled, each from its current state, oldest first.
    pub settle: Vec<Recovered>,
    /// Jobs that were half-made or already settled: their empty folders have been removed.
    pub cleaned: Vec<JobId>,
    /// Jobs that a crash was counted for.
    pub crashed: Vec<JobId>,
    /// Whether the last run ended without a request to stop.
    pub unclean: bool,
    /// Remarks for the operator: one line each. Nothing that they name was touched.
    pub remarks: Vec<String>,
}

/// A job that goes on to the archive or to quarantine without being unpacked again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// The job.
    pub spec: JobSpec,
    /// Its folder and its decision.
    pub settling: Settling,
}

/// One job's folder.
struct Found {
    key: JobKey,
    home: Folder,
    contents: Contents,
}

/// Facts about the previous run.
#[derive(Clone, Copy)]
struct Before {
    /// It ran in the current boot: everything that it wrote is there, synced or not.
    same_boot: bool,
    /// It wrote a record for each job that it archived.
    records: bool,
}

/// The row of the restart table that applies to a job's folder.
enum Row {
    Extract(JobDir),
    Settle(JobDir, Decision),
    /// The job is on its way already, and the daemon died while it was in work: it is settled alone.
    SettleAlone(JobDir),
    Cleaned,
    /// No decision is possible from here: the job stays as it is.
    Left(String),
}

impl Site {
    /// Scans the work area, counts crashes, clears the jobs that start afresh, and returns the work to be
    /// done. From now on this run counts as running.
    ///
    /// # Errors
    /// [`WorkspaceError`] if the work area as a whole cannot be read or written. A problem with a single
    /// job becomes a remark, and the job stays.
    pub fn recover(&self) -> Result<Recovery, WorkspaceError> {
        let mut recovery = Recovery::default();
        let last = self.last_run();
        let before = Before {
            same_boot: last
                .as_ref()
                .is_some_and(|last| !last.boot.is_empty() && last.boot == boot_id()),
            records: last.as_ref().is_none_or(|last| last.records),
        };
        let part = self.part();
        let mut found = self.survey(&part, &mut recovery)?;
        if last.is_none() && !found.is_empty() {
            let root = self.root();
            recovery.remarks.push(format!(
                "no record of the last run in {root:?}: no crash is counted, and what was not yet \
                 in the archive is unpacked afresh"
            ));
        }
        self.count_crashes(&part, last, &mut found, &mut recovery)?;
        let mut settled_first = 0;
        for job in found {
            let (id, path) = (job.key.0, job.home.path().to_path_buf());
            // The job can still be settled, but its folder cannot be removed while the strays are in it.
            recovery.remarks.extend(job.contents.strays.iter().map(|path| stray(path)));
            let is_active = job.contents.is_active();
            let row = self.row(&part, job, before);
            match row.map(|row| if is_active { self.with_care(row) } else { row }) {
                Ok(Row::Extract(job)) => {
                    if job.crashes() >= ALONE_FROM {
                        recovery.alone.push(id);
                    }
                    recovery.extract.push(self.spec(&job));
                }
                Ok(Row::SettleAlone(job)) => {
                    recovery.alone.push(id);
                    // Before all others: such a job looks active until it is settled.
                    recovery.extract.insert(settled_first, self.spec(&job));
                    settled_first += 1;
                }
                Ok(Row::Settle(job, decision)) => {
                    let spec = self.spec(&job);
                    recovery.settle.push(Recovered { spec, settling: Settling { job, decision } });
                }
                Ok(Row::Cleaned) => recovery.cleaned.push(id),
                Ok(Row::Left(remark)) => recovery.remarks.push(remark),
                Err(error) => recovery.remarks.push(format!(
                    "failed to recover {path:?}, which stays until the next start: {}",
                    crate::error::Chain(&error)
                )),
            }
        }
        self.mark_running()?;
        Ok(recovery)
    }

    /// Lists the jobs, oldest first, and adds a remark for every other entry.
    fn survey(&self, part: &Folder, recovery: &mut Recovery) -> Result<Vec<Found>, WorkspaceError> {
        let mut names: Vec<(OsString, bool)> = Vec::new();
        part.list(|name, kind| names.push((name.to_owned(), kind.is_dir())))
            .map_err(WorkspaceError::io("list", self.root()))?;
        let mut keys: Vec<JobKey> = Vec::new();
        for (name, is_dir) in names {
            let text = name.to_str().unwrap_or_default();
            if text == KEPT && is_dir {
                continue; // the jobs in it are settled
            }
            let is_record =
                matches!(text, BOOT | BOOT_NEW | LOCK | OLD_PROBE | REFUSED | REFUSED_NEW);
            if (is_record || text.starts_with(PROBE)) && !is_dir {
                continue;
            }
            match parse_job_folder(text).filter(|_| is_dir) {
                Some(key) => keys.push(key),
                None => recovery.remarks.push(stray(&part.join(&name))),
            }
        }
        keys.sort_unstable();
        let mut found = Vec::new();
        for key in only_one_each(part, keys, recovery) {
            let name = job_folder(key.0, key.1, key.2);
            let opened = part.folder_if_there(&name).and_then(|home| {
                let Some(home) = home else { return Ok(None) };
                let contents = Contents::read(&home)?;
                Ok(Some(Found { key, home, contents }))
            });
            match opened {
                Ok(Some(job)) if ours_alone("folder", &job.home).is_ok() => found.push(job),
                Ok(Some(job)) => recovery.remarks.push(stray(job.home.path())),
                Ok(None) => {}
                Err(error) => recovery.remarks.push(format!(
                    "failed to list {:?}, which stays until the next start: {error}",
                    part.join(name)
                )),
            }
        }
        Ok(found)
    }

    /// Counts a crash for each job that was active at an unclean end, by renaming its folder.
    fn count_crashes(
        &self,
        part: &Folder,
        last: Option<Boot>,
        found: &mut [Found],
        recovery: &mut Recovery,
    ) -> Result<(), WorkspaceError> {
        let Some(last) = last else { return Ok(()) };
        let counted: BTreeMap<String, u32> = match last.state {
            State::Stopped | State::Stopping => return Ok(()),
            State::Recovering => last.crashed,
            State::Running => {
                let active = found.iter().filter(|job| job.contents.is_active());
                active.map(|job| (job.key.0.to_string(), job.key.2.saturating_add(1))).collect()
            }
        };
        recovery.unclean = true;
        if last.state == State::Running && !counted.is_empty() {
            // The boot id stays the last run's: this run has not judged by it yet.
            let mut record = Boot::new(last.boot, State::Recovering);
            record.crashed.clone_from(&counted);
            record.records = last.records;
            self.mark_recovering(record)?;
        }
        for job in found {
            let (id, attempt, known) = job.key;
            let Some(crashes) = counted.get(&id.to_string()).copied() else { continue };
            recovery.crashed.push(id);
            if known >= crashes {
                continue; // counted before recovery itself died
            }
            let (old, new) = (job_folder(id, attempt, known), job_folder(id, attempt, crashes));
            let renamed = part.rename(&old, part, &new, None).and_then(|()| part.folder(&new));
            match renamed {
                Ok(home) => (job.home, job.key) = (home, (id, attempt, crashes)),
                Err(error) => {
                    let path = job.home.path();
                    recovery.remarks.push(format!("failed to count a crash for {path:?}: {error}"));
                }
            }
        }
        Ok(())
    }

    /// Lets a job run alone if it was decided on and the daemon died while it was in work. After
    /// `max_crashes` more deaths the job stays where it is: no other destination is possible for it.
    fn with_care(&self, row: Row) -> Row {
        match row {
            Row::Settle(job, Decision::Resume) if job.crashes() >= self.crashes_max() => {
                Row::Left(format!(
                    "{:?} stays as it is: the daemon died {} times while this job was on its way to the \
                     archive or quarantine; rename the folder to {:?} to have it tried again",
                    job.path(),
                    job.crashes(),
                    job_folder(job.id(), job.attempt(), 0),
                ))
            }
            Row::Settle(job, Decision::Resume) if job.crashes() >= ALONE_FROM => {
                Row::SettleAlone(job)
            }
            other => other,
        }
    }

    /// The number of the daemon's deaths after which a job is abandoned.
    fn crashes_max(&self) -> u32 {
        ALONE_FROM.saturating_add(self.source().max_crashes)
    }

    /// Determines the row of the table for a job, and removes what that row removes.
    fn row(&self, part: &Arc<Folder>, found: Found, before: Before) -> Result<Row, WorkspaceError> {
        let Found { key, home, mut contents } = found;
        let path = home.path().to_path_buf();
        let io = |action| WorkspaceError::io(action, &path);
        if contents.claim {
            end_claim(&home, &mut contents).map_err(io("end the claim in"))?;
        }
        if contents.copied || contents.q_copied {
            let row = copied(part, key, &home, &contents);
            return row.map_err(io("read the record of the copy in"));
        }
        if contents.q {
            let q = home.folder(Q).map_err(io("look into"))?;
            if q.has(REASON).map_err(io("look at"))? {
                return Ok(decided(part, key, &q, &contents, &path));
            }
            // Nothing was decided: reason.json would have been written first.
            q.remove_file(REASON_NEW).map_err(io("clear"))?;
            if !home.remove_empty(Q).map_err(io("clear"))? {
                let q = q.path();
                return Ok(Row::Left(format!("{q:?} has no reason.json: look at it by hand")));
            }
        }
        if contents.delivered.is_empty() {
            return without_package(part, &home, &contents);
        }
        let Some(job) = contents.job(part, key) else { return Ok(nameless(&path)) };
        // A folder that cannot be opened is left to extraction to judge.
        let delivered = home.folder(job.target()).ok();
        let has_zip = delivered.as_ref().is_none_or(|it| it.has(job.name().zip()).unwrap_or(true));
        if contents.final_ {
            let is_gathered = is_gathered(&job, &home).map_err(io("look at"))?;
            // A job that is not gathered does not have to go on to the archive. One that must run alone is
            // unpacked again: while it waits for its turn it must not look active, or the death of the daemon
            // over another job would be counted for it.
            let runs_alone = job.crashes() >= ALONE_FROM;
            if is_gathered || (has_zip && before.same_boot && !runs_alone) {
                return Ok(Row::Settle(job, Decision::Resume));
            }
        } else if !has_zip && !contents.is_active() && (contents.passed || !before.records) {
            // It was archived, if the archive confirms that.
            return Ok(Row::Settle(job, Decision::Resume));
        }
        if job.crashes() >= self.crashes_max() {
            let error = WorkspaceError::CrashesDaemon { crashes: job.crashes() };
            let reason = Reason::new(&self.source().name, &job, &error, &[]);
            return Ok(Row::Settle(job, Decision::Quarantine(Box::new(reason))));
        }
        clear(&home)?;
        Ok(Row::Extract(job))
    }

    fn spec(&self, job: &JobDir) -> JobSpec {
        JobSpec {
            id: job.id(),
            source: self.source().name.clone(),
            name: job.name().clone(),
            attempt: job.attempt(),
            crashes: job.crashes(),
            origin: Origin::WorkArea,
        }
    }
}

fn stray(path: &Path) -> String {
    format!("{path:?} is not longshore's: it is left alone; move it out of the work area")
}

/// Handles a folder without a package: an incomplete claim, a settled job, or an interrupted deletion.
fn without_package(
    part: &Folder,
    home: &Folder,
    contents: &Contents,
) -> Result<Row, WorkspaceError> {
    let path = home.path();
    if contents.final_ {
        return Ok(Row::Left(format!(
            "{path:?} has unpacked files, but not what was delivered: look at it by hand"
        )));
    }
    for name in [DISCARD, OUT, DONE] {
        home.remove_tree(name).map_err(WorkspaceError::io("remove", home.join(name)))?;
    }
    let mark = contents.marked.as_ref().map(|name| format!("{NAME_MARK}{name}"));
    for name in [COPY, PASSED, APART].into_iter().chain(mark.as_deref()) {
        home.remove_file(name).map_err(WorkspaceError::io("remove", home.join(name)))?;
    }
    let name = path.file_name().unwrap_or_default();
    match part.remove_empty(name).map_err(WorkspaceError::io("remove", path))? {
        true => Ok(Row::Cleaned),
        false => Ok(Row::Left(format!("{path:?} is not empty: look at it by hand"))),
    }
}

fn nameless(path: &Path) -> Row {
    Row::Left(format!("{path:?} does not say which package it holds: look at it by hand"))
}

/// Keeps one folder per job: the newest that is not empty. Adds a remark for each other one.
fn only_one_each(part: &Folder, keys: Vec<JobKey>, recovery: &mut Recovery) -> Vec<JobKey> {
    let remove = |(id, attempt, crashes): JobKey| {
        part.remove_empty(job_folder(id, attempt, crashes)).unwrap_or(false)
    };
    let mut one_each: Vec<JobKey> = Vec::new();
    for key in keys {
        let Some(last) = one_each.last_mut().filter(|last| last.0 == key.0) else {
            one_each.push(key);
            continue;
        };
        if remove(key) {
            continue;
        }
        let older = std::mem::replace(last, key);
        if !remove(older) {
            recovery.remarks.push(format!(
                "{:?} is an older folder of a job that has a newer one: it is left alone",
                part.join(job_folder(older.0, older.1, older.2))
            ));
        }
    }
    one_each
}

/// Completes the claim of a bare ZIP: if the ZIP has arrived, its folder gets the package's name.
fn end_claim(home: &Folder, contents: &mut Contents) -> std::io::Result<()> {
    let mut names = Vec::new();
    home.folder(CLAIM)?.list(|name, _| names.extend(name.to_str().map(str::to_owned)))?;
    for name in names {
        let name = name.strip_suffix(".zip").and_then(|name| PackageName::new(name).ok());
        if let Some(name) = name
            && contents.delivered.is_empty()
        {
            home.rename(CLAIM, home, name.as_str(), None)?;
            contents.delivered.push(name.as_str().to_owned());
            return Ok(());
        }
    }
    home.remove_empty(CLAIM).map(drop)
}

/// Returns the row of a job whose copy is complete; the copy has its name already or gets it now.
fn copied(
    part: &Arc<Folder>,
    key: JobKey,
    home: &Folder,
    contents: &Contents,
) -> std::io::Result<Row> {
    let job = match contents.job(part, key) {
        Some(job) => Some(job),
        None => CopyRecord::read(home)?.map(|record| named(part, key, record.name)),
    };
    Ok(match job {
        Some(job) => Row::Settle(job, Decision::Resume),
        None => nameless(home.path()),
    })
}

/// Returns the row of a job with `.q/reason.json`, which is the decision. It also has the package's name,
/// in case the delivered folder has already moved into `.q`.
fn decided(part: &Arc<Folder>, key: JobKey, q: &Folder, contents: &Contents, path: &Path) -> Row {
    let job = contents.job(part, key).or_else(|| {
        let reason: Reason = serde_json::from_slice(&q.read(REASON).ok()??).ok()?;
        Some(named(part, key, reason.name))
    });
    match job {
        Some(job) => Row::Settle(job, Decision::Resume),
        None => nameless(path),
    }
}

fn named(part: &Arc<Folder>, (id, attempt, crashes): JobKey, name: PackageName) -> JobDir {
    JobDir::new(part, id, attempt, crashes, name)
}

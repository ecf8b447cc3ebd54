//! What a restart makes of the work area: the restart table, row by row.
//!
//! In: the folders, and `.boot`. Out: [`Recovery`]: what to extract, what to settle, what was odd.
//!
//! **Invariant:** it can die between any two steps and run again: crashes are not counted twice,
//! and every row leads to a state that is a row, too.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::boot::{Boot, State, boot_id};
use super::contents::is_gathered;
use super::error::WorkspaceError;
use super::paths::{lstat, remove_empty, remove_file, remove_tree, rename_new};
use super::staging::RECORD;
use super::{Contents, CopyRecord, Decision, JobDir, Reason, Settling, Site, parse_folder};
use crate::id::{JobId, PackageName};
use crate::messages::{JobSpec, Origin};

/// A job that has seen so many runs die again runs alone, so that a further death is its own.
const ALONE_FROM: u32 = 2;

/// What was found in the work area at the start, and what is to become of it.
#[derive(Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovery {
    /// To be extracted (afresh), oldest first.
    pub extract: Vec<JobSpec>,
    /// Those of `extract` that must have the daemon to themselves, because it died over them or
    /// their neighbours before: one at a time, with nothing else in work.
    pub alone: Vec<JobId>,
    /// To be settled, each from where it stands, oldest first.
    pub settle: Vec<Recovered>,
    /// Half-made or already settled: their folders were empty, and are gone.
    pub cleaned: Vec<JobId>,
    /// Those that a crash was counted for.
    pub crashed: Vec<JobId>,
    /// Whether the last run ended without being asked to.
    pub unclean: bool,
    /// What a person should look at: one line each. Nothing of it was touched.
    pub remarks: Vec<String>,
}

/// A job that goes on to the archive or to quarantine without being unpacked again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// Which job it is.
    pub spec: JobSpec,
    /// Where it is, and where it goes.
    pub settling: Settling,
}

/// One job's folder.
struct Found {
    id: JobId,
    attempt: u32,
    crashes: u32,
    path: PathBuf,
    contents: Contents,
}

/// The row of the restart table that a job's folder is.
enum Row {
    Extract(JobDir),
    Settle(JobDir, Decision),
    Cleaned,
    /// Nothing that can be told from here; it stays as it is.
    Left(String),
}

impl Site {
    /// Looks through the work area, counts crashes, clears what is to be done afresh, and says what
    /// is to be done. From now on this run counts as running.
    ///
    /// # Errors
    /// [`WorkspaceError`] where the work area as a whole cannot be read or written; what is wrong
    /// with one job is a remark, and the job stays.
    pub fn recover(&self) -> Result<Recovery, WorkspaceError> {
        let mut recovery = Recovery::default();
        let last = self.last_run();
        let same_boot =
            last.as_ref().is_some_and(|last| !last.boot.is_empty() && last.boot == boot_id());
        let mut found = self.survey(&mut recovery)?;
        if last.is_none() && !found.is_empty() {
            let root = self.root();
            recovery.remarks.push(format!(
                "no record of the last run in {root:?}: no crash is counted, and what was not yet \
                 in the archive is unpacked afresh"
            ));
        }
        self.count_crashes(last, &mut found, &mut recovery)?;
        for job in found {
            let (id, path) = (job.id, job.path.clone());
            // It can be settled all the same, but its folder cannot go while they are in it.
            recovery.remarks.extend(job.contents.strays.iter().map(|path| stray(path)));
            match self.row(job, same_boot) {
                Ok(Row::Extract(job)) => {
                    if job.crashes() >= ALONE_FROM {
                        recovery.alone.push(id);
                    }
                    recovery.extract.push(self.spec(&job));
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

    /// Lists the jobs, oldest first, and remarks on everything else.
    fn survey(&self, recovery: &mut Recovery) -> Result<Vec<Found>, WorkspaceError> {
        let root = self.root();
        let mut found = Vec::new();
        for entry in fs::read_dir(root).map_err(WorkspaceError::io("list", root))? {
            let entry = entry.map_err(WorkspaceError::io("list", root))?;
            let (name, path) = (entry.file_name(), entry.path());
            let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let text = name.to_str().unwrap_or_default();
            if matches!(text, ".boot" | ".boot.new" | ".lock" | ".probe") && !is_dir {
                continue;
            }
            let Some((id, attempt, crashes)) = parse_folder(text).filter(|_| is_dir) else {
                recovery.remarks.push(stray(&path));
                continue;
            };
            match Contents::read(&path) {
                Ok(Some(contents)) => found.push(Found { id, attempt, crashes, path, contents }),
                Ok(None) => {}
                Err(error) => recovery.remarks.push(format!(
                    "failed to list {path:?}, which stays until the next start: {error}"
                )),
            }
        }
        found.sort_by_key(|job| (job.id, job.attempt, job.crashes));
        Ok(only_one_each(found, recovery))
    }

    /// Renames each job that was active at an unclean end.
    fn count_crashes(
        &self,
        last: Option<Boot>,
        found: &mut [Found],
        recovery: &mut Recovery,
    ) -> Result<(), WorkspaceError> {
        let Some(last) = last else { return Ok(()) };
        let counted: BTreeMap<String, u32> = match last.state {
            State::Stopped => return Ok(()),
            State::Recovering => last.crashed,
            State::Running => {
                let active = found.iter().filter(|job| job.contents.is_active());
                active.map(|job| (job.id.to_string(), job.crashes.saturating_add(1))).collect()
            }
        };
        recovery.unclean = true;
        if last.state == State::Running && !counted.is_empty() {
            // The boot stays the last run's: this one has not judged by it yet.
            let mut record = Boot::new(last.boot, State::Recovering);
            record.crashed.clone_from(&counted);
            self.mark_recovering(record)?;
        }
        for job in found {
            let Some(crashes) = counted.get(&job.id.to_string()).copied() else { continue };
            recovery.crashed.push(job.id);
            if job.crashes >= crashes {
                continue; // counted before recovery itself died
            }
            let counted = self.root().join(super::folder_name(job.id, job.attempt, crashes));
            match rename_new(&job.path, &counted, None) {
                Ok(()) => (job.path, job.crashes) = (counted, crashes),
                Err(error) => {
                    let path = &job.path;
                    recovery.remarks.push(format!("failed to count a crash for {path:?}: {error}"));
                }
            }
        }
        Ok(())
    }

    /// Tells which row of the table a job is, and clears what that row clears.
    fn row(&self, found: Found, same_boot: bool) -> Result<Row, WorkspaceError> {
        let Found { path, mut contents, .. } = found;
        let io = |action| WorkspaceError::io(action, &path);
        if contents.claim {
            end_claim(&path, &mut contents).map_err(io("end the claim in"))?;
        }
        if contents.copied || contents.q_copied {
            return copied(&path, &contents).map_err(io("read the record of the copy in"));
        }
        if contents.q {
            if lstat(&path.join(".q/reason.json")).map_err(io("look at"))?.is_some() {
                return Ok(decided(&path, &contents));
            }
            // Nothing was decided: reason.json comes first.
            remove_file(&path.join(".q/reason.json.new")).map_err(io("clear"))?;
            if !remove_empty(&path.join(".q")).map_err(io("clear"))? {
                let q = path.join(".q");
                return Ok(Row::Left(format!("{q:?} has no reason.json: look at it by hand")));
            }
        }
        if contents.delivered.is_empty() {
            return self.without_package(&path, &contents);
        }
        let Some(job) = contents.job(&path) else {
            return Ok(Row::Left(format!(
                "{path:?} does not say which package it holds: look at it by hand"
            )));
        };
        // A folder that cannot be looked into is extraction's to judge.
        let has_zip = lstat(&job.zip()).map_or(true, |zip| zip.is_some());
        if contents.final_ {
            if is_gathered(&job).map_err(io("look at"))? || (has_zip && same_boot) {
                return Ok(Row::Settle(job, Decision::Resume));
            }
        } else if !has_zip && !contents.is_active() {
            return Ok(Row::Settle(job, Decision::Resume)); // it was archived
        }
        if job.crashes() >= ALONE_FROM.saturating_add(self.source().max_crashes) {
            let error = WorkspaceError::CrashesDaemon { crashes: job.crashes() };
            let reason = Reason::new(&self.source().name, &job, &error, &[]);
            return Ok(Row::Settle(job, Decision::Quarantine(Box::new(reason))));
        }
        self.clear(&job)?;
        Ok(Row::Extract(job))
    }

    /// A claim that had not got its package, a job that was settled, or a delivery that was being
    /// deleted.
    fn without_package(&self, path: &Path, contents: &Contents) -> Result<Row, WorkspaceError> {
        if contents.final_ {
            return Ok(Row::Left(format!(
                "{path:?} has unpacked files, but not what was delivered: look at it by hand"
            )));
        }
        for folder in [".discard", ".out", ".done"] {
            let folder = path.join(folder);
            remove_tree(&folder).map_err(WorkspaceError::io("remove", &folder))?;
        }
        let record = path.join(RECORD);
        remove_file(&record).map_err(WorkspaceError::io("remove", &record))?;
        if let Some(name) = &contents.marked {
            let mark = path.join(format!("{}{name}", super::NAME_MARK));
            remove_file(&mark).map_err(WorkspaceError::io("remove", &mark))?;
        }
        match remove_empty(path).map_err(WorkspaceError::io("remove", path))? {
            true => Ok(Row::Cleaned),
            false => Ok(Row::Left(format!("{path:?} is not empty: look at it by hand"))),
        }
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

/// Of several folders of one job the newest that is not empty counts; a person must look at others.
fn only_one_each(found: Vec<Found>, recovery: &mut Recovery) -> Vec<Found> {
    let mut one_each: Vec<Found> = Vec::new();
    for job in found {
        let Some(last) = one_each.last_mut().filter(|last| last.id == job.id) else {
            one_each.push(job);
            continue;
        };
        if fs::remove_dir(&job.path).is_ok() {
            continue;
        }
        let older = std::mem::replace(last, job);
        if fs::remove_dir(&older.path).is_err() {
            recovery.remarks.push(format!(
                "{:?} is an older folder of a job that has a newer one: it is left alone",
                older.path
            ));
        }
    }
    one_each
}

/// A bare ZIP on its way in: where it has come, its folder gets its name.
fn end_claim(path: &Path, contents: &mut Contents) -> std::io::Result<()> {
    let claim = path.join(".claim");
    for entry in fs::read_dir(&claim)? {
        let entry = entry?.file_name();
        let name =
            entry.to_str().and_then(|file| PackageName::new(file.strip_suffix(".zip")?).ok());
        if let Some(name) = name
            && contents.delivered.is_empty()
        {
            rename_new(&claim, &path.join(&name), None)?;
            contents.delivered.push(name.as_str().to_owned());
            return Ok(());
        }
    }
    remove_empty(&claim).map(drop)
}

/// Its copy is whole, and has its name already or gets it now.
fn copied(path: &Path, contents: &Contents) -> std::io::Result<Row> {
    let job = match contents.job(path) {
        Some(job) => Some(job),
        None => CopyRecord::read(path)?.and_then(|record| {
            let (id, attempt, crashes) = parse_folder(path.file_name()?.to_str()?)?;
            Some(JobDir::new(path.parent()?, id, attempt, crashes, record.name))
        }),
    };
    Ok(match job {
        Some(job) => Row::Settle(job, Decision::Resume),
        None => {
            Row::Left(format!("{path:?} does not say which package it holds: look at it by hand"))
        }
    })
}

/// `.q/reason.json` is the decision. It has the name, too, where the delivered folder has gone in.
fn decided(path: &Path, contents: &Contents) -> Row {
    let job = contents.job(path).or_else(|| {
        let bytes = fs::read(path.join(".q/reason.json")).ok()?;
        let reason: Reason = serde_json::from_slice(&bytes).ok()?;
        let (id, attempt, crashes) = parse_folder(path.file_name()?.to_str()?)?;
        Some(JobDir::new(path.parent()?, id, attempt, crashes, reason.name))
    });
    match job {
        Some(job) => Row::Settle(job, Decision::Resume),
        None => {
            Row::Left(format!("{path:?} does not say which package it holds: look at it by hand"))
        }
    }
}

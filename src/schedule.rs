//! Admission, dedup, round-robin, retries: the Dispatcher's decisions, without I/O and without an actor.
//!
//! In: offers, reports, settlements and the time. Out: the next piece of work for the pool.
//!
//! **Fairness** is round-robin weighted by bytes, at two levels: over the sources, and within a source
//! over the packages in work, each of which gives one slice in its turn. Opening the next package is
//! one more participant among them. So neither one busy sender nor one giant package can monopolize the
//! pool.
//!
//! **Invariants:** one job per source and name. Never more pieces of work without a report than
//! [`Bounds`] allow. No attempt starts while a slice of the previous one exists. A job that runs alone
//! runs when no other is active, and none starts while it runs.

mod bounds;
mod fair;
mod job;
mod recent;
mod source;
#[cfg(test)]
mod tests;
mod turns;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::id::{JobId, SourceName};
use crate::job::{JobSpec, Outcome, SliceWork, StageName};
use crate::messages::{Admission, PackageReady, Status, Whereabouts};
pub use bounds::Bounds;
use fair::Fair;
use job::{Job, Jobs, Phase};
use recent::Recent;
use source::{SourceQueue, Turn};

/// A source whose Watcher should scan again.
pub type VacancyFor = SourceName;

/// The schedule of all sources: a plain value with one owner.
pub struct Schedule {
    bounds: Bounds,
    sources: Vec<SourceQueue>,
    /// The order of the sources, by their index.
    turns: Fair<usize>,
    jobs: Jobs,
    in_flight: usize,
    recent: Recent,
    epoch: u64,
    closed: bool,
    paused: bool,
    settled: Settled,
    patience: Patience,
    /// When each stage's time with a job is over.
    deadlines: BTreeSet<(Instant, JobId)>,
    /// Jobs whose attempts end the same way each time.
    repeating: HashSet<JobId>,
    /// Counts the steps of all other jobs.
    moves: u64,
}

/// How long stages may keep a package.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Patience {
    /// The limit of each stage; no entry: unlimited.
    pub stages: HashMap<StageName, Duration>,
    /// The limit for packages that a stage holds back; `None`: unlimited.
    pub parking: Option<Duration>,
}

/// An attempt that exceeded its stage's time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overdue {
    /// The attempt.
    pub spec: JobSpec,
    /// The stage that had the package.
    pub stage: StageName,
    /// Whether the package was held back, rather than worked on.
    pub parked: bool,
}

#[derive(Debug, Default, Clone, Copy)]
struct Settled {
    archived: u64,
    quarantined: u64,
    discarded: u64,
}

impl Schedule {
    /// Creates an empty schedule for these sources.
    #[must_use]
    pub fn new(bounds: Bounds, sources: impl IntoIterator<Item = SourceName>) -> Self {
        let sources: Vec<_> =
            sources.into_iter().map(|name| SourceQueue::new(name, bounds.ahead)).collect();
        Self {
            bounds,
            turns: Fair::new(0..sources.len()),
            sources,
            jobs: Jobs::default(),
            in_flight: 0,
            recent: Recent::default(),
            epoch: 0,
            closed: false,
            paused: false,
            settled: Settled::default(),
            patience: Patience::default(),
            deadlines: BTreeSet::new(),
            repeating: HashSet::new(),
            moves: 0,
        }
    }

    /// Sets the stages' time limits.
    #[must_use]
    pub fn with_patience(mut self, patience: Patience) -> Self {
        self.patience = patience;
        self
    }

    /// Sets how many packages of a source may be with the extractors and its stages.
    #[must_use]
    pub fn with_ahead(mut self, source: &SourceName, ahead: usize) -> Self {
        if let Some(source) = self.sources.iter_mut().find(|s| s.name == *source) {
            source.ahead = ahead;
        }
        self
    }

    /// Adds an offered package to the queue, or returns why not.
    pub fn admit(&mut self, found: &PackageReady) -> Admission {
        let next_epoch = self.epoch + 1;
        if self.closed {
            return Admission::Full { epoch: u64::MAX };
        }
        let Some(source) = self.sources.iter_mut().find(|s| s.name == found.source) else {
            return Admission::Full { epoch: u64::MAX };
        };
        if let Some(known) = source.by_name.get(&found.name) {
            // A folder in the landing beside a claimed package is a second delivery, or the offer saw the
            // package itself just before its claim. The scan after the settlement shows which.
            if self.jobs.get(*known).is_some_and(|job| job.phase() != Phase::Waiting) {
                source.look_again.insert(found.name.clone());
            }
            return Admission::Known;
        }
        if source.waiting.len() >= self.bounds.waiting {
            source.refused = true;
            return Admission::Full { epoch: next_epoch };
        }
        let job = Job::offered(found);
        source.by_name.insert(found.name.clone(), job.spec.id);
        source.waiting.push_back(job.spec.id);
        self.jobs.insert(job);
        self.moves += 1;
        Admission::Accepted
    }

    /// Adds a job that an earlier run left in the work area, to be extracted.
    pub fn recover(&mut self, spec: JobSpec) {
        let (id, alone) = (spec.id, spec.runs_alone());
        if let Some(source) = self.adopt(Job::new(spec, Phase::Retrying)) {
            if alone { source.alone.push_back(id) } else { source.recovered.push_back(id) }
        }
    }

    /// Adds a job that is already on its way to the archive or quarantine.
    pub fn recover_settling(&mut self, spec: JobSpec) {
        self.adopt(Job::new(spec, Phase::Archiving));
    }

    fn adopt(&mut self, job: Job) -> Option<&mut SourceQueue> {
        let source = self.sources.iter_mut().find(|s| s.name == job.spec.source)?;
        // The first job with a name keeps it.
        if *source.by_name.entry(job.spec.name.clone()).or_insert(job.spec.id) != job.spec.id {
            source.heirs.push(job.spec.id);
        }
        self.jobs.insert(job);
        Some(source)
    }

    /// Records the end of an `Open`: `bytes` were unpacked immediately, and the slices are to be dealt.
    pub fn planned(&mut self, id: JobId, bytes: u64, slices: Vec<Box<dyn SliceWork>>) {
        let Some(job) = self.jobs.get_mut(id) else {
            return;
        };
        let Some(at) = self.sources.iter().position(|s| s.name == job.spec.source) else {
            return;
        };
        self.turns.charge(at, bytes);
        self.sources[at].turns.charge(Turn::Open, bytes);
        self.recent
            .opened(slices.iter().fold(bytes, |sum, slice| sum.saturating_add(slice.bytes())));
        if !slices.is_empty() {
            job.slices.extend(slices);
            self.sources[at].turns.join(Turn::Slice(id));
        }
    }

    /// Records the report on one piece of work, whatever its result.
    pub fn ended(&mut self, id: JobId) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.note_move(id);
        let Some(job) = self.jobs.get_mut(id) else {
            return;
        };
        job.in_flight = job.in_flight.saturating_sub(1);
        if job.phase() == Phase::Extracting && job.in_flight == 0 && job.slices.is_empty() {
            self.jobs.set_phase(id, Phase::Archiving);
        }
    }

    /// Records that an unpacked package moved to another place. A message about an older attempt is ignored.
    ///
    /// Returns whether it was accepted.
    pub fn moved(&mut self, id: JobId, attempt: u32, to: &Whereabouts, now: Instant) -> bool {
        let Some(job) = self.jobs.get_mut(id).filter(|job| job.spec.attempt == attempt) else {
            return false;
        };
        if !job.is_active() && job.phase() != Phase::Parked {
            return false; // this attempt is already over
        }
        let (phase, stage, patience) = match to {
            Whereabouts::Stage(stage) => {
                (Phase::Processing, Some(stage), self.patience.stages.get(stage).copied())
            }
            Whereabouts::Parked(stage) => (Phase::Parked, Some(stage), self.patience.parking),
            Whereabouts::Archiver => (Phase::Archiving, None, None),
        };
        let due = patience.map(|patience| now + patience);
        self.set_stage(id, stage.map(|stage| (Arc::clone(stage), due)));
        self.note_move(id);
        self.jobs.set_phase(id, phase);
        true
    }

    fn set_stage(&mut self, id: JobId, stage: Option<(StageName, Option<Instant>)>) {
        let Some(job) = self.jobs.get_mut(id) else {
            return;
        };
        let due = stage.as_ref().and_then(|(_, due)| *due);
        if let Some((_, Some(before))) = std::mem::replace(&mut job.stage, stage) {
            self.deadlines.remove(&(before, id));
        }
        self.deadlines.extend(due.map(|due| (due, id)));
    }

    /// Returns the attempts that exceeded their stage's time. They count as given up from now on.
    pub fn overdue(&mut self, now: Instant) -> Vec<Overdue> {
        let mut overdue = Vec::new();
        while let Some((_, id)) = self.deadlines.first().copied().filter(|(due, _)| *due <= now) {
            self.deadlines.pop_first();
            let Some(job) = self.jobs.get_mut(id) else {
                continue;
            };
            let parked = job.phase() == Phase::Parked;
            if let Some((stage, _)) = job.stage.take() {
                overdue.push(Overdue { spec: job.spec.clone(), stage, parked });
            }
            self.jobs.set_phase(id, Phase::Archiving);
        }
        overdue
    }

    /// Removes a job that ended, perhaps before it was claimed: its name is free again.
    pub fn dropped(&mut self, id: JobId) {
        self.set_stage(id, None);
        if let Some(job) = self.jobs.remove(id) {
            self.repeating.remove(&id);
            self.moves += 1;
            self.free(&job);
        }
    }

    /// Counts a job's progress, unless the job only repeats steps that led to nothing before.
    fn note_move(&mut self, id: JobId) {
        if !self.repeating.contains(&id) {
            self.moves += 1;
        }
    }

    /// Records that a job was settled, or its attempt was. A message about another attempt is ignored.
    ///
    /// Returns whether it was accepted.
    pub fn settled(&mut self, id: JobId, attempt: u32, outcome: &Outcome) -> bool {
        match self.jobs.get(id) {
            Some(job) if job.spec.attempt == attempt => {}
            _ => return false,
        }
        match outcome {
            Outcome::Retry { at, attempt, pause_source, code, .. } => {
                self.note_end(id, *attempt, code);
                self.retry(id, *at, *attempt, *pause_source);
                return true;
            }
            Outcome::Archived { .. } => self.settled.archived += 1,
            Outcome::Quarantined { .. } => self.settled.quarantined += 1,
            Outcome::Discarded => self.settled.discarded += 1,
            Outcome::Vanished => {}
        }
        self.dropped(id);
        true
    }

    fn note_end(&mut self, id: JobId, next: u32, code: &str) {
        let Some(job) = self.jobs.get_mut(id) else {
            return;
        };
        job.note_end(next, code);
        if job.repeats {
            self.repeating.insert(id);
        } else {
            self.repeating.remove(&id);
            self.moves += 1;
        }
    }

    fn retry(&mut self, id: JobId, at: Instant, attempt: u32, pause_source: bool) {
        self.set_stage(id, None);
        self.jobs.set_phase(id, Phase::Retrying);
        let Some(job) = self.jobs.get_mut(id) else {
            return;
        };
        job.begin_again(at, attempt);
        if let Some(source) = self.sources.iter_mut().find(|s| s.name == job.spec.source) {
            source.turns.leave(Turn::Slice(id));
            let queue =
                if job.spec.runs_alone() { &mut source.alone } else { &mut source.retrying };
            queue.push_back(id);
            if pause_source {
                source.blocked.insert(id)
            } else {
                source.blocked.remove(&id)
            };
        }
    }

    fn free(&mut self, job: &Job) {
        let Some(source) = self.sources.iter_mut().find(|s| s.name == job.spec.source) else {
            return;
        };
        source.forget(job.spec.id, &job.spec.name);
        if source.by_name.contains_key(&job.spec.name) {
            return; // the job was an heir itself
        }
        let is_next = |heir: &JobId| {
            self.jobs.get(*heir).is_some_and(|other| other.spec.name == job.spec.name)
        };
        if let Some(at) = source.heirs.iter().position(is_next) {
            source.by_name.insert(job.spec.name.clone(), source.heirs.remove(at));
        } else if source.look_again.remove(&job.spec.name) {
            source.vacant = true;
        }
    }

    /// Returns the sources whose Watchers should scan again now, with the epoch to send them.
    ///
    /// A queue that was full counts as vacant when half of it is free, so that a Watcher scans once for
    /// many packages rather than once for each.
    pub fn vacancies(&mut self) -> Vec<(VacancyFor, u64)> {
        let mut vacant = Vec::new();
        for source in &mut self.sources {
            if source.refused && source.waiting.len() <= self.bounds.waiting / 2 {
                source.refused = false;
                source.vacant = true;
            }
            if std::mem::take(&mut source.vacant) {
                vacant.push(source.name.clone());
            }
        }
        if !vacant.is_empty() {
            self.epoch += 1;
        }
        vacant.into_iter().map(|name| (name, self.epoch)).collect()
    }

    /// Returns when [`Schedule::next`] should be called again although nothing was reported.
    #[must_use]
    pub fn wake_at(&self, now: Instant) -> Option<Instant> {
        let queued = self.sources.iter().flat_map(|s| s.retrying.iter().chain(&s.alone));
        let due = queued.filter_map(|id| self.jobs.get(*id)?.not_before);
        let due = due.chain(self.deadlines.first().map(|(due, _)| *due));
        due.filter(|at| *at > now).min()
    }

    /// Accepts nothing new from now on. Packages that wait in a landing stay there.
    pub fn close(&mut self) {
        self.closed = true;
        for source in &mut self.sources {
            for id in source.waiting.drain(..) {
                if let Some(job) = self.jobs.remove(id) {
                    source.by_name.remove(&job.spec.name);
                }
            }
        }
    }

    /// Pauses or resumes the claiming of packages from the landings. Jobs in work continue.
    pub fn pause(&mut self, paused: bool) {
        self.paused = paused;
    }

    /// Whether claiming is paused.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// Whether all claimed jobs are settled, except those that a stage holds back.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.is_quiet() && self.jobs.count(Phase::Retrying) == 0
    }

    /// Whether no job is between its claim and its settlement (retries that wait don't count).
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.in_flight == 0 && self.jobs.active() == 0
    }

    /// Whether there is no job at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty() && self.in_flight == 0
    }

    /// Whether a source claims nothing new because one of its jobs waits for space or for its archive.
    #[must_use]
    pub fn is_blocked(&self, source: &SourceName) -> bool {
        self.sources.iter().any(|s| s.name == *source && !s.blocked.is_empty())
    }

    /// The current attempt of a job.
    #[must_use]
    pub fn spec(&self, id: JobId) -> Option<&JobSpec> {
        self.jobs.get(id).map(|job| &job.spec)
    }

    /// Counts the jobs in each phase.
    #[must_use]
    pub fn status(&self) -> Status {
        let count = |phase| self.jobs.count(phase);
        let is_active = |id: &&JobId| self.jobs.get(**id).is_some_and(Job::is_active);
        let repeating = self.repeating.iter().filter(is_active).count();
        Status {
            paused: self.paused,
            waiting: count(Phase::Waiting),
            extracting: count(Phase::Extracting),
            processing: count(Phase::Processing),
            parked: count(Phase::Parked),
            archiving: count(Phase::Archiving),
            retrying: count(Phase::Retrying),
            archived: self.settled.archived,
            quarantined: self.settled.quarantined,
            discarded: self.settled.discarded,
            moving: self.jobs.active().saturating_sub(repeating),
            moves: self.moves,
        }
    }
}

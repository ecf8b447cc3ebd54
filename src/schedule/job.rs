//! One job in the schedule.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use crate::id::JobId;
use crate::id::SourceName;
use crate::job::{JobSpec, Origin, SliceWork, StageName};
use crate::messages::PackageReady;

/// The phase of a job between its admission and its settlement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Phase {
    /// In the landing, accepted.
    Waiting,
    /// Being claimed, planned, unpacked.
    Extracting,
    /// With a stage.
    Processing,
    /// Held back by a stage until something else comes.
    Parked,
    /// With the Archiver.
    Archiving,
    /// In the work area, before its next attempt.
    Retrying,
}

impl Phase {
    /// Whether a package in this phase has not passed its last stage: it takes up space that a slow stage
    /// releases slowly.
    fn is_ahead(self) -> bool {
        matches!(self, Self::Extracting | Self::Processing)
    }
}

pub(super) struct Job {
    pub(super) spec: JobSpec,
    phase: Phase,
    /// The slices that are not dealt yet, in the order of the file.
    pub(super) slices: VecDeque<Box<dyn SliceWork>>,
    /// Pieces of this job's work that the pool has.
    pub(super) in_flight: usize,
    /// Set while it waits for another attempt.
    pub(super) not_before: Option<Instant>,
    /// The stage that has it or holds it back, and the deadline of the stage.
    pub(super) stage: Option<(StageName, Option<Instant>)>,
    /// The next attempt and the error code of the last end.
    ended: Option<(u32, String)>,
    /// Its attempts end the same way each time.
    pub(super) repeats: bool,
}

impl Job {
    pub(super) fn new(spec: JobSpec, phase: Phase) -> Self {
        Self {
            spec,
            phase,
            slices: VecDeque::new(),
            in_flight: 0,
            not_before: None,
            stage: None,
            ended: None,
            repeats: false,
        }
    }

    pub(super) fn offered(found: &PackageReady) -> Self {
        let spec = JobSpec {
            id: JobId::generate(),
            source: found.source.clone(),
            name: found.name.clone(),
            attempt: 1,
            crashes: 0,
            origin: Origin::Landing { identity: found.identity, form: found.form },
        };
        Self::new(spec, Phase::Waiting)
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    pub(super) fn is_active(&self) -> bool {
        matches!(self.phase, Phase::Extracting | Phase::Processing | Phase::Archiving)
    }

    /// Whether its next attempt may start: it is due, and the pool has no work of the previous attempt.
    pub(super) fn may_begin(&self, now: Instant) -> bool {
        self.phase == Phase::Retrying
            && self.in_flight == 0
            && self.not_before.is_none_or(|at| at <= now)
    }

    /// Records how an attempt ended. If the next attempt and the code are the same as at the previous end,
    /// the job made no progress.
    pub(super) fn note_end(&mut self, next: u32, code: &str) {
        let end = (next, code.to_owned());
        self.repeats = self.ended.as_ref() == Some(&end);
        self.ended = Some(end);
    }

    pub(super) fn begin_again(&mut self, at: Instant, attempt: u32) {
        self.spec.attempt = attempt;
        self.spec.origin = Origin::WorkArea;
        self.slices.clear();
        self.stage = None;
        self.not_before = Some(at);
    }
}

/// All jobs of the schedule. Keeps counts up to date, so that no decision iterates over all jobs.
#[derive(Default)]
pub(super) struct Jobs {
    by_id: HashMap<JobId, Job>,
    counts: HashMap<Phase, usize>,
    /// The number of each source's jobs that are being unpacked or are with a stage.
    ahead: HashMap<SourceName, usize>,
    /// The number of each source's jobs that are with the Archiver.
    archiving: HashMap<SourceName, usize>,
    /// The jobs that run alone; almost always empty.
    lone: Vec<JobId>,
}

impl Jobs {
    pub(super) fn insert(&mut self, job: Job) {
        self.count_in(&job.spec.source, job.phase);
        if job.spec.runs_alone() {
            self.lone.push(job.spec.id);
        }
        self.by_id.insert(job.spec.id, job);
    }

    pub(super) fn remove(&mut self, id: JobId) -> Option<Job> {
        let job = self.by_id.remove(&id)?;
        self.count_out(&job.spec.source, job.phase);
        self.lone.retain(|lone| *lone != id);
        Some(job)
    }

    pub(super) fn set_phase(&mut self, id: JobId, phase: Phase) {
        let Some(job) = self.by_id.get_mut(&id) else {
            return;
        };
        let before = std::mem::replace(&mut job.phase, phase);
        let source = job.spec.source.clone();
        self.count_out(&source, before);
        self.count_in(&source, phase);
    }

    fn count_in(&mut self, source: &SourceName, phase: Phase) {
        *self.counts.entry(phase).or_default() += 1;
        if phase.is_ahead() {
            *self.ahead.entry(source.clone()).or_default() += 1;
        } else if phase == Phase::Archiving {
            *self.archiving.entry(source.clone()).or_default() += 1;
        }
    }

    fn count_out(&mut self, source: &SourceName, phase: Phase) {
        *self.counts.entry(phase).or_default() -= 1;
        if let Some(ahead) = self.ahead.get_mut(source).filter(|_| phase.is_ahead()) {
            *ahead -= 1;
        }
        if let Some(archiving) =
            self.archiving.get_mut(source).filter(|_| phase == Phase::Archiving)
        {
            *archiving -= 1;
        }
    }

    /// The number of a source's jobs that are with the Archiver.
    pub(super) fn archiving_of(&self, source: &SourceName) -> usize {
        self.archiving.get(source).copied().unwrap_or(0)
    }

    /// The number of a source's jobs that are being unpacked or are with a stage.
    pub(super) fn ahead_of(&self, source: &SourceName) -> usize {
        self.ahead.get(source).copied().unwrap_or(0)
    }

    pub(super) fn get(&self, id: JobId) -> Option<&Job> {
        self.by_id.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: JobId) -> Option<&mut Job> {
        self.by_id.get_mut(&id)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    pub(super) fn count(&self, phase: Phase) -> usize {
        self.counts.get(&phase).copied().unwrap_or(0)
    }

    /// The number of jobs between claim and settlement.
    pub(super) fn active(&self) -> usize {
        self.count(Phase::Extracting) + self.count(Phase::Processing) + self.count(Phase::Archiving)
    }

    /// The active job that runs alone, if there is one.
    pub(super) fn lone_active(&self) -> Option<JobId> {
        self.lone.iter().copied().find(|id| self.by_id.get(id).is_some_and(Job::is_active))
    }
}

//! One job in the schedule.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use crate::id::{JobId, SourceName};
use crate::messages::{JobSpec, Origin, PackageReady, SliceWork};

/// Where a job is between its admission and its settlement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Phase {
    /// In the landing, accepted.
    Waiting,
    /// Being claimed, planned, unpacked.
    Extracting,
    /// With a stage or the Archiver.
    Settling,
    /// In the work area, before its next attempt.
    Retrying,
}

pub(super) struct Job {
    pub(super) spec: JobSpec,
    phase: Phase,
    /// Not dealt yet, in the order of the file.
    pub(super) slices: VecDeque<Box<dyn SliceWork>>,
    /// Pieces of this job's work that the pool has.
    pub(super) in_flight: usize,
    /// Set while it waits for another attempt.
    pub(super) not_before: Option<Instant>,
}

impl Job {
    pub(super) fn new(spec: JobSpec, phase: Phase) -> Self {
        Self { spec, phase, slices: VecDeque::new(), in_flight: 0, not_before: None }
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

    fn is_active(&self) -> bool {
        matches!(self.phase, Phase::Extracting | Phase::Settling)
    }

    /// Whether its next attempt may begin: it is time, and nothing of the last one lives.
    pub(super) fn may_begin(&self, now: Instant) -> bool {
        self.phase == Phase::Retrying
            && self.in_flight == 0
            && self.not_before.is_none_or(|at| at <= now)
    }

    pub(super) fn begin_again(&mut self, at: Instant, attempt: u32) {
        self.spec.attempt = attempt;
        self.spec.origin = Origin::WorkArea;
        self.slices.clear();
        self.not_before = Some(at);
    }
}

/// All jobs of the schedule. Counts them as they change, so that no decision walks over all.
#[derive(Default)]
pub(super) struct Jobs {
    by_id: HashMap<JobId, Job>,
    counts: HashMap<Phase, usize>,
    /// Those in [`Phase::Settling`], by source.
    settling: HashMap<SourceName, usize>,
    /// Those that run alone; almost always none.
    lone: Vec<JobId>,
}

impl Jobs {
    pub(super) fn insert(&mut self, job: Job) {
        self.count_in(job.phase, &job.spec.source);
        if job.spec.runs_alone() {
            self.lone.push(job.spec.id);
        }
        self.by_id.insert(job.spec.id, job);
    }

    pub(super) fn remove(&mut self, id: JobId) -> Option<Job> {
        let job = self.by_id.remove(&id)?;
        self.count_out(job.phase, &job.spec.source);
        self.lone.retain(|lone| *lone != id);
        Some(job)
    }

    pub(super) fn set_phase(&mut self, id: JobId, phase: Phase) {
        let Some(job) = self.by_id.get_mut(&id) else { return };
        let before = std::mem::replace(&mut job.phase, phase);
        let source = job.spec.source.clone();
        self.count_out(before, &source);
        self.count_in(phase, &source);
    }

    fn count_in(&mut self, phase: Phase, source: &SourceName) {
        *self.counts.entry(phase).or_default() += 1;
        if phase == Phase::Settling {
            *self.settling.entry(source.clone()).or_default() += 1;
        }
    }

    fn count_out(&mut self, phase: Phase, source: &SourceName) {
        *self.counts.entry(phase).or_default() -= 1;
        if phase == Phase::Settling {
            *self.settling.entry(source.clone()).or_default() -= 1;
        }
    }

    /// Jobs of a source that are with a stage or the Archiver.
    pub(super) fn settling_of(&self, source: &SourceName) -> usize {
        self.settling.get(source).copied().unwrap_or(0)
    }

    pub(super) fn get(&self, id: JobId) -> Option<&Job> {
        self.by_id.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: JobId) -> Option<&mut Job> {
        self.by_id.get_mut(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Job> {
        self.by_id.values()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    pub(super) fn count(&self, phase: Phase) -> usize {
        self.counts.get(&phase).copied().unwrap_or(0)
    }

    /// Jobs between claim and settlement.
    pub(super) fn active(&self) -> usize {
        self.count(Phase::Extracting) + self.count(Phase::Settling)
    }

    /// The job that runs alone and is active, if there is one.
    pub(super) fn lone_active(&self) -> Option<JobId> {
        self.lone.iter().copied().find(|id| self.by_id.get(id).is_some_and(Job::is_active))
    }
}

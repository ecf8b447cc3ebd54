//! [`Schedule::next`], the only place that hands out work, and the order of the participants.
//!
//! In: queued and open jobs, and the time. Out: one piece of work, from the source and the package that
//! were served the fewest bytes; or from the job that runs alone, and then from no other.

use std::time::Instant;

use super::Schedule;
use super::job::Phase;
use super::source::Turn;
use crate::id::JobId;
use crate::job::Work;

/// The restriction by the jobs that run alone.
enum Lone {
    /// No such job is due.
    None,
    /// One is running: only its own slices may be dealt.
    Running(JobId),
    /// One is due, and nothing else is active.
    MayStart(JobId),
    /// One is due, and others are still active: they finish, and nothing new starts.
    WaitsForOthers,
}

impl Schedule {
    /// Returns the next piece of work for the pool; `None` if there is no work or no capacity.
    pub fn next(&mut self, now: Instant) -> Option<Work> {
        if self.in_flight >= self.room() {
            return None;
        }
        let work = match self.lone_job(now) {
            Lone::Running(id) => self.slice_of(id)?,
            Lone::MayStart(id) => self.open(id)?,
            Lone::WaitsForOthers => self.next_slice()?,
            Lone::None => self.next_of_any_source(now)?,
        };
        self.in_flight += 1;
        Some(work)
    }

    /// Returns how many pieces of work may be in flight now.
    fn room(&self) -> usize {
        let only_opens = self.sources.iter().all(|source| source.turns.is_alone());
        let small = if only_opens { self.recent.fit(self.bounds.small_bytes) } else { 0 };
        self.bounds.in_flight.max(small)
    }

    /// Returns the current restriction by the jobs that run alone.
    fn lone_job(&self, now: Instant) -> Lone {
        if let Some(id) = self.jobs.lone_active() {
            return Lone::Running(id);
        }
        let due = |id: &&JobId| self.jobs.get(**id).is_some_and(|job| job.may_begin(now));
        match self.sources.iter().flat_map(|s| &s.alone).find(due) {
            Some(id) if !self.closed && self.jobs.active() == 0 => Lone::MayStart(*id),
            Some(_) if !self.closed => Lone::WaitsForOthers,
            _ => Lone::None,
        }
    }

    fn next_of_any_source(&mut self, now: Instant) -> Option<Work> {
        for at in self.turns.order() {
            if let Some(work) = self.next_of(at, now) {
                self.turns.served(at, work.bytes());
                return Some(work);
            }
            self.turns.had_nothing(at);
        }
        None
    }

    fn next_of(&mut self, at: usize, now: Instant) -> Option<Work> {
        for turn in self.sources[at].turns.order() {
            let work = match turn {
                Turn::Open => self.next_to_open(at, now).and_then(|id| self.open(id)),
                Turn::Slice(id) => self.slice_of(id),
            };
            let turns = &mut self.sources[at].turns;
            match work {
                Some(work) => {
                    turns.served(turn, work.bytes());
                    return Some(work);
                }
                None => turns.had_nothing(turn),
            }
        }
        None
    }

    /// Returns a slice of a package that is already open; opens nothing new.
    fn next_slice(&mut self) -> Option<Work> {
        let turns = self.sources.iter().flat_map(|source| source.turns.order());
        let open = turns.filter_map(|turn| match turn {
            Turn::Slice(id) => Some(id),
            Turn::Open => None,
        });
        let open = open.collect::<Vec<_>>();
        open.into_iter().find_map(|id| self.slice_of(id))
    }

    fn slice_of(&mut self, id: JobId) -> Option<Work> {
        let job = self.jobs.get_mut(id)?;
        let slice = job.slices.pop_front()?;
        job.in_flight += 1;
        if job.slices.is_empty() {
            let source = self.sources.iter_mut().find(|s| s.name == job.spec.source)?;
            source.turns.leave(Turn::Slice(id));
        }
        Some(Work::Slice(id, slice))
    }

    /// Returns the next job of a source to be opened: jobs in the work area come before new packages.
    fn next_to_open(&mut self, at: usize, now: Instant) -> Option<JobId> {
        if self.closed
            || self.jobs.count(Phase::Extracting) >= self.bounds.open
            || self.jobs.archiving_of(&self.sources[at].name) >= self.bounds.archiving
            || self.jobs.ahead_of(&self.sources[at].name) >= self.sources[at].ahead
        {
            return None;
        }
        let source = &mut self.sources[at];
        if let Some(id) = source.recovered.pop_front() {
            return Some(id);
        }
        let due = |id: &JobId| self.jobs.get(*id).is_some_and(|job| job.may_begin(now));
        if let Some(place) = source.retrying.iter().position(due) {
            return source.retrying.remove(place);
        }
        if self.paused || !source.blocked.is_empty() {
            return None;
        }
        source.waiting.pop_front()
    }

    fn open(&mut self, id: JobId) -> Option<Work> {
        self.jobs.set_phase(id, Phase::Extracting);
        let job = self.jobs.get_mut(id)?;
        job.in_flight += 1;
        job.not_before = None;
        let source = self.sources.iter_mut().find(|s| s.name == job.spec.source)?;
        source.alone.retain(|lone| *lone != id);
        Some(Work::Open(job.spec.clone()))
    }
}

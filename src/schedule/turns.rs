//! Whose turn it is: [`Schedule::next`], the one place that hands out work.
//!
//! In: what is queued and open, and the time. Out: one piece of work, of the source and the package that
//! were served the fewest bytes; or of the job that runs alone, and then of no other.

use std::time::Instant;

use super::Schedule;
use super::job::Phase;
use super::source::Turn;
use crate::id::JobId;
use crate::messages::Work;

/// What the jobs that run alone allow.
enum Lone {
    /// There is none that is due.
    None,
    /// One is running: only its own slices may be dealt.
    Running(JobId),
    /// Nothing else is active.
    MayStart(JobId),
    /// Others are still active: they finish, and nothing new begins.
    WaitsForOthers,
}

impl Schedule {
    /// The next piece of work for the pool; none where there is no work or no room.
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

    /// How many pieces of work may be in flight at the moment.
    fn room(&self) -> usize {
        let only_opens = self.sources.iter().all(|source| source.turns.is_alone());
        let small = if only_opens { self.recent.fit(self.bounds.small_bytes) } else { 0 };
        self.bounds.in_flight.max(small)
    }

    /// What the jobs that run alone allow at the moment.
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

    /// Slices of packages that are open already, and nothing new.
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

    /// The package of a source that is to be opened next: work that exists already goes before new.
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

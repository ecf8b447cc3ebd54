//! The Watcher's state of its landing: which names wait, which are offered, which were reported.
//!
//! In: looks, the Dispatcher's answers, the time. Out: the next offer, the time of the next look, and what
//! to report. No I/O and no actor.
//!
//! **Invariants:** the size is bounded by what is in the landing now. A folder is offered once because of
//! events, and again at a scan. After a `Full` nothing is offered until a vacancy of its epoch, whichever
//! of the two came first. Each problem of a folder is reported once.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::time::{Duration, Instant, SystemTime};

use super::entry::{Arriving, Because, Entry, Next, Offer, Quiet, Report, Stage};
use super::hints::Arrival;
use super::lines::Lines;
use crate::config::Source;
use crate::landing::{DiskClock, Incomplete, Look, Past, Rules, Trace, Verdict, judge};
use crate::messages::{Admission, Form, FoundBy};
use crate::package::FolderId;

/// Maximum number of unanswered offers: what fits a mailbox, and hides the latency of a round trip to the
/// Dispatcher.
const WINDOW: usize = 16;
/// The minimum pause between two looks at a name that is settling.
const PACE_MIN: Duration = Duration::from_millis(100);
/// Looks per `settle` at a name that has just changed. What is copied in place is ready `settle` after the
/// look that sees its last change.
const LOOKS_IN_SETTLE: u32 = 4;

/// A problem of something younger than this may only mean that it is half done, whatever `settle` says.
const REPORT_AGE: Duration = Duration::from_secs(1);
/// Maximum age of the look that an offer is based on. The wait in the Dispatcher's queue adds to it; in the
/// end it matters that the claim finds the same folder.
const FRESH: Duration = Duration::from_secs(1);

/// The Watcher's state; a plain value with one owner.
#[derive(Debug)]
pub(super) struct Book {
    rules: Rules,
    rescan: Duration,
    stale_after: Duration,
    once: bool,
    /// The clock of the landing's file system; `None` if it could not be read.
    clock: Option<DiskClock>,
    /// Whether only this host writes file times.
    is_local: bool,
    /// Boxed: the table of a large landing is half empty.
    entries: HashMap<OsString, Box<Entry>>,
    lines: Lines,
    /// While a scan is in progress: something that changed later than this may not be the oldest.
    horizon: Option<SystemTime>,
    arriving: HashMap<FolderId, Arriving>,
    /// Names of the first scan that are neither admitted nor given up; `None` before the end of that scan.
    first: Option<HashSet<OsString>>,
    /// With `once`: everything that the first scan found.
    only: HashMap<OsString, FolderId>,
    in_flight: usize,
    blocked: Option<u64>,
    vacancy: Option<u64>,
    vacancies: u64,
}

impl Book {
    pub(super) fn new(source: &Source, once: bool) -> Self {
        Self {
            rules: Rules::of(source),
            rescan: source.rescan,
            stale_after: source.stale_after,
            once,
            clock: None,
            is_local: true,
            entries: HashMap::new(),
            lines: Lines::default(),
            horizon: None,
            arriving: HashMap::new(),
            first: None,
            only: HashMap::new(),
            in_flight: 0,
            blocked: None,
            vacancy: None,
            vacancies: 0,
        }
    }

    pub(super) fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Sets the clock of the landing's file system, for the first scan, and whether only this host writes
    /// times there.
    pub(super) fn begins(&mut self, clock: Option<DiskClock>, is_local: bool) {
        (self.clock, self.is_local) = (clock, is_local);
    }

    /// Whether no scan has ended yet: what the current scan finds was there before the start.
    pub(super) fn is_first_scan(&self) -> bool {
        self.first.is_none()
    }

    /// Records a look at a name that is not incomplete.
    pub(super) fn saw(&mut self, look: &Look, because: Because, now: Instant) -> Option<Report> {
        if self.came_later(look) {
            self.gone(&look.name);
            return None;
        }
        let entry = self.remember(look, because, now);
        let quiet = entry.quiet.measured(now);
        let past = Past { quiet, ..entry.past };
        match judge(look, &past, &self.rules) {
            Verdict::Ready => self.ready(look, because),
            Verdict::NotYet { wait } => {
                // The quiet time starts at the look that sees the last change, so look often at first. A
                // growing ZIP gets its end record long before this time is over.
                let first = self.rules.settle / if self.is_local { LOOKS_IN_SETTLE } else { 1 };
                let pace = quiet.max(first).max(PACE_MIN);
                let due = now + wait.min(pace) + Duration::from_millis(1);
                self.hold(&look.name, Stage::Waiting { due });
                return self.stale(&look.name, now);
            }
            Verdict::Unfit(unfit) => {
                self.set_aside(&look.name, quiet, now);
                if quiet >= REPORT_AGE || self.once {
                    return self.tell(&look.name, unfit.code(), || unfit.to_string());
                }
            }
            Verdict::Incomplete(
                Incomplete::Inside(_) | Incomplete::Awaits(_) | Incomplete::Placeholder,
            ) => {
                self.set_aside(&look.name, quiet, now);
                return self.stale(&look.name, now);
            }
            Verdict::Incomplete(_) => self.gone(&look.name),
        }
        None
    }

    /// Records that a name waits for a change; it is looked at less and less often.
    fn set_aside(&mut self, name: &OsStr, quiet: Duration, now: Instant) {
        let pace = quiet.max(self.rules.settle).max(PACE_MIN);
        let due = (pace < self.rescan && !self.once).then(|| now + pace);
        self.hold(name, Stage::Unfit { due });
        self.give_up(name);
    }

    /// Returns how long something was unchanged before its first look. Something that was there before the
    /// start has an age; anything else arrived or changed while it was watched.
    fn quiet_of(&self, trace: &Trace, because: Because, now: Instant) -> Quiet {
        let was_there = because.scan && self.is_first_scan();
        let age =
            self.clock.filter(|_| was_there).and_then(|disk| disk.age(trace.newest, now).ok());
        Quiet::new(now, age.unwrap_or_default(), self.is_local)
    }

    /// Whether this was not there at the start, with `once`.
    fn came_later(&self, look: &Look) -> bool {
        self.once
            && self.first.is_some()
            && self.only.get(&look.name).is_none_or(|identity| *identity != look.identity)
    }

    fn remember(&mut self, look: &Look, because: Because, now: Instant) -> &mut Entry {
        if self.entries.get(&look.name).is_some_and(|entry| entry.identity != look.identity) {
            self.forget(&look.name);
        }
        let moved = because.hint == Some(Arrival::Moved);
        let renamed = moved || self.arriving.contains_key(&look.identity);
        let quiet = self.quiet_of(&look.trace, because, now);
        let rules = &self.rules;
        let entry = self.entries.entry(look.name.clone()).or_insert_with(|| {
            Box::new(Entry {
                identity: look.identity,
                package: rules.can_be_package(look).then(|| rules.package(look).ok()).flatten(),
                found_by: if because.hint.is_some() { FoundBy::Event } else { FoundBy::Scan },
                past: Past::of_first(look, renamed),
                trace: look.trace,
                stage: Stage::Unfit { due: None },
                first_seen: now,
                quiet,
                looked: now,
                admitted: false,
                offered_at: 0,
                told: Vec::new(),
            })
        });
        // A scan can find a folder before the event of its rename is read.
        entry.past.renamed |= moved;
        entry.looked = now;
        if entry.trace != look.trace {
            entry.trace = look.trace;
            entry.quiet.broken(now);
        }
        entry
    }

    fn ready(&mut self, look: &Look, because: Because) {
        let Some(entry) = self.entries.get_mut(&look.name) else { return };
        match entry.stage {
            Stage::Offered => return,
            Stage::Admitted | Stage::Deferred if !because.scan => return,
            _ => {}
        }
        self.lines.step(&look.name, entry, Stage::Queued { newest: look.trace.newest });
    }

    fn hold(&mut self, name: &OsStr, stage: Stage) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        self.lines.step(name, entry, stage);
    }

    fn stale(&mut self, name: &OsStr, now: Instant) -> Option<Report> {
        let entry = self.entries.get(name)?;
        let waited = (now - entry.first_seen).max(entry.quiet.age(now));
        if waited < self.stale_after {
            return None;
        }
        self.tell(name, "stale", || stale_says(waited))
    }

    fn tell(
        &mut self,
        name: &OsStr,
        code: &'static str,
        why: impl FnOnce() -> String,
    ) -> Option<Report> {
        let entry = self.entries.get_mut(name).filter(|entry| !entry.told.contains(&code))?;
        entry.told.reserve_exact(1);
        entry.told.push(code);
        Some(Report { name: name.to_owned(), code, why: why() })
    }

    /// Records a folder whose name says that it is incomplete. Returns whether the folder should be looked
    /// at completely, for [`Book::saw_arriving`].
    pub(super) fn arriving(&mut self, identity: FolderId, now: Instant) -> bool {
        let known = self.arriving.entry(identity);
        let known = known.or_insert(Arriving { seen: None, check: now, told: false });
        !known.told && known.check <= now
    }

    /// Records a look at an incomplete folder. It is not judged, but reported if it is stale.
    pub(super) fn saw_arriving(
        &mut self,
        look: &Look,
        because: Because,
        now: Instant,
    ) -> Option<Report> {
        let first = self.quiet_of(&look.trace, because, now);
        let known = self.arriving.get_mut(&look.identity)?;
        let (trace, quiet) = known.seen.get_or_insert((look.trace, first));
        if *trace != look.trace {
            *trace = look.trace;
            quiet.broken(now);
        }
        let age = quiet.age(now);
        if age < self.stale_after {
            known.check = now + (self.stale_after - age);
            return None;
        }
        known.told = true;
        Some(Report { name: look.name.clone(), code: "stale", why: stale_says(age) })
    }

    /// Records that a name is gone.
    pub(super) fn gone(&mut self, name: &OsStr) {
        self.forget(name);
        self.give_up(name);
    }

    fn forget(&mut self, name: &OsStr) {
        if let Some(entry) = self.entries.remove(name) {
            self.lines.leave(name, entry.stage);
        }
    }

    /// Removes a name that the first scan found from those that are waited for.
    fn give_up(&mut self, name: &OsStr) {
        if let Some(first) = &mut self.first {
            first.remove(name);
        }
    }

    /// Records that the scan in progress has looked at every folder whose own last change is before
    /// `oldest`.
    pub(super) fn still_to_look_at(&mut self, oldest: SystemTime) {
        // A bare ZIP waits for the folder of its name, which may not have been looked at yet.
        let first = SystemTime::UNIX_EPOCH;
        self.horizon = Some(if self.rules.take_both_forms() { first } else { oldest });
    }

    /// Ends a scan that found these names and these incomplete folders: all others are gone.
    pub(super) fn scanned(&mut self, names: &HashSet<OsString>, arriving: &HashSet<FolderId>) {
        let gone: Vec<OsString> =
            self.entries.keys().filter(|name| !names.contains(*name)).cloned().collect();
        for name in gone {
            self.gone(&name);
        }
        self.arriving.retain(|identity, _| arriving.contains(identity));
        self.horizon = None;
        if self.first.is_none() {
            let awaited = |entry: &Entry| !entry.stage.is_unfit() && !entry.admitted;
            let awaited = self.entries.iter().filter(|(_, entry)| awaited(entry));
            self.first = Some(awaited.map(|(name, _)| name.clone()).collect());
            if self.once {
                let all = self.entries.iter();
                self.only = all.map(|(name, entry)| (name.clone(), entry.identity)).collect();
            }
        }
    }

    /// Whether everything that the first scan found is admitted, or will not be judged.
    pub(super) fn first_scan_has_ended(&self) -> bool {
        self.first.as_ref().is_some_and(HashSet::is_empty)
    }

    /// Returns the next offer, oldest first. `None` if nothing is ready, or nothing may be offered now.
    pub(super) fn next(&mut self, now: Instant) -> Option<Next> {
        if self.blocked.is_some() || self.in_flight >= WINDOW {
            return None;
        }
        let mut queued = self.lines.queued();
        let (newest, key) = queued.find(|(_, key)| !self.waits_for_its_folder(key))?;
        if self.horizon.is_some_and(|horizon| newest > horizon) {
            return None;
        }
        let key = key.to_owned();
        drop(queued);
        let entry = self.entries.get_mut(&key)?;
        if now - entry.looked > FRESH {
            return Some(Next::LookAgain(key));
        }
        let (form, name) = entry.package.clone()?;
        self.lines.step(&key, entry, Stage::Offered);
        entry.offered_at = self.vacancies;
        let offer = Offer { name, form, identity: entry.identity, found_by: entry.found_by, key };
        self.in_flight += 1;
        Some(Next::Offer(offer))
    }

    /// Whether this is a bare ZIP beside a folder of the same name, which goes first.
    fn waits_for_its_folder(&self, key: &OsStr) -> bool {
        let package = self.entries.get(key).and_then(|entry| entry.package.as_ref());
        let Some((Form::Zip, name)) = package else { return false };
        self.entries.get(OsStr::new(name.as_str())).is_some_and(|folder| {
            !folder.stage.is_unfit() && folder.stage != Stage::Deferred && !folder.admitted
        })
    }

    /// Records the Dispatcher's answer.
    pub(super) fn answered(&mut self, key: &OsStr, identity: FolderId, answer: Admission) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if let Admission::Full { epoch } = answer
            && self.vacancy.is_none_or(|seen| seen < epoch)
        {
            self.blocked = Some(self.blocked.map_or(epoch, |blocked| blocked.max(epoch)));
        }
        if answer == Admission::Accepted {
            self.give_up(key);
        }
        let Some(entry) = self.entries.get_mut(key).filter(|e| e.identity == identity) else {
            return;
        };
        entry.admitted |= answer == Admission::Accepted;
        if entry.stage != Stage::Offered {
            return;
        }
        let stage = match answer {
            Admission::Accepted => Stage::Admitted,
            // The accepted package itself: no second delivery.
            Admission::Known if entry.admitted => Stage::Admitted,
            // A vacancy that overtook the answer may have been for this very name.
            Admission::Known if entry.offered_at == self.vacancies => Stage::Deferred,
            Admission::Known | Admission::Full { .. } => {
                Stage::Queued { newest: entry.trace.newest }
            }
        };
        self.lines.step(key, entry, stage);
    }

    /// Records that the Dispatcher has room again, or that a name is free again.
    pub(super) fn vacancy(&mut self, epoch: u64) {
        self.vacancy = self.vacancy.max(Some(epoch));
        self.vacancies += 1;
        if self.blocked.is_some_and(|blocked| blocked <= epoch) {
            self.blocked = None;
        }
        for name in self.lines.deferred() {
            if let Some(entry) = self.entries.get_mut(&name) {
                let stage = Stage::Queued { newest: entry.trace.newest };
                self.lines.step(&name, entry, stage);
            }
        }
    }

    /// Returns when the next name has to be looked at, if nothing happens before.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.lines.next_due()
    }

    /// Returns the names whose look is due.
    pub(super) fn due(&self, now: Instant) -> Vec<OsString> {
        self.lines.due(now)
    }
}

fn stale_says(age: Duration) -> String {
    let age = humantime::format_duration(Duration::from_secs(age.as_secs()));
    format!("it has not become complete for {age}: ask its sender, or move it away")
}

#[cfg(test)]
mod tests;

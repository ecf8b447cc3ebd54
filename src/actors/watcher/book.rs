//! What the Watcher knows of its landing: which names wait, which are offered, which were reported.
//!
//! In: looks, the Dispatcher's answers, the time. Out: the next offer, the next time to look, what
//! to report. No I/O and no actor.
//!
//! **Invariants:** its size is bounded by what is in the landing now. A folder is offered once by
//! events, and again at a scan. After a `Full` nothing is offered until a vacancy of its epoch,
//! whichever of the two came first. Each thing wrong with a folder is reported once.

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

/// Offers that may be on their way at once: what fits a mailbox, and hides the way to the
/// Dispatcher and back.
const WINDOW: usize = 16;
/// No name is looked at more often than this on account of its settling.
const PACE_MIN: Duration = Duration::from_millis(100);
/// Looks within a `settle` at what has just changed. What is copied in place is ready `settle` after the
/// look that sees its last change.
const LOOKS_IN_SETTLE: u32 = 4;

/// What is wrong with something younger than this may just be half done, whatever `settle` says.
const REPORT_AGE: Duration = Duration::from_secs(1);
/// An offer rests on a look no older than this. The Dispatcher's queue adds more to it; what counts in
/// the end is that the claim finds the same folder.
const FRESH: Duration = Duration::from_secs(1);

/// The Watcher's state; a plain value that one owner drives.
#[derive(Debug)]
pub(super) struct Book {
    rules: Rules,
    rescan: Duration,
    stale_after: Duration,
    once: bool,
    /// The time of the landing's file system; `None` if it could not be asked.
    clock: Option<DiskClock>,
    /// File times are this host's alone.
    is_local: bool,
    /// Boxed: the table of a large landing is half empty.
    entries: HashMap<OsString, Box<Entry>>,
    lines: Lines,
    /// While a scan is under way: what changed later than this may not be the oldest.
    horizon: Option<SystemTime>,
    arriving: HashMap<FolderId, Arriving>,
    /// Names of the first scan that are not admitted or given up; none before that scan.
    first: Option<HashSet<OsString>>,
    /// With `once`: all that there was at the first scan.
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

    /// Takes the time of the landing's file system in, for the first scan, and whether other hosts write
    /// times there.
    pub(super) fn begins(&mut self, clock: Option<DiskClock>, is_local: bool) {
        (self.clock, self.is_local) = (clock, is_local);
    }

    /// Whether no scan has ended: what it meets was there before the start.
    pub(super) fn is_first_scan(&self) -> bool {
        self.first.is_none()
    }

    /// Takes a look in, at a name that is not incomplete.
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
                // Quiet begins at the look that sees the last change: look often at first. A ZIP that
                // grows gets its end record long before its span is over.
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

    /// Has a name wait for a change, looked at ever more rarely.
    fn set_aside(&mut self, name: &OsStr, quiet: Duration, now: Instant) {
        let pace = quiet.max(self.rules.settle).max(PACE_MIN);
        let due = (pace < self.rescan && !self.once).then(|| now + pace);
        self.hold(name, Stage::Unfit { due });
        self.give_up(name);
    }

    /// How long it was the same before a first look: something that was there before the start has an
    /// age, anything else came or changed under our eyes.
    fn quiet_of(&self, trace: &Trace, because: Because, now: Instant) -> Quiet {
        let was_there = because.scan && self.is_first_scan();
        let age =
            self.clock.filter(|_| was_there).and_then(|disk| disk.age(trace.newest, now).ok());
        Quiet::new(now, age.unwrap_or_default(), self.is_local)
    }

    /// Under `--once`, whether this was not there at the start.
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
        // A scan can meet a folder before the event of its rename is read.
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

    /// Takes in that there is a folder whose name says that it is incomplete. True where it should
    /// be looked at in whole, for [`Book::saw_arriving`].
    pub(super) fn arriving(&mut self, identity: FolderId, now: Instant) -> bool {
        let known = self.arriving.entry(identity);
        let known = known.or_insert(Arriving { seen: None, check: now, told: false });
        !known.told && known.check <= now
    }

    /// Takes in a look at an incomplete one: nothing to judge, but it may lie there for ever.
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

    /// Takes in that a name is not there.
    pub(super) fn gone(&mut self, name: &OsStr) {
        self.forget(name);
        self.give_up(name);
    }

    fn forget(&mut self, name: &OsStr) {
        if let Some(entry) = self.entries.remove(name) {
            self.lines.leave(name, entry.stage);
        }
    }

    /// What the first scan met and nobody waits for any more.
    fn give_up(&mut self, name: &OsStr) {
        if let Some(first) = &mut self.first {
            first.remove(name);
        }
    }

    /// Takes in that a scan is under way, which has looked at every folder that was itself changed before
    /// then.
    pub(super) fn still_to_look_at(&mut self, oldest: SystemTime) {
        // A bare ZIP waits for the folder of its name, which may be among the others.
        let first = SystemTime::UNIX_EPOCH;
        self.horizon = Some(if self.rules.take_both_forms() { first } else { oldest });
    }

    /// Ends a scan that met these names, and these incomplete ones: all others are gone.
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

    /// Whether all that the first scan met is admitted, or will not be judged.
    pub(super) fn first_scan_has_ended(&self) -> bool {
        self.first.as_ref().is_some_and(HashSet::is_empty)
    }

    /// What to offer, oldest first; none where nothing is ready, or nothing may be offered now.
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

    /// Takes the Dispatcher's answer in.
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
            // It is the very one that was accepted: no second delivery.
            Admission::Known if entry.admitted => Stage::Admitted,
            // A vacancy that overtook the answer may have been for this very name.
            Admission::Known if entry.offered_at == self.vacancies => Stage::Deferred,
            Admission::Known | Admission::Full { .. } => {
                Stage::Queued { newest: entry.trace.newest }
            }
        };
        self.lines.step(key, entry, stage);
    }

    /// Takes in that there is room again, or that a name is free again.
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

    /// When the next name has to be looked at again, if nothing happens before.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.lines.next_due()
    }

    /// The names whose time has come.
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

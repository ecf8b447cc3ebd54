//! What the Watcher knows of its landing: which names wait, which are offered, which were reported.
//!
//! In: looks, the Dispatcher's answers, the time. Out: the next offer, the next time to look, what
//! to report. No I/O and no actor.
//!
//! **Invariants:** its size is bounded by what is in the landing now. A folder is offered once by
//! events, and again at a scan. After a `Full` nothing is offered until a vacancy of its epoch,
//! whichever of the two came first. Each thing wrong with a folder is reported once.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::time::{Duration, Instant, SystemTime};

use super::entry::{Arriving, Because, Entry, Next, Now, Offer, Report, Stage};
use super::hints::Arrival;
use crate::config::Source;
use crate::landing::{Look, Past, Rules, Verdict, judge};
use crate::messages::{Admission, Form, FoundBy};
use crate::package::FolderId;

/// Offers that may be on their way at once: what fits a mailbox, and hides the way to the
/// Dispatcher and back.
const WINDOW: usize = 16;
/// No name is looked at more often than this on account of its settling.
const PACE_MIN: Duration = Duration::from_millis(100);
/// What is wrong with something younger than this may just be half done, whatever `settle` says.
const REPORT_AGE: Duration = Duration::from_secs(1);
/// An offer rests on a look no older than this.
const FRESH: Duration = Duration::from_millis(250);

/// The Watcher's state; a plain value that one owner drives.
#[derive(Debug)]
pub(super) struct Book {
    rules: Rules,
    rescan: Duration,
    stale_after: Duration,
    once: bool,
    entries: HashMap<OsString, Entry>,
    queue: BTreeSet<(SystemTime, OsString)>,
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
            entries: HashMap::new(),
            queue: BTreeSet::new(),
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

    /// Takes a look in, at a name that is not incomplete.
    pub(super) fn saw(&mut self, look: &Look, because: Because, now: Now) -> Option<Report> {
        if self.came_later(look) {
            self.gone(&look.name);
            return None;
        }
        let entry = self.remember(look, because, now);
        let past = Past { quiet: now.steady - entry.quiet_since, ..entry.past };
        let verdict = judge(look, &past, now.wall, &self.rules);
        let age = now.wall.duration_since(look.trace.newest).unwrap_or_default().max(past.quiet);
        match verdict {
            Verdict::Ready => self.ready(look, because),
            Verdict::NotYet { until } => {
                let wait = until.duration_since(now.wall).unwrap_or_default();
                // A ZIP that grows gets its end record long before its span is over.
                let due = wait.min(age.max(self.rules.settle).max(PACE_MIN));
                let due = now.steady + due + Duration::from_millis(1);
                self.hold(&look.name, Stage::Waiting { due });
                return self.stale(&look.name, now);
            }
            Verdict::Unfit(unfit) => {
                let pace = age.max(self.rules.settle).max(PACE_MIN);
                let due = (pace < self.rescan && !self.once).then(|| now.steady + pace);
                self.hold(&look.name, Stage::Unfit { due });
                self.give_up(&look.name);
                if age >= REPORT_AGE || self.once {
                    return self.tell(&look.name, unfit.code(), || unfit.to_string());
                }
            }
            Verdict::Incomplete(_) => self.gone(&look.name),
        }
        None
    }

    /// Under `--once`, whether this was not there at the start.
    fn came_later(&self, look: &Look) -> bool {
        self.once
            && self.first.is_some()
            && self.only.get(&look.name).is_none_or(|identity| *identity != look.identity)
    }

    fn remember(&mut self, look: &Look, because: Because, now: Now) -> &mut Entry {
        if self.entries.get(&look.name).is_some_and(|entry| entry.identity != look.identity) {
            self.forget(&look.name);
        }
        let moved = because.hint == Some(Arrival::Moved);
        let renamed = moved || self.arriving.contains_key(&look.identity);
        let rules = &self.rules;
        let entry = self.entries.entry(look.name.clone()).or_insert_with(|| Entry {
            identity: look.identity,
            package: rules.package(look).ok(),
            found_by: if because.hint.is_some() { FoundBy::Event } else { FoundBy::Scan },
            past: Past::of_first(look, renamed),
            trace: look.trace,
            stage: Stage::Unfit { due: None },
            first_seen: now.steady,
            quiet_since: now.steady,
            looked: now.steady,
            admitted: false,
            offered_at: 0,
            told: Vec::new(),
        });
        // A scan can meet a folder before the event of its rename is read.
        entry.past.renamed |= moved;
        entry.looked = now.steady;
        if entry.trace != look.trace {
            entry.trace = look.trace;
            entry.quiet_since = now.steady;
        }
        entry
    }

    fn ready(&mut self, look: &Look, because: Because) {
        let Some(entry) = self.entries.get_mut(&look.name) else { return };
        match entry.stage {
            Stage::Offered => return,
            Stage::Admitted | Stage::Deferred if !because.scan => return,
            Stage::Queued { newest } if newest == look.trace.newest => return,
            Stage::Queued { newest } => {
                self.queue.remove(&(newest, look.name.clone()));
            }
            _ => {}
        }
        entry.stage = Stage::Queued { newest: look.trace.newest };
        self.queue.insert((look.trace.newest, look.name.clone()));
    }

    fn hold(&mut self, name: &OsStr, stage: Stage) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        if let Stage::Queued { newest } = entry.stage {
            self.queue.remove(&(newest, name.to_owned()));
        }
        entry.stage = stage;
    }

    fn stale(&mut self, name: &OsStr, now: Now) -> Option<Report> {
        let waited = now.steady - self.entries.get(name)?.first_seen;
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
        entry.told.push(code);
        Some(Report { name: name.to_owned(), code, why: why() })
    }

    /// Takes in that there is a folder whose name says that it is incomplete. True where it should
    /// be looked at in whole, for [`Book::saw_arriving`].
    pub(super) fn arriving(&mut self, identity: FolderId, now: Now) -> bool {
        let known = self.arriving.entry(identity);
        let known = known.or_insert(Arriving { check: now.steady, told: false });
        !known.told && known.check <= now.steady
    }

    /// Takes in a look at an incomplete one: nothing to judge, but it may lie there for ever.
    pub(super) fn saw_arriving(&mut self, look: &Look, now: Now) -> Option<Report> {
        let known = self.arriving.get_mut(&look.identity)?;
        let age = now.wall.duration_since(look.trace.newest).unwrap_or_default();
        if age < self.stale_after {
            known.check = now.steady + (self.stale_after - age);
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
        if let Some(Entry { stage: Stage::Queued { newest }, .. }) = self.entries.remove(name) {
            self.queue.remove(&(newest, name.to_owned()));
        }
    }

    /// What the first scan met and nobody waits for any more.
    fn give_up(&mut self, name: &OsStr) {
        if let Some(first) = &mut self.first {
            first.remove(name);
        }
    }

    /// Ends a scan that met these names, and these incomplete ones: all others are gone.
    pub(super) fn scanned(&mut self, names: &HashSet<OsString>, arriving: &HashSet<FolderId>) {
        let gone: Vec<OsString> =
            self.entries.keys().filter(|name| !names.contains(*name)).cloned().collect();
        for name in gone {
            self.gone(&name);
        }
        self.arriving.retain(|identity, _| arriving.contains(identity));
        if self.first.is_none() {
            let awaited = self.entries.iter().filter(|(_, entry)| !entry.stage.is_unfit());
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
    pub(super) fn next(&mut self, now: Now) -> Option<Next> {
        if self.blocked.is_some() || self.in_flight >= WINDOW {
            return None;
        }
        let (newest, key) = self.queue.iter().find(|(_, key)| !self.waits_for_its_folder(key))?;
        let (newest, key) = (*newest, key.clone());
        let entry = self.entries.get_mut(&key)?;
        if now.steady - entry.looked > FRESH {
            return Some(Next::LookAgain(key));
        }
        let (form, name) = entry.package.clone()?;
        entry.stage = Stage::Offered;
        entry.offered_at = self.vacancies;
        let offer = Offer {
            name,
            form,
            identity: entry.identity,
            found_by: entry.found_by,
            key: key.clone(),
        };
        self.queue.remove(&(newest, key));
        self.in_flight += 1;
        Some(Next::Offer(offer))
    }

    /// Whether this is a bare ZIP beside a folder of the same name, which goes first.
    fn waits_for_its_folder(&self, key: &OsStr) -> bool {
        let Some(Entry { package: Some((Form::Zip, name)), .. }) = self.entries.get(key) else {
            return false;
        };
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
        entry.stage = match answer {
            Admission::Accepted => Stage::Admitted,
            // It is the very one that was accepted: no second delivery.
            Admission::Known if entry.admitted => Stage::Admitted,
            // A vacancy that overtook the answer may have been for this very name.
            Admission::Known if entry.offered_at == self.vacancies => Stage::Deferred,
            Admission::Known | Admission::Full { .. } => {
                Stage::Queued { newest: entry.trace.newest }
            }
        };
        if let Stage::Queued { newest } = entry.stage {
            self.queue.insert((newest, key.to_owned()));
        }
    }

    /// Takes in that there is room again, or that a name is free again.
    pub(super) fn vacancy(&mut self, epoch: u64) {
        self.vacancy = self.vacancy.max(Some(epoch));
        self.vacancies += 1;
        if self.blocked.is_some_and(|blocked| blocked <= epoch) {
            self.blocked = None;
        }
        for (name, entry) in &mut self.entries {
            if entry.stage == Stage::Deferred {
                entry.stage = Stage::Queued { newest: entry.trace.newest };
                self.queue.insert((entry.trace.newest, name.clone()));
            }
        }
    }

    /// When the next name has to be looked at again, if nothing happens before.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.entries.values().filter_map(|entry| entry.stage.due()).min()
    }

    /// The names whose time has come.
    pub(super) fn due(&self, now: Now) -> Vec<OsString> {
        let due = |entry: &Entry| entry.stage.due().is_some_and(|due| due <= now.steady);
        let entries = self.entries.iter().filter(|(_, entry)| due(entry));
        entries.map(|(name, _)| name.clone()).collect()
    }
}

fn stale_says(age: Duration) -> String {
    let age = humantime::format_duration(Duration::from_secs(age.as_secs()));
    format!("it has not become complete for {age}: ask its sender, or move it away")
}

#[cfg(test)]
mod tests;

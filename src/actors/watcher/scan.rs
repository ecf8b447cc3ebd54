//! Scans a landing: looks at everything in it, a few names at a time.
//!
//! In: the landing's names. Out: a look at each name, oldest folder first, and the names that are gone.
//!
//! **Theory of operation.** A hundred thousand looks take seconds, or minutes on a cold disk. So ready
//! packages are offered while the rest is still being looked at, and messages are handled in between.
//! The order "oldest first" still holds: the last change of a package is never before the last change
//! of its folder itself. So a package that is older than every folder still to be looked at can be
//! offered.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use actix::fut::{ActorFutureExt, wrap_future};
use actix::{AsyncContext, Context};
use slog::{debug, error, info, warn};

use super::entry::Because;
use super::hints::Arrival;
use super::{REPORTS_MAX, Watcher};
use crate::landing::{DiskClock, Incomplete, Landing};
use crate::package::FolderId;

/// Names that are looked at in one go: less than a millisecond if cached in memory.
const CHUNK: usize = 64;

/// A scan in progress.
pub(super) struct Scan {
    landing: Arc<Landing>,
    /// The names not looked at yet, each with the last change of the folder itself; the oldest is the last.
    rest: Vec<(SystemTime, OsString)>,
    /// All names found at the start of the scan, and those that came since.
    names: HashSet<OsString>,
    /// The folders among them whose names say that they are incomplete.
    arriving: HashSet<FolderId>,
    arrivals: HashMap<OsString, Arrival>,
    /// Whether events were lost since the start of the scan.
    again: bool,
}

impl Scan {
    /// Creates a scan of everything that is in the landing now.
    fn of(landing: Landing, arrivals: HashMap<OsString, Arrival>) -> io::Result<Self> {
        let names = landing.names()?;
        let all_at_once = names.len() <= CHUNK;
        let changed = |name: &OsString| match all_at_once {
            true => SystemTime::UNIX_EPOCH,
            false => landing.changed(name).unwrap_or(SystemTime::UNIX_EPOCH),
        };
        let mut rest: Vec<_> = names.iter().map(|name| (changed(name), name.clone())).collect();
        if !all_at_once {
            rest.sort_unstable_by(|one, other| other.cmp(one));
        }
        let (names, arriving) = (names.into_iter().collect(), HashSet::new());
        Ok(Self { landing: Arc::new(landing), rest, names, arriving, arrivals, again: false })
    }

    /// Removes and returns the next names, with what the events said of them.
    fn take(&mut self) -> Vec<(OsString, Option<Arrival>)> {
        let next = self.rest.split_off(self.rest.len().saturating_sub(CHUNK)).into_iter().rev();
        next.map(|(_, name)| {
            let hint = self.arrivals.remove(&name);
            (name, hint)
        })
        .collect()
    }

    /// Records that a name was looked at.
    pub(super) fn met(&mut self, name: &OsStr, incomplete: Option<&Incomplete>) {
        if let Some(Incomplete::Ending(_)) = incomplete {
            self.arriving.extend(self.landing.identify(name));
        }
        if !self.names.contains(name) {
            self.names.insert(name.to_owned());
        }
    }
}

impl Watcher {
    /// Scans the landing.
    pub(super) fn scan(&mut self, ctx: &mut Context<Self>) {
        if let Some(scan) = &mut self.scan {
            let now = Landing::open(&self.source.landing);
            if now.is_ok_and(|now| now.identity() == scan.landing.identity()) {
                scan.again = true;
                return;
            }
        }
        // A scan in progress is of a folder that is no longer the landing, and is abandoned.
        if let Some(timer) = self.rescan_timer.take() {
            ctx.cancel_future(timer);
        }
        match self.begin_scan(ctx) {
            Ok(scan) => {
                self.scan = Some(scan);
                self.scan_on(ctx);
            }
            Err(error) => {
                self.lost(&error);
                self.scanned(ctx);
            }
        }
    }

    fn begin_scan(&mut self, ctx: &mut Context<Self>) -> io::Result<Scan> {
        let arrivals = self.hints.take().names;
        self.sum_up_reports();
        let mut landing = Landing::open(&self.source.landing)?;
        let returned = self.gone.is_some();
        let other = self.seen.is_some_and(|seen| seen != landing.identity());
        let first = self.seen.is_none();
        (self.before_scan)(returned || other)?;
        self.seen = Some(landing.identity());
        if self.watch_anew(&landing, ctx) {
            // The listed folder must be the watched one, or a change between the two is missed.
            landing = Landing::open(&self.source.landing)?;
        }
        if self.book.is_first_scan() {
            let read = Instant::now();
            let clock = (self.disk_time)().map(|disk| DiskClock::new(disk, read));
            if let Err(error) = &clock {
                debug!(self.log, "no time from the landing's file system: quiet is measured from now on";
                    "error" => %error);
            }
            self.book.begins(clock.ok(), !landing.is_network());
        }
        let scan = Scan::of(landing, arrivals)?;
        if first {
            // From here on a rename is recognized as one.
            info!(self.log, "watching";
                "archive" => ?self.source.archive, "landing" => ?self.source.landing);
        }
        if self.gone.take().is_some() {
            info!(self.log, "landing is back"; "path" => ?self.source.landing);
        }
        Ok(scan)
    }

    /// Looks at the next names, and continues with the rest after pending messages are handled.
    fn scan_on(&mut self, ctx: &mut Context<Self>) {
        let Some(scan) = &mut self.scan else { return };
        let (landing, names, now) = (Arc::clone(&scan.landing), scan.take(), Instant::now());
        for (name, hint) in names {
            self.look_at(&landing, &name, Because { hint, scan: true }, now);
        }
        if let Some((oldest, _)) = self.scan.as_ref().and_then(|scan| scan.rest.last()) {
            self.book.still_to_look_at(*oldest);
            self.go_on(ctx);
            let messages = wrap_future::<_, Self>(tokio::task::yield_now());
            ctx.spawn(messages.map(|(), watcher, ctx| watcher.scan_on(ctx)));
        } else if let Some(scan) = self.scan.take() {
            self.book.scanned(&scan.names, &scan.arriving);
            self.scanned(ctx);
            if scan.again {
                self.scan(ctx);
            }
        }
    }

    /// Logs how many reports had no line of their own, and restarts the count.
    fn sum_up_reports(&mut self) {
        let more = std::mem::take(&mut self.reports).saturating_sub(REPORTS_MAX);
        if more > 0 {
            warn!(self.log, "not taken: more names than are listed here; `longshore explain NAME` says why";
                "more" => more, "path" => ?self.source.landing);
        }
    }

    fn scanned(&mut self, ctx: &mut Context<Self>) {
        self.sum_up_reports();
        self.rescan_timer = Some(ctx.run_later(self.pace(), |watcher, ctx| watcher.scan(ctx)));
        self.go_on(ctx);
    }

    fn lost(&mut self, error: &io::Error) {
        (self.watch, self.scan) = (None, None);
        let why = error.to_string();
        if self.gone.as_ref() != Some(&why) {
            error!(self.log, "landing cannot be used: waiting until it can";
                "path" => ?self.source.landing, "error" => &why);
            self.gone = Some(why);
        }
    }
}

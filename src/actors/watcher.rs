//! Watches one landing and offers each ready package in it.
//!
//! In: [`Vacancy`], [`Shutdown`], and hints from inotify. Out: [`WatcherStarted`], [`PackageReady`],
//! [`FirstScanEnded`], and [`PackageEvent`] for what an operator should know.
//!
//! **Theory of operation.** The scan is authoritative. It runs at the start, each `rescan`, after events
//! were lost, and when the landing is a different folder from the watched one. An event only names what
//! to look at before the next scan. [`landing`](crate::landing) says what a look means, and the `Book`
//! decides what follows from it. The Watcher itself opens the landing, sets timers, and sends.
//!
//! **Invariants:** the Watcher runs on its own arbiter, because every look blocks. No offer is sent with
//! a timeout. Nothing polls: an idle Watcher wakes once each `rescan` (each second on a network file
//! system, which delivers no events).

mod book;
mod entry;
mod hints;
mod lines;
mod scan;
#[cfg(test)]
mod tests;
mod watch;

use std::ffi::{OsStr, OsString};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use actix::fut::{ActorFutureExt, wrap_future};
use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Recipient, SpawnHandle};
use slog::{Logger, debug, error, o, warn};

use self::book::Book;
use self::entry::{Because, Next, Offer, Report};
use self::hints::{Arrival, Hints};
use self::scan::Scan;
use self::watch::{Wake, Watch};
use crate::actors::lifeline::Lifeline;
use crate::actors::post::post;
use crate::config::Source;
use crate::landing::{Incomplete, Landing, LandingId};
use crate::messages::{
    Fact, FirstScanEnded, PackageEvent, PackageReady, Ping, Shutdown, Vacancy, WatcherStarted,
};

/// The receivers of a [`Watcher`]'s messages.
#[derive(Debug, Clone)]
pub struct Peers {
    /// The sender of vacancies, told once at the start, before any offer.
    pub started: Recipient<WatcherStarted>,
    /// Admits packages.
    pub ready: Recipient<PackageReady>,
    /// Told when every package found at the start is admitted, or is not going to be judged.
    pub first_scan: Recipient<FirstScanEnded>,
    /// The event bus.
    pub events: Recipient<PackageEvent>,
}

/// How often to look for a landing that is gone, and to scan a landing without events.
const PACE: Duration = Duration::from_secs(1);

/// Reports per scan that get their own log line. All sources share the queue of log lines: a landing
/// full of other things must not displace the lines of other sources.
const REPORTS_MAX: u32 = 500;

/// Prepares the landing before each scan. Locks a landing that is back or is a different folder than
/// before (called with `true` then), and creates the work area again if it is gone. Until the hook
/// succeeds, the landing counts as gone.
pub type BeforeScan = Box<dyn FnMut(bool) -> io::Result<()> + Send>;

/// Reads the current time by the landing's file system; that may be the clock of a file server.
pub type DiskTime = Box<dyn FnMut() -> io::Result<SystemTime> + Send>;

/// Watches one source's landing. Start it on an arbiter of its own.
pub struct Watcher {
    source: Arc<Source>,
    peers: Peers,
    log: Logger,
    book: Book,
    hints: Arc<Hints>,
    /// Whether events are wanted: with `once`, later arrivals do not count.
    wants_events: bool,
    watch: Option<Watch>,
    events_failed: bool,
    /// Why the landing cannot be looked at, as reported; `None` if it can.
    gone: Option<String>,
    network: bool,
    told_first_scan: bool,
    rescan_timer: Option<SpawnHandle>,
    due_timer: Option<(Instant, SpawnHandle)>,
    seen: Option<LandingId>,
    /// The scan in progress.
    scan: Option<Scan>,
    /// Reports since the start of the last scan.
    reports: u32,
    before_scan: BeforeScan,
    disk_time: DiskTime,
    lifeline: Lifeline,
}

impl Watcher {
    /// Creates a Watcher, to be started. With `once` it judges what the first scan finds, waits until that
    /// has settled, and ignores what comes later.
    #[must_use]
    pub fn new(source: Arc<Source>, peers: Peers, log: &Logger, once: bool) -> Self {
        Self {
            log: log.new(o!("source" => source.name.to_string())),
            book: Book::new(&source, once),
            hints: Arc::new(Hints::new(source.landing.clone())),
            wants_events: !once,
            source,
            peers,
            watch: None,
            events_failed: false,
            gone: None,
            network: false,
            told_first_scan: false,
            rescan_timer: None,
            due_timer: None,
            seen: None,
            scan: None,
            reports: 0,
            before_scan: Box::new(|_| Ok(())),
            disk_time: Box::new(|| Ok(SystemTime::now())),
            lifeline: Lifeline::loose(),
        }
    }

    /// Calls `hook` before each scan.
    #[must_use]
    pub fn before_scan(mut self, hook: BeforeScan) -> Self {
        self.before_scan = hook;
        self
    }

    /// Calls `hook` at the first scan. Without a hook, this host's clock is taken for the disk's.
    #[must_use]
    pub fn disk_time(mut self, hook: DiskTime) -> Self {
        self.disk_time = hook;
        self
    }

    /// Reports to `lifeline` when this actor ends.
    #[must_use]
    pub fn lifeline(mut self, lifeline: Lifeline) -> Self {
        self.lifeline = lifeline;
        self
    }

    /// Sets a watch on this landing unless it is watched already. Returns whether a watch was set.
    fn watch_anew(&mut self, landing: &Landing, ctx: &mut Context<Self>) -> bool {
        self.network = landing.is_network();
        match &self.watch {
            Some(watch) if watch.landing == landing.identity() && !self.network => return false,
            Some(_) => {
                warn!(self.log, "landing is another folder than before: watching that one";
                    "path" => ?self.source.landing);
                self.watch = None;
            }
            None => {}
        }
        if self.network || !self.wants_events {
            return false;
        }
        let (path, id) = (&self.source.landing, landing.identity());
        let wake = ctx.address().recipient();
        match Watch::on(path, id, Arc::clone(&self.hints), wake) {
            Ok(watch) => {
                self.watch = Some(watch);
                self.events_failed = false;
                true
            }
            Err(error) => {
                if !self.events_failed {
                    let advice = watch::advice(&error).map(|advice| format!(" ({advice})"));
                    let error = format!("{error}{}", advice.unwrap_or_default());
                    warn!(self.log, "no events from the landing: scanning it each second";
                        "path" => ?path, "error" => error);
                }
                self.events_failed = true;
                false
            }
        }
    }

    fn pace(&self) -> Duration {
        if self.gone.is_some() || self.network || self.events_failed {
            self.source.rescan.min(PACE)
        } else {
            self.source.rescan
        }
    }

    /// Looks at `names`, and nothing else.
    fn look_at_some<'a>(
        &mut self,
        names: impl IntoIterator<Item = (&'a OsString, Option<Arrival>)>,
        ctx: &mut Context<Self>,
    ) {
        let watched = self.watch.as_ref().map(|watch| watch.landing);
        match Landing::open(&self.source.landing) {
            Ok(landing) if watched.is_none_or(|id| id == landing.identity()) => {
                let now = Instant::now();
                for (name, hint) in names {
                    self.look_at(&landing, name, Because { hint, scan: false }, now);
                }
                self.go_on(ctx);
            }
            _ => self.scan(ctx),
        }
    }

    /// Looks at one name, unless the name alone is enough to judge it.
    fn look_at(&mut self, landing: &Landing, name: &OsStr, because: Because, now: Instant) {
        let incomplete = self.book.rules().incomplete(name);
        let report = match &incomplete {
            Some(Incomplete::Ending(_)) => self.look_at_arriving(landing, name, because, now),
            Some(_) => None,
            None => match landing.look(name, self.book.rules()) {
                Some(look) => self.book.saw(&look, because, now),
                None => {
                    self.book.gone(name);
                    None
                }
            },
        };
        if let Some(report) = report {
            self.report(report);
        }
        if let Some(scan) = &mut self.scan {
            scan.met(name, incomplete.as_ref());
        }
    }

    fn look_at_arriving(
        &mut self,
        landing: &Landing,
        name: &OsStr,
        because: Because,
        now: Instant,
    ) -> Option<Report> {
        let identity = landing.identify(name)?;
        if !self.book.arriving(identity, now) {
            return None;
        }
        let look = landing.look(name, self.book.rules())?;
        self.book.saw_arriving(&look, because, now)
    }

    fn report(&mut self, report: Report) {
        self.reports += 1;
        if self.reports <= REPORTS_MAX {
            warn!(self.log, "not taken";
                "name" => ?report.name, "code" => report.code, "why" => &report.why);
        }
        let name = report.name.to_string_lossy().into_owned();
        let fact = Fact::HeldBack { code: report.code, why: report.why };
        let source = self.source.name.clone();
        let event =
            PackageEvent { at: SystemTime::now(), source, name, job: None, attempt: 0, fact };
        post(&self.peers.events, event);
    }

    /// Acts on a change: sends offers, reports the end of the first scan, sets the timer for the next look.
    fn go_on(&mut self, ctx: &mut Context<Self>) {
        self.offer(ctx);
        self.tell_first_scan();
        self.set_due_timer(ctx);
    }

    fn tell_first_scan(&mut self) {
        if !self.told_first_scan && self.book.first_scan_has_ended() {
            // Sent after the answers to the offers, so after the offers themselves.
            self.told_first_scan = true;
            post(&self.peers.first_scan, FirstScanEnded { source: self.source.name.clone() });
        }
    }

    fn offer(&mut self, ctx: &mut Context<Self>) {
        if self.gone.is_some() {
            return;
        }
        while let Some(next) = self.book.next(Instant::now()) {
            match next {
                Next::Offer(offer) => self.send(offer, ctx),
                Next::LookAgain(name) => {
                    let because = Because { hint: None, scan: false };
                    let Ok(landing) = Landing::open(&self.source.landing) else {
                        return self.scan(ctx);
                    };
                    self.look_at(&landing, &name, because, Instant::now());
                    self.set_due_timer(ctx);
                }
            }
        }
    }

    fn send(&self, offer: Offer, ctx: &mut Context<Self>) {
        debug!(self.log, "ready"; "name" => %offer.name, "found_by" => ?offer.found_by);
        let Offer { key, name, identity, form, found_by } = offer;
        let source = self.source.name.clone();
        let asked = self.peers.ready.send(PackageReady { source, name, identity, form, found_by });
        ctx.spawn(wrap_future::<_, Self>(asked).map(move |answer, watcher, ctx| match answer {
            Ok(answer) => {
                watcher.book.answered(&key, identity, answer);
                watcher.offer(ctx);
                watcher.tell_first_scan();
            }
            Err(error) => {
                error!(watcher.log, "nobody admits packages any more"; "error" => %error);
                ctx.stop(); // the packages are safe in the landing
            }
        }));
    }

    fn set_due_timer(&mut self, ctx: &mut Context<Self>) {
        let due = self.book.next_due().filter(|_| self.gone.is_none());
        if due == self.due_timer.map(|(at, _)| at) {
            return;
        }
        if let Some((_, timer)) = self.due_timer.take() {
            ctx.cancel_future(timer);
        }
        if let Some(at) = due {
            let wait = at.saturating_duration_since(Instant::now());
            let timer = ctx.run_later(wait, |watcher, ctx| {
                watcher.due_timer = None;
                let due = watcher.book.due(Instant::now());
                watcher.look_at_some(due.iter().map(|name| (name, None)), ctx);
            });
            self.due_timer = Some((at, timer));
        }
    }
}

impl Actor for Watcher {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let (source, vacancy) = (self.source.name.clone(), ctx.address().recipient());
        post(&self.peers.started, WatcherStarted { source, vacancy });
        self.scan(ctx);
    }
}

impl Handler<Wake> for Watcher {
    type Result = ();

    fn handle(&mut self, _: Wake, ctx: &mut Self::Context) {
        let gathered = self.hints.take();
        if gathered.everything {
            return self.scan(ctx);
        }
        let names = gathered.names.iter().map(|(name, arrival)| (name, Some(*arrival)));
        self.look_at_some(names, ctx);
    }
}

impl Handler<Vacancy> for Watcher {
    type Result = ();

    fn handle(&mut self, Vacancy { epoch }: Vacancy, ctx: &mut Self::Context) {
        self.book.vacancy(epoch);
        self.go_on(ctx);
    }
}

impl Handler<Ping> for Watcher {
    type Result = ();

    fn handle(&mut self, _: Ping, _: &mut Self::Context) {}
}

impl Handler<Shutdown> for Watcher {
    type Result = ();

    fn handle(&mut self, _: Shutdown, ctx: &mut Self::Context) {
        self.watch = None;
        self.lifeline.release();
        ctx.stop();
    }
}

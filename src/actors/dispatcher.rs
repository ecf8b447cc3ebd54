//! Admits ready packages and feeds the extractor pool, with a bounded number of pieces of work in flight
//! ([`Bounds`](crate::schedule::Bounds)).
//!
//! In: [`PackageReady`], [`ExtractReport`], [`PackageMoved`], [`JobSettled`]. Out: [`Extract`],
//! [`Vacancy`], [`StageOverdue`].
//!
//! **Invariant:** this actor is the only sender of [`Extract`]: a `SyncArbiter` queue is unbounded.

use std::collections::{HashMap, HashSet};
use std::time::{Instant, SystemTime};

use actix::{
    Actor, ActorContext, AsyncContext, Context, Handler, Recipient, ResponseFuture, SpawnHandle,
};
use slog::{Logger, debug, error, info, warn};
use tokio::sync::oneshot;

use super::lifeline::Lifeline;
use super::outlet::StageError;
use super::post::post;
use crate::error::Chain;
use crate::id::{JobId, SourceName};
use crate::messages::{
    Admission, AllSettled, Drain, Extract, ExtractReport, Fact, FirstScanEnded, GetStatus,
    JobSettled, JobSpec, JobsRecovered, Outcome, PackageEvent, PackageMoved, PackageReady, Ping,
    SetIntake, Shutdown, StageOverdue, Status, StopMode, Vacancy, WatcherStarted, Whereabouts,
};
use crate::schedule::{Overdue, Schedule};

/// The receivers of the Dispatcher's messages.
pub struct Peers {
    /// The extractor pool.
    pub extractors: Recipient<Extract>,
    /// Facts for subscribers.
    pub events: Recipient<PackageEvent>,
    /// Settles jobs that a stage did not finish in time.
    pub overdue: Recipient<StageOverdue>,
    /// Told once, when every first scan has ended and no job is left.
    pub all_settled: Option<Recipient<AllSettled>>,
}

/// The single point of back-pressure between the landings and the extractors.
///
/// A shell: the rules are in [`Schedule`], which knows neither actors nor the disk.
pub struct Dispatcher {
    schedule: Schedule,
    peers: Peers,
    watchers: HashMap<SourceName, Recipient<Vacancy>>,
    /// Sources whose first scan has not ended.
    scanning: HashSet<SourceName>,
    /// Sources whose intake waits, each with the code of the reason.
    waiting: HashMap<SourceName, String>,
    /// Jobs that wait without pausing their source, each with the code of the reason.
    alone: HashMap<JobId, String>,
    wake: Option<(Instant, SpawnHandle)>,
    /// Callers of `Drain`, answered when everything taken is settled.
    draining: Vec<oneshot::Sender<()>>,
    /// Callers of `Shutdown`, answered when nothing is in flight.
    stopping: Vec<oneshot::Sender<()>>,
    log: Logger,
    lifeline: Lifeline,
}

impl Dispatcher {
    /// Creates a Dispatcher for these sources; each must report the end of its first scan.
    #[must_use]
    pub fn new(
        schedule: Schedule,
        sources: impl IntoIterator<Item = SourceName>,
        peers: Peers,
        log: Logger,
        lifeline: Lifeline,
    ) -> Self {
        Self {
            schedule,
            peers,
            watchers: HashMap::new(),
            scanning: sources.into_iter().collect(),
            waiting: HashMap::new(),
            alone: HashMap::new(),
            wake: None,
            draining: Vec::new(),
            stopping: Vec::new(),
            log,
            lifeline,
        }
    }

    /// Does everything that the last message made possible. Called at the end of every handler.
    fn pump(&mut self, ctx: &mut Context<Self>) {
        let now = Instant::now();
        while let Some(work) = self.schedule.next(now) {
            let extract = Extract { work, report_to: ctx.address().recipient() };
            if !post(&self.peers.extractors, extract) {
                error!(self.log, "the extractor pool is gone");
                ctx.stop(); // the jobs' folders are in the work area
                return;
            }
        }
        for Overdue { spec, stage, parked } in self.schedule.overdue(now) {
            let stage = stage.to_string();
            let error = Box::new(if parked {
                StageError::ParkedTooLong { stage }
            } else {
                StageError::Overdue { stage }
            });
            post(&self.peers.overdue, StageOverdue { spec, error });
        }
        for (source, epoch) in self.schedule.vacancies() {
            if let Some(watcher) = self.watchers.get(&source) {
                post(watcher, Vacancy { epoch });
            }
        }
        self.set_alarm(now, ctx);
        if self.schedule.is_empty()
            && self.scanning.is_empty()
            && let Some(waiting) = self.peers.all_settled.take()
        {
            post(&waiting, AllSettled);
        }
        if !self.draining.is_empty() && self.schedule.is_drained() {
            answer(&mut self.draining);
        }
        if !self.stopping.is_empty() && self.schedule.is_quiet() {
            answer(&mut self.stopping);
        }
    }

    /// Sets one timer for the earliest retry; no timer if nothing waits.
    fn set_alarm(&mut self, now: Instant, ctx: &mut Context<Self>) {
        let at = self.schedule.wake_at(now);
        if self.wake.as_ref().map(|(at, _)| *at) == at {
            return;
        }
        if let Some((_, alarm)) = self.wake.take() {
            ctx.cancel_future(alarm);
        }
        self.wake = at.map(|at| {
            let alarm = ctx.run_later(at.duration_since(now), |dispatcher, ctx| {
                dispatcher.wake = None;
                dispatcher.pump(ctx);
            });
            (at, alarm)
        });
    }

    fn tell(&self, spec: &JobSpec, fact: Fact) {
        post(&self.peers.events, PackageEvent::about(spec, fact));
    }

    fn log_settled(&mut self, spec: &JobSpec, outcome: &Outcome) {
        let (log, about) = (&self.log, About(spec));
        let waits = matches!(outcome, Outcome::Retry { attempt, .. } if *attempt == spec.attempt);
        if !waits {
            self.alone.remove(&spec.id);
        }
        match outcome {
            Outcome::Archived { path } => {
                info!(log, "archived"; about, "path" => %path.display());
            }
            Outcome::Quarantined { code, why, path } => {
                warn!(log, "quarantined"; about, "path" => ?path, "why" => why, "code" => code);
            }
            Outcome::Discarded => info!(log, "discarded, an identical package is archived"; about),
            Outcome::Vanished => {
                error!(log, "somebody took its folder out of the work area"; about)
            }
            Outcome::Retry { code, why, pause_source: false, .. } if waits => {
                // One line for each reason, however often the job is tried.
                if self.alone.insert(spec.id, code.clone()).as_ref() == Some(code) {
                    debug!(log, "still waiting"; about, "why" => why, "code" => code);
                } else {
                    warn!(log, "waiting alone: tried again by itself, other packages continue";
                        about, "why" => why, "code" => code);
                }
            }
            Outcome::Retry { attempt, code, why, pause_source: false, .. } => {
                warn!(log, "will be tried again"; about, "next" => attempt, "why" => why, "code" => code);
            }
            Outcome::Retry { code, why, .. } => {
                // One warning, however long the wait takes and however many packages it holds up.
                let before = self.waiting.insert(spec.source.clone(), code.clone());
                if before.as_ref() == Some(code) {
                    debug!(log, "still waiting"; about, "why" => why, "code" => code);
                } else {
                    error!(log, "waiting; intake of this source is paused and resumes by itself";
                        about, "why" => why, "code" => code);
                }
                return;
            }
        }
        if !self.schedule.is_blocked(&spec.source)
            && let Some(code) = self.waiting.remove(&spec.source)
        {
            info!(self.log, "the intake goes on"; "waited_for" => code, "source" => %spec.source);
        }
    }
}

/// The attempt that a log line is about; formatted only if the line is logged.
struct About<'a>(&'a JobSpec);

impl slog::KV for About<'_> {
    fn serialize(&self, _: &slog::Record<'_>, to: &mut dyn slog::Serializer) -> slog::Result {
        let Self(spec) = self;
        to.emit_u32("attempt", spec.attempt)?;
        to.emit_arguments("job", &format_args!("{}", spec.id))?;
        to.emit_arguments("name", &format_args!("{}", spec.name))?;
        to.emit_arguments("source", &format_args!("{}", spec.source))
    }
}

fn answer(askers: &mut Vec<oneshot::Sender<()>>) {
    for asker in askers.drain(..) {
        asker.send(()).ok(); // a caller that no longer waits has decided otherwise
    }
}

impl Actor for Dispatcher {
    type Context = Context<Self>;
}

impl Handler<PackageReady> for Dispatcher {
    type Result = Admission;

    fn handle(&mut self, found: PackageReady, ctx: &mut Self::Context) -> Self::Result {
        let admission = self.schedule.admit(&found);
        debug!(self.log, "offered"; "answer" => ?admission, "name" => ?found.name, "source" => %found.source);
        if admission == Admission::Accepted {
            let PackageReady { source, name, found_by, .. } = found;
            let fact = Fact::Accepted { found_by };
            let at = SystemTime::now();
            post(
                &self.peers.events,
                PackageEvent { at, source, name: name.to_string(), job: None, attempt: 0, fact },
            );
        }
        self.pump(ctx);
        admission
    }
}

impl Handler<ExtractReport> for Dispatcher {
    type Result = ();

    fn handle(&mut self, report: ExtractReport, ctx: &mut Self::Context) {
        let job = report.job();
        let spec = self.schedule.spec(job).cloned();
        match (report, spec) {
            (ExtractReport::Planned { bytes, slices, .. }, _) => {
                self.schedule.planned(job, bytes, slices);
                self.schedule.ended(job);
            }
            (ExtractReport::SliceEnded { .. }, _) => self.schedule.ended(job),
            (ExtractReport::Vanished { .. }, Some(spec)) => {
                debug!(self.log, "vanished before its claim"; "name" => ?spec.name, "source" => %spec.source);
                self.schedule.ended(job);
                self.schedule.dropped(job);
                self.tell(&spec, Fact::Vanished);
            }
            (ExtractReport::ClaimRefused { error, is_news, .. }, Some(spec)) => {
                self.schedule.ended(job);
                self.schedule.dropped(job);
                if is_news {
                    let why = Chain(error.as_ref()).to_string();
                    warn!(self.log, "stays in the landing"; "why" => &why, "code" => error.code(),
                        "name" => ?spec.name, "source" => %spec.source);
                    self.tell(&spec, Fact::HeldBack { code: error.code(), why });
                }
            }
            (ExtractReport::Vanished { .. } | ExtractReport::ClaimRefused { .. }, None) => {
                self.schedule.ended(job);
            }
        }
        self.pump(ctx);
    }
}

impl Handler<PackageMoved> for Dispatcher {
    type Result = ();

    fn handle(&mut self, moved: PackageMoved, ctx: &mut Self::Context) {
        let PackageMoved { job, attempt, to } = moved;
        if self.schedule.moved(job, attempt, &to, Instant::now())
            && let (Whereabouts::Stage(stage), Some(spec)) = (to, self.schedule.spec(job))
        {
            self.tell(spec, Fact::Entered { stage: stage.to_string() });
        }
        self.pump(ctx);
    }
}

impl Handler<JobSettled> for Dispatcher {
    type Result = ();

    fn handle(&mut self, settled: JobSettled, ctx: &mut Self::Context) {
        let spec = self.schedule.spec(settled.job).cloned();
        let taken = self.schedule.settled(settled.job, settled.attempt, &settled.outcome);
        if let (Some(spec), true) = (spec, taken) {
            self.log_settled(&spec, &settled.outcome);
            self.tell(&spec, Fact::Settled(settled.outcome));
        }
        self.pump(ctx);
    }
}

impl Handler<JobsRecovered> for Dispatcher {
    type Result = ();

    fn handle(&mut self, recovered: JobsRecovered, ctx: &mut Self::Context) {
        for spec in recovered.settling {
            self.schedule.recover_settling(spec);
        }
        for spec in recovered.extract {
            self.schedule.recover(spec);
        }
        self.pump(ctx);
    }
}

impl Handler<WatcherStarted> for Dispatcher {
    type Result = ();

    fn handle(&mut self, started: WatcherStarted, _: &mut Self::Context) {
        self.watchers.insert(started.source, started.vacancy);
    }
}

impl Handler<FirstScanEnded> for Dispatcher {
    type Result = ();

    fn handle(&mut self, ended: FirstScanEnded, ctx: &mut Self::Context) {
        self.scanning.remove(&ended.source);
        self.pump(ctx);
    }
}

impl Handler<SetIntake> for Dispatcher {
    type Result = ();

    fn handle(&mut self, intake: SetIntake, ctx: &mut Self::Context) {
        self.schedule.pause(!intake.open);
        if intake.open {
            info!(self.log, "packages are taken out of the landings again");
            self.draining.clear(); // their callers get false: the intake is open again
        } else {
            info!(self.log, "packages are left in the landings, as the program asks");
        }
        self.pump(ctx);
    }
}

impl Handler<Drain> for Dispatcher {
    type Result = ResponseFuture<bool>;

    fn handle(&mut self, _: Drain, ctx: &mut Self::Context) -> Self::Result {
        if !self.schedule.is_paused() {
            return Box::pin(std::future::ready(false)); // the intake is open again
        }
        let (drained, is_drained) = oneshot::channel();
        self.draining.push(drained);
        self.pump(ctx);
        Box::pin(async move { is_drained.await.is_ok() })
    }
}

impl Handler<GetStatus> for Dispatcher {
    type Result = Status;

    fn handle(&mut self, _: GetStatus, _: &mut Self::Context) -> Status {
        self.schedule.status()
    }
}

impl Handler<Ping> for Dispatcher {
    type Result = ();

    fn handle(&mut self, _: Ping, _: &mut Self::Context) {}
}

impl Handler<Shutdown> for Dispatcher {
    type Result = ResponseFuture<()>;

    /// Graceful: the answer comes when nothing is in flight. The actor lives on until it is asked to
    /// stop at once.
    fn handle(&mut self, shutdown: Shutdown, ctx: &mut Self::Context) -> Self::Result {
        self.schedule.close();
        if shutdown.mode == StopMode::Immediate {
            self.lifeline.release();
            ctx.stop();
            return Box::pin(std::future::ready(()));
        }
        let (quiet, is_quiet) = oneshot::channel();
        self.stopping.push(quiet);
        self.pump(ctx);
        Box::pin(async move {
            // An error means that the Dispatcher is gone: nothing is left to wait for.
            is_quiet.await.ok();
        })
    }
}

#[cfg(test)]
mod tests;

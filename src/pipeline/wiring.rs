//! One run of the actors: creates them from a blueprint and the results of recovery.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use actix::{Actor, Addr, Arbiter, AsyncContext, Context, Recipient, SyncArbiter};

use super::blueprint::{Blueprint, Ground, report};
use super::{processing, stages};
use crate::actors::archiver::SettleRecovered;
use crate::actors::archiver::batch::ZipCheck;
use crate::actors::archiver::books::Books;
use crate::actors::extractor::Bench;
use crate::actors::lifeline::{Ending, Hold};
use crate::actors::outlet::{Hop, StageError, Wiring};
use crate::actors::post::{post, post_to};
use crate::actors::supervisor::Peers;
use crate::actors::watcher::BeforeScan;
use crate::actors::{
    Archiver, Dispatcher, EventBus, Extractor, Ledger, Lifeline, Outlet, Processor, Supervisor,
    Watcher, dispatcher, watcher,
};
use crate::extract::Options;
use crate::id::SourceName;
use crate::messages::{JobsRecovered, Rejected, StageName};
use crate::package::LostHandler;
use crate::progress::{Roster, Steps};
use crate::publish::Copying;
use crate::schedule::{Bounds, Patience, Schedule};
use crate::workspace::{Recovery, Site};

/// Starts every actor except the Supervisor, bottom-up.
pub(super) fn raise(
    blueprint: &Blueprint,
    recovered: Vec<Recovery>,
    supervisor: &Addr<Supervisor>,
) -> Peers {
    let Blueprint { ground, subscribers, once, .. } = blueprint;
    let Ground { config, sites, options, space, ledger, .. } = &**ground;
    let ending = Ending::counted(&ground.census);
    let (hold, released) = Hold::new();
    let lifeline = |name| Lifeline::new(name, supervisor.clone().recipient(), ending.clone());

    let writer = ledger
        .clone()
        .map(|handle| Ledger::new(handle, ground.log_of("ledger"), lifeline("ledger")).start());
    let mut subscribers = subscribers.clone();
    subscribers.extend(writer.iter().map(|writer| writer.clone().recipient()));
    let bus = EventBus::new(subscribers, lifeline("event bus")).start();
    let dispatcher_ctx = Context::<Dispatcher>::new();
    let dispatcher = dispatcher_ctx.address();
    let archiver = Archiver::new(
        Arc::clone(sites),
        dispatcher.clone().recipient(),
        Copying::new(Arc::clone(space)).with_publisher(blueprint.publisher.clone()),
        Books::new(ledger.clone()),
        ground.log_of("archiver"),
        lifeline("archiver"),
        hold.clone(),
    )
    .with_check(zip_check(options.clone()))
    .start();
    let (next, processors) = way(blueprint, &dispatcher, &archiver, &lifeline, &hold);
    let roster = Arc::<Roster>::default();
    let bench = Arc::new(Bench {
        next,
        sites: Arc::clone(sites),
        options: options.clone(),
        archiver: archiver.clone().recipient(),
        rejected: archiver.clone().recipient(),
        events: bus.clone().recipient(),
        ledger: ledger.clone(),
        space: Arc::clone(space),
        lost: lost_handler(archiver.clone().recipient(), ending.clone()),
        ending: ending.clone(),
        hold,
        roster: Arc::clone(&roster),
        scratch: Default::default(),
        log: ground.log_of("extractor"),
    });
    let pool = {
        let (lost, ending) = (supervisor.clone().recipient(), ending.clone());
        SyncArbiter::start(config.workers, move || {
            let lifeline = Lifeline::new("extractor", lost.clone(), ending.clone());
            Extractor::new(Arc::clone(&bench), lifeline)
        })
    };
    let peers = dispatcher::Peers {
        extractors: pool.clone().recipient(),
        events: bus.clone().recipient(),
        overdue: archiver.clone().recipient(),
        all_settled: once.then(|| supervisor.clone().recipient()),
    };
    dispatcher_ctx.run(Dispatcher::new(
        schedule(blueprint),
        sites.keys().cloned(),
        peers,
        ground.log_of("dispatcher"),
        lifeline("dispatcher"),
    ));
    for recovery in recovered {
        hand_over(recovery, &dispatcher, &archiver);
    }

    let mut peers = Peers {
        dispatcher: Some(dispatcher.clone().recipient()),
        status: Some(dispatcher.clone().recipient()),
        intake: Some((dispatcher.clone().recipient(), dispatcher.clone().recipient())),
        archiver: Some(archiver.clone().recipient()),
        rest: vec![("event bus", bus.clone().recipient())],
        ending: ending.clone(),
        released: Some(released),
        pool: roster,
        ..Peers::default()
    };
    if let Some(writer) = writer {
        // After the event bus, which has passed on everything posted by then.
        peers.rest.push(("ledger", writer.clone().recipient()));
        #[cfg(any(test, feature = "testkit"))]
        peers.fragile.push(("ledger".to_owned(), writer.clone().recipient()));
        peers.pulses.push(("ledger".to_owned(), writer.recipient()));
    }
    for (source, processor) in processors {
        let name = format!("processor of {source}");
        peers.processors.push(processor.clone().recipient());
        #[cfg(any(test, feature = "testkit"))]
        peers.fragile.push((name.clone(), processor.clone().recipient()));
        peers.pulses.push((name, processor.recipient()));
    }
    for site in sites.values() {
        let arbiter = Arbiter::new();
        let to = watcher::Peers {
            ready: dispatcher.clone().recipient(),
            started: dispatcher.clone().recipient(),
            first_scan: dispatcher.clone().recipient(),
            events: bus.clone().recipient(),
        };
        let source = Arc::new(site.source().clone());
        let name = format!("watcher of {}", source.name);
        let clock = Arc::clone(site);
        let before_scan = before_scan(Arc::clone(site), ground, &dispatcher, &archiver);
        let (log, lifeline, once) = (ground.log_of("watcher"), lifeline("watcher"), *once);
        let watcher = Watcher::start_in_arbiter(&arbiter.handle(), move |_| {
            Watcher::new(source, to, &log, once)
                .before_scan(before_scan)
                .disk_time(Box::new(move || clock.disk_time()))
                .lifeline(lifeline)
        });
        peers.watchers.push(watcher.clone().recipient());
        #[cfg(any(test, feature = "testkit"))]
        peers.fragile.push((name.clone(), watcher.clone().recipient()));
        peers.pulses.push((name, watcher.recipient()));
        peers.arbiters.push(arbiter);
    }
    #[cfg(any(test, feature = "testkit"))]
    peers.fragile.extend([
        ("dispatcher".to_owned(), dispatcher.clone().recipient()),
        ("archiver".to_owned(), archiver.clone().recipient()),
        ("event bus".to_owned(), bus.clone().recipient()),
        ("extractor".to_owned(), pool.recipient()),
    ]);
    peers.pulses.extend([
        ("dispatcher".to_owned(), dispatcher.recipient()),
        ("archiver".to_owned(), archiver.recipient()),
        ("event bus".to_owned(), bus.recipient()),
    ]);
    peers
}

/// Creates the check that reads a touched ZIP with its source's options.
fn zip_check(options: HashMap<SourceName, Options>) -> ZipCheck {
    Arc::new(move |source, zip, contents| {
        let Some(options) = options.get(source) else { return Ok(false) }; // impossible
        let known = (&contents.facts, &contents.records);
        crate::ledger::confirm(zip, known, options, &Steps::default())
    })
}

fn schedule(blueprint: &Blueprint) -> Schedule {
    let Ground { config, sites, .. } = &*blueprint.ground;
    let mut patience = Patience { parking: blueprint.parking_deadline, ..Patience::default() };
    for stage in &blueprint.stages {
        patience.stages.extend(stage.deadline.map(|after| (Arc::clone(&stage.name), after)));
    }
    let bounds = Bounds::for_pool(config.workers);
    let mut schedule = Schedule::new(bounds, sites.keys().cloned()).with_patience(patience);
    schedule.pause(blueprint.ground.is_paused());
    for source in &config.sources {
        if let Some(process) = &source.process {
            schedule = schedule.with_ahead(&source.name, process.workers + process.waiting);
        }
    }
    schedule
}

/// Each Processor with its source.
type Processors = Vec<(SourceName, Addr<Processor>)>;

/// Where each source's packages go from the extractors.
type Way = HashMap<SourceName, Hop>;

/// Starts the stages, and the Processors, which come before the stages on a package's way. Returns where
/// each source's packages go from the extractors.
fn way(
    blueprint: &Blueprint,
    dispatcher: &Addr<Dispatcher>,
    archiver: &Addr<Archiver>,
    lifeline: &impl Fn(&'static str) -> Lifeline,
    hold: &Hold,
) -> (Way, Processors) {
    let moved = dispatcher.clone().recipient();
    let last = Hop { stage: None, to: archiver.clone().recipient(), moved: moved.clone() };
    let sources = blueprint.ground.sites.keys();
    let way = sources.map(|name| (name.clone(), last.clone())).collect();
    let outlet = |stage: &StageName, parking, next| {
        Outlet::new(Wiring {
            stage: Arc::clone(stage),
            next,
            rejected: archiver.clone().recipient(),
            moved: dispatcher.clone().recipient(),
            parking,
            log: blueprint.ground.log_of("stage"),
            lifeline: lifeline("stage"),
        })
    };
    let mut way = stages::start(blueprint.stages.iter(), way, &moved, |stage, next| {
        outlet(&stage.name, stage.parking, next)
    });
    let name = StageName::from(processing::STAGE);
    let mut processors = Processors::new();
    for (source, hop) in &mut way {
        let next = HashMap::from([(source.clone(), hop.clone())]);
        let ground = &blueprint.ground;
        let started = ground.processing.start(ground, source, || outlet(&name, 0, next), hold);
        if let Some(processor) = started {
            let to = processor.clone().recipient();
            *hop = Hop { stage: Some(Arc::clone(&name)), to, moved: moved.clone() };
            processors.push((source.clone(), processor));
        }
    }
    (way, processors)
}

pub(super) fn lost_handler(rejected: Recipient<Rejected>, ending: Ending) -> LostHandler {
    Arc::new(move |package| {
        if ending.has_begun() {
            package.settle(); // the package is in the work area, and the next start unpacks it again
        } else {
            let error = Box::new(StageError::Lost);
            post(&rejected, Rejected { package, error });
        }
    })
}

fn hand_over(recovery: Recovery, dispatcher: &Addr<Dispatcher>, archiver: &Addr<Archiver>) {
    let settling = recovery.settle.iter().map(|job| job.spec.clone()).collect();
    post_to(dispatcher, JobsRecovered { extract: recovery.extract, settling });
    post_to(archiver, SettleRecovered { jobs: recovery.settle });
}

/// Locks a landing that is back, and creates a missing work area again; jobs found in the work area
/// continue.
fn before_scan(
    site: Arc<Site>,
    ground: &Ground,
    dispatcher: &Addr<Dispatcher>,
    archiver: &Addr<Archiver>,
) -> BeforeScan {
    let (log, dispatcher, archiver) = (ground.log.clone(), dispatcher.clone(), archiver.clone());
    Box::new(move |returned| {
        if !returned && site.is_there() {
            return Ok(());
        }
        if site.reopen_after_return().map_err(io::Error::other)?.work_changed {
            let recovery = site.recover().map_err(io::Error::other)?;
            report(&log, &site.source().name, &recovery);
            hand_over(recovery, &dispatcher, &archiver);
        }
        Ok(())
    })
}

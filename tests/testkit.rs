//! The testkit keeps its word: what it makes is what it says, and what it checks it does find.

use std::fs;
use std::time::Duration;

use actix::{Actor, AsyncContext, Context, Handler};
use longshore::messages::StopMode;
use longshore::testkit::{Flaw, PackageMaker, PipelineHarness, StageHarness, TempLanding};
use longshore::{Outlet, Unpacked};

#[actix::test]
async fn packages_with_each_flaw_are_quarantined_with_its_code_and_sound_ones_are_not() {
    let mut harness = PipelineHarness::start(|pipeline| pipeline);
    let sound = PackageMaker::new("sound").file("a/b.txt", "b").folder("empty");
    harness.deliver(sound.beside("notes/c.txt", "c"));
    for flaw in Flaw::ALL {
        harness.deliver(PackageMaker::from(format!("{flaw:?}").as_str()).flaw(flaw));
    }
    for flaw in Flaw::ALL {
        let found = harness.quarantined(&format!("{flaw:?}")).await;
        assert_eq!(found.reason.code, flaw.code(), "{flaw:?}");
    }
    let archived = harness.archived("sound").await;
    for (path, text) in [("a/b.txt", "b"), ("notes/c.txt", "c")] {
        assert_eq!(fs::read_to_string(archived.join(path)).unwrap(), text);
    }
    assert!(archived.join("empty").is_dir() && archived.join("sound.zip").exists());
    harness.stop().await;
}

#[actix::test]
async fn package_that_is_downloading_waits_for_its_name() {
    let mut harness = PipelineHarness::start(|pipeline| pipeline);
    let arriving = PackageMaker::from("late").deliver_downloading(harness.landing()).unwrap();
    harness.deliver("early");
    harness.archived("early").await;
    fs::rename(arriving, harness.landing().join("late")).unwrap();
    harness.archived("late").await;
    harness.stop().await;
}

#[actix::test]
async fn pipeline_started_again_over_what_was_left_goes_on() {
    let harness = PipelineHarness::start(|pipeline| pipeline);
    let config = harness.config().clone();
    let (_, landing) = harness.stop_as(StopMode::Immediate).await;
    PackageMaker::from("meanwhile").deliver(&landing).unwrap();
    let mut harness = PipelineHarness::start_in(landing, config, |pipeline| pipeline);
    harness.archived("meanwhile").await;
    harness.stop().await;
}

#[actix::test]
async fn name_delivered_twice_is_waited_for_twice() {
    let mut harness = PipelineHarness::start(|pipeline| pipeline);
    harness.deliver("plate");
    harness.archived("plate").await;
    harness.deliver("plate");
    assert_eq!(harness.quarantined("plate").await.reason.code, "duplicate");
    harness.stop().await;
}

/// Never ends: an interval keeps it alive, though nobody has its address.
struct Undead {
    outlet: Outlet,
    mortal: bool,
}

impl Actor for Undead {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(Duration::from_millis(5), |undead, ctx| {
            if undead.mortal && undead.outlet.is_closed() {
                actix::ActorContext::stop(ctx);
            }
        });
    }
}

impl Handler<Unpacked> for Undead {
    type Result = ();

    fn handle(&mut self, Unpacked { package }: Unpacked, _: &mut Self::Context) {
        self.outlet.pass(package);
    }
}

#[test]
fn stage_that_outlives_its_harness_fails_the_test_and_one_that_looks_does_not() {
    let run = |mortal| {
        std::thread::spawn(move || {
            actix::System::new().block_on(async move {
                let start = move |outlet| Undead { outlet, mortal }.start().recipient();
                let mut harness = StageHarness::start(start).patience(Duration::from_millis(200));
                harness.give("plate").await.passed();
                harness.stop().await;
            });
        })
        .join()
    };
    assert!(run(true).is_ok(), "an actor that ends when its outlet is closed");
    assert!(run(false).is_err(), "an actor that never ends was not noticed");
}

#[test]
fn harness_that_is_dropped_unstopped_fails_the_test() {
    let dropped = std::thread::spawn(|| {
        actix::System::new().block_on(async {
            drop(PipelineHarness::start(|pipeline| pipeline));
        });
    });
    assert!(dropped.join().is_err(), "nobody checked what it left");
}

#[test]
fn landing_of_its_own_is_gone_when_dropped() {
    let landing = TempLanding::new();
    let path = landing.path();
    PackageMaker::from("a").deliver(&landing).unwrap();
    drop(landing);
    assert!(!path.exists());
}

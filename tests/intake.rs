//! A pipeline that is paused, drained and resumed by the program that holds its handle.

use longshore::error::{Disposition, Failure};
use longshore::testkit::{PackageMaker, PipelineHarness};
use longshore::{Outlet, Unpacked};

use actix::{Actor, Context, Handler};

#[actix::test]
async fn paused_pipeline_leaves_packages_in_the_landing_until_it_is_resumed() {
    let mut harness = PipelineHarness::start(|pipeline| pipeline);
    harness.deliver("before");
    harness.archived("before").await;
    harness.pipeline().pause();
    harness.counts(|status| status.paused).await;
    harness.deliver("after");
    harness.counts(|status| status.waiting == 1).await;
    assert!(harness.landing().join("after").exists());
    harness.pipeline().resume();
    harness.archived("after").await;
    harness.stop().await;
}

#[actix::test]
async fn pause_outlasts_a_restart_of_the_actors() {
    let mut harness = PipelineHarness::start(|pipeline| pipeline);
    harness.pipeline().pause();
    assert!(harness.pipeline().have_panic("dispatcher").await);
    harness.deliver("plate");
    harness.counts(|status| status.paused && status.waiting == 1).await;
    assert!(harness.landing().join("plate").exists(), "the new Dispatcher took it");
    harness.pipeline().resume();
    harness.archived("plate").await;
    harness.stop().await;
}

/// Gives each package back once, and passes it the second time.
struct Hesitant(Outlet);

impl Actor for Hesitant {
    type Context = Context<Self>;
}

#[derive(Debug, thiserror::Error)]
#[error("make up its mind")]
struct NotYet;

impl Failure for NotYet {
    fn code(&self) -> &'static str {
        "not_yet"
    }

    fn disposition(&self) -> Disposition {
        Disposition::Retry
    }
}

impl Handler<Unpacked> for Hesitant {
    type Result = ();

    fn handle(&mut self, unpacked: Unpacked, _: &mut Context<Self>) {
        let package = unpacked.package;
        if package.attempt() == 1 {
            self.0.reject(package, NotYet);
        } else {
            self.0.pass(package);
        }
    }
}

#[actix::test]
async fn drain_waits_for_what_was_taken_with_its_retries_and_takes_nothing_more() {
    let mut harness = PipelineHarness::start(|pipeline| {
        pipeline.stage("hesitant", |outlet| Hesitant(outlet).start().recipient())
    });
    let names: Vec<String> = (0..20).map(|n| format!("plate-{n}")).collect();
    for name in &names {
        harness.deliver(PackageMaker::from(name.as_str()));
    }
    harness.happened("plate-0", |fact| matches!(fact, longshore::messages::Fact::Claimed)).await;
    assert!(harness.pipeline().drain().await, "nobody resumed it");
    let status = harness.counts(|status| status.paused).await;
    let in_work = status.extracting + status.processing + status.archiving + status.retrying;
    assert_eq!(in_work, 0, "{status:?}");
    assert_eq!(status.waiting + status.archived as usize, names.len(), "{status:?}");
    harness.pipeline().resume();
    for name in &names {
        harness.archived(name).await;
    }
    harness.stop().await;
}

#[actix::test]
async fn drain_that_is_resumed_says_that_it_came_to_nothing() {
    /// Keeps every package, for as long as it lives.
    struct Keeper(Outlet, Vec<Unpacked>);

    impl Actor for Keeper {
        type Context = Context<Self>;
    }

    #[derive(actix::Message)]
    #[rtype(result = "()")]
    struct LetGo;

    impl Handler<Unpacked> for Keeper {
        type Result = ();

        fn handle(&mut self, unpacked: Unpacked, _: &mut Context<Self>) {
            self.1.push(unpacked);
        }
    }

    impl Handler<LetGo> for Keeper {
        type Result = ();

        fn handle(&mut self, _: LetGo, _: &mut Context<Self>) {
            for unpacked in self.1.drain(..) {
                self.0.pass(unpacked.package);
            }
        }
    }

    let (tell, told) = std::sync::mpsc::channel();
    let mut harness = PipelineHarness::start(move |pipeline| {
        pipeline.stage("keeper", move |outlet| {
            let keeper = Keeper::create(|_| Keeper(outlet, Vec::new()));
            tell.send(keeper.clone()).ok();
            keeper.recipient()
        })
    });
    harness.deliver("kept");
    harness.counts(|status| status.processing == 1).await;
    let pipeline = harness.pipeline();
    let (drained, ()) = tokio::join!(pipeline.drain(), async {
        // Asked for after it, and so heard after it.
        pipeline.get_status().await;
        pipeline.resume();
    });
    assert!(!drained);
    told.recv().unwrap().send(LetGo).await.unwrap();
    harness.archived("kept").await;
    harness.stop().await;
}

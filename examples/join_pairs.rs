//! Waits for two packages that belong together: `NAME.left` and `NAME.right`. Whichever comes first is
//! held back, without a place in the pipeline, until the other one is there.
//!
//! `cargo run --features testkit --example join_pairs`
#![expect(clippy::print_stdout, reason = "an example is read by people")]

use std::collections::HashMap;
use std::time::Duration;

use actix::{Actor, Context, Handler};
use longshore::testkit::PipelineHarness;
use longshore::{Disposition, Failure, Outlet, Parked, Unpacked};
use thiserror::Error;

#[derive(Debug, Error)]
#[error("hold it back until its other half comes: too many wait already")]
struct TooManyWait;

impl Failure for TooManyWait {
    fn code(&self) -> &'static str {
        "too_many_wait"
    }

    fn disposition(&self) -> Disposition {
        Disposition::Retry
    }
}

struct Pairs {
    outlet: Outlet,
    /// By name, without `.left` or `.right`. After a restart they come anew, so nothing is kept.
    waiting: HashMap<String, Parked>,
}

impl Actor for Pairs {
    type Context = Context<Self>;
}

impl Handler<Unpacked> for Pairs {
    type Result = ();

    fn handle(&mut self, Unpacked { package }: Unpacked, _: &mut Self::Context) {
        let Some((pair, _)) = package.name().as_str().rsplit_once('.') else {
            return self.outlet.pass(package); // it belongs to none
        };
        let pair = pair.to_owned();
        match self.waiting.remove(&pair) {
            Some(first) if first.view().name != *package.name() => {
                let first = first.resume();
                let names = (first.name().clone(), package.name().clone());
                self.outlet.pass(first.note("joined", names.1));
                self.outlet.pass(package.note("joined", names.0));
            }
            // A later attempt at the one that waits has taken its place.
            _ => match self.outlet.park(package) {
                Ok(parked) => drop(self.waiting.insert(pair, parked)),
                Err(package) => self.outlet.reject(package, TooManyWait),
            },
        }
    }
}

#[actix::main]
async fn main() {
    let mut harness = PipelineHarness::start(|pipeline| {
        let start = |outlet| Pairs { outlet, waiting: HashMap::new() }.start().recipient();
        // Half a pair is quarantined after a day.
        pipeline.stage("pairs", start).parking_deadline(Duration::from_secs(24 * 60 * 60))
    });
    harness.deliver("plate-1.left");
    let counts = harness.counts(|counts| counts.parked == 1).await;
    println!("held back: {}", counts.parked);
    harness.deliver("plate-1.right");
    for name in ["plate-1.left", "plate-1.right"] {
        println!("{}", harness.archived(name).await.display());
    }
    harness.stop().await;
}

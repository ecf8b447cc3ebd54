//! A stage that computes for long: in a `SyncArbiter`, on threads of its own.
//!
//! `cargo run --features testkit --example sync_stage` gives it four packages in a temporary folder;
//! over one of them it panics, which costs that package its attempts and the pool no thread.
#![expect(clippy::print_stdout, reason = "an example is read by people")]

use std::fs;

use actix::{Actor, Handler, SyncArbiter, SyncContext};
use longshore::testkit::{PackageMaker, PipelineHarness};
use longshore::{Outlet, Package, Unpacked};

/// Threads that compute.
const THREADS: usize = 2;

struct Primes {
    outlet: Outlet,
}

impl Actor for Primes {
    type Context = SyncContext<Self>;
}

impl Handler<Unpacked> for Primes {
    type Result = ();

    fn handle(&mut self, Unpacked { package }: Unpacked, _: &mut Self::Context) {
        // A panic takes a thread out of its pool for good; here it ends at the guard.
        self.outlet.guarded(|| {
            let count = primes_below(bound(&package));
            self.outlet.pass(package.note("primes", count));
        });
    }
}

fn bound(package: &Package) -> u64 {
    let text = fs::read_to_string(package.dir().join("bound")).unwrap_or_default();
    match text.trim().parse() {
        Ok(bound) => bound,
        Err(error) => panic!("a program error that nobody thought of: {error}"),
    }
}

fn primes_below(bound: u64) -> usize {
    (2..bound).filter(|n| (2..).take_while(|d| d * d <= *n).all(|d| n % d != 0)).count()
}

#[actix::main]
async fn main() {
    let mut harness = PipelineHarness::start(|pipeline| {
        // A factory: it is called again when the pipeline has lost an actor.
        pipeline.stage("primes", |outlet| {
            SyncArbiter::start(THREADS, move || Primes { outlet: outlet.clone() }).recipient()
        })
    });
    for (name, bound) in [("small", "1000"), ("broken", "many"), ("large", "100000")] {
        harness.deliver(PackageMaker::new(name).file("bound", bound));
    }
    println!("broken: {}", harness.quarantined("broken").await.reason.message);
    harness.deliver(PackageMaker::new("after").file("bound", "10"));
    for name in ["small", "large", "after"] {
        println!("{name}: {}", harness.archived(name).await.display());
    }
    harness.stop().await;
}

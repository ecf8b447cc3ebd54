//! Runs a pipeline inside of a program of your own, in its actix system.
//!
//! `cargo run --features testkit --example embed_pipeline -- LANDING ARCHIVE` archives what is in
//! LANDING and ends; without arguments it does so in a temporary folder with two packages.
#![expect(clippy::print_stdout, reason = "an example is read by people")]

use std::env;
use std::error::Error;

use actix::{Actor, Context, Handler};
use longshore::testkit::{PackageMaker, TempLanding};
use longshore::{Config, Ended, Fact, PackageEvent, Pipeline, Source, SourceName};

/// Prints what becomes of packages.
struct Printer;

impl Actor for Printer {
    type Context = Context<Self>;
}

impl Handler<PackageEvent> for Printer {
    type Result = ();

    fn handle(&mut self, event: PackageEvent, _: &mut Self::Context) {
        if let Fact::Settled(outcome) = event.fact {
            println!("{}: {outcome:?}", event.name);
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    // First of all, in a program whose sources run commands: it may have been started to guard one.
    longshore::process::guard_main();
    let arguments: Vec<String> = env::args().skip(1).collect();
    let scratch = TempLanding::new();
    let source = match &arguments[..] {
        [landing, archive] => Source::new(SourceName::default(), landing, archive),
        _ => {
            PackageMaker::new("plate-1").file("data.csv", "1,2,3\n").deliver(&scratch)?;
            PackageMaker::new("plate-2").file("data.csv", "4,5,6\n").deliver(&scratch)?;
            scratch.source()
        }
    };
    actix::System::new().block_on(async {
        // Without `once` it runs on, until somebody calls `handle.stop(StopMode::Graceful)`.
        let mut handle = Pipeline::builder(Config::new(source))
            .subscribe(Printer.start().recipient())
            .once()
            .start()?;
        match handle.ended().await {
            Ended::Drained => Ok(()),
            other => Err(format!("failed to process all: {other:?}").into()),
        }
    })
}

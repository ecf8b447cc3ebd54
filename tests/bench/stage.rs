//! What a stage that does nothing costs a pipeline: `cargo bench --bench stage`.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark is read by people")]

mod price;

use actix::{Actor, Context, Handler};
use longshore::{Outlet, Unpacked};

/// Passes everything on.
struct Empty {
    outlet: Outlet,
}

impl Actor for Empty {
    type Context = Context<Self>;
}

impl Handler<Unpacked> for Empty {
    type Result = ();

    fn handle(&mut self, Unpacked { package }: Unpacked, _: &mut Self::Context) {
        self.outlet.pass(package);
    }
}

fn main() {
    price::compare(
        "stage",
        |pipeline, stage| match stage {
            true => pipeline.stage("empty", |outlet| Empty { outlet }.start().recipient()),
            false => pipeline,
        },
        |_, _| {},
    );
}

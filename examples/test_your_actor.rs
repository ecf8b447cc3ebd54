//! Tests of an actor of one's own, to copy: `cargo test --features testkit --example test_your_actor`
#![expect(clippy::print_stdout, reason = "an example is read by people")]
use actix::{Actor, Context, Handler};
use longshore::testkit::StageHarness;
use longshore::{Disposition, Failure, Outlet, Unpacked};
use thiserror::Error;

#[derive(Debug, Error)]
#[error("find a file in it")]
struct NoFiles;

impl Failure for NoFiles {
    fn code(&self) -> &'static str {
        "no_files"
    }

    fn disposition(&self) -> Disposition {
        Disposition::Quarantine
    }
}

/// Counts files.
struct Counter {
    outlet: Outlet,
}

impl Actor for Counter {
    type Context = Context<Self>;
}

impl Handler<Unpacked> for Counter {
    type Result = ();

    fn handle(&mut self, Unpacked { package }: Unpacked, _: &mut Self::Context) {
        match package.files() {
            Ok(files) if !files.is_empty() => self.outlet.pass(package.note("files", files.len())),
            _ => self.outlet.reject(package, NoFiles),
        }
    }
}

#[actix::main]
async fn main() {
    let mut stage = StageHarness::start(|outlet| Counter { outlet }.start().recipient());
    println!("{}", stage.give("a").await);
    stage.stop().await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use longshore::testkit::{PackageMaker, PipelineHarness};

    #[actix::test]
    async fn counter_given_two_files_notes_that_and_passes_them_on() {
        let mut stage = StageHarness::start(|outlet| Counter { outlet }.start().recipient());
        let package = stage.give(PackageMaker::new("a").file("1", "x").file("b/2", "y")).await;
        assert_eq!(package.passed().notes(), [("files".to_owned(), "2".to_owned())]);
        stage.stop().await;
    }

    #[actix::test]
    async fn counter_given_an_empty_folder_rejects_it() {
        let mut stage = StageHarness::start(|outlet| Counter { outlet }.start().recipient());
        let rejection = stage.give(PackageMaker::new("a").folder("empty")).await.rejected();
        assert_eq!((rejection.code, rejection.disposition), ("no_files", Disposition::Quarantine));
        stage.stop().await;
    }

    #[actix::test]
    async fn counter_that_dies_as_it_answers_does_it_again_in_the_pipeline() {
        let start = |outlet| Counter { outlet }.start().recipient();
        let mut harness = PipelineHarness::start(|pipeline| pipeline.stage("counter", start));
        harness.kill_stage_at("counter", "a");
        harness.deliver(PackageMaker::new("a").file("1", "x"));
        assert!(harness.archived("a").await.join("1").exists());
        harness.stop().await;
    }
}

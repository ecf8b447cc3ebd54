//! A stage of one's own: checksums every file and writes `MANIFEST` beside them, before archiving.
//! `cargo run --features testkit --example custom_stage`
#![expect(clippy::print_stdout, reason = "an example is read by people")]
use std::fs;
use std::io;

use actix::{Actor, Context, Handler};
use longshore::testkit::{PackageMaker, PipelineHarness};
use longshore::{Disposition, Failure, Outlet, Package, Unpacked};
use thiserror::Error;

// Each message completes "failed to …".
#[derive(Debug, Error)]
enum ManifestError {
    #[error("make a manifest where the package has one")]
    Taken,
    #[error("checksum its files")]
    Io(#[from] io::Error),
}

impl Failure for ManifestError {
    fn code(&self) -> &'static str {
        match self {
            Self::Taken => "manifest_taken",
            Self::Io(_) => "manifest_io",
        }
    }

    fn disposition(&self) -> Disposition {
        match self {
            Self::Taken => Disposition::Quarantine, // the package's own fault
            Self::Io(_) => Disposition::Retry,      // the disk's, perhaps
        }
    }
}

struct Manifest {
    outlet: Outlet,
}

impl Actor for Manifest {
    type Context = Context<Self>;
}

impl Handler<Unpacked> for Manifest {
    type Result = ();

    fn handle(&mut self, Unpacked { package }: Unpacked, _: &mut Self::Context) {
        match write_manifest(&package) {
            Ok(files) => self.outlet.pass(package.note("files", files)),
            Err(error) => self.outlet.reject(package, error),
        }
    }
}

fn write_manifest(package: &Package) -> Result<usize, ManifestError> {
    let (dir, files) = (package.dir(), package.files()?);
    if files.iter().any(|file| file.as_os_str() == "MANIFEST") {
        return Err(ManifestError::Taken);
    }
    let mut manifest = String::new();
    for file in &files {
        let sum = blake3::hash(&fs::read(dir.join(file))?);
        manifest += &format!("{sum}  {}\n", file.display());
    }
    fs::write(dir.join("MANIFEST"), manifest)?;
    Ok(files.len())
}

#[actix::main]
async fn main() {
    let mut harness = PipelineHarness::start(|pipeline| {
        pipeline.stage("manifest", |outlet| Manifest { outlet }.start().recipient())
    });
    harness.deliver(PackageMaker::new("good").file("a.csv", "1,2").file("raw/b.csv", "3"));
    let manifest = harness.archived("good").await.join("MANIFEST");
    println!("{}", fs::read_to_string(manifest).unwrap_or_default());
    harness.stop().await;
}

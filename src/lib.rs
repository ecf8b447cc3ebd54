//! A landing-directory ingest daemon, and the actor library under it.

pub mod actors;
pub mod cli;
pub mod config;
pub mod error;
pub mod extract;
pub mod id;
pub mod landing;
pub mod ledger;
pub mod messages;
pub mod package;
pub mod pipeline;
pub mod process;
pub mod publish;
pub mod schedule;
pub mod telemetry;
#[cfg(any(test, feature = "testkit"))]
pub mod testkit;
pub mod workspace;

pub use actors::Outlet;
pub use actors::outlet::Parked;
pub use config::{Config, Source};
pub use error::{Disposition, Failure};
pub use messages::{Fact, Outcome, PackageEvent, Unpacked};
pub use package::{Package, PackageView};
pub use pipeline::{Pipeline, PipelineHandle};

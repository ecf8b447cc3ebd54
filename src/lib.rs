//! A landing-directory ingest daemon, and the actor library under it.
//!
//! Other software delivers packages into a landing: folders `NAME/` with `NAME.zip` in them. A
//! [`Pipeline`] takes each once it is complete, unpacks and verifies it, and files it in an archive:
//!
//! ```
//! use longshore::{Config, Ended, Pipeline, Source, SourceName};
//!
//! # let scratch = tempfile::tempdir()?;
//! # let (landing, archive) = (scratch.path().join("landing"), scratch.path().join("archive"));
//! # std::fs::create_dir_all(&landing)?;
//! let source = Source::new(SourceName::default(), &landing, &archive);
//! let ended = actix::System::new().block_on(async {
//!     // What is in the landing now; without `once` it runs until `handle.stop(…)`.
//!     let mut handle = Pipeline::builder(Config::new(source)).once().start()?;
//!     Ok::<_, longshore::PipelineError>(handle.ended().await)
//! })?;
//! assert_eq!(ended, Ended::Drained);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The processing of a package before it is archived is a *stage*: your own actor, which receives
//! [`Unpacked`] and gives the [`Package`] to its [`Outlet`]. See [`Pipeline::stage`], the examples,
//! and `docs/extending.md`, which builds a stage up to its first passing test. `testkit` (feature
//! `testkit`) has what a stage's tests need. A program that only observes subscribes to
//! [`PackageEvent`]s: [`Pipeline::subscribe`].
//!
//! # What is stable
//!
//! The items of this page and the modules [`config`], [`error`], [`id`], [`ledger`], [`messages`],
//! [`package`], [`pipeline`] and `testkit` are stable: `docs/api.md` lists them. The other modules
//! implement the daemon. They are public for its own tests and may change at any time.

pub mod actors;
pub mod cli;
pub mod config;
pub mod error;
pub mod extract;
mod failpoint;
pub mod folder;
pub mod id;
mod job;
pub mod landing;
pub mod ledger;
pub mod messages;
mod mountinfo;
mod names;
pub mod package;
pub mod pipeline;
pub mod process;
pub mod progress;
pub mod publish;
pub mod schedule;
pub mod telemetry;
#[cfg(any(test, feature = "testkit"))]
pub mod testkit;
pub mod workspace;

pub use actors::Outlet;
pub use actors::outlet::Parked;
pub use actors::supervisor::Ended;
pub use config::{Config, Source};
pub use error::{Disposition, Failure};
pub use id::{JobId, PackageName, SourceName};
pub use messages::{Fact, Health, Outcome, PackageEvent, Status, StopMode, Unpacked};
pub use package::{Package, PackageView};
pub use pipeline::{Pipeline, PipelineError, PipelineHandle};
pub use publish::{Delivery, Publish, Refusal};

//! Tools for testing your own actors by messages (feature `testkit`).
//!
//! | to test | use |
//! |---|---|
//! | one stage: what does it do with this package? | [`StageHarness`] |
//! | a stage, or a subscriber, in a pipeline of its own | [`PipelineHarness`] |
//! | any actor: what did it send, and to whom? | [`Probe`] in place of its peers |
//! | code that reads or fills a landing | [`TempLanding`], [`PackageMaker`] |
//!
//! Stop the two harnesses at the end of a test. The stop is a check of its own: no actor, no package and
//! no child process may be left by then.

mod answer;
mod log_lines;
mod package_maker;
mod pipeline_harness;
mod stage_harness;
mod until;

pub mod probe;
pub mod temp_landing;
pub mod zip_writer;

pub use answer::{Answer, Rejection};
pub use log_lines::LogLines;
pub use package_maker::{Flaw, PackageMaker};
pub use pipeline_harness::{PipelineHarness, Quarantined};
pub use probe::Probe;
pub use stage_harness::StageHarness;
pub use temp_landing::TempLanding;
pub use until::until;

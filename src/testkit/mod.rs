//! What an actor of your own needs to be tested by messages (feature `testkit`).

mod until;

pub mod probe;
pub mod temp_landing;
pub mod zip_writer;

pub use probe::Probe;
pub use temp_landing::TempLanding;
pub use until::until;

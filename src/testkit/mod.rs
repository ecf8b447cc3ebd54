//! What an actor of your own needs to be tested by messages (feature `testkit`).

pub mod probe;

pub use probe::Probe;

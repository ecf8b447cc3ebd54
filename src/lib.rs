//! A landing-directory ingest daemon, and the actor library under it.

pub mod error;
pub mod extract;
pub mod id;
pub mod package;

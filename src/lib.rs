//! A landing-directory ingest daemon, and the actor library under it.

pub mod config;
pub mod error;
pub mod id;
pub mod messages;
pub mod package;
pub mod publish;
pub mod workspace;

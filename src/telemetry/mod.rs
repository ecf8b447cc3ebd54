//! The daemon's telemetry: its log.

pub mod log;

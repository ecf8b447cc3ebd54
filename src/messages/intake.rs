//! Controls whether packages are taken out of the landings.

use actix::Message;

/// The program → Supervisor → Dispatcher: take packages out of the landings, or leave them there. Packages
/// already taken continue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct SetIntake {
    /// Whether packages are taken.
    pub open: bool,
}

/// The program → Supervisor → Dispatcher, after the intake was closed: answer when every package taken is
/// settled, except those that a stage has parked: they may wait for a package in the landing.
///
/// The answer is false if the intake is open or is opened meanwhile, or if the pipeline ended or was
/// restarted before the packages were settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Message)]
#[rtype(result = "bool")]
pub struct Drain;

//! Whether packages are taken out of the landings.

use actix::Message;

/// The program → Supervisor → Dispatcher: take packages out of the landings, or leave them there.
/// What was taken goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct SetIntake {
    /// Whether they are taken.
    pub open: bool,
}

/// The program → Supervisor → Dispatcher, after the intake was shut: answer when all that was taken is
/// settled, but for what a stage holds back: that may wait for a package in the landing.
///
/// The answer is false where the intake is open or is opened meanwhile, and where the pipeline ended
/// or started again before that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Message)]
#[rtype(result = "bool")]
pub struct Drain;

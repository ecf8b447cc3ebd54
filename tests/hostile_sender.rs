//! Attacks of a sender that may write in the landing, on the real binary.
//!
//! The sender is a process of another user that plants things, and keeps handles on what it delivered.
//! Whatever it does: nothing outside is touched, the archive holds only what was verified, nothing is
//! told as archived that is not there, and the daemon goes on with the packages of others.
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod common;
#[path = "hostile_sender/handles.rs"]
mod handles;
#[path = "hostile_sender/outside.rs"]
mod outside;
#[path = "hostile_sender/places.rs"]
mod places;
#[path = "hostile_sender/planted.rs"]
mod planted;
#[path = "hostile_sender/scene.rs"]
mod scene;
#[path = "hostile_sender/second_daemons.rs"]
mod second_daemons;
#[path = "hostile_sender/sender.rs"]
mod sender;

/// Not a test by itself: the process of the sender.
#[test]
fn sender_of_its_own() {
    sender::obey();
}

//! The actors: shells around the plain modules, joined by messages.

pub mod post;

//! The actors: shells around the plain modules, joined by messages.
//!
//! **Invariant:** no actor names another actor. Each actor gets its receivers as `Recipient<M>`, so
//! that it can be tested alone, and replaced.

pub mod archiver;
pub mod dispatcher;
pub mod event_bus;
pub mod extractor;
#[cfg(any(test, feature = "testkit"))]
mod fragile;
pub mod ledger;
pub mod lifeline;
pub mod outlet;
pub mod post;
pub mod processor;
pub mod supervisor;
pub mod watcher;
mod worker;

pub use archiver::Archiver;
pub use dispatcher::Dispatcher;
pub use event_bus::EventBus;
pub use extractor::Extractor;
pub use ledger::Ledger;
pub use lifeline::Lifeline;
pub use outlet::Outlet;
pub use processor::Processor;
pub use supervisor::Supervisor;
pub use watcher::Watcher;

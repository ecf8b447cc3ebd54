//! Makes actors panic when a test asks for it; only with `testkit`.

use actix::{Actor, Handler};

use super::{Archiver, Dispatcher, EventBus, Extractor, Ledger, Processor, Watcher};
use crate::messages::Panic;

macro_rules! fragile {
    ($($actor:ty),*) => {$(
        impl Handler<Panic> for $actor {
            type Result = ();

            fn handle(&mut self, _: Panic, _: &mut <Self as Actor>::Context) {
                panic!("as the test wants it");
            }
        }
    )*};
}

fragile!(Archiver, Dispatcher, EventBus, Extractor, Ledger, Processor, Watcher);

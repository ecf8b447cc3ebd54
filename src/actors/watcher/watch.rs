//! One inotify watch on one landing folder.

use std::path::Path;
use std::sync::Arc;

use actix::{Message, Recipient};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};

use super::hints::Hints;
use crate::actors::post::post;
use crate::landing::LandingId;

/// Hints are there to be taken.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Wake;

/// A watch, and the folder that it is believed to be on: taken before the watch was set, so that a
/// folder that is exchanged in between is noticed as another one by the next scan.
pub(super) struct Watch {
    pub(super) landing: LandingId,
    _notify: RecommendedWatcher,
}

impl Watch {
    pub(super) fn on(
        path: &Path,
        landing: LandingId,
        hints: Arc<Hints>,
        wake: Recipient<Wake>,
    ) -> notify::Result<Self> {
        let handler = move |event| {
            if hints.note(event) {
                // A Watcher that is gone wants no more hints.
                post(&wake, Wake);
            }
        };
        let mut notify = RecommendedWatcher::new(handler, notify::Config::default())?;
        notify.watch(path, RecursiveMode::NonRecursive)?;
        Ok(Self { landing, _notify: notify })
    }
}

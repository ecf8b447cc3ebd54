//! One inotify watch on one landing folder.

use std::path::Path;
use std::sync::Arc;

use actix::{Message, Recipient};
use notify::{ErrorKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use rustix::io::Errno;

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

/// What to change so that a landing can be watched; `None` if the error says it.
pub(super) fn advice(error: &notify::Error) -> Option<&'static str> {
    const INSTANCES: &str = "this user has too many inotify instances, or this process too many open \
                             files: raise fs.inotify.max_user_instances (sysctl), or LimitNOFILE=";
    const WATCHES: &str =
        "this user has too many inotify watches: raise fs.inotify.max_user_watches (sysctl)";
    match &error.kind {
        ErrorKind::MaxFilesWatch => Some(WATCHES),
        ErrorKind::Io(error) => match Errno::from_io_error(error)? {
            Errno::MFILE => Some(INSTANCES),
            Errno::NOSPC => Some(WATCHES),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn advice_names_the_limit_of_inotify_that_is_reached() {
        let io = |errno: Errno| {
            let error = io::Error::from_raw_os_error(errno.raw_os_error());
            advice(&notify::Error::io(error)).unwrap_or_default()
        };
        assert!(io(Errno::MFILE).contains("fs.inotify.max_user_instances"));
        assert!(io(Errno::NOSPC).contains("fs.inotify.max_user_watches"));
        assert_eq!(io(Errno::ACCESS), "");
        let watches = notify::Error::new(ErrorKind::MaxFilesWatch);
        assert!(advice(&watches).unwrap().contains("fs.inotify.max_user_watches"));
    }
}

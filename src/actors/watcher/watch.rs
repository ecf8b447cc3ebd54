//! One inotify watch on one landing folder.

use std::path::Path;
use std::sync::Arc;

use actix::{Message, Recipient};
use notify::{ErrorKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use rustix::io::Errno;

use super::hints::Hints;
use crate::actors::post::post;
use crate::landing::LandingId;

/// Tells the Watcher that there are hints to take.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Wake;

/// A watch, and the identity of the folder that it is believed to be on. The identity is taken before the
/// watch is set, so that the next scan notices a folder that was exchanged in between.
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
                // A Watcher that is gone needs no more hints.
                post(&wake, Wake);
            }
        };
        let mut notify = RecommendedWatcher::new(handler, notify::Config::default())?;
        notify.watch(path, RecursiveMode::NonRecursive)?;
        Ok(Self { landing, _notify: notify })
    }
}

/// Returns what to change so that a landing can be watched; `None` if the error says that itself.
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

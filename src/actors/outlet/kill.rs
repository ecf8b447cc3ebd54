//! [`KillPoints`]: where a stage panics, for tests; only with `testkit`.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use crate::package::Package;

/// The packages at which one stage panics. A handle: clones share their state, so that it outlives the
/// stage that panics.
#[derive(Debug, Clone, Default)]
pub struct KillPoints(Arc<Mutex<HashSet<String>>>);

impl KillPoints {
    /// Makes the stage panic when it next answers for the package of this name: its work is done, and the
    /// result is not reported yet. Applies once.
    pub fn set(&self, package: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(package.to_owned());
    }

    pub(super) fn strike(&self, package: &Package) {
        let name = package.name().as_str();
        let struck = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        assert!(!struck, "killed by the test as it answered for {name}");
    }
}

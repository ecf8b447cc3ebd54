//! [`KillPoints`]: where a stage is to die, for tests; only with `testkit`.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use crate::package::Package;

/// The packages at which one stage is to die. A handle: clones share everything, so that it outlives
/// the stage that dies.
#[derive(Debug, Clone, Default)]
pub struct KillPoints(Arc<Mutex<HashSet<String>>>);

impl KillPoints {
    /// Has the stage panic as it next answers for the package of this name: its work is done, and
    /// nobody has been told. Once.
    pub fn set(&self, package: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(package.to_owned());
    }

    pub(super) fn strike(&self, package: &Package) {
        let name = package.name().as_str();
        let struck = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        assert!(!struck, "killed by the test as it answered for {name}");
    }
}

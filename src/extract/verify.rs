//! Checks whether a ZIP that was touched still has the same contents: reads again everything that
//! decides this.
//!
//! In: a file, and its earlier plan. Out: whether the contents are the same, or what differs; or a
//! new plan, which the caller compares.
//!
//! A file's ctime changes with its contents, and also with its mode, its owner and its number of
//! names. Only root can set it. So an equal ctime proves that nothing was written, and a different
//! one proves nothing.
//!
//! Source: `docs/decisions/0041-contents-decide-whether-a-zip-changed.md`.

use std::fs::File;

use super::error::ExtractError;
use super::options::Options;
use super::plan::Plan;
use super::stamp::Stamp;
use super::write::{Scratch, Unpacking};
use crate::progress::Steps;

/// How many unpacked bytes are verified between two counts of progress.
const SLICE_BYTES: u64 = 64 << 20;
const SLICE_ENTRIES: usize = 4096;

/// Reads a whole archive, verifies all its data, and writes nothing. Counts progress with `steps`.
///
/// # Errors
/// See [`Plan::read`] and [`Unpacking::write`].
pub fn verify(zip: &File, options: &Options, steps: &Steps) -> Result<Plan, ExtractError> {
    let plan = Plan::read(zip, options)?;
    let slices = plan.slices(SLICE_BYTES, SLICE_ENTRIES);
    let own = zip.try_clone().map_err(|error| ExtractError::read(0, error))?;
    let checking = Unpacking::check_only(plan, own);
    let mut scratch = Scratch::default();
    for slice in slices {
        steps.add();
        checking.write(&slice, &mut scratch)?;
    }
    Ok(checking.into_plan())
}

impl Plan {
    /// Confirms that the file has not changed since this plan was read from it. Returns whether the
    /// file was touched, so that its contents had to be compared.
    pub(super) fn confirm(&self, zip: &File, steps: &Steps) -> Result<bool, ExtractError> {
        let now = Stamp::of(zip)?;
        if now == self.stamp {
            return Ok(false);
        }
        if let Some(what) = self.stamp.difference(&now) {
            return Err(ExtractError::Changed { what });
        }
        let again = match verify(zip, &self.options, steps) {
            Err(error @ ExtractError::Read { .. }) => return Err(error),
            again => again.ok(),
        };
        let is_same = again.is_some_and(|again| {
            again.entries == self.entries && again.records() == self.records()
        });
        // The comparison took time. A write during it shows here at the latest.
        match self.stamp.difference(&Stamp::of(zip)?) {
            Some(what) => Err(ExtractError::Changed { what }),
            None if is_same => Ok(true),
            None => Err(ExtractError::Changed { what: "its contents" }),
        }
    }
}

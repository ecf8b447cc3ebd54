//! [`Room`]: whether a file system has space for a plan.

use std::os::fd::AsFd;

use super::error::ExtractError;
use super::plan::Plan;

/// What a file system has left for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Bytes that an ordinary user may still write.
    pub bytes: u64,
    /// Files and folders that may still be made; none where the file system sets no number.
    pub inodes: Option<u64>,
}

impl Room {
    /// Asks the file system of `folder`.
    ///
    /// # Errors
    /// [`ExtractError::Write`] where it does not tell.
    pub fn of(folder: impl AsFd) -> Result<Self, ExtractError> {
        let seen = rustix::fs::fstatvfs(folder).map_err(|error| ExtractError::write("", error))?;
        let inodes = (seen.f_files > 0).then_some(seen.f_favail);
        Ok(Self { bytes: seen.f_bavail.saturating_mul(seen.f_frsize), inodes })
    }

    /// Whether `plan` fits, with `reserved_bytes` left over: for others, and to stay free.
    ///
    /// # Errors
    /// [`ExtractError::NoSpace`].
    pub fn fits(&self, plan: &Plan, reserved_bytes: u64) -> Result<(), ExtractError> {
        let needed = plan.total_bytes().saturating_add(reserved_bytes);
        if self.bytes < needed {
            return Err(ExtractError::NoSpace { unit: "bytes", needed, free: self.bytes });
        }
        match self.inodes {
            Some(free) if free < plan.inodes() => {
                Err(ExtractError::NoSpace { unit: "inodes", needed: plan.inodes(), free })
            }
            _ => Ok(()),
        }
    }
}

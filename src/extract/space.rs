//! [`Room`]: whether a file system has space for a plan.

use std::os::fd::AsFd;

use super::error::ExtractError;
use super::plan::Plan;

/// The free space of a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// The number of bytes that an ordinary user may still write.
    pub bytes: u64,
    /// The number of files and folders that may still be created. `None` if the file system has no
    /// such limit.
    pub inodes: Option<u64>,
}

impl Room {
    /// Reads the free space of the file system of `folder`.
    ///
    /// # Errors
    /// [`ExtractError::Write`] if the file system does not report it.
    pub fn of(folder: impl AsFd) -> Result<Self, ExtractError> {
        let seen = rustix::fs::fstatvfs(folder).map_err(|error| ExtractError::write("", error))?;
        let inodes = (seen.f_files > 0).then_some(seen.f_favail);
        Ok(Self { bytes: seen.f_bavail.saturating_mul(seen.f_frsize), inodes })
    }

    /// Checks that `plan` fits, with `reserved_bytes` left over for others and to stay free.
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

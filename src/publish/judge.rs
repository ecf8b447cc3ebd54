//! Checks the output of stages and commands before it is archived.
//!
//! In: the folder that they worked in. Out: nothing, or the first entry that does not belong in an
//! archive: a FIFO, socket or device, a file with a setuid or setgid bit, a link that leads out.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use rustix::fs::{FileType, RawMode, readlinkat};

use super::error::PublishError;
use crate::folder::{Closed, Folder, Found, WalkError};
use crate::workspace::WorkspaceError;

/// Set-user-ID and set-group-ID.
pub(super) const SET_ID: RawMode = 0o6000;

/// Refuses output with an entry that must not be archived.
pub(super) fn judge_output(top: &Folder) -> Result<(), PublishError> {
    // A folder whose permissions a stage or command removed is ours, and is archived as it is.
    let judged =
        top.walk(Closed::Skipped, |_| Ok(()), |found| judge(found).map_err(WalkError::Judged));
    let failed = |error| WorkspaceError::io("look through", top.path())(error).into();
    judged.map_err(|error| error.into_error(failed))
}

fn judge(found: &Found<'_>) -> Result<(), PublishError> {
    let failed = |error: io::Error| WorkspaceError::io("look at", found.path())(error);
    match found.kind {
        FileType::Directory => Ok(()),
        FileType::RegularFile => {
            let mode = found.stat().map_err(failed)?.st_mode;
            match mode & SET_ID {
                0 => Ok(()),
                _ => Err(PublishError::SetId { path: found.path() }),
            }
        }
        FileType::Symlink => {
            let to = readlinkat(found.parent, found.name, Vec::new());
            let to = to.map_err(|error| failed(error.into()))?;
            let to = Path::new(OsStr::from_bytes(to.as_bytes())).to_path_buf();
            match leads_out(&to, found.depth()) {
                false => Ok(()),
                true => Err(PublishError::LinkLeadsOut { path: found.path(), to }),
            }
        }
        _ => Err(PublishError::SpecialFile { path: found.path() }),
    }
}

/// Whether a link `depth` folders below the top could lead out of it, judged by its text only: whether its
/// target exists does not matter. `..` may only come first: after a name, which may itself be a link, the
/// result is unknown.
fn leads_out(to: &Path, depth: usize) -> bool {
    let (mut depth, mut named) = (depth, false);
    for part in to.components() {
        match part {
            Component::Normal(_) => named = true,
            Component::CurDir => {}
            Component::ParentDir if depth > 0 && !named => depth -= 1,
            _ => return true,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_leads_out_by_its_words() {
        for (to, depth, out) in [
            ("a", 0, false),
            ("./a/b", 0, false),
            ("../../a", 2, false),
            ("a/../b", 1, true),
            ("../a", 1, false),
            ("../a", 0, true),
            ("../../a", 1, true),
            ("a/../../b", 0, true),
            ("/etc/passwd", 3, true),
        ] {
            assert_eq!(leads_out(Path::new(to), depth), out, "{to} at {depth}");
        }
    }
}

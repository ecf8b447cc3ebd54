//! Whether a folder of an overlay lies in one of its lower layers, from where it cannot be moved.
//!
//! Only a rename gives a certain result, and only the claim does one. Without a rename, it can be checked
//! whether the upper layer has the folder, if that layer is accessible. Within a container it is not.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use crate::mountinfo::{LIST, Mount};

/// Whether `name` in `landing` is known to be in a lower layer alone.
pub(crate) fn is_in_lower_layer(landing: &Path, name: &OsStr) -> bool {
    let known = || {
        let landing = landing.canonicalize().ok()?;
        let mounts = fs::read(LIST).ok()?;
        let upper = upper_of(&mounts, &landing)?;
        let is_in_sight = upper.symlink_metadata().is_ok_and(|found| found.is_dir());
        Some(is_in_sight && upper.join(name).symlink_metadata().is_err())
    };
    known().unwrap_or(false)
}

/// Returns the path that a folder has in the upper layer of its overlay.
fn upper_of(mounts: &[u8], folder: &Path) -> Option<PathBuf> {
    // The last mount on the innermost path hides all others.
    let depth = |mount: &Mount<'_>| mount.path.components().count();
    let on_the_way = Mount::all(mounts).filter(|mount| folder.starts_with(&mount.path));
    let mount = on_the_way.max_by_key(depth).filter(|mount| mount.kind == b"overlay")?;
    let below = folder.strip_prefix(&mount.path).ok()?;
    let root = mount.root.strip_prefix("/").unwrap_or(&mount.root);
    Some(mount.path_of("upperdir")?.join(root).join(below))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &[u8] = b"\
        20 1 254:0 / / rw - ext4 /dev/vda rw\n\
        30 20 0:40 / /srv rw,relatime shared:1 - overlay o rw,lowerdir=/l,upperdir=/u\\040p,workdir=/w\n\
        31 30 0:41 / /srv/tmp rw - tmpfs t rw\n\
        32 20 0:42 /day /bound rw - overlay o rw,lowerdir=/l,upperdir=/v,workdir=/w\n";

    #[test]
    fn upper_layer_of_a_folder_is_that_of_the_innermost_mount() {
        let upper = |path: &str| upper_of(MOUNTS, Path::new(path));
        assert_eq!(upper("/srv/landing"), Some("/u p/landing".into()));
        assert_eq!(upper("/bound"), Some("/v/day".into()));
        assert_eq!(upper("/srv/tmp/landing"), None);
        assert_eq!(upper("/srvice"), None, "it begins alike");
    }
}

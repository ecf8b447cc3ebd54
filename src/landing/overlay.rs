//! Whether a folder of an overlay lies in one of its lower layers, from where nothing can be moved.
//!
//! Only a rename can tell for certain, and only the claim makes one. What can be known without is whether
//! the upper layer has the folder: if that layer is in sight, which it is not from within a container.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Whether `name` in `landing` is known to be in a lower layer alone.
pub(crate) fn is_in_lower_layer(landing: &Path, name: &OsStr) -> bool {
    let known = || {
        let landing = landing.canonicalize().ok()?;
        let mounts = fs::read("/proc/self/mountinfo").ok()?;
        let upper = upper_of(&mounts, &landing)?;
        let is_in_sight = upper.symlink_metadata().is_ok_and(|found| found.is_dir());
        Some(is_in_sight && upper.join(name).symlink_metadata().is_err())
    };
    known().unwrap_or(false)
}

/// The folder that a folder has in the upper layer of the overlay that it lies on.
///
/// A line is `ID PARENT DEVICE ROOT MOUNT OPTIONS … - TYPE SOURCE SUPER-OPTIONS` (proc(5)).
fn upper_of(mounts: &[u8], folder: &Path) -> Option<PathBuf> {
    let lines = mounts.split(|byte| *byte == b'\n').filter_map(|line| {
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
        let dash = fields.iter().position(|field| *field == b"-")?;
        let (root, at) = (PathBuf::from(unescaped(fields.get(3)?)), unescaped(fields.get(4)?));
        let below = folder.strip_prefix(PathBuf::from(at)).ok()?.to_owned();
        Some((below, root, *fields.get(dash + 1)?, *fields.get(dash + 3)?))
    });
    // The last of the innermost hides all others.
    let depth = |below: &PathBuf| std::cmp::Reverse(below.components().count());
    let (below, root, kind, options) = lines.max_by_key(|(below, ..)| depth(below))?;
    if kind != b"overlay" {
        return None;
    }
    let mut options = options.split(|byte| *byte == b',');
    let upper = options.find_map(|option| option.strip_prefix(b"upperdir="))?;
    let root = root.strip_prefix("/").unwrap_or(&root).to_owned();
    Some(PathBuf::from(unescaped(upper)).join(root).join(below))
}

/// Reads the octal escapes of a field: `\040` is a space.
fn unescaped(field: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let octal = after
            .get(..3)
            .filter(|_| *first == b'\\')
            .and_then(|digits| u8::from_str_radix(OsStr::from_bytes(digits).to_str()?, 8).ok());
        bytes.push(octal.unwrap_or(*first));
        rest = if octal.is_some() { &after[3..] } else { after };
    }
    OsString::from_vec(bytes)
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

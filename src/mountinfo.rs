//! Parses `/proc/self/mountinfo`: the mounts and their paths.
//!
//! Source: `proc_pid_mountinfo(5)`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// The path of the list of mounts.
pub(crate) const LIST: &str = "/proc/self/mountinfo";

/// A mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount<'a> {
    pub(crate) id: u64,
    pub(crate) parent: u64,
    /// The folder of the file system that is mounted here; absolute.
    pub(crate) root: PathBuf,
    /// The mount point; absolute.
    pub(crate) path: PathBuf,
    /// The options of this mount: `ro`, `nosuid`, …
    options: &'a [u8],
    /// The type of the file system: `ext4`, `overlay`, …
    pub(crate) kind: &'a [u8],
    /// The options of the file system.
    super_options: &'a [u8],
}

impl<'a> Mount<'a> {
    /// Parses one line: `ID PARENT DEVICE ROOT PATH OPTIONS … - TYPE SOURCE SUPER-OPTIONS`; `None` if it does
    /// not match.
    pub(crate) fn parse(line: &'a [u8]) -> Option<Self> {
        let fields: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
        let number = |at: usize| str::from_utf8(fields.get(at)?).ok()?.parse().ok();
        let dash = fields.iter().position(|field| *field == b"-")?;
        Some(Self {
            id: number(0)?,
            parent: number(1)?,
            root: unescape(fields.get(3)?),
            path: unescape(fields.get(4)?),
            options: fields.get(5)?,
            kind: fields.get(dash + 1)?,
            super_options: fields.get(dash + 3)?,
        })
    }

    /// Parses all lines of the file, in their order: of two mounts on one path, the later hides the other.
    pub(crate) fn all(list: &'a [u8]) -> impl Iterator<Item = Self> {
        list.split(|&byte| byte == b'\n').filter_map(Self::parse)
    }

    /// Whether the mount has an option, such as `ro`.
    pub(crate) fn has(&self, option: &str) -> bool {
        self.options.split(|&byte| byte == b',').any(|found| found == option.as_bytes())
    }

    /// Returns the path in an option of the file system, such as `upperdir`.
    pub(crate) fn path_of(&self, option: &str) -> Option<PathBuf> {
        let mut options = self.super_options.split(|&byte| byte == b',');
        let value = options.find_map(|found| {
            found.strip_prefix(option.as_bytes()).and_then(|rest| rest.strip_prefix(b"="))
        });
        value.map(unescape)
    }
}

/// Decodes the path in a field, where a space, a tab, a line feed and a backslash are octal numbers.
fn unescape(field: &[u8]) -> PathBuf {
    let mut path = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, after)) = rest.split_first() {
        let octal = rest.get(1..4).filter(|_| first == b'\\');
        let byte =
            octal.and_then(|digits| u8::from_str_radix(str::from_utf8(digits).ok()?, 8).ok());
        path.push(byte.unwrap_or(first));
        rest = if byte.is_some() { &rest[4..] } else { after };
    }
    OsString::from_vec(path).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_is_read_with_its_odd_paths_and_its_options() {
        let line =
            br"36 35 98:0 /a /mnt\0402\134x rw,nosuid master:1 - overlay o rw,upperdir=/u\040p";
        let mount = Mount::parse(line).unwrap();
        assert_eq!((mount.id, mount.parent, mount.kind), (36, 35, &b"overlay"[..]));
        assert_eq!((mount.root.to_str(), mount.path.to_str()), (Some("/a"), Some(r"/mnt 2\x")));
        assert!(mount.has("rw") && mount.has("nosuid") && !mount.has("ro") && !mount.has("suid"));
        assert_eq!(mount.path_of("upperdir"), Some("/u p".into()));
        assert_eq!((mount.path_of("upper"), mount.path_of("lowerdir")), (None, None));
        assert_eq!((Mount::parse(b""), Mount::parse(b"36 35")), (None, None));
    }
}

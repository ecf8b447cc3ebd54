//! Why a settled folder cannot be accepted, each rule by itself.

use std::ffi::OsString;
use std::fmt;

use rustix::io::Errno;

use super::Rules;
use super::seen::{Look, Reach, Zip};
use super::stat::Kind;
use crate::error::is_shortage;
use crate::id::NameError;

/// Why an entry of the landing cannot be accepted as a package until someone changes it.
///
/// The text says what is wrong and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unfit {
    /// A link, whatever it leads to.
    Symlink,
    /// A file where a folder is expected.
    NotAFolder {
        /// Whether it would be accepted with `accept = ["zip"]`.
        bare_zip: bool,
    },
    /// A FIFO, a socket or a device.
    Special,
    /// A folder, although only bare ZIPs are accepted.
    NotAZip,
    /// A name that a package cannot have.
    Name(NameError),
    /// This user may not read it.
    Unreadable(Errno),
    /// This user may not rename it out of the landing.
    Unwritable(Errno),
    /// Because of the landing's sticky bit, only its owner may rename it.
    Sticky,
    /// Something is mounted on it.
    MountPoint,
    /// No `NAME.zip` inside.
    NoZip,
    /// No `NAME.zip` inside, but another ZIP.
    ZipNamedOtherwise(OsString),
    /// No `NAME.zip` inside, but a folder that is a package itself.
    PackagesBelow(OsString),
    /// `NAME.zip` is a link, a folder or a FIFO.
    ZipNotAFile(Kind),
    /// This user may not read `NAME.zip`.
    ZipUnreadable(Errno),
}

impl Unfit {
    /// A stable code, in snake case, for events, metrics and `--json`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Symlink => "symlink",
            Self::NotAFolder { .. } => "not_a_folder",
            Self::Special => "special_file",
            Self::NotAZip => "not_a_zip",
            Self::Name(_) => "bad_name",
            Self::Unreadable(_) => "unreadable",
            Self::Unwritable(_) => "unwritable",
            Self::Sticky => "sticky_landing",
            Self::MountPoint => "mount_point",
            Self::NoZip => "no_zip",
            Self::PackagesBelow(_) => "packages_below",
            Self::ZipNamedOtherwise(_) => "zip_named_otherwise",
            Self::ZipNotAFile(_) => "zip_not_a_file",
            Self::ZipUnreadable(_) => "zip_unreadable",
        }
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Symlink => f.write_str(
                "it is a symbolic link, which is never followed: deliver the folder itself",
            ),
            Self::NotAFolder { bare_zip: true } => f.write_str(
                "it is a file: deliver it in a folder of its name, or accept bare ZIPs \
                 (accept = [\"folder\", \"zip\"])",
            ),
            Self::NotAFolder { bare_zip: false } => {
                f.write_str("it is a file where a folder is expected: move it away")
            }
            Self::Special => f.write_str("it is a FIFO, a socket or a device: remove it"),
            Self::NotAZip => f.write_str(
                "it is a folder where only bare ZIPs are accepted: add \"folder\" to accept",
            ),
            Self::Name(error) => write!(f, "{error}: rename it"),
            Self::Unreadable(error) | Self::ZipUnreadable(error)
                if is_shortage(&(*error).into()) =>
            {
                write!(
                    f,
                    "it cannot be looked at now ({error}): it is looked at again at each rescan"
                )
            }
            Self::Unreadable(error) => {
                write!(f, "it may not be looked into ({error}): give this user r-x on the folder")
            }
            Self::Unwritable(Errno::ROFS) => {
                f.write_str("its file system is read-only: mount it for writing")
            }
            Self::Unwritable(error) => write!(
                f,
                "it may not be renamed ({error}): give this user write permission on the folder \
                 itself (chmod g+w with a common group, or the sender's umask)"
            ),
            Self::Sticky => f.write_str(
                "the landing has the sticky bit and neither it nor the folder is this user's: \
                 chmod -t the landing, or give it to this user",
            ),
            Self::MountPoint => f.write_str(
                "it is a mount point, which cannot be moved: deliver into the landing's own file \
                 system, or make the mounted folder a landing",
            ),
            Self::PackagesBelow(folder) => write!(
                f,
                "it holds packages one folder down ({folder:?}): deliver those, or make this folder \
                 a landing"
            ),
            Self::NoZip => f.write_str("it holds no ZIP of its own name: put NAME.zip into it"),
            Self::ZipNamedOtherwise(other) => {
                write!(
                    f,
                    "its ZIP is named {other:?}: rename the ZIP, or the folder, so that they agree"
                )
            }
            Self::ZipNotAFile(kind) => {
                let what = match kind {
                    Kind::Symlink => "a symbolic link",
                    Kind::Folder => "a folder",
                    _ => "no regular file",
                };
                write!(f, "its ZIP is {what}: deliver the file itself")
            }
            Self::ZipUnreadable(error) => {
                write!(f, "its ZIP may not be read ({error}): give this user read permission on it")
            }
        }
    }
}

/// Checks that it is a real folder, or a bare ZIP if that is accepted.
pub(super) fn kind(look: &Look, rules: &Rules) -> Result<(), Unfit> {
    match look.kind {
        Kind::Folder if rules.folders => Ok(()),
        Kind::Folder => Err(Unfit::NotAZip),
        Kind::File if rules.takes_zip(&look.name) => Ok(()),
        Kind::File => Err(Unfit::NotAFolder { bare_zip: super::seen::has_zip_ending(&look.name) }),
        Kind::Symlink => Err(Unfit::Symlink),
        Kind::Special => Err(Unfit::Special),
        Kind::Unknown => reach(look),
    }
}

/// Checks that a package can have the name.
pub(super) fn name(look: &Look, rules: &Rules) -> Result<(), Unfit> {
    rules.package(look).map(|_| ()).map_err(Unfit::Name)
}

/// Checks that it is readable, and can be renamed out of the landing.
pub(super) fn reach(look: &Look) -> Result<(), Unfit> {
    match look.access {
        Reach::Free => Ok(()),
        Reach::Unreadable(error) => Err(Unfit::Unreadable(error)),
        Reach::Unwritable(error) => Err(Unfit::Unwritable(error)),
        Reach::Sticky => Err(Unfit::Sticky),
        Reach::MountPoint => Err(Unfit::MountPoint),
    }
}

/// Checks that `NAME.zip` is regular and readable.
pub(super) fn zip(look: &Look) -> Result<(), Unfit> {
    match &look.zip {
        Zip::File { .. } => Ok(()),
        Zip::Missing { other: None } => Err(Unfit::NoZip),
        Zip::Missing { other: Some(other) } => Err(Unfit::ZipNamedOtherwise(other.clone())),
        Zip::Below { folder } => Err(Unfit::PackagesBelow(folder.clone())),
        Zip::NotAFile(kind) => Err(Unfit::ZipNotAFile(*kind)),
        Zip::Unreadable(error) => Err(Unfit::ZipUnreadable(*error)),
    }
}

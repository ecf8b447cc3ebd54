//! Determines who else can write to a folder: by its owner, its mode, its ACL, and the folders above it.
//!
//! In: a path. Out: the first [`Writer`] that is neither this user nor root.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Group, Uid, User};
use rustix::fs::Mode;
use rustix::io::Errno;
use ulid::Ulid;

use super::error::StartError;
use crate::folder::Folder;
use crate::names::PROBE;

/// A user or group, other than this user and root, that can write to a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writer {
    /// A user: the folder's owner, or one that its ACL names.
    User(u32),
    /// A group that is not this user's alone.
    Group(u32),
    /// Every user.
    Everyone,
}

impl fmt::Display for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(uid) => match User::from_uid(Uid::from_raw(*uid)) {
                Ok(Some(user)) => write!(f, "user {}", user.name),
                _ => write!(f, "uid {uid}"),
            },
            Self::Group(gid) => match Group::from_gid(Gid::from_raw(*gid)) {
                Ok(Some(group)) => write!(f, "group {}", group.name),
                _ => write!(f, "gid {gid}"),
            },
            Self::Everyone => f.write_str("every user"),
        }
    }
}

/// Returns who besides this user and root can write to the folder at `path`; `None` if no one can.
///
/// # Errors
/// I/O errors from inspecting it.
pub(crate) fn other_writer(path: &Path) -> io::Result<Option<Writer>> {
    let found = fs::symlink_metadata(path)?;
    if !is_trusted(found.uid()) {
        return Ok(Some(Writer::User(found.uid())));
    }
    if let Some(acl) = acl_of(path)? {
        return Ok(acl_writer(&acl, found.gid()));
    }
    Ok(mode_writer(found.mode(), found.gid()))
}

/// Returns the lowest folder above `path` in which another user could exchange an entry that leads to
/// `path`, and that user; `None` if there is none. The path need not exist; links in it are resolved.
///
/// # Errors
/// I/O errors from inspecting the folders above.
pub(crate) fn writer_above(path: &Path) -> io::Result<Option<(PathBuf, Writer)>> {
    let path = resolve(path);
    let mut inner = path.as_path();
    for above in path.ancestors().skip(1) {
        let found = match fs::symlink_metadata(above) {
            Ok(found) => found,
            // We will create it ourselves.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                inner = above;
                continue;
            }
            Err(error) => return Err(error),
        };
        if let Some(writer) = other_writer(above)? {
            // In a sticky folder, only its owner can exchange a name. A missing name can be created by anyone
            // who can write to the folder.
            let is_kept = found.mode() & 0o1000 != 0
                && is_trusted(found.uid())
                && fs::symlink_metadata(inner).is_ok_and(|inner| is_trusted(inner.uid()));
            if !is_kept {
                return Ok(Some((above.to_path_buf(), writer)));
            }
        }
        inner = above;
    }
    Ok(None)
}

/// Checks that a folder belongs to this user, and that its mode lets no other user write to it.
pub(super) fn ours_alone(what: &'static str, folder: &Folder) -> Result<(), StartError> {
    owned_by(what, folder, rustix::process::geteuid().as_raw())
}

/// Checks that a folder belongs to `user`, and that its mode lets no other user write to it.
pub(super) fn owned_by(what: &'static str, folder: &Folder, user: u32) -> Result<(), StartError> {
    let path = folder.path().to_path_buf();
    let found = folder.seen().map_err(StartError::io("look at", &path))?;
    if found.st_uid != user {
        return Err(StartError::Foreign { what, path, owner: found.st_uid, user });
    }
    if found.st_mode & 0o022 != 0 {
        return Err(shared(what, folder, found.st_mode & 0o7777));
    }
    Ok(())
}

/// Returns the error for a folder that must be ours alone and that others can write to.
pub(super) fn shared(what: &'static str, folder: &Folder, mode: u32) -> StartError {
    let path = folder.path().to_path_buf();
    match has_fixed_modes(folder) {
        true => StartError::FixedModes { what, path, mode },
        false => StartError::Shared { what, path, mode },
    }
}

/// Whether the file system of `folder` ignores chmod: tried with a folder of our own.
pub(super) fn has_fixed_modes(folder: &Folder) -> bool {
    let name = format!("{PROBE}{}", Ulid::generate());
    let tried = || {
        folder.make(&name)?;
        let probe = folder.folder(&name)?;
        // Some file systems return an error, some report success and do nothing.
        rustix::fs::fchmod(&probe, Mode::RWXU).ok();
        probe.seen()
    };
    let found = tried();
    folder.remove_empty(&name).ok();
    found.is_ok_and(|found| found.st_mode & 0o022 != 0)
}

/// Resolves links in the existing part of a path; the rest stays as written.
pub(super) fn resolve(path: &Path) -> PathBuf {
    for known in path.ancestors() {
        if let Ok(real) = known.canonicalize() {
            let rest = path.strip_prefix(known).unwrap_or(Path::new(""));
            // `join` with nothing would add a slash.
            return real.join(rest).components().collect();
        }
    }
    path.to_path_buf()
}

/// Whether files of a user can be trusted as if they were ours.
fn is_trusted(uid: u32) -> bool {
    uid == 0 || uid == rustix::process::geteuid().as_raw() || is_unmapped(uid)
}

/// Whether no process in this user namespace can run as that user: in an unprivileged container, this is
/// the owner of files that come from outside of it.
fn is_unmapped(uid: u32) -> bool {
    let overflow = fs::read_to_string("/proc/sys/kernel/overflowuid");
    if overflow.ok().and_then(|text| text.trim().parse().ok()) != Some(uid) {
        return false;
    }
    let Ok(map) = fs::read_to_string("/proc/self/uid_map") else { return false };
    !map.lines().any(|line| {
        let mut numbers = line.split_whitespace().filter_map(|part| part.parse::<u64>().ok());
        let (first, _, count) = (numbers.next(), numbers.next(), numbers.next());
        let (first, count) = (first.unwrap_or(0), count.unwrap_or(0));
        (first..first.saturating_add(count)).contains(&uid.into())
    })
}

fn mode_writer(mode: u32, gid: u32) -> Option<Writer> {
    if mode & 0o002 != 0 {
        return Some(Writer::Everyone);
    }
    (mode & 0o020 != 0 && !is_private(gid)).then_some(Writer::Group(gid))
}

/// Whether a group is private to this user, as many systems create one for each user: it has the user's
/// name and no other members. If neither has a name, as in a container, it has the user's number.
fn is_private(gid: u32) -> bool {
    let uid = Uid::effective();
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    match (User::from_uid(uid), Group::from_gid(Gid::from_raw(gid))) {
        (Ok(Some(user)), Ok(Some(group))) => {
            is_private_of(&user.name, &group.name, &group.mem, gid, &passwd)
        }
        (Ok(None), Ok(None)) => uid.as_raw() == gid && !is_primary_of_another("", gid, &passwd),
        _ => false,
    }
}

fn is_private_of(user: &str, group: &str, members: &[String], gid: u32, passwd: &str) -> bool {
    let is_alone = members.iter().all(|member| member == user);
    user == group && is_alone && !is_primary_of_another(user, gid, passwd)
}

fn is_primary_of_another(user: &str, gid: u32, passwd: &str) -> bool {
    passwd.lines().any(|line| {
        let mut fields = line.split(':');
        let (name, own) = (fields.next(), fields.nth(2));
        name != Some(user) && own.and_then(|own| own.parse().ok()) == Some(gid)
    })
}

/// One entry of a POSIX ACL, as `linux/posix_acl_xattr.h` lays it out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct AclEntry {
    tag: u16,
    perm: u16,
    id: u32,
}

const ACL_USER: u16 = 0x02;
const ACL_GROUP_OBJ: u16 = 0x04;
const ACL_GROUP: u16 = 0x08;
const ACL_MASK: u16 = 0x10;
const ACL_OTHER: u16 = 0x20;
const ACL_WRITE: u16 = 0x02;

/// The access ACL of a folder; `None` if it has none.
fn acl_of(path: &Path) -> io::Result<Option<Vec<AclEntry>>> {
    let name = OsStr::new("system.posix_acl_access");
    let mut bytes = vec![0; 64 * 1024];
    match rustix::fs::lgetxattr(path, name, &mut bytes[..]) {
        Ok(len) => {
            bytes.truncate(len);
            Ok(parse_acl(&bytes))
        }
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::ACCESS | Errno::PERM) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn parse_acl(bytes: &[u8]) -> Option<Vec<AclEntry>> {
    let entries = bytes.strip_prefix(&2u32.to_le_bytes())?;
    let entries = entries.chunks_exact(8).map(|entry| AclEntry {
        tag: u16::from_le_bytes([entry[0], entry[1]]),
        perm: u16::from_le_bytes([entry[2], entry[3]]),
        id: u32::from_le_bytes([entry[4], entry[5], entry[6], entry[7]]),
    });
    Some(entries.collect())
}

fn acl_writer(acl: &[AclEntry], gid: u32) -> Option<Writer> {
    // An ACL without a mask restricts nothing.
    let mask = acl.iter().find(|entry| entry.tag == ACL_MASK).map_or(ACL_WRITE, |mask| mask.perm);
    acl.iter().find_map(|entry| match entry.tag {
        ACL_OTHER if entry.perm & ACL_WRITE != 0 => Some(Writer::Everyone),
        ACL_USER if entry.perm & mask & ACL_WRITE != 0 && !is_trusted(entry.id) => {
            Some(Writer::User(entry.id))
        }
        ACL_GROUP_OBJ if entry.perm & mask & ACL_WRITE != 0 && !is_private(gid) => {
            Some(Writer::Group(gid))
        }
        ACL_GROUP if entry.perm & mask & ACL_WRITE != 0 && !is_private(entry.id) => {
            Some(Writer::Group(entry.id))
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn acl(entries: &[(u16, u16, u32)]) -> Vec<AclEntry> {
        let mut bytes = 2u32.to_le_bytes().to_vec();
        for (tag, perm, id) in entries {
            bytes.extend(tag.to_le_bytes());
            bytes.extend(perm.to_le_bytes());
            bytes.extend(id.to_le_bytes());
        }
        parse_acl(&bytes).unwrap()
    }

    #[test]
    fn acl_that_lets_another_write_tells_who() {
        const OWNER: (u16, u16, u32) = (0x01, 7, u32::MAX);
        const OTHER: (u16, u16, u32) = (ACL_OTHER, 5, u32::MAX);
        // A group without members: the real groups of this machine do not affect the test.
        const GID: u32 = 4_000_000_001;
        for (what, entries, writer) in [
            ("a user", vec![(ACL_USER, 7, 1001), (ACL_MASK, 7, 0)], Some(Writer::User(1001))),
            ("a user who is masked", vec![(ACL_USER, 7, 1001), (ACL_MASK, 5, 0)], None),
            ("a user who reads", vec![(ACL_USER, 5, 1001), (ACL_MASK, 7, 0)], None),
            ("root", vec![(ACL_USER, 7, 0), (ACL_MASK, 7, 0)], None),
            ("the folder's group", vec![(ACL_GROUP_OBJ, 7, 0)], Some(Writer::Group(GID))),
            ("another group", vec![(ACL_GROUP, 6, GID + 1)], Some(Writer::Group(GID + 1))),
            ("everyone", vec![(ACL_OTHER, 2, 0)], Some(Writer::Everyone)),
        ] {
            let mut all = vec![OWNER];
            all.extend(entries);
            if writer != Some(Writer::Everyone) {
                all.push(OTHER);
            }
            assert_eq!(acl_writer(&acl(&all), GID), writer, "{what}");
        }
        assert_eq!(parse_acl(&[3, 0, 0, 0]), None, "a version that is not known");
    }

    #[test]
    fn group_is_private_only_with_its_users_name_and_nobody_else_in_it() {
        let passwd = "root:x:0:0::/root:/bin/sh\nann:x:1001:1001::/home/ann:/bin/sh\n";
        let shared = format!("{passwd}bob:x:1002:1001::/home/bob:/bin/sh\n");
        let ann = ["ann".to_owned()];
        let both = ["ann".to_owned(), "bob".to_owned()];
        assert!(is_private_of("ann", "ann", &[], 1001, passwd));
        assert!(is_private_of("ann", "ann", &ann, 1001, passwd));
        assert!(!is_private_of("ann", "ann", &both, 1001, passwd), "bob is a member");
        assert!(!is_private_of("ann", "ann", &[], 1001, &shared), "bob has it as his own");
        assert!(!is_private_of("ann", "users", &[], 1001, passwd), "not named after the user");
    }

    #[test]
    fn folder_that_others_can_write_to_is_found_on_the_way_down_to_a_path() {
        let top = tempfile::tempdir().unwrap();
        let inner = top.path().join("a/b");
        fs::create_dir_all(&inner).unwrap();
        let mode = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        let (top, a) = (fs::canonicalize(top.path()).unwrap(), top.path().join("a"));
        mode(&a, 0o755);
        assert_eq!(writer_above(&inner).unwrap(), None);
        assert_eq!(writer_above(&inner.join("not/there")).unwrap(), None);
        mode(&a, 0o777);
        let found = Some((top.join("a"), Writer::Everyone));
        assert_eq!(writer_above(&inner).unwrap(), found);
        assert_eq!(writer_above(&inner.join("not/there")).unwrap(), found);
        mode(&a, 0o1777);
        assert_eq!(writer_above(&inner).unwrap(), None, "it is sticky, and what is in it is ours");
        let missing = writer_above(&a.join("missing")).unwrap();
        assert_eq!(missing, found, "another could make it first");
        assert_eq!(other_writer(&a).unwrap(), Some(Writer::Everyone));
        mode(&inner, 0o700);
        assert_eq!(other_writer(&inner).unwrap(), None);
    }
}

//! [`Outside`]: files of others that nothing may touch; and what an archive may not hold.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use super::sender::BYSTANDER;
use crate::common::{Node, tree};

/// What would show that a file was touched.
#[derive(Debug, PartialEq, Eq)]
struct Facts {
    mode: u32,
    owner: (u32, u32),
    inode: u64,
    modified: (i64, i64),
    node: Node,
}

/// A folder and everything in it, at one moment, by relative path.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Snapshot(BTreeMap<PathBuf, Facts>);

impl Snapshot {
    /// Of what is at `top` itself, too; a link there is not followed.
    pub(crate) fn of(top: &Path) -> Self {
        let facts = |path: &Path, node| {
            let found = fs::symlink_metadata(path).unwrap();
            Facts {
                mode: found.mode(),
                owner: (found.uid(), found.gid()),
                inode: found.ino(),
                modified: (found.mtime(), found.mtime_nsec()),
                node,
            }
        };
        let at_top = match fs::symlink_metadata(top).unwrap().file_type() {
            kind if kind.is_symlink() => Node::Link(fs::read_link(top).unwrap()),
            kind if kind.is_dir() => Node::Folder,
            _ => Node::Special,
        };
        let mut all = BTreeMap::new();
        if at_top == Node::Folder {
            for (path, node) in tree(top) {
                let found = facts(&top.join(&path), node);
                all.insert(path, found);
            }
        }
        all.insert(PathBuf::new(), facts(top, at_top));
        Self(all)
    }

    /// Where another moment differs.
    pub(crate) fn differences(&self, now: &Self) -> Vec<String> {
        let paths = self.0.keys().chain(now.0.keys().filter(|path| !self.0.contains_key(*path)));
        paths
            .filter(|path| self.0.get(*path) != now.0.get(*path))
            .map(|path| format!("{path:?} was {:?}, is {:?}", self.0.get(path), now.0.get(path)))
            .collect()
    }
}

/// A folder of files that belong to root and to [`BYSTANDER`], with a memory of how it was.
pub(crate) struct Outside {
    top: PathBuf,
    before: Snapshot,
}

impl Outside {
    pub(crate) fn make(top: &Path) -> Self {
        let file = |path: &str, mode, owner| {
            let path = top.join(path);
            fs::write(&path, format!("what {path:?} holds\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            chown(&path, Some(owner), Some(owner)).unwrap();
        };
        for (folder, mode) in [("", 0o755), ("folder", 0o755), ("closed", 0o700)] {
            let folder = top.join(folder);
            fs::create_dir(&folder).unwrap();
            fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).unwrap();
        }
        file("secret", 0o600, 0);
        file("readable", 0o644, 0);
        file("writable", 0o666, 0);
        file("open", 0o666, BYSTANDER);
        file("theirs", 0o600, BYSTANDER);
        file("folder/file", 0o644, BYSTANDER);
        file("closed/file", 0o600, 0);
        Self { top: top.to_owned(), before: Snapshot::of(top) }
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.top.join(below)
    }

    /// What was touched.
    pub(crate) fn touched(&self) -> Vec<String> {
        self.before.differences(&Snapshot::of(&self.top))
    }
}

/// What an archive holds that no delivery of a stranger may bring into it.
///
/// With an owner everything must belong to that user. Without one the daemon may not change owners: a
/// folder that was delivered beside the ZIP keeps its owner and mode then (docs/semantics.md).
pub(crate) fn unfit(archive: &Path, owner: Option<u32>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (path, node) in tree(archive) {
        let Ok(found) = fs::symlink_metadata(archive.join(&path)) else { continue };
        let mode = found.mode() & 0o7777;
        if matches!(node, Node::Link(_) | Node::Special) {
            wrong.push(format!("{path:?} is a {node:?}"));
            continue;
        }
        let stays_the_senders =
            owner.is_none() && node == Node::Folder && path.components().count() > 1;
        if stays_the_senders {
            continue;
        }
        if mode & 0o6000 != 0 {
            wrong.push(format!("{path:?} has mode {mode:04o}"));
        }
        if node == Node::Folder && mode & 0o022 != 0 {
            wrong.push(format!("folder {path:?} can be written to by others: mode {mode:04o}"));
        }
        if owner.is_some_and(|owner| owner != found.uid()) {
            wrong.push(format!("{path:?} belongs to uid {}", found.uid()));
        }
    }
    wrong
}

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

fn here() -> (tempfile::TempDir, Folder) {
    let top = tempfile::tempdir().unwrap();
    let folder = Folder::open(top.path()).unwrap();
    (top, folder)
}

fn errno(error: &io::Error) -> Option<Errno> {
    Errno::from_io_error(error)
}

/// Simulates a file system without `RENAME_NOREPLACE`, such as NFS.
fn flagless(folder: &Folder, from: &str, to: &str) -> io::Result<()> {
    let rename = |flags: RenameFlags| match flags.is_empty() {
        true => renameat_with(folder, from, folder, to, flags),
        false => Err(Errno::INVAL),
    };
    rename_by(rename, (folder, from.as_ref()), (folder, to.as_ref()), None)
}

#[test]
fn rename_without_flags_still_replaces_nothing() {
    let (top, folder) = here();
    let (from, to) = (top.path().join("a"), top.path().join("b"));
    fs::write(&from, "new").unwrap();
    fs::write(&to, "old").unwrap();
    let error = flagless(&folder, "a", "b").unwrap_err();
    assert_eq!(errno(&error), Some(Errno::EXIST));
    assert_eq!(fs::read(&to).unwrap(), b"old");
    fs::remove_file(&to).unwrap();
    flagless(&folder, "a", "b").unwrap();
    assert_eq!(fs::read(&to).unwrap(), b"new");
}

#[test]
fn rename_without_flags_onto_a_folder_that_came_in_between_says_that_the_name_is_taken() {
    let (top, folder) = here();
    fs::create_dir(top.path().join("a")).unwrap();
    let rename = |flags: RenameFlags| {
        if !flags.is_empty() {
            return Err(Errno::INVAL);
        }
        fs::create_dir_all(top.path().join("b/full")).unwrap();
        renameat_with(&folder, "a", &folder, "b", flags)
    };
    let error = rename_by(rename, (&folder, "a".as_ref()), (&folder, "b".as_ref()), None);
    assert_eq!(errno(&error.unwrap_err()), Some(Errno::EXIST));
    assert!(top.path().join("a").exists() && top.path().join("b/full").exists());
}

#[test]
fn rename_reported_as_failed_that_was_done_is_told_by_both_names() {
    let (top, folder) = here();
    let names = ((&folder, OsStr::new("a")), (&folder, OsStr::new("b")));
    let retried = |flags| {
        renameat_with(&folder, "a", &folder, "b", flags)?;
        Err(Errno::NOENT)
    };
    fs::write(top.path().join("a"), "").unwrap();
    let inode = folder.stat("a").unwrap().unwrap().st_ino;
    rename_by(retried, names.0, names.1, Some(inode)).unwrap();
    // The rename did not succeed if another entry has the target's name, nor if both are missing.
    rename_by(|_| Err(Errno::NOENT), names.0, names.1, Some(inode + 1)).unwrap_err();
    fs::remove_file(top.path().join("b")).unwrap();
    rename_by(|_| Err(Errno::NOENT), names.0, names.1, Some(inode)).unwrap_err();
}

#[test]
fn folder_exchanged_for_a_link_is_still_the_one_that_was_opened() {
    let top = tempfile::tempdir().unwrap();
    let (own, other) = (top.path().join("own"), top.path().join("other"));
    fs::create_dir(&own).unwrap();
    fs::create_dir(&other).unwrap();
    let folder = Folder::open(&own).unwrap();
    fs::rename(&own, top.path().join("moved")).unwrap();
    symlink(&other, &own).unwrap();
    folder.make("job").unwrap();
    folder.write("record", b"text").unwrap();
    assert_eq!(fs::read_dir(&other).unwrap().count(), 0, "the link was followed");
    assert!(top.path().join("moved/job").is_dir() && top.path().join("moved/record").is_file());
    let error = Folder::open(&own).unwrap_err();
    assert!(matches!(errno(&error), Some(Errno::LOOP | Errno::NOTDIR)), "{error}");
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let (_top, folder) = here();
    for name in ["", ".", "..", "a/b", "/etc", "../x"] {
        assert_eq!(errno(&folder.make(name).unwrap_err()), Some(Errno::INVAL), "{name:?}");
        assert_eq!(errno(&folder.stat(name).unwrap_err()), Some(Errno::INVAL), "{name:?}");
        assert_eq!(errno(&folder.remove_tree(name).unwrap_err()), Some(Errno::INVAL), "{name:?}");
        let renamed = folder.rename("a", &folder, name, None);
        assert_eq!(errno(&renamed.unwrap_err()), Some(Errno::INVAL), "{name:?}");
    }
}

#[test]
fn record_that_is_a_link_or_a_fifo_is_neither_followed_nor_waited_for() {
    let (top, folder) = here();
    let secret = top.path().join("secret");
    fs::write(&secret, "secret").unwrap();
    symlink(&secret, top.path().join("link")).unwrap();
    rustix::fs::mknodat(&folder, "fifo", FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    assert_eq!(errno(&folder.read("link").unwrap_err()), Some(Errno::LOOP));
    assert_eq!(errno(&folder.read("fifo").unwrap_err()), Some(Errno::INVAL));
    assert_eq!(folder.read("nothing").unwrap(), None);
    for name in ["link", "fifo"] {
        folder.write(name, b"record").unwrap();
        assert_eq!(folder.read(name).unwrap().as_deref(), Some(&b"record"[..]));
    }
    assert_eq!(fs::read(&secret).unwrap(), b"secret");
}

#[test]
fn tree_is_removed_whatever_its_depth_and_nothing_that_it_links_to() {
    let (top, folder) = here();
    let kept = top.path().join("kept");
    fs::create_dir(&kept).unwrap();
    fs::write(kept.join("file"), "").unwrap();
    folder.make("tree").unwrap();
    // Deeper than the limit of open handles, and than the longest path.
    let mut at = folder.folder("tree").unwrap();
    for depth in 0..3000 {
        at.make("d").unwrap();
        if depth % 500 == 0 {
            symlink(&kept, format!("/proc/self/fd/{}/link", fd(&at))).unwrap();
            at.make("closed").unwrap();
            at.folder("closed").unwrap().make("inner").unwrap();
            let closed = format!("/proc/self/fd/{}/closed", fd(&at));
            fs::set_permissions(closed, fs::Permissions::from_mode(0o000)).unwrap();
        }
        at = at.folder("d").unwrap();
    }
    for name in 0..50 {
        at.make(name.to_string()).unwrap();
        at.folder(name.to_string()).unwrap().write("file", b"x").unwrap();
    }
    drop(at);
    folder.remove_tree("tree").unwrap();
    assert!(!folder.has("tree").unwrap());
    assert!(kept.join("file").exists(), "a link was followed");
    folder.remove_tree("tree").unwrap();
}

#[test]
fn folder_is_walked_through_whole_each_time() {
    let (top, folder) = here();
    fs::create_dir_all(top.path().join("a/b")).unwrap();
    for name in ["x", "a/y", "a/b/z"] {
        fs::write(top.path().join(name), "").unwrap();
    }
    let walked = || {
        let mut names = Vec::new();
        let each = |found: &Found<'_>| {
            names.push(found.name.to_owned());
            Ok::<_, io::Error>(())
        };
        folder.walk(Closed::Refused, |_| Ok(()), each).unwrap();
        names.sort();
        names
    };
    let first = walked();
    assert_eq!(first, ["a", "b", "x", "y", "z"]);
    fs::write(top.path().join("new"), "").unwrap();
    assert_eq!(
        walked(),
        ["a", "b", "new", "x", "y", "z"],
        "the handle was at the end of the listing"
    );
}

fn fd(folder: &Folder) -> i32 {
    use std::os::fd::AsRawFd;

    folder.as_fd().as_raw_fd()
}

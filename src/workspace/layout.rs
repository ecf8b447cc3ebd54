//! Whether a source's folders can work together: checked once, at the start, each with its own
//! clear error.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Access, CWD, OFlags, access, renameat};
use rustix::io::Errno;

use super::Staging;
use super::error::StartError;
use super::paths::{errno, is_hidden, remove_file};
use crate::config::Source;

const FORMAT: &str = "1";

/// Checks how the folders lie to each other, makes those that are missing, and checks that they
/// can be used. Returns the source's part of the work area.
pub(super) fn prepare(source: &Source) -> Result<PathBuf, StartError> {
    apart(source)?;
    for (what, path) in [
        ("landing", &source.landing),
        ("archive", &source.archive),
        ("quarantine", &source.quarantine),
    ] {
        make(what, path)?;
        usable(what, path)?;
    }
    // Once more, now that links and mounts can be seen through.
    apart(source)?;
    one_each(source)?;
    prepare_work(source)
}

/// Makes the work area where it is missing, and checks that it is ours alone.
pub(super) fn prepare_work(source: &Source) -> Result<PathBuf, StartError> {
    let (what, work) = ("work area", &source.work);
    if let Some(parent) = work.parent() {
        let made = DirBuilder::new().recursive(true).mode(0o755).create(parent);
        made.map_err(|error| unmade(what, parent, error))?;
    }
    let root = work.join(&source.name);
    let user = rustix::process::geteuid().as_raw();
    for path in [work, &root] {
        match DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(unmade(what, path, error));
            }
            _ => ours_alone(what, path, user)?,
        }
    }
    format(work)?;
    Ok(root)
}

fn make(what: &'static str, path: &Path) -> Result<(), StartError> {
    fs::create_dir_all(path).map_err(|error| unmade(what, path, error))
}

fn unmade(what: &'static str, path: &Path, source: io::Error) -> StartError {
    match source.kind() {
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
            StartError::NotAFolder { what, path: path.into() }
        }
        _ => StartError::Make { what, path: path.into(), source },
    }
}

fn usable(what: &'static str, path: &Path) -> Result<(), StartError> {
    access(path, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK).map_err(|error| {
        let (path, source) = (path.into(), error.into());
        match error {
            Errno::ACCESS | Errno::PERM | Errno::ROFS => StartError::Denied { what, path, source },
            _ => StartError::Io { action: "look at", path, source },
        }
    })
}

/// Whether a folder belongs to `user`, and nobody else can write to it.
pub(super) fn ours_alone(what: &'static str, path: &Path, user: u32) -> Result<(), StartError> {
    let found = fs::symlink_metadata(path).map_err(|source| StartError::Io {
        action: "look at",
        path: path.into(),
        source,
    })?;
    if !found.is_dir() {
        return Err(StartError::NotAFolder { what, path: path.into() });
    }
    if found.uid() != user {
        return Err(StartError::Foreign { what, path: path.into(), owner: found.uid(), user });
    }
    if found.mode() & 0o022 != 0 {
        return Err(StartError::Shared { what, path: path.into(), mode: found.mode() & 0o7777 });
    }
    Ok(())
}

fn format(work: &Path) -> Result<(), StartError> {
    let path = work.join("FORMAT");
    let failed = |action| {
        let path = path.clone();
        move |source| StartError::Io { action, path, source }
    };
    match fs::read_to_string(&path) {
        Ok(found) if found.trim() == FORMAT => Ok(()),
        // A crash can leave it empty: it is written without waiting for the disk.
        Ok(found) if !found.is_empty() => {
            let found = found.trim().chars().take(40).collect();
            Err(StartError::UnknownFormat { path, found, known: FORMAT })
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("read")(error)),
        _ => fs::write(&path, format!("{FORMAT}\n")).map_err(failed("write")),
    }
}

/// No folder is another, or lies in another where it would be seen as a package or moved with it.
fn apart(source: &Source) -> Result<(), StartError> {
    let named = |what, path: &Path| (what, path.to_path_buf(), resolve(path));
    let landing = named("landing", &source.landing);
    let archive = named("archive", &source.archive);
    let quarantine = named("quarantine", &source.quarantine);
    let work = named("work area", &source.work);
    let all = [&landing, &archive, &quarantine, &work];
    for (at, inner) in all.iter().enumerate() {
        for (other, outer) in all.iter().enumerate().filter(|(other, _)| *other != at) {
            let Ok(below) = inner.2.strip_prefix(&outer.2) else { continue };
            let Some(first) = below.components().next() else {
                let (one, other) = (all[at.min(other)].0, all[at.max(other)].0);
                return Err(StartError::SameFolder { one, other, path: inner.1.clone() });
            };
            let hidden = matches!(first, Component::Normal(name) if is_hidden(name));
            let advice = match (inner.0, outer.0) {
                ("landing", _) => "deliver somewhere else",
                (_, "work area") => "the work area is longshore's own",
                _ if hidden => continue,
                (_, "landing") => "move it out, or into a folder with a leading dot",
                _ => "put it beside",
            };
            return Err(StartError::Inside {
                inner: inner.0,
                inner_path: inner.1.clone(),
                outer: outer.0,
                outer_path: outer.1.clone(),
                advice,
            });
        }
    }
    Ok(())
}

/// The path without links, as far as it exists; the rest as written.
pub(super) fn resolve(path: &Path) -> PathBuf {
    for known in path.ancestors() {
        if let Ok(real) = known.canonicalize() {
            let rest = path.strip_prefix(known).unwrap_or(Path::new(""));
            // `join` with nothing would add a slash, which `strip_prefix` ignores anyway.
            return real.join(rest);
        }
    }
    path.to_path_buf()
}

/// Two mounts of one folder have two paths.
fn one_each(source: &Source) -> Result<(), StartError> {
    let mut seen: Vec<(&'static str, (u64, u64))> = Vec::new();
    for (what, path) in [
        ("landing", &source.landing),
        ("archive", &source.archive),
        ("quarantine", &source.quarantine),
    ] {
        let id = super::lock::identity(path).map_err(|source| StartError::Io {
            action: "look at",
            path: path.into(),
            source,
        })?;
        if let Some((one, _)) = seen.iter().find(|(_, other)| *other == id) {
            return Err(StartError::SameFolder { one, other: what, path: path.into() });
        }
        seen.push((what, id));
    }
    Ok(())
}

/// The staging folders of a source's targets; none for those that a rename reaches.
#[derive(Debug, Default)]
pub(super) struct Elsewhere {
    pub(super) archive: Option<Staging>,
    pub(super) quarantine: Option<Staging>,
}

/// Sends a file the way of a package, landing → work area → archive and quarantine: only a rename
/// tells whether a rename will do. Two mounts of one file system have one device number.
///
/// The landing and the work area must be locked.
pub(super) fn probe(source: &Source, root: &Path) -> Result<Elsewhere, StartError> {
    let name = format!("{}{}", super::staging::PROBE, std::process::id());
    let probe = root.join(".probe");
    let from = source.landing.join(&name);
    let failed = |what, path: &Path, source: io::Error| match errno(&source) {
        Some(Errno::ACCESS | Errno::PERM | Errno::ROFS) => {
            StartError::Denied { what, path: path.into(), source }
        }
        _ => StartError::Io { action: "try a rename with", path: path.into(), source },
    };
    create(&from).map_err(|error| failed("landing", &source.landing, error))?;
    if let Err(error) = renameat(CWD, &from, CWD, &probe) {
        remove_file(&from).ok();
        return Err(match error {
            Errno::XDEV => StartError::WorkElsewhere {
                landing: source.landing.clone(),
                work: source.work.clone(),
            },
            _ => failed("work area", &source.work, error.into()),
        });
    }
    let reach = |what, path: &Path| {
        let there = path.join(&name);
        let moved = renameat(CWD, &probe, CWD, &there).and_then(|()| {
            // Back by the same way, for the next one.
            renameat(CWD, &there, CWD, &probe)
        });
        match moved {
            Ok(()) => Ok(None),
            Err(Errno::XDEV) => Staging::open(what, path, OsStr::new(&name)).map(Some),
            Err(error) => Err(failed(what, path, error.into())),
        }
    };
    let found = reach("archive", &source.archive).and_then(|archive| {
        let quarantine = reach("quarantine", &source.quarantine)?;
        Ok(Elsewhere { archive, quarantine })
    });
    remove_file(&probe).map_err(|error| failed("work area", &source.work, error))?;
    found
}

fn create(path: &Path) -> io::Result<File> {
    #[expect(clippy::cast_possible_wrap, reason = "flags are bits in an int of that size")]
    let flags = OFlags::NOFOLLOW.bits() as i32;
    File::options().write(true).create(true).mode(0o600).custom_flags(flags).open(path)
}

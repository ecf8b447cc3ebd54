//! Where a source's work area and a configuration's state are, if nobody has said so.
//!
//! In: a landing, and who can write to it. Out: a path for each.
//!
//! ```text
//! landing/.longshore/           only this user (and root) can write to the landing and exchange it
//! $STATE_DIRECTORY/KEY/         else the first of these that nobody else can write to or replace;
//! /var/lib/longshore/KEY/       for a work area also: on the landing's file system
//! PARENT/.longshore-NAME/
//! ~/.local/state/longshore/KEY/
//! ```
//!
//! **Invariant:** a sender that can write to the landing can reach neither.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::{env, io};

use rustix::fs::{Access, Mode, access};

use super::error::StartError;
use super::probe;
use super::trust::{Writer, has_fixed_modes, other_writer, resolve, writer_above};
use crate::config::{Config, Source};
use crate::folder::Folder;
use crate::names::{LEDGER, OWN, WORK};

/// Bytes of a landing's path in the name of its folder among those of other landings.
const KEY_BYTES: usize = 200;

/// Who else can write to a landing, or exchange it for another folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Exposure {
    pub(crate) writer: Writer,
    /// The landing, or a folder above it.
    pub(crate) folder: PathBuf,
}

/// Who else can write to a landing; `None` if nobody can, or there is none yet.
///
/// # Errors
/// Those of looking at it and at the folders above it.
pub(crate) fn exposure(landing: &Path) -> io::Result<Option<Exposure>> {
    let landing = resolve(landing);
    let own = match other_writer(&landing) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        other => other?,
    };
    Ok(match own {
        Some(writer) => Some(Exposure { writer, folder: landing }),
        None => writer_above(&landing)?.map(|(folder, writer)| Exposure { writer, folder }),
    })
}

/// What of the process's surroundings names places.
struct Surroundings {
    is_root: bool,
    /// systemd's folder of the unit's state.
    unit: Option<PathBuf>,
    /// The folder for state of all programs of the machine.
    machine: PathBuf,
    /// The folder for state of all programs of the user.
    user: Option<PathBuf>,
}

impl Surroundings {
    fn of_process() -> Self {
        Self::of(rustix::process::geteuid().is_root(), |name| env::var_os(name))
    }

    fn of(is_root: bool, var: impl Fn(&str) -> Option<OsString>) -> Self {
        // systemd gives several folders separated by colons; the first is the unit's main one.
        let unit = var("STATE_DIRECTORY")
            .and_then(|list| env::split_paths(&list).find(|path| path.is_absolute()));
        let user = var("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        let user = user.or_else(|| Some(PathBuf::from(var("HOME")?).join(".local/state")));
        Self { is_root, unit, machine: "/var/lib".into(), user }
    }

    /// Folders outside of a landing, the best first; absolute, none of them made here.
    fn outside(&self, landing: &Path) -> Vec<PathBuf> {
        let landing = resolve(landing);
        let key = key(&landing);
        let mut found = Vec::new();
        found.extend(self.unit.as_ref().map(|unit| unit.join(&key)));
        if self.is_root {
            found.push(self.machine.join("longshore").join(&key));
        }
        if let (Some(parent), Some(name)) = (landing.parent(), landing.file_name()) {
            let mut sibling = OsString::from(format!("{OWN}-"));
            sibling.push(name);
            if sibling.len() <= 255 {
                found.push(parent.join(sibling));
            }
        }
        if !self.is_root {
            found.extend(self.user.as_ref().map(|user| user.join("longshore").join(&key)));
        }
        found
    }
}

/// A landing's path as a name.
fn key(landing: &Path) -> String {
    let path = landing.to_string_lossy();
    let name = path.trim_start_matches('/').replace('%', "%25").replace('/', "%2F");
    if name.len() <= KEY_BYTES {
        return name;
    }
    let hash = blake3::hash(landing.as_os_str().as_bytes()).to_hex();
    let cut = (0..=KEY_BYTES - 20).rev().find(|&at| name.is_char_boundary(at)).unwrap_or(0);
    format!("{}%{}", &name[..cut], &hash[..16])
}

/// A source's work area: as configured, or where it is safe. Makes what is missing of a place that it
/// finds by itself.
///
/// # Errors
/// [`StartError::ExposedFolder`] for a configured one that senders can reach,
/// [`StartError::NoSafePlace`] if there is none that they cannot.
pub(super) fn choose_work(source: &Source, landing: &Folder) -> Result<PathBuf, StartError> {
    choose_work_in(source, landing, &Surroundings::of_process())
}

fn choose_work_in(
    source: &Source,
    landing: &Folder,
    around: &Surroundings,
) -> Result<PathBuf, StartError> {
    let exposed = exposure(&source.landing).map_err(StartError::io("look at", &source.landing))?;
    if let Some(work) = &source.work {
        return refuse_inside("work area", "--work", work, &source.landing, exposed)
            .map(|()| work.clone());
    }
    let inside = source.landing.join(OWN).join(WORK);
    let mut outside = around.outside(&source.landing);
    // What is in work in a place goes on there, whatever is the best one today.
    let is_known = |base: &PathBuf| is_ours(&base.join(WORK).join(&source.name));
    outside.sort_by_key(|base| !is_known(base));
    let Some(Exposure { writer, folder }) = exposed else {
        let known = outside.first().filter(|base| is_known(base)).map(|base| base.join(WORK));
        return Ok(known.filter(|_| !is_ours(&inside.join(&source.name))).unwrap_or(inside));
    };
    let mut tried = Vec::new();
    for base in outside {
        match try_base(&base, landing) {
            Ok(()) => return Ok(base.join(WORK)),
            Err(why) => tried.push(format!("{base:?}: {why}")),
        }
    }
    if has_fixed_modes(landing) {
        let found = landing.seen().map_err(StartError::io("look at", landing.path()))?;
        let (path, mode) = (source.landing.clone(), found.st_mode & 0o7777);
        return Err(StartError::FixedModes { what: "landing", path, mode });
    }
    let tried = tried.join("; ");
    Err(StartError::NoSafePlace { landing: source.landing.clone(), writer, folder, tried })
}

/// Makes a place for a work area, and tries it.
fn try_base(base: &Path, landing: &Folder) -> Result<(), String> {
    match writer_above(&base.join(WORK)) {
        Ok(None) => {}
        Ok(Some((folder, writer))) => return Err(format!("{writer} can write to {folder:?}")),
        Err(error) => return Err(error.to_string()),
    }
    let made = Made::private(base).map_err(|error| error.to_string())?;
    let tried = made.folder.make_or_open(WORK).and_then(|work| probe::reaches(landing, &work));
    match tried {
        Ok(true) => Ok(()),
        Ok(false) => {
            made.folder.remove_empty(WORK).ok();
            made.undo();
            Err("it is on another file system than the landing".to_owned())
        }
        Err(error) => Err(error.to_string()),
    }
}

/// Where a source's work area is likely to be, for commands that only look: nothing is made or tried.
#[must_use]
pub fn find_work(source: &Source) -> PathBuf {
    let inside = source.landing.join(OWN).join(WORK);
    let outside = Surroundings::of_process().outside(&source.landing);
    let mut known = outside.into_iter().map(|base| base.join(WORK));
    match &source.work {
        Some(work) => work.clone(),
        None if is_ours(&inside.join(&source.name)) && !is_exposed(&source.landing) => inside,
        None => known.find(|work| work.join(&source.name).is_dir()).unwrap_or(inside),
    }
}

fn is_exposed(landing: &Path) -> bool {
    exposure(landing).map_or(true, |exposed| exposed.is_some())
}

/// The state folder of a configuration; absolute, and not made here.
///
/// As configured; else beside or in the landing of its first source (the module's table), but never on
/// a network file system: a database's locks cannot be trusted there.
///
/// # Errors
/// [`StartError::ExposedFolder`] for a configured one that senders can reach,
/// [`StartError::NoSafePlace`] if there is none that they cannot.
pub fn state_folder(config: &Config) -> Result<PathBuf, StartError> {
    state_folder_in(config, &Surroundings::of_process())
}

fn state_folder_in(config: &Config, around: &Surroundings) -> Result<PathBuf, StartError> {
    if let Some(state) = &config.state {
        for source in &config.sources {
            let exposed = exposure(&source.landing);
            let exposed = exposed.map_err(StartError::io("look at", &source.landing))?;
            refuse_inside("state folder", "--state", state, &source.landing, exposed)?;
        }
        return Ok(state.clone());
    }
    let Some(source) = config.sources.first() else {
        return Err(StartError::NoStatePlace { landing: PathBuf::new() });
    };
    let landing = &source.landing;
    let exposed = exposure(landing).map_err(StartError::io("look at", landing))?;
    let is_remote = |path: &Path| {
        let there = path.ancestors().find(|path| path.exists());
        there.is_some_and(|there| crate::landing::is_on_network(there).unwrap_or(false))
    };
    let inside = landing.join(OWN);
    let mut outside = around.outside(landing);
    let has_ledger = |folder: &PathBuf| folder.join(LEDGER).exists();
    let Some(Exposure { writer, folder }) = exposed else {
        if !is_remote(landing) {
            let known = outside.into_iter().find(has_ledger);
            return Ok(known.filter(|_| !has_ledger(&inside)).unwrap_or(inside));
        }
        let key = key(&resolve(landing));
        let of_user = around.user.as_ref().map(|user| user.join("longshore"));
        let base = around.unit.clone().or(of_user);
        return match base {
            Some(base) => Ok(base.join(key)),
            None => Err(StartError::NoStatePlace { landing: landing.clone() }),
        };
    };
    outside.retain(|base| {
        !is_remote(base) && writer_above(&base.join(LEDGER)).is_ok_and(|found| found.is_none())
    });
    let known = outside.iter().find(|base| has_ledger(base));
    if let Some(found) = known.or_else(|| outside.iter().find(|base| can_make(base))) {
        return Ok(found.clone());
    }
    let tried = "no other folder is this user's own".to_owned();
    Err(StartError::NoSafePlace { landing: landing.clone(), writer, folder, tried })
}

/// Whether this user can write to a folder, or make it.
fn can_make(folder: &Path) -> bool {
    let there = folder.ancestors().find(|path| path.exists());
    let wanted = Access::WRITE_OK | Access::EXEC_OK;
    there.is_some_and(|there| there.is_dir() && access(there, wanted).is_ok())
}

/// Refuses a configured folder of ours in a landing that others can write to.
fn refuse_inside(
    what: &'static str,
    flag: &'static str,
    path: &Path,
    landing: &Path,
    exposed: Option<Exposure>,
) -> Result<(), StartError> {
    let Some(Exposure { writer, folder }) = exposed else { return Ok(()) };
    if !resolve(path).starts_with(resolve(landing)) {
        return Ok(());
    }
    Err(StartError::ExposedFolder { what, flag, path: path.into(), writer, folder })
}

/// Whether something is there, as a real folder of this user's.
fn is_ours(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;

    let user = rustix::process::geteuid().as_raw();
    std::fs::symlink_metadata(path).is_ok_and(|found| found.is_dir() && found.uid() == user)
}

/// A folder, opened, and what had to be made on the way to it.
pub(super) struct Made {
    pub(super) folder: Folder,
    /// The innermost last.
    made: Vec<PathBuf>,
}

impl Made {
    /// Opens a folder, and makes what is missing of its path so that only this user can enter it.
    pub(super) fn private(path: &Path) -> io::Result<Self> {
        Self::with(path, |folder, name| folder.make(name))
    }

    /// Opens a folder, and makes what is missing of its path as the umask says.
    pub(super) fn public(path: &Path) -> io::Result<Self> {
        Self::with(path, |folder, name| folder.make_with(name, Mode::from_raw_mode(0o777)))
    }

    fn with(path: &Path, make: impl Fn(&Folder, &OsStr) -> io::Result<()>) -> io::Result<Self> {
        let there = path.ancestors().find(|path| path.symlink_metadata().is_ok());
        let there = there.unwrap_or(Path::new("/"));
        // A link on the way is whoever's that made it: who else can exchange it is asked by itself.
        let mut folder = Folder::open(&there.canonicalize()?)?;
        let mut made = Vec::new();
        for name in path.strip_prefix(there).into_iter().flat_map(Path::iter) {
            match make(&folder, name) {
                Ok(()) => made.push(folder.join(name)),
                // Another start was faster.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
            folder = folder.folder(name)?;
        }
        Ok(Self { folder, made })
    }

    /// Removes what was made, as far as it is empty.
    fn undo(self) {
        for path in self.made.iter().rev() {
            std::fs::remove_dir(path).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::workspace::testing::source;

    struct Fixture {
        top: tempfile::TempDir,
        source: Source,
        landing: Folder,
    }

    impl Fixture {
        /// A landing of this mode.
        fn new(mode: u32) -> Self {
            let top = tempfile::tempdir().unwrap();
            let source = source(top.path());
            fs::create_dir(&source.landing).unwrap();
            fs::set_permissions(&source.landing, fs::Permissions::from_mode(mode)).unwrap();
            let landing = Folder::open(&source.landing.canonicalize().unwrap()).unwrap();
            Self { top, source, landing }
        }

        fn path(&self, below: &str) -> PathBuf {
            self.top.path().canonicalize().unwrap().join(below)
        }

        fn around(&self, is_root: bool, vars: &'static [(&str, &str)]) -> Surroundings {
            let mut around = Surroundings::of(is_root, |name| {
                let found = vars.iter().find(|(known, _)| *known == name);
                found.map(|(_, below)| self.path(below).into())
            });
            around.machine = self.path("var/lib");
            around
        }

        fn key(&self) -> String {
            key(&resolve(&self.source.landing))
        }
    }

    #[test]
    fn work_area_lies_in_a_landing_that_only_we_can_write_to() {
        let fixture = Fixture::new(0o755);
        let around = fixture.around(true, &[("STATE_DIRECTORY", "unit")]);
        let work = choose_work_in(&fixture.source, &fixture.landing, &around).unwrap();
        assert_eq!(work, fixture.source.landing.join(".longshore/work"));
        let config = Config::new(fixture.source.clone());
        let state = state_folder_in(&config, &around).unwrap();
        assert_eq!(state, fixture.source.landing.join(".longshore"));
        assert_eq!(fs::read_dir(fixture.top.path()).unwrap().count(), 1, "something was made");
    }

    #[test]
    fn work_area_of_an_exposed_landing_lies_in_the_first_place_that_is_safe() {
        for mode in [0o777, 0o1777, 0o757] {
            let fixture = Fixture::new(mode);
            let (key, source) = (fixture.key(), &fixture.source);
            let work =
                |around: &Surroundings| choose_work_in(source, &fixture.landing, around).unwrap();
            let unit = fixture.around(true, &[("STATE_DIRECTORY", "unit"), ("HOME", "home")]);
            assert_eq!(work(&unit), fixture.path("unit").join(&key).join("work"));
            let root = fixture.around(true, &[("HOME", "home")]);
            assert_eq!(work(&root), fixture.path("var/lib/longshore").join(&key).join("work"));
            let user = fixture.around(false, &[("HOME", "home")]);
            assert_eq!(work(&user), fixture.path(".longshore-zip/work"));
            let config = Config::new(source.clone());
            assert_eq!(state_folder_in(&config, &user).unwrap(), fixture.path(".longshore-zip"));
        }
    }

    #[test]
    fn place_that_others_can_write_to_is_passed_over_and_without_one_the_start_is_refused() {
        let fixture = Fixture::new(0o777);
        let open = fs::Permissions::from_mode(0o777);
        fs::create_dir(fixture.path("unit")).unwrap();
        fs::set_permissions(fixture.path("unit"), open.clone()).unwrap();
        let around = fixture.around(false, &[("STATE_DIRECTORY", "unit"), ("HOME", "unit/home")]);
        let work = choose_work_in(&fixture.source, &fixture.landing, &around).unwrap();
        assert_eq!(work, fixture.path(".longshore-zip/work"));
        fs::set_permissions(fixture.top.path(), open).unwrap();
        let error = choose_work_in(&fixture.source, &fixture.landing, &around).unwrap_err();
        assert_eq!(error.exit_code(), 78);
        let message = error.to_string();
        for part in ["every user", "--work DIR", "unit", ".longshore-zip"] {
            assert!(message.contains(part), "no {part:?} in {message}");
        }
        assert!(!fixture.path("unit/home").exists(), "it was made where others can write");
    }

    #[test]
    fn configured_folder_in_an_exposed_landing_is_refused() {
        let mut fixture = Fixture::new(0o777);
        let inside = fixture.source.landing.join(".longshore");
        let around = fixture.around(true, &[]);
        let mut config = Config::new(fixture.source.clone());
        config.state = Some(inside.clone());
        fixture.source.work = Some(inside.join("work"));
        let work = choose_work_in(&fixture.source, &fixture.landing, &around).unwrap_err();
        let state = state_folder_in(&config, &around).unwrap_err();
        for (error, flag) in [(work, "--work"), (state, "--state")] {
            assert_eq!(error.exit_code(), 78, "{error}");
            assert!(error.to_string().contains(flag), "{error}");
        }
    }

    #[test]
    fn landing_that_is_no_longer_exposed_keeps_the_place_of_its_jobs() {
        let fixture = Fixture::new(0o777);
        let around = fixture.around(false, &[]);
        let work = choose_work_in(&fixture.source, &fixture.landing, &around).unwrap();
        fs::create_dir(work.join("default")).unwrap();
        fs::set_permissions(&fixture.source.landing, fs::Permissions::from_mode(0o755)).unwrap();
        let again = choose_work_in(&fixture.source, &fixture.landing, &around).unwrap();
        assert_eq!(again, work);
    }

    #[test]
    fn key_of_a_landing_is_its_path_and_of_a_long_one_a_part_and_a_hash() {
        assert_eq!(key(Path::new("/srv/100%/in")), "srv%2F100%25%2Fin");
        let long = PathBuf::from(format!("/{}", "名/".repeat(200)));
        let other = PathBuf::from(format!("/{}x", "名/".repeat(200)));
        assert!(key(&long).len() <= 255 && key(&long) != key(&other));
    }
}

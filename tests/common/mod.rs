//! What the integration tests share: a place of one's own, the daemon in it, packages to deliver.
//!
//! **Invariants:** every test has its own folder; a daemon is killed when its [`Daemon`] is dropped;
//! nothing waits without a deadline, and nothing waits longer than for the thing itself.
#![expect(dead_code, reason = "each test file uses a part of it")]
#![expect(clippy::unwrap_used, reason = "what fails in a test's set-up fails the test")]

pub(crate) mod books;
pub(crate) mod daemon;
pub(crate) mod engine;
pub(crate) mod mounts;
pub(crate) mod processes;
pub(crate) mod witness;
pub(crate) mod zips;

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use daemon::Daemon;
use zips::Files;

/// Who the daemon runs as where root may do too much for the test to test anything.
pub(crate) const NOBODY: u32 = 65534;

/// Says why a test tests nothing here, even where the output of tests is not shown. To be followed
/// by `return`.
pub(crate) fn skip(why: &str) {
    // `eprintln!` would be kept back with the output of a test that passes.
    io::stderr().write_all(format!("SKIP: {why}\n").as_bytes()).unwrap();
}

/// Whether a program can be run; says so where it cannot.
pub(crate) fn has(program: &str) -> bool {
    let mut asked = Command::new(program);
    asked.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    let there = asked.status().is_ok_and(|status| status.success());
    if !there {
        skip(&format!("there is no `{program}` here"));
    }
    there
}

/// Whether this test runs as root.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether bigger sizes are asked for.
pub(crate) fn is_long() -> bool {
    std::env::var_os("LONGSHORE_LONG").is_some_and(|value| value == "1")
}

/// Runs a program to its end.
///
/// # Panics
/// Where it fails.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// A landing `zip`, an archive `mv_zip` and a `quarantine` in a temporary folder.
pub(crate) struct Place {
    top: TempDir,
    archive: PathBuf,
    quarantine: PathBuf,
}

impl Place {
    /// One with an empty landing; archive and quarantine are left to the daemon to make.
    pub(crate) fn new() -> Self {
        let top = tempfile::Builder::new().prefix("longshore-test-").tempdir().unwrap();
        // Open to other users, for the daemons that run as one.
        fs::set_permissions(top.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let (archive, quarantine) = (top.path().join("mv_zip"), top.path().join("quarantine"));
        let place = Self { top, archive, quarantine };
        fs::create_dir(place.landing()).unwrap();
        place
    }

    /// The same with an archive of one's own.
    pub(crate) fn with_archive(mut self, archive: PathBuf) -> Self {
        self.archive = archive;
        self
    }

    /// The same with a quarantine of one's own.
    pub(crate) fn with_quarantine(mut self, quarantine: PathBuf) -> Self {
        self.quarantine = quarantine;
        self
    }

    pub(crate) fn top(&self) -> &Path {
        self.top.path()
    }

    pub(crate) fn path(&self, below: impl AsRef<Path>) -> PathBuf {
        self.top.path().join(below)
    }

    pub(crate) fn landing(&self) -> PathBuf {
        self.path("zip")
    }

    pub(crate) fn archive(&self) -> PathBuf {
        self.archive.clone()
    }

    pub(crate) fn quarantine(&self) -> PathBuf {
        self.quarantine.clone()
    }

    /// Where the jobs are.
    pub(crate) fn work(&self) -> PathBuf {
        self.landing().join(".longshore/work/default")
    }

    /// `longshore run` on this place.
    pub(crate) fn run(&self, options: &[&str]) -> Command {
        let mut command = self.longshore(&["run"]);
        command.arg("--landing").arg(self.landing()).arg("--archive").arg(self.archive());
        if self.quarantine != self.archive.with_file_name("quarantine") {
            command.arg("--quarantine").arg(&self.quarantine);
        }
        command.args(options);
        command
    }

    /// The binary, in this place.
    pub(crate) fn longshore(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_longshore"));
        command.args(arguments).current_dir(self.top());
        command
    }

    /// `longshore run --config` with this text.
    pub(crate) fn run_with(&self, config: &str, options: &[&str]) -> Command {
        let path = self.path("longshore.toml");
        fs::write(&path, config).unwrap();
        let mut command = self.longshore(&["run"]);
        command.arg("--config").arg(path).args(options);
        command
    }

    /// A config file's text for this place, with more keys.
    pub(crate) fn config(&self, more: &str) -> String {
        let mut text = format!(
            "[source.default]\nlanding = {:?}\narchive = {:?}\n",
            self.landing(),
            self.archive
        );
        if self.quarantine != self.archive.with_file_name("quarantine") {
            text += &format!("quarantine = {:?}\n", self.quarantine);
        }
        text + more
    }

    /// A config file's text for this place with a script as its command, and more keys.
    pub(crate) fn script(&self, script: &str, more: &str) -> String {
        self.config(&format!(
            "settle = '0s'\nbackoff = '1ms'\nprocess.shell = true\nprocess.command = \'\'\'{script}\'\'\'\n{more}"
        ))
    }

    /// Has a command run as a user without rights: uid 65534 where this is root, and this user else.
    ///
    /// The landing, archive and quarantine are that user's then, and the binary is where it can be
    /// reached.
    pub(crate) fn unprivileged(&self, command: Command) -> Command {
        if !is_root() {
            return command;
        }
        let binary = self.path("longshore");
        if !binary.exists() {
            // By a process of its own: a child that another test starts meanwhile would inherit the
            // copy open for writing, and what is open for writing cannot be run.
            run(Command::new("cp").arg(env!("CARGO_BIN_EXE_longshore")).arg(&binary));
            fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).unwrap();
        }
        for folder in [self.landing(), self.archive(), self.quarantine()] {
            fs::create_dir_all(&folder).unwrap();
            chown(&folder, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let mut other = Command::new(binary);
        other.args(command.get_args()).current_dir(self.top()).uid(NOBODY).gid(NOBODY);
        other
    }

    /// Gives everything below a path to the user of [`Place::unprivileged`].
    pub(crate) fn give(&self, path: &Path) {
        if is_root() {
            let owner = format!("{NOBODY}:{NOBODY}");
            run(Command::new("chown").args(["-Rh", &owner]).arg(path));
        }
    }

    /// Makes a package outside of the landing, on the same file system; returns its folder.
    pub(crate) fn stage(&self, name: &str, zip: &[u8]) -> PathBuf {
        let stage = self.path(".stage");
        fs::create_dir_all(&stage).unwrap();
        let folder = tempfile::tempdir_in(stage).unwrap().keep().join(name);
        // 0777 less the umask, as most senders' folders; the parent is private to its maker.
        DirBuilder::new().mode(0o777).create(&folder).unwrap();
        fs::write(folder.join(format!("{name}.zip")), zip).unwrap();
        folder
    }

    /// Delivers a package by a rename into the landing.
    pub(crate) fn deliver(&self, name: &str, zip: &[u8]) {
        fs::rename(self.stage(name, zip), self.landing().join(name)).unwrap();
    }

    /// Delivers `files` as a package; returns what should be in the archive.
    pub(crate) fn deliver_files(&self, name: &str, files: &Files) -> Tree {
        let zip = zips::deflated(files);
        self.deliver(name, &zip);
        archived(name, files, zip)
    }

    /// Packages in the archive.
    pub(crate) fn archived_names(&self) -> Vec<String> {
        names(&self.archive())
    }

    /// Packages in the landing.
    pub(crate) fn landed_names(&self) -> Vec<String> {
        names(&self.landing())
    }

    /// Folders in quarantine.
    pub(crate) fn quarantined_names(&self) -> Vec<String> {
        names(&self.quarantine())
    }

    /// Jobs in the work area.
    pub(crate) fn jobs(&self) -> Vec<PathBuf> {
        names(&self.work()).into_iter().map(|name| self.work().join(name)).collect()
    }

    /// The only folder in quarantine whose package has that name, and its `reason.json`.
    pub(crate) fn quarantined(&self, name: &str) -> (PathBuf, serde_json::Value) {
        let mut found: Vec<_> = names(&self.quarantine())
            .into_iter()
            .map(|folder| self.quarantine().join(folder))
            .map(|folder| {
                let text = fs::read_to_string(folder.join("reason.json")).unwrap();
                (folder, serde_json::from_str::<serde_json::Value>(&text).unwrap())
            })
            .filter(|(_, reason)| reason["name"] == name)
            .collect();
        assert_eq!(found.len(), 1, "{name} should be in quarantine once: {found:?}");
        found.remove(0)
    }

    /// Waits until a package is in the archive.
    pub(crate) fn wait_archived(&self, daemon: &mut Daemon, name: &str) {
        let path = self.archive().join(name);
        daemon.wait_until(&format!("{name} is archived"), || path.exists());
    }

    /// Waits until the work area has no job and the landing no package.
    pub(crate) fn wait_empty(&self, daemon: &mut Daemon) {
        daemon.wait_until("nothing is left to do", || {
            self.landed_names().is_empty() && self.jobs().is_empty()
        });
    }
}

/// Makes a FIFO: who reads from it waits until the test writes.
pub(crate) fn make_fifo(path: &Path) {
    use rustix::fs::{CWD, FileType, Mode, mknodat};

    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

/// Every name in a folder but those with a leading dot, sorted; none where there is no folder.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> = entries
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .filter(|name| !name.starts_with('.'))
        .collect();
    names.sort();
    names
}

/// What is at a path.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Node {
    Folder,
    File(Vec<u8>),
    Link(PathBuf),
    Special,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Folder => f.write_str("folder"),
            Self::File(bytes) => {
                write!(f, "file of {} bytes, {:08x}", bytes.len(), libdeflater::crc32(bytes))
            }
            Self::Link(to) => write!(f, "link to {to:?}"),
            Self::Special => f.write_str("special file"),
        }
    }
}

/// Everything below a folder, by relative path.
pub(crate) type Tree = BTreeMap<PathBuf, Node>;

/// Reads all of a folder; what cannot be read counts as empty.
pub(crate) fn tree(top: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut rest = vec![top.to_path_buf()];
    while let Some(folder) = rest.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            let Ok(found) = fs::symlink_metadata(&path) else { continue };
            let kind = found.file_type();
            let node = if kind.is_dir() {
                rest.push(path.clone());
                Node::Folder
            } else if kind.is_file() {
                let mut bytes = Vec::new();
                File::open(&path).and_then(|mut file| file.read_to_end(&mut bytes)).ok();
                Node::File(bytes)
            } else if kind.is_symlink() {
                Node::Link(fs::read_link(&path).unwrap())
            } else {
                Node::Special
            };
            tree.insert(path.strip_prefix(top).unwrap().to_owned(), node);
        }
    }
    tree
}

/// What the archive should hold of a package: its contents, with the ZIP beside them.
pub(crate) fn archived(name: &str, files: &Files, zip: Vec<u8>) -> Tree {
    let mut tree = Tree::new();
    for (path, bytes) in files {
        for parent in Path::new(path).ancestors().skip(1).filter(|p| !p.as_os_str().is_empty()) {
            tree.insert(parent.to_owned(), Node::Folder);
        }
        if path.ends_with('/') {
            tree.insert(PathBuf::from(path.trim_end_matches('/')), Node::Folder);
        } else {
            tree.insert(path.into(), Node::File(bytes.clone()));
        }
    }
    tree.insert(format!("{name}.zip").into(), Node::File(zip));
    tree
}

/// Processes whose command line names a path below this one.
pub(crate) fn processes_of(top: &Path) -> Vec<String> {
    let wanted = top.to_str().unwrap();
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| fs::read(entry.ok()?.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(wanted))
        .collect()
}

//! [`Scene`]: a landing that a sender may write in, a daemon for it, and what both may not touch.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::outside::{Outside, unfit};
use super::sender::{At, Order, SENDER, Sender};
use crate::common::daemon::{Daemon, PACE};
use crate::common::{Place, is_root, names, run, skip, tree, zips};

/// The user of a daemon that is not root.
pub(crate) const DAEMON: u32 = 1002;
/// The group that this daemon and the sender share.
const SHARED: u32 = 3000;

/// How long a start, a refusal or a small package may take. Each takes far less than a second.
const PROMPT: Duration = Duration::from_secs(15);

/// Who owns the landing, and who the daemon is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Root's, 0777; the daemon is root.
    WorldWritable,
    /// Root's, 01777; the daemon is root.
    Sticky,
    /// The sender's, 0755; the daemon is root.
    OwnedBySender,
    /// The daemon's, 02775, of a group that the sender is in; the daemon is [`DAEMON`].
    SharedGroup,
}

impl Kind {
    pub(crate) fn daemon(self) -> u32 {
        if self == Self::SharedGroup { DAEMON } else { 0 }
    }

    fn landing(self) -> (u32, u32, u32) {
        match self {
            Self::WorldWritable => (0, 0, 0o777),
            Self::Sticky => (0, 0, 0o1777),
            Self::OwnedBySender => (SENDER, SENDER, 0o755),
            Self::SharedGroup => (DAEMON, SHARED, 0o2775),
        }
    }

    fn senders_group(self) -> u32 {
        if self == Self::SharedGroup { SHARED } else { SENDER }
    }

    /// The mode of a delivered folder. A daemon without rights can rename only what it may write to.
    pub(crate) fn folder_mode(self) -> u32 {
        if self == Self::SharedGroup { 0o2775 } else { 0o755 }
    }
}

/// What a daemon is told, beside its landing and its archive.
#[derive(Default)]
pub(crate) struct Settings<'a> {
    pub(crate) work: Option<PathBuf>,
    pub(crate) state: Option<PathBuf>,
    /// Keys of the source.
    pub(crate) source: &'a str,
}

/// A landing of some kind in a temporary folder. Landing, archive, quarantine, the folder for state
/// and [`Outside`] lie side by side.
pub(crate) struct Scene {
    pub(crate) place: Place,
    pub(crate) kind: Kind,
    pub(crate) outside: Outside,
}

impl Scene {
    /// `None`, and a line that says so, where nobody else can be had.
    pub(crate) fn of(kind: Kind) -> Option<Self> {
        if !is_root() {
            skip("not root");
            return None;
        }
        let place = Place::new();
        let outside = Outside::make(&place.path("outside"));
        let scene = Self { place, kind, outside };
        let (owner, group, mode) = kind.landing();
        own(&scene.place.landing(), owner, group, mode);
        for (folder, mode) in [("mv_zip", 0o755), ("quarantine", 0o755), ("states", 0o700)] {
            scene.daemons_folder(folder, mode);
        }
        let stage = scene.place.path("stage");
        fs::create_dir(&stage).unwrap();
        own(&stage, SENDER, kind.senders_group(), 0o755);
        Some(scene)
    }

    /// A new folder beside the landing that belongs to the daemon's user.
    pub(crate) fn daemons_folder(&self, name: &str, mode: u32) -> PathBuf {
        let path = self.place.path(name);
        fs::create_dir(&path).unwrap();
        own(&path, self.kind.daemon(), self.kind.daemon(), mode);
        path
    }

    /// Where the state of this landing is to be found by default.
    pub(crate) fn state(&self) -> PathBuf {
        let landing = self.place.landing().canonicalize().unwrap();
        let key = landing.to_str().unwrap().trim_start_matches('/').to_owned();
        self.place.path("states").join(key.replace('%', "%25").replace('/', "%2F"))
    }

    /// Jobs in the work area, wherever that is.
    pub(crate) fn jobs(&self) -> Vec<PathBuf> {
        let candidates = [
            self.state().join("work/default"),
            self.place.path("work/default"),
            self.place.landing().join(".longshore/work/default"),
        ];
        let Some(work) = candidates.iter().find(|path| path.exists()) else { return Vec::new() };
        names(work).into_iter().map(|name| work.join(name)).collect()
    }

    /// `longshore run` as the daemon's user.
    pub(crate) fn daemon(&self, settings: &Settings<'_>) -> Command {
        let mut source = String::new();
        if let Some(work) = &settings.work {
            source += &format!("work = {work:?}\n");
        }
        source += settings.source;
        let mut config = String::new();
        if let Some(state) = &settings.state {
            config += &format!("state = {state:?}\n");
        }
        config += &self.place.config(&source);
        self.as_daemon(self.place.run_with(&config, &[]))
    }

    /// The same command as the daemon's user, with a folder for its state.
    pub(crate) fn as_daemon(&self, command: Command) -> Command {
        let mut command = match self.kind.daemon() {
            0 => command,
            uid => {
                let group = SHARED.to_string();
                as_user(&self.place, &command, uid, &group)
            }
        };
        command.env("STATE_DIRECTORY", self.place.path("states"));
        command
    }

    /// A process of the sender; its test is [`super::sender_of_its_own`].
    pub(crate) fn sender(&self) -> Sender {
        Sender::start("sender_of_its_own", SENDER, self.kind.senders_group())
    }

    /// Where the sender prepares what it delivers, on the landing's file system.
    pub(crate) fn stage(&self, name: &str) -> PathBuf {
        self.place.path("stage").join(name)
    }

    /// What makes a package in the sender's folder.
    pub(crate) fn package(&self, name: &str, zip: &[u8]) -> Order {
        let folder = self.stage(name);
        Order::All(vec![
            Order::MakeFolder(At::from(&folder), self.kind.folder_mode()),
            Order::Write(At::from(folder.join(format!("{name}.zip"))), zip.to_vec(), 0o644),
        ])
    }

    /// What renames a package into the landing.
    pub(crate) fn delivery(&self, name: &str) -> Order {
        Order::Rename(self.stage(name).into(), self.place.landing().join(name).into())
    }

    /// Has the sender deliver a package.
    pub(crate) fn deliver(&self, sender: &mut Sender, name: &str, zip: &[u8]) {
        sender.order(&Order::All(vec![self.package(name, zip), self.delivery(name)]));
    }

    /// What is wrong with the world around the landing, and with what was told of the archive.
    pub(crate) fn wrongs(&self, log: &str) -> Vec<String> {
        let mut wrong = self.outside.touched();
        wrong.extend(
            told_archived(log)
                .into_iter()
                .filter(|path| !path.exists())
                .map(|path| format!("{path:?} was told as archived, and is not there")),
        );
        wrong
    }

    /// What the archive holds that it may not.
    pub(crate) fn unfit(&self) -> Vec<String> {
        // Only root can make what others delivered its own.
        unfit(&self.place.archive(), (self.kind.daemon() == 0).then_some(0))
    }

    /// Asks the daemon to stop, and holds it to everything that is true in the end, but for owners and
    /// modes in the archive.
    pub(crate) fn stop(&self, daemon: &mut Daemon) {
        assert_eq!(daemon.terminate(), 0, "it does not stop well:\n{}", daemon.log());
        let log = daemon.log();
        let wrong = self.wrongs(&log);
        assert!(wrong.is_empty(), "{wrong:#?}\n{log}");
    }

    /// Waits until a package is in the archive, for no longer than that may take.
    pub(crate) fn wait_archived(&self, daemon: &mut Daemon, name: &str) {
        let (path, begun) = (self.place.archive().join(name), Instant::now());
        while !path.exists() {
            let alive = daemon.is_alive();
            assert!(alive, "it ended before {name} was archived:\n{}", daemon.log());
            let late = begun.elapsed() > PROMPT;
            assert!(!late, "{name} is not archived:\n{}", daemon.log());
            daemon.run_for(PACE);
        }
    }

    /// Asserts that a package is in the archive under that folder's name, as its ZIP has it.
    pub(crate) fn assert_archived(&self, folder: &str, package: &Package) {
        let found = tree(&self.place.archive().join(folder));
        let wanted = crate::common::archived(&package.name, &package.files, package.zip.clone());
        assert_eq!(found, wanted, "{folder} is not what was delivered");
    }
}

/// A package that can be told from others.
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) files: zips::Files,
    pub(crate) zip: Vec<u8>,
}

impl Package {
    pub(crate) fn new(name: &str, number: usize) -> Self {
        let files = zips::sample(number);
        Self { name: name.to_owned(), zip: zips::deflated(&files), files }
    }
}

fn own(path: &Path, owner: u32, group: u32, mode: u32) {
    chown(path, Some(owner), Some(group)).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// The same command as another user with supplementary groups, by a binary that this user can reach.
pub(crate) fn as_user(place: &Place, command: &Command, uid: u32, groups: &str) -> Command {
    let binary = place.path("longshore");
    if !binary.exists() {
        let built = Path::new(env!("CARGO_BIN_EXE_longshore"));
        // A copy by this process could be held open for writing by the child of another test.
        if fs::hard_link(built, &binary).is_err() {
            run(Command::new("cp").arg(built).arg(&binary));
        }
    }
    let id = uid.to_string();
    let mut other = Command::new("setpriv");
    other.args(["--reuid", &id, "--regid", &id]);
    match groups {
        "" => other.arg("--clear-groups"),
        groups => other.args(["--groups", groups]),
    };
    other.arg("--").arg(binary).args(command.get_args()).current_dir(place.top());
    other
}

/// Folders that the log says are archived.
fn told_archived(log: &str) -> Vec<PathBuf> {
    let told = log.lines().filter_map(|line| line.split_once("INFO archived, path: "));
    told.map(|(_, rest)| {
        let path = rest.split_once(", ").map_or(rest, |(path, _)| path);
        path.trim_matches('"').into()
    })
    .collect()
}

/// The job of a line of the log.
pub(crate) fn job_of(line: &str) -> String {
    let (_, rest) = line.split_once("job: ").unwrap();
    rest[..26].to_owned()
}

/// Starts a daemon and waits until it watches.
///
/// # Panics
/// Where it does not come so far, with what it said.
pub(crate) fn start(command: Command) -> Daemon {
    let mut daemon = Daemon::spawn(command);
    match comes_up(&mut daemon) {
        Ok(()) => daemon,
        Err(why) => panic!("{why}\n{}", daemon.log()),
    }
}

/// Waits until a daemon watches, for no longer than a start may take.
pub(crate) fn comes_up(daemon: &mut Daemon) -> Result<(), String> {
    let begun = Instant::now();
    while !daemon.log().contains(" watching") {
        if !daemon.is_alive() {
            let code = daemon.code();
            // Its last words may be those.
            return match daemon.log().contains(" watching") {
                true => Ok(()),
                false => Err(format!("it does not start: exit code {code}")),
            };
        }
        if begun.elapsed() > PROMPT {
            return Err("the start hangs".to_owned());
        }
        daemon.run_for(PACE);
    }
    Ok(())
}

/// Runs a daemon that must refuse to start; returns its exit code and what it said.
///
/// # Panics
/// Where it starts or hangs.
pub(crate) fn refusal(command: Command) -> (i32, String) {
    let mut daemon = Daemon::spawn(command);
    match comes_up(&mut daemon) {
        Ok(()) => panic!("it starts:\n{}", daemon.log()),
        Err(_) if daemon.is_alive() => panic!("the start hangs:\n{}", daemon.log()),
        Err(_) => (daemon.code(), daemon.log()),
    }
}

/// Runs every case, and fails with the names of all that failed and why.
pub(crate) fn each_case<T: std::fmt::Debug>(
    cases: impl IntoIterator<Item = T>,
    mut run: impl FnMut(&T),
) {
    let mut failed = Vec::new();
    for case in cases {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(&case))) {
            let why = panic.downcast_ref::<String>().cloned();
            let why = why.or(panic.downcast_ref::<&str>().map(|&why| why.to_owned()));
            failed.push(format!("{case:?}: {}", why.unwrap_or_default()));
        }
    }
    assert!(failed.is_empty(), "{} failed:\n{}", failed.len(), failed.join("\n\n"));
}

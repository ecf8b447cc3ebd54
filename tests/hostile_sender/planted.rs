//! What a sender plants where longshore's own folders could be: before a start, between two, and
//! while the daemon runs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::mount::{UnmountFlags, mount_bind, unmount};

use super::outside::Snapshot;
use super::scene::{Kind, Package, Scene, Settings, each_case, job_of, start};
use super::sender::{At, Order, Sender};
use crate::common::daemon::run_to_end;
use crate::common::{skip, zips};

/// A job's id, for a work area that is forged before there are jobs.
const NO_JOB: &str = "01JD0V00000000000000000000";

/// The line of a job that waits for its next attempt.
pub(super) const RETRY: &str = "will be tried again";

/// What can be planted at `LANDING/.longshore`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plant {
    LinkElsewhere,
    LinkToSendersFolder,
    LinkToNothing,
    File,
    Fifo,
    /// With a job that looks gathered, whose package was never verified.
    ForgedWork,
    /// With the memory of a package that was archived and is gone.
    ForgedLedger,
    LedgerLink,
    LedgerLinkToNothing,
    LedgerHardLink,
    LedgerFifo,
    LedgerFolder,
    WorkLink,
    LogsLink,
    /// A folder of the sender, mounted by root.
    BindMount,
}

impl Plant {
    const ALL: [Self; 15] = [
        Self::LinkElsewhere,
        Self::LinkToSendersFolder,
        Self::LinkToNothing,
        Self::File,
        Self::Fifo,
        Self::ForgedWork,
        Self::ForgedLedger,
        Self::LedgerLink,
        Self::LedgerLinkToNothing,
        Self::LedgerHardLink,
        Self::LedgerFifo,
        Self::LedgerFolder,
        Self::WorkLink,
        Self::LogsLink,
        Self::BindMount,
    ];

    /// Those that a sender can put in place while there is a job.
    const LATER: [Self; 7] = [
        Self::LinkElsewhere,
        Self::LinkToSendersFolder,
        Self::ForgedWork,
        Self::LedgerLink,
        Self::LedgerFifo,
        Self::WorkLink,
        Self::LogsLink,
    ];
}

/// Takes a mount away.
struct Mount(PathBuf);

impl Drop for Mount {
    fn drop(&mut self) {
        unmount(&self.0, UnmountFlags::DETACH).ok();
    }
}

/// Mounts one folder over another; says so where that is not allowed.
fn mount(from: &Path, at: &Path) -> Option<Mount> {
    match mount_bind(from, at) {
        Ok(()) => Some(Mount(at.to_owned())),
        Err(error) => {
            skip(&format!("nothing can be mounted here: {error}"));
            None
        }
    }
}

/// Has the sender make a work area with a job of `name` that looks gathered.
fn forge_work(scene: &Scene, sender: &mut Sender, top: &Path, job: &str, name: &str) {
    let evil = zips::deflated(&zips::sample(666));
    let gathered = top.join(format!("work/default/{job}.2.0/.final"));
    let mut orders: Vec<_> = ["work", "work/default"]
        .map(|folder| Order::MakeFolder(top.join(folder).into(), 0o700))
        .into();
    orders.extend([
        Order::Write(top.join("work/FORMAT").into(), b"1\n".to_vec(), 0o644),
        Order::MakeFolder(gathered.parent().unwrap().into(), 0o700),
        Order::MakeFolder(gathered.with_file_name(name).into(), 0o755),
        Order::MakeFolder(At::from(&gathered), 0o755),
        Order::Write(gathered.join(format!("{name}.zip")).into(), evil, 0o644),
        Order::Copy("/bin/true".into(), gathered.join("root-shell").into(), 0o4755),
        Order::Symlink(scene.outside.path("secret"), gathered.join("link").into()),
    ]);
    sender.order(&Order::All(orders));
}

/// The ledger of a daemon of the same landing and archive that archived this package, whose folder is
/// gone since: each file with its contents.
fn forged_ledger(scene: &Scene, sender: &mut Sender, package: &Package) -> Vec<(String, Vec<u8>)> {
    let state = scene.daemons_folder("forged-state", 0o700);
    let settings = Settings {
        work: Some(scene.daemons_folder("forged-work", 0o700)),
        state: Some(state.clone()),
        source: "settle = '0s'",
    };
    scene.deliver(sender, &package.name, &package.zip);
    let mut once = scene.daemon(&settings);
    let ended = run_to_end({
        once.arg("--once");
        once
    });
    assert_eq!(ended.code, 0, "{}", ended.err);
    fs::remove_dir_all(scene.place.archive().join(&package.name)).unwrap();
    // The sender prepares the next one under the same name.
    let files = fs::read_dir(&state).unwrap().map(|entry| entry.unwrap());
    files
        .map(|entry| (entry.file_name().into_string().unwrap(), entry.path()))
        .filter(|(name, _)| name.starts_with("ledger.sqlite"))
        .map(|(name, path)| (name, fs::read(path).unwrap()))
        .collect()
}

/// Has the sender put a plant into the landing. `None` where this machine does not allow it.
fn plant(
    scene: &Scene,
    sender: &mut Sender,
    what: Plant,
    (job, name): (&str, &str),
    ledger: &[(String, Vec<u8>)],
) -> Option<Vec<Mount>> {
    let top = scene.place.landing().join(".longshore");
    let folder = Order::MakeFolder(At::from(&top), 0o755);
    let beneath = |path: &str| At::from(top.join(path));
    let ledger_path = || beneath("ledger.sqlite");
    match what {
        Plant::LinkElsewhere => {
            sender.order(&Order::Symlink(scene.outside.path("folder"), At::from(&top)));
        }
        Plant::LinkToNothing => {
            sender.order(&Order::Symlink(scene.outside.path("folder/new"), At::from(&top)));
        }
        Plant::LinkToSendersFolder => {
            let own = scene.stage("own");
            sender.order(&Order::MakeFolder(At::from(&own), 0o755));
            forge_work(scene, sender, &own, job, name);
            sender.order(&Order::Symlink(own, At::from(&top)));
        }
        Plant::File => sender.order(&Order::Write(At::from(&top), b"a file\n".to_vec(), 0o666)),
        Plant::Fifo => sender.order(&Order::Fifo(At::from(&top))),
        Plant::ForgedWork => {
            sender.order(&folder);
            forge_work(scene, sender, &top, job, name);
        }
        Plant::ForgedLedger => {
            sender.order(&folder);
            for (name, bytes) in ledger {
                sender.order(&Order::Write(beneath(name), bytes.clone(), 0o644));
            }
        }
        Plant::LedgerLink => {
            let link = Order::Symlink(scene.outside.path("writable"), ledger_path());
            sender.order(&Order::All(vec![folder, link]));
        }
        Plant::LedgerLinkToNothing => {
            let link = Order::Symlink(scene.outside.path("folder/new"), ledger_path());
            sender.order(&Order::All(vec![folder, link]));
        }
        Plant::LedgerHardLink => {
            // What the kernel lets a sender link to, where it restricts that: what it can write to.
            let link = Order::Link(scene.outside.path("writable").into(), ledger_path());
            sender.order(&Order::All(vec![folder, link]));
        }
        Plant::LedgerFifo => sender.order(&Order::All(vec![folder, Order::Fifo(ledger_path())])),
        Plant::LedgerFolder => {
            sender.order(&Order::All(vec![folder, Order::MakeFolder(ledger_path(), 0o777)]));
        }
        Plant::WorkLink => {
            let link = Order::Symlink(scene.outside.path("folder"), beneath("work"));
            sender.order(&Order::All(vec![folder, link]));
        }
        Plant::LogsLink => {
            let link = Order::Symlink(scene.outside.path("folder"), beneath("logs"));
            sender.order(&Order::All(vec![folder, link]));
        }
        Plant::BindMount => {
            let own = scene.stage("own");
            sender.order(&Order::All(vec![folder, Order::MakeFolder(At::from(&own), 0o777)]));
            forge_work(scene, sender, &own, job, name);
            return Some(vec![mount(&own, &top)?]);
        }
    }
    Some(Vec::new())
}

/// Which of the daemon's places are said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    Nothing,
    WorkOutside,
    StateOutside,
}

impl Said {
    fn settings<'a>(self, scene: &Scene, source: &'a str) -> Settings<'a> {
        let (work, state) = match self {
            Self::Nothing => (None, None),
            Self::WorkOutside => (Some(scene.daemons_folder("work", 0o700)), None),
            Self::StateOutside => (None, Some(scene.daemons_folder("state", 0o700))),
        };
        Settings { work, state, source }
    }
}

fn planted_before_the_first_start(kind: Kind, what: Plant, said: Said) {
    let Some(scene) = Scene::of(kind) else { return };
    let mut sender = scene.sender();
    let package = Package::new("good", 1);
    let ledger = match what {
        Plant::ForgedLedger => forged_ledger(&scene, &mut sender, &package),
        _ => Vec::new(),
    };
    let mounts = plant(&scene, &mut sender, what, (NO_JOB, "forged"), &ledger);
    let Some(_mounts) = mounts else { return };
    let top = scene.place.landing().join(".longshore");
    let planted = Snapshot::of(&top);
    scene.deliver(&mut sender, "good", &package.zip);

    let source = "settle = '0s'\nidentical = 'discard'\nprocess.command = ['true']\n";
    let mut daemon = start(scene.daemon(&said.settings(&scene, source)));
    scene.wait_archived(&mut daemon, "good");
    scene.stop(&mut daemon);

    scene.assert_archived("good", &package);
    assert_eq!(scene.place.archived_names(), ["good"], "nothing else was delivered");
    assert_eq!(scene.place.quarantined_names(), [""; 0]);
    let touched = planted.differences(&Snapshot::of(&top));
    assert!(touched.is_empty(), "the planted things were used: {touched:#?}");
}

fn all_planted_before_the_first_start(kind: Kind) {
    // Where a daemon is root, whose the landing is makes no difference to what it was told.
    let places: &[_] = match kind {
        Kind::WorldWritable | Kind::SharedGroup => {
            &[Said::Nothing, Said::WorkOutside, Said::StateOutside]
        }
        Kind::Sticky | Kind::OwnedBySender => &[Said::Nothing],
    };
    let cases = places.iter().flat_map(|&said| Plant::ALL.map(|what| (what, said)));
    each_case(cases, |&(what, said)| planted_before_the_first_start(kind, what, said));
}

#[test]
fn world_writable_landing_planted_before_the_first_start_is_served_from_outside() {
    all_planted_before_the_first_start(Kind::WorldWritable);
}

#[test]
fn sticky_landing_planted_before_the_first_start_is_served_from_outside() {
    all_planted_before_the_first_start(Kind::Sticky);
}

#[test]
fn senders_own_landing_planted_before_the_first_start_is_served_from_outside() {
    all_planted_before_the_first_start(Kind::OwnedBySender);
}

#[test]
fn shared_groups_landing_planted_before_the_first_start_is_served_from_outside() {
    all_planted_before_the_first_start(Kind::SharedGroup);
}

/// When a sender plants while a job waits for its next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waiting {
    /// Between a stop and the next start.
    Stopped,
    /// Between a death of the daemon and the next start.
    Killed,
    /// In a daemon that runs.
    Running,
}

/// Has the sender move away what is at `LANDING/.longshore`; whether the name is free then.
fn move_away(scene: &Scene, sender: &mut Sender) -> bool {
    let top = scene.place.landing().join(".longshore");
    let away = scene.place.landing().join(".moved");
    let moved = sender.attempt(&Order::Rename(top.clone().into(), away.into()));
    moved.is_ok() || fs::symlink_metadata(top).is_err()
}

fn planted_while_a_job_waits(kind: Kind, what: Plant, when: Waiting) {
    let Some(scene) = Scene::of(kind) else { return };
    let mut sender = scene.sender();
    let package = Package::new("p", 1);
    let gate = scene.place.path("gate");
    let source = |backoff: &str| {
        format!(
            "settle = '0s'\nbackoff = '{backoff}'\nmax_attempts = 100\nprocess.shell = true\n\
             process.command = 'test -e {} || exit 75'\n",
            gate.display()
        )
    };
    // Long enough to plant in; a daemon that is stopped has all the time there is.
    let first = source(if when == Waiting::Running { "1s" } else { "60s" });
    let mut daemon = start(scene.daemon(&Settings { source: &first, ..Settings::default() }));
    scene.deliver(&mut sender, "p", &package.zip);
    let job = job_of(&daemon.wait_line(RETRY));
    match when {
        Waiting::Running => {}
        Waiting::Stopped => assert_eq!(daemon.terminate(), 0),
        Waiting::Killed => daemon.kill(),
    }
    if !move_away(&scene, &mut sender) {
        // Where the sender may not, it cannot plant either.
        return;
    }
    plant(&scene, &mut sender, what, (&job, "p"), &[]).unwrap();
    let planted = Snapshot::of(&scene.place.landing().join(".longshore"));
    fs::write(&gate, "").unwrap();
    if when != Waiting::Running {
        let second = source("10ms");
        daemon = start(scene.daemon(&Settings { source: &second, ..Settings::default() }));
    }
    scene.wait_archived(&mut daemon, "p");
    let next = Package::new("next", 2);
    scene.deliver(&mut sender, "next", &next.zip);
    scene.wait_archived(&mut daemon, "next");
    scene.stop(&mut daemon);

    scene.assert_archived("p", &package);
    scene.assert_archived("next", &next);
    assert_eq!(scene.place.archived_names(), ["next", "p"]);
    assert_eq!(scene.place.quarantined_names(), [""; 0]);
    let now = Snapshot::of(&scene.place.landing().join(".longshore"));
    let touched = planted.differences(&now);
    assert!(touched.is_empty(), "the planted things were used: {touched:#?}");
}

fn all_planted_while_a_job_waits(kind: Kind) {
    let moments: &[_] = match kind {
        Kind::WorldWritable => &[Waiting::Stopped, Waiting::Killed, Waiting::Running],
        _ => &[Waiting::Stopped, Waiting::Running],
    };
    let cases = moments.iter().flat_map(|&when| Plant::LATER.map(|what| (what, when)));
    each_case(cases, |&(what, when)| planted_while_a_job_waits(kind, what, when));
}

#[test]
fn world_writable_landing_planted_while_a_job_waits_changes_nothing() {
    all_planted_while_a_job_waits(Kind::WorldWritable);
}

#[test]
fn sticky_landing_planted_while_a_job_waits_changes_nothing() {
    all_planted_while_a_job_waits(Kind::Sticky);
}

#[test]
fn senders_own_landing_planted_while_a_job_waits_changes_nothing() {
    all_planted_while_a_job_waits(Kind::OwnedBySender);
}

#[test]
fn shared_groups_landing_planted_while_a_job_waits_changes_nothing() {
    all_planted_while_a_job_waits(Kind::SharedGroup);
}

/// What can be in a name's place.
#[derive(Debug, Clone, Copy)]
enum Probe {
    Fifo,
    Folder,
    FullFolder,
    Link,
    LinkToNothing,
}

#[test]
fn names_of_probes_taken_by_a_sender_do_not_hinder_the_start() {
    for kind in [Kind::WorldWritable, Kind::Sticky, Kind::SharedGroup] {
        let probes =
            [Probe::Fifo, Probe::Folder, Probe::FullFolder, Probe::Link, Probe::LinkToNothing];
        each_case(probes, |&what| {
            let Some(scene) = Scene::of(kind) else { return };
            let mut sender = scene.sender();
            let (gate, source) = (scene.place.path("gate"), "settle = '0s'");
            let command = scene.daemon(&Settings { source, ..Settings::default() });
            // The shell becomes the daemon: its number is known before the daemon starts.
            let mut shell = std::process::Command::new("sh");
            shell.args(["-c", "until [ -e \"$0\" ]; do sleep 0.01; done; exec \"$@\""]).arg(&gate);
            shell.arg(command.get_program()).args(command.get_args());
            shell.current_dir(scene.place.top()).env("STATE_DIRECTORY", scene.place.path("states"));
            let mut daemon = crate::common::daemon::Daemon::spawn(shell);
            let pid = daemon.pid();
            for pid in (pid - 5..pid + 50).chain(1..20) {
                let probe = scene.place.landing().join(format!(".longshore-probe-{pid}"));
                let at = At::from(&probe);
                sender.order(&match what {
                    Probe::Fifo => Order::Fifo(at),
                    Probe::Folder => Order::MakeFolder(at, 0o777),
                    Probe::FullFolder => Order::All(vec![
                        Order::MakeFolder(at, 0o777),
                        Order::MakeFolder(probe.join("folder").into(), 0o777),
                    ]),
                    Probe::Link => Order::Symlink(scene.outside.path("writable"), at),
                    Probe::LinkToNothing => Order::Symlink(scene.outside.path("folder/new"), at),
                });
            }
            fs::write(&gate, "").unwrap();
            super::scene::comes_up(&mut daemon)
                .unwrap_or_else(|why| panic!("{kind:?}: {why}\n{}", daemon.log()));
            let package = Package::new("good", 1);
            scene.deliver(&mut sender, "good", &package.zip);
            scene.wait_archived(&mut daemon, "good");
            scene.stop(&mut daemon);
            scene.assert_archived("good", &package);
        });
    }
}

/// The daemon's own files, each as something that it did not make, in a folder that only it writes to.
#[test]
fn state_that_is_no_file_of_the_daemon_is_refused_at_once() {
    #[derive(Debug, Clone, Copy)]
    enum Is {
        Link,
        LinkToNothing,
        HardLink,
        Fifo,
        Folder,
        AnotherUsers,
    }
    let kinds = [Is::Link, Is::LinkToNothing, Is::HardLink, Is::Fifo, Is::Folder, Is::AnotherUsers];
    each_case(kinds, |&is| {
        let Some(scene) = Scene::of(Kind::WorldWritable) else { return };
        let state = scene.daemons_folder("state", 0o755);
        let ledger = state.join("ledger.sqlite");
        let writable = scene.outside.path("writable");
        match is {
            Is::Link => std::os::unix::fs::symlink(&writable, &ledger).unwrap(),
            Is::LinkToNothing => {
                std::os::unix::fs::symlink(scene.outside.path("folder/new"), &ledger).unwrap();
            }
            Is::HardLink => fs::hard_link(&writable, &ledger).unwrap(),
            Is::Fifo => crate::common::make_fifo(&ledger),
            Is::Folder => fs::create_dir(&ledger).unwrap(),
            Is::AnotherUsers => {
                fs::write(&ledger, "").unwrap();
                let sender = Some(super::sender::SENDER);
                std::os::unix::fs::chown(&ledger, sender, sender).unwrap();
                fs::set_permissions(&ledger, fs::Permissions::from_mode(0o666)).unwrap();
            }
        }
        let command = scene.daemon(&Settings { state: Some(state), ..Settings::default() });
        let (code, said) = super::scene::refusal(command);
        assert!([69, 77, 78].contains(&code), "{code}: {said}");
        assert!(said.contains("ledger"), "it does not say what is wrong: {said}");
        assert_eq!(scene.outside.touched(), [""; 0]);
    });
}

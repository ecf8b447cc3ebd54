//! One state or one archive for two; and what `identical = "discard"` may delete.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use super::scene::{Kind, Package, Scene, Settings, refusal, start};
use super::sender::{At, Order, Sender};
use crate::common::daemon::{DEADLINE, Daemon, PACE};
use crate::common::names;

/// Pairs of one package, delivered to two landings.
const PAIRS: usize = 50;

/// Two landings of anybody with one archive.
struct Two {
    scene: Scene,
    other: PathBuf,
}

impl Two {
    fn new() -> Option<Self> {
        let scene = Scene::of(Kind::WorldWritable)?;
        let other = scene.daemons_folder("zip2", 0o777);
        Some(Self { scene, other })
    }

    /// `longshore run` with sources of these landings and one archive.
    fn daemon(&self, name: &str, sources: &[(&str, PathBuf)], identical: &str) -> Command {
        let state = self.scene.daemons_folder(&format!("state-{name}"), 0o700);
        let archive = self.scene.place.archive();
        let mut config = format!("state = {state:?}\n");
        for (source, landing) in sources {
            config += &format!(
                "[source.{source}]\nlanding = {landing:?}\narchive = {archive:?}\nsettle = '0s'\n\
                 identical = '{identical}'\n"
            );
        }
        let path = self.scene.place.path(format!("{name}.toml"));
        fs::write(&path, config).unwrap();
        let mut command = self.scene.place.longshore(&["run", "--config"]);
        command.arg(path);
        self.scene.as_daemon(command)
    }

    fn first(&self) -> PathBuf {
        self.scene.place.landing()
    }

    /// Delivers one package to both landings, with nothing between the two renames. All pairs but some
    /// come at once.
    fn deliver(&self, sender: &mut Sender, daemons: &mut [Daemon]) -> Vec<Package> {
        let packages: Vec<_> =
            (0..PAIRS).map(|n| Package::new(&format!("pair-{n:02}"), n)).collect();
        let mut orders = Vec::new();
        for package in &packages {
            let name = &package.name;
            let twin = self.scene.stage(&format!("{name}-twin"));
            sender.order(&Order::All(vec![
                self.scene.package(name, &package.zip),
                Order::MakeFolder(At::from(&twin), 0o755),
                Order::Write(twin.join(format!("{name}.zip")).into(), package.zip.clone(), 0o644),
            ]));
            orders.push(Order::All(vec![
                self.scene.delivery(name),
                Order::Rename(twin.into(), self.other.join(name).into()),
            ]));
        }
        let (one_by_one, at_once) = orders.split_at(PAIRS / 2);
        for (number, order) in one_by_one.iter().enumerate() {
            sender.order(order);
            wait_settled(daemons, 2 * (number + 1));
        }
        sender.order(&Order::All(at_once.to_vec()));
        wait_settled(daemons, 2 * PAIRS);
        packages
    }

    /// One of each pair is in the archive, and nothing else.
    fn assert_one_of_each(&self, packages: &[Package], daemons: &mut [Daemon]) {
        let log: String = daemons.iter_mut().map(Daemon::log).collect();
        let wanted: Vec<_> = packages.iter().map(|package| package.name.clone()).collect();
        assert_eq!(self.scene.place.archived_names(), wanted, "{log}");
        packages.iter().for_each(|package| self.scene.assert_archived(&package.name, package));
        for daemon in daemons {
            self.scene.stop(daemon);
        }
    }

    /// The other of each pair is in quarantine, as a duplicate.
    fn assert_duplicates(&self, packages: &[Package]) {
        for package in packages {
            let (folder, reason) = self.scene.place.quarantined(&package.name);
            assert_eq!(reason["code"], "duplicate", "{reason}");
            let zip = folder.join(format!("delivered/{}.zip", package.name));
            assert_eq!(fs::read(zip).unwrap(), package.zip, "it is not whole");
        }
    }
}

/// How many packages were settled.
fn settled(log: &str) -> usize {
    let facts = ["INFO archived,", "WARN quarantined,", "INFO discarded,"];
    log.lines().filter(|line| facts.iter().any(|fact| line.contains(fact))).count()
}

/// Waits until so many packages were settled by all daemons together.
fn wait_settled(daemons: &mut [Daemon], count: usize) {
    let begun = Instant::now();
    loop {
        let log: String = daemons.iter_mut().map(Daemon::log).collect();
        if settled(&log) >= count {
            return;
        }
        assert!(begun.elapsed() < DEADLINE, "{count} packages are not settled:\n{log}");
        daemons.iter_mut().for_each(|daemon| daemon.run_for(PACE));
    }
}

#[test]
fn package_in_two_sources_with_one_archive_is_archived_once() {
    for identical in ["quarantine", "discard"] {
        let Some(two) = Two::new() else { return };
        let mut sender = two.scene.sender();
        let sources = [("one", two.first()), ("two", two.other.clone())];
        let mut daemons = [start(two.daemon("both", &sources, identical))];
        daemons[0].wait_line("watching");
        let packages = two.deliver(&mut sender, &mut daemons);
        two.assert_one_of_each(&packages, &mut daemons);
        match identical {
            "discard" => assert_eq!(two.scene.place.quarantined_names(), [""; 0]),
            _ => two.assert_duplicates(&packages),
        }
    }
}

#[test]
fn package_in_two_daemons_with_one_archive_is_archived_once() {
    for identical in ["quarantine", "discard"] {
        let Some(two) = Two::new() else { return };
        let mut sender = two.scene.sender();
        let mut daemons = [("one", two.first()), ("two", two.other.clone())]
            .map(|source| start(two.daemon(source.0, std::slice::from_ref(&source), identical)));
        let packages = two.deliver(&mut sender, &mut daemons);
        two.assert_one_of_each(&packages, &mut daemons);
        match identical {
            "discard" => assert_eq!(two.scene.place.quarantined_names(), [""; 0]),
            _ => two.assert_duplicates(&packages),
        }
    }
}

#[test]
fn second_daemon_with_the_state_of_another_does_not_start() {
    for kind in [Kind::WorldWritable, Kind::SharedGroup] {
        let Some(scene) = Scene::of(kind) else { return };
        let state = scene.daemons_folder("state", 0o700);
        for folder in ["zip2", "mv_zip2", "quarantine2"] {
            scene.daemons_folder(folder, 0o755);
        }
        symlink(&state, scene.place.path("alias")).unwrap();
        let settings = Settings { state: Some(state.clone()), ..Settings::default() };
        let mut first = start(scene.daemon(&settings));
        let pid = first.pid().to_string();
        for state in [state, scene.place.path("alias")] {
            let mut second = scene.place.longshore(&["run", "--landing", "zip2"]);
            second.args(["--archive", "mv_zip2", "--quarantine", "quarantine2", "--state"]);
            let (code, said) = refusal(scene.as_daemon({
                second.arg(state);
                second
            }));
            assert_eq!(code, 75, "{said}");
            assert!(said.contains(&pid), "it does not name process {pid}: {said}");
        }
        let package = Package::new("good", 1);
        let mut sender = scene.sender();
        scene.deliver(&mut sender, "good", &package.zip);
        scene.wait_archived(&mut first, "good");
        scene.stop(&mut first);
    }
}

#[test]
fn package_whose_archived_one_was_taken_away_is_not_discarded() {
    for kind in [Kind::WorldWritable, Kind::OwnedBySender, Kind::SharedGroup] {
        let Some(scene) = Scene::of(kind) else { return };
        let mut sender = scene.sender();
        let source = "settle = '0s'\nidentical = 'discard'\n";
        let mut daemon = start(scene.daemon(&Settings { source, ..Settings::default() }));
        let package = Package::new("p", 1);
        scene.deliver(&mut sender, "p", &package.zip);
        daemon.wait_line("INFO archived,");
        // What is there is compared with, and may go.
        scene.deliver(&mut sender, "p", &package.zip);
        daemon.wait_line("INFO discarded,");
        // What came last is in the ledger then.
        assert_eq!(daemon.terminate(), 0);
        let mut daemon = start(scene.daemon(&Settings { source, ..Settings::default() }));
        let taken = scene.place.path("taken");
        fs::rename(scene.place.archive().join("p"), &taken).unwrap();
        scene.deliver(&mut sender, "p", &package.zip);
        let landed = scene.place.landing().join("p");
        daemon.wait_until("it is settled", || !landed.exists() && scene.jobs().is_empty());
        assert_eq!(scene.place.archived_names(), [""; 0], "{}", daemon.log());
        let (folder, reason) = scene.place.quarantined("p");
        assert_eq!(reason["code"], "duplicate", "{reason}");
        assert_eq!(fs::read(folder.join("delivered/p.zip")).unwrap(), package.zip);
        fs::rename(taken, scene.place.archive().join("p")).unwrap();
        scene.stop(&mut daemon);
    }
}

#[test]
fn package_whose_archived_one_was_changed_is_not_discarded() {
    let Some(scene) = Scene::of(Kind::WorldWritable) else { return };
    let mut sender = scene.sender();
    let source = "settle = '0s'\nidentical = 'discard'\n";
    let mut daemon = start(scene.daemon(&Settings { source, ..Settings::default() }));
    let package = Package::new("p", 1);
    scene.deliver(&mut sender, "p", &package.zip);
    daemon.wait_line("INFO archived,");
    // Of the same size, with a bit flipped in the middle.
    let zip = scene.place.archive().join("p/p.zip");
    fs::set_permissions(&zip, fs::Permissions::from_mode(0o644)).unwrap();
    let mut bytes = package.zip.clone();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&zip, bytes).unwrap();
    scene.deliver(&mut sender, "p", &package.zip);
    wait_settled(std::slice::from_mut(&mut daemon), 2);
    let kept = [scene.place.archive().join("p.2/p.zip")];
    let in_quarantine: Vec<_> = names(&scene.place.quarantine())
        .iter()
        .map(|name| scene.place.quarantine().join(name).join("delivered/p.zip"))
        .collect();
    let copies = kept.iter().chain(&in_quarantine).filter(|path| path.exists());
    let copies: Vec<_> = copies.map(|path| fs::read(path).unwrap()).collect();
    assert_eq!(copies, [package.zip], "the only sound one is gone:\n{}", daemon.log());
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn job_whose_zip_was_taken_away_is_not_told_as_archived_by_once() {
    let Some(scene) = Scene::of(Kind::WorldWritable) else { return };
    let mut sender = scene.sender();
    let source = "settle = '0s'\nbackoff = '60s'\nidentical = 'discard'\n\
                  process.shell = true\nprocess.command = 'exit 75'\n";
    let settings = Settings { source, ..Settings::default() };
    let mut daemon = start(scene.daemon(&settings));
    let package = Package::new("n", 1);
    sender.order(&scene.package("n", &package.zip));
    sender.order(&Order::OpenFolder("n".to_owned(), At::from(scene.stage("n"))));
    sender.order(&scene.delivery("n"));
    daemon.wait_line(super::planted::RETRY);
    let taken = sender.attempt(&Order::Unlink(super::sender::at("n", "n.zip")));
    daemon.kill();
    let settings = Settings { source: "settle = '0s'\nidentical = 'discard'\n", ..settings };
    let mut once = scene.daemon(&settings);
    once.arg("--once");
    let mut daemon = Daemon::spawn(once);
    daemon.code();
    let log = daemon.log();
    let archived = scene.place.archive().join("n");
    assert_eq!(log.contains("archived  "), archived.exists(), "{log}");
    assert_eq!(archived.exists(), taken.is_err(), "{log}");
    if taken.is_ok() {
        scene.deliver(&mut sender, "n", &package.zip);
        let mut once = scene.daemon(&settings);
        once.arg("--once");
        let mut daemon = Daemon::spawn(once);
        assert_eq!(daemon.code(), 0, "{}", daemon.log());
    }
    scene.assert_archived("n", &package);
}

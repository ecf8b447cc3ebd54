//! A sender that does at random whatever it may, while packages of others pass through.
//!
//! The seed is printed; `LONGSHORE_SEED` gives another one. It takes 8 seconds; with
//! `LONGSHORE_LONG=1` a minute, or with `LONGSHORE_ATTACK_SECONDS` as long as that says.
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

#[path = "random_attacker/attacker.rs"]
mod attacker;
mod common;
#[path = "hostile_sender/outside.rs"]
mod outside;
#[path = "hostile_sender/scene.rs"]
#[expect(dead_code, reason = "shared with the attacks that are not at random")]
mod scene;
#[path = "hostile_sender/sender.rs"]
#[expect(dead_code, reason = "shared with the attacks that are not at random")]
mod sender;

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use attacker::{ATTACKS, Assignment, Deeds, WRITTEN};
use common::witness::Dice;
use common::{Node, Tree, archived, is_long, names, tree};
use scene::{Kind, Package, Scene, Settings, start};
use sender::{At, Order, SENDER, Sender};

/// The sender of all other packages.
const OTHERS: u32 = 1002;
/// Different sound ZIPs of the attacker.
const ZIPS: usize = 8;

/// Not a test by itself: the process of the others.
#[test]
fn sender_of_its_own() {
    sender::obey();
}

/// Not a test by itself: the process of the attacker.
#[test]
fn attacker_of_its_own() {
    attacker::attack();
}

fn span() -> Duration {
    let said = std::env::var("LONGSHORE_ATTACK_SECONDS").ok().and_then(|said| said.parse().ok());
    Duration::from_secs(said.unwrap_or(if is_long() { 60 } else { 8 }))
}

/// What is wrong with an archived package of the attacker: a ZIP that is none of its sound ones, or
/// contents that are not those of this ZIP.
fn unverified(folder: &Path, sound: &[Package]) -> Vec<String> {
    let name = folder.file_name().unwrap().to_str().unwrap();
    let package = name.split('.').next().unwrap();
    if name.starts_with(WRITTEN) {
        return Vec::new();
    }
    let found = tree(folder);
    let zip = match found.get(Path::new(&format!("{package}.zip"))) {
        Some(Node::File(zip)) => zip,
        other => return vec![format!("{name}: its ZIP is {other:?}")],
    };
    let Some(of) = sound.iter().find(|sound| sound.zip == *zip) else {
        return vec![format!("{name}: its ZIP of {} bytes was never sound", zip.len())];
    };
    let mut wanted: Tree = archived(package, &of.files, zip.clone());
    let besides = ["note", "images", "late-0", "late-1", "late-2"];
    let beside = found.iter().filter(|(path, _)| besides.iter().any(|b| path.starts_with(b)));
    wanted.extend(beside.map(|(path, node)| (path.clone(), node.clone())));
    let paths: BTreeSet<_> = wanted.keys().chain(found.keys()).collect();
    let differ = paths.into_iter().filter(|path| wanted.get(*path) != found.get(*path));
    differ.map(|path| format!("{name}: {path:?} is {:?}", found.get(path))).collect()
}

fn starts_evil(names: &[String]) -> usize {
    names.iter().filter(|name| name.starts_with("evil-")).count()
}

#[test]
fn packages_of_others_pass_while_a_sender_attacks_at_random() {
    let Some(scene) = Scene::of(Kind::WorldWritable) else { return };
    let (_, seed) = Dice::thrown();
    println!("LONGSHORE_SEED={seed}");
    let (span, count) = (span(), if is_long() { 500 } else { 60 });
    let sound: Vec<_> = (0..ZIPS).map(|n| Package::new("evil", 1000 + n)).collect();
    let zips = scene.daemons_folder("zips", 0o755);
    for (number, package) in sound.iter().enumerate() {
        let path = zips.join(format!("{number}.zip"));
        fs::write(&path, &package.zip).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    }
    let others_stage = scene.daemons_folder("others", 0o755);
    chown(&others_stage, Some(OTHERS), Some(OTHERS)).unwrap();
    let mut others = Sender::start("sender_of_its_own", OTHERS, OTHERS);

    let source = "settle = '0s'\nbroken_after = '0s'\nbackoff = '100ms'\nrescan = '500ms'\n";
    let settings = Settings { source, ..Settings::default() };
    let mut daemon = start(scene.daemon(&settings));
    let assignment = Assignment {
        span,
        landing: scene.place.landing(),
        stage: scene.place.path("stage"),
        zips,
        zip_count: ZIPS as u64,
        outside: scene.outside.path(""),
    };
    let mut attacker = Command::new("/proc/self/exe")
        .args(["--exact", "attacker_of_its_own", "--test-threads=1"])
        .env(ATTACKS, serde_json::to_string(&assignment).unwrap())
        .env("LONGSHORE_SEED", seed.to_string())
        .uid(SENDER)
        .gid(SENDER)
        .current_dir("/")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();

    // Spread over the time of the attack, with a death of the daemon in the middle.
    let packages: Vec<_> = (0..count).map(|n| Package::new(&format!("other-{n:03}"), n)).collect();
    for (number, package) in packages.iter().enumerate() {
        if number == count / 2 {
            daemon.kill();
            daemon = start(scene.daemon(&settings));
        }
        let (name, staged) = (&package.name, others_stage.join(&package.name));
        let zip = staged.join(format!("{name}.zip"));
        others.order(&Order::All(vec![
            Order::MakeFolder(At::from(&staged), 0o755),
            Order::Write(At::from(zip), package.zip.clone(), 0o644),
            Order::Rename(At::from(&staged), scene.place.landing().join(name).into()),
        ]));
        daemon.run_for(span / u32::try_from(count).unwrap());
        assert!(daemon.is_alive(), "seed {seed}: it is dead:\n{}", daemon.log());
    }
    let mut said = String::new();
    attacker.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    let ended = attacker.wait().unwrap();
    assert!(ended.success(), "seed {seed}: the attacker failed: {said}");
    let deeds: Deeds = serde_json::from_str(&said).unwrap();

    for package in &packages {
        scene.place.wait_archived(&mut daemon, &package.name);
    }
    daemon.wait_until("no package is in work", || scene.jobs().is_empty());
    assert_eq!(daemon.terminate(), 0, "seed {seed}: it does not stop well:\n{}", daemon.log());

    let mut wrong = scene.wrongs(&daemon.log());
    wrong.extend(scene.unfit());
    let in_archive = scene.place.archived_names();
    let wanted: Vec<_> = packages.iter().map(|package| package.name.clone()).collect();
    let of_others: Vec<_> =
        in_archive.iter().filter(|name| !name.starts_with("evil-")).cloned().collect();
    if of_others != wanted {
        wrong.push(format!("the archive holds {of_others:?}"));
    }
    let mut whole = 0;
    for package in &packages {
        let found = tree(&scene.place.archive().join(&package.name));
        match found == archived(&package.name, &package.files, package.zip.clone()) {
            true => whole += 1,
            false => wrong.push(format!("{} is not what was delivered", package.name)),
        }
    }
    for name in in_archive.iter().filter(|name| name.starts_with("evil-")) {
        wrong.extend(unverified(&scene.place.archive().join(name), &sound));
    }
    println!(
        "random attacker: seed {seed}, {} actions, {} of its packages archived, {} quarantined, \
         {whole} of {count} others archived",
        deeds.actions,
        starts_evil(&in_archive),
        starts_evil(&names(&scene.place.quarantine())),
    );
    assert!(wrong.is_empty(), "seed {seed}: {wrong:#?}\n{}", daemon.log());
}

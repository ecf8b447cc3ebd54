//! Where work and state lie, by who may write in a landing.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{XattrFlags, setxattr};

use super::scene::{DAEMON, Kind, Package, Scene, Settings, as_user, refusal, start};
use super::sender::{At, Order, SENDER, Sender};
use crate::common::daemon::{Daemon, run_to_end};
use crate::common::{Place, archived, is_root, run, skip, tree, zips};

const KINDS: [Kind; 4] =
    [Kind::WorldWritable, Kind::Sticky, Kind::OwnedBySender, Kind::SharedGroup];

/// Lets the sender write in a folder by an entry of its access control list. False where the file
/// system has none.
fn allow_by_acl(folder: &Path) -> bool {
    let mut acl = 2_u32.to_le_bytes().to_vec();
    let nobody = u32::MAX;
    // Owner, the sender, group, mask, others.
    for (tag, permissions, id) in [
        (0x01, 7, nobody),
        (0x02, 7, SENDER),
        (0x04, 5, nobody),
        (0x10, 7, nobody),
        (0x20, 5, nobody),
    ] {
        acl.extend(u16::to_le_bytes(tag));
        acl.extend(u16::to_le_bytes(permissions));
        acl.extend(u32::to_le_bytes(id));
    }
    match setxattr(folder, "system.posix_acl_access", &acl, XattrFlags::empty()) {
        Ok(()) => true,
        Err(error) => {
            skip(&format!("no access control lists here: {error}"));
            false
        }
    }
}

/// Nothing of the daemon is in the landing, and its places are where they belong.
fn assert_outside(scene: &Scene) {
    let inside = scene.place.landing().join(".longshore");
    assert!(!inside.exists(), "its own folders are where the sender can move them");
    for (path, folder) in [("", true), ("work", true), ("ledger.sqlite", false)] {
        let path = scene.state().join(path);
        let is_folder = fs::symlink_metadata(&path).ok().map(|found| found.is_dir());
        assert_eq!(is_folder, Some(folder), "{path:?} is not there: {:?}", tree(scene.place.top()));
    }
}

/// Has a package go through, and the daemon end.
fn works(scene: &Scene, command: Command) {
    let mut daemon = start(command);
    let (mut sender, package) = (scene.sender(), Package::new("good", 1));
    scene.deliver(&mut sender, "good", &package.zip);
    scene.wait_archived(&mut daemon, "good");
    scene.stop(&mut daemon);
    scene.assert_archived("good", &package);
}

const AT_ONCE: Settings<'static> = Settings { work: None, state: None, source: "settle = '0s'" };

#[test]
fn landing_that_a_sender_may_write_in_has_work_and_state_outside() {
    for kind in KINDS {
        let Some(scene) = Scene::of(kind) else { return };
        works(&scene, scene.daemon(&AT_ONCE));
        assert_outside(&scene);
    }
}

#[test]
fn landing_that_a_sender_may_write_in_by_an_acl_has_work_and_state_outside() {
    let Some(scene) = Scene::of(Kind::WorldWritable) else { return };
    fs::set_permissions(scene.place.landing(), fs::Permissions::from_mode(0o755)).unwrap();
    if !allow_by_acl(&scene.place.landing()) {
        return;
    }
    works(&scene, scene.daemon(&AT_ONCE));
    assert_outside(&scene);
}

/// A landing of root in a folder that the sender may write in by some way.
#[test]
fn landing_below_a_folder_of_a_sender_has_work_and_state_outside() {
    for by_acl in [false, true] {
        let Some(scene) = Scene::of(Kind::WorldWritable) else { return };
        let home = scene.daemons_folder("home", 0o755);
        let landing = home.join("a/zip");
        fs::create_dir_all(&landing).unwrap();
        if !by_acl {
            chown(&home, Some(SENDER), Some(SENDER)).unwrap();
        } else if !allow_by_acl(&home) {
            return;
        }
        let command = || {
            let mut command = scene.place.longshore(&["run", "--settle", "0s", "--archive"]);
            command.arg(scene.place.archive()).arg("--landing").arg(&landing);
            scene.as_daemon(command)
        };
        let mut daemon = start(command());
        assert!(!landing.join(".longshore").exists(), "it is in what the sender can move away");
        let state = fs::read_dir(scene.place.path("states")).unwrap().count();
        assert_eq!(state, 1, "the state is not where it belongs");

        // The sender puts something else in the landing's place.
        let mut sender = scene.sender();
        sender.order(&Order::All(vec![
            Order::Rename(home.join("a").into(), home.join("b").into()),
            Order::MakeFolder(home.join("a").into(), 0o755),
            Order::Symlink(scene.outside.path("folder"), landing.clone().into()),
        ]));
        let moved = home.join("b/zip");
        let package = Package::new("good", 1);
        fs::rename(scene.place.stage("good", &package.zip), moved.join("good")).unwrap();
        scene.stop(&mut daemon);

        // And a folder of its own with forged places in it.
        sender.order(&Order::All(vec![
            Order::Unlink(landing.clone().into()),
            Order::MakeFolder(landing.clone().into(), 0o755),
            Order::MakeFolder(landing.join(".longshore").into(), 0o755),
            Order::Symlink(
                scene.outside.path("writable"),
                landing.join(".longshore/ledger.sqlite").into(),
            ),
        ]));
        let mut daemon = Daemon::spawn(command());
        super::scene::comes_up(&mut daemon).ok();
        if daemon.is_alive() {
            assert_eq!(daemon.terminate(), 0);
        }
        assert_eq!(scene.wrongs(&daemon.log()), [""; 0]);
    }
}

#[test]
fn work_or_state_inside_a_landing_that_a_sender_may_write_in_is_refused() {
    for kind in KINDS {
        let Some(scene) = Scene::of(kind) else { return };
        let inside = scene.place.landing().join(".ours");
        fs::create_dir(&inside).unwrap();
        chown(&inside, Some(kind.daemon()), Some(kind.daemon())).unwrap();
        fs::set_permissions(&inside, fs::Permissions::from_mode(0o700)).unwrap();
        let before = tree(&scene.place.landing());
        for (work, state, says) in [
            (Some(inside.join("work")), None, "work"),
            (Some(inside.clone()), None, "work"),
            (Some(scene.place.landing().join(".longshore/work")), None, "work"),
            (None, Some(inside.join("state")), "state"),
            (None, Some(inside.clone()), "state"),
            (None, Some(scene.place.landing().join(".longshore")), "state"),
        ] {
            let (code, said) = refusal(scene.daemon(&Settings { work, state, source: "" }));
            assert_eq!(code, 78, "{kind:?}: {said}");
            assert!(said.contains(says), "{kind:?}: it does not say what is wrong: {said}");
            assert_eq!(tree(&scene.place.landing()), before, "{kind:?}: something was made");
        }
    }
}

/// A landing of a group in a folder of the daemon's user, which is not root and has no folder for state.
fn shared_in_own_folder(parent: u32) -> Option<(Scene, PathBuf, Command)> {
    let scene = Scene::of(Kind::SharedGroup)?;
    let parent_folder = scene.daemons_folder("parent", parent);
    let landing = parent_folder.join("zip");
    fs::rename(scene.place.landing(), &landing).unwrap();
    let mut command = scene.place.longshore(&["run", "--settle", "0s", "--archive"]);
    command.arg(scene.place.archive()).arg("--landing").arg(&landing);
    let mut command = scene.as_daemon(command);
    command.env_remove("STATE_DIRECTORY").env_remove("XDG_STATE_HOME").env("HOME", "/nonexistent");
    Some((scene, landing, command))
}

/// Has the sender deliver to another landing than the scene's.
fn deliver_to(scene: &Scene, sender: &mut Sender, landing: &Path, package: &Package) {
    sender.order(&scene.package(&package.name, &package.zip));
    let to = landing.join(&package.name);
    sender.order(&Order::Rename(At::from(scene.stage(&package.name)), to.into()));
}

#[test]
fn daemon_without_a_folder_for_state_uses_one_beside_its_landing() {
    let Some((scene, landing, command)) = shared_in_own_folder(0o755) else { return };
    let mut daemon = start(command);
    let package = Package::new("good", 1);
    deliver_to(&scene, &mut scene.sender(), &landing, &package);
    scene.wait_archived(&mut daemon, "good");
    scene.stop(&mut daemon);
    scene.assert_archived("good", &package);
    assert!(!landing.join(".longshore").exists());
    let beside = landing.with_file_name(".longshore-zip");
    assert!(beside.join("work").is_dir(), "{:?}", tree(scene.place.top()));
    assert!(beside.join("ledger.sqlite").is_file(), "{:?}", tree(scene.place.top()));
    let mode = fs::metadata(&beside).unwrap().permissions().mode();
    assert_eq!(mode & 0o022, 0, "others can write to it: {mode:o}");
}

#[test]
fn folder_beside_the_landing_that_somebody_else_made_is_not_used() {
    for is_link in [false, true] {
        let Some((scene, landing, command)) = shared_in_own_folder(0o755) else { return };
        let beside = landing.with_file_name(".longshore-zip");
        if is_link {
            let to = scene.outside.path("folder");
            std::os::unix::fs::symlink(to, &beside).unwrap();
        } else {
            fs::create_dir(&beside).unwrap();
            chown(&beside, Some(SENDER), Some(SENDER)).unwrap();
        }
        let (code, said) = refusal(command);
        assert!([77, 78].contains(&code), "{code}: {said}");
        assert!(said.contains("--work"), "it does not say what helps: {said}");
        assert_eq!(scene.outside.touched(), [""; 0]);
    }
}

#[test]
fn daemon_that_can_have_no_safe_place_is_refused_and_told_what_helps() {
    // The folder above is one that others may write in; and one that is not the daemon's.
    for (mode, owner) in [(0o777, DAEMON), (0o775, DAEMON), (0o755, 0)] {
        let Some((scene, landing, command)) = shared_in_own_folder(mode) else { return };
        // Of a group that the sender is in.
        chown(landing.parent().unwrap(), Some(owner), Some(3000)).unwrap();
        let (code, said) = refusal(command);
        assert_eq!(code, 78, "{mode:o} of {owner}: {said}");
        assert!(said.contains("--work"), "it does not say what helps: {said}");
        assert_eq!(tree(&landing).len(), 0, "something was made in the landing");
        assert_eq!(scene.outside.touched(), [""; 0]);
    }
}

#[test]
fn folder_for_state_that_others_may_write_in_is_passed_over() {
    for mode in [0o777, 0o770] {
        let Some((scene, landing, mut command)) = shared_in_own_folder(0o755) else { return };
        let open = scene.daemons_folder("open", 0o755);
        let states = open.join("states");
        fs::create_dir(&states).unwrap();
        chown(&states, Some(DAEMON), Some(DAEMON)).unwrap();
        // Above the folder itself.
        chown(&open, Some(DAEMON), Some(3000)).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(mode)).unwrap();
        command.env("STATE_DIRECTORY", &states);
        let mut daemon = start(command);
        let package = Package::new("good", 1);
        deliver_to(&scene, &mut scene.sender(), &landing, &package);
        scene.wait_archived(&mut daemon, "good");
        scene.stop(&mut daemon);
        assert_eq!(tree(&states).len(), 0, "it is where others can put things");
        assert!(landing.with_file_name(".longshore-zip").join("work").is_dir());
    }
}

#[test]
fn landing_of_the_daemons_user_alone_has_work_and_state_inside() {
    for mode in [0o755, 0o700, 0o775] {
        let Some(scene) = Scene::of(Kind::WorldWritable) else { return };
        fs::set_permissions(scene.place.landing(), fs::Permissions::from_mode(mode)).unwrap();
        let mut daemon = start(scene.daemon(&AT_ONCE));
        let zip = zips::deflated(&zips::sample(1));
        scene.place.deliver("good", &zip);
        scene.wait_archived(&mut daemon, "good");
        scene.stop(&mut daemon);
        let inside = scene.place.landing().join(".longshore");
        assert!(inside.join("work").is_dir(), "{mode:o}");
        assert!(inside.join("ledger.sqlite").is_file(), "{mode:o}");
        assert_eq!(tree(&scene.place.path("states")).len(), 0, "{mode:o}");
    }
}

/// The README's commands, as a user does who has only a folder of its own.
#[test]
fn user_in_a_folder_of_its_own_needs_no_option() {
    if !is_root() {
        return skip("not root");
    }
    for umask in ["022", "002", "077"] {
        let place = Place::new();
        let home = place.path("home");
        fs::create_dir(&home).unwrap();
        chown(&home, Some(SENDER), Some(SENDER)).unwrap();
        let mode = 0o777 & !u32::from_str_radix(umask, 8).unwrap();
        fs::set_permissions(&home, fs::Permissions::from_mode(mode)).unwrap();
        let zip = zips::deflated(&zips::sample(1));
        fs::write(place.path("one.zip"), &zip).unwrap();
        // What the user types, as that user.
        let shell = |script: &str, longshore: &Command| {
            let as_user = as_user(&place, longshore, SENDER, "");
            let mut command = Command::new("sh");
            let script = format!("umask {umask}; {script}");
            command.args(["-c", &script, "sh"]).arg(as_user.get_program()).args(as_user.get_args());
            command.current_dir(&home).env_remove("STATE_DIRECTORY");
            command
        };
        let as_sender = |script: &str| {
            let script = format!("umask {umask}; {script}");
            run(Command::new("setpriv")
                .args(["--reuid=1001", "--regid=1001", "--clear-groups", "sh", "-c", &script])
                .current_dir(&home));
        };
        let options = ["run", "--landing", "zip", "--archive", "mv_zip"];
        as_sender("mkdir -p zip/one && cp ../one.zip zip/one/");
        let once = place.longshore(&[&options[..], &["--once"]].concat());
        let ended = run_to_end(shell("exec \"$@\"", &once));
        assert_eq!(ended.code, 0, "umask {umask}: {}", ended.err);
        let mut daemon = start(shell("exec \"$@\"", &place.longshore(&options)));
        as_sender(
            "mkdir two-downloading && cp ../one.zip two-downloading/two.zip && mv two-downloading zip/two",
        );
        let two = home.join("mv_zip/two");
        daemon.wait_until("it is archived", || two.exists());
        assert_eq!(daemon.terminate(), 0);
        for name in ["one", "two"] {
            let wanted = archived(name, &zips::sample(1), zip.clone());
            assert_eq!(tree(&home.join("mv_zip").join(name)), wanted, "umask {umask}");
        }
        assert!(home.join("zip/.longshore/work").is_dir(), "umask {umask}: {:?}", tree(&home));
    }
}

#[test]
fn logs_and_explain_find_the_places_and_touch_nothing_of_a_sender() {
    let Some(scene) = Scene::of(Kind::WorldWritable) else { return };
    let source = "settle = '0s'\nprocess.command = ['echo', 'a word of the command']\n";
    works(&scene, scene.daemon(&Settings { source, ..Settings::default() }));
    assert_outside(&scene);
    let ask = |arguments: &[&str]| {
        let command = scene.as_daemon(scene.place.longshore(arguments));
        let mut asked = Daemon::spawn(command);
        asked.run_for(std::time::Duration::from_secs(20));
        assert!(!asked.is_alive(), "{arguments:?} hangs: {}", asked.log());
        (asked.code(), asked.log())
    };
    let ask_all = || {
        [
            ask(&["logs", "good", "--landing", "zip"]),
            ask(&["explain", "good", "--landing", "zip", "--archive", "mv_zip"]),
        ]
    };
    let before = ask_all();
    assert_eq!(before[0].0, 0, "{}", before[0].1);
    assert!(before[0].1.contains("a word of the command"), "{}", before[0].1);
    let mut sender = scene.sender();
    let top = scene.place.landing().join(".longshore");
    for orders in [
        vec![Order::Symlink(scene.outside.path("folder"), At::from(&top))],
        vec![
            Order::Unlink(At::from(&top)),
            Order::MakeFolder(At::from(&top), 0o755),
            Order::Fifo(top.join("ledger.sqlite").into()),
        ],
        vec![
            Order::Unlink(top.join("ledger.sqlite").into()),
            Order::Symlink(scene.outside.path("writable"), top.join("ledger.sqlite").into()),
        ],
    ] {
        sender.order(&Order::All(orders));
        assert_eq!(ask_all(), before, "what a sender planted is asked");
        assert_eq!(scene.outside.touched(), [""; 0]);
    }
}

//! A sender that keeps handles on what it delivered, and uses them at every moment of a package.

use std::fs;
use std::path::{Path, PathBuf};

use super::planted::RETRY;
use super::scene::{Kind, Package, Scene, Settings, start};
use super::sender::{At, Order, Sender, at};
use crate::common::daemon::Daemon;
use crate::common::{Node, Tree, names, tree};

/// When the handles are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// Delivered, and no daemon runs yet.
    BeforeClaim,
    WhileTheCommandRuns,
    WhileItWaitsForARetry,
    /// The same, and the daemon is killed and started again before the retry.
    BeforeARestart,
    AfterItIsArchived,
}

/// What is done, by a handle on the folder, on the ZIP or on what lies beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    UnlinkZip,
    ExchangeZip,
    RenameOverZip,
    LinkInPlaceOfZip,
    LinkToOwnZipInPlaceOfZip,
    HardLinkInPlaceOfZip,
    FifoInPlaceOfZip,
    FolderInPlaceOfZip,
    TruncateZip,
    AppendToZip,
    WriteIntoZip,
    MakeZipSetuid,
    SetuidFileBeside,
    FifoBeside,
    LinkBeside,
    HardLinkBeside,
    /// To a file of somebody else that the sender can write to.
    HardLinkToAnothersFileBeside,
    FileBeside,
    LinkInPlaceOfBeside,
    HardLinkInPlaceOfBeside,
    MakeBesideSetuid,
    WriteIntoBeside,
    OpenUpFolder,
    LinkInFolderBeside,
    SetuidFileInFolderBeside,
    LinkInPlaceOfFolderBeside,
}

impl Act {
    const ALL: [Self; 26] = [
        Self::UnlinkZip,
        Self::ExchangeZip,
        Self::RenameOverZip,
        Self::LinkInPlaceOfZip,
        Self::LinkToOwnZipInPlaceOfZip,
        Self::HardLinkInPlaceOfZip,
        Self::FifoInPlaceOfZip,
        Self::FolderInPlaceOfZip,
        Self::TruncateZip,
        Self::AppendToZip,
        Self::WriteIntoZip,
        Self::MakeZipSetuid,
        Self::SetuidFileBeside,
        Self::FifoBeside,
        Self::LinkBeside,
        Self::HardLinkBeside,
        Self::HardLinkToAnothersFileBeside,
        Self::FileBeside,
        Self::LinkInPlaceOfBeside,
        Self::HardLinkInPlaceOfBeside,
        Self::MakeBesideSetuid,
        Self::WriteIntoBeside,
        Self::OpenUpFolder,
        Self::LinkInFolderBeside,
        Self::SetuidFileInFolderBeside,
        Self::LinkInPlaceOfFolderBeside,
    ];

    /// The package that it is done to.
    fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }

    /// Whether the handle that it needs is one on a file, which no change of owner takes away.
    fn is_by_the_file(self) -> bool {
        matches!(
            self,
            Self::TruncateZip | Self::AppendToZip | Self::WriteIntoZip | Self::WriteIntoBeside
        )
    }

    /// What the sender does. Handles are called `NAME`, `NAME/zip`, `NAME/beside`, `NAME/images`.
    fn order(self, scene: &Scene) -> Order {
        let name = self.name();
        let zip = || at(&name, &format!("{name}.zip"));
        let beside = |path: &str| at(&name, path);
        let images = |path: &str| at(&format!("{name}/images"), path);
        let evil = || At::from(scene.stage(&format!("{name}-evil.zip")));
        let secret = || scene.outside.path("secret");
        let run = || PathBuf::from("/bin/true");
        let then = |orders: [Order; 2]| Order::All(orders.into());
        match self {
            Self::UnlinkZip => Order::Unlink(zip()),
            Self::ExchangeZip => Order::Exchange(evil(), zip()),
            Self::RenameOverZip => Order::Rename(evil(), zip()),
            Self::LinkInPlaceOfZip => then([Order::Unlink(zip()), Order::Symlink(secret(), zip())]),
            Self::LinkToOwnZipInPlaceOfZip => {
                let own = scene.stage(&format!("{name}-evil.zip"));
                then([Order::Unlink(zip()), Order::Symlink(own, zip())])
            }
            Self::HardLinkInPlaceOfZip => then([Order::Unlink(zip()), Order::Link(evil(), zip())]),
            Self::FifoInPlaceOfZip => then([Order::Unlink(zip()), Order::Fifo(zip())]),
            Self::FolderInPlaceOfZip => {
                then([Order::Unlink(zip()), Order::MakeFolder(zip(), 0o777)])
            }
            Self::TruncateZip => Order::Truncate(format!("{name}/zip"), 10),
            Self::AppendToZip => Order::Append(format!("{name}/zip"), b"more".to_vec()),
            Self::WriteIntoZip => Order::Overwrite(format!("{name}/zip"), 45, b"evil".to_vec()),
            Self::MakeZipSetuid => Order::Chmod(format!("{name}/zip"), 0o6755),
            Self::SetuidFileBeside => Order::Copy(run(), beside("late"), 0o6755),
            Self::FifoBeside => Order::Fifo(beside("late")),
            Self::LinkBeside => Order::Symlink(secret(), beside("late")),
            Self::HardLinkBeside => Order::Link(evil(), beside("late")),
            Self::HardLinkToAnothersFileBeside => {
                Order::Link(scene.outside.path("open").into(), beside("late"))
            }
            Self::FileBeside => Order::Write(beside("late"), b"late".to_vec(), 0o666),
            Self::LinkInPlaceOfBeside => {
                let note = beside("note.txt");
                then([Order::Unlink(note.clone()), Order::Symlink(secret(), note)])
            }
            Self::HardLinkInPlaceOfBeside => {
                let note = beside("note.txt");
                then([Order::Unlink(note.clone()), Order::Link(evil(), note)])
            }
            Self::MakeBesideSetuid => Order::Chmod(format!("{name}/beside"), 0o6755),
            Self::WriteIntoBeside => {
                Order::Overwrite(format!("{name}/beside"), 0, b"evil".to_vec())
            }
            Self::OpenUpFolder => Order::Chmod(name, 0o3777),
            Self::LinkInFolderBeside => Order::Symlink(secret(), images("late")),
            Self::SetuidFileInFolderBeside => Order::Copy(run(), images("late"), 0o6755),
            Self::LinkInPlaceOfFolderBeside => {
                let folder = scene.outside.path("folder");
                let moved = At::from(scene.stage(&format!("{name}-images")));
                then([
                    Order::Rename(beside("images"), moved),
                    Order::Symlink(folder, beside("images")),
                ])
            }
        }
    }
}

/// A package of each act, with handles of the sender on all of it.
struct Deliveries {
    packages: Vec<(Act, Package)>,
    /// What the sender would rather have in the archive: a sound ZIP as well.
    evil: Package,
}

impl Deliveries {
    /// Has the sender make them, outside of the landing, and keep their handles.
    fn prepare(scene: &Scene, sender: &mut Sender) -> Self {
        let evil = Package::new("evil", 666);
        let packages: Vec<_> = Act::ALL
            .iter()
            .enumerate()
            .map(|(number, &act)| (act, Package::new(&act.name(), number)))
            .collect();
        for (_, package) in &packages {
            let name = &package.name;
            let folder = scene.stage(name);
            let path = |below: &str| At::from(folder.join(below));
            let own = At::from(scene.stage(&format!("{name}-evil.zip")));
            sender.order(&Order::All(vec![
                scene.package(name, &package.zip),
                Order::Write(path("note.txt"), b"a note\n".to_vec(), 0o644),
                Order::MakeFolder(path("images"), scene.kind.folder_mode() | 0o022),
                Order::Write(path("images/1.png"), b"an image\n".to_vec(), 0o666),
                Order::Write(own, evil.zip.clone(), 0o644),
                Order::OpenFolder(name.clone(), At::from(&folder)),
                Order::OpenFolder(format!("{name}/images"), path("images")),
                Order::OpenFile(format!("{name}/zip"), path(&format!("{name}.zip"))),
                Order::OpenFile(format!("{name}/beside"), path("note.txt")),
            ]));
        }
        Self { packages, evil }
    }

    fn deliver(&self, scene: &Scene, sender: &mut Sender) {
        for (_, package) in &self.packages {
            sender.order(&scene.delivery(&package.name));
        }
    }

    /// Acts on each; what the system refused the sender is well.
    fn act(&self, scene: &Scene, sender: &mut Sender) {
        for (act, _) in &self.packages {
            sender.attempt(&act.order(scene)).ok();
        }
    }

    /// What is wrong with an archived folder: contents that are not those of its ZIP, whichever sound
    /// one that is, or files that were never beside it.
    fn unverified(&self, package: &Package, folder: &Path) -> Vec<String> {
        let name = &package.name;
        let found = tree(folder);
        let zip = match found.get(Path::new(&format!("{name}.zip"))) {
            Some(Node::File(zip)) => zip,
            other => return vec![format!("its ZIP is {other:?}")],
        };
        let of = [package, &self.evil].into_iter().find(|package| package.zip == *zip);
        let Some(of) = of else {
            return vec![format!("its ZIP of {} bytes is none that is sound", zip.len())];
        };
        let mut wanted: Tree = crate::common::archived(name, &of.files, zip.clone());
        for (beside, node) in found.iter().filter(|(path, _)| is_beside(path)) {
            wanted.insert(beside.clone(), node.clone());
        }
        let paths: std::collections::BTreeSet<_> = wanted.keys().chain(found.keys()).collect();
        paths
            .into_iter()
            .filter(|path| wanted.get(*path) != found.get(*path))
            .map(|path| format!("{path:?} is {:?}", found.get(path)))
            .collect()
    }
}

/// Whether the sender has put this beside a ZIP, early or late.
fn is_beside(path: &Path) -> bool {
    ["note.txt", "late", "images"].iter().any(|beside| path.starts_with(beside))
}

/// Waits until no package is in work; what lies in the landing then stays there.
fn settle(scene: &Scene, daemon: &mut Daemon, sender: &mut Sender, fence: &str) {
    // Offered after all that were there before it.
    scene.deliver(sender, fence, &Package::new(fence, 777).zip);
    scene.wait_archived(daemon, fence);
    daemon.wait_until("no package is in work", || scene.jobs().is_empty());
}

fn handles_used(kind: Kind, moment: Moment) {
    let Some(scene) = Scene::of(kind) else { return };
    let mut sender = scene.sender();
    let deliveries = Deliveries::prepare(&scene, &mut sender);
    let (gate, here) = (scene.place.path("gate"), scene.daemons_folder("here", 0o755));
    let command = match moment {
        Moment::WhileTheCommandRuns => {
            ": > \"$1/$LONGSHORE_NAME\"; until [ -e \"$0\" ]; do sleep 0.02; done"
        }
        Moment::WhileItWaitsForARetry | Moment::BeforeARestart => "[ -e \"$0\" ] || exit 75",
        Moment::BeforeClaim | Moment::AfterItIsArchived => "exit 0",
    };
    let command = ["sh", "-c", command, gate.to_str().unwrap(), here.to_str().unwrap()];
    let source = format!(
        "settle = '0s'\nbroken_after = '0s'\nbackoff = '1s'\nbackoff_max = '1s'\nmax_attempts = 20\n\
         process.workers = 64\nprocess.command = {command:?}\n"
    );
    let settings = Settings { source: &source, ..Settings::default() };
    if moment == Moment::BeforeClaim {
        deliveries.deliver(&scene, &mut sender);
        deliveries.act(&scene, &mut sender);
    }
    let mut daemon = start(scene.daemon(&settings));
    if moment != Moment::BeforeClaim {
        deliveries.deliver(&scene, &mut sender);
    }
    match moment {
        Moment::BeforeClaim => {}
        Moment::WhileTheCommandRuns => daemon
            .wait_until("every command runs", || names(&here).len() == deliveries.packages.len()),
        Moment::WhileItWaitsForARetry | Moment::BeforeARestart => {
            deliveries.packages.iter().for_each(|_| drop(daemon.wait_line(RETRY)));
        }
        Moment::AfterItIsArchived => {
            for (_, package) in &deliveries.packages {
                scene.wait_archived(&mut daemon, &package.name);
            }
            daemon.wait_until("no package is in work", || scene.jobs().is_empty());
        }
    }
    if moment != Moment::BeforeClaim {
        deliveries.act(&scene, &mut sender);
    }
    let mut log = String::new();
    if moment == Moment::BeforeARestart {
        daemon.kill();
        log += &daemon.log();
        fs::write(&gate, "").unwrap();
        daemon = start(scene.daemon(&settings));
    }
    fs::write(&gate, "").unwrap();
    settle(&scene, &mut daemon, &mut sender, "fence-1");
    let mut wrong = scene.wrongs(&(log.clone() + &daemon.log()));
    // A daemon without rights cannot take from the sender what it delivered; root can.
    let stays_the_senders = moment == Moment::AfterItIsArchived && kind.daemon() != 0;
    if !stays_the_senders {
        wrong.extend(scene.unfit());
    }
    let mut judge = |delivered_again: bool| {
        for (act, package) in &deliveries.packages {
            if moment == Moment::AfterItIsArchived && act.is_by_the_file() {
                // A file that was open for writing before its claim stays so. What was told is true of
                // the moment when it was told.
                continue;
            }
            let folders = [package.name.clone(), format!("{}.2", package.name)];
            let archived: Vec<_> = folders
                .iter()
                .map(|folder| scene.place.archive().join(folder))
                .filter(|folder| folder.exists())
                .collect();
            for folder in &archived {
                let unverified = deliveries.unverified(package, folder);
                wrong.extend(unverified.into_iter().map(|why| format!("{folder:?}: {why}")));
            }
            let zip = format!("{}.zip", package.name);
            let is_it = |folder: &PathBuf| {
                fs::read(folder.join(&zip)).is_ok_and(|found| found == package.zip)
            };
            let times = archived.iter().filter(|folder| is_it(folder)).count();
            if delivered_again && times != 1 {
                wrong.push(format!("delivered again, {act:?} is in the archive {times} times"));
            }
        }
    };
    judge(false);
    // What the sender spoilt it delivers once more, and now leaves alone.
    for (_, package) in &deliveries.packages {
        let (landed, spoilt) = (
            scene.place.landing().join(&package.name),
            scene.stage(&format!("{}-spoilt", package.name)),
        );
        sender.attempt(&Order::Rename(landed.into(), spoilt.into())).ok();
        scene.deliver(&mut sender, &package.name, &package.zip);
    }
    settle(&scene, &mut daemon, &mut sender, "fence-2");
    daemon.wait_until("all are settled", || {
        scene.place.landed_names().is_empty() && scene.jobs().is_empty()
    });
    judge(true);
    if !stays_the_senders {
        wrong.extend(scene.unfit());
    }
    assert_eq!(daemon.terminate(), 0, "it does not stop well:\n{}", daemon.log());
    log += &daemon.log();
    wrong.extend(scene.wrongs(&log));
    wrong.sort();
    wrong.dedup();
    assert!(wrong.is_empty(), "{wrong:#?}\n{log}");
}

macro_rules! moments {
    ($($kind:ident: $before:ident $command:ident $retry:ident $restart:ident $archived:ident;)*) => {$(
        #[test]
        fn $before() {
            handles_used(Kind::$kind, Moment::BeforeClaim);
        }
        #[test]
        fn $command() {
            handles_used(Kind::$kind, Moment::WhileTheCommandRuns);
        }
        #[test]
        fn $retry() {
            handles_used(Kind::$kind, Moment::WhileItWaitsForARetry);
        }
        #[test]
        fn $restart() {
            handles_used(Kind::$kind, Moment::BeforeARestart);
        }
        #[test]
        fn $archived() {
            handles_used(Kind::$kind, Moment::AfterItIsArchived);
        }
    )*};
}

moments! {
    WorldWritable:
        world_writable_landing_handles_used_before_the_claim_are_judged
        world_writable_landing_handles_used_during_the_command_are_harmless
        world_writable_landing_handles_used_before_a_retry_are_harmless
        world_writable_landing_handles_used_before_a_restart_are_harmless
        world_writable_landing_handles_used_on_the_archive_are_worthless;
    Sticky:
        sticky_landing_handles_used_before_the_claim_are_judged
        sticky_landing_handles_used_during_the_command_are_harmless
        sticky_landing_handles_used_before_a_retry_are_harmless
        sticky_landing_handles_used_before_a_restart_are_harmless
        sticky_landing_handles_used_on_the_archive_are_worthless;
    OwnedBySender:
        senders_own_landing_handles_used_before_the_claim_are_judged
        senders_own_landing_handles_used_during_the_command_are_harmless
        senders_own_landing_handles_used_before_a_retry_are_harmless
        senders_own_landing_handles_used_before_a_restart_are_harmless
        senders_own_landing_handles_used_on_the_archive_are_worthless;
    SharedGroup:
        shared_groups_landing_handles_used_before_the_claim_are_judged
        shared_groups_landing_handles_used_during_the_command_are_harmless
        shared_groups_landing_handles_used_before_a_retry_are_harmless
        shared_groups_landing_handles_used_before_a_restart_are_harmless
        shared_groups_landing_handles_used_on_the_archive_are_worthless;
}

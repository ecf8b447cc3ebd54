//! The walk over the fail points: the real binary is ended, or refused by the system, at every
//! transition of a package and every commit of the ledger, and started again.
//!
//! A first run without a fault says which points there are. Then, for each: 20 packages, a fault, a
//! second run without one, and every package is settled once, in its place, with the ledger equal to
//! the disk. What a restart passes is walked as well, by a second kill.
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use rustix::process::Signal;
use tempfile::TempDir;

use common::books::differences;
use common::daemon::{Ended, run_to_end};
use common::{Node, Place, Tree, archived, is_long, names, skip, tree, zips};

/// What the fault may be, beside the end of the process.
const ERRORS: [&str; 3] = ["EIO", "ENOSPC", "EACCES"];

/// Points that must be among those walked: what a package passes on its way, and what a restart does.
/// Who renames one of these folders or files changes it here, too.
const MUST: &[&str] = &[
    "compare:copy",
    "copy:tree",
    "create:mark",
    "fsync:target",
    "ledger:begin",
    "ledger:commit",
    "ledger:committed",
    "mkdir:.claim",
    "mkdir:.out",
    "mkdir:.q",
    "mkdir:copy",
    "mkdir:job",
    "rename:.boot.new:.boot",
    "rename:.claim:delivered",
    "rename:.done:.final",
    "rename:.final:.copied",
    "rename:.final:outside",
    "rename:.out:.done",
    "rename:.q:.q-copied",
    "rename:.q:outside",
    "rename:beside:gathered",
    "rename:copy:outside",
    "rename:delivered:.discard",
    "rename:delivered:delivered",
    "rename:delivered:gathered",
    "rename:job:job",
    "rename:outside:claimed",
    "rename:outside:delivered",
    "rename:reason.json.new:reason.json",
    "rename:zip:gathered",
    "rmdir:delivered",
    "rmdir:job",
    "rmtree:.copied",
    "rmtree:.discard",
    "rmtree:.done",
    "rmtree:.out",
    "rmtree:.q-copied",
    "rmtree:copy",
    "sync:target",
    "sync:work",
    "write:.boot.new",
    "write:.copy.json",
    "write:reason.json.new",
];

/// Where a refused permission may cost a good package its archive: who may not move its files cannot
/// archive it, whole.
const MAY_GIVE_UP: [&str; 2] = ["rename:zip:gathered", "rename:beside:gathered"];

const SCRIPT: &str = "case $LONGSHORE_NAME in \
    retried) test $LONGSHORE_ATTEMPT -ge 2 || exit 75;; \
    made) echo made >made;; esac";

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Scene {
    /// All on one file system.
    Here,
    /// Archive and quarantine on another one.
    Elsewhere,
    /// Duplicates are deleted.
    Discard,
}

/// Packages in a landing, and what is to become of them.
struct Stage {
    place: Place,
    config: String,
    archived: BTreeMap<String, Tree>,
    quarantined: BTreeSet<String>,
    /// Folders that were in the archive before.
    old: Vec<PathBuf>,
    _other: Option<TempDir>,
}

impl Stage {
    fn set(scene: Scene) -> Self {
        let mut place = Place::new();
        let mut other = None;
        if scene == Scene::Elsewhere {
            let folder = tempfile::Builder::new().prefix("longshore-test-").tempdir_in("/dev/shm");
            let folder = folder.unwrap();
            place = place
                .with_archive(folder.path().join("mv_zip"))
                .with_quarantine(folder.path().join("quarantine"));
            other = Some(folder);
        }
        let identical = if scene == Scene::Discard { "identical = 'discard'\n" } else { "" };
        let source = place.script(
            SCRIPT,
            &format!(
                "backoff_max = '10ms'\nrescan = '100ms'\naccept = ['folder', 'zip']\n{identical}"
            ),
        );
        let config = format!("once_wait = '20s'\n{source}");
        let mut stage = Self {
            place,
            config,
            archived: BTreeMap::new(),
            quarantined: BTreeSet::new(),
            old: Vec::new(),
            _other: other,
        };
        if scene == Scene::Discard {
            stage.good("good", 1);
            stage.come_again(true);
        } else {
            stage.all_kinds();
        }
        stage
    }

    /// 20 packages.
    fn all_kinds(&mut self) {
        for number in 0..10 {
            self.good(&format!("good-{number}"), number);
        }
        self.good("retried", 10);
        self.good("made", 11);
        let made = Node::File(b"made\n".to_vec());
        self.archived.get_mut("made").unwrap().insert("made".into(), made);
        for number in [12, 13] {
            self.with_files_beside(&format!("beside-{number}"), number);
        }
        for number in [14, 15] {
            let name = format!("bare-{number}");
            let folder = self.place.stage(&name, &self.zip(number));
            let file = format!("{name}.zip");
            fs::rename(folder.join(&file), self.place.landing().join(&file)).unwrap();
            self.expect(&name, &name, number);
        }
        let mut broken = zips::deflated(&[("a.txt".to_owned(), vec![7; 999])].into());
        broken[30 + "a.txt".len()] ^= 0xff;
        self.bad("broken", &broken);
        self.bad("hostile", &zips::raw(&[zips::Entry::file("../out.txt", b"out")]));
        self.come_again(false);
        self.archived_before("revised", 18);
        self.place.deliver("revised", &self.zip(19));
        self.expect("revised", "revised.2", 19);
    }

    fn zip(&self, number: usize) -> Vec<u8> {
        zips::deflated(&zips::sample(number))
    }

    fn expect(&mut self, name: &str, path: &str, number: usize) {
        let tree = archived(name, &zips::sample(number), self.zip(number));
        self.archived.insert(path.to_owned(), tree);
    }

    fn good(&mut self, name: &str, number: usize) {
        self.place.deliver(name, &self.zip(number));
        self.expect(name, name, number);
    }

    fn with_files_beside(&mut self, name: &str, number: usize) {
        let folder = self.place.stage(name, &self.zip(number));
        fs::create_dir(folder.join("beside")).unwrap();
        fs::write(folder.join("beside/note.txt"), name).unwrap();
        fs::rename(folder, self.place.landing().join(name)).unwrap();
        self.expect(name, name, number);
        let tree = self.archived.get_mut(name).unwrap();
        tree.insert("beside".into(), Node::Folder);
        tree.insert("beside/note.txt".into(), Node::File(name.into()));
    }

    fn bad(&mut self, name: &str, zip: &[u8]) {
        self.place.deliver(name, zip);
        self.quarantined.insert(name.to_owned());
    }

    fn come_again(&mut self, is_deleted: bool) {
        self.archived_before("again", 17);
        self.place.deliver("again", &self.zip(17));
        if !is_deleted {
            self.quarantined.insert("again".to_owned());
        }
    }

    /// As if an earlier run had archived it, whose ledger is gone.
    fn archived_before(&mut self, name: &str, number: usize) {
        self.expect(name, name, number);
        let folder = self.place.archive().join(name);
        for (path, node) in &self.archived[name] {
            let full = folder.join(path);
            match node {
                Node::File(bytes) => {
                    fs::create_dir_all(full.parent().unwrap()).unwrap();
                    fs::write(full, bytes).unwrap();
                }
                _ => fs::create_dir_all(full).unwrap(),
            }
        }
        self.old.push(folder);
    }

    /// Runs the binary once over it; the points that it passed, a `!` before those that fired.
    fn run(&self, fault: Option<&Fault>) -> (Ended, Vec<String>) {
        let seen = self.place.path("seen");
        fs::remove_file(&seen).ok();
        let mut command = self.place.run_with(&self.config, &["--once"]);
        command.env("LONGSHORE_FAILPOINTS_SEEN", &seen).env("RUST_BACKTRACE", "0");
        command.env("FAILPOINTS", fault.map(Fault::text).unwrap_or_default());
        let ended = run_to_end(command);
        let text = fs::read_to_string(seen).unwrap_or_default();
        (ended, text.lines().map(str::to_owned).collect())
    }

    /// What is not as it should be at the end; and how many good packages were given up, which only a
    /// refused permission excuses.
    fn wrong(&self, may_give_up: bool) -> (Vec<String>, usize) {
        let place = &self.place;
        let mut wrong = differences(place, &self.old);
        let left = (place.landed_names(), place.jobs());
        if left != (vec![], vec![]) {
            wrong.push(format!("left in the landing and the work area: {left:?}"));
        }
        let mut quarantined = BTreeSet::new();
        for folder in place.quarantined_names() {
            let text = fs::read_to_string(place.quarantine().join(&folder).join("reason.json"));
            let reason: serde_json::Value = serde_json::from_str(&text.unwrap()).unwrap();
            if !quarantined.insert(reason["name"].as_str().unwrap().to_owned()) {
                wrong.push(format!("{folder} is a second one of its package in quarantine"));
            }
        }
        let in_archive: BTreeSet<String> = place.archived_names().into_iter().collect();
        let missing = self.quarantined.difference(&quarantined);
        wrong.extend(missing.map(|name| format!("{name} is not in quarantine")));
        let given_up: Vec<&String> = quarantined.difference(&self.quarantined).collect();
        if given_up.len() > usize::from(may_give_up) {
            wrong.push(format!("in quarantine: {given_up:?}"));
        }
        for (name, tree_wanted) in &self.archived {
            let package = name.split('.').next().unwrap_or(name);
            // A file beside the ZIP that could not come along is in quarantine by itself.
            if given_up.iter().any(|name| *name == package) {
                continue;
            }
            if !in_archive.contains(name) {
                wrong.push(format!("{name} is lost"));
            } else if tree(&place.archive().join(name)) != *tree_wanted {
                wrong.push(format!("{name} is not whole in the archive"));
            }
        }
        let unknown = in_archive.iter().filter(|name| !self.archived.contains_key(*name));
        wrong.extend(unknown.map(|name| format!("{name} is in the archive, and should not be")));
        for target in [place.archive(), place.quarantine()] {
            let copies = names(&target.join(".longshore"));
            if !copies.is_empty() {
                wrong.push(format!("half copies are left: {copies:?}"));
            }
        }
        (wrong, given_up.len())
    }
}

/// What happens at a point, the `hit`th time that it is passed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Fault {
    point: String,
    hit: usize,
    how: &'static str,
}

impl Fault {
    fn text(&self) -> String {
        let before = match self.hit {
            0 | 1 => String::new(),
            hit => format!("{}*off->", hit - 1),
        };
        format!("{}={before}1*return({})", self.point, self.how)
    }

    fn is_kill(&self) -> bool {
        self.how == "abort"
    }
}

/// One walk: a fault, perhaps a kill of the restart, and a run to the end.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Walk {
    scene: Scene,
    fault: Fault,
    then: Option<Fault>,
}

/// What came of a walk.
struct Walked {
    /// Of the fault, and of the one in the restart.
    fired: Vec<bool>,
    given_up: usize,
    wrong: Vec<String>,
    /// Points that the restart passed.
    restart: BTreeSet<String>,
}

impl Walk {
    fn take(&self) -> Walked {
        let stage = Stage::set(self.scene);
        let mut wrong = Vec::new();
        let mut said = String::new();
        let mut fired = Vec::new();
        for fault in [Some(&self.fault), self.then.as_ref()].into_iter().flatten() {
            let (ended, seen) = stage.run(Some(fault));
            let has_fired = seen.iter().any(|line| line.starts_with('!'));
            fired.push(has_fired);
            if fault.is_kill() && has_fired && ended.code != 1000 + Signal::ABORT.as_raw() {
                wrong.push(format!("it was to be killed, and ended with {}", ended.code));
            }
            said += &format!("--- {}: {}\n{}{}", fault.text(), ended.code, ended.out, ended.err);
        }
        let (ended, seen) = stage.run(None);
        said += &format!("--- restart: {}\n{}{}", ended.code, ended.out, ended.err);
        if said.contains("panicked") {
            wrong.push("something panicked".to_owned());
        }
        let is_refused =
            |fault: &Fault| fault.how == "EACCES" && MAY_GIVE_UP.contains(&&*fault.point);
        let may_give_up = is_refused(&self.fault) || self.then.as_ref().is_some_and(is_refused);
        let (at_end, given_up) = stage.wrong(may_give_up);
        wrong.extend(at_end);
        if !wrong.is_empty() {
            wrong.push(said);
        }
        Walked { fired, given_up, wrong, restart: seen.into_iter().collect() }
    }
}

/// Takes all walks, several at a time.
fn take(walks: Vec<Walk>) -> Vec<(Walk, Walked)> {
    let walks = Mutex::new(walks.into_iter());
    let done = Mutex::new(Vec::new());
    thread::scope(|scope| {
        // More than there are cores: an ENOSPC is waited out for seconds.
        for _ in 0..6 {
            scope.spawn(|| {
                loop {
                    let next = walks.lock().unwrap().next();
                    let Some(walk) = next else { return };
                    let walked = walk.take();
                    done.lock().unwrap().push((walk, walked));
                }
            });
        }
    });
    done.into_inner().unwrap()
}

/// How often each point is passed where nothing goes wrong.
fn points(scene: Scene) -> BTreeMap<String, usize> {
    let stage = Stage::set(scene);
    let (ended, seen) = stage.run(None);
    let wrong = stage.wrong(false).0;
    assert!(wrong.is_empty(), "without a fault: {wrong:?}\n{}{}", ended.out, ended.err);
    let mut points = BTreeMap::new();
    for point in seen {
        *points.entry(point).or_default() += 1;
    }
    points
}

fn faults(point: &str, count: usize) -> Vec<Fault> {
    let fault = |hit, how| Fault { point: point.to_owned(), hit, how };
    let middle = count.div_ceil(2);
    let mut hits = BTreeSet::from([1, middle]);
    if is_long() {
        hits.extend(1..=count.min(20));
    }
    let mut faults: Vec<Fault> = hits.into_iter().map(|hit| fault(hit, "abort")).collect();
    faults.extend(ERRORS.map(|error| fault(middle, error)));
    faults
}

#[test]
fn every_point_killed_or_refused_loses_no_package_and_settles_each_once() {
    let begun = Instant::now();
    let mut scenes = vec![Scene::Here, Scene::Discard];
    let (here, shm) = (tempfile::tempdir().unwrap(), tempfile::tempdir_in("/dev/shm"));
    let device =
        |path: &std::path::Path| std::os::unix::fs::MetadataExt::dev(&fs::metadata(path).unwrap());
    if shm.is_ok_and(|shm| device(shm.path()) != device(here.path())) {
        scenes.push(Scene::Elsewhere);
    } else {
        skip("there is no other file system at /dev/shm: no walk over copies");
    }
    let mut walked_points = BTreeSet::new();
    let mut walks = Vec::new();
    for &scene in &scenes {
        for (point, count) in points(scene) {
            let is_new = walked_points.insert(point.clone());
            // Elsewhere the same point is passed with copies under way; two packages add nothing.
            if is_new || scene != Scene::Discard {
                let fault_of = |fault| Walk { scene, fault, then: None };
                walks.extend(faults(&point, count).into_iter().map(fault_of));
            }
        }
    }
    let first = take(walks);

    // What restarts pass, after up to three of the kills that have a restart pass it.
    let mut passed_by: BTreeMap<(Scene, String), Vec<&Walk>> = BTreeMap::new();
    for (walk, walked) in &first {
        if walk.fault.is_kill() && walked.wrong.is_empty() {
            for point in &walked.restart {
                passed_by.entry((walk.scene, point.clone())).or_default().push(walk);
            }
        }
    }
    let mut second = Vec::new();
    for ((scene, point), mut walks) in passed_by {
        walked_points.insert(point.clone());
        walks.sort();
        let last = walks.len() - 1;
        let faults =
            [(0, "abort"), (last / 2, "abort"), (last, ERRORS[second.len() % ERRORS.len()])];
        for (at, how) in faults {
            let then = Some(Fault { point: point.clone(), hit: 1, how });
            second.push(Walk { scene, fault: walks[at].fault.clone(), then });
        }
    }
    second.sort();
    second.dedup();
    let second = take(second);

    let all: Vec<(Walk, Walked)> = first.into_iter().chain(second).collect();
    let idle = all.iter().filter(|(_, walked)| walked.fired.contains(&false)).count();
    let given_up: usize = all.iter().map(|(_, walked)| walked.given_up).sum();
    let wrong: Vec<String> = all
        .iter()
        .filter(|(_, walked)| !walked.wrong.is_empty())
        .map(|(walk, walked)| format!("{walk:?}: {}", walked.wrong.join("\n  ")))
        .collect();
    assert!(wrong.is_empty(), "{} walks went wrong:\n{}", wrong.len(), wrong.join("\n"));
    let missing: Vec<_> = MUST.iter().filter(|point| !walked_points.contains(**point)).collect();
    let is_whole = scenes.contains(&Scene::Elsewhere);
    assert!(missing.is_empty() || !is_whole, "the walk did not come by {missing:?}");

    // A point is walked where a kill and an error came to pass at it, not where they were asked for.
    let mut killed = BTreeSet::new();
    let mut refused = BTreeSet::new();
    for (walk, walked) in &all {
        for (fault, fired) in
            [Some(&walk.fault), walk.then.as_ref()].into_iter().flatten().zip(&walked.fired)
        {
            if *fired {
                if fault.is_kill() { &mut killed } else { &mut refused }
                    .insert(fault.point.clone());
            }
        }
    }
    let not_killed: Vec<_> = walked_points.difference(&killed).collect();
    assert_eq!(not_killed, [""; 0], "no kill came to pass at these points");
    let not_refused: Vec<_> = MUST.iter().filter(|point| !refused.contains(**point)).collect();
    assert!(not_refused.is_empty() || !is_whole, "no error came to pass at {not_refused:?}");
    println!(
        "kill points: {} points, {} runs with a fault ({idle} of which did not come to it), {} packages, \
         0 lost, 0 twice, 0 partial, {given_up} good ones in quarantine after EACCES, {:.0} s",
        walked_points.len(),
        all.len(),
        all.iter()
            .map(|(walk, _)| if walk.scene == Scene::Discard { 2 } else { 20 })
            .sum::<usize>(),
        begun.elapsed().as_secs_f64()
    );
}

//! The walk over the fail points: the real binary is ended, or refused by the system, at every
//! transition of a package and every commit of the ledger, and started again.
//!
//! A first run without a fault says which points there are. Then, for each: 20 packages, a fault, a
//! second run without one, and every package is settled once, in its place, with the ledger equal to
//! the disk. What a restart passes is walked as well, by a second kill.
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod common;
#[path = "kill_points/stage.rs"]
mod stage;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use rustix::process::Signal;

use common::{is_long, skip};
use stage::{Scene, Stage};

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
    "rename:.out:.final",
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
            let (ended, seen) = stage.run(&fault.text());
            let has_fired = seen.iter().any(|line| line.starts_with('!'));
            fired.push(has_fired);
            if fault.is_kill() && has_fired && ended.code != 1000 + Signal::ABORT.as_raw() {
                wrong.push(format!("it was to be killed, and ended with {}", ended.code));
            }
            said += &format!("--- {}: {}\n{}{}", fault.text(), ended.code, ended.out, ended.err);
        }
        let (ended, seen) = stage.run("");
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
    let (ended, seen) = stage.run("");
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
    let mut scenes = vec![Scene::Here, Scene::Plain, Scene::Discard];
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

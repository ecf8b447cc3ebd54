//! A stage that ends the whole process over one package, in a stream of good ones.
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use actix::{Actor, Context, Handler};
use longshore::testkit::{PackageMaker, TempLanding};
use longshore::{Config, Outlet, Pipeline, Source, SourceName, Unpacked};

/// Where the child finds its landing and archive.
const HOME: &str = "LONGSHORE_TEST_POISON";
/// Deaths after which a package is given up, beyond those that may be anybody's.
const MAX_CRASHES: u32 = 1;

struct Victim(Outlet);

impl Actor for Victim {
    type Context = Context<Self>;
}

impl Handler<Unpacked> for Victim {
    type Result = ();

    fn handle(&mut self, unpacked: Unpacked, _: &mut Context<Self>) {
        if unpacked.package.name().as_str() == "poison" {
            std::process::abort();
        }
        self.0.pass(unpacked.package);
    }
}

/// Not a test by itself: the process that the one below starts, again and again.
#[test]
fn daemon_of_its_own() {
    let Some(home) = std::env::var_os(HOME) else { return };
    let home = Path::new(&home);
    let mut source = Source::new(SourceName::default(), home.join("landing"), home.join("archive"));
    source.settle = Duration::ZERO;
    source.max_crashes = MAX_CRASHES;
    actix::System::new().block_on(async {
        let pipeline = Pipeline::builder(Config::new(source)).once();
        let pipeline = pipeline.stage("victim", |outlet| Victim(outlet).start().recipient());
        pipeline.start().unwrap().ended().await;
    });
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn poison_in_a_stream_of_good_packages_is_quarantined_alone() {
    let home = TempLanding::new();
    let landing = home.path().join("landing");
    fs::create_dir(&landing).unwrap();
    let deliver = |name: &str| {
        let folder = landing.join(name);
        fs::create_dir(&folder).unwrap();
        let package = PackageMaker::new(name).file("a.txt", name);
        fs::write(folder.join(format!("{name}.zip")), package.zip()).unwrap();
    };
    deliver("poison");
    let mut good = BTreeSet::new();
    let mut deaths = 0;
    loop {
        for number in 0..10 {
            let name = format!("good-{deaths}-{number}");
            deliver(&name);
            good.insert(name);
        }
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "daemon_of_its_own", "--test-threads=1"]).env(HOME, home.path());
        let output = child.output().unwrap();
        if output.status.success() {
            break;
        }
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.signal(), Some(6), "it did not end by the stage's abort: {said}");
        deaths += 1;
        assert!(deaths < 10, "the poison is let in again and again: {said}");
    }
    assert_eq!(deaths, 2 + MAX_CRASHES, "two may be anybody's; then it runs alone");
    assert_eq!(names(&home.path().join("archive")), good);
    let quarantined = names(&home.path().join("quarantine"));
    let [folder] = &quarantined.iter().collect::<Vec<_>>()[..] else { panic!("{quarantined:?}") };
    let reason = fs::read(home.path().join("quarantine").join(folder).join("reason.json")).unwrap();
    let reason: serde_json::Value = serde_json::from_slice(&reason).unwrap();
    assert_eq!((&reason["name"], &reason["code"]), (&"poison".into(), &"crashes_daemon".into()));
    assert_eq!(names(&landing), BTreeSet::from([".longshore".to_owned()]));
}

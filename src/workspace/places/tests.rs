use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::workspace::testing::source;

struct Fixture {
    top: tempfile::TempDir,
    source: Source,
    landing: Folder,
}

impl Fixture {
    /// Creates a landing with this mode.
    fn new(mode: u32) -> Self {
        let top = tempfile::tempdir().unwrap();
        let source = source(top.path());
        fs::create_dir(&source.landing).unwrap();
        fs::set_permissions(&source.landing, fs::Permissions::from_mode(mode)).unwrap();
        let landing = Folder::open(&source.landing.canonicalize().unwrap()).unwrap();
        Self { top, source, landing }
    }

    fn path(&self, below: &str) -> PathBuf {
        self.top.path().canonicalize().unwrap().join(below)
    }

    fn around(&self, is_root: bool, vars: &'static [(&str, &str)]) -> Surroundings {
        let mut around = Surroundings::of(is_root, |name| {
            let found = vars.iter().find(|(known, _)| *known == name);
            found.map(|(_, below)| self.path(below).into())
        });
        around.machine = self.path("var/lib");
        around
    }

    fn key(&self) -> String {
        key(&resolve(&self.source.landing))
    }
}

#[test]
fn work_area_lies_in_a_landing_that_only_we_can_write_to() {
    let fixture = Fixture::new(0o755);
    let around = fixture.around(true, &[("STATE_DIRECTORY", "unit")]);
    let work = choose_work_in(&fixture.source, &fixture.landing, &around).unwrap();
    assert_eq!(work, fixture.source.landing.join(".longshore/work"));
    let config = Config::new(fixture.source.clone());
    let state = state_folder_in(&config, &around).unwrap();
    assert_eq!(state, fixture.source.landing.join(".longshore"));
    assert_eq!(fs::read_dir(fixture.top.path()).unwrap().count(), 1, "something was made");
}

#[test]
fn work_area_of_an_exposed_landing_lies_in_the_first_place_that_is_safe() {
    for mode in [0o777, 0o1777, 0o757] {
        let fixture = Fixture::new(mode);
        let (key, source) = (fixture.key(), &fixture.source);
        let work =
            |around: &Surroundings| choose_work_in(source, &fixture.landing, around).unwrap();
        let unit = fixture.around(true, &[("STATE_DIRECTORY", "unit"), ("HOME", "home")]);
        assert_eq!(work(&unit), fixture.path("unit").join(&key).join("work"));
        let root = fixture.around(true, &[("HOME", "home")]);
        assert_eq!(work(&root), fixture.path("var/lib/longshore").join(&key).join("work"));
        let user = fixture.around(false, &[("HOME", "home")]);
        assert_eq!(work(&user), fixture.path(".longshore-zip/work"));
        let config = Config::new(source.clone());
        assert_eq!(state_folder_in(&config, &user).unwrap(), fixture.path(".longshore-zip"));
    }
}

#[test]
fn place_that_others_can_write_to_is_passed_over_and_without_one_the_start_is_refused() {
    let fixture = Fixture::new(0o777);
    let open = fs::Permissions::from_mode(0o777);
    fs::create_dir(fixture.path("unit")).unwrap();
    fs::set_permissions(fixture.path("unit"), open.clone()).unwrap();
    let around = fixture.around(false, &[("STATE_DIRECTORY", "unit"), ("HOME", "unit/home")]);
    let work = choose_work_in(&fixture.source, &fixture.landing, &around).unwrap();
    assert_eq!(work, fixture.path(".longshore-zip/work"));
    fs::set_permissions(fixture.top.path(), open).unwrap();
    let error = choose_work_in(&fixture.source, &fixture.landing, &around).unwrap_err();
    assert_eq!(error.exit_code(), 78);
    let message = error.to_string();
    for part in ["every user", "--work DIR", "unit", ".longshore-zip"] {
        assert!(message.contains(part), "no {part:?} in {message}");
    }
    assert!(!fixture.path("unit/home").exists(), "it was made where others can write");
}

#[test]
fn configured_folder_in_an_exposed_landing_is_refused() {
    let mut fixture = Fixture::new(0o777);
    let inside = fixture.source.landing.join(".longshore");
    let around = fixture.around(true, &[]);
    let mut config = Config::new(fixture.source.clone());
    config.state = Some(inside.clone());
    fixture.source.work = Some(inside.join("work"));
    let work = choose_work_in(&fixture.source, &fixture.landing, &around).unwrap_err();
    let state = state_folder_in(&config, &around).unwrap_err();
    for (error, flag) in [(work, "--work"), (state, "--state")] {
        assert_eq!(error.exit_code(), 78, "{error}");
        assert!(error.to_string().contains(flag), "{error}");
    }
}

#[test]
fn landing_that_is_no_longer_exposed_keeps_the_place_of_its_jobs() {
    let fixture = Fixture::new(0o777);
    let around = fixture.around(false, &[]);
    let work = choose_work_in(&fixture.source, &fixture.landing, &around).unwrap();
    fs::create_dir(work.join("default")).unwrap();
    fs::set_permissions(&fixture.source.landing, fs::Permissions::from_mode(0o755)).unwrap();
    let again = choose_work_in(&fixture.source, &fixture.landing, &around).unwrap();
    assert_eq!(again, work);
}

#[test]
fn key_of_a_landing_is_its_path_and_of_a_long_one_a_part_and_a_hash() {
    assert_eq!(key(Path::new("/srv/100%/in")), "srv%2F100%25%2Fin");
    let long = PathBuf::from(format!("/{}", "名/".repeat(200)));
    let other = PathBuf::from(format!("/{}x", "名/".repeat(200)));
    assert!(key(&long).len() <= 255 && key(&long) != key(&other));
}

//! [`Stage`]: packages of every kind in a landing, and whether each came to its place.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::common::books::differences;
use crate::common::daemon::{Ended, run_to_end};
use crate::common::{Node, Place, Tree, archived, names, tree, zips};

const SCRIPT: &str = "case $LONGSHORE_NAME in \
    retried) test $LONGSHORE_ATTEMPT -ge 2 || exit 75;; \
    made) echo made >made;; esac";

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Scene {
    /// All on one file system.
    Here,
    /// Archive and quarantine on another one.
    Elsewhere,
    /// Duplicates are deleted.
    Discard,
    /// No stage and no command: packages go from the extractor to the archive.
    Plain,
}

/// Packages in a landing, and what is to become of them.
pub(super) struct Stage {
    place: Place,
    config: String,
    archived: BTreeMap<String, Tree>,
    quarantined: BTreeSet<String>,
    /// Folders that were in the archive before.
    old: Vec<PathBuf>,
    _other: Option<TempDir>,
}

impl Stage {
    pub(super) fn set(scene: Scene) -> Self {
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
        let more = format!(
            "backoff_max = '10ms'\nrescan = '100ms'\naccept = ['folder', 'zip']\n{identical}"
        );
        let source = match scene {
            Scene::Plain => place.config(&format!("settle = '0s'\nbackoff = '1ms'\n{more}")),
            _ => place.script(SCRIPT, &more),
        };
        let config = format!("once_wait = '20s'\n{source}");
        let mut stage = Self {
            place,
            config,
            archived: BTreeMap::new(),
            quarantined: BTreeSet::new(),
            old: Vec::new(),
            _other: other,
        };
        match scene {
            Scene::Discard => {
                stage.good("good", 1);
                stage.come_again(true);
            }
            Scene::Plain => stage.kinds_without_command(),
            Scene::Here | Scene::Elsewhere => stage.all_kinds(),
        }
        stage
    }

    /// 20 packages.
    fn all_kinds(&mut self) {
        for number in 3..10 {
            self.good(&format!("good-{number}"), number);
        }
        self.good("retried", 10);
        self.good("made", 11);
        let made = Node::File(b"made\n".to_vec());
        self.archived.get_mut("made").unwrap().insert("made".into(), made);
        self.kinds_without_command();
    }

    /// 11 packages.
    fn kinds_without_command(&mut self) {
        for number in 0..3 {
            self.good(&format!("good-{number}"), number);
        }
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

    /// Runs the binary once over it, with a fault in the syntax of `FAILPOINTS`; the points that it passed, a `!` before those that fired.
    pub(super) fn run(&self, fault: &str) -> (Ended, Vec<String>) {
        let seen = self.place.path("seen");
        fs::remove_file(&seen).ok();
        let mut command = self.place.run_with(&self.config, &["--once"]);
        command.env("LONGSHORE_FAILPOINTS_SEEN", &seen).env("RUST_BACKTRACE", "0");
        command.env("FAILPOINTS", fault);
        let ended = run_to_end(command);
        let text = fs::read_to_string(seen).unwrap_or_default();
        (ended, text.lines().map(str::to_owned).collect())
    }

    /// What is not as it should be at the end; and how many good packages were given up, which only a
    /// refused permission excuses.
    pub(super) fn wrong(&self, may_give_up: bool) -> (Vec<String>, usize) {
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

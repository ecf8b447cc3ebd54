//! What a command can change: its own folder, and nothing else of longshore's. On the real binary, as
//! root and as another user in a user namespace.
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::daemon::{Daemon, run_to_end};
use common::{Place, Tree, has, is_root, make_fifo, names, skip, tree, zips};

/// Tries everything that a command must not be able to do, and writes what became of it.
const ATTACKS: &str = r#"
    export LC_ALL=C
    try() { echo "TRY $*: $("$@" 2>&1 && echo DONE)" >>"$OUTSIDE/tried"; }
    write() { echo x >"$1"; }
    job=$(dirname "$LONGSHORE_DIR")
    other=$(ls -d "$(dirname "$job")"/*/.done | grep -v "$LONGSHORE_JOB")
    test -d "$other" || exit 3
    try mv "$LONGSHORE_DIR" "$LONGSHORE_DIR.x"
    try mv "$LONGSHORE_DELIVERED" "$LONGSHORE_DELIVERED.x"
    try mv "$job" "$job.x"
    try rm "$LONGSHORE_DELIVERED/$LONGSHORE_NAME.zip"
    try chmod 777 "$LONGSHORE_DELIVERED"
    try write "$job/x"
    try write "$other/x"
    try rm -r "$other"
    for folder in "$LANDING" "$ARCHIVE" "$QUARANTINE" "$STATE" "$STATE/logs" "$OTHER_LANDING"; do
        try write "$folder/x"
        try chmod 777 "$folder"
        try mv "$folder" "$folder.x"
    done
    try write "$STATE/ledger.sqlite"
    # Root may do that. Another user cannot, not even as the root of a user namespace of its own.
    if test "$(id -u)" != 0; then
        undo="umount \"$ARCHIVE\"; mount -o remount,bind,rw \"$ARCHIVE\"; echo x >\"$ARCHIVE/x\""
        try sh -c "$undo"
        try unshare -rm sh -c "$undo"
    fi
    try rm -r "$ARCHIVE/old"
"#;

/// A place with two sources, the second without packages, and a command over the first's.
struct Stand {
    place: Place,
    isolation: &'static str,
    unprivileged: bool,
}

impl Stand {
    /// Root in a PID namespace, and another user in a user namespace: those that this machine allows.
    fn all() -> Vec<Self> {
        let wanted = [("auto", false), ("namespace", true)];
        let all = wanted.map(|(isolation, unprivileged)| Self::new(isolation, unprivileged));
        all.into_iter().filter(Self::can_be_had).collect()
    }

    fn new(isolation: &'static str, unprivileged: bool) -> Self {
        let place = Place::new();
        for folder in ["b", "state", "outside", "mv_zip", "quarantine"] {
            fs::create_dir(place.path(folder)).unwrap();
        }
        let stand = Self { place, isolation, unprivileged };
        if unprivileged {
            stand.place.give(stand.place.top());
        }
        stand
    }

    fn can_be_had(&self) -> bool {
        if !self.unprivileged && !is_root() {
            skip("not root: commands have no PID namespace without a user namespace");
            return false;
        }
        let ended = run_to_end(self.command("true", "", &["--once", "-v"]));
        let there = ended.code == 0 && ended.err.contains("folders: read-only but for {dir}");
        if !there {
            skip(&format!("commands cannot be isolated by {} here: {}", self.isolation, ended.err));
        }
        there
    }

    fn command(&self, script: &str, more: &str, options: &[&str]) -> Command {
        let path = |name: &str| self.place.path(name);
        let text = format!(
            "state = {:?}\n{}[source.b]\nlanding = {:?}\narchive = {:?}\n",
            path("state"),
            self.place.script(
                script,
                &format!(
                    "process.isolation = '{}'\nprocess.workers = 2\nprocess.env = {{ \
                     OUTSIDE = {:?}, LANDING = {:?}, ARCHIVE = {:?}, QUARANTINE = {:?}, \
                     STATE = {:?}, OTHER_LANDING = {:?} }}\n{more}",
                    self.isolation,
                    path("outside"),
                    self.place.landing(),
                    self.place.archive(),
                    self.place.quarantine(),
                    path("state"),
                    path("b"),
                )
            ),
            path("b"),
            path("b-archive"),
        );
        let command = self.place.run_with(&text, options);
        if self.unprivileged { self.place.unprivileged(command) } else { command }
    }

    fn deliver(&self, name: &str) {
        let folder = self.place.stage(name, &zips::deflated(&zips::sample(1)));
        if self.unprivileged {
            self.place.give(&folder);
        }
        fs::rename(folder, self.place.landing().join(name)).unwrap();
    }

    fn outside(&self, name: &str) -> PathBuf {
        self.place.path("outside").join(name)
    }

    /// All that no command may change, but the ledger and the logs, which the daemon writes.
    fn others(&self, bystander: &Path) -> Vec<Tree> {
        let mut archive = tree(&self.place.archive());
        archive.retain(|path, _| path.starts_with("old"));
        let (quarantine, other) = (tree(&self.place.quarantine()), tree(&self.place.path("b")));
        vec![archive, quarantine, other, tree(bystander)]
    }
}

/// The mounts of a process that are below a folder.
fn mounts(pid: u32, below: &Path) -> Vec<String> {
    let all = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
    let below = below.to_str().unwrap();
    all.lines().filter(|line| line.contains(below)).map(str::to_owned).collect()
}

#[test]
fn command_that_attacks_longshores_folders_can_change_none_but_its_own() {
    for stand in Stand::all() {
        let Stand { place, .. } = &stand;
        let (ready, go) = (stand.outside("ready"), stand.outside("go"));
        make_fifo(&go);
        fs::set_permissions(&go, fs::Permissions::from_mode(0o666)).unwrap();
        let script = format!(
            "case $LONGSHORE_NAME in
                old) ;;
                bystander) echo mine >mine; : >{ready:?}; read line <{go:?} ;;
                *) {ATTACKS} ;;
            esac"
        );
        let mut daemon = Daemon::start(stand.command(&script, "", &[]));
        let before = mounts(daemon.pid(), place.top());
        stand.deliver("old");
        place.wait_archived(&mut daemon, "old");
        place.wait_empty(&mut daemon);
        stand.deliver("bystander");
        daemon.wait_until("another job's command runs", || ready.exists());
        let bystander = place.jobs().remove(0);
        let others = stand.others(&bystander);

        stand.deliver("attacker");
        place.wait_archived(&mut daemon, "attacker");
        let tried = fs::read_to_string(stand.outside("tried")).unwrap();
        assert!(tried.matches("TRY ").count() >= 27, "not all was tried:\n{tried}");
        for attack in tried.split("TRY ").skip(1) {
            let refused = ["Read-only file system", "Device or resource busy", "unshare failed"];
            let is_refused = refused.iter().any(|error| attack.contains(error));
            assert!(is_refused, "{}: {attack}", stand.isolation);
        }
        assert!(!tried.contains("DONE"), "{tried}");
        let files = zips::sample(1);
        let whole = common::archived("attacker", &files, zips::deflated(&files));
        assert_eq!(tree(&place.archive().join("attacker")), whole, "it is not archived whole");
        assert_eq!(stand.others(&bystander), others, "{}", stand.isolation);
        assert_eq!(names(&place.landing()), [""; 0]);
        assert_eq!(mounts(daemon.pid(), place.top()), before, "a mount leaked");
        fs::write(&go, "on\n").unwrap();
        place.wait_archived(&mut daemon, "bystander");
        assert_eq!(daemon.terminate(), 0, "{}", daemon.log());
    }
}

#[test]
fn command_can_create_change_and_delete_whatever_is_in_its_own_folder() {
    for stand in Stand::all() {
        let Stand { place, .. } = &stand;
        // The job's folder goes, as far as it can: that is what the command's own folder holds.
        let script = "
            set -e
            test \"$(pwd)\" = \"$LONGSHORE_DIR\"
            test -n \"$(ls)\"; chmod 755 .; touch -d @0 .
            rm -rf \"$(dirname \"$LONGSHORE_DIR\")\" && exit 1
            test -z \"$(ls)\"
            mkdir -m 700 a; echo one >a/one; ln -s one a/link; ln a/one a/hard
            echo two >>a/one; mv a/one two; rm a/link; chmod 600 two; touch -d @0 two
            echo temporary >\"$OUTSIDE/temporary\"; mv \"$OUTSIDE/temporary\" a/";
        stand.deliver("plate");
        let ended = run_to_end(stand.command(script, "", &["--once"]));
        assert_eq!(ended.code, 0, "{}: {}", stand.isolation, ended.err);
        let archived = tree(&place.archive().join("plate"));
        let found: Vec<_> = archived.keys().filter_map(|path| path.to_str()).collect();
        assert_eq!(found, ["a", "a/hard", "a/temporary", "plate.zip", "two"]);
        let two = place.archive().join("plate/two");
        assert_eq!(fs::read_to_string(&two).unwrap(), "one\ntwo\n");
        assert!(place.jobs().is_empty());
    }
}

/// As long as a process is left in it, the command's folder is a mount point there.
#[test]
fn folder_of_a_command_whose_mounts_are_still_there_is_archived() {
    for stand in Stand::all() {
        let Stand { place, .. } = &stand;
        let (ready, go) = (stand.outside("ready"), stand.outside("go"));
        make_fifo(&go);
        fs::set_permissions(&go, fs::Permissions::from_mode(0o666)).unwrap();
        let script = format!("echo made >made; : >{ready:?}; read line <{go:?}");
        let mut daemon = Daemon::start(stand.command(&script, "", &[]));
        stand.deliver("plate");
        daemon.wait_until("the command runs", || ready.exists());
        let dir = place.jobs().remove(0).join(".done");
        let kept = keep_mounts(&dir);
        assert!(!kept.is_empty(), "the command's namespace was not found");
        fs::write(&go, "on\n").unwrap();
        place.wait_archived(&mut daemon, "plate");
        place.wait_empty(&mut daemon);
        assert_eq!(daemon.terminate(), 0, "{}", daemon.log());
        assert!(place.archive().join("plate/made").exists());
        drop(kept);
    }
}

/// Keeps the mount namespaces alive in which a folder is a mount point.
fn keep_mounts(folder: &Path) -> Vec<fs::File> {
    let wanted = format!(" {} ", folder.display());
    let shows = |pid: &PathBuf| {
        fs::read_to_string(pid.join("mountinfo")).is_ok_and(|mounts| mounts.contains(&wanted))
    };
    let pids = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
    pids.filter(shows).filter_map(|pid| fs::File::open(pid.join("ns/mnt")).ok()).collect()
}

/// What is mounted below a folder is another file system, and protected, too.
#[test]
fn command_cannot_write_to_what_is_mounted_below_longshores_folders() {
    if !is_root() || !has("unshare") {
        return skip("mounts can be made by root only, with `unshare`");
    }
    let stand = Stand::new("auto", false);
    if !stand.can_be_had() {
        return;
    }
    let place = &stand.place;
    // Names that the kernel writes as octal numbers.
    let below = place.archive().join(".an odd\\name");
    fs::create_dir(&below).unwrap();
    let script = "
        export LC_ALL=C
        for path in \"$ARCHIVE\"/.an*; do touch \"$path/x\" 2>>said; mkdir \"$path/sub/x\" 2>>said; done
        grep -c 'Read-only file system' said >count";
    let command = stand.command(script, "", &["--once"]);
    let mount = "mount -t tmpfs -o nosuid none \"$0\" && mkdir \"$0/sub\" &&
        mount -t tmpfs none \"$0/sub\" && exec \"$@\"";
    let mut outer = Command::new("unshare");
    outer.args(["-m", "sh", "-c", mount]).arg(&below).arg(command.get_program());
    outer.args(command.get_args()).current_dir(place.top());
    stand.deliver("plate");
    let ended = run_to_end(outer);
    assert_eq!(ended.code, 0, "{}", ended.err);
    let count = fs::read_to_string(place.archive().join("plate/count")).unwrap();
    assert_eq!(count, "2\n", "{:?}", fs::read_to_string(place.archive().join("plate/said")));
}

#[test]
fn log_says_at_the_start_what_commands_can_change() {
    let line = |isolation: &'static str, unprivileged: bool| {
        let stand = Stand::new(isolation, unprivileged);
        run_to_end(stand.command("true", "", &["--once", "-v"])).err
    };
    let group = line("group", false);
    assert!(group.contains("folders: open to commands"), "{group}");
    let other = line("auto", true);
    assert!(other.contains("less than they could be"), "{other}");
    assert!(other.contains("folders: open to commands"), "{other}");
}

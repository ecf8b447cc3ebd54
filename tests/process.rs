//! Commands under a guard, in every mode that this machine allows, judged by what `/proc` shows.
//!
//! Without the standard harness: this program must be able to become a guard, as a daemon does.
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]
#![expect(clippy::print_stderr, reason = "which modes there are is part of the result")]

mod common;

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};
use longshore::config::Isolation;
use longshore::process::{
    Exit, Guards, Isolated, LogFile, MARK_VARIABLE, Mark, Mode, ProcessError, Reach, Spec,
    guard_main, kill_leftovers,
};
use rustix::process::{Pid, Signal, kill_process};

use common::daemon::DEADLINE;
use common::processes::{MARKER, Process, children, environment, marked, poll_until, wait_for};

fn main() -> ExitCode {
    guard_main();
    let arguments = Arguments::from_args();
    let guards = Guards::start().unwrap();
    let mut trials =
        vec![trial("mark", "leftovers_of_a_dead_daemon_are_killed_and_no_others", || {
            leftovers_of_a_dead_daemon_are_killed_and_no_others();
        })];
    for mode in modes(&guards) {
        for &(name, test) in IN_EVERY_MODE {
            let guards = guards.clone();
            trials
                .push(trial(&mode.to_string(), name, move || test(&Case::new(guards, mode, name))));
        }
        if mode == Mode::Direct {
            continue;
        }
        if mode != Mode::Group {
            for &(name, test) in IN_A_NAMESPACE {
                let guards = guards.clone();
                let test = move || test(&Case::new(guards, mode, name));
                trials.push(trial(&mode.to_string(), name, test));
            }
        }
        for &(name, test) in GUARDED {
            // Some of them close theirs.
            let test = move || test(&Case::new(Guards::start().unwrap(), mode, name));
            trials.push(trial(&mode.to_string(), name, test));
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trial(mode: &str, name: &str, test: impl FnOnce() + Send + 'static) -> Trial {
    Trial::test(format!("{mode}::{name}"), move || {
        test();
        Ok::<(), Failed>(())
    })
}

type Test = (&'static str, fn(&Case));

const IN_EVERY_MODE: &[Test] = &[
    ("command_that_exits_ends_with_its_code", command_that_exits_ends_with_its_code),
    ("command_killed_by_a_signal_ends_with_it", command_killed_by_a_signal_ends_with_it),
    ("command_that_is_missing_is_not_started", command_that_is_missing_is_not_started),
    ("folder_that_is_missing_is_not_entered", folder_that_is_missing_is_not_entered),
    ("environment_is_what_was_given_and_the_mark", environment_is_what_was_given_and_the_mark),
    ("command_starts_with_no_input_and_no_signal_blocked", command_starts_clean),
    ("both_outputs_are_passed_on_in_their_order", both_outputs_are_passed_on_in_their_order),
    ("huge_output_is_drained_in_bounded_memory", huge_output_is_drained_in_bounded_memory),
    ("command_that_closes_its_output_is_waited_for", command_that_closes_its_output_is_waited_for),
    ("timeout_ends_a_command_that_ignores_sigterm", timeout_ends_a_command_that_ignores_sigterm),
    ("timeout_lets_a_command_end_by_itself", timeout_lets_a_command_end_by_itself),
    ("timeout_ends_a_command_that_is_stopped", timeout_ends_a_command_that_is_stopped),
    ("memory_beyond_the_limit_is_refused", memory_beyond_the_limit_is_refused),
    ("niceness_is_as_asked", niceness_is_as_asked),
    ("background_process_ends_with_the_command", background_process_ends_with_the_command),
];

const GUARDED: &[Test] = &[
    ("setsid_and_double_forks_end_with_the_command", setsid_and_double_forks_end),
    ("command_that_forks_500_times_leaves_nobody", command_that_forks_500_times_leaves_nobody),
    ("stopped_descendants_end_with_the_command", stopped_descendants_end_with_the_command),
    ("kill_all_kills_all_and_closes", kill_all_kills_all_and_closes),
    ("guard_that_is_killed_leaves_nobody", guard_that_is_killed_leaves_nobody),
    ("namespace_has_its_own_proc", namespace_has_its_own_proc),
];

const IN_A_NAMESPACE: &[Test] = &[
    ("protected_folders_are_read_only_but_for_its_own", protected_folders_are_read_only),
    ("protected_folder_that_is_missing_is_left_out", protected_folder_that_is_missing),
    ("folder_that_was_exchanged_is_not_entered", folder_that_was_exchanged_is_not_entered),
    ("protected_folder_that_cannot_be_opened_stops_it", protected_folder_that_cannot_be_opened),
];

/// Those that something can be run in here; prints them, and why not the others.
fn modes(guards: &Guards) -> Vec<Mode> {
    for wanted in [Isolation::Auto, Isolation::Namespace, Isolation::Group] {
        match guards.probe(wanted, &Arc::from([])) {
            Ok(Isolated { mode, why: None, .. }) => eprintln!("isolation {wanted:?}: {mode}"),
            Ok(Isolated { mode, why: Some(why), .. }) => {
                eprintln!("isolation {wanted:?}: {mode}, as {why}");
            }
            Err(error) => eprintln!("isolation {wanted:?}: none: failed to {error}"),
        }
    }
    let all = [Mode::PidNamespace, Mode::UserNamespace, Mode::Group, Mode::Direct];
    let runs = |mode: &Mode| match guards.run(*mode, spec("probe", "true"), &mut |_| ()) {
        Ok(exit) => exit == Exit::Code(0),
        Err(error) => {
            common::skip(&format!("mode {mode}: failed to {}", longshore::error::Chain(&error)));
            false
        }
    };
    let modes: Vec<Mode> = all.into_iter().filter(runs).collect();
    assert!(modes.contains(&Mode::Group), "no machine is without the plain guard");
    modes
}

/// A shell script, with a marker in its environment.
fn spec(marker: &str, script: &str) -> Spec {
    Spec {
        argv: ["sh", "-c", script].map(OsString::from).into(),
        cwd: "/".into(),
        env: environment(marker).into_iter().map(|(k, v)| (k.into(), v.into())).collect(),
        nice: None,
        memory_bytes: None,
        timeout: None,
        kill_after: Duration::from_secs(10),
        reach: None,
        mark: Mark::new(marker, 1).unwrap(),
    }
}

/// One test in one mode.
struct Case {
    guards: Guards,
    mode: Mode,
    marker: String,
}

impl Case {
    fn new(guards: Guards, mode: Mode, name: &str) -> Self {
        let marker = format!("{name}-{mode}-{}", std::process::id());
        Self { guards, mode, marker }
    }

    fn spec(&self, script: &str) -> Spec {
        spec(&self.marker, script)
    }

    /// Runs to the end; nobody must be left then. In `Direct` that holds for the group only.
    fn run(&self, spec: Spec) -> (Result<Exit, ProcessError>, String) {
        let mut output = Vec::new();
        let result = self.guards.run(self.mode, spec, &mut |chunk| output.extend_from_slice(chunk));
        if self.mode == Mode::Direct {
            // Killed, and reaped by whoever inherits them.
            poll_until("the group to be gone", DEADLINE, || self.left().is_empty().then_some(()));
        }
        assert_eq!(self.left(), [], "nobody may be left when it returns");
        (result, String::from_utf8(output).unwrap())
    }

    fn left(&self) -> Vec<Process> {
        marked(&self.marker)
    }

    fn ends(&self, script: &str) -> Exit {
        self.run(self.spec(script)).0.unwrap()
    }

    fn prints(&self, script: &str) -> String {
        let (exit, output) = self.run(self.spec(script));
        assert_eq!(exit.unwrap(), Exit::Code(0), "{output}");
        output
    }
}

fn command_that_exits_ends_with_its_code(case: &Case) {
    for code in [0, 1, 75, 255] {
        assert_eq!(case.ends(&format!("exit {code}")), Exit::Code(code));
    }
}

fn command_killed_by_a_signal_ends_with_it(case: &Case) {
    assert_eq!(case.ends("kill -SEGV $$"), Exit::Signal(11));
    assert_eq!(case.ends("kill -KILL $$"), Exit::Signal(9), "it was not us who killed it");
}

fn command_that_is_missing_is_not_started(case: &Case) {
    let spec = Spec { argv: vec!["no-such-program-9".into()], ..case.spec("") };
    let error = case.run(spec).0.unwrap_err();
    assert!(matches!(error, ProcessError::Start { .. }), "{error:?}");
}

fn folder_that_is_missing_is_not_entered(case: &Case) {
    let spec = Spec { cwd: "/no/such/folder".into(), ..case.spec("true") };
    let error = case.run(spec).0.unwrap_err();
    assert!(matches!(error, ProcessError::Start { .. }), "{error:?}");
}

fn environment_is_what_was_given_and_the_mark(case: &Case) {
    let spec = Spec { argv: vec!["env".into()], ..case.spec("") };
    let mut expected: Vec<String> =
        spec.env.iter().map(|(k, v)| format!("{}={}", k.display(), v.display())).collect();
    expected.push(format!("{MARK_VARIABLE}={}", spec.mark));
    let (exit, output) = case.run(spec);
    assert_eq!(exit.unwrap(), Exit::Code(0));
    let mut found: Vec<&str> = output.lines().collect();
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected);
}

fn command_starts_clean(case: &Case) {
    let output = case.prints(
        "readlink /proc/self/fd/0; grep -E '^Sig(Blk|Ign|Cgt)' /proc/$$/status | head -1
         ls /proc/$$/fd | tr '\\n' ' '",
    );
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(lines[0], "/dev/null", "it has no input");
    assert_eq!(
        lines[1], "SigBlk:\t0000000000000000",
        "a guard blocks signals, its command must not"
    );
    // The harness itself may have been given descriptors that stay open through an exec.
    let own = ["0", "1", "2"].iter().all(|fd| lines[2].split(' ').any(|open| open == *fd));
    assert!(own, "{output}");
}

fn both_outputs_are_passed_on_in_their_order(case: &Case) {
    let output = case.prints("echo a; echo b >&2; echo c; printf d >&2");
    assert_eq!(output, "a\nb\nc\nd");
}

fn huge_output_is_drained_in_bounded_memory(case: &Case) {
    let long = std::env::var_os("LONGSHORE_LONG").is_some();
    let bytes: u64 = if long { 2 << 30 } else { 200 << 20 };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("1.log");
    let mut log = LogFile::new(std::fs::File::create(&path).unwrap(), 1 << 20);
    let (mut seen, mut largest) = (0, 0);
    let before = resident_peak();
    let script = format!("head -c {bytes} /dev/zero; echo; echo the end");
    let exit = case.guards.run(case.mode, case.spec(&script), &mut |chunk| {
        seen += chunk.len() as u64;
        largest = largest.max(chunk.len());
        log.write(chunk);
    });
    assert_eq!(exit.unwrap(), Exit::Code(0));
    assert_eq!(seen, bytes + 9, "all of it is drained");
    assert!(largest <= 64 * 1024, "chunks have a bound");
    assert_eq!(log.tail().last().unwrap(), "the end", "the tail is of the whole output");
    let size = fs::metadata(&path).unwrap().len();
    assert!(size < (1 << 20) + 100, "the log has a cap, and is {size} bytes");
    // The kernel counts in parts: it can be a little less afterwards.
    let grown = resident_peak().saturating_sub(before);
    assert!(grown < 32 << 20, "{grown} bytes of memory for an output of {bytes}");
}

/// The most memory that this process ever had, in bytes.
fn resident_peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

fn command_that_closes_its_output_is_waited_for(case: &Case) {
    let folder = tempfile::tempdir().unwrap();
    let (gate, done) = (folder.path().join("gate"), folder.path().join("done"));
    let (gate, done) = (gate.to_str().unwrap(), done.to_str().unwrap());
    assert!(std::process::Command::new("mkfifo").arg(gate).status().unwrap().success());
    // It closes its output before it waits at the gate, which opens only after that.
    let script = format!("echo said; exec >&- 2>&-; read line < {gate}; : > {done}; exit 7");
    thread::scope(|scope| {
        let run = scope.spawn(|| case.run(case.spec(&script)));
        let pid = wait_for(&case.marker, 1)[0].pid;
        poll_until("its output to be closed", DEADLINE, || {
            (!fs::exists(format!("/proc/{pid}/fd/1")).unwrap()).then_some(())
        });
        fs::write(gate, "go\n").unwrap();
        let (exit, output) = run.join().unwrap();
        assert_eq!((exit.unwrap(), output.as_str()), (Exit::Code(7), "said\n"));
    });
    assert!(fs::exists(done).unwrap(), "it ran to its end");
}

fn timeout_ends_a_command_that_ignores_sigterm(case: &Case) {
    let spec = Spec {
        timeout: Some(Duration::from_millis(200)),
        kill_after: Duration::from_millis(200),
        ..case.spec("trap '' TERM; sleep 1000 & while :; do sleep 1000; done")
    };
    let begun = Instant::now();
    assert_eq!(case.run(spec).0.unwrap(), Exit::TimedOut);
    assert!(begun.elapsed() >= Duration::from_millis(400), "it is asked before it is killed");
}

fn timeout_lets_a_command_end_by_itself(case: &Case) {
    let spec = Spec {
        timeout: Some(Duration::from_millis(300)),
        kill_after: DEADLINE,
        ..case.spec("trap 'echo cleaned; exit 0' TERM; while :; do sleep 1000 & wait; done")
    };
    let (exit, output) = case.run(spec);
    assert_eq!((exit.unwrap(), output.as_str()), (Exit::TimedOut, "cleaned\n"));
}

fn timeout_ends_a_command_that_is_stopped(case: &Case) {
    let spec = Spec {
        timeout: Some(Duration::from_millis(300)),
        kill_after: Duration::from_millis(100),
        ..case.spec("trap '' TERM; kill -STOP $$; while :; do kill -STOP $$; done")
    };
    assert_eq!(case.run(spec).0.unwrap(), Exit::TimedOut);
}

fn memory_beyond_the_limit_is_refused(case: &Case) {
    let limited = |bytes| Spec { memory_bytes: Some(bytes), ..case.spec("ulimit -v") };
    let (exit, output) = case.run(limited(256 << 20));
    assert_eq!((exit.unwrap(), output.trim()), (Exit::Code(0), "262144"));
    // `tail` holds its one endless line in memory.
    let spec =
        Spec { memory_bytes: Some(64 << 20), ..case.spec("head -c 300M /dev/zero | tail -n 1") };
    let (exit, output) = case.run(spec);
    assert_eq!(exit.unwrap(), Exit::Code(1), "{} bytes", output.len());
}

fn niceness_is_as_asked(case: &Case) {
    let spec = Spec { nice: Some(15), ..case.spec("nice") };
    assert_eq!(case.run(spec).1, "15\n");
}

fn background_process_ends_with_the_command(case: &Case) {
    assert_eq!(case.ends("sleep 1000 & sleep 1000 & exit 3"), Exit::Code(3));
}

fn setsid_and_double_forks_end(case: &Case) {
    let script = "setsid sleep 1000 &
        (setsid sleep 1000 &)
        (setsid sh -c 'trap \"\" TERM HUP INT; sleep 1000 & wait' &)
        (sleep 1000 > /dev/null 2>&1 < /dev/null &)
        while [ $(grep -lzs \"^TEST_MARKER=$TEST_MARKER$\" /proc/[0-9]*/environ | wc -l) -lt 5 ]; do :; done
        exit 4";
    assert_eq!(case.ends(script), Exit::Code(4));
}

fn command_that_forks_500_times_leaves_nobody(case: &Case) {
    let script = "i=0; while [ $i -lt 500 ]; do sleep 1000 & i=$((i+1)); done; exit 5";
    assert_eq!(case.ends(script), Exit::Code(5));
}

fn stopped_descendants_end_with_the_command(case: &Case) {
    let script = "sleep 1000 & kill -STOP $!; setsid sh -c 'kill -STOP $$; sleep 1000' & exit 6";
    assert_eq!(case.ends(script), Exit::Code(6));
}

fn kill_all_kills_all_and_closes(case: &Case) {
    thread::scope(|scope| {
        let script = "trap '' TERM; (setsid sleep 1000 &) ; sleep 1000; :";
        let runs: Vec<_> = (0..3)
            .map(|_| {
                let spec = case.spec(script);
                scope.spawn(|| case.guards.run(case.mode, spec, &mut |_| ()))
            })
            .collect();
        wait_for(&case.marker, 3 * 3);
        assert_eq!(case.guards.running(), 3);
        case.guards.kill_all();
        for run in runs {
            assert_eq!(run.join().unwrap().unwrap(), Exit::Killed);
        }
    });
    assert_eq!(case.left(), []);
    assert_eq!(case.guards.running(), 0);
    let refused = case.guards.run(case.mode, case.spec("true"), &mut |_| ());
    assert!(matches!(refused, Err(ProcessError::Stopping)), "{refused:?}");
}

/// The guard's death is the worst that can happen to it. In a namespace all die with it; in a group
/// its own child does, and the daemon, which lives on, finds the others by their mark.
fn guard_that_is_killed_leaves_nobody(case: &Case) {
    thread::scope(|scope| {
        let script = "(setsid sleep 1000 &); sleep 1000; :";
        let run = scope.spawn(|| case.guards.run(case.mode, case.spec(script), &mut |_| ()));
        let found = wait_for(&case.marker, 3);
        let above = |process: &Process| Process::read(process.parent);
        let guard = found
            .iter()
            .flat_map(|process| std::iter::successors(Some(process.clone()), above))
            .find(|process| process.name == "longshore-guard")
            .unwrap();
        assert!(children(std::process::id().cast_signed()).contains(&guard));
        kill_process(Pid::from_raw(guard.pid).unwrap(), Signal::KILL).unwrap();
        let error = run.join().unwrap().unwrap_err();
        let ProcessError::GuardLost { killed } = error else { panic!("{error:?}") };
        if case.mode != Mode::Group {
            assert!(killed <= 3, "whoever was seen dying is counted at most once");
        }
    });
    poll_until("all to be gone", Duration::from_secs(1), || case.left().is_empty().then_some(()));
}

fn namespace_has_its_own_proc(case: &Case) {
    let output =
        case.prints("echo $$; cut -d ' ' -f 1 /proc/self/stat; set -- /proc/[0-9]*; echo $#");
    let numbers: Vec<i32> = output.lines().map(|line| line.trim().parse().unwrap()).collect();
    if case.mode == Mode::Group {
        return assert!(numbers[0] > 100 || numbers[2] > 6, "no namespace is made for a group");
    }
    assert_eq!(numbers[0], 2, "the init is 1, the command comes next");
    assert!(numbers[2] <= 5, "it sees nobody but its own");
}

/// Folders of a daemon: `work` lies in `landing`, and a job in `work`.
struct Folders {
    top: tempfile::TempDir,
    protected: Arc<[PathBuf]>,
}

impl Folders {
    fn new() -> Self {
        let top = tempfile::tempdir().unwrap();
        let path = |name: &str| top.path().join(name);
        let protected = ["archive", "landing", "landing/work"].map(path).to_vec().into();
        for folder in ["archive", "landing/work/job/done", "landing/work/other"] {
            fs::create_dir_all(path(folder)).unwrap();
        }
        Self { top, protected }
    }

    fn own(&self) -> PathBuf {
        self.top.path().join("landing/work/job/done")
    }

    /// What runs in the job's folder and must change nothing else.
    fn confined(&self, spec: Spec) -> Spec {
        let reach = Reach::new(&self.own(), Arc::clone(&self.protected)).unwrap();
        Spec { cwd: self.own(), reach: Some(reach), ..spec }
    }
}

fn protected_folders_are_read_only(case: &Case) {
    let folders = Folders::new();
    let script = format!(
        "export LC_ALL=C; pwd; touch made; mkdir sub; chmod 700 .
         touch ../x ../../other/x ../../../x; cd '{0}'; touch archive/x beside; mv archive moved",
        folders.top.path().display()
    );
    let (exit, output) = case.run(folders.confined(case.spec(&script)));
    assert_eq!(exit.unwrap(), Exit::Code(1), "{output}");
    assert_eq!(output.lines().next(), folders.own().to_str());
    assert_eq!(output.matches("Read-only file system").count(), 4, "{output}");
    assert!(output.contains("busy"), "a folder that is protected cannot be moved: {output}");
    let found: Vec<_> = common::tree(folders.top.path()).into_keys().collect();
    let expected = [
        "archive",
        "beside",
        "landing",
        "landing/work",
        "landing/work/job",
        "landing/work/job/done",
        "landing/work/job/done/made",
        "landing/work/job/done/sub",
        "landing/work/other",
    ];
    assert_eq!(found, expected.map(PathBuf::from));
}

fn protected_folder_that_is_missing(case: &Case) {
    let folders = Folders::new();
    fs::remove_dir(folders.top.path().join("archive")).unwrap();
    let (exit, output) = case.run(folders.confined(case.spec(": >../x")));
    assert_eq!(exit.unwrap(), Exit::Code(2), "the others are protected all the same: {output}");
}

fn folder_that_was_exchanged_is_not_entered(case: &Case) {
    let folders = Folders::new();
    let spec = folders.confined(case.spec("true"));
    fs::rename(folders.own(), folders.top.path().join("moved")).unwrap();
    fs::create_dir(folders.own()).unwrap();
    let error = case.run(spec).0.unwrap_err();
    let ProcessError::Mount { path, .. } = error else { panic!("{error:?}") };
    assert_eq!(path, folders.own());
}

fn protected_folder_that_cannot_be_opened(case: &Case) {
    let folders = Folders::new();
    let archive = folders.top.path().join("archive");
    fs::remove_dir(&archive).unwrap();
    std::os::unix::fs::symlink(&archive, &archive).unwrap();
    let error = case.run(folders.confined(case.spec("true"))).0.unwrap_err();
    let ProcessError::Mount { path, .. } = error else { panic!("{error:?}") };
    assert_eq!(path, archive);

    // The same at a start: it is an error where a namespace was asked for, and else a line in the log.
    let error = case.guards.probe(Isolation::Namespace, &folders.protected).unwrap_err();
    let ProcessError::IsolationUnavailable { why } = error else { panic!("{error:?}") };
    assert!(why.contains("archive"), "{why}");
    let found = case.guards.probe(Isolation::Auto, &folders.protected).unwrap();
    assert!(!found.confines && found.why.is_some(), "{found:?}");
    if case.mode == Mode::PidNamespace {
        assert_eq!(found.mode, Mode::PidNamespace, "its processes are kept together all the same");
        assert!(found.why.unwrap().contains("archive"), "it does not say what failed");
    }
    fs::remove_file(&archive).unwrap();
    assert!(case.guards.probe(Isolation::Namespace, &folders.protected).unwrap().confines);
}

fn leftovers_of_a_dead_daemon_are_killed_and_no_others() {
    let this = Mark::new("ours", 2).unwrap().to_string();
    // The same process id at another time: gone.
    let fields: Vec<&str> = this.split('/').collect();
    let dead = |job: &str| format!("{job}/2/{}/{}/{}", fields[2], 7, fields[4]);
    let marker = format!("leftovers-{}", std::process::id());
    let start = |mark: &str, which: &str| {
        let mut command = std::process::Command::new("sh");
        let script = "trap '' TERM; sleep 1000 & sleep 1000; :";
        command.args(["-c", script]).env(MARK_VARIABLE, mark);
        command.env(MARKER, format!("{marker}-{which}")).spawn().unwrap()
    };
    let all = [
        start(&dead("ours"), "dead"),
        start(&dead("theirs"), "theirs"),
        start(&this, "alive"),
        start("no mark", "unmarked"),
    ];
    for which in ["dead", "theirs", "alive", "unmarked"] {
        wait_for(&format!("{marker}-{which}"), 3);
    }
    let killed = kill_leftovers(&|job| job == "ours").unwrap();
    let left = |which: &str| marked(&format!("{marker}-{which}")).len();
    let counts = ["dead", "theirs", "alive", "unmarked"].map(left);
    // Whoever is to be seen no more has nothing to be counted by.
    for mut child in all {
        for process in children(child.id().cast_signed()) {
            kill_process(Pid::from_raw(process.pid).unwrap(), Signal::KILL).ok();
        }
        child.kill().ok();
        child.wait().unwrap();
    }
    assert_eq!(counts, [0, 3, 3, 3], "only those of our job whose daemon is gone");
    assert_eq!(killed.len(), 3);
    assert!(killed.iter().all(|left| left.job == "ours" && left.attempt == 2));
}

//! Each row of the restart table: creates the folders, then checks what recovery does.

use std::fs;

use super::boot::{Boot, State};
use super::testing::{Bench, tree};
use super::*;
use crate::error::Failure;
use crate::job::Form;

const REASON: &str = ".q/reason.json";

fn recovered(bench: &Bench) -> Recovery {
    let recovery = bench.site.recover().unwrap();
    assert_eq!(recovery.remarks, [""; 0], "nothing odd is there");
    recovery
}

fn extracts(recovery: &Recovery) -> Vec<(JobId, u32, u32)> {
    recovery.extract.iter().map(|spec| (spec.id, spec.attempt, spec.crashes)).collect()
}

#[test]
fn recovery_of_an_empty_work_area_finds_nothing() {
    let bench = Bench::new().restarted(false);
    let recovery = recovered(&bench);
    assert_eq!(recovery, Recovery { unclean: true, ..Recovery::default() });
}

#[test]
fn recovery_of_a_decided_quarantine_finishes_it() {
    for paths in [
        &["a/a.zip", ".out/x", REASON][..],
        &[".q/delivered/a.zip", ".done/x", REASON],
        &[".q/delivered/a.zip", ".q/unpacked/x", REASON],
    ] {
        let bench = Bench::new();
        let job = bench.lay_out("a", 1, 0, paths);
        let error = WorkspaceError::CrashesDaemon { crashes: 9 };
        let reason = Reason::new(&bench.site.source().name, &job, &error, &[]);
        fs::write(job.path().join(REASON), serde_json::to_vec(&reason).unwrap()).unwrap();
        let bench = bench.restarted(true);
        let recovery = recovered(&bench);
        assert_eq!(recovery.settle.len(), 1, "{paths:?}");
        assert_eq!(recovery.settle[0].settling.decision, Decision::Resume);
        assert_eq!(recovery.settle[0].spec.name.as_str(), "a");
    }
}

#[test]
fn recovery_of_an_undecided_quarantine_extracts_afresh() {
    let bench = Bench::new();
    let job = bench.lay_out("a", 1, 0, &["a/a.zip", ".out/x", ".q/reason.json.new"]);
    let bench = bench.restarted(true);
    assert_eq!(extracts(&recovered(&bench)), [(job.id(), 1, 0)]);
    assert_eq!(tree(job.path()), ["a/", "a/a.zip"]);
}

#[test]
fn recovery_of_out_or_done_removes_it_and_extracts_afresh() {
    for unpacked in [".out/deep/x", ".done/deep/x", ".out/"] {
        let bench = Bench::new();
        let job = bench.lay_out("a", 2, 0, &["a/a.zip", "a/b.txt", unpacked]);
        let bench = bench.restarted(true);
        assert_eq!(extracts(&recovered(&bench)), [(job.id(), 2, 0)], "{unpacked}");
        assert_eq!(tree(job.path()), ["a/", "a/a.zip", "a/b.txt"], "{unpacked}");
    }
}

#[test]
fn recovery_of_final_with_its_zip_archives_in_whatever_boot() {
    for same_boot in [true, false] {
        let bench = Bench::new();
        let job = bench.lay_out("a", 1, 0, &["a/b.txt", ".final/a.zip", ".final/x"]);
        if !same_boot {
            bench.in_a_new_boot();
        }
        let bench = bench.restarted(false);
        let recovery = recovered(&bench);
        assert_eq!(recovery.settle[0].settling.decision, Decision::Resume);
        assert_eq!(recovery.crashed, [job.id()], "it was active");
        assert_eq!(recovery.settle[0].settling.job.crashes(), 1);
    }
}

#[test]
fn recovery_of_final_without_its_zip_goes_on_in_the_same_boot_only() {
    for same_boot in [true, false] {
        let bench = Bench::new();
        let job = bench.lay_out("a", 1, 0, &["a/a.zip", ".final/x"]);
        let mut bench = bench.restarted(true);
        if !same_boot {
            bench.in_a_new_boot();
            bench = bench.restarted(true);
        }
        let recovery = recovered(&bench);
        if same_boot {
            assert_eq!(recovery.settle[0].settling.decision, Decision::Resume);
            assert_eq!(tree(job.path()), [".final/", ".final/x", "a/", "a/a.zip"]);
        } else {
            assert_eq!(recovery.extract.len(), 1, "what is not on disk may be half there");
            let path = bench.site.find(job.id(), job.name(), 1, 0).unwrap();
            assert_eq!(tree(path.path()), ["a/", "a/a.zip"]);
        }
    }
}

#[test]
fn recovery_of_an_emptied_folder_asks_the_archive_whether_it_was_archived() {
    for paths in [&["a.2/", ".=a", ".passed.json"][..], &["a.2/late.txt", ".=a", ".passed.json"]] {
        let bench = Bench::new();
        let job = bench.lay_out("a", 1, 0, paths);
        let bench = bench.restarted(false);
        let recovery = recovered(&bench);
        let [settle] = &recovery.settle[..] else { panic!("{recovery:?}") };
        assert_eq!((settle.spec.name.as_str(), settle.settling.job.target()), ("a", "a.2"));
        assert_eq!(recovery.crashed, [], "{job:?} was no longer active");
    }
}

#[test]
fn recovery_of_an_emptied_folder_that_was_never_passed_takes_it_for_a_package_without_its_zip() {
    for records in [true, false] {
        let bench = Bench::new();
        let job = bench.lay_out("a", 1, 0, &["a/"]);
        let mut boot = Boot::new(super::boot::boot_id(), State::Running);
        // A version that wrote no records may have archived it.
        boot.records = records;
        boot.write(&bench.site.part()).unwrap();
        let bench = bench.restarted(false);
        let recovery = recovered(&bench);
        assert_eq!(extracts(&recovery).len(), usize::from(records), "{job:?}");
        assert_eq!(recovery.settle.len(), usize::from(!records));
    }
}

#[test]
fn recovery_of_a_waiting_package_extracts_it() {
    let bench = Bench::new();
    let job = bench.lay_out("a", 3, 1, &["a/a.zip"]);
    let bench = bench.restarted(false);
    let recovery = recovered(&bench);
    assert_eq!(extracts(&recovery), [(job.id(), 3, 1)], "it was not active: no crash is its own");
}

#[test]
fn recovery_of_half_made_and_ended_jobs_removes_their_folders() {
    for paths in
        [&[][..], &[".out/"], &[".out/", ".claim/"], &[".=a"], &[".discard/a.zip", ".out/x"]]
    {
        let bench = Bench::new();
        let job = bench.lay_out("a", 1, 0, paths);
        let bench = bench.restarted(true);
        assert_eq!(recovered(&bench).cleaned, [job.id()], "{paths:?}");
        assert!(!job.path().exists(), "{paths:?}");
    }
}

#[test]
fn recovery_of_a_bare_zip_on_its_way_in_ends_its_claim() {
    let bench = Bench::new();
    let job = bench.lay_out("a", 1, 0, &[".out/", ".claim/a.zip"]);
    let bench = bench.restarted(true);
    assert_eq!(extracts(&recovered(&bench)), [(job.id(), 1, 0)]);
    assert_eq!(tree(job.path()), ["a/", "a/a.zip"]);
}

#[test]
fn recovery_reports_what_it_does_not_know_and_leaves_it() {
    let bench = Bench::new();
    let root = bench.site.root().to_path_buf();
    fs::write(root.join("notes.txt"), "").unwrap();
    fs::create_dir(root.join("JOB.1.0")).unwrap();
    let stray = bench.lay_out("a", 1, 0, &["a/a.zip", "core"]);
    let only_stray = bench.lay_out("b", 1, 0, &["core"]);
    let two = bench.lay_out("c", 1, 0, &["c/c.zip", "d/d.zip"]);
    let no_package = bench.lay_out("d", 1, 0, &[".final/x"]);
    let undecided = bench.lay_out("e", 1, 0, &[".q/delivered/e.zip"]);
    let before = tree(&root);
    let bench = bench.restarted(true);
    let recovery = bench.site.recover().unwrap();
    assert_eq!(extracts(&recovery), [(stray.id(), 1, 0)], "a stray file is no reason not to work");
    for path in [
        &root.join("notes.txt"),
        &root.join("JOB.1.0"),
        &stray.path().join("core"),
        &only_stray.path().join("core"),
        two.path(),
        no_package.path(),
        &undecided.path().join(".q"),
    ] {
        let named = format!("{path:?}");
        assert!(recovery.remarks.iter().any(|line| line.contains(&named)), "{named} {recovery:?}");
    }
    assert_eq!(tree(&root), before, "something was removed");
}

#[test]
fn recovery_of_several_folders_of_a_job_takes_the_newest_with_something_in_it() {
    let bench = Bench::new();
    let newest = bench.lay_out("a", 2, 1, &["a/a.zip"]);
    let older = newest.renumbered(1, 1);
    fs::create_dir_all(older.path().join("a")).unwrap();
    let empty = newest.renumbered(3, 0);
    fs::create_dir(empty.path()).unwrap();
    let bench = bench.restarted(true);
    let recovery = bench.site.recover().unwrap();
    assert_eq!(extracts(&recovery), [(newest.id(), 2, 1)]);
    assert!(!empty.path().exists() && older.path().exists());
    assert_eq!(recovery.remarks.len(), 1, "{:?}", recovery.remarks);
}

#[test]
fn crash_counts_for_active_jobs_only_and_only_after_an_unclean_end() {
    for stopped in [true, false] {
        let bench = Bench::new();
        let active = bench.lay_out("a", 1, 0, &["a/a.zip", ".out/x"]);
        let waiting = bench.lay_out("b", 1, 0, &["b/b.zip"]);
        let bench = bench.restarted(stopped);
        let recovery = recovered(&bench);
        let crashes = u32::from(!stopped);
        let mut expected = [(active.id(), 1, crashes), (waiting.id(), 1, 0)];
        expected.sort();
        assert_eq!(extracts(&recovery), expected, "stopped: {stopped}");
        assert_eq!(recovery.unclean, !stopped);
        assert!(active.renumbered(1, crashes).path().exists());
    }
}

#[test]
fn crash_seen_twice_makes_a_job_run_alone_and_the_fifth_quarantines_it() {
    let bench = Bench::new();
    let job = bench.lay_out("a", 1, 0, &["a/a.zip"]);
    let mut bench = bench.restarted(true);
    let mut seen = Vec::new();
    loop {
        let recovery = recovered(&bench);
        let [spec] = &recovery.extract[..] else {
            let Decision::Quarantine(reason) = &recovery.settle[0].settling.decision else {
                panic!("{recovery:?}")
            };
            assert_eq!((&*reason.code, reason.crashes), ("crashes_daemon", 5));
            assert_eq!(recovery.settle[0].settling.job.id(), job.id());
            break;
        };
        seen.push(recovery.alone.len());
        bench.site.begin(spec).unwrap();
        bench = bench.restarted(false);
    }
    assert_eq!(seen, [0, 0, 1, 1, 1]);
}

#[test]
fn job_past_its_decision_that_the_daemon_died_over_runs_alone_and_then_stays_where_it_is() {
    for paths in [&["a/", ".final/a.zip"][..], &["a/a.zip", ".q/reason.json"], &["a/", ".copied/x"]]
    {
        for (crashes, told) in [(0, "settled"), (1, "alone"), (3, "alone"), (4, "left")] {
            let bench = Bench::new();
            let job = bench.lay_out("a", 1, crashes, paths);
            let bench = bench.restarted(false);
            let recovery = bench.site.recover().unwrap();
            let alone = (recovery.extract.len(), recovery.alone.len());
            let found = match (recovery.settle.len(), alone, recovery.remarks.len()) {
                (1, (0, 0), 0) => "settled",
                (0, (1, 1), 0) => "alone",
                (0, (0, 0), 1) => "left",
                _ => panic!("{recovery:?}"),
            };
            assert_eq!(found, told, "{paths:?} after {crashes} crashes: {recovery:?}");
            assert!(!tree(job.renumbered(1, crashes + 1).path()).is_empty(), "{paths:?}");
            match told {
                // The attempt notices that the job is past extraction.
                "alone" => {
                    let error = bench.site.begin(&recovery.extract[0]).unwrap_err();
                    assert_eq!(error.code(), "past_extraction", "{paths:?}");
                }
                "left" => assert!(recovery.remarks[0].contains("5 times"), "{recovery:?}"),
                _ => {}
            }
        }
    }
}

#[test]
fn packages_that_the_quarantine_could_not_hold_are_no_strays() {
    let bench = Bench::new();
    let kept = bench.site.root().join(".quarantine/a.JOB/delivered");
    fs::create_dir_all(&kept).unwrap();
    let bench = bench.restarted(true);
    assert_eq!(recovered(&bench).cleaned, []);
    assert!(kept.exists());
}

#[test]
fn recovery_that_dies_after_counting_does_not_count_again() {
    let bench = Bench::new();
    let first = bench.lay_out("a", 1, 0, &["a/a.zip", ".out/x"]);
    let second = bench.lay_out("b", 1, 4, &["b/b.zip", ".done/x"]);
    // The run recorded what it would count, renamed the first folder, and died.
    let mut boot = Boot::new(super::boot::boot_id(), State::Recovering);
    boot.crashed.insert(first.id().to_string(), 1);
    boot.crashed.insert(second.id().to_string(), 5);
    bench.site.mark_recovering(boot).unwrap();
    fs::rename(first.path(), first.renumbered(1, 1).path()).unwrap();
    let bench = bench.restarted(false);
    let recovery = recovered(&bench);
    assert_eq!(extracts(&recovery), [(first.id(), 1, 1)]);
    assert_eq!(recovery.settle[0].settling.job.crashes(), 5);
    assert!(recovery.unclean);
}

#[test]
fn recovery_that_runs_twice_says_the_same() {
    let bench = Bench::new();
    bench.lay_out("a", 1, 0, &["a/a.zip", ".out/x"]);
    bench.lay_out("b", 1, 0, &["b/", ".final/b.zip"]);
    bench.lay_out("c", 1, 0, &["c/", ".passed.json"]);
    bench.lay_out("d", 1, 0, &["d/d.zip"]);
    let bench = bench.restarted(true);
    let first = recovered(&bench);
    let bench = bench.restarted(true);
    assert_eq!(recovered(&bench), first);
    assert_eq!((first.extract.len(), first.settle.len()), (2, 2));
}

#[test]
fn stop_asked_for_before_or_during_recovery_forgets_no_crash_and_adds_none() {
    let bench = Bench::new();
    let job = bench.lay_out("a", 1, 0, &["a/a.zip", ".out/x"]);
    let bench = bench.restarted(false); // a crash
    let bench = bench.restarted(true); // SIGQUIT before recovery
    bench.site.mark_stopped().unwrap(); // SIGQUIT while it recovers
    assert_eq!(extracts(&recovered(&bench)), [(job.id(), 1, 1)]);
    bench.site.begin(&bench.site.recover().unwrap().extract[0]).unwrap();
    let bench = bench.restarted(false);
    assert_eq!(extracts(&recovered(&bench)), [(job.id(), 1, 1)]);
}

#[test]
fn recovery_in_the_same_process_counts_as_after_a_crash() {
    let bench = Bench::new();
    let job = bench.claimed("a");
    let recovery = recovered(&bench);
    assert_eq!(extracts(&recovery), [(job.id(), 1, 1)]);
}

#[test]
fn recovery_without_a_record_of_the_last_run_says_so_and_trusts_nothing_unsynced() {
    let bench = Bench::new();
    let job = bench.lay_out("a", 1, 0, &["a/a.zip", ".final/x"]);
    fs::write(bench.site.root().join(".boot"), "").unwrap();
    let bench = bench.restarted(false);
    let recovery = bench.site.recover().unwrap();
    assert_eq!(extracts(&recovery), [(job.id(), 1, 0)]);
    assert_eq!(recovery.remarks.len(), 1);
}

#[test]
fn recovery_finds_hostile_names_whole() {
    let long = "x".repeat(251);
    let names = ["out", "reason.json", "JOB.1.0", "delivered", "名字", "a b", &long];
    let bench = Bench::new();
    for name in names {
        bench.claimed(name);
    }
    let bench = bench.restarted(true);
    let recovery = recovered(&bench);
    let mut found: Vec<_> = recovery.extract.iter().map(|spec| spec.name.as_str()).collect();
    let mut names = names.to_vec();
    found.sort_unstable();
    names.sort_unstable();
    assert_eq!(found, names);
    for spec in &recovery.extract {
        let job = bench.site.begin(spec).unwrap().job;
        job.open_delivery().unwrap().open_zip().unwrap();
    }
}

#[test]
fn recovery_of_a_claimed_bare_zip_takes_it_for_a_package() {
    let bench = Bench::new();
    fs::write(bench.path("zip/a.zip"), "zip").unwrap();
    let spec = bench.offer(&PackageName::new("a").unwrap(), Form::Zip);
    bench.site.begin(&spec).unwrap();
    let bench = bench.restarted(true);
    assert_eq!(extracts(&recovered(&bench)), [(spec.id, 1, 0)]);
}

#[test]
fn job_that_is_not_gathered_waits_inactive_for_its_turn_alone() {
    let bench = Bench::new();
    let job = bench.lay_out("a", 1, 1, &["a/a.zip", ".final/x"]);
    let bench = bench.restarted(false);
    assert_eq!(extracts(&recovered(&bench)), [(job.id(), 1, 2)]);
    // The daemon dies again, over another job: that is no death of this one.
    let bench = bench.restarted(false);
    assert_eq!(extracts(&recovered(&bench)), [(job.id(), 1, 2)]);
}

#[test]
fn gathered_job_that_runs_alone_comes_before_all_others() {
    let bench = Bench::new();
    let older = bench.lay_out("a", 1, 1, &["a/a.zip", ".out/x"]);
    let gathered = bench.lay_out("b", 1, 1, &["b/", ".final/b.zip", ".final/x"]);
    let bench = bench.restarted(false);
    assert_eq!(extracts(&recovered(&bench)), [(gathered.id(), 1, 2), (older.id(), 1, 2)]);
}

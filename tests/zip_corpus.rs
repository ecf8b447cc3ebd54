//! Other projects' archives: every one that all readers take must give what `bsdtar -x` gives, every
//! one that all refuse must be refused, and nothing may be left behind or put outside.
//!
//! The folder is given by `LONGSHORE_ZIP_CORPUS`: `expect.csv` (`path,expect,…`), `names.csv`
//! (`path,name,how`) and the files. Skipped where it is not set.

#![expect(clippy::unwrap_used, reason = "a test")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use common::engine::{bsdtar, open_up, unpack};
use common::{Node, Tree};
use longshore::error::{Chain, Failure};
use longshore::extract::{Options, Plan};

/// Everything below a folder, whatever modes it has.
fn tree(top: &Path) -> Tree {
    open_up(top);
    common::tree(top)
}

/// Fields of a line; quotes as in RFC 4180, no line breaks inside.
fn fields(line: &str) -> Vec<String> {
    let (mut fields, mut quoted) = (vec![String::new()], false);
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                fields.last_mut().unwrap().push('"');
                chars.next();
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            c => fields.last_mut().unwrap().push(c),
        }
    }
    fields
}

#[test]
fn corpus_of_other_projects_gets_the_verdicts_that_it_should() {
    let Some(corpus) = std::env::var_os("LONGSHORE_ZIP_CORPUS").map(PathBuf::from) else {
        eprintln!("SKIP: LONGSHORE_ZIP_CORPUS is not set");
        return;
    };
    let table = fs::read_to_string(corpus.join("expect.csv")).unwrap();
    let mut counts: BTreeMap<(String, &str), u32> = BTreeMap::new();
    let mut wrong = Vec::new();
    for line in table.lines().skip(1) {
        let row = fields(line);
        let [path, expect, note, ..] = &row[..] else { panic!("{line}") };
        let home = tempfile::tempdir().unwrap();
        let out = home.path().join("out");
        fs::create_dir(&out).unwrap();
        let zip = corpus.join(path);
        let before = tree(home.path());
        let result = unpack(&zip, &out, &Options::default());
        let verdict = match &result {
            Ok(()) => "accepted",
            Err(_) => "refused",
        };
        let told = result.as_ref().err().map(|e| format!("{}: {}", e.code(), Chain(e)));
        if std::env::var_os("LONGSHORE_ZIP_CORPUS_VERBOSE").is_some() {
            eprintln!("{expect}\t{verdict}\t{path}\t{note}\t{}", told.clone().unwrap_or_default());
        }
        *counts.entry((expect.clone(), verdict)).or_default() += 1;
        let mut complain = |why: String| wrong.push(format!("{path} ({expect}, {note}): {why}"));
        match (expect.as_str(), &result) {
            ("accept", Err(_)) => complain(told.unwrap()),
            ("reject", Ok(())) => complain("it was accepted".to_owned()),
            _ => {}
        }
        if result.is_err() {
            if tree(home.path()) != before {
                complain("it left something behind".to_owned());
            }
            continue;
        }
        let reference = home.path().join("reference");
        fs::create_dir(&reference).unwrap();
        let bsdtar = bsdtar(&zip, &reference, None);
        let (ours, theirs) = (tree(&out), tree(&reference));
        if expect == "accept" || bsdtar.status.success() {
            let ascii =
                |tree: &Tree| tree.keys().all(|path| path.to_str().is_some_and(str::is_ascii));
            let same = if ascii(&ours) && ascii(&theirs) {
                ours == theirs
            } else {
                let files = |node: &&Node| matches!(node, Node::File(_));
                let contents =
                    |tree: &Tree| tree.values().filter(files).cloned().collect::<BTreeSet<_>>();
                contents(&ours) == contents(&theirs)
            };
            if !same {
                complain(format!("{ours:?} is not bsdtar's {theirs:?}"));
            }
        }
    }
    println!("corpus, by expectation and verdict: {counts:?}");
    assert!(wrong.is_empty(), "{} wrong verdicts:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn corpus_names_in_old_charsets_are_read_as_a_person_would() {
    let Some(corpus) = std::env::var_os("LONGSHORE_ZIP_CORPUS").map(PathBuf::from) else {
        eprintln!("SKIP: LONGSHORE_ZIP_CORPUS is not set");
        return;
    };
    let table = fs::read_to_string(corpus.join("names.csv")).unwrap();
    let mut archives: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for row in table.lines().skip(1).map(fields) {
        let [path, name, how, ..] = &row[..] else { panic!("{row:?}") };
        archives.entry(path.clone()).or_default().push((name.clone(), how.clone()));
    }
    let (mut right, mut excused, mut wrong) = (0, Vec::new(), Vec::new());
    for (path, names) in archives {
        let plan = match Plan::read(&File::open(corpus.join(&path)).unwrap(), &Options::default()) {
            Ok(plan) => plan,
            Err(error) => {
                excused.push(format!("{path}: {}", Chain(&error)));
                continue;
            }
        };
        let found: BTreeSet<&str> = plan.entries().iter().map(|entry| &*entry.path).collect();
        for (name, how) in &names {
            // One name alone is little to go by, but nothing of DOS may become Chinese.
            let chinese =
                |name: &&str| name.chars().any(|c| ('\u{3000}'..='\u{d7ff}').contains(&c));
            let detected_alone = names.len() == 1
                && (how.contains("detected") || how == "cp437" && !found.iter().any(chinese));
            if found.contains(name.as_str()) {
                right += 1;
            } else if detected_alone {
                excused.push(format!("{path}: {name} is not in {found:?} ({})", plan.charset()));
            } else {
                wrong.push(format!(
                    "{path}: {name} ({how}) is not in {found:?} ({})",
                    plan.charset()
                ));
            }
        }
    }
    println!("corpus names right: {right}, not decidable: {excused:?}");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

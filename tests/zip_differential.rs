//! Mutated ZIPs through longshore and three other readers: what longshore accepts must have the same
//! names and contents as at least two of them.
//!
//! Each mutation changes records of a sound ZIP ([`bases`], [`mutate`]). A difference from a reader is
//! allowed only where a row of [`table`] explains it; any other fails the test, with the bytes. 200
//! mutations, and 2,000 with `LONGSHORE_LONG=1` or `LONGSHORE_WRITERS=required`, the same ones each
//! time: what a new reader or a new seed finds is work, and not a reason for others' changes to fail.
//! `LONGSHORE_SEED` makes other ones.

#![expect(clippy::unwrap_used, reason = "what fails in a test's set-up fails the test")]

#[path = "zip_differential/bases.rs"]
mod bases;
mod common;
#[path = "zip_differential/model.rs"]
mod model;
#[path = "zip_differential/mutate.rs"]
mod mutate;
#[path = "zip_differential/readers.rs"]
mod readers;
#[path = "zip_differential/seen.rs"]
mod seen;
#[path = "zip_differential/table.rs"]
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs::{self, File};
use std::path::Path;
use std::sync::Mutex;
use std::thread;

use common::witness::Dice;
use common::{Tree, skip};
use longshore::error::Failure;
use longshore::extract::{Options, Plan};
use model::Zip;
use readers::{Answer, Reader};
use seen::{Accepted, Planned, Seen};
use table::ROWS;

/// A ZIP to be judged.
struct Case {
    /// The base and what was done to it.
    made: String,
    bytes: Vec<u8>,
}

/// What all readers make of a case.
struct Verdicts {
    ours: Result<Accepted, &'static str>,
    others: Vec<(Reader, Answer)>,
}

/// All bases as they are, then as many mutations as asked for.
fn cases(mutations: usize, with_python: bool, dice: &mut Dice) -> (Vec<Case>, usize) {
    let bases = bases::all(with_python);
    let mut cases: Vec<Case> = bases
        .iter()
        .map(|base| Case { made: format!("{}, as it is", base.name), bytes: base.zip.bytes() })
        .collect();
    let sound = cases.len();
    while cases.len() < sound + mutations {
        let base = &bases[dice.below(bases.len() as u64) as usize];
        let mut zip = base.zip.clone();
        let done = mutate::mutate(&mut zip, dice);
        cases.push(Case {
            made: format!("{}, mutated: {}", base.name, done.join(", ")),
            bytes: zip.bytes(),
        });
    }
    (cases, sound)
}

/// Longshore's tree, or the code of its refusal.
fn ours(zip: &Path, bytes: &[u8], out: &Path) -> Result<Accepted, &'static str> {
    let options = Options::default();
    fs::create_dir(out).unwrap();
    common::engine::unpack(zip, out, &options).map_err(|error| error.code())?;
    let plan = Plan::read(&File::open(zip).unwrap(), &options).unwrap();
    common::engine::open_up(out);
    let zip = Zip::parse(bytes).unwrap_or_else(|| panic!("{zip:?} is accepted, and no ZIP"));
    let mut centrals = zip.centrals.clone();
    centrals.sort_by_key(|central| central.local);
    let paths = plan.entries().iter().map(|entry| entry.path.to_string());
    let entries: Vec<Planned> = paths
        .zip(centrals.into_iter().zip(zip.locals.clone()))
        .map(|(path, (central, local))| Planned { path, central, local })
        .collect();
    assert_eq!(entries.len(), plan.entries().len(), "an entry has no header");
    Ok(Accepted { tree: common::tree(out), zip, entries })
}

/// Has every case read by longshore and by all of `readers`.
fn judge(cases: &[Case], readers: &[Reader]) -> Vec<Verdicts> {
    let home = tempfile::tempdir().unwrap();
    let zips = home.path().join("zips");
    fs::create_dir(&zips).unwrap();
    let name = |index: usize| format!("{index:05}.zip");
    for (index, case) in cases.iter().enumerate() {
        fs::write(zips.join(name(index)), &case.bytes).unwrap();
    }
    let left = Mutex::new(0..cases.len());
    let judged = Mutex::new(BTreeMap::new());
    let work = || {
        loop {
            let next = left.lock().unwrap().next();
            let Some(index) = next else { return };
            let (zip, here) = (zips.join(name(index)), home.path().join(format!("{index}")));
            fs::create_dir(&here).unwrap();
            let ours = ours(&zip, &cases[index].bytes, &here.join("ours"));
            let others = readers.iter().filter(|reader| **reader != Reader::Python);
            let others: Vec<(Reader, Answer)> = others
                .map(|&reader| (reader, reader.unpack(&zip, &here.join(format!("{reader:?}")))))
                .collect();
            fs::remove_dir_all(&here).unwrap();
            judged.lock().unwrap().insert(index, Verdicts { ours, others });
        }
    };
    let mut python = thread::scope(|scope| {
        let python = readers.contains(&Reader::Python);
        let python = python.then(|| scope.spawn(|| readers::python(&zips)));
        for _ in 0..thread::available_parallelism().map_or(1, usize::from).min(4) {
            scope.spawn(work);
        }
        python.map(|thread| thread.join().unwrap())
    });
    let mut judged: Vec<Verdicts> = judged.into_inner().unwrap().into_values().collect();
    for (index, verdicts) in judged.iter_mut().enumerate() {
        if let Some(answer) = python.as_mut().and_then(|all| all.remove(&name(index))) {
            verdicts.others.push((Reader::Python, answer));
        }
    }
    judged
}

/// What a run found.
#[derive(Default)]
struct Count {
    accepted: usize,
    /// By how many readers agreed.
    agreed: [usize; 4],
    /// Refused by longshore, and the same tree to all others.
    alone: BTreeMap<&'static str, usize>,
    rows: BTreeMap<&'static str, usize>,
    findings: Vec<String>,
}

impl Count {
    fn add(&mut self, case: &Case, verdicts: &Verdicts) {
        let ours = match &verdicts.ours {
            Ok(ours) => ours,
            Err(code) => {
                let mut trees = verdicts.others.iter().map(|(_, answer)| answer);
                let first = trees.next();
                if matches!(first, Some(Answer::Tree(_))) && trees.all(|it| Some(it) == first) {
                    *self.alone.entry(code).or_default() += 1;
                }
                return;
            }
        };
        self.accepted += 1;
        let (mut agreed, mut unexplained) = (0, Vec::new());
        let mut refused = Vec::new();
        for (reader, answer) in &verdicts.others {
            let seen = Seen { ours, answer };
            if seen.is_same() {
                agreed += 1;
                continue;
            }
            match (table::explain(*reader, &seen), answer) {
                (Some(rows), _) => {
                    rows.iter().for_each(|row| *self.rows.entry(row.name).or_default() += 1);
                    agreed += usize::from(rows.iter().all(|row| row.is_spelling));
                }
                (None, Answer::Tree(_)) => unexplained.push(*reader),
                (None, Answer::Refused(_)) => refused.push(*reader),
            }
        }
        self.agreed[agreed] += 1;
        // A refusal needs its reason only where it is needed: two agree without it.
        if agreed < 2 {
            unexplained.extend(refused);
        }
        if !unexplained.is_empty() {
            self.findings.push(finding(case, ours, &verdicts.others, &unexplained));
        }
    }
}

/// All that is known of a difference that no row explains.
fn finding(
    case: &Case,
    ours: &Accepted,
    others: &[(Reader, Answer)],
    unexplained: &[Reader],
) -> String {
    let mut text = format!("{}: no row explains {unexplained:?}\n", case.made);
    let show = |tree: &Tree| format!("{tree:?}");
    writeln!(text, "  longshore: {}", show(&ours.tree)).unwrap();
    for (reader, answer) in others {
        let said = match answer {
            Answer::Tree(tree) if *tree == ours.tree => "the same".to_owned(),
            Answer::Tree(tree) => show(tree),
            Answer::Refused(why) => format!("refused: {why}"),
        };
        writeln!(text, "  {reader:?}: {said}").unwrap();
    }
    let hex = case.bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    writeln!(text, "  bytes: {hex}").unwrap();
    text
}

/// Which mutations are made where nobody asks for others.
const SEED: u64 = 8;

#[test]
fn mutated_archive_that_is_accepted_is_the_same_to_two_other_readers() {
    let is_required = std::env::var_os("LONGSHORE_WRITERS").is_some_and(|it| it == "required");
    let readers = Reader::here();
    assert!(readers.len() == 3 || !is_required, "only {readers:?} are here");
    if readers.len() < 2 {
        skip("fewer than two other readers are here to compare with");
        return;
    }
    let mutations = if common::is_long() || is_required { 2000 } else { 200 };
    let (mut dice, seed) = Dice::thrown_or(SEED);
    let (cases, sound) = cases(mutations, readers.contains(&Reader::Python), &mut dice);
    let verdicts = judge(&cases, &readers);

    for (case, verdicts) in cases.iter().zip(&verdicts).take(sound) {
        let refused = verdicts.ours.as_ref().err();
        assert_eq!(refused, None, "a sound ZIP was refused: {}", case.made);
    }
    let mut count = Count::default();
    for (case, verdicts) in cases.iter().zip(&verdicts) {
        count.add(case, verdicts);
    }
    let Count { accepted, agreed, alone, rows, findings } = count;
    println!(
        "LONGSHORE_SEED={seed} differential: {mutations} mutations of {sound} ZIPs, {accepted} of all \
         accepted: {} as by three others, {} as by two; explained {rows:?}; refused by longshore alone \
         {alone:?}",
        agreed[3], agreed[2],
    );
    assert!(findings.is_empty(), "{} differences:\n{}", findings.len(), findings.join("\n"));
}

#[test]
fn planted_difference_is_a_finding_and_agreement_is_none() {
    let case = bases::all(false).swap_remove(0);
    let case = Case { made: case.name, bytes: case.zip.bytes() };
    let home = tempfile::tempdir().unwrap();
    let zip = home.path().join("plain.zip");
    fs::write(&zip, &case.bytes).unwrap();
    let read = |name: &str| ours(&zip, &case.bytes, &home.path().join(name)).unwrap();
    let same = read("same").tree;
    let mut other = same.clone();
    other.insert("empty".into(), common::Node::File(b"not empty".to_vec()));
    let refused = Answer::Refused("it is broken".to_owned());

    let findings = |name: &str, answers: [Answer; 3]| {
        let readers = [Reader::Python, Reader::Bsdtar, Reader::SevenZip];
        let others = readers.into_iter().zip(answers).collect();
        let mut count = Count::default();
        count.add(&case, &Verdicts { ours: Ok(read(name)), others });
        count.findings.len()
    };
    let (same, other) = (Answer::Tree(same), Answer::Tree(other));
    assert_eq!(findings("a", [same.clone(), same.clone(), same.clone()]), 0);
    assert_eq!(findings("b", [same.clone(), refused.clone(), same.clone()]), 0, "two agree");
    assert_eq!(findings("c", [same.clone(), refused.clone(), refused]), 1, "one is not enough");
    assert_eq!(findings("d", [same.clone(), same, other]), 1, "another tree needs its reason");
}

#[test]
fn every_row_of_the_table_has_a_name_of_its_own_and_a_reason() {
    let names: BTreeSet<&str> = ROWS.iter().map(|row| row.name).collect();
    assert_eq!(names.len(), ROWS.len(), "two rows have one name");
    assert!(ROWS.iter().all(|row| !row.reason.is_empty()), "a row has no reason");
}

//! Archives as real writers make them: what they packed must come out, as it does of `bsdtar`.
//!
//! Every writer that is here packs every content. Those that are not are skipped, with a line that says
//! so; with `LONGSHORE_WRITERS=required` they fail the test.

#![expect(clippy::unwrap_used, reason = "what fails in a test's set-up fails the test")]

mod common;
#[path = "zip_writers/contents.rs"]
mod contents;
#[path = "zip_writers/writers.rs"]
mod writers;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;

use common::engine::{bsdtar, unpack};
use common::{Node, has, skip};
use contents::{Content, Found};
use longshore::error::Chain;
use longshore::extract::{EntryKind, Options, Password, Plan};
use writers::{FAMILIES, PASSWORD, Times, Writer};

/// A content in a folder.
struct Source {
    folder: PathBuf,
    found: Found,
}

#[test]
fn archive_of_every_writer_gives_the_tree_that_was_packed() {
    let is_required = std::env::var_os("LONGSHORE_WRITERS").is_some_and(|it| it == "required");
    if !has("bsdtar") {
        assert!(!is_required, "there is nothing to compare with");
        return;
    }
    let mut wrong = Vec::new();
    let mut writers = writers::all();
    for (family, probe) in FAMILIES {
        if !writers::is_there(probe) {
            skip(&format!("no archives of {family}: `{probe}` fails here"));
            writers.retain(|writer| writer.family != family);
            if is_required {
                wrong.push(format!("{family} is required, and not here"));
            }
        }
    }
    let home = tempfile::tempdir().unwrap();
    let sources: BTreeMap<Content, Source> = Content::ALL
        .into_iter()
        .map(|content| {
            let folder = home.path().join(format!("{content:?}"));
            content.lay(&folder);
            (content, Source { found: Found::below(&folder), folder })
        })
        .collect();

    // The large ones first: what is left at the end is short.
    let mut cells: Vec<(Content, &Writer)> = writers
        .iter()
        .flat_map(|writer| writer.contents().into_iter().map(move |content| (content, writer)))
        .collect();
    cells.sort_by_key(|&(content, _)| content);
    let cells = Mutex::new(cells.into_iter());
    let done = Mutex::new((BTreeMap::<&str, u32>::new(), wrong));
    let threads = thread::available_parallelism().map_or(1, usize::from).min(4);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let next = cells.lock().unwrap().next();
                    let Some((content, writer)) = next else { return };
                    let result = check(writer, content, &sources[&content]);
                    let mut done = done.lock().unwrap();
                    *done.0.entry(writer.family).or_default() += 1;
                    if let Err(why) = result {
                        done.1.push(format!("{content:?} by {}: {why}", writer.line));
                    }
                }
            });
        }
    });
    let (counts, wrong) = done.into_inner().unwrap();
    let counts: Vec<String> = FAMILIES
        .iter()
        .map(|(family, _)| format!("{family} {}", counts.get(family).unwrap_or(&0)))
        .collect();
    println!("writers: {} archives", counts.join(", "));
    assert!(wrong.is_empty(), "{} archives came out wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// Packs, unpacks and compares; says what is not as it should be.
fn check(writer: &Writer, content: Content, source: &Source) -> Result<(), String> {
    let home = tempfile::tempdir().unwrap();
    let zip = home.path().join("packed.zip");
    writer.pack(content, &source.folder, &zip)?;

    let mut options = Options::default();
    options.password = writer.locked.then(|| Password::new(PASSWORD.as_bytes()));
    let out = home.path().join("out");
    fs::create_dir(&out).unwrap();
    unpack(&zip, &out, &options).map_err(|error| Chain(&error).to_string())?;
    let ours = Found::below(&out);
    let plan = Plan::read(&File::open(&zip).unwrap(), &options).unwrap();
    check_plan(writer, content, &plan)?;

    let mut tree = ours.tree.clone();
    for added in writer.adds {
        tree.remove(Path::new(added)).ok_or_else(|| format!("{added} is missing"))?;
    }
    if tree != source.found.tree {
        return Err(differences("what was packed", &tree, &source.found.tree));
    }

    let timed = || plan.entries().iter().map(|entry| PathBuf::from(&*entry.path));
    for path in timed().filter(|path| source.found.times.contains_key(path)) {
        let (packed, found) = (source.found.times[&path], ours.times[&path]);
        let off_by = if writer.times == Times::Dos { 1 } else { 0 };
        if packed.abs_diff(found) != off_by {
            return Err(format!("{path:?} is of {found}, and was of {packed}"));
        }
    }

    let reference = home.path().join("reference");
    fs::create_dir(&reference).unwrap();
    let said = bsdtar(&zip, &reference, writer.locked.then_some(PASSWORD));
    if !said.status.success() {
        let why = String::from_utf8_lossy(&said.stderr).into_owned();
        let excused = writer.excuse.is_some_and(|part| why.contains(part));
        return if excused { Ok(()) } else { Err(format!("bsdtar cannot read it: {why}")) };
    }
    let theirs = Found::below(&reference);
    if ours.tree != theirs.tree {
        return Err(differences("bsdtar's", &ours.tree, &theirs.tree));
    }
    if ours.programs != theirs.programs {
        return Err(format!("programs are {:?}, bsdtar's {:?}", ours.programs, theirs.programs));
    }
    let theirs_knows = writer.times != Times::Ntfs;
    for path in timed().filter(|path| theirs_knows && ours.times.contains_key(path)) {
        let (ours, theirs) = (ours.times[&path], theirs.times[&path]);
        if ours != theirs {
            return Err(format!("{path:?} is of {ours}, bsdtar's of {theirs}"));
        }
    }
    Ok(())
}

/// The writer did what its line asks for.
fn check_plan(writer: &Writer, content: Content, plan: &Plan) -> Result<(), String> {
    let files = || plan.entries().iter().filter(|entry| entry.kind == EntryKind::File);
    if content.is_large() && !files().any(|entry| entry.method == writer.method) {
        return Err(format!("nothing in it is {:?}", writer.method));
    }
    match files().find(|entry| entry.size > 0 && entry.is_encrypted() != writer.locked) {
        Some(entry) if writer.locked => Err(format!("{} is not encrypted", entry.path)),
        Some(entry) => Err(format!("{} is encrypted", entry.path)),
        None => Ok(()),
    }
}

/// The paths at which two trees are not the same, and what is there.
fn differences(whose: &str, ours: &common::Tree, theirs: &common::Tree) -> String {
    let mut paths: Vec<&PathBuf> = ours.keys().chain(theirs.keys()).collect();
    paths.sort();
    paths.dedup();
    let show = |node: Option<&Node>| node.map_or("nothing".to_owned(), |it| format!("{it:?}"));
    let differs = paths.into_iter().filter(|path| ours.get(*path) != theirs.get(*path));
    let lines: Vec<String> = differs
        .take(9)
        .map(|path| {
            format!("{path:?}: {}, {whose}: {}", show(ours.get(path)), show(theirs.get(path)))
        })
        .collect();
    lines.join("; ")
}

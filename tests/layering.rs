//! The order of the modules: each level imports only from levels above it.
//!
//! Reads the sources and finds every path that begins with `crate::` (or climbs out by `super::`), in
//! code, not in comments or strings.
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// First to last: each may use those before it. Modules of one level may use each other.
const LEVELS: &[&[&str]] = &[
    &[
        "error",
        "failpoint",
        "id",
        "package",
        "progress",
        "config",
        "messages",
        "names",
        "folder",
        "mountinfo",
    ],
    &["landing"],
    &["workspace"],
    &["publish"],
    &["schedule"],
    &["extract"],
    &["ledger"],
    &["process"],
    &["telemetry"],
    &["actors"],
    &["pipeline"],
    &["testkit"],
    &["server"],
    &["cli"],
];

/// The crate's roots, which name everything.
const ROOTS: [&str; 2] = ["lib.rs", "main.rs"];

fn level(module: &str) -> Option<usize> {
    LEVELS.iter().position(|level| level.contains(&module))
}

/// Blanks out comments, strings and character literals; lines stay where they are.
fn code_of(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    let starts = |at: usize, what: &str| {
        what.chars().enumerate().all(|(n, c)| chars.get(at + n) == Some(&c))
    };
    while at < chars.len() {
        let end = if starts(at, "//") {
            (at..chars.len()).find(|&n| chars[n] == '\n').unwrap_or(chars.len())
        } else if starts(at, "/*") {
            end_of_comment(&chars, at)
        } else if let Some(end) = end_of_raw_string(&chars, at) {
            end
        } else if chars[at] == '"' {
            end_of_quoted(&chars, at, '"')
        } else if chars[at] == '\'' && (starts(at + 1, "\\") || chars.get(at + 2) == Some(&'\'')) {
            end_of_quoted(&chars, at, '\'')
        } else {
            code.push(chars[at]);
            at += 1;
            continue;
        };
        code.extend(chars[at..end].iter().map(|&c| if c == '\n' { '\n' } else { ' ' }));
        at = end;
    }
    code
}

fn end_of_comment(chars: &[char], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0);
    while at + 1 < chars.len() {
        match (chars[at], chars[at + 1]) {
            ('/', '*') => (depth, at) = (depth + 1, at + 2),
            ('*', '/') => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    chars.len()
}

fn end_of_raw_string(chars: &[char], start: usize) -> Option<usize> {
    let before = start.checked_sub(1).map(|before| chars[before]);
    if chars[start] != 'r' || before.is_some_and(|c| c != 'b' && is_word(c)) {
        return None;
    }
    let hashes = chars[start + 1..].iter().take_while(|&&c| c == '#').count();
    if chars.get(start + 1 + hashes) != Some(&'"') {
        return None;
    }
    let body = start + 2 + hashes;
    let closes =
        |at: usize| chars[at] == '"' && (1..=hashes).all(|n| chars.get(at + n) == Some(&'#'));
    Some((body..chars.len()).find(|&at| closes(at)).map_or(chars.len(), |at| at + 1 + hashes))
}

fn end_of_quoted(chars: &[char], start: usize, quote: char) -> usize {
    let mut at = start + 1;
    while at < chars.len() && chars[at] != quote {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn word_at(code: &str, at: usize) -> &str {
    let rest = &code[at..];
    &rest[..rest.find(|c| !is_word(c)).unwrap_or(rest.len())]
}

/// The item after each `#[cfg(test)]`: its bytes, and its name where it is a module in a file.
fn test_items(code: &str) -> Vec<(std::ops::Range<usize>, Option<String>)> {
    const MARK: &str = "#[cfg(test)]";
    let items = code.match_indices(MARK).map(|(start, _)| {
        let rest = &code[start + MARK.len()..];
        let (semicolon, brace) = (rest.find(';'), rest.find('{'));
        let len = match (semicolon, brace) {
            (Some(semicolon), brace) if brace.is_none_or(|brace| semicolon < brace) => {
                let words: Vec<&str> = rest[..semicolon].split_whitespace().collect();
                let at = words.iter().position(|word| *word == "mod");
                let name = at.and_then(|at| words.get(at + 1)).map(|name| (*name).to_owned());
                return (start..start + MARK.len() + semicolon, name);
            }
            (_, Some(brace)) => brace + matching(&rest[brace..]),
            (_, None) => rest.len(),
        };
        (start..start + MARK.len() + len, None)
    });
    items.collect()
}

/// The length of a text that begins with a brace, up to the one that closes it.
fn matching(text: &str) -> usize {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    text.len()
}

/// Where a path to a module of the crate begins, and which: `crate::a`, `crate::{a, b::c}`.
fn paths(code: &str, inner: &[&str]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        if !code[..at].ends_with(|c: char| is_word(c) || c == '$') {
            heads(code, at + "crate::".len(), &mut found);
        }
    }
    // `super::` as often as there are modules around this one leads to the root of the crate.
    let climb = "super::".repeat(inner.len());
    if !inner.is_empty() {
        for (at, _) in code.match_indices(&climb) {
            let first = !code[..at].ends_with("super::") && !code[..at].ends_with(is_word);
            let last = !code[at + climb.len()..].starts_with("super::");
            if first && last {
                heads(code, at + climb.len(), &mut found);
            }
        }
    }
    found
}

/// The first names of what follows `crate::`, be it one path or a group of them.
fn heads(code: &str, at: usize, found: &mut Vec<(usize, String)>) {
    if !code[at..].starts_with('{') {
        found.push((at, word_at(code, at).to_owned()));
        return;
    }
    let end = at + matching(&code[at..]);
    let (mut depth, mut expected) = (0, false);
    for (n, c) in code[at..end].char_indices() {
        match c {
            '{' => (depth, expected) = (depth + 1, depth == 0),
            '}' => depth -= 1,
            ',' if depth == 1 => expected = true,
            c if expected && is_word(c) => {
                found.push((at + n, word_at(code, at + n).to_owned()));
                expected = false;
            }
            _ => {}
        }
    }
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut rest = vec![folder.to_owned()];
    while let Some(folder) = rest.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                rest.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files
}

/// The path of a file's module, without the crate: `actors`, `watcher`, `book`.
fn module_of(file: &Path) -> Vec<&str> {
    let stem = file.with_extension("");
    let parts = file.iter().count();
    let mut module: Vec<&str> =
        file.iter().take(parts - 1).map(|part| part.to_str().unwrap()).collect();
    if !stem.ends_with("mod") {
        module.push(file.file_stem().unwrap().to_str().unwrap());
    }
    module
}

/// Every import in a source folder that breaks the order, as `file:line: what is wrong`.
fn violations(src: &Path) -> Vec<String> {
    let mut wrong = Vec::new();
    let files: Vec<(PathBuf, String)> = rust_files(src)
        .into_iter()
        .map(|path| {
            let code = code_of(&fs::read_to_string(&path).unwrap());
            (path.strip_prefix(src).unwrap().to_owned(), code)
        })
        .collect();
    // Modules that only tests have, with all that is below them.
    let mut tests = BTreeSet::new();
    for (file, code) in &files {
        let module =
            if ROOTS.iter().any(|root| file == Path::new(root)) { vec![] } else { module_of(file) };
        for name in test_items(code).into_iter().filter_map(|(_, name)| name) {
            tests.insert([module.join("::"), name].join("::"));
        }
    }
    for (file, code) in &files {
        if ROOTS.iter().any(|root| file == Path::new(root)) {
            continue;
        }
        let module = module_of(file);
        let Some(own) = level(module[0]) else {
            wrong.push(format!(
                "{}:1: `{}` has no place in the order of modules",
                file.display(),
                module[0]
            ));
            continue;
        };
        let all_test = (1..=module.len()).any(|n| tests.contains(&module[..n].join("::")));
        let spans = test_items(code);
        for (at, head) in paths(code, &module) {
            let in_test = all_test || spans.iter().any(|(span, _)| span.contains(&at));
            let Some(used) = level(&head) else { continue };
            if used <= own {
                continue;
            }
            if head == "testkit" && in_test {
                continue;
            }
            let line = code[..at].matches('\n').count() + 1;
            wrong.push(format!(
                "{}:{line}: `{}` imports `{head}`, which comes after it",
                file.display(),
                module[0]
            ));
        }
    }
    wrong.sort();
    wrong
}

#[test]
fn sources_import_only_from_levels_above() {
    let wrong = violations(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    assert!(wrong.is_empty(), "the order of modules is broken:\n{}", wrong.join("\n"));
}

#[test]
fn planted_imports_are_found_and_what_only_looks_like_one_is_not() {
    let src = tempfile::tempdir().unwrap();
    let put = |path: &str, text: &str| {
        let path = src.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    put("lib.rs", "pub mod cli;\nuse crate::cli::main;\n");
    put("id.rs", "use crate::messages::Form;\nuse crate::error::Failure;\n");
    put("config.rs", "\n\nuse crate::cli::exit;\n");
    put("landing/look.rs", "use crate::{error::{Chain, Failure}, id, schedule::Schedule};\n");
    put("workspace.rs", "fn f() { let x = crate::publish::settle(); }\nuse crate::testkit::A;\n");
    put(
        "workspace/a.rs",
        "//! See `crate::actors`.\n/* use crate::cli; */ use super::super::actors::X;\n",
    );
    put(
        "workspace/b.rs",
        "const A: &str = \"crate::cli\"; const B: &str = r#\"crate::cli\"#; const C: char = '\"';\nuse crate::landing;\n",
    );
    put(
        "schedule.rs",
        "#[cfg(test)]\nmod tests;\n#[cfg(test)]\nmod more {\n    use crate::testkit::Probe;\n    use crate::pipeline::P;\n}\n",
    );
    put("schedule/tests.rs", "use crate::testkit::Probe;\nuse crate::cli::Args;\n");
    put("actors/mod.rs", "use crate::telemetry::log;\nuse crate::testkit::Probe;\n");
    put("cli/mod.rs", "use crate::pipeline::Pipeline;\nuse super::server::X;\n");
    put("novel.rs", "");
    let expected = [
        "actors/mod.rs:2: `actors` imports `testkit`, which comes after it",
        "config.rs:3: `config` imports `cli`, which comes after it",
        "landing/look.rs:1: `landing` imports `schedule`, which comes after it",
        "novel.rs:1: `novel` has no place in the order of modules",
        "schedule.rs:6: `schedule` imports `pipeline`, which comes after it",
        "schedule/tests.rs:2: `schedule` imports `cli`, which comes after it",
        "workspace.rs:1: `workspace` imports `publish`, which comes after it",
        "workspace.rs:2: `workspace` imports `testkit`, which comes after it",
        "workspace/a.rs:2: `workspace` imports `actors`, which comes after it",
    ];
    assert_eq!(violations(src.path()), expected);
}

/// Modules whose public items other programs use: `docs/api.md`.
const STABLE: [&str; 7] = ["config", "error", "id", "messages", "package", "pipeline", "testkit"];

/// Types of other crates, as they are called here; actix's, slog's and std's may be public.
const FOREIGN: [&str; 10] = [
    "ByteSize",
    "Ulid",
    "TempDir",
    "jiff",
    "oneshot",
    "mpsc",
    "tokio",
    "rustix",
    "rusqlite",
    "serde_json",
];

/// Public fields and functions with a foreign type, as `file: what`; of each only what can be seen
/// from outside: `pub struct JobId(Ulid)` hides its field.
fn foreign_types(src: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for path in rust_files(src) {
        let file = path.strip_prefix(src).unwrap().to_owned();
        if !STABLE.contains(&module_of(&file)[0]) {
            continue;
        }
        let code = code_of(&fs::read_to_string(&path).unwrap());
        for (at, _) in code.match_indices("pub ") {
            let rest = &code[at..];
            let ends: &[char] = if rest.starts_with("pub fn") { &['{', ';'] } else { &['\n'] };
            let item = &rest[..rest.find(ends).unwrap_or(rest.len())];
            let hidden = item.starts_with("pub struct") || item.starts_with("pub use");
            let words = item.split(|c| !is_word(c));
            for word in words.filter(|word| !hidden && FOREIGN.contains(word)) {
                found.push(format!("{}: {word}", file.display()));
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

#[test]
fn stable_modules_show_no_type_of_other_crates_but_those_that_the_page_names() {
    let found = foreign_types(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    let known = ["config.rs: ByteSize", "config/file.rs: ByteSize", "config/process.rs: ByteSize"];
    assert_eq!(found, known, "a type of another crate became public, or one is no more");
}

#[test]
fn planted_foreign_type_in_a_public_signature_is_found() {
    let src = tempfile::tempdir().unwrap();
    let text =
        "pub struct Id(Ulid);\npub fn f(\n    a: Ulid,\n) {}\npub(crate) fn g(a: jiff::Zoned) {}\n";
    fs::write(src.path().join("id.rs"), text).unwrap();
    fs::write(src.path().join("publish.rs"), text).unwrap();
    assert_eq!(foreign_types(src.path()), ["id.rs: Ulid"]);
}

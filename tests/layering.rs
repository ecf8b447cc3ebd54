//! Who may import whom: the order of the rooms, the pairs that never are, and no circle of files.
//!
//! Parses the sources and resolves every path that leads into this crate to the file that it names: in
//! `use`, in code and in the arguments of macros. A façade is a file like any other, so that a file which
//! imports from the façade of its own room makes a circle with it.
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};

/// First to last: each room may use those before it. Rooms of one level may use each other.
const LEVELS: &[&[&str]] = &[
    &[
        "error",
        "failpoint",
        "id",
        "job",
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
    &["cli"],
];

/// What the levels alone would allow, and must not be: room, imported room.
const NEVER: &[(&str, &str)] = &[
    ("extract", "config"),
    ("extract", "messages"),
    ("extract", "package"),
    ("extract", "workspace"),
    ("extract", "publish"),
    ("extract", "schedule"),
    ("process", "config"),
    ("process", "workspace"),
    ("process", "extract"),
    ("process", "ledger"),
    ("landing", "messages"),
    ("workspace", "messages"),
    ("schedule", "landing"),
    ("schedule", "workspace"),
    ("schedule", "publish"),
    ("publish", "landing"),
    ("folder", "config"),
    ("folder", "messages"),
    ("names", "messages"),
    ("error", "messages"),
    ("telemetry", "actors"),
];

/// Files that still import each other, a line for each circle. The list only gets shorter: a file that is
/// in no circle any longer must be removed here.
const KNOWN_CIRCLES: &[&[&str]] = &[
    &["actors/processor/runner.rs", "actors/processor.rs"],
    &["actors/watcher/scan.rs", "actors/watcher.rs"],
    &["config/file.rs", "config.rs"],
    &["folder/remove.rs", "folder/walk.rs", "folder.rs"],
    &[
        "landing/checks.rs",
        "landing/inside.rs",
        "landing/look.rs",
        "landing/unfit.rs",
        "landing.rs",
    ],
    &[
        "pipeline/blueprint.rs",
        "pipeline/error.rs",
        "pipeline/handle.rs",
        "pipeline/ledger.rs",
        "pipeline/processing.rs",
        "pipeline/stages.rs",
        "pipeline/wiring.rs",
        "pipeline.rs",
    ],
    &[
        "publish/archive.rs",
        "publish/cleanup.rs",
        "publish/copy.rs",
        "publish/elsewhere.rs",
        "publish/errand.rs",
        "publish/error.rs",
        "publish/finish.rs",
        "publish/found.rs",
        "publish/judge.rs",
        "publish/listing.rs",
        "publish/publisher.rs",
        "publish/put_back.rs",
        "publish/quarantine.rs",
        "publish/redelivery.rs",
        "publish.rs",
    ],
    &[
        "workspace/adopt.rs",
        "workspace/claim.rs",
        "workspace/contents.rs",
        "workspace/error.rs",
        "workspace/layout.rs",
        "workspace/lock.rs",
        "workspace/originals.rs",
        "workspace/places.rs",
        "workspace/reason.rs",
        "workspace/recover.rs",
        "workspace/site.rs",
        "workspace/staging.rs",
        "workspace/state.rs",
        "workspace/tally.rs",
        "workspace/together.rs",
        "workspace/trust.rs",
        "workspace.rs",
    ],
];

/// Files that still import what their room must never know. As above.
const KNOWN_PAIRS: &[&str] = &[
    "process/command.rs: imports `config`",
    "process/isolation.rs: imports `config`",
    "process/logs.rs: imports `workspace`",
];

/// The crate's roots, which name everything.
const ROOTS: [&str; 2] = ["lib.rs", "main.rs"];

/// A file of the crate.
struct Source {
    /// Below `src`.
    file: PathBuf,
    /// Its module's path without the crate; empty for a root.
    module: Vec<String>,
    syntax: syn::File,
}

/// One path into the crate.
struct Import {
    /// Absolute, without the crate.
    path: Vec<String>,
    /// It is in code that only tests have.
    in_test: bool,
}

fn read(src: &Path) -> Vec<Source> {
    let mut sources = Vec::new();
    let mut rest = vec![src.to_owned()];
    while let Some(folder) = rest.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                rest.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let file = path.strip_prefix(src).unwrap().to_owned();
                let syntax = syn::parse_file(&fs::read_to_string(&path).unwrap())
                    .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
                sources.push(Source { module: module_of(&file), file, syntax });
            }
        }
    }
    sources.sort_by(|a, b| a.file.cmp(&b.file));
    sources
}

/// The path of a file's module, without the crate: `actors`, `watcher`, `book`.
fn module_of(file: &Path) -> Vec<String> {
    if ROOTS.iter().any(|root| file == Path::new(root)) {
        return Vec::new();
    }
    let stem = file.with_extension("");
    let mut module: Vec<String> =
        stem.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
    if module.last().is_some_and(|last| last == "mod") {
        module.pop();
    }
    module
}

/// Collects the imports of one file.
struct Imports {
    /// The module that is being visited: the file's, and inline ones in it.
    module: Vec<String>,
    /// Child modules that are declared in it.
    children: Vec<BTreeSet<String>>,
    in_test: bool,
    /// Modules in files of their own that only tests have.
    test_modules: Vec<Vec<String>>,
    found: Vec<Import>,
}

impl Imports {
    fn of(source: &Source) -> Self {
        let mut imports = Self {
            module: source.module.clone(),
            children: vec![declared(&source.syntax.items)],
            in_test: false,
            test_modules: Vec::new(),
            found: Vec::new(),
        };
        imports.visit_file(&source.syntax);
        imports
    }

    /// Takes a path as it is written; one that leads to another crate is none.
    fn take(&mut self, segments: &[String]) {
        let first = segments.first().map(String::as_str);
        let is_child = |name| self.children.last().is_some_and(|known| known.contains(name));
        let mut path = match first {
            Some("crate") => Vec::new(),
            Some("self" | "super") => self.module.clone(),
            Some(name) if is_child(name) => self.module.clone(),
            _ => return,
        };
        for segment in segments {
            match segment.as_str() {
                "crate" | "self" => {}
                "super" => drop(path.pop()),
                name => path.push(name.to_owned()),
            }
        }
        self.found.push(Import { path, in_test: self.in_test });
    }

    fn tree(&mut self, before: &mut Vec<String>, tree: &syn::UseTree) {
        match tree {
            syn::UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.tree(before, &path.tree);
                before.pop();
            }
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.tree(before, tree);
                }
            }
            syn::UseTree::Name(syn::UseName { ident })
            | syn::UseTree::Rename(syn::UseRename { ident, .. }) => {
                before.push(ident.to_string());
                self.take(before);
                before.pop();
            }
            syn::UseTree::Glob(_) => self.take(before),
        }
    }

    /// Paths in the arguments of a macro, which are no syntax before it is expanded.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) if colons == 2 || path.is_empty() => {
                    path.push(ident.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' && !path.is_empty() => {
                    colons += 1;
                }
                token => {
                    self.take_long(&path);
                    (path, colons) = (Vec::new(), 0);
                    match token {
                        TokenTree::Group(group) => self.tokens(group.stream()),
                        TokenTree::Ident(ident) => path.push(ident.to_string()),
                        _ => {}
                    }
                }
            }
        }
        self.take_long(&path);
    }

    /// A single name is no path.
    fn take_long(&mut self, path: &[String]) {
        if path.len() > 1 {
            self.take(path);
        }
    }
}

impl<'ast> Visit<'ast> for Imports {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        let outer = self.in_test;
        self.in_test |= is_test(attributes(item));
        visit::visit_item(self, item);
        self.in_test = outer;
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.module.push(item.ident.to_string());
        match &item.content {
            Some((_, items)) => {
                self.children.push(declared(items));
                visit::visit_item_mod(self, item);
                self.children.pop();
            }
            None if self.in_test => self.test_modules.push(self.module.clone()),
            None => {}
        }
        self.module.pop();
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.tree(&mut Vec::new(), &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> =
            path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.take_long(&segments);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        self.tokens(item.tokens.clone());
        visit::visit_macro(self, item);
    }

    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {} // `pub(in crate::a)` imports nothing
}

/// Modules that some items declare.
fn declared(items: &[syn::Item]) -> BTreeSet<String> {
    let name = |item: &syn::Item| match item {
        syn::Item::Mod(item) => Some(item.ident.to_string()),
        _ => None,
    };
    items.iter().filter_map(name).collect()
}

fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Const(item) => &item.attrs,
        syn::Item::Enum(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Macro(item) => &item.attrs,
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Static(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        syn::Item::Trait(item) => &item.attrs,
        syn::Item::Type(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// Whether an item is there in tests only: `#[cfg(test)]`, or one of several that include `test`.
fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().filter(|attribute| attribute.path().is_ident("cfg")).any(|attribute| {
        let syn::Meta::List(list) = &attribute.meta else { return false };
        let mut words = list.tokens.clone().into_iter();
        match words.next() {
            Some(TokenTree::Ident(word)) if word == "test" => words.next().is_none(),
            Some(TokenTree::Ident(word)) if word == "all" => {
                list.tokens.to_string().split(|c: char| !c.is_alphanumeric()).any(|w| w == "test")
            }
            _ => false,
        }
    })
}

/// All imports of a source folder, resolved.
struct Graph {
    files: Vec<PathBuf>,
    /// From, to, in a test; each a number of a file.
    edges: BTreeSet<(usize, usize, bool)>,
}

impl Graph {
    fn of(src: &Path) -> Self {
        let sources = read(src);
        let by_module: BTreeMap<&[String], usize> = (0..sources.len())
            .filter(|&at| sources[at].file != Path::new("main.rs"))
            .map(|at| (&sources[at].module[..], at))
            .collect();
        let all: Vec<Imports> = sources.iter().map(Imports::of).collect();
        let tests: BTreeSet<&Vec<String>> =
            all.iter().flat_map(|imports| &imports.test_modules).collect();
        let mut edges = BTreeSet::new();
        for (from, imports) in all.iter().enumerate() {
            let module = &sources[from].module;
            let all_test = (1..=module.len()).any(|n| tests.contains(&module[..n].to_vec()));
            for import in &imports.found {
                let path = &import.path;
                // The longest beginning that is a module in a file has what the rest names.
                let to = (1..=path.len()).rev().find_map(|n| by_module.get(&path[..n]));
                if let Some(&to) = to
                    && to != from
                {
                    edges.insert((from, to, all_test || import.in_test));
                }
            }
        }
        Self { files: sources.into_iter().map(|source| source.file).collect(), edges }
    }

    fn room(&self, at: usize) -> String {
        let first = self.files[at].iter().next().unwrap().to_str().unwrap();
        first.trim_end_matches(".rs").to_owned()
    }

    fn is_root(&self, at: usize) -> bool {
        ROOTS.iter().any(|root| self.files[at] == Path::new(root))
    }

    /// Imports that go up, rooms without a place, and pairs that must not be.
    fn upward(&self) -> Vec<String> {
        let level = |room: &str| LEVELS.iter().position(|level| level.contains(&room));
        let mut wrong = BTreeSet::new();
        for at in (0..self.files.len()).filter(|&at| !self.is_root(at)) {
            let room = self.room(at);
            if level(&room).is_none() {
                wrong.insert(format!("`{room}` has no place in the order of rooms"));
            }
        }
        for &(from, to, in_test) in &self.edges {
            let (room, used) = (self.room(from), self.room(to));
            if self.is_root(from) || room == used || used == "testkit" && in_test {
                continue;
            }
            let text = format!("{}: imports `{used}`", self.files[from].display());
            if level(&used) > level(&room) {
                wrong.insert(format!("{text}, which comes after `{room}`"));
            } else if !in_test && NEVER.contains(&(room.as_str(), used.as_str())) {
                wrong.insert(text);
            }
        }
        wrong.into_iter().collect()
    }

    /// Groups of files that import each other, directly or by way of others. Tests and roots aside.
    fn circles(&self) -> Vec<Vec<String>> {
        let count = self.files.len();
        let mut reached = vec![BTreeSet::new(); count];
        let counts = |&(from, to, in_test): &(usize, usize, bool)| {
            !in_test && !self.is_root(from) && !self.is_root(to)
        };
        for &(from, to, _) in self.edges.iter().filter(|edge| counts(edge)) {
            reached[from].insert(to);
        }
        for by in 0..count {
            for from in 0..count {
                if reached[from].contains(&by) {
                    let more = reached[by].clone();
                    reached[from].extend(more);
                }
            }
        }
        let mut circles: BTreeSet<Vec<String>> = BTreeSet::new();
        for at in 0..count {
            let together: Vec<String> = (0..count)
                .filter(|&other| reached[at].contains(&other) && reached[other].contains(&at))
                .map(|other| self.files[other].display().to_string())
                .collect();
            if together.len() > 1 {
                circles.insert(together);
            }
        }
        circles.into_iter().collect()
    }
}

fn own() -> Graph {
    Graph::of(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))
}

#[test]
fn rooms_import_only_from_rooms_before_them() {
    let wrong = own().upward();
    assert_eq!(wrong, KNOWN_PAIRS, "the order of rooms is broken, or more of it is kept");
}

#[test]
fn no_files_import_each_other() {
    assert_eq!(own().circles(), KNOWN_CIRCLES, "files import each other, or no longer do");
}

fn plant(files: &[(&str, &str)]) -> tempfile::TempDir {
    let src = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = src.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    src
}

#[test]
fn planted_imports_are_found_and_what_only_looks_like_one_is_not() {
    let src = plant(&[
        ("lib.rs", "pub mod cli;\nuse crate::cli::main;"),
        ("id.rs", "use crate::messages::Form;\nuse crate::error::Failure;"),
        ("messages.rs", ""),
        ("error.rs", ""),
        ("config.rs", "use crate::cli::exit;"),
        ("landing/look.rs", "use crate::{error::{Chain, Failure}, id, schedule::Schedule};"),
        ("workspace.rs", "fn f() { let x = crate::publish::settle(); }\nuse crate::testkit::A;"),
        (
            "workspace/a.rs",
            "//! See `crate::actors`.\n/* use crate::cli; */ use super::super::actors::X;",
        ),
        (
            "workspace/b.rs",
            "const A: &str = \"crate::cli\"; const B: char = '\"';\nuse crate::landing;",
        ),
        ("workspace/c.rs", "fn f() { info!(log, \"x\"; \"a\" => f(crate::cli::A)); }"),
        (
            "schedule.rs",
            "#[cfg(test)]\nmod tests;\n#[cfg(test)]\nmod more { use crate::testkit::Probe; use crate::pipeline::P; }",
        ),
        ("schedule/tests.rs", "use crate::testkit::Probe;\nuse crate::cli::Args;"),
        (
            "extract.rs",
            "use crate::config::Source;\n#[cfg(test)] mod t { use crate::config::Source; }",
        ),
        ("actors/mod.rs", "use crate::telemetry::log;\nuse crate::testkit::Probe;"),
        ("cli/mod.rs", "use crate::pipeline::Pipeline;"),
        ("pipeline.rs", ""),
        ("publish.rs", ""),
        ("telemetry.rs", ""),
        ("testkit.rs", ""),
        ("novel.rs", ""),
    ]);
    let expected = [
        "`novel` has no place in the order of rooms",
        "actors/mod.rs: imports `testkit`, which comes after `actors`",
        "config.rs: imports `cli`, which comes after `config`",
        "extract.rs: imports `config`",
        "landing/look.rs: imports `schedule`, which comes after `landing`",
        "schedule.rs: imports `pipeline`, which comes after `schedule`",
        "schedule/tests.rs: imports `cli`, which comes after `schedule`",
        "workspace.rs: imports `publish`, which comes after `workspace`",
        "workspace.rs: imports `testkit`, which comes after `workspace`",
        "workspace/a.rs: imports `actors`, which comes after `workspace`",
        "workspace/c.rs: imports `cli`, which comes after `workspace`",
    ];
    assert_eq!(Graph::of(src.path()).upward(), expected);
}

#[test]
fn planted_circles_of_files_are_found_with_all_their_files() {
    let src = plant(&[
        ("lib.rs", "mod publish; mod landing; mod id;"),
        (
            "publish.rs",
            "mod copy; mod error; mod step;\npub use error::Wrong;\nfn f() { step::go() }",
        ),
        ("publish/copy.rs", "use super::Wrong;"), // the façade does not import it
        ("publish/error.rs", "use crate::id::Id;"),
        ("publish/step.rs", "use super::copy::Copy;"),
        ("landing.rs", "mod a; mod b;"),
        ("landing/a.rs", "use crate::landing::b::B;"),
        ("landing/b.rs", "fn f() -> super::a::A { super::a::A }"),
        ("id.rs", "#[cfg(test)] mod tests { use crate::publish::f; }"),
    ]);
    let expected: [&[&str]; 2] =
        [&["landing/a.rs", "landing/b.rs"], &["publish/copy.rs", "publish/step.rs", "publish.rs"]];
    assert_eq!(Graph::of(src.path()).circles(), expected);
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

/// Finds types of other crates in what a file shows: public fields, constants and the signatures of public
/// functions.
#[derive(Default)]
struct Shown {
    is_shown: bool,
    found: BTreeSet<String>,
}

impl Shown {
    fn within(&mut self, visibility: &syn::Visibility, visit: impl FnOnce(&mut Self)) {
        self.is_shown = matches!(visibility, syn::Visibility::Public(_));
        visit(self);
        self.is_shown = false;
    }
}

impl<'ast> Visit<'ast> for Shown {
    fn visit_field(&mut self, field: &'ast syn::Field) {
        self.within(&field.vis, |shown| visit::visit_field(shown, field));
    }

    fn visit_item_const(&mut self, item: &'ast syn::ItemConst) {
        self.within(&item.vis, |shown| shown.visit_type(&item.ty));
    }

    fn visit_item_type(&mut self, item: &'ast syn::ItemType) {
        self.within(&item.vis, |shown| shown.visit_type(&item.ty));
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.within(&item.vis, |shown| visit::visit_signature(shown, &item.sig));
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.within(&item.vis, |shown| visit::visit_signature(shown, &item.sig));
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        for segment in path.segments.iter().filter(|_| self.is_shown) {
            if FOREIGN.iter().any(|foreign| segment.ident == foreign) {
                self.found.insert(segment.ident.to_string());
            }
        }
        visit::visit_path(self, path);
    }
}

/// What a source folder's stable modules show of other crates, as `file: type`.
fn foreign_types(src: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for source in read(src) {
        if source.module.first().is_some_and(|room| STABLE.contains(&room.as_str())) {
            let mut shown = Shown::default();
            shown.visit_file(&source.syntax);
            found.extend(shown.found.iter().map(|it| format!("{}: {it}", source.file.display())));
        }
    }
    found
}

#[test]
fn stable_modules_show_no_type_of_other_crates_but_those_that_the_page_names() {
    let found = foreign_types(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    let known = ["config/file.rs: ByteSize", "config/process.rs: ByteSize", "config.rs: ByteSize"];
    assert_eq!(found, known, "a type of another crate became public, or one is no more");
}

#[test]
fn planted_foreign_type_in_a_public_signature_is_found() {
    let text = "pub struct Id(Ulid);\npub fn f(\n    a: Vec<Ulid>,\n) {}\npub(crate) fn g(a: jiff::Zoned) {}\npub struct A { pub b: rustix::fs::Mode }";
    let src = plant(&[("id.rs", text), ("publish.rs", text)]);
    assert_eq!(foreign_types(src.path()), ["id.rs: Ulid", "id.rs: rustix"]);
}

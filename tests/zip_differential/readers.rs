//! The other readers: what each makes of a ZIP.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::common::engine::{self, open_up};
use crate::common::{Node, Tree, has, run, skip, tree};

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reader {
    Python,
    Bsdtar,
    SevenZip,
}

/// What a reader makes of a ZIP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Tree(Tree),
    Refused(String),
}

impl Reader {
    /// Those that are here; says so of each that is not.
    pub(crate) fn here() -> Vec<Self> {
        let seven = || {
            let mut asked = Command::new("7z");
            let there = asked.arg("i").stdout(Stdio::null()).status().is_ok_and(|it| it.success());
            if !there {
                skip("there is no `7z` here");
            }
            there
        };
        let mut here = Vec::new();
        for (reader, there) in [
            (Self::Python, has("python3")),
            (Self::Bsdtar, has("bsdtar")),
            (Self::SevenZip, seven()),
        ] {
            here.extend(there.then_some(reader));
        }
        here
    }

    /// Unpacks one ZIP into a folder that it makes.
    ///
    /// # Panics
    /// For Python, which reads all of them at once: [`python`].
    pub(crate) fn unpack(self, zip: &Path, out: &Path) -> Answer {
        fs::create_dir(out).unwrap();
        let output = match self {
            Self::Python => panic!("Python reads a whole folder"),
            Self::Bsdtar => engine::bsdtar(zip, out, None),
            Self::SevenZip => {
                let mut command = Command::new("7z");
                command.args(["x", "-y", "-bd", "-tzip", "-pnone"]).env("LC_ALL", "C.UTF-8");
                command.arg(format!("-o{}", out.display())).arg(zip).stdin(Stdio::null());
                command.output().unwrap()
            }
        };
        if output.status.success() {
            open_up(out);
            return Answer::Tree(tree(out));
        }
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        let is_news =
            |line: &&str| line.contains("ERROR") || line.contains("WARNING") || line.contains(": ");
        let lines: Vec<&str> = said.lines().filter(is_news).collect();
        Answer::Refused(format!("{}; {}", output.status, lines.join("; ")))
    }
}

/// Every ZIP of a folder by one process of Python, by file name.
pub(crate) fn python(folder: &Path) -> BTreeMap<String, Answer> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/zip_differential/read.py");
    let home = tempfile::tempdir().unwrap();
    let said = home.path().join("said");
    let mut command = Command::new("python3");
    run(command.arg(script).arg(folder).stdout(File::create(&said).unwrap()));
    let text = fs::read_to_string(said).unwrap();
    text.lines().map(|line| python_answer(&serde_json::from_str(line).unwrap())).collect()
}

fn python_answer(said: &serde_json::Value) -> (String, Answer) {
    let zip = said["zip"].as_str().unwrap().to_owned();
    if let Some(why) = said["refused"].as_str() {
        return (zip, Answer::Refused(why.to_owned()));
    }
    let mut tree = Tree::new();
    for entry in said["entries"].as_array().unwrap() {
        let (name, hex) = (entry[0].as_str().unwrap(), entry[1].as_str().unwrap());
        let bytes = (0..hex.len()).step_by(2);
        let bytes = bytes.map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
        let node = if name.ends_with('/') { Node::Folder } else { Node::File(bytes) };
        place(&mut tree, name.as_bytes(), node);
    }
    (zip, Answer::Tree(tree))
}

/// Puts a node at a path of which `/` parts the components, with the folders above it.
pub(crate) fn place(tree: &mut Tree, path: &[u8], node: Node) {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let parts = path.split(|&byte| byte == b'/').filter(|part| !matches!(*part, b"" | b"."));
    let path: PathBuf = parts.map(OsStr::from_bytes).collect();
    for above in path.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()) {
        tree.entry(above.to_owned()).or_insert(Node::Folder);
    }
    if !path.as_os_str().is_empty() {
        tree.insert(path, node);
    }
}

//! `docs/extending.md`, done as it says: in an empty crate beside this one, its tests are green.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

/// What the page says each file holds: its blocks, one after the other.
fn files(page: &str) -> BTreeMap<String, String> {
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    let mut open: Option<String> = None;
    for line in page.lines() {
        match (&open, line.strip_prefix("```")) {
            (Some(_), Some("")) => open = None,
            (Some(file), _) => {
                let text = files.entry(file.clone()).or_default();
                text.push_str(line);
                text.push('\n');
            }
            (None, Some(info)) => {
                let (_, file) = info.split_once(" file=").unwrap_or_else(|| {
                    panic!("a block that says no file is not tried: {line}");
                });
                open = Some(file.to_owned());
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "the last block has no end");
    files
}

#[test]
fn page_on_extending_ends_in_green_tests() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(here.join("docs/extending.md")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for (file, text) in files(&page) {
        let path = folder.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text.replace("\"../longshore\"", &format!("{here:?}"))).unwrap();
    }
    // The versions that this crate is tested with, and its target folder: most is built already.
    fs::copy(here.join("Cargo.lock"), folder.path().join("Cargo.lock")).unwrap();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let tested = Command::new(env!("CARGO"))
        .args(["test", "--offline"])
        .current_dir(folder.path())
        .env("CARGO_TARGET_DIR", target)
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap();
    let (out, err) =
        (String::from_utf8_lossy(&tested.stdout), String::from_utf8_lossy(&tested.stderr));
    assert!(tested.status.success(), "{err}\n{out}");
    let green = out.lines().find(|line| line.contains("4 passed"));
    assert!(green.is_some(), "the page's four tests did not run:\n{out}");
}

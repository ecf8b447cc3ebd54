//! [`Content`]: what is packed, and [`Found`]: what is in a folder, to compare.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::common::zips::{Files, noise};
use crate::common::{Tree, tree};

/// What is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Content {
    /// Text beyond what is inflated at once (32 MiB), and 4 MiB of noise.
    Large,
    /// Less of it, for what is never inflated at once, or takes long where nothing is optimised.
    LargeForSlow,
    /// 300 files in 20 folders: more are slow where each has a key to derive.
    Many,
    /// A few files and folders, one of them a program.
    Small,
    /// Files and folders with nothing in them.
    Hollow,
    /// No file and no folder.
    Nothing,
    /// Names beyond ASCII, and beyond Unicode's first 65,536.
    Names,
}

impl Content {
    pub(crate) const ALL: [Self; 7] = [
        Self::Large,
        Self::LargeForSlow,
        Self::Many,
        Self::Small,
        Self::Hollow,
        Self::Nothing,
        Self::Names,
    ];

    /// Whether packing it well takes longer than it is worth.
    pub(crate) fn is_large(self) -> bool {
        matches!(self, Self::Large | Self::LargeForSlow)
    }

    fn files(self) -> Files {
        let files: Vec<(String, Vec<u8>)> = match self {
            Self::Large => large(33 << 20, 4 << 20),
            Self::LargeForSlow => large(8 << 20, 2 << 20),
            Self::Many => (0..300)
                .map(|at| (format!("part-{:02}/{at:03}.txt", at % 20), format!("{at}\n").into()))
                .collect(),
            Self::Small => vec![
                ("summary.txt".into(), b"three wells\n".to_vec()),
                ("run.sh".into(), b"#!/bin/sh\n".to_vec()),
                ("wells/a/readings.csv".into(), text(20_000)),
                ("wells/b/noise.bin".into(), noise(5_000)),
                ("none/".into(), vec![]),
            ],
            Self::Hollow => ["a", "b/c", "b/d/e/", "f/"].map(|path| (path.into(), vec![])).into(),
            Self::Nothing => vec![],
            Self::Names => [
                "é.txt",
                "ж/naïve café.txt",
                "日本語/結果 2021.csv",
                "한국어.txt",
                "🎉/🧪.bin",
                "Ελληνικά/",
                "it's 100% \"fine\" [1] *?.txt",
            ]
            .map(|path| (path.into(), if path.ends_with('/') { vec![] } else { text(99) }))
            .into(),
        };
        files.into_iter().collect()
    }

    /// Makes it in a new folder: every time an odd second of its own, which DOS cannot have.
    pub(crate) fn lay(self, top: &Path) {
        fs::create_dir(top).unwrap();
        for (path, bytes) in self.files() {
            let full = top.join(&path);
            if path.ends_with('/') {
                fs::create_dir_all(&full).unwrap();
                continue;
            }
            fs::create_dir_all(full.parent().unwrap()).unwrap();
            fs::write(&full, bytes).unwrap();
            let mode = if path.ends_with(".sh") { 0o755 } else { 0o644 };
            fs::set_permissions(&full, fs::Permissions::from_mode(mode)).unwrap();
        }
        // 2021-03-04 05:06:07 UTC.
        let times = (1_614_834_367..).step_by(2).map(Duration::from_secs);
        for (path, time) in tree(top).keys().zip(times) {
            let file = File::open(top.join(path)).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + time).unwrap();
        }
    }
}

fn large(text_bytes: usize, noise_bytes: usize) -> Vec<(String, Vec<u8>)> {
    vec![("readings.csv".into(), text(text_bytes)), ("noise.bin".into(), noise(noise_bytes))]
}

/// So many bytes that compress about 10 : 1.
fn text(len: usize) -> Vec<u8> {
    let mut text = String::with_capacity(len + 40);
    for at in 0_usize.. {
        if text.len() >= len {
            break;
        }
        writeln!(text, "well {},{},{}", at % 96, at, at * at % 997).unwrap();
    }
    text.truncate(len);
    text.into()
}

/// What is in a folder.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) tree: Tree,
    /// When each was modified, in seconds since 1970.
    pub(crate) times: BTreeMap<PathBuf, i64>,
    /// Files that may be executed.
    pub(crate) programs: BTreeSet<PathBuf>,
}

impl Found {
    pub(crate) fn below(top: &Path) -> Self {
        // Reading changes no time of modification.
        let tree = tree(top);
        let seen = |path: &PathBuf| fs::symlink_metadata(top.join(path)).unwrap();
        let times = tree.keys().map(|path| (path.clone(), seen(path).mtime())).collect();
        let is_program = |path: &&PathBuf| seen(path).is_file() && seen(path).mode() & 0o111 != 0;
        let programs = tree.keys().filter(is_program).cloned().collect();
        Self { tree, times, programs }
    }
}

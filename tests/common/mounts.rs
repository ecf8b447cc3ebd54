//! File systems of other kinds, mounted for one test and unmounted after it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use super::daemon::{DEADLINE, PACE, pause};
use super::{is_root, skip};

/// Pythons that may have the FUSE bindings: the distribution's comes first.
const PYTHONS: [&str; 2] = ["/usr/bin/python3", "python3"];

/// A mounted file system; unmounted when this is dropped.
pub(crate) struct Mount {
    pub(crate) at: PathBuf,
    server: Option<Child>,
}

impl Mount {
    /// Runs `mount ARGUMENTS AT`; `None`, and a line that says why, if that is not allowed here.
    pub(crate) fn at(at: PathBuf, arguments: &[&str]) -> Option<Self> {
        if !is_root() {
            skip("only root can mount");
            return None;
        }
        fs::create_dir_all(&at).unwrap();
        Self::over(at, arguments)
    }

    /// The same over what is there, a file or a folder.
    fn over(at: PathBuf, arguments: &[&str]) -> Option<Self> {
        let output = Command::new("mount").args(arguments).arg(&at).output().unwrap();
        if !output.status.success() {
            skip(&format!("mount {arguments:?}: {}", String::from_utf8_lossy(&output.stderr)));
            return None;
        }
        Some(Self { at, server: None })
    }

    /// A file system of memory.
    pub(crate) fn memory(at: PathBuf, size: &str) -> Option<Self> {
        let options = format!("size={size},mode=755");
        Self::at(at, &["-t", "tmpfs", "-o", &options, "longshore-test"])
    }

    /// Shows this file system at another place, too.
    pub(crate) fn bind(&self, at: PathBuf) -> Option<Self> {
        Self::at(at, &["--bind", self.at.to_str().unwrap()])
    }

    /// Shows a file in the place of another one.
    pub(crate) fn file(file: &Path, at: PathBuf) -> Option<Self> {
        if !is_root() {
            skip("only root can mount");
            return None;
        }
        Self::over(at, &["--bind", file.to_str().unwrap()])
    }

    /// A passthrough file system with one habit of others (`passthrough.py`), over a folder beside `at`;
    /// `None`, and a line that says so, if there is no FUSE.
    pub(crate) fn passthrough(at: PathBuf, rule: &str) -> Option<Self> {
        if !is_root() || !Path::new("/dev/fuse").exists() {
            skip("this user may not mount a FUSE file system, or there is no /dev/fuse");
            return None;
        }
        let has_bindings = |python: &&&str| {
            let mut asked = Command::new(python);
            asked.args(["-c", "try:\n import fusepy\nexcept ImportError:\n import fuse"]);
            asked.stderr(Stdio::null()).status().is_ok_and(|status| status.success())
        };
        let Some(python) = PYTHONS.iter().find(has_bindings) else {
            skip("there is no python3-fusepy, or no libfuse2");
            return None;
        };
        let source = at.with_extension("source");
        for folder in [&at, &source] {
            fs::create_dir_all(folder).unwrap();
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/common/passthrough.py");
        let server = Command::new(python)
            .arg(script)
            .args([&source, &at])
            .arg(rule)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let mut mount = Self { at, server: Some(server) };
        let started = Instant::now();
        while !is_mount(&mount.at) {
            let server = mount.server.as_mut().unwrap();
            let ended = server.try_wait().unwrap();
            if ended.is_some() || started.elapsed() > DEADLINE {
                skip(&format!("the FUSE file system did not come about: {ended:?}"));
                return None;
            }
            pause(PACE);
        }
        Some(mount)
    }
}

fn is_mount(path: &Path) -> bool {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let path = path.canonicalize().unwrap();
    text.lines().any(|line| line.split(' ').nth(4) == path.to_str())
}

impl Drop for Mount {
    fn drop(&mut self) {
        Command::new("umount").args(["-l", "-q"]).arg(&self.at).output().ok();
        if let Some(server) = &mut self.server {
            server.kill().ok();
            server.wait().ok();
        }
    }
}

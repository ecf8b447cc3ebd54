//! File systems of other kinds, mounted for one test and unmounted after it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::common::daemon::{DEADLINE, PACE, pause};
use crate::common::{is_root, skip};

/// Pythons that may have the FUSE bindings: the distribution's comes first.
const PYTHONS: [&str; 2] = ["/usr/bin/python3", "python3"];

/// A mounted file system; unmounted when this is dropped.
pub(crate) struct Mount {
    pub(crate) at: PathBuf,
    server: Option<Child>,
}

impl Mount {
    /// A file system of memory; `None`, and a line that says so, where this user may not mount.
    pub(crate) fn memory(at: PathBuf, size: &str) -> Option<Self> {
        fs::create_dir_all(&at).unwrap();
        let options = format!("size={size},mode=755");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "longshore-test"]).arg(&at);
        let mounted = is_root() && mount.output().is_ok_and(|output| output.status.success());
        if !mounted {
            skip("this user may not mount a file system");
        }
        mounted.then_some(Self { at, server: None })
    }

    /// A passthrough file system with one habit of others (`passthrough.py`), over a folder beside `at`;
    /// `None`, and a line that says so, where there is no FUSE.
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
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/odd_targets/passthrough.py");
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

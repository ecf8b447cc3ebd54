//! [`attack`]: what the attacker's process does, at random, for some seconds.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs as sys;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Result;
use serde::{Deserialize, Serialize};

use crate::common::daemon::pause;
use crate::common::witness::Dice;

/// The variable that carries an [`Assignment`].
pub(crate) const ATTACKS: &str = "LONGSHORE_TEST_ATTACKER";

/// Packages whose ZIP is written to through a handle. Whoever had a file open for writing keeps that,
/// so their contents prove nothing.
pub(crate) const WRITTEN: &str = "evil-w-";

/// Names of packages, each delivered again and again.
const NAMES: u64 = 60;
/// Packages whose handles are kept.
const KEPT: usize = 30;
/// Deliveries in a second, for the daemon to keep up.
const RATE: f64 = 40.0;

/// What an attacker is to do.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Assignment {
    pub(crate) span: Duration,
    pub(crate) landing: PathBuf,
    /// A folder of its own on the landing's file system.
    pub(crate) stage: PathBuf,
    /// Sound ZIPs, called `0.zip` and so on.
    pub(crate) zips: PathBuf,
    pub(crate) zip_count: u64,
    /// What links point to.
    pub(crate) outside: PathBuf,
}

/// What it did.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Deeds {
    /// Actions that the system carried out.
    pub(crate) actions: u64,
    pub(crate) delivered: u64,
}

/// A package of which handles are kept, wherever it is now.
struct Kept {
    name: String,
    folder: OwnedFd,
    zip: OwnedFd,
}

struct Attacker {
    assignment: Assignment,
    dice: Dice,
    kept: Vec<Kept>,
    /// For names in its folder.
    made: u64,
    deeds: Deeds,
}

/// Attacks, if this process was started for that, and says what it did on standard error.
pub(crate) fn attack() {
    let Ok(assignment) = std::env::var(ATTACKS) else { return };
    let assignment: Assignment = serde_json::from_str(&assignment).unwrap();
    rustix::process::umask(Mode::empty());
    let (begun, (dice, _)) = (Instant::now(), Dice::thrown());
    let mut attacker =
        Attacker { assignment, dice, kept: Vec::new(), made: 0, deeds: Deeds::default() };
    while begun.elapsed() < attacker.assignment.span {
        let due = begun.elapsed().as_secs_f64() * RATE > attacker.deeds.delivered as f64;
        let done = if due { attacker.deliver() } else { attacker.act() };
        if done.is_ok() {
            attacker.deeds.actions += 1;
        }
        pause(Duration::from_micros(300));
    }
    let deeds = serde_json::to_string(&attacker.deeds).unwrap();
    io::stderr().write_all(deeds.as_bytes()).unwrap();
}

fn mode(bits: u32) -> Mode {
    Mode::from_raw_mode(bits)
}

/// Writes a file in a folder, with a mode that a write would take bits from.
fn write(folder: &OwnedFd, name: &str, bytes: &[u8], bits: u32) -> Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let mut file = File::from(sys::openat(folder, name, flags, mode(0o600))?);
    file.write_all(bytes).map_err(|_| rustix::io::Errno::IO)?;
    sys::fchmod(&file, mode(bits))
}

impl Attacker {
    fn below(&mut self, end: u64) -> u64 {
        self.dice.below(end)
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }

    /// A name that the attacker keeps to.
    fn name(&mut self) -> String {
        let number = self.below(NAMES);
        let kind = self.one_of(&["evil-w-", "evil-r-"]);
        format!("{kind}{number}")
    }

    fn landed(&self, name: &str) -> PathBuf {
        self.assignment.landing.join(name)
    }

    /// A path in its own folder that was not used before.
    fn fresh(&mut self) -> PathBuf {
        self.made += 1;
        self.assignment.stage.join(self.made.to_string())
    }

    fn sound_zip(&mut self) -> Vec<u8> {
        let number = self.below(self.assignment.zip_count);
        fs::read(self.assignment.zips.join(format!("{number}.zip"))).unwrap()
    }

    /// A sound ZIP in its own folder.
    fn staged_zip(&mut self) -> PathBuf {
        let (path, bytes) = (self.fresh(), self.sound_zip());
        fs::write(&path, bytes).unwrap();
        path
    }

    fn target(&mut self) -> PathBuf {
        let name = self.one_of(&["secret", "folder", "writable", "theirs", "folder/new", "open"]);
        self.assignment.outside.join(name)
    }

    /// Makes a package, keeps handles on it, and renames it into the landing.
    fn deliver(&mut self) -> Result<()> {
        self.deeds.delivered += 1;
        let (staged, name) = (self.fresh(), self.name());
        sys::mkdir(&staged, mode(0o755))?;
        let folder = sys::open(&staged, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let bits = self.one_of(&[0o755, 0o755, 0o777, 0o3777, 0o700]);
        sys::fchmod(&folder, mode(bits))?;
        let zip = format!("{name}.zip");
        let (bytes, bits) = (self.sound_zip(), self.one_of(&[0o644, 0o644, 0o600, 0o4777]));
        write(&folder, &zip, &bytes, bits)?;
        if self.below(2) == 0 {
            write(&folder, "note", b"a note\n", 0o644)?;
            sys::mkdirat(&folder, "images", mode(0o755))?;
        }
        let zip = sys::openat(&folder, zip, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
        if self.kept.len() == KEPT {
            let oldest = self.below(KEPT as u64) as usize;
            self.kept.swap_remove(oldest);
        }
        self.kept.push(Kept { name: name.clone(), folder, zip });
        sys::rename(staged, self.landed(&name))
    }

    fn act(&mut self) -> Result<()> {
        match self.below(10) {
            0 => self.plant_ours(),
            1 => self.plant_in_the_landing(),
            2 => self.rename_own(),
            _ => self.use_a_handle(),
        }
    }

    /// What a handle on a folder or on a ZIP is good for.
    fn use_a_handle(&mut self) -> Result<()> {
        if self.kept.is_empty() {
            return Ok(());
        }
        let at = self.below(self.kept.len() as u64) as usize;
        let what = self.below(17);
        let (target, staged) = (self.target(), self.staged_zip());
        let (bits, other_bits) =
            (self.one_of(&[0o755, 0o777, 0o3777, 0o000, 0o6777]), self.one_of(&[0o644, 0o6777, 0]));
        let (late, offset) = (format!("late-{}", self.below(3)), self.below(200));
        let Kept { name, folder, zip: open } = &self.kept[at];
        let zip = format!("{name}.zip");
        let may_write = name.starts_with(WRITTEN);
        let unlink = |name: &str| sys::unlinkat(folder, name, AtFlags::empty());
        let done = match what {
            0 => unlink(&zip),
            1 => sys::renameat_with(CWD, &staged, folder, &zip, RenameFlags::EXCHANGE),
            2 => sys::renameat(CWD, &staged, folder, &zip),
            3 => unlink(&zip).and_then(|()| sys::symlinkat(&target, folder, &zip)),
            4 => unlink(&zip).and_then(|()| sys::symlinkat(&staged, folder, &zip)),
            5 => unlink(&zip)
                .and_then(|()| sys::linkat(CWD, &staged, folder, &zip, AtFlags::empty())),
            6 => sys::mknodat(folder, late.as_str(), FileType::Fifo, mode(0o666), 0),
            7 => write(folder, &late, b"#!/bin/sh\n", 0o6755),
            8 => sys::symlinkat(&target, folder, late.as_str()),
            9 => sys::linkat(CWD, &target, folder, late.as_str(), AtFlags::empty()),
            10 => unlink("note").and_then(|()| sys::symlinkat(&target, folder, "note")),
            11 => sys::fchmod(folder, mode(bits)),
            12 => sys::fchmod(open, mode(other_bits)),
            13 => sys::symlinkat(&target, folder, format!("images/{late}")),
            14 if may_write => sys::ftruncate(open, offset),
            15 if may_write => rustix::io::pwrite(open, b"evil", offset).map(drop),
            16 => unlink(&late),
            _ => Ok(()),
        };
        // What was not used, or was exchanged away.
        fs::remove_file(staged).ok();
        done
    }

    /// What could be taken for something of longshore's own.
    fn plant_ours(&mut self) -> Result<()> {
        let top = self.landed(".longshore");
        let (what, away, target) = (self.below(7), self.below(1000), self.target());
        match what {
            0 => sys::rename(&top, self.landed(&format!(".longshore-old-{away}"))),
            1 => sys::symlink(target, &top),
            2 => sys::mkdir(&top, mode(0o777)),
            3 => sys::symlink(target, top.join("ledger.sqlite")),
            4 => sys::mknodat(CWD, top.join("ledger.sqlite"), FileType::Fifo, mode(0o666), 0),
            5 => sys::symlink(target, top.join("work")),
            _ => {
                let probe = self.landed(&format!(".longshore-probe-{}", 1 + away));
                sys::symlink(target, probe)
            }
        }
    }

    /// What is no package, or pretends to be one.
    fn plant_in_the_landing(&mut self) -> Result<()> {
        let name = self.name();
        let (path, what, target) = (self.landed(&name), self.below(5), self.target());
        match what {
            0 => sys::symlink(target, &path),
            1 => sys::mknodat(CWD, &path, FileType::Fifo, mode(0o666), 0),
            2 => sys::mkdir(&path, mode(0o777))
                .and_then(|()| sys::symlink(target, path.join(format!("{name}.zip")))),
            3 => sys::mkdir(&path, mode(0o777)).and_then(|()| {
                let zip = path.join(format!("{name}.zip"));
                sys::mknodat(CWD, zip, FileType::Fifo, mode(0o666), 0)
            }),
            _ => remove(&path),
        }
    }

    /// Gives a package of its own another name, or takes it back.
    fn rename_own(&mut self) -> Result<()> {
        let (from, to, back) = (self.name(), self.name(), self.fresh());
        match self.below(3) {
            0 => sys::rename(self.landed(&from), back),
            1 => {
                let (from, to) = (self.landed(&from), self.landed(&to));
                sys::renameat_with(CWD, from, CWD, to, RenameFlags::EXCHANGE)
            }
            _ => sys::rename(self.landed(&from), self.landed(&to)),
        }
    }
}

/// Removes what is no folder, or an empty one.
fn remove(path: &Path) -> Result<()> {
    sys::unlink(path).or_else(|_| sys::rmdir(path))
}

//! `.passed.json` in a job's folder: the folder to be archived, and its ZIP.
//!
//! **Invariant:** it exists before `.final` does, and is on disk before `.final` gets its name in the
//! archive. Whether a job was archived is determined from the archive, not from what is missing in the
//! work area.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{FileType, Stat};
use serde::{Deserialize, Serialize};

use crate::folder::Folder;
use crate::names::PASSED;
use crate::package::{FolderId, ZipStamp};

/// The record. Times are in ns since the epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Passed {
    /// Version of this record: 1.
    v: u32,
    inode: u64,
    birth_ns: i64,
    zip_inode: u64,
    zip_bytes: u64,
    zip_mtime_ns: i64,
    /// Names of the files and folders beside the ZIP, as bytes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    beside: Vec<Vec<u8>>,
    /// Names of those that get another name in the archive, with that name: the ZIP has one of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    aside: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Passed {
    /// Creates the record for the folder to be archived, and the ZIP that it was unpacked from.
    pub(crate) fn new(folder: FolderId, zip: &ZipStamp, beside: &[OsString]) -> Self {
        Self {
            v: 1,
            inode: folder.inode,
            birth_ns: clamp(folder.birth_ns),
            zip_inode: zip.inode,
            zip_bytes: zip.len,
            zip_mtime_ns: clamp(zip.mtime_ns),
            beside: beside.iter().map(|name| name.as_bytes().to_vec()).collect(),
            aside: Vec::new(),
        }
    }

    /// Adds names of files and folders beside the ZIP that get another name in the archive.
    pub(crate) fn with_aside(mut self, aside: &[(OsString, OsString)]) -> Self {
        let bytes = |name: &OsString| name.as_bytes().to_vec();
        self.aside = aside.iter().map(|(from, to)| (bytes(from), bytes(to))).collect();
        self
    }

    /// Reads the record in a job's folder; `None` if it is missing or cannot be parsed.
    pub(crate) fn read(home: &Folder) -> io::Result<Option<Self>> {
        let Some(text) = home.read(PASSED)? else { return Ok(None) };
        Ok(serde_json::from_slice(&text).ok().filter(|found: &Self| found.v == 1))
    }

    pub(crate) fn write(&self, home: &Folder) -> io::Result<()> {
        home.write(PASSED, &serde_json::to_vec(self)?)
    }

    /// Returns the names of the files and folders beside the ZIP, each with its name in the archive.
    pub(crate) fn beside(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        let same = self.beside.iter().map(|name| (name, name));
        let aside = self.aside.iter().map(|(from, to)| (from, to));
        same.chain(aside).map(|(from, to)| (OsStr::from_bytes(from), OsStr::from_bytes(to)))
    }

    /// Whether `found` is the recorded folder.
    pub(crate) fn is_folder(&self, found: FolderId) -> bool {
        (self.inode, self.birth_ns) == (found.inode, clamp(found.birth_ns))
    }

    /// Whether `found` is the recorded ZIP with unchanged content. The ctime is ignored: a rename changes it.
    pub(crate) fn is_zip(&self, found: &Stat) -> bool {
        let stamp = ZipStamp::from(found);
        FileType::from_raw_mode(found.st_mode).is_file()
            && (self.zip_inode, self.zip_bytes) == (stamp.inode, stamp.len)
            && self.zip_mtime_ns == clamp(stamp.mtime_ns)
    }
}

/// Converts to 64 bits, which suffice until the year 2262.
fn clamp(ns: i128) -> i64 {
    i64::try_from(ns).unwrap_or(if ns < 0 { i64::MIN } else { i64::MAX })
}

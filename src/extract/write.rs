//! [`Unpacking`]: writes one plan to disk, slice by slice, from any number of threads.
//!
//! In: a [`Plan`], its ZIP, an empty folder that only longshore uses. Out: the files. Each is
//! verified while it is written: sizes, CRC-32, and the exact end of its data.
//!
//! **Invariant:** bytes are written only into files that were created here, exclusively, beneath
//! the output folder. No more bytes than the plan has are written, whatever the entries decode to.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::fs::{Mode, OFlags, openat};

use super::data::Data;
use super::decode::{PART, Parts, decode};
use super::entry::{EntryKind, Method, PlannedEntry};
use super::error::ExtractError;
use super::folders::{self, Handles};
use super::inflate::{FOOT, HEAD, Whole};
use super::options::{Modes, Password};
use super::overlap::overlap;
use super::plan::Plan;
use super::slice::Slice;
use super::window::{Window, grow, shrink};
use crate::progress::Steps;

/// Entries of up to this many bytes are inflated whole, at once.
const WHOLE: u64 = 32 << 20;
/// Entries of this many bytes or more are decoded on one thread and written on another.
const OVERLAP: u64 = 16 << 20;
/// Small neighbours are read together, up to this many bytes.
const AHEAD: usize = 512 << 10;

/// The inflater and buffers of one thread, reused from slice to slice.
///
/// Memory: at most two whole-entry buffers, whatever the archives declare.
#[derive(Default)]
pub struct Scratch {
    window: Window,
    out: Vec<u8>,
    whole: Whole,
    handles: Handles,
    steps: Arc<Steps>,
}

impl Scratch {
    /// The most memory that unpacking takes on one thread, in bytes: two whole-entry buffers, or a
    /// decoder's dictionary instead, and the parts between threads.
    pub const MAX_BYTES: usize = 2 * WHOLE as usize + (4 << 20);

    /// From now on, counts every written part and every entry with `steps`.
    pub fn count_with(&mut self, steps: &Arc<Steps>) {
        self.steps = Arc::clone(steps);
    }

    /// Frees memory for a decoder's dictionary.
    fn release(&mut self) {
        self.window.release();
        shrink(&mut self.out);
    }
}

impl std::fmt::Debug for Scratch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scratch").field("out_bytes", &self.out.len()).finish_non_exhaustive()
    }
}

/// The result of writing a slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Written {
    /// The number of files and folders.
    pub entries: u64,
    /// The number of bytes of the files.
    pub bytes: u64,
}

/// One plan that is being written. Slices share it by reference; each slice is written by one thread.
#[derive(Debug)]
pub struct Unpacking {
    plan: Plan,
    zip: File,
    /// The output folder. `None` if the plan is only verified.
    out: Option<OwnedFd>,
    stopped: AtomicBool,
    /// Whether the ZIP was touched while it was unpacked, but has the same contents.
    touched: AtomicBool,
    entries: AtomicU64,
    bytes: AtomicU64,
}

impl Unpacking {
    /// Creates the plan's folders in `out`: an empty folder with mode 0700, to which nothing else
    /// writes.
    ///
    /// # Errors
    /// [`ExtractError::Occupied`] if a folder of the plan exists in `out` already;
    /// [`ExtractError::Write`]; [`ExtractError::DiskFull`].
    pub fn new(plan: Plan, zip: File, out: OwnedFd) -> Result<Self, ExtractError> {
        Self::new_counted(plan, zip, out, &Steps::default())
    }

    /// Like [`Unpacking::new`], and counts the folders with `steps`.
    ///
    /// # Errors
    /// See [`Unpacking::new`].
    pub fn new_counted(
        plan: Plan,
        zip: File,
        out: OwnedFd,
        steps: &Steps,
    ) -> Result<Self, ExtractError> {
        folders::make(out.as_fd(), &plan.tree, &plan.entries, plan.modes, steps)?;
        let (stopped, touched, entries, bytes) = <_>::default();
        Ok(Self { plan, zip, out: Some(out), stopped, touched, entries, bytes })
    }

    /// Creates an unpacking that decodes and verifies everything and writes nothing.
    #[must_use]
    pub fn check_only(plan: Plan, zip: File) -> Self {
        let (stopped, touched, entries, bytes) = <_>::default();
        Self { plan, zip, out: None, stopped, touched, entries, bytes }
    }

    /// Returns the number of bytes of files unpacked so far. It grows while slices are being written.
    #[must_use]
    pub fn bytes_so_far(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Returns the ZIP if it was touched while it was unpacked and has the same contents: its mode,
    /// its owner or the number of its names changed. Known after [`Unpacking::finish`].
    #[must_use]
    pub fn touched(&self) -> Option<&File> {
        self.touched.load(Ordering::Relaxed).then_some(&self.zip)
    }

    pub(super) fn into_plan(self) -> Plan {
        self.plan
    }

    /// Returns the plan.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Makes every slice that is being written return [`ExtractError::Stopped`] within one buffer.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Writes and verifies the entries of `slice`. Call it once per slice. An error stops the other
    /// slices.
    ///
    /// # Errors
    /// The fault of an entry's data; [`ExtractError::Read`], [`ExtractError::Write`],
    /// [`ExtractError::DiskFull`]; [`ExtractError::Stopped`] if another slice failed or a stop was
    /// requested.
    pub fn write(&self, slice: &Slice, scratch: &mut Scratch) -> Result<Written, ExtractError> {
        match self.plan.take_held() {
            Some(held) => std::mem::replace(&mut scratch.window, held).recycle(),
            None => scratch.window.clear(),
        }
        let result = self.write_entries(slice, scratch);
        scratch.handles.clear();
        if result.is_err() {
            self.stop();
        }
        result
    }

    fn write_entries(&self, slice: &Slice, scratch: &mut Scratch) -> Result<Written, ExtractError> {
        let mut written = Written::default();
        let entries = self.plan.entries.get(slice.range.clone()).unwrap_or_default();
        let steps = Arc::clone(&scratch.steps);
        for entry in entries {
            steps.add();
            match entry.kind {
                EntryKind::File => {
                    self.file(entry, scratch, &steps)?;
                    written.bytes += entry.size;
                }
                // The folder exists already. If the entry has data, it must decode to nothing.
                EntryKind::Folder => self.nothing(entry, scratch)?,
                EntryKind::SkippedLink => continue,
            }
            written.entries += 1;
        }
        self.entries.fetch_add(written.entries, Ordering::Relaxed);
        Ok(written)
    }

    /// Confirms, after all slices, that everything was written and that the ZIP has not changed,
    /// and sets the folders' times. A ZIP that was only touched is read again.
    ///
    /// # Errors
    /// [`ExtractError::Changed`], [`ExtractError::Stopped`], [`ExtractError::Unaccounted`] if a
    /// slice was left out or written twice, [`ExtractError::Read`], [`ExtractError::Write`].
    pub fn finish(&self) -> Result<(), ExtractError> {
        self.finish_counted(&Steps::default())
    }

    /// Like [`Unpacking::finish`], and counts the folders with `steps`.
    ///
    /// # Errors
    /// See [`Unpacking::finish`].
    pub fn finish_counted(&self, steps: &Steps) -> Result<(), ExtractError> {
        self.check_stop()?;
        let planned =
            self.plan.entries.iter().filter(|entry| entry.kind != EntryKind::SkippedLink).count();
        for (unit, expected, found) in [
            ("entries", planned as u64, &self.entries),
            ("bytes", self.plan.total_bytes(), &self.bytes),
        ] {
            let found = found.load(Ordering::Relaxed);
            if expected != found {
                return Err(ExtractError::Unaccounted { unit, expected, found });
            }
        }
        if self.plan.confirm(&self.zip, steps)? {
            self.touched.store(true, Ordering::Relaxed);
        }
        match &self.out {
            Some(out) => {
                folders::set_times(out.as_fd(), &self.plan.tree, &self.plan.entries, steps)
            }
            None => Ok(()),
        }
    }

    /// Removes the written files and folders, so that the output folder is empty again. Must be
    /// called after all slices have returned.
    ///
    /// # Errors
    /// [`ExtractError::Write`].
    pub fn discard(&self) -> Result<(), ExtractError> {
        self.stop();
        match &self.out {
            Some(out) => folders::clear(out.as_fd(), &self.plan.tree, &self.plan.entries),
            None => Ok(()),
        }
    }

    fn check_stop(&self) -> Result<(), ExtractError> {
        if self.stopped.load(Ordering::Relaxed) { Err(ExtractError::Stopped) } else { Ok(()) }
    }

    fn file(
        &self,
        entry: &PlannedEntry,
        scratch: &mut Scratch,
        steps: &Steps,
    ) -> Result<(), ExtractError> {
        self.check_stop()?;
        let file = match &self.out {
            Some(out) => Some(self.create(entry, out.as_fd(), &mut scratch.handles)?),
            None => None,
        };
        let mut sink = Sink { of: self, entry, file, steps };
        if entry.method == Method::Stored && entry.lock.is_none() {
            self.stored(entry, scratch, &mut sink)?;
        } else if !self.at_once(entry, scratch, &mut sink)? {
            if entry.size >= OVERLAP {
                overlap(|parts| self.streamed(entry, scratch, parts), |part| sink.write(part))?;
            } else {
                self.streamed(entry, scratch, &mut sink)?;
            }
        }
        if let (Some(file), Some(modified)) = (&sink.file, entry.modified) {
            let times = folders::timestamps(modified);
            rustix::fs::futimens(file, &times)
                .map_err(|error| ExtractError::write(&*entry.path, io::Error::from(error)))?;
        }
        Ok(())
    }

    fn create(
        &self,
        entry: &PlannedEntry,
        out: BorrowedFd<'_>,
        handles: &mut Handles,
    ) -> Result<File, ExtractError> {
        let executable = entry.mode.is_some_and(|bits| bits & 0o111 != 0);
        let bits = match (self.plan.modes, entry.mode) {
            (Modes::Zip, Some(bits)) => (bits & 0o777) | 0o600,
            _ if executable => 0o777,
            _ => 0o666,
        };
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(u32::from(bits));
        let plan = (&self.plan.tree, &*self.plan.entries);
        let few = entry.folder != 0 && self.plan.tree.folders[entry.folder as usize].files <= 2;
        let at_once =
            if few { folders::open_beneath(out, &entry.path, flags, mode) } else { Ok(None) };
        at_once
            .and_then(|fd| match fd {
                Some(fd) => Ok(fd),
                None => {
                    Ok(openat(handles.get(out, plan, entry.folder)?, entry.leaf(), flags, mode)?)
                }
            })
            .map(File::from)
            .map_err(|error| ExtractError::write(&*entry.path, error))
    }

    fn nothing(&self, entry: &PlannedEntry, scratch: &mut Scratch) -> Result<(), ExtractError> {
        if entry.compressed == 0 {
            return Ok(());
        }
        self.streamed(entry, scratch, &mut Nowhere)
    }

    /// Copies an entry of any size that is neither compressed nor encrypted. Uses one thread: a
    /// part that was just read is still in the cache for its CRC-32 and its write.
    fn stored(
        &self,
        entry: &PlannedEntry,
        scratch: &mut Scratch,
        sink: &mut Sink<'_>,
    ) -> Result<(), ExtractError> {
        let mut crc = libdeflater::Crc::new();
        let (mut at, end) = (entry.data_offset, entry.data_offset + entry.compressed);
        while at < end {
            let len = (end - at).min(PART as u64) as usize;
            let part = scratch
                .window
                .view(&self.zip, at, len, AHEAD, self.plan.zip_len())
                .map_err(|error| ExtractError::read(at, error))?;
            crc.update(part);
            sink.write(part)?;
            at += len as u64;
        }
        let (expected, found) = (entry.crc, crc.sum());
        if expected != found {
            let (entry, offset) = (entry.name(), entry.data_offset);
            return Err(ExtractError::CrcMismatch { entry, offset, expected, found });
        }
        Ok(())
    }

    /// Inflates an entry that fits the buffers. Returns false, with nothing written, if it does not
    /// fit, or if it has a fault that streaming can name.
    fn at_once(
        &self,
        entry: &PlannedEntry,
        scratch: &mut Scratch,
        sink: &mut Sink<'_>,
    ) -> Result<bool, ExtractError> {
        let fits = entry.size <= WHOLE && entry.compressed <= WHOLE && entry.lock.is_none();
        if !fits || entry.method != Method::Deflate {
            return Ok(false);
        }
        // There is room for the frame: a header precedes all data, and the central directory
        // follows it.
        let (start, len) =
            (entry.data_offset - HEAD as u64, entry.compressed as usize + HEAD + FOOT);
        let framed = scratch
            .window
            .view(&self.zip, start, len, AHEAD, self.plan.zip_len())
            .map_err(|error| ExtractError::read(start, error))?;
        let size = entry.size as usize;
        // Deflate expands by a factor of at most 1,032. An entry that declares more is not worth
        // the memory.
        if size / 1032 > entry.compressed as usize {
            return Ok(false);
        }
        grow(&mut scratch.out, size);
        let out = &mut scratch.out[..size];
        if !scratch.whole.inflate(framed, entry.crc, out) {
            return Ok(false);
        }
        sink.write(out)?;
        Ok(true)
    }

    /// Unpacks an entry of any size and method.
    fn streamed(
        &self,
        entry: &PlannedEntry,
        scratch: &mut Scratch,
        parts: &mut dyn Parts,
    ) -> Result<(), ExtractError> {
        if entry.method.has_dictionary() {
            scratch.release();
        }
        let end = entry.data_offset + entry.compressed;
        let data = Data::new(&self.zip, &mut scratch.window, entry.data_offset, end);
        let password = self.plan.password.as_ref().map(Password::bytes);
        decode(entry, data, password, &mut scratch.out, parts)
    }
}

/// Discards parts: a folder's data must decode to nothing.
struct Nowhere;

impl Parts for Nowhere {
    fn take(&mut self, _: &mut Vec<u8>, _: usize) -> Result<(), ExtractError> {
        Ok(())
    }
}

/// The only way to disk: counts the written bytes, in parts, and checks for a stop between them.
struct Sink<'a> {
    of: &'a Unpacking,
    entry: &'a PlannedEntry,
    file: Option<File>,
    steps: &'a Steps,
}

impl Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), ExtractError> {
        for part in bytes.chunks(PART) {
            self.of.check_stop()?;
            self.steps.add();
            let limit_bytes = self.of.plan.limits.total_bytes;
            let total =
                self.of.bytes.fetch_add(part.len() as u64, Ordering::Relaxed) + part.len() as u64;
            if total > limit_bytes {
                return Err(ExtractError::TotalTooLarge { bytes: total, limit_bytes });
            }
            if let Some(file) = &mut self.file {
                file.write_all(part)
                    .map_err(|error| ExtractError::write(&*self.entry.path, error))?;
            }
        }
        Ok(())
    }
}

impl Parts for Sink<'_> {
    fn take(&mut self, part: &mut Vec<u8>, len: usize) -> Result<(), ExtractError> {
        self.write(&part[..len])
    }
}

//! Into the archive: pass, gather, rename.

use std::ffi::{OsStr, OsString};
use std::io;
use std::sync::Arc;

use rustix::fs::{Gid, Mode, RawMode, Timestamps, fchmod, fchown, futimens};
use rustix::io::Errno;

use super::errand::{Errand, Load};
use super::error::PublishError;
use super::judge::judge_output;
use super::put_back::{free_beside, keep_only_ordinary, ungather};
use super::redelivery::refuse_taken;
use super::{Settled, Step};
use crate::config::Patterns;
use crate::folder::{Folder, Metadata, absent};
use crate::names::{DONE, FINAL, OUT};
use crate::package::ZipStamp;
use crate::workspace::{
    Delivery, JobDir, Original, Passed, Site, Target, WorkspaceError, is_this_user,
};

/// A job that has passed: its unpacked folder is `.final`, what was delivered is beside it.
pub(super) struct Gathering {
    job: JobDir,
    passed: Passed,
    /// The delivered folder as it was before anything was taken out of it.
    delivered: Metadata,
    /// Of `.final` itself.
    group: u32,
    inode: u64,
    /// What is to be gathered besides the ZIP, each with the name that it gets.
    others: Vec<(OsString, OsString)>,
    zip_gathered: bool,
    /// Kept from the first half of settling to the second where the batch is small.
    opened: Option<Opened>,
}

/// A job's folders, while something is done in them.
struct Opened {
    home: Folder,
    final_: Folder,
    delivered: Folder,
}

impl Gathering {
    /// Passes a job whose stages are through, or that no stage had (`untouched`); `None` if what was
    /// unpacked is not there (any more).
    pub(super) fn pass(
        ignore: &Patterns,
        job: &JobDir,
        untouched: bool,
        stamp: Option<&ZipStamp>,
    ) -> Result<Option<Self>, PublishError> {
        let name = if untouched { OUT } else { DONE };
        let path = if untouched { job.out() } else { job.done() };
        let failed = |action| WorkspaceError::io(action, &path);
        let Some(home) = absent(job.open()).map_err(failed("open the folder of"))? else {
            return Ok(None);
        };
        let done = match absent(home.folder(name)) {
            Ok(Some(done)) => done,
            Ok(None) => return Ok(None),
            // Through a link the originals would be gathered somewhere else.
            Err(error) if is_no_folder(&error) => return Err(PublishError::NotAFolder { path }),
            // Ours, but a stage took away our rights on it.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                open_up(&home, name).map_err(failed("open"))?
            }
            Err(error) => return Err(failed("open")(error).into()),
        };
        let seen = done.metadata().map_err(failed("look at"))?;
        make_own(&done, &seen)?;
        let Some(folder) = absent(home.folder(job.target())).map_err(failed("open"))? else {
            return Ok(None);
        };
        let Delivery { seen: delivered, originals } = Delivery::of(job, &folder)?;
        let zip = job.name().zip();
        let (others, aside) = sort_out(&done, &originals, OsStr::new(&zip), ignore, untouched)?;
        if done.has(&zip).map_err(failed("look into"))? {
            return Err(PublishError::OverwritesOriginal { name: zip.into(), path });
        }
        if !originals.iter().any(|original| original.name == *zip) {
            return Err(WorkspaceError::ZipMissing { path: job.zip() }.into());
        }
        if !untouched {
            judge_output(&done)?;
        }
        let now = job.check_unchanged(&folder, delivered.mount, stamp)?;
        let passed = Passed::new(seen.id(), &now, &others).with_aside(&aside);
        let others = others.into_iter().map(|name| (name.clone(), name)).chain(aside).collect();
        passed.write(&home).map_err(failed("record what was unpacked to"))?;
        let (group, inode) = (seen.group, seen.inode);
        home.rename(name, &home, FINAL, Some(inode)).map_err(failed("pass"))?;
        let job = job.clone();
        let opened = Some(Opened { home, final_: done.renamed(FINAL), delivered: folder });
        let zip_gathered = false;
        Ok(Some(Self { job, passed, delivered, group, inode, others, zip_gathered, opened }))
    }

    /// Goes on with a job whose `.final` is there, gathered or not.
    pub(super) fn go_on(job: &JobDir) -> Result<Self, PublishError> {
        let failed = |action| WorkspaceError::io(action, job.path());
        let Opened { home, final_, delivered } = Opened::of(job)?;
        let zip = job.name().zip();
        let seen = delivered.metadata().map_err(failed("look into"))?;
        let own = final_.metadata().map_err(failed("look into"))?;
        make_own(&final_, &own)?;
        let zip_gathered = final_.has(&zip).map_err(failed("look into"))?;
        let mut others = Vec::new();
        let listed = delivered.list(|name, kind| {
            // What is neither came after the originals were looked over: it stays, as late.
            if name != &*zip && (kind.is_file() || kind.is_dir()) {
                others.push(name.to_owned());
            }
        });
        listed.map_err(WorkspaceError::io("list", delivered.path()))?;
        let passed = match Passed::read(&home).map_err(failed("read the record in"))? {
            Some(passed) => passed,
            None => {
                // Of a version that kept none, or lost in a power loss.
                let found = if zip_gathered { &final_ } else { &delivered }.stat(&zip);
                let found = found.map_err(failed("look into"))?;
                let found = found.ok_or_else(|| WorkspaceError::ZipMissing { path: job.zip() })?;
                let passed = Passed::new(own.id(), &ZipStamp::from(&found), &others);
                passed.write(&home).map_err(failed("write the record in"))?;
                passed
            }
        };
        let named = |name: OsString| {
            let known = passed.beside().find(|(from, _)| **from == *name);
            let to = known.map_or_else(|| name.clone(), |(_, to)| to.to_owned());
            (name, to)
        };
        let others = others.into_iter().map(named).collect();
        let (group, inode, job) = (own.group, own.inode, job.clone());
        let opened = None;
        Ok(Self { job, passed, delivered: seen, group, inode, others, zip_gathered, opened })
    }

    /// Closes its folders until it is published: handles are few.
    pub(super) fn close(&mut self) {
        self.opened = None;
    }

    pub(super) fn needs_sync(&self) -> bool {
        // What is gathered was synced before that.
        !self.zip_gathered
    }

    /// Gathers the originals and makes it all visible in the archive.
    ///
    /// Where the archive is on another file system, what has been gathered is still to be copied.
    pub(super) fn publish(mut self, site: &Site) -> Result<Step, PublishError> {
        let opened = match self.opened.take() {
            Some(opened) => opened,
            None => Opened::of(&self.job)?,
        };
        let copies = site.is_elsewhere(Target::Archive);
        // Before the archive is asked for: what waits for it is not to be unpacked again.
        self.gather(site, &opened)?;
        let mode = archived_mode(&self.delivered);
        // Moving a folder needs write permission on it: one without gets its mode afterwards.
        let early = mode & 0o300 == 0o300;
        if copies {
            // Once it is gathered the emptied folder's times are no longer those of the delivery.
            if !self.zip_gathered {
                self.dress(&opened.final_, early.then_some(mode))?;
            }
            return Ok(Step::Copy(Errand::new(self.job, Load::Package)));
        }
        let archive = reach(site, Target::Archive)?;
        self.dress(&opened.final_, early.then_some(mode))?;
        let from = (&opened.home, FINAL, &opened.final_);
        let moved = into_archive(site, &self.job, &opened.home, from, self.inode, &archive);
        let (target, job) = match moved {
            Ok(moved) => moved,
            Err(error) if error.turns_back() => {
                ungather(&self.job, &opened.home, &self.passed)?;
                return Err(error);
            }
            Err(error) => return Err(error),
        };
        if !early {
            // It is complete and visible: that its mode is not the delivered one is no reason to
            // have it published again.
            fchmod(&opened.final_, Mode::from_raw_mode(mode)).ok();
        }
        let path = site.source().archive.join(target);
        Ok(Step::Settled(Settled::Archived { path, job }))
    }

    fn gather(&self, site: &Site, opened: &Opened) -> Result<(), PublishError> {
        let Opened { home, final_, delivered } = opened;
        let zip = self.job.name().zip();
        if !self.zip_gathered {
            delivered.rename(&zip, final_, &zip, None).map_err(|source| {
                let (from, to) = (delivered.join(&zip), final_.join(&zip));
                match Errno::from_io_error(&source) {
                    Some(Errno::ACCESS | Errno::PERM) => {
                        PublishError::FixedZip { path: from, source }
                    }
                    Some(Errno::BUSY | Errno::TXTBSY) => {
                        PublishError::OriginalBusy { path: from, source }
                    }
                    _ => PublishError::moving(site, &from, &to)(source),
                }
            })?;
        }
        // The last look: its sender may have put something else in its place.
        let found = final_.stat(&zip).map_err(WorkspaceError::io("look at", final_.join(&zip)))?;
        if !found.is_some_and(|found| self.passed.is_zip(&found)) {
            ungather(&self.job, home, &self.passed)?;
            return Err(WorkspaceError::ZipChanged {
                path: self.job.zip(),
                what: "it is another file, or its size or mtime",
            }
            .into());
        }
        for (name, to) in &self.others {
            match delivered.rename(name, final_, to, None) {
                Ok(()) => keep_only_ordinary(final_, delivered, (to, name))?,
                Err(error) => self.refused(site, opened, name, error)?,
            }
        }
        Ok(())
    }

    /// Judges that something beside the ZIP cannot be gathered. What was listed when the package passed
    /// comes along, or the package is not archived; what came since stays, as late.
    fn refused(
        &self,
        site: &Site,
        opened: &Opened,
        name: &OsStr,
        source: io::Error,
    ) -> Result<(), PublishError> {
        let Opened { home, final_, delivered } = opened;
        let (path, to) = (delivered.join(name), final_.join(name));
        let is_listed = self.passed.beside().any(|(listed, _)| listed == name);
        match Errno::from_io_error(&source) {
            // Its sender took it away, or has put another in its place since it was gathered.
            Some(Errno::NOENT | Errno::EXIST) => Ok(()),
            Some(Errno::ACCESS | Errno::PERM | Errno::BUSY | Errno::TXTBSY) if !is_listed => Ok(()),
            Some(Errno::ACCESS | Errno::PERM) => {
                ungather(&self.job, home, &self.passed)?;
                Err(PublishError::FixedOriginal { path, source })
            }
            Some(Errno::BUSY | Errno::TXTBSY) => Err(PublishError::OriginalBusy { path, source }),
            _ => Err(PublishError::moving(site, &path, &to)(source)),
        }
    }

    /// Gives `.final` the delivered folder's group, times and mode.
    fn dress(&self, final_: &Folder, mode: Option<RawMode>) -> Result<(), PublishError> {
        let seen = &self.delivered;
        if self.group != seen.group {
            // Where allowed, and no more: most senders' groups are not ours.
            fchown(final_, None, Some(Gid::from_raw(seen.group))).ok();
        }
        let times = Timestamps { last_access: seen.accessed, last_modification: seen.modified };
        let path = final_.path();
        let failed = |action| move |error: Errno| WorkspaceError::io(action, path)(error.into());
        futimens(final_, &times).map_err(failed("set the times of"))?;
        if let Some(mode) = mode {
            fchmod(final_, Mode::from_raw_mode(mode)).map_err(failed("set the mode of"))?;
        }
        Ok(())
    }
}

impl Opened {
    fn of(job: &JobDir) -> Result<Self, PublishError> {
        let open = || {
            let home = job.open()?;
            let final_ = match home.folder(FINAL) {
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    open_up(&home, FINAL)?
                }
                other => other?,
            };
            let delivered = home.folder(job.target())?;
            Ok(Self { home, final_, delivered })
        };
        absent(open())
            .map_err(WorkspaceError::io("open the folders of", job.path()))?
            .ok_or_else(|| PublishError::NotUnpacked { path: job.path().to_path_buf() })
    }
}

/// What nobody but this user may do with an archived folder: whoever may write to it can change what
/// is archived. The sender's group keeps its right to write if the sender is this user.
fn archived_mode(delivered: &Metadata) -> RawMode {
    delivered.mode & if is_this_user(delivered.user) { 0o775 } else { 0o755 }
}

/// The folder that is a target, if it is still there.
pub(super) fn reach(site: &Site, target: Target) -> Result<Arc<Folder>, PublishError> {
    let path = site.path_of(target);
    site.reach(target).map_err(|source| PublishError::unreachable(path.to_path_buf(), source))
}

/// Renames a package's folder to the first name that is free: `NAME`, `NAME.2`, …; returns the name.
///
/// A name that is taken may have been taken since the package was compared with the archive: by another
/// source, or another daemon. So it is compared once more.
pub(super) fn into_archive(
    site: &Site,
    job: &JobDir,
    home: &Folder,
    (folder, name, package): (&Folder, &str, &Folder),
    inode: u64,
    archive: &Folder,
) -> Result<(String, JobDir), PublishError> {
    let mut job = job.clone();
    let mut number = 1;
    loop {
        let target = job.target().to_owned();
        match folder.rename(name, archive, &target, Some(inode)) {
            Ok(()) => return Ok((target, job)),
            Err(error) if Errno::from_io_error(&error) == Some(Errno::EXIST) => {}
            Err(error) => {
                let (from, to) = (folder.join(name), archive.join(&target));
                return Err(PublishError::moving(site, &from, &to)(error));
            }
        }
        refuse_taken(site.source(), job.name(), archive, package)?;
        let target = free_name(&job, archive, &mut number)?;
        job = retarget(site, &job, home, target)?;
    }
}

/// Names beside the ZIP, and those that get another one in the archive, with that.
type Sorted = (Vec<OsString>, Vec<(OsString, OsString)>);

/// Tells what lies beside the ZIP and can be gathered under its own name from what the ZIP has, too.
fn sort_out(
    done: &Folder,
    originals: &[Original],
    zip: &OsStr,
    ignore: &Patterns,
    untouched: bool,
) -> Result<Sorted, PublishError> {
    let failed = |action| WorkspaceError::io(action, done.path());
    let (mut others, mut aside) = Sorted::default();
    for name in originals.iter().map(|original| &original.name).filter(|name| *name != zip) {
        let is_ignored = ignore.matches(name);
        // The plan was refused if an entry had the name of an original, and no stage has run since.
        let is_sure = untouched && !is_ignored;
        if is_sure || !done.has(name).map_err(failed("look into"))? {
            others.push(name.clone());
        } else if is_ignored {
            let free = free_beside(done, originals, name);
            aside.push((name.clone(), free.map_err(failed("find a free name in"))?));
        } else {
            let path = done.path().to_path_buf();
            return Err(PublishError::OverwritesOriginal { name: name.clone(), path });
        }
    }
    Ok((others, aside))
}

/// Gives this user the rights on a folder of its own that a stage took away.
fn make_own(folder: &Folder, found: &Metadata) -> Result<(), PublishError> {
    if found.mode & 0o700 != 0o700 {
        fchmod(folder, Mode::RWXU)
            .map_err(|error| WorkspaceError::io("set the mode of", folder.path())(error.into()))?;
    }
    Ok(())
}

/// Opens a folder of this user's that may not be read.
fn open_up(home: &Folder, name: &str) -> io::Result<Folder> {
    home.open_up(name)?;
    home.folder(name)
}

/// The next revision's name that is free in the archive.
fn free_name(job: &JobDir, archive: &Folder, number: &mut u32) -> Result<String, PublishError> {
    loop {
        *number += 1;
        let Some(name) = job.name().revision(*number) else {
            let (name, path) = (job.name().clone(), archive.path().to_path_buf());
            return Err(PublishError::NoFreeName { name, path });
        };
        match archive.has(&name) {
            Ok(false) => return Ok(name),
            Ok(true) => {}
            Err(source) => {
                return Err(PublishError::Compare { path: archive.join(name), source });
            }
        }
    }
}

/// Has the emptied delivered folder say where the job goes; a mark keeps the package's own name.
fn retarget(
    site: &Site,
    job: &JobDir,
    home: &Folder,
    target: String,
) -> Result<JobDir, PublishError> {
    let mark = job.name_mark();
    let made = crate::failpoint::pass(|| "create:mark".to_owned()).and_then(|()| {
        match home.create(&mark, Mode::RUSR | Mode::WUSR) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other.map(drop),
        }
    });
    made.map_err(WorkspaceError::io("make", home.join(&mark)))?;
    let wanted = job.clone().with_target(target);
    home.rename(job.target(), home, wanted.target(), None).map_err(PublishError::moving(
        site,
        &job.delivered(),
        &wanted.delivered(),
    ))?;
    Ok(wanted)
}

fn is_no_folder(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOTDIR | Errno::LOOP))
}

//! Archives a job: pass, gather, rename.

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

/// A job that has passed: its unpacked folder is `.final`, with the delivered folder beside it.
pub(super) struct Gathering {
    job: JobDir,
    passed: Passed,
    /// The metadata of the delivered folder before anything was moved out of it.
    delivered: Metadata,
    /// The group of `.final` itself.
    group: u32,
    inode: u64,
    /// The originals to be gathered besides the ZIP, each with its name in `.final`.
    others: Vec<(OsString, OsString)>,
    zip_gathered: bool,
    /// Kept open from the first half of settling to the second if the batch is small.
    opened: Option<Opened>,
}

/// A job's folders, opened for the current operation.
struct Opened {
    home: Folder,
    final_: Folder,
    delivered: Folder,
}

impl Gathering {
    /// Passes a job that has been through its stages or had none (`untouched`); `None` if its unpacked
    /// folder does not exist.
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
            // Through a link, the originals would be gathered in another place.
            Err(error) if is_no_folder(&error) => return Err(PublishError::NotAFolder { path }),
            // The folder is ours, but a stage removed our permissions on it.
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

    /// Continues with a job whose `.final` exists, gathered or not.
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
            // An entry of another kind arrived after the originals were checked: it stays, as a late arrival.
            if name != &*zip && (kind.is_file() || kind.is_dir()) {
                others.push(name.to_owned());
            }
        });
        listed.map_err(WorkspaceError::io("list", delivered.path()))?;
        let passed = match Passed::read(&home).map_err(failed("read the record in"))? {
            Some(passed) => passed,
            None => {
                // From a version that kept no record, or lost in a power loss.
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

    /// Closes its folders until it is published: file handles are scarce.
    pub(super) fn close(&mut self) {
        self.opened = None;
    }

    pub(super) fn needs_sync(&self) -> bool {
        // A gathered job was synced before it was gathered.
        !self.zip_gathered
    }

    /// Gathers the originals and makes the package visible in the archive.
    ///
    /// If the archive is on another file system, the gathered package is still to be copied.
    pub(super) fn publish(mut self, site: &Site) -> Result<Step, PublishError> {
        let opened = match self.opened.take() {
            Some(opened) => opened,
            None => Opened::of(&self.job)?,
        };
        let copies = site.is_elsewhere(Target::Archive);
        // Before the archive is looked up: a package that waits for the archive must not be unpacked again.
        self.gather(site, &opened)?;
        let mode = archived_mode(&self.delivered);
        // Moving a folder needs write permission on it: if the mode has none, it is set afterwards.
        let early = mode & 0o300 == 0o300;
        if copies {
            // After gathering, the emptied folder's times are no longer those of the delivery.
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
            // The package is complete and visible: a mode that differs from the delivered one does not
            // justify publishing it again.
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
        // The last check: the sender may have replaced the ZIP.
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

    /// Handles an original beside the ZIP that cannot be gathered. If it was listed when the package passed,
    /// the package is not archived without it. If it arrived since, it stays, as a late arrival.
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
            // The sender removed it, or has created another one since it was gathered.
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
            // Only if permitted: most senders' groups are not ours.
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

/// Mode bits that other users must not have on an archived folder: with write permission they could
/// change the archive. The sender's group keeps its write permission if the sender is this user.
fn archived_mode(delivered: &Metadata) -> RawMode {
    delivered.mode & if is_this_user(delivered.user) { 0o775 } else { 0o755 }
}

/// Returns the folder of a target, if it still exists.
pub(super) fn reach(site: &Site, target: Target) -> Result<Arc<Folder>, PublishError> {
    let path = site.path_of(target);
    site.reach(target).map_err(|source| PublishError::unreachable(path.to_path_buf(), source))
}

/// Renames a package's folder to the first free name: `NAME`, `NAME.2`, …; returns the name.
///
/// Another source or daemon may have taken the name since the package was compared with the archive. So a
/// taken name is compared again.
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

/// Names beside the ZIP, and pairs of the others with their names in the archive.
type Sorted = (Vec<OsString>, Vec<(OsString, OsString)>);

/// Separates originals that can be gathered under their own name from those whose name the ZIP also has.
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
        // A plan with an entry that has an original's name is refused, and no stage has run since.
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

/// Restores this user's permissions on its own folder if a stage removed them.
fn make_own(folder: &Folder, found: &Metadata) -> Result<(), PublishError> {
    if found.mode & 0o700 != 0o700 {
        fchmod(folder, Mode::RWXU)
            .map_err(|error| WorkspaceError::io("set the mode of", folder.path())(error.into()))?;
    }
    Ok(())
}

/// Opens a folder of this user's that has no read permission.
fn open_up(home: &Folder, name: &str) -> io::Result<Folder> {
    home.open_up(name)?;
    home.folder(name)
}

/// Returns the name of the next revision that is free in the archive.
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

/// Renames the emptied delivered folder to the job's target; a mark file keeps the package's own name.
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

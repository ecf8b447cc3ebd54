//! Every name that longshore gives to something on disk, in one place.
//!
//! No package has a name with a leading dot, so that none of these can be a package's.

use std::ffi::OsStr;
use std::path::Path;

use crate::id::JobId;

/// Our folder in a landing, and in an archive or quarantine on another file system.
pub(crate) const OWN: &str = ".longshore";
/// The work area in [`OWN`] or in a state folder.
pub(crate) const WORK: &str = "work";
/// Version of the work area's layout.
pub(crate) const FORMAT: &str = "FORMAT";
/// How the last run ended.
pub(crate) const BOOT: &str = ".boot";
/// [`BOOT`] while it is written.
pub(crate) const BOOT_NEW: &str = ".boot.new";
/// Why claims were refused.
pub(crate) const REFUSED: &str = ".refused";
/// [`REFUSED`] while it is written.
pub(crate) const REFUSED_NEW: &str = ".refused.new";
/// Locked where the file system locks no folders.
pub(crate) const LOCK: &str = ".lock";
/// Being unpacked.
pub(crate) const OUT: &str = ".out";
/// Unpacked and verified; stages work here.
pub(crate) const DONE: &str = ".done";
/// All stages passed; the originals are gathered here.
pub(crate) const FINAL: &str = ".final";
/// What was verified, and which folder gets the archive's name; written before anything is gathered.
pub(crate) const PASSED: &str = ".passed.json";
/// On its way to quarantine.
pub(crate) const Q: &str = ".q";
/// In the work area: packages that the quarantine's file system cannot hold.
pub(crate) const KEPT: &str = ".quarantine";
/// The decision, in [`Q`].
pub(crate) const REASON: &str = "reason.json";
/// [`REASON`] while it is written.
pub(crate) const REASON_NEW: &str = "reason.json.new";
/// What was `.final`, once its copy on another file system is complete.
pub(crate) const COPIED: &str = ".copied";
/// What was `.q`, once its copy on another file system is complete.
pub(crate) const Q_COPIED: &str = ".q-copied";
/// Which copy is the job's.
pub(crate) const COPY: &str = ".copy.json";
/// The ledger's file in the state folder.
pub const LEDGER: &str = "ledger.sqlite";
/// [`LEDGER`] while it is copied from another file system.
pub(crate) const LEDGER_NEW: &str = "ledger.sqlite.new";
/// What was delivered, in quarantine.
pub(crate) const DELIVERED: &str = "delivered";
/// What was unpacked, in quarantine.
pub(crate) const UNPACKED: &str = "unpacked";
/// A probe of an earlier version.
pub(crate) const OLD_PROBE: &str = ".probe";
/// The logs of commands, in the state folder.
pub(crate) const LOGS: &str = "logs";
/// A bare ZIP on its way in.
pub(crate) const CLAIM: &str = ".claim";
/// A delivery that is being deleted.
pub(crate) const DISCARD: &str = ".discard";
/// A copy of a delivered file that has another name elsewhere, until it takes that file's place.
pub(crate) const APART: &str = ".apart";
/// How the name begins of the file that keeps a package's name. Two bytes, so that the longest package
/// name still fits a file system's 255.
pub(crate) const NAME_MARK: &str = ".=";
/// How the names of probes begin.
pub(crate) const PROBE: &str = ".longshore-probe-";

/// The name of a job's folder: `JOB.A.C`.
pub(crate) fn job_folder(id: JobId, attempt: u32, crashes: u32) -> String {
    format!("{id}.{attempt}.{crashes}")
}

/// Reads `JOB.A.C`, in the one spelling that [`job_folder`] writes.
pub(crate) fn parse_job_folder(name: &str) -> Option<(JobId, u32, u32)> {
    let mut parts = name.splitn(3, '.');
    let id = parts.next()?.parse().ok()?;
    let attempt = parts.next()?.parse().ok()?;
    let crashes = parts.next()?.parse().ok()?;
    (job_folder(id, attempt, crashes) == name && attempt > 0).then_some((id, attempt, crashes))
}

/// Whether a name begins with a dot.
pub(crate) fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

/// What a path is in the protocol: the same for every package, for the names of fail points.
pub(crate) fn role(path: &Path) -> &str {
    let mut names = path.ancestors().map(|path| path.file_name().and_then(OsStr::to_str));
    let mut next = || names.next().flatten().unwrap_or_default();
    let (own, parent, above) = (next(), next(), next());
    let is_job = |text: &str| parse_job_folder(text).is_some();
    match own {
        // Each job has another.
        _ if parent == LOGS => "log",
        _ if own.starts_with(NAME_MARK) => "mark",
        _ if own.starts_with(".probe") || own.starts_with(PROBE) => ".probe",
        _ if own.starts_with('.') || own.starts_with(REASON) => own,
        _ if is_job(own) => "job",
        _ if parent == CLAIM => "claimed",
        _ if parent == FINAL || parent == Q => "gathered",
        _ if parent == OWN => "copy",
        _ if is_job(parent) => "delivered",
        _ if is_job(above) && own.ends_with(".zip") => "zip",
        _ if is_job(above) => "beside",
        _ => "outside",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn job_folder_reads_back_only_in_the_spelling_that_it_writes() {
        let id = JobId::generate();
        assert_eq!(parse_job_folder(&job_folder(id, 3, 12)), Some((id, 3, 12)));
        for odd in [
            "JOB.1.0".to_owned(),
            format!("{id}"),
            format!("{id}.1"),
            format!("{id}.01.0"),
            format!("{id}.+1.0"),
            format!("{id}.0.0"),
            format!("{id}.1.0.bak"),
        ] {
            assert_eq!(parse_job_folder(&odd), None, "{odd}");
        }
    }
}

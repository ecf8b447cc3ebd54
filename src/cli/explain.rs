//! `longshore explain`: shows every readiness rule for one name, and where else the name is known.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::args::ExplainArgs;
use super::complain::complain;
use super::exit;
use super::source::{SourceArgs, code_of};
use crate::config::{Config, ConfigError, Source};
use crate::error::Chain;
use crate::folder::Folder;
use crate::id::{JobId, PackageName};
use crate::landing::{
    DiskClock, Landing, Look, Past, Rules, Verdict, checks, is_in_lower_layer, is_on_network, judge,
};
use crate::names::{KEPT, OWN, REASON, job_folder, parse_job_folder};
use crate::workspace::{Contents, IN_LOWER_LAYER, Reason, Refusal, find_work, probe, refusal_of};

/// The result for a name, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Readiness {
    /// The package would be taken now.
    Ready,
    /// The package is in the landing and is not ready.
    NotReady,
    /// The package is not in the landing; it is in work, in the archive or in quarantine.
    Elsewhere,
    /// The package is not found anywhere.
    Absent,
}

pub(super) fn run(args: &ExplainArgs) -> u8 {
    let config = match config(&args.source) {
        Ok(config) => config,
        Err(error) => {
            complain(format_args!("failed to {}", Chain(&error)));
            return code_of(&error);
        }
    };
    let mut answer = Readiness::Absent;
    for source in &config.sources {
        match explain(source, &args.name, &mut io::stdout().lock()) {
            Ok(readiness) => answer = answer.min(readiness),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
            Err(error) => {
                complain(format_args!("failed to look into {:?}: {error}", source.landing));
                return exit::IO;
            }
        }
    }
    match answer {
        Readiness::Ready => exit::OK,
        Readiness::NotReady | Readiness::Elsewhere => exit::FAILED,
        Readiness::Absent => exit::NO_INPUT,
    }
}

fn config(args: &SourceArgs) -> Result<Config, ConfigError> {
    // Readiness does not need an archive. If none is named, none is searched.
    let nowhere = |landing: &PathBuf| landing.join(OWN).join("no-archive");
    let archive = args.archive.clone().or_else(|| args.landing.as_ref().map(nowhere));
    let args = SourceArgs {
        landing: args.landing.clone(),
        archive,
        quarantine: args.quarantine.clone(),
        work: args.work.clone(),
        state: args.state.clone(),
        settle: args.settle,
        config: args.config.clone(),
    };
    args.config(None, None)
}

/// Writes everything known of `name` (or of a path that ends in it) at one source.
///
/// # Errors
/// The landing cannot be read, or `out` cannot be written.
pub(crate) fn explain(source: &Source, name: &str, out: &mut dyn Write) -> io::Result<Readiness> {
    let name = Path::new(name).file_name().unwrap_or(OsStr::new(name));
    let landing = Landing::open(&source.landing)?;
    let rules = Rules::of(source);
    let mut answer = Readiness::Absent;
    for candidate in candidates(name, &rules) {
        if let Some(look) = landing.look(&candidate, &rules) {
            answer = answer.min(explain_look(source, &look, &rules, out)?);
        }
    }
    let found = name.to_str().and_then(|name| PackageName::new(name).ok());
    let found = found.map_or(Vec::new(), |name| history(source, &name));
    for line in &found {
        writeln!(out, "{line}")?;
    }
    if answer == Readiness::Absent {
        if !found.is_empty() {
            return Ok(Readiness::Elsewhere);
        }
        writeln!(out, "{name:?} is not in {:?}, nor anywhere else", source.landing)?;
    }
    Ok(answer)
}

/// Returns the names under which a package can be in the landing.
fn candidates(name: &OsStr, rules: &Rules) -> Vec<std::ffi::OsString> {
    let mut names = vec![name.to_owned()];
    let mut zip = name.to_owned();
    zip.push(".zip");
    if rules.takes_zip(&zip) {
        names.push(zip);
    }
    if let Some(name) = name.to_str() {
        names.extend(rules.arriving(name).map(Into::into));
    }
    names
}

fn explain_look(
    source: &Source,
    look: &Look,
    rules: &Rules,
    out: &mut dyn Write,
) -> io::Result<Readiness> {
    // Treated as a folder that was there before the daemon: its age counts. The daemon itself measures.
    let now = Instant::now();
    let age = disk_clock(source, now).age(look.trace.newest, now);
    let past = Past { quiet: age.unwrap_or_default(), ..Past::of_first(look, false) };
    writeln!(out, "{:?}", source.landing.join(&look.name))?;
    for check in checks(look, &past, age, rules) {
        let mark = match check.passed {
            Some(true) => "pass",
            Some(false) => "FAIL",
            None => "-",
        };
        writeln!(out, "  {mark:<4}  {:<8}  {}", check.rule, check.says)?;
    }
    let (answer, says) = match judge(look, &past, rules) {
        Verdict::Ready => match obstacle(source, look, rules) {
            Some(obstacle) => (Readiness::NotReady, obstacle),
            None => (Readiness::Ready, "ready".to_owned()),
        },
        Verdict::NotYet { wait } => {
            let seconds = wait.as_millis().div_ceil(1000);
            (Readiness::NotReady, format!("not ready; looked at again within {seconds}s"))
        }
        Verdict::Incomplete(_) => (Readiness::NotReady, "not ready: not complete yet".to_owned()),
        Verdict::Unfit(unfit) => (Readiness::NotReady, format!("not ready: {}", unfit.code())),
    };
    writeln!(out, "  {says}")?;
    Ok(answer)
}

/// Returns the clock of the landing's file system. The time of a file server is read with a file in the
/// work area, if this user may create one.
fn disk_clock(source: &Source, now: Instant) -> DiskClock {
    let asked = is_on_network(&source.landing).unwrap_or(false).then(|| {
        let part = Folder::open(&find_work(source).join(&source.name))?;
        probe::disk_time(&part)
    });
    let disk = asked.and_then(Result::ok).unwrap_or_else(SystemTime::now);
    DiskClock::new(disk, now)
}

/// Returns what keeps a folder in the landing although every rule finds it ready, as far as the disk shows.
fn obstacle(source: &Source, look: &Look, rules: &Rules) -> Option<String> {
    let part = find_work(source).join(&source.name);
    let refused = refusal_of(&part, look.name.to_str()?, look.identity);
    if let Some(Refusal { code, why, at, .. }) = refused {
        return Some(format!(
            "not taken: {code}: failed to {why}\n  refused since {at}; tried again at each rescan"
        ));
    }
    if is_in_lower_layer(&source.landing, &look.name) {
        return Some(format!("not ready: {IN_LOWER_LAYER}"));
    }
    let (_, name) = rules.package(look).ok()?;
    let before = in_work(source, &name);
    (!before.is_empty()).then(|| {
        "ready; it waits until the package of its name that is in work is settled".to_owned()
    })
}

/// Returns where else the name is found, one line each.
fn history(source: &Source, name: &PackageName) -> Vec<String> {
    let mut lines = in_work(source, name);
    for number in 1.. {
        let Some(path) = name.revision(number).map(|folder| source.archive.join(folder)) else {
            break;
        };
        if fs::symlink_metadata(&path).is_err() {
            break;
        }
        lines.push(format!("archived: {path:?}"));
    }
    lines.extend(in_quarantine(source, name));
    lines
}

fn in_work(source: &Source, name: &PackageName) -> Vec<String> {
    let Ok(part) = Folder::open(&find_work(source).join(&source.name)).map(Arc::new) else {
        return Vec::new();
    };
    let mut keys = Vec::new();
    part.list(|name, _| keys.extend(name.to_str().and_then(parse_job_folder))).ok();
    keys.sort_unstable();
    keys.into_iter()
        .filter_map(|key| {
            let home = part.folder(job_folder(key.0, key.1, key.2)).ok()?;
            let contents = Contents::read(&home).ok()?;
            let job = contents.job(&part, key).filter(|job| job.name() == name)?;
            let path = job.path();
            let state = match () {
                () if contents.q => "on its way to quarantine",
                () if contents.final_ => "on its way to the archive",
                () if contents.done => "unpacked",
                () if contents.out => "being unpacked",
                () => "claimed",
            };
            let attempt = job.attempt();
            Some(format!("in work: {state}, job {}, attempt {attempt}, {path:?}", job.id()))
        })
        .collect()
}

fn in_quarantine(source: &Source, name: &PackageName) -> Vec<String> {
    // A package that the quarantine's file system cannot hold is kept in the work area.
    let kept = find_work(source).join(&source.name).join(KEPT);
    [&source.quarantine, &kept]
        .into_iter()
        .flat_map(|folder| folders(folder))
        .filter_map(|path| {
            let folder = path.file_name()?.to_str()?;
            let is_job = |text: &str| text.parse::<JobId>().is_ok();
            let is_own = match folder.rsplit_once('.') {
                // NAME may be cut to the length that the file system can hold.
                Some((start, job)) if is_job(job) => {
                    start == name.as_str()
                        || (name.as_str().starts_with(start) && has_reason(&path))
                }
                Some((job, _)) => is_job(job) && has_reason(&path),
                None => false,
            };
            if !is_own {
                return None;
            }
            let reason: Option<Reason> = fs::read(path.join(REASON))
                .ok()
                .and_then(|text| serde_json::from_slice(&text).ok());
            match reason {
                // Two long names can share the part that the folder shows.
                Some(reason) if reason.name != *name => None,
                Some(Reason { code, message, at, .. }) => {
                    Some(format!("quarantined at {at:.0}: {code}: failed to {message}\n  {path:?}"))
                }
                None => Some(format!("quarantined, with no reason that can be read: {path:?}")),
            }
        })
        .collect()
}

fn has_reason(path: &Path) -> bool {
    path.join(REASON).is_file()
}

/// Returns the folders in a folder, by name; empty if it does not exist or cannot be read.
fn folders(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect();
    paths.sort();
    paths
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::TempLanding;
    use std::time::Duration;

    fn explained(source: &Source, name: &str) -> (Readiness, String) {
        let mut out = Vec::new();
        let readiness = explain(source, name, &mut out).unwrap();
        (readiness, String::from_utf8(out).unwrap())
    }

    #[test]
    fn explain_of_a_ready_folder_passes_every_rule() {
        let landing = TempLanding::new();
        let mut source = landing.source();
        source.settle = Duration::ZERO;
        landing.copy_in("sample").unwrap();
        for name in ["sample", "sample/", "some/where/sample"] {
            let (readiness, text) = explained(&source, name);
            assert_eq!(readiness, Readiness::Ready, "{text}");
            assert_eq!(text.matches("pass").count(), 6, "{text}");
        }
    }

    #[test]
    fn explain_of_a_young_folder_names_the_rule_that_holds_it() {
        let landing = TempLanding::new();
        landing.copy_in("sample").unwrap();
        let mut source = landing.source();
        source.settle = Duration::from_secs(3600);
        let (readiness, text) = explained(&source, "sample");
        assert_eq!(readiness, Readiness::NotReady);
        assert!(text.contains("FAIL  quiet") && text.contains("1h (settle)"), "{text}");
        assert_eq!(text.matches("FAIL").count(), 1, "{text}");
    }

    #[test]
    fn explain_of_a_name_still_arriving_finds_it_under_its_ending() {
        let landing = TempLanding::new();
        landing.copy_in("sample-downloading").unwrap();
        let (readiness, text) = explained(&landing.source(), "sample");
        assert_eq!(readiness, Readiness::NotReady);
        assert!(text.contains("FAIL  complete") && text.contains("-downloading"), "{text}");
    }

    #[test]
    fn explain_of_a_name_that_is_nowhere_says_so() {
        let landing = TempLanding::new();
        let (readiness, text) = explained(&landing.source(), "sample");
        assert_eq!(readiness, Readiness::Absent, "{text}");
    }

    #[test]
    fn explain_of_what_went_on_finds_it_in_work_archive_and_quarantine() {
        let landing = TempLanding::new();
        let source = landing.source();
        let job = JobId::generate();
        let quarantined = source.quarantine.join(format!("sample.{job}"));
        fs::create_dir_all(source.archive.join("sample.2")).unwrap();
        fs::create_dir_all(source.archive.join("sample")).unwrap();
        fs::create_dir_all(find_work(&source).join(format!("default/{job}.2.0/sample"))).unwrap();
        fs::create_dir_all(find_work(&source).join(format!("default/{job}.1.0/sample-2"))).unwrap();
        fs::create_dir_all(&quarantined).unwrap();
        fs::create_dir_all(source.quarantine.join(format!("sample-2.{job}"))).unwrap();
        let reason = format!(
            r#"{{"v":1,"id":"{job}","source":"default","name":"sample","attempt":1,"crashes":0,
            "code":"bad_crc","message":"verify it: CRC","chain":[],"at":"2026-01-01T00:00:00Z"}}"#
        );
        fs::write(quarantined.join("reason.json"), reason).unwrap();

        let (readiness, text) = explained(&source, "sample");

        assert_eq!(readiness, Readiness::Elsewhere);
        assert_eq!(text.matches("archived: ").count(), 2, "{text}");
        assert_eq!(text.matches("quarantined").count(), 1, "{text}");
        assert!(text.contains("bad_crc: failed to verify it: CRC"), "{text}");
        assert_eq!(text.matches("in work: claimed").count(), 1, "a name that begins alike: {text}");
    }
}

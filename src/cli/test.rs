//! `longshore test`: judges and checks ZIPs as the daemon would, and keeps nothing.
//!
//! Everything is decoded and verified. The output is discarded, so no folder is needed.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bytesize::ByteSize;
use serde::Serialize;

use super::by_hand::{self, EngineArgs};
use super::complain::complain;
use super::exit;
use crate::error::{Chain, Failure};
use crate::extract::{EntryKind, ExtractError, Options, Plan, Remark, Scratch, Unpacking};

#[derive(Debug, clap::Args)]
pub(super) struct TestArgs {
    /// The ZIPs
    #[arg(value_name = "ZIP", required = true)]
    zips: Vec<PathBuf>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    engine: EngineArgs,
}

/// The report on one ZIP. Version 1.
#[derive(Debug, Serialize)]
struct Report {
    v: u32,
    path: String,
    ok: bool,
    /// Remarks for a person, whether the ZIP is refused or not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    remarks: Vec<String>,
    #[serde(flatten)]
    found: Found,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Found {
    Sound(Contents),
    Unfit {
        /// The error's code; stable, as in `reason.json`.
        code: &'static str,
        /// Completes "failed to …".
        message: String,
        /// The advice for this code, for a person.
        #[serde(skip_serializing_if = "Option::is_none")]
        advice: Option<&'static str>,
    },
}

/// What an intact ZIP would write.
#[derive(Debug, Serialize)]
struct Contents {
    /// Files and folders in the ZIP, without skipped links.
    entries: u64,
    files: u64,
    bytes: u64,
    zip_bytes: u64,
    /// Unpacked bytes per byte of the ZIP.
    ratio: f64,
    charset: &'static str,
    /// The number of files by method.
    methods: BTreeMap<String, u64>,
    encrypted: u64,
    skipped_links: u64,
}

/// Runs the command and returns the exit code: the worst code of any ZIP.
pub(super) fn run(args: &TestArgs) -> u8 {
    let options = match args.engine.options() {
        Ok(options) => options,
        Err(error) => {
            complain(format_args!("failed to {}", Chain(&error)));
            return by_hand::code_of_options(&error);
        }
    };
    let mut scratches = by_hand::scratches();
    let mut code = exit::OK;
    for path in &args.zips {
        let mut remarks = Vec::new();
        let (found, code_here) = look(path, &options, &mut scratches, &mut remarks);
        code = code.max(code_here);
        let ok = matches!(found, Found::Sound(_));
        let remarks = remarks.iter().map(Remark::to_string).collect();
        let report = Report { v: 1, path: path.display().to_string(), ok, remarks, found };
        match say(&report, args.json) {
            Ok(()) => {}
            // The reader has closed the pipe; the exit code covers the ZIPs checked so far.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
            Err(error) => {
                complain(format_args!("failed to write to stdout: {error}"));
                return exit::IO;
            }
        }
    }
    code
}

fn look(
    path: &Path,
    options: &Options,
    scratches: &mut [Scratch],
    remarks: &mut Vec<Remark>,
) -> (Found, u8) {
    let zip = match by_hand::open(path) {
        Ok(zip) => zip,
        Err(error) => {
            let code = match by_hand::code_of_io(&error) {
                exit::NO_INPUT => "no_such_file",
                exit::PERMISSION => "permission",
                _ => "zip_read",
            };
            let message = format!("open it: {error}");
            let found = Found::Unfit { code, message, advice: None };
            return (found, by_hand::code_of_io(&error));
        }
    };
    let checked = Plan::read_remarking(&zip, options, remarks).and_then(|plan| {
        let unpacking = Unpacking::check_only(plan, zip);
        by_hand::work(&unpacking, scratches, |_| true)?;
        Ok(contents(unpacking.plan()))
    });
    match checked {
        Ok(contents) => (Found::Sound(contents), exit::OK),
        Err(error) => (unfit(&error), by_hand::code_of(&error)),
    }
}

fn unfit(error: &ExtractError) -> Found {
    let (code, message) = (error.code(), Chain(error).to_string());
    Found::Unfit { code, message, advice: Some(error.advice()) }
}

fn contents(plan: &Plan) -> Contents {
    let mut contents = Contents {
        entries: 0,
        files: 0,
        bytes: plan.total_bytes(),
        zip_bytes: plan.zip_len(),
        ratio: ratio(plan.total_bytes(), plan.zip_len()),
        charset: plan.charset().name(),
        methods: BTreeMap::new(),
        encrypted: 0,
        skipped_links: 0,
    };
    for entry in plan.entries() {
        if entry.kind == EntryKind::SkippedLink {
            contents.skipped_links += 1;
            continue;
        }
        contents.entries += 1;
        contents.encrypted += u64::from(entry.is_encrypted());
        if entry.kind == EntryKind::File {
            contents.files += 1;
            let method = format!("{:?}", entry.method).to_lowercase();
            *contents.methods.entry(method).or_default() += 1;
        }
    }
    contents
}

#[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
fn ratio(bytes: u64, zip_bytes: u64) -> f64 {
    (bytes as f64 / zip_bytes.max(1) as f64 * 100.0).round() / 100.0
}

fn say(report: &Report, json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        let line = serde_json::to_string(report)?;
        return writeln!(out, "{line}");
    }
    writeln!(out, "{}", line(report))?;
    for remark in &report.remarks {
        writeln!(out, "{INDENT}remark: {remark}")?;
    }
    match report.found {
        Found::Unfit { advice: Some(advice), .. } => writeln!(out, "{INDENT}what to do: {advice}"),
        _ => Ok(()),
    }
}

/// The indentation of further lines about a ZIP: as wide as the verdict.
const INDENT: &str = "         ";

/// Formats the report on one ZIP for a person.
fn line(report: &Report) -> String {
    // Escaped, so that names with a line break or an escape sequence stay on their line.
    let path = report.path.escape_debug();
    let contents = match &report.found {
        Found::Sound(contents) => contents,
        Found::Unfit { code, message, .. } => {
            return format!("REFUSED  {path}: {code}: failed to {message}");
        }
    };
    let methods: Vec<String> =
        contents.methods.iter().map(|(method, count)| format!("{method} {count}")).collect();
    let mut line = format!(
        "ok       {path}: {}, {} from {} ({:.2} : 1), names {}",
        by_hand::entries(contents.entries),
        ByteSize::b(contents.bytes).display().iec(),
        ByteSize::b(contents.zip_bytes).display().iec(),
        contents.ratio,
        contents.charset,
    );
    if !methods.is_empty() {
        line += &format!(", {}", methods.join(", "));
    }
    for (count, what) in
        [(contents.encrypted, "encrypted"), (contents.skipped_links, "links left out")]
    {
        if count > 0 {
            line += &format!(", {count} {what}");
        }
    }
    line
}

//! `longshore demo`: runs the pipeline on sample packages in a temporary folder, and shows the result.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use actix::{Actor, Context, Handler, Message};
use comfy_table::{Table, presets};
use slog::Level;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::args::DemoArgs;
use super::complain::complain;
use super::exit;
use crate::actors::supervisor::Ended;
use crate::actors::supervisor::signals::SignalThreads;
use crate::config::{Config, Source};
use crate::id::SourceName;
use crate::messages::{Fact, Outcome, PackageEvent};
use crate::pipeline::{Pipeline, explain};
use crate::telemetry::log;

/// The number of intact packages besides the odd ones.
const GOOD: usize = 36;

/// Runs the command and returns the exit code.
pub(super) fn run(args: &DemoArgs) -> u8 {
    match folder(args).and_then(|top| deliver(&top).map(|()| top)) {
        Ok(top) => actix::System::new().block_on(process(top)),
        Err(error) => {
            complain(format_args!("failed to make the demo's packages: {error}"));
            exit::IO
        }
    }
}

/// Creates the demo's folder. The folder is kept, so that its contents can be inspected.
fn folder(args: &DemoArgs) -> io::Result<PathBuf> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("longshore-demo-");
    let made = match &args.dir {
        Some(dir) => builder.tempdir_in(dir)?,
        None => builder.tempdir()?,
    };
    Ok(made.keep())
}

/// The packages by name, and what each is, for the table; the intact ones share a row.
const ODD: [(&str, &str); 4] = [
    ("plate-0099-downloading", "still arriving: its sender has not renamed it yet"),
    ("corrupt-0001", "a byte of its data was flipped on the way"),
    ("hostile-0001", "an entry named ../../escaped.txt"),
    ("实验-2026-11", "Chinese names, in the package and in its ZIP"),
];

fn deliver(top: &Path) -> io::Result<()> {
    let landing = top.join("landing");
    for n in 1..=GOOD {
        let name = format!("plate-{n:04}");
        let readings: Vec<(String, Vec<u8>)> = (0..4)
            .map(|well| (format!("wells/{well}.csv"), readings(n, well)))
            .chain([("summary.txt".to_owned(), format!("plate {n}\n").into_bytes())])
            .collect();
        package(&landing, &name, &name, &readings)?;
    }
    let some = |name: &str| vec![(name.to_owned(), readings(7, 7))];
    package(&landing, "plate-0099-downloading", "plate-0099", &some("summary.txt"))?;
    package(&landing, "hostile-0001", "hostile-0001", &some("../../escaped.txt"))?;
    package(&landing, "实验-2026-11", "实验-2026-11", &some("数据/读数.csv"))?;
    package(&landing, "corrupt-0001", "corrupt-0001", &some("data.bin"))?;
    let zip = landing.join("corrupt-0001").join("corrupt-0001.zip");
    let mut bytes = fs::read(&zip)?;
    let middle = bytes.len() / 3;
    bytes[middle] ^= 0x40;
    fs::write(&zip, bytes)
}

fn readings(plate: usize, well: usize) -> Vec<u8> {
    (0..200)
        .map(|t| format!("{t},{}\n", (plate * 31 + well * 7 + t * t) % 997))
        .collect::<String>()
        .into()
}

fn package(
    landing: &Path,
    folder: &str,
    name: &str,
    files: &[(String, Vec<u8>)],
) -> io::Result<()> {
    let folder = landing.join(folder);
    fs::create_dir_all(&folder)?;
    let mut zip = ZipWriter::new(File::create(folder.join(format!("{name}.zip")))?);
    for (name, bytes) in files {
        zip.start_file(name.as_str(), SimpleFileOptions::default())?;
        zip.write_all(bytes)?;
    }
    zip.finish()?.sync_all()
}

async fn process(top: PathBuf) -> u8 {
    let mut source = Source::new(SourceName::default(), top.join("landing"), top.join("archive"));
    source.settle = Duration::ZERO;
    let (log, _guard) = log::to_stderr(Level::Error, None);
    let outcomes = Outcomes::default().start();
    let pipeline = Pipeline::builder(Config::new(source))
        .logger(log.clone())
        .subscribe(outcomes.clone().recipient())
        .once();
    let mut handle = match pipeline.start() {
        Ok(handle) => handle,
        Err(error) => {
            complain(format_args!("failed to {}", explain(&error)));
            return error.exit_code();
        }
    };
    let signals = SignalThreads::start(log);
    if let Err(error) = signals.and_then(|signals| signals.listen(handle.stop_actions())) {
        complain(format_args!("failed to listen to signals: {error}"));
        return exit::INTERNAL;
    }
    let ended = handle.ended().await;
    let settled = outcomes.send(GetOutcomes).await.unwrap_or_default();
    show(&top, &settled).ok(); // the reader has closed the pipe
    if matches!(ended, Ended::Failed { .. }) { exit::INTERNAL } else { exit::OK }
}

fn show(top: &Path, settled: &[(String, Outcome)]) -> io::Result<()> {
    let of = |name: &str| settled.iter().find(|(n, _)| n == name).map(|(_, outcome)| outcome);
    let good = settled.iter().filter(|(name, outcome)| {
        name.starts_with("plate-") && matches!(outcome, Outcome::Archived { .. })
    });
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(["package", "what it is", "what became of it", "where"]);
    let (first, last) = ("plate-0001", format!("plate-{GOOD:04}"));
    table.add_row([
        format!("{first} … {last}"),
        format!("{GOOD} sound packages of five files"),
        format!("{} archived", good.count()),
        "archive/plate-…".to_owned(),
    ]);
    for (name, what) in ODD {
        let (became, place) = match of(name) {
            Some(Outcome::Archived { path }) => ("archived".to_owned(), inside(top, path)),
            Some(Outcome::Quarantined { code, path, .. }) => {
                (format!("quarantined: {code}"), inside(top, path))
            }
            Some(other) => (format!("{other:?}"), String::new()),
            None => ("left alone".to_owned(), format!("landing/{name}")),
        };
        table.add_row([name.to_owned(), what.to_owned(), became, place]);
    }
    let mut out = io::stdout().lock();
    writeln!(out, "{table}\n")?;
    writeln!(out, "All of it is in {}", top.display())?;
    writeln!(out, "  archive/NAME/     the delivered ZIP and what was in it, side by side")?;
    writeln!(out, "  quarantine/*/     delivered/ as it came, and reason.json, which says why")?;
    writeln!(out, "Nothing was written outside; remove the folder when you have seen it.")
}

fn inside(top: &Path, path: &Path) -> String {
    path.strip_prefix(top).unwrap_or(path).display().to_string()
}

/// Keeps the outcome of each package.
#[derive(Default)]
struct Outcomes(Vec<(String, Outcome)>);

impl Actor for Outcomes {
    type Context = Context<Self>;
}

impl Handler<PackageEvent> for Outcomes {
    type Result = ();

    fn handle(&mut self, event: PackageEvent, _: &mut Self::Context) {
        if let Fact::Settled(outcome) = event.fact {
            self.0.push((event.name, outcome));
        }
    }
}

#[derive(Message)]
#[rtype(result = "Vec<(String, Outcome)>")]
struct GetOutcomes;

impl Handler<GetOutcomes> for Outcomes {
    type Result = Vec<(String, Outcome)>;

    fn handle(&mut self, _: GetOutcomes, _: &mut Self::Context) -> Self::Result {
        self.0.clone()
    }
}

//! The arguments of the command line.

use std::path::PathBuf;

use clap::{ArgAction, Parser, Subcommand};

use super::logs::LogsArgs;
use super::source::{SourceArgs, Words, words};
use super::test::TestArgs;
use super::unpack::UnpackArgs;

/// Takes data packages out of a landing directory, unpacks them safely, and files them in an archive.
///
/// A package is a folder NAME/ that holds NAME.zip; while it is called NAME-downloading, or is still
/// changing, it is left alone. Each package is taken exactly once. What cannot be unpacked goes to
/// the quarantine, whole, with the reason beside it.
#[derive(Debug, Parser)]
#[command(name = "longshore", version, max_term_width = 100)]
pub(super) struct Args {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Watch the landing and process every package, until stopped
    #[command(after_long_help = RUN_HELP)]
    Run(RunArgs),
    /// Say which rule holds a folder in the landing back, and what is known of its name
    Explain(ExplainArgs),
    /// Show what a package's command printed, now or before
    #[command(after_long_help = LOGS_HELP)]
    Logs(LogsArgs),
    /// Make sample packages (good, incomplete, corrupt, hostile) in a temporary folder and run on them
    Demo(DemoArgs),
    /// Check ZIPs as the daemon would, and keep nothing
    #[command(after_long_help = ZIP_HELP)]
    Test(TestArgs),
    /// Unpack one ZIP by hand, all of it or nothing
    #[command(after_long_help = ZIP_HELP)]
    Unpack(UnpackArgs),
}

const ZIP_HELP: &str = "\
Exit codes:
    0  done
    1  refused: the ZIP breaks a rule, or the folder is not empty
    2  usage
   66  no such file
   74  I/O error, or no space
   77  a permission is missing";

const LOGS_HELP: &str = "\
The first line says which package and attempt it is, and what was run; the last one, how that ended.

Examples:
  longshore logs plate-0001 --landing /srv/landing
  longshore logs 01JD0V --config /etc/longshore.toml --attempt 1
  longshore logs plate-0001 --state /var/lib/longshore -f

Exit codes:
    0  done
    2  usage
   66  there is none
   74  I/O error";

const RUN_HELP: &str = "\
Signals:
  SIGTERM, SIGINT  take nothing new, finish what is in flight (for `grace`, 30s), then stop
  a second one     stop at once
  SIGQUIT          stop at once
  SIGUSR1, SIGUSR2, SIGALRM, …  are logged and ignored
A stop that is not over 10s after `grace` becomes a stop at once.
What a stop leaves unfinished lies in the work area; the next start goes on from there.

Exit codes:
    0  done, or stopped as asked
    1  --once: a package failed, or had to be left in the landing
    2  usage
   69  the ledger cannot be reached
   70  the pipeline would not stay up
   71  this process may have too few threads or files
   74  I/O error, or nothing moved for `once_wait`
   75  another longshore has this landing, work area or state folder
   77  a permission is missing
   78  the configuration cannot work
  128+N  stopped at once by signal N

Examples:
  longshore run --landing /srv/landing --archive /srv/archive
  longshore run --landing in --archive out --once --settle 0s
  longshore run --landing in --archive out --process 'python3 /opt/analyse.py {dir}'
  longshore run --config /etc/longshore.toml";

#[derive(Debug, clap::Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    pub(super) source: SourceArgs,
    /// Extractor threads [default: one a core]
    #[arg(long, value_name = "N")]
    pub(super) workers: Option<usize>,
    /// A command to run over what was unpacked, in its folder, before it is archived: split into words
    /// as a shell does, and run without one. {dir}, {delivered}, {name}, {source}, {job} and {attempt}
    /// stand for the package's; exit code 75 asks for another attempt, others than 0 quarantine it
    #[arg(long, value_name = "CMD", value_parser = words)]
    pub(super) process: Option<Words>,
    /// Process what lies in the landing now, and exit: waits for what has to settle, not for what is
    /// incomplete
    #[arg(long)]
    pub(super) once: bool,
    /// Log more: -v says what is looked at and why
    #[arg(short, long, action = ArgAction::Count, conflicts_with = "quiet")]
    pub(super) verbose: u8,
    /// Log warnings and errors only
    #[arg(short, long)]
    pub(super) quiet: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct ExplainArgs {
    #[command(flatten)]
    pub(super) source: SourceArgs,
    /// The folder's name in the landing
    pub(super) name: String,
}

#[derive(Debug, clap::Args)]
pub(super) struct DemoArgs {
    /// Where to make the demo's folder [default: the system's temporary folder]
    #[arg(long, value_name = "DIR")]
    pub(super) dir: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the numbers at the start of lines, with or without the frame of a table.
    fn codes(text: &str) -> Vec<u32> {
        let number = |line: &str| {
            let line = line.trim_start_matches(['|', ' ']);
            line.split([' ', '|', '+']).next().and_then(|word| word.parse().ok())
        };
        text.lines().skip_while(|line| !line.contains("Exit codes")).filter_map(number).collect()
    }

    #[test]
    fn help_and_readme_have_the_same_exit_codes() {
        let readme = codes(include_str!("../../README.md"));
        let elsewhere = 66; // explain, logs, test and unpack
        assert!(codes(LOGS_HELP).contains(&elsewhere) && codes(ZIP_HELP).contains(&elsewhere));
        let run: Vec<u32> = readme.iter().copied().filter(|&code| code != elsewhere).collect();
        assert_eq!(codes(RUN_HELP), run);
        for help in [LOGS_HELP, ZIP_HELP] {
            assert!(codes(help).iter().all(|code| readme.contains(code)), "{help}");
        }
    }
}

//! The output of `--once`: a bar on a terminal, one line per package elsewhere, and a summary.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Instant;

use actix::{Actor, AsyncContext, Context, Handler, Message};
use indicatif::{ProgressBar, ProgressStyle};

use crate::messages::{Fact, Outcome, PackageEvent};

/// The outcomes of the packages so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) archived: u64,
    pub(super) discarded: u64,
    /// The number of quarantined packages by code.
    pub(super) quarantined: BTreeMap<String, u64>,
    /// Packages that stay in the landing until a person changes something.
    pub(super) held_back: u64,
}

impl Tally {
    /// Returns the number of packages that failed: quarantined or held back.
    pub(super) fn failed(&self) -> u64 {
        self.quarantined.values().sum::<u64>() + self.held_back
    }

    fn add(&mut self, fact: &Fact) {
        match fact {
            Fact::Settled(Outcome::Archived { .. }) => self.archived += 1,
            Fact::Settled(Outcome::Discarded) => self.discarded += 1,
            Fact::Settled(Outcome::Quarantined { code, .. }) => {
                *self.quarantined.entry(code.clone()).or_default() += 1;
            }
            Fact::HeldBack { .. } => self.held_back += 1,
            _ => {}
        }
    }

    /// Formats the summary: `3 archived, 2 quarantined (bad_crc 2)`.
    fn summary(&self) -> String {
        let mut parts = vec![format!("{} archived", self.archived)];
        if !self.quarantined.is_empty() {
            let codes: Vec<String> =
                self.quarantined.iter().map(|(code, n)| format!("{code} {n}")).collect();
            let sum: u64 = self.quarantined.values().sum();
            parts.push(format!("{sum} quarantined ({})", codes.join(", ")));
        }
        for (count, what) in
            [(self.discarded, "discarded"), (self.held_back, "left in the landing")]
        {
            if count > 0 {
                parts.push(format!("{count} {what}"));
            }
        }
        parts.join(", ")
    }
}

/// Creates the bar for a terminal.
pub(super) fn bar() -> ProgressBar {
    let style =
        ProgressStyle::with_template("{spinner} {pos}/{len} packages {wide_bar} {elapsed} {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(0).with_style(style)
}

/// Receives every event, and shows it.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    /// Lines not yet written: the lines of a burst are written together.
    lines: String,
    tally: Tally,
    since: Instant,
}

impl Progress {
    pub(super) fn new(bar: Option<ProgressBar>) -> Self {
        Self { bar, lines: String::new(), tally: Tally::default(), since: Instant::now() }
    }

    fn show(&mut self, event: &PackageEvent, ctx: &mut Context<Self>) {
        match (&self.bar, &event.fact) {
            (Some(bar), Fact::Accepted { .. }) => bar.inc_length(1),
            (Some(bar), Fact::Settled(Outcome::Retry { .. })) => bar.set_message("retrying"),
            (Some(bar), Fact::Settled(_) | Fact::Vanished) => bar.inc(1),
            // The log reports the start of the pause once, and its end.
            (None, Fact::Settled(Outcome::Retry { pause_source: true, .. })) => {}
            (None, Fact::Settled(outcome)) => {
                if self.lines.is_empty() {
                    ctx.notify(WriteLines); // after the messages in the mailbox
                }
                self.lines.push_str(&line(event, outcome));
            }
            _ => {}
        }
    }

    fn write(&mut self) {
        let mut out = io::stdout().lock();
        // An error means that the reader of stdout is gone.
        out.write_all(self.lines.as_bytes()).and_then(|()| out.flush()).ok();
        self.lines.clear();
    }
}

/// Progress → itself: write the pending lines.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct WriteLines;

impl Handler<WriteLines> for Progress {
    type Result = ();

    fn handle(&mut self, _: WriteLines, _: &mut Self::Context) {
        self.write();
    }
}

/// Formats one line for a package: the outcome, its name, where it is now or why.
fn line(event: &PackageEvent, outcome: &Outcome) -> String {
    let name = &event.name;
    match outcome {
        Outcome::Archived { path } => format!("archived     {name} -> {}\n", path.display()),
        Outcome::Quarantined { code, path, .. } => {
            format!("quarantined  {name} -> {} ({code})\n", path.display())
        }
        Outcome::Discarded => format!("discarded    {name}\n"),
        Outcome::Vanished => format!("vanished     {name}\n"),
        Outcome::Retry { code, .. } => format!("retrying     {name} ({code})\n"),
    }
}

impl Actor for Progress {
    type Context = Context<Self>;
}

impl Handler<PackageEvent> for Progress {
    type Result = ();

    fn handle(&mut self, event: PackageEvent, ctx: &mut Self::Context) {
        self.tally.add(&event.fact);
        self.show(&event, ctx);
    }
}

/// Ends the display: prints the summary and returns the counts.
#[derive(Debug, Message)]
#[rtype(result = "Tally")]
pub(super) struct GetTally;

impl Handler<GetTally> for Progress {
    type Result = actix::MessageResult<GetTally>;

    fn handle(&mut self, _: GetTally, _: &mut Self::Context) -> Self::Result {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        self.write();
        let seconds = self.since.elapsed().as_secs_f64();
        super::complain::complain(format_args!("{} in {seconds:.1} s", self.tally.summary()));
        actix::MessageResult(self.tally.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tally_counts_what_failed_and_says_why() {
        let mut tally = Tally::default();
        let quarantined = |code: &str| {
            Fact::Settled(Outcome::Quarantined {
                code: code.to_owned(),
                why: "it is broken".to_owned(),
                path: "/q".into(),
            })
        };
        tally.add(&Fact::Settled(Outcome::Archived { path: "/a".into() }));
        tally.add(&quarantined("bad_crc"));
        tally.add(&quarantined("bad_crc"));
        tally.add(&Fact::HeldBack { code: "not_writable", why: "chmod it".to_owned() });
        assert_eq!(tally.failed(), 3);
        assert_eq!(tally.summary(), "1 archived, 2 quarantined (bad_crc 2), 1 left in the landing");
    }
}

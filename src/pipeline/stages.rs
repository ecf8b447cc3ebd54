//! The stages between the extractors and the Archiver: the order of the stages, for each source.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use actix::Recipient;
use thiserror::Error;

use super::processing;
use crate::actors::Outlet;
use crate::actors::outlet::Hop;
use crate::config::Source;
use crate::id::SourceName;
use crate::messages::{StageName, Unpacked};

/// The default number of packages that a stage may park at the same time.
const PARKING: usize = 1000;

/// A stage as added to the pipeline.
pub(super) struct Stage {
    pub(super) name: StageName,
    /// The source whose packages pass it; `None` for all sources.
    pub(super) source: Option<SourceName>,
    start: Box<dyn Fn(Outlet) -> Recipient<Unpacked>>,
    pub(super) deadline: Option<Duration>,
    pub(super) parking: usize,
}

impl Stage {
    pub(super) fn new(
        name: &str,
        source: Option<SourceName>,
        start: impl Fn(Outlet) -> Recipient<Unpacked> + 'static,
    ) -> Self {
        let (name, start) = (StageName::from(name), Box::new(start));
        Self { name, source, start, deadline: None, parking: PARKING }
    }
}

/// Why the stages cannot be used as added. Completes "failed to …".
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StageFault {
    /// A setting for the stage before it was made before any stage was added.
    #[error("set .{setting}(…) before any stage: call it right after the .stage(…) that it is for")]
    NoStage {
        /// The method.
        setting: &'static str,
    },
    /// Its source is not configured.
    #[error("add stage {stage:?} for source {wanted}, which is not configured; there is {known}")]
    UnknownSource {
        /// The stage.
        stage: StageName,
        /// The source as given.
        wanted: SourceName,
        /// The configured sources, separated by commas.
        known: String,
    },
    /// Another stage has its name.
    #[error(
        "add a second stage of the name {stage:?}: log, status and ledger tell stages apart by their \
         names, so give each its own"
    )]
    SameName {
        /// The name.
        stage: StageName,
    },
    /// Its name is empty, or is that of the processing command's stage.
    #[error("add a stage of the name {stage:?}: choose one that is not empty, nor \"processor\"")]
    BadName {
        /// The name.
        stage: StageName,
    },
}

/// Checks the stages against each other and against the configured sources.
pub(super) fn check(stages: &[Stage], sources: &[Source]) -> Result<(), StageFault> {
    for (at, stage) in stages.iter().enumerate() {
        let name = || Arc::clone(&stage.name);
        if stage.name.trim().is_empty() || *stage.name == *processing::STAGE {
            return Err(StageFault::BadName { stage: name() });
        }
        if stages[..at].iter().any(|other| other.name == stage.name) {
            return Err(StageFault::SameName { stage: name() });
        }
        if let Some(wanted) = &stage.source
            && !sources.iter().any(|source| source.name == *wanted)
        {
            let known: Vec<&str> = sources.iter().map(|source| source.name.as_str()).collect();
            let (wanted, known) = (wanted.clone(), known.join(", "));
            return Err(StageFault::UnknownSource { stage: name(), wanted, known });
        }
    }
    Ok(())
}

#[cfg(any(test, feature = "testkit"))]
impl super::Pipeline {
    /// Adds kill points to the stages added so far, for tests that make them panic.
    pub(crate) fn with_kill_points(
        mut self,
        mut points: impl FnMut(&str) -> crate::actors::outlet::KillPoints,
    ) -> Self {
        for stage in &mut self.stages {
            let points = points(&stage.name);
            let start = std::mem::replace(&mut stage.start, Box::new(|_| unreachable!()));
            stage.start = Box::new(move |outlet| start(outlet.with_kill_points(points.clone())));
        }
        self
    }
}

/// Starts the stages, the last one first, so that the next stage is alive when a stage starts. Returns
/// where each source's packages go from the extractors.
///
/// `first` is where packages go after the last stage; `outlet` creates the exit of a stage, given where
/// packages go after it.
pub(super) fn start<'a>(
    stages: impl DoubleEndedIterator<Item = &'a Stage>,
    mut first: HashMap<SourceName, Hop>,
    moved: &Recipient<crate::messages::PackageMoved>,
    outlet: impl Fn(&Stage, HashMap<SourceName, Hop>) -> Outlet,
) -> HashMap<SourceName, Hop> {
    for stage in stages.rev() {
        let next = first.clone();
        let to = (stage.start)(outlet(stage, next));
        let hop = Hop { stage: Some(Arc::clone(&stage.name)), to, moved: moved.clone() };
        for (source, way) in &mut first {
            if stage.source.as_ref().is_none_or(|only| only == source) {
                *way = hop.clone();
            }
        }
    }
    first
}

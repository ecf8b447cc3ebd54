//! Every message between actors. Names no actor: peers know each other as `Recipient<M>`.
//!
//! Facts are noun + past participle, commands are imperative, queries begin with `Get`.

mod event;
mod health;
mod intake;

use std::fmt;

use actix::{Message, Recipient};

pub use event::{Fact, PackageEvent};
#[cfg(any(test, feature = "testkit"))]
pub use health::Panic;
pub use health::{ActorHealth, GetHealth, GetStatus, Health, Ping, Status, ThreadHealth};
pub use intake::{Drain, SetIntake};

pub use crate::job::{Form, FoundBy, JobSpec, Origin, Outcome, SliceWork, StageName, Work};

use crate::error::Failure;
use crate::id::{JobId, PackageName, SourceName};
use crate::package::{FolderId, Package};

/// Watcher → Dispatcher: a package in the landing is complete by every rule.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[rtype(result = "Admission")]
pub struct PackageReady {
    /// The landing's source.
    pub source: SourceName,
    /// The folder's name.
    pub name: PackageName,
    /// The folder itself (for [`Form::Zip`]: the file).
    pub identity: FolderId,
    /// Folder or bare ZIP.
    pub form: Form,
    /// By event or by scan.
    pub found_by: FoundBy,
}

/// The Dispatcher's answer to an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// The package is in the queue now; it stays in the landing until an extractor claims it.
    Accepted,
    /// A package of this source and name is in work already. This one waits in the landing.
    Known,
    /// The queue is full: offer nothing more until a [`Vacancy`] of this epoch or a later one.
    Full {
        /// The number of the next vacancy.
        epoch: u64,
    },
}

/// Dispatcher → Watcher: there is room again, or a name is free again. Look again.
///
/// A vacancy at or beyond a `Full`'s epoch cancels that `Full`, whichever of the two is handled first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct Vacancy {
    /// Only increases.
    pub epoch: u64,
}

/// Dispatcher → Extractor pool. Has no other sender: the pool's queue is unbounded.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Extract {
    /// Open or slice.
    pub work: Work,
    /// Counts the work: each `Extract` is answered by exactly one [`ExtractReport`].
    pub report_to: Recipient<ExtractReport>,
}

/// Extractor → Dispatcher: one [`Extract`] has ended. The report is for counting and for freeing
/// capacity only; the package's result comes by [`Unpacked`] and [`Rejected`].
#[derive(Message)]
#[rtype(result = "()")]
#[non_exhaustive]
pub enum ExtractReport {
    /// An `Open` ended. Its slices are still to be dealt; there are none if the package was finished on the
    /// spot or rejected.
    Planned {
        /// The job.
        job: JobId,
        /// Bytes unpacked on the spot.
        bytes: u64,
        /// The slices, in the order of the file.
        slices: Vec<Box<dyn SliceWork>>,
    },
    /// A slice ended, successfully or not.
    SliceEnded {
        /// The job.
        job: JobId,
    },
    /// The package was no longer in the landing, or another folder had its name.
    Vanished {
        /// The job, which ends here.
        job: JobId,
    },
    /// The package exists but cannot be claimed. It stays where it is.
    ClaimRefused {
        /// The job, which ends here.
        job: JobId,
        /// Why, and what to change; for the log.
        error: Box<dyn Failure>,
        /// False if the last claim of this very folder was refused for the same reason.
        is_news: bool,
    },
}

impl ExtractReport {
    /// Returns the job of this report.
    #[must_use]
    pub fn job(&self) -> JobId {
        match self {
            Self::Planned { job, .. }
            | Self::SliceEnded { job }
            | Self::Vanished { job }
            | Self::ClaimRefused { job, .. } => *job,
        }
    }
}

impl fmt::Debug for ExtractReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Planned { job, slices, .. } => {
                f.debug_struct("Planned").field("job", job).field("slices", &slices.len()).finish()
            }
            Self::SliceEnded { job } => f.debug_struct("SliceEnded").field("job", job).finish(),
            Self::Vanished { job } => f.debug_struct("Vanished").field("job", job).finish(),
            Self::ClaimRefused { job, error, is_news } => f
                .debug_struct("ClaimRefused")
                .field("job", job)
                .field("error", error)
                .field("is_news", is_news)
                .finish(),
        }
    }
}

/// Extractor → first stage → … → Archiver: a package is unpacked and verified, in its `.done`.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Unpacked {
    /// The package; its receiver passes it on or rejects it.
    pub package: Package,
}

/// Holder of a package → Archiver: the package cannot continue.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Rejected {
    /// The package, wherever it is on its way.
    pub package: Package,
    /// Its disposition decides what becomes of the package.
    pub error: Box<dyn Failure>,
}

/// Archiver → Dispatcher: the job or its attempt has ended. The Dispatcher queues the next attempt.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct JobSettled {
    /// The job.
    pub job: JobId,
    /// The attempt that ended; a message about an older one is ignored.
    pub attempt: u32,
    /// Archived, quarantined, discarded, vanished, or another attempt.
    pub outcome: Outcome,
}

/// Start-up → Dispatcher: the jobs found in the work area, before any package is offered.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct JobsRecovered {
    /// Jobs to be extracted again from the start.
    pub extract: Vec<JobSpec>,
    /// Jobs already on their way to the archive or quarantine: counted until they are settled.
    pub settling: Vec<JobSpec>,
}

/// Watcher → Dispatcher: everything that was in the landing at the start has been offered, or is not
/// ready and will not be judged. `--once` waits for this.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct FirstScanEnded {
    /// The source of the scanned landing.
    pub source: SourceName,
}

/// Watcher → Dispatcher, once at the Watcher's start: where to send the source's vacancies.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct WatcherStarted {
    /// The source.
    pub source: SourceName,
    /// The Watcher.
    pub vacancy: Recipient<Vacancy>,
}

/// Dispatcher → Supervisor: every first scan has ended and no job is left. Sent once; `--once` waits for
/// this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct AllSettled;

/// Where an unpacked package is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whereabouts {
    /// With a stage.
    Stage(StageName),
    /// Parked by a stage until something else arrives.
    Parked(StageName),
    /// With the Archiver.
    Archiver,
}

/// Outlet → Dispatcher: an unpacked package moves to another place. Sent before the package.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct PackageMoved {
    /// The job.
    pub job: JobId,
    /// Its attempt.
    pub attempt: u32,
    /// Where it goes.
    pub to: Whereabouts,
}

/// Dispatcher → Archiver: a stage has had a package for longer than allowed. The attempt is over,
/// whatever the stage does with it later.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct StageOverdue {
    /// The attempt that is over.
    pub spec: JobSpec,
    /// Decides what becomes of the package.
    pub error: Box<dyn Failure>,
}

/// The kind of a stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopMode {
    /// Take nothing new, finish what is in flight.
    Graceful,
    /// Leave everything where it is: the next start resumes from there.
    Immediate,
}

/// Supervisor → every actor: stop. The answer comes when the stop is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct Shutdown {
    /// Graceful or immediate.
    pub mode: StopMode,
}

/// Makes types plain answers of handlers. `MessageResult` would do, but a plain value reads better at both
/// ends.
macro_rules! plain_answer {
    ($($answer:ty),*) => {$(
        impl<A, M> actix::dev::MessageResponse<A, M> for $answer
        where
            A: actix::Actor,
            M: Message<Result = $answer>,
        {
            fn handle(self, _: &mut A::Context, tx: Option<actix::dev::OneshotSender<$answer>>) {
                if let Some(tx) = tx {
                    tx.send(self).ok(); // a caller that is gone can ask again
                }
            }
        }
    )*};
}

plain_answer!(Admission, Status, Health);

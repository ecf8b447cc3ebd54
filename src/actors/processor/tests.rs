//! Tests the Processor alone: the tests provide the runner.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex};

use actix::Addr;
use tokio::sync::mpsc;

use super::*;
use crate::actors::lifeline::Lifeline;
use crate::actors::outlet::{Hop, Wiring};
use crate::actors::post::post_to;
use crate::error::Disposition;
use crate::id::{JobId, PackageName, SourceName};
use crate::messages::{PackageMoved, Rejected};
use crate::package::PackageFacts;
use crate::testkit::Probe;

/// Returns the result of a run by its package's name.
type Script = fn(&str) -> Result<(), ProcessorError>;

/// Reports the start of each run, which blocks until the test releases it, or until the stop.
struct Scripted {
    script: Script,
    begun: mpsc::UnboundedSender<String>,
    gate: Mutex<Gate>,
    turn: Condvar,
    running: AtomicUsize,
    most: AtomicUsize,
}

#[derive(Default)]
struct Gate {
    /// The number of runs that may end.
    open: usize,
    stopped: bool,
}

impl Scripted {
    fn let_go(&self, runs: usize) {
        self.gate.lock().unwrap().open += runs;
        self.turn.notify_all();
    }
}

impl Runner for Scripted {
    fn run(&self, package: &PackageFacts, _: Option<ZipStamp>) -> Ran {
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(running, Ordering::SeqCst);
        self.begun.send(package.name.to_string()).unwrap();
        let gate = self.gate.lock().unwrap();
        let mut gate = self.turn.wait_while(gate, |gate| gate.open == 0 && !gate.stopped).unwrap();
        let stopped = gate.stopped;
        gate.open = gate.open.saturating_sub(1);
        drop(gate);
        self.running.fetch_sub(1, Ordering::SeqCst);
        let verdict = (self.script)(package.name.as_str());
        Ran {
            verdict,
            stopped,
            log: Some("/logs/1".into()),
            notes: vec![("exit_code", "0".into())],
        }
    }

    fn stop(&self) {
        self.gate.lock().unwrap().stopped = true;
        self.turn.notify_all();
    }

    fn tidy(&self) {}
}

struct Stand {
    processor: Addr<Processor>,
    runner: Arc<Scripted>,
    begun: mpsc::UnboundedReceiver<String>,
    passed: Probe<Unpacked>,
    rejected: Probe<Rejected>,
    lost: Arc<Mutex<Vec<String>>>,
    _moved: Probe<PackageMoved>,
}

fn stand(workers: usize, script: Script) -> Stand {
    let (tell, begun) = mpsc::unbounded_channel();
    let runner = Arc::new(Scripted {
        script,
        begun: tell,
        gate: Mutex::default(),
        turn: Condvar::new(),
        running: AtomicUsize::new(0),
        most: AtomicUsize::new(0),
    });
    let (passed, rejected, moved) = (Probe::start(), Probe::start(), Probe::start());
    let hop = Hop { stage: None, to: passed.recipient(), moved: moved.recipient() };
    let log = Logger::root(slog::Discard, slog::o!());
    let outlet = Outlet::new(Wiring {
        stage: "processor".into(),
        next: HashMap::from([(SourceName::default(), hop)]),
        rejected: rejected.recipient(),
        moved: moved.recipient(),
        parking: 0,
        log: log.clone(),
        lifeline: Lifeline::loose(),
    });
    let as_runner: Arc<dyn Runner> = runner.clone();
    let processor = Processor::new(as_runner, workers, outlet, log, Hold::loose()).start();
    Stand { processor, runner, begun, passed, rejected, lost: Arc::default(), _moved: moved }
}

impl Stand {
    fn send(&self, name: &str) {
        let facts = PackageFacts {
            source: SourceName::default(),
            name: PackageName::new(name).unwrap(),
            job: JobId::generate(),
            attempt: 1,
            home: "/work/job".into(),
            entries: 0,
            bytes: 0,
            untouched: false,
        };
        let lost = Arc::clone(&self.lost);
        let lost = move |package: Package| lost.lock().unwrap().push(package.name().to_string());
        let package = Package::new(facts, Some(Arc::new(lost)));
        assert!(post_to(&self.processor, Unpacked { package }), "the processor is gone");
    }

    fn lost(&self) -> Vec<String> {
        let mut lost = self.lost.lock().unwrap().clone();
        lost.sort();
        lost
    }
}

#[actix::test]
async fn processor_whose_command_succeeds_passes_its_package_with_notes() {
    let mut stand = stand(1, |_| Ok(()));
    stand.send("plate");
    stand.runner.let_go(1);
    let Unpacked { package } = stand.passed.next().await;
    let notes = [("exit_code", "0"), ("log", "/logs/1")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    assert_eq!(package.notes(), notes);
    package.settle();
    assert!(stand.rejected.drain().await.is_empty());
}

#[actix::test]
async fn processor_whose_command_fails_rejects_its_package_as_the_failure_says() {
    let mut stand = stand(2, |name| match name {
        "later" => Err(ProcessorError::Deferred { output: Vec::new() }),
        _ => Err(ProcessorError::Failed { code: 3, output: vec!["last words".to_owned()] }),
    });
    stand.runner.let_go(2);
    stand.send("broken");
    stand.send("later");
    for _ in 0..2 {
        let Rejected { package, error } = stand.rejected.next().await;
        let (code, disposition) = match package.name().as_str() {
            "later" => ("command_deferred", Disposition::Retry),
            _ => ("command_failed", Disposition::Quarantine),
        };
        assert_eq!((error.code(), error.disposition()), (code, disposition));
        assert_eq!(error.output().len(), usize::from(package.name().as_str() == "broken"));
        assert_eq!(package.notes().len(), 2, "it lacks its notes");
        package.settle();
    }
    assert!(stand.passed.drain().await.is_empty());
}

#[actix::test]
async fn processor_of_two_workers_runs_two_commands_at_a_time() {
    let mut stand = stand(2, |_| Ok(()));
    for n in 0..6 {
        stand.send(&format!("plate-{n}"));
    }
    let first = [stand.begun.recv().await.unwrap(), stand.begun.recv().await.unwrap()];
    assert!(first.contains(&"plate-0".to_owned()) && first.contains(&"plate-1".to_owned()));
    stand.runner.let_go(6);
    for _ in 0..6 {
        stand.passed.next().await.package.settle();
    }
    assert_eq!(stand.runner.most.load(Ordering::SeqCst), 2);
    assert_eq!(stand.lost(), [""; 0]);
}

#[actix::test]
async fn processor_that_is_stopped_answers_when_its_command_has_ended_and_leaves_its_packages() {
    let mut stand = stand(1, |_| Err(ProcessorError::Killed { signal: 9, output: Vec::new() }));
    for name in ["a", "b", "c"] {
        stand.send(name);
    }
    assert_eq!(stand.begun.recv().await.unwrap(), "a");
    stand.processor.send(Shutdown { mode: StopMode::Immediate }).await.unwrap();
    assert_eq!(stand.runner.running.load(Ordering::SeqCst), 0, "a command was still running");
    // "a" stays for the next start. The others were not begun, and are reported by their drop.
    assert_eq!(stand.lost(), ["b", "c"], "a package whose command the stop ended is not lost");
    assert!(stand.passed.drain().await.is_empty());
    assert!(stand.rejected.drain().await.is_empty(), "a stop was taken for a failure");
    assert!(stand.begun.try_recv().is_err(), "a command began after the stop");
}

#[actix::test]
async fn processor_whose_runner_panics_rejects_that_package_and_goes_on() {
    let mut stand = stand(1, |name| {
        assert!(name != "poison", "as the test wants it");
        Ok(())
    });
    stand.runner.let_go(2);
    stand.send("poison");
    stand.send("plate");
    let Rejected { package, error } = stand.rejected.next().await;
    assert_eq!((package.name().as_str(), error.code()), ("poison", "processor_panicked"));
    package.settle();
    stand.passed.next().await.package.settle();
}

//! Tests the Supervisor through its messages.

use std::cell::RefCell;
use std::rc::Rc;

use actix::Recipient;

use super::*;
use crate::messages::Ping;
use crate::testkit::Probe;

fn discard() -> Logger {
    Logger::root(slog::Discard, slog::o!())
}

type Order = Rc<RefCell<Vec<(&'static str, StopMode)>>>;

fn probe(order: &Order, name: &'static str) -> Recipient<Shutdown> {
    let order = Rc::clone(order);
    Probe::answering(move |stop: &Shutdown| order.borrow_mut().push((name, stop.mode))).recipient()
}

fn all(order: &Order) -> Peers {
    Peers {
        watchers: vec![probe(order, "watcher")],
        dispatcher: Some(probe(order, "dispatcher")),
        processors: vec![probe(order, "processor")],
        archiver: Some(probe(order, "archiver")),
        rest: vec![("event bus", probe(order, "event bus"))],
        ..Peers::default()
    }
}

fn never_again() -> Raise {
    Box::new(|| Box::pin(async { Err("as the test wants it".to_owned()) }))
}

#[actix::test]
async fn supervisor_asked_to_stop_stops_along_the_datas_way() {
    let order = Order::default();
    let peers = all(&order);
    let ending = peers.ending.clone();
    let (tell, told) = oneshot::channel();
    let supervisor =
        Supervisor::new(peers, never_again(), Duration::from_secs(30), tell, discard()).start();
    supervisor.send(StopRequested { mode: StopMode::Graceful, by: "a test" }).await.unwrap();
    assert_eq!(told.await.unwrap(), Ended::Drained);
    let expected = [
        ("watcher", StopMode::Graceful),
        ("dispatcher", StopMode::Graceful),
        ("dispatcher", StopMode::Immediate),
        ("archiver", StopMode::Graceful),
        ("processor", StopMode::Immediate),
        ("archiver", StopMode::Immediate),
        ("event bus", StopMode::Immediate),
    ];
    assert_eq!(*order.borrow(), expected);
    assert!(ending.has_begun());
}

#[actix::test]
async fn supervisor_that_loses_an_actor_ends_the_others_and_starts_all_anew() {
    let order = Order::default();
    let mut peers = all(&order);
    let (hold, released) = super::super::lifeline::Hold::new();
    peers.released = Some(released);
    let (old, raised) = (peers.ending.clone(), Rc::new(std::cell::Cell::new(0)));
    let (count, again) = (Rc::clone(&raised), Order::default());
    let new = Rc::clone(&again);
    let raise: Raise = Box::new(move || {
        let (count, peers) = (Rc::clone(&count), all(&new));
        Box::pin(async move {
            count.set(count.get() + 1);
            Ok(peers)
        })
    });
    let (tell, told) = oneshot::channel();
    let supervisor =
        Supervisor::new(peers, raise, Duration::from_secs(30), tell, discard()).start();
    supervisor.send(ActorLost { name: "archiver" }).await.unwrap();
    // Another actor that is lost at the same time does not cause a second restart.
    supervisor.send(ActorLost { name: "dispatcher" }).await.unwrap();
    supervisor.send(StopRequested { mode: StopMode::Graceful, by: "a test" }).await.unwrap();
    assert_eq!(raised.get(), 0, "the next one was started beside a thread of the first");
    drop(hold);
    assert_eq!(told.await.unwrap(), Ended::Drained);
    assert_eq!(raised.get(), 1);
    assert!(old.has_begun());
    let expected = [
        ("watcher", StopMode::Graceful),
        ("archiver", StopMode::Graceful),
        ("dispatcher", StopMode::Immediate),
        ("processor", StopMode::Immediate),
        ("archiver", StopMode::Immediate),
        ("event bus", StopMode::Immediate),
    ];
    assert_eq!(*order.borrow(), expected, "the Archiver was not heard out before the others went");
    assert_eq!(again.borrow().len(), 7, "the stop was forgotten over the restart");
}

#[actix::test]
async fn supervisor_that_loses_actors_again_and_again_gives_up_and_names_the_last() {
    let raise: Raise = Box::new(|| Box::pin(async { Ok(Peers::default()) }));
    let (tell, mut told) = oneshot::channel();
    let supervisor =
        Supervisor::new(Peers::default(), raise, Duration::from_secs(1), tell, discard()).start();
    for lost in 0..=RESTARTS {
        assert!(told.try_recv().is_err(), "it gave up after {lost} restarts");
        supervisor.send(ActorLost { name: "archiver" }).await.unwrap();
        // The answer comes when the restart is over, or never if the actor is gone.
        while supervisor.send(GetHealth).await.is_ok_and(|health| health.restarts == lost) {}
        tokio::task::yield_now().await;
    }
    assert_eq!(told.await.unwrap(), Ended::Failed { actor: "archiver" });
}

#[actix::test]
async fn supervisor_that_cannot_start_the_pipeline_again_ends_and_names_who_was_lost() {
    let (tell, told) = oneshot::channel();
    let grace = Duration::from_secs(1);
    let supervisor =
        Supervisor::new(Peers::default(), never_again(), grace, tell, discard()).start();
    supervisor.send(ActorLost { name: "archiver" }).await.unwrap();
    assert_eq!(told.await.unwrap(), Ended::Failed { actor: "archiver" });
}

#[actix::test]
async fn supervisor_asks_every_actor_and_tells_which_one_hangs() {
    tokio::time::pause();
    let (well, hung) = (Probe::<Ping>::start(), NeverQuiet.start());
    let pulses = vec![
        ("archiver".to_owned(), well.recipient()),
        ("watcher of a".to_owned(), hung.recipient()),
    ];
    let peers = Peers { pulses, ..Peers::default() };
    let (tell, _told) = oneshot::channel();
    let supervisor =
        Supervisor::new(peers, never_again(), Duration::from_secs(1), tell, discard()).start();
    let health = supervisor.send(GetHealth).await.unwrap();
    assert!(health.actors.iter().all(|actor| !actor.hangs), "{health:?}");
    tokio::time::sleep(Duration::from_secs(75)).await;
    let health = supervisor.send(GetHealth).await.unwrap();
    let hangs: Vec<_> = health.actors.iter().map(|actor| (&*actor.name, actor.hangs)).collect();
    assert_eq!(hangs, [("archiver", false), ("watcher of a", true)]);
}

struct NeverQuiet;

impl Actor for NeverQuiet {
    type Context = Context<Self>;
}

impl Handler<Shutdown> for NeverQuiet {
    type Result = actix::ResponseFuture<()>;

    fn handle(&mut self, stop: Shutdown, _: &mut Self::Context) -> Self::Result {
        match stop.mode {
            StopMode::Graceful => Box::pin(std::future::pending()),
            StopMode::Immediate => Box::pin(std::future::ready(())),
        }
    }
}

impl Handler<Ping> for NeverQuiet {
    type Result = actix::ResponseFuture<()>;

    fn handle(&mut self, _: Ping, _: &mut Self::Context) -> Self::Result {
        Box::pin(std::future::pending())
    }
}

#[actix::test]
async fn supervisor_whose_grace_is_over_leaves_the_rest_to_the_next_start() {
    tokio::time::pause();
    let (tell, told) = oneshot::channel();
    let dispatcher = Some(NeverQuiet.start().recipient());
    let peers = Peers { dispatcher, ..Peers::default() };
    let grace = Duration::from_secs(30);
    let supervisor = Supervisor::new(peers, never_again(), grace, tell, discard()).start();
    supervisor.send(StopRequested { mode: StopMode::Graceful, by: "a test" }).await.unwrap();
    assert_eq!(told.await.unwrap(), Ended::GraceOver);
}

#[actix::test]
async fn supervisor_tells_of_a_thread_that_stands_still_until_it_moves() {
    tokio::time::pause();
    let peers = Peers::default();
    let (stuck, idle) = (peers.pool.join(), peers.pool.join());
    let task = crate::progress::Task { job: crate::id::JobId::generate(), package: None };
    stuck.take_up(task.clone());
    idle.take_up(crate::progress::Task { job: crate::id::JobId::generate(), package: None });
    idle.rest();
    let log = crate::testkit::LogLines::default();
    let (tell, _told) = oneshot::channel();
    let supervisor =
        Supervisor::new(peers, never_again(), Duration::from_secs(1), tell, log.logger()).start();
    assert!(supervisor.send(GetHealth).await.unwrap().is_well());

    tokio::time::sleep(Duration::from_secs(95)).await;
    let health = supervisor.send(GetHealth).await.unwrap();
    assert!(!health.is_well(), "{health:?}");
    let stalled: Vec<_> = health.threads.iter().map(|thread| thread.stalled).collect();
    assert_eq!((stalled, &health.threads[0].task), (vec![true, false], &Some(task)));
    let text = log.text();
    let [line] = text.lines().collect::<Vec<_>>()[..] else { panic!("one loud line: {text}") };
    assert!(line.contains("WARN") && line.contains("pool_stalled"), "{line}");

    stuck.steps().add();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(supervisor.send(GetHealth).await.unwrap().is_well());
    let text = log.text();
    let last = text.lines().nth(1).unwrap();
    assert!(last.contains("INFO") && last.contains("gets on again"), "{text}");
}

//! Tests scans: what they find, in what order, and what a replaced landing does to a scan.

use std::collections::HashSet;

use super::*;
use crate::actors::post::post;

/// 200 settled packages, oldest first.
fn crowd() -> (Bench, Vec<String>) {
    let mut bench = Bench::new();
    bench.source.settle = Duration::ZERO; // or one that settles later is offered before older ones
    let names: Vec<String> = (0..200).map(|n| format!("p{n:03}")).collect();
    for name in &names {
        bench.landing.deliver(name).unwrap();
    }
    (bench, names)
}

#[actix::test]
async fn watcher_offers_the_oldest_while_it_still_looks_at_the_rest() {
    let (bench, mut names) = crowd();
    let last = bench.landing.join(names.pop().unwrap());
    let mut watched = bench.deaf().answering(move |_| {
        // Removed at the first offer: if the scan had looked at everything before, it would be offered.
        fs::remove_dir_all(&last).ok();
        Admission::Accepted
    });
    watched.first_scan.next().await;
    let offers = watched.ready.drain().await;
    let offered: Vec<_> = offers.iter().map(|offer| offer.name.to_string()).collect();
    assert_eq!(offered, names);
}

#[actix::test]
async fn watcher_whose_landing_is_replaced_in_the_middle_of_a_scan_goes_on_with_the_new_one_alone()
{
    let (bench, _) = crowd();
    let landing = bench.landing.path();
    let old = bench.landing.outside().join("old");
    let wake = Rc::new(RefCell::new(None::<(Recipient<Wake>, Arc<Hints>)>));
    let woken = Rc::clone(&wake);
    let watched = bench.answering(move |_| {
        if let Some((wake, hints)) = woken.take() {
            fs::rename(&landing, &old).unwrap();
            fs::create_dir_all(landing.join("new")).unwrap();
            fs::write(landing.join("new/new.zip"), sample_zip()).unwrap();
            hints.note(Ok(notify::Event::new(EventKind::Other).set_flag(Flag::Rescan)));
            post(&wake, Wake);
        }
        Admission::Accepted
    });
    wake.replace(Some((watched.watcher.clone().recipient(), Arc::clone(&watched.hints))));
    let mut watched = watched;
    while watched.offered().await != "new" {}
    watched.nothing_more().await;
}

#[actix::test]
async fn watcher_whose_events_were_lost_looks_at_everything() {
    let mut watched = Bench::new().deaf().start();
    watched.first_scan.next().await;
    watched.landing.copy_in("a").unwrap();
    watched.nothing_more().await;
    watched.overflow().await;
    assert_eq!(watched.offered().await, "a");
}

#[actix::test]
async fn watcher_whose_landing_is_replaced_watches_the_new_one() {
    let mut watched = Bench::new().start();
    watched.first_scan.next().await;
    let (landing, old) = (watched.landing.path(), watched.landing.outside().join("old"));
    fs::rename(&landing, old).unwrap();
    fs::create_dir(&landing).unwrap();
    watched.landing.copy_in("a").unwrap();
    watched.overflow().await;
    assert_eq!(watched.offered().await, "a");
    watched.landing.deliver("b").unwrap();
    assert_eq!(watched.offered().await, "b", "the new landing gives no events");
}

#[actix::test]
async fn watcher_whose_landing_disappears_goes_on_when_it_is_back() {
    let mut watched = Bench::new().start();
    watched.first_scan.next().await;
    let landing = watched.landing.path();
    fs::remove_dir(&landing).unwrap();
    watched.overflow().await;
    watched.watcher.send(Vacancy { epoch: 1 }).await.unwrap();
    watched.nothing_more().await;
    assert_eq!(watched.returns.load(Ordering::SeqCst), 0);

    fs::create_dir(&landing).unwrap();
    watched.landing.copy_in("a").unwrap();
    assert_eq!(watched.offered().await, "a");
    assert_eq!(watched.returns.load(Ordering::SeqCst), 1);
    watched.landing.deliver("b").unwrap();
    assert_eq!(watched.offered().await, "b");
}

#[actix::test]
async fn watcher_with_two_thousand_packages_offers_each_once() {
    let bench = Bench::new();
    for number in 0..2000 {
        bench.landing.deliver(&format!("sample-{number}")).unwrap();
    }
    let mut watched = bench.start();
    watched.first_scan.next().await;
    let offers = watched.ready.drain().await;
    let names: HashSet<_> = offers.iter().map(|offer| offer.name.clone()).collect();
    assert_eq!((offers.len(), names.len()), (2000, 2000));
}

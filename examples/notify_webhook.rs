//! Tells an HTTP server which packages go to quarantine, and why.
//! `cargo run --features testkit --example notify_webhook` tells a server of its own, on loopback.
#![expect(clippy::print_stdout, reason = "an example is read by people")]

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use actix::{Actor, Context, Handler};
use longshore::testkit::{Flaw, PackageMaker, PipelineHarness};
use longshore::{Fact, Outcome, PackageEvent};

/// Hands on what is worth telling, and waits for nobody: a server may be slow or gone.
struct Webhook {
    to: SyncSender<String>,
}

impl Actor for Webhook {
    type Context = Context<Self>;
}

impl Handler<PackageEvent> for Webhook {
    type Result = ();

    fn handle(&mut self, event: PackageEvent, _: &mut Self::Context) {
        let Fact::Settled(Outcome::Quarantined { code: state, .. }) = event.fact else {
            return; // the others are no news
        };
        let told = serde_json::json!({ "name": event.name, "state": state });
        if self.to.try_send(told.to_string()).is_err() {
            println!("{} is not told: too much waits for the server", event.name);
        }
    }
}

/// Posts what comes, on a thread of its own, until nobody sends any more.
fn post_all(url: &str, messages: &Receiver<String>) {
    let config = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(5)));
    let agent = config.build().new_agent();
    for message in messages {
        if let Err(error) = agent.post(url).content_type("application/json").send(&message) {
            println!("failed to tell {url}: {error}");
        }
    }
}

/// Takes one request and prints its body.
fn serve(listener: &TcpListener) -> io::Result<()> {
    let mut stream = BufReader::new(listener.accept()?.0);
    let (mut line, mut length) = (String::new(), 0);
    while stream.read_line(&mut line)? > 2 {
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
        line.clear();
    }
    let mut body = String::new();
    stream.by_ref().take(length).read_to_string(&mut body)?;
    println!("the server was told {body}");
    stream.get_mut().write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
}

#[actix::main]
async fn main() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}/packages", listener.local_addr()?);
    let (to, messages) = sync_channel(1000);
    let threads =
        (thread::spawn(move || post_all(&url, &messages)), thread::spawn(move || serve(&listener)));
    let webhook = Webhook { to }.start().recipient();
    let mut harness = PipelineHarness::start(|pipeline| pipeline.subscribe(webhook));
    harness.deliver(PackageMaker::new("bad").flaw(Flaw::WrongCrc));
    harness.quarantined("bad").await;
    harness.stop().await;
    threads.0.join().map_err(|_| io::Error::other("the poster panicked"))?;
    threads.1.join().map_err(|_| io::Error::other("the server panicked"))?
}

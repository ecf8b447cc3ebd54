//! [`Daemon`]: a `longshore` that runs, what it says, and its end.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Nothing here takes as long on any machine, however busy.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// How often the disk is asked where only it can tell.
pub(crate) const PACE: Duration = Duration::from_millis(5);

/// Where a line was said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Out,
    Err,
}

/// A process that is killed when this is dropped.
pub(crate) struct Daemon {
    child: Child,
    lines: Receiver<(Stream, String)>,
    said: Vec<(Stream, String)>,
    /// Lines before this one were waited for.
    heard: usize,
}

impl Daemon {
    /// Starts a process and listens to it.
    pub(crate) fn spawn(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .env("NO_COLOR", "1")
            .spawn()
            .unwrap();
        let (tell, lines) = channel();
        listen(child.stdout.take().unwrap(), Stream::Out, tell.clone());
        listen(child.stderr.take().unwrap(), Stream::Err, tell);
        Self { child, lines, said: Vec::new(), heard: 0 }
    }

    /// Starts a daemon and waits until it watches.
    pub(crate) fn start(command: Command) -> Self {
        let mut daemon = Self::spawn(command);
        daemon.wait_line("watching");
        daemon
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for what happens next: a line, or the time after which the disk is asked again.
    fn listen(&mut self, at_most: Duration) {
        match self.lines.recv_timeout(at_most) {
            Ok(line) => {
                self.said.push(line);
                self.said.extend(self.lines.try_iter());
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => pause(at_most),
        }
    }

    /// Waits for a line that has `part` in it, after the one that was waited for before.
    ///
    /// # Panics
    /// Where the process ends without it, or the deadline is over.
    pub(crate) fn wait_line(&mut self, part: &str) -> String {
        let started = Instant::now();
        loop {
            let ended = self.child.try_wait().unwrap().is_some();
            if ended {
                // What it said is all there is.
                self.said.extend(self.lines.iter());
            }
            let new = self.said[self.heard..].iter().position(|(_, line)| line.contains(part));
            if let Some(at) = new {
                self.heard += at + 1;
                return self.said[self.heard - 1].1.clone();
            }
            assert!(!ended, "it ended and never said {part:?}:\n{}", self.log());
            assert!(started.elapsed() < DEADLINE, "it never said {part:?}:\n{}", self.log());
            self.listen(PACE);
        }
    }

    /// Waits until something is so on the disk.
    ///
    /// # Panics
    /// Where the process ends before, or the deadline is over.
    pub(crate) fn wait_until(&mut self, what: &str, mut is_so: impl FnMut() -> bool) {
        let started = Instant::now();
        while !is_so() {
            let ended = self.child.try_wait().unwrap();
            if let Some(status) = ended.filter(|_| !is_so()) {
                panic!("it ended ({status}) before {what}:\n{}", self.log());
            }
            let elapsed = started.elapsed();
            assert!(elapsed < DEADLINE, "not so after {elapsed:?}: {what}\n{}", self.log());
            self.listen(PACE);
        }
    }

    /// Lets it run for a while; returns early when it ends.
    pub(crate) fn run_for(&mut self, span: Duration) {
        let started = Instant::now();
        while started.elapsed() < span && self.child.try_wait().unwrap().is_none() {
            self.listen(span.saturating_sub(started.elapsed()).min(PACE));
        }
    }

    /// Whether it is still running.
    pub(crate) fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap();
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// Where the deadline is over.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                self.said.extend(self.lines.iter());
                return status;
            }
            assert!(started.elapsed() < DEADLINE, "it does not end:\n{}", self.log());
            self.listen(PACE);
        }
    }

    /// Waits for its end; the exit code, or 1000 and the signal that killed it.
    pub(crate) fn code(&mut self) -> i32 {
        use std::os::unix::process::ExitStatusExt;

        let status = self.wait();
        status.code().unwrap_or_else(|| 1000 + status.signal().unwrap_or(0))
    }

    /// Asks it to stop and waits until it has.
    pub(crate) fn terminate(&mut self) -> i32 {
        self.signal(Signal::TERM);
        self.code()
    }

    /// Kills it.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.wait();
    }

    /// Everything that it said.
    pub(crate) fn log(&mut self) -> String {
        self.said.extend(self.lines.try_iter());
        self.said.iter().map(|(_, line)| format!("{line}\n")).collect()
    }

    /// What it said on one stream.
    pub(crate) fn said(&mut self, on: Stream) -> String {
        self.said.extend(self.lines.try_iter());
        let lines = self.said.iter().filter(|(stream, _)| *stream == on);
        lines.map(|(_, line)| format!("{line}\n")).collect()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Where it has ended there is nothing to kill.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// What a process that ended by itself left.
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs a process to its end.
pub(crate) fn run_to_end(command: Command) -> Ended {
    let mut daemon = Daemon::spawn(command);
    let code = daemon.code();
    Ended { code, out: daemon.said(Stream::Out), err: daemon.said(Stream::Err) }
}

/// Lets time pass: to be used between two looks of a loop that has a deadline.
pub(crate) fn pause(span: Duration) {
    let (_keep, never) = channel::<()>();
    // Nothing is ever sent: it ends by the time-out.
    never.recv_timeout(span).ok();
}

fn listen(stream: impl Read + Send + 'static, which: Stream, tell: Sender<(Stream, String)>) {
    std::thread::spawn(move || {
        let mut reader = BufReader::new(stream);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            line.clear();
            if tell.send((which, text)).is_err() {
                return;
            }
        }
    });
}

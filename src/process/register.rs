//! [`Register`]: which commands run, and the one thread that starts processes.

use std::collections::HashMap;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command};
use std::sync::mpsc::{Sender, channel, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use super::error::ProcessError;
use super::procfs::Handle;

/// How long a guard that was told to kill may take, before it is killed itself.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// Which commands run.
pub(super) struct Register {
    spawner: Sender<Box<dyn FnOnce() + Send>>,
    open: Mutex<Open>,
    /// A command left the register.
    ended: Condvar,
}

#[derive(Default)]
struct Open {
    /// Everything was killed: nothing can start.
    closed: bool,
    next: u64,
    running: HashMap<u64, KillHandle>,
}

/// How a running command is killed from outside.
pub(super) enum KillHandle {
    /// Any byte tells its guard to; the handle is the guard's own.
    Guard(UnixStream, Handle),
    /// It has no guard.
    Direct(Handle),
}

impl Register {
    /// Starts the thread that starts processes.
    pub(super) fn start() -> io::Result<Self> {
        let (spawner, requests) = channel::<Box<dyn FnOnce() + Send>>();
        thread::Builder::new().name("guards".to_owned()).spawn(move || {
            for request in requests {
                request();
            }
        })?;
        let (open, ended) = <_>::default();
        Ok(Self { spawner, open, ended })
    }

    /// How many commands run.
    pub(super) fn running(&self) -> usize {
        self.open().running.len()
    }

    /// Whether everything was killed: nothing can start.
    pub(super) fn is_closed(&self) -> bool {
        self.open().closed
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Kills everything that runs, and lets nothing new start; see `Guards::kill_all`.
    pub(super) fn kill_all(self: &Arc<Self>) {
        let mut open = self.open();
        open.closed = true;
        for handle in open.running.values() {
            match handle {
                // One that cannot be told is dead already. A stopped one hears it when it goes on.
                KillHandle::Guard(socket, handle) => {
                    drop((&mut &*socket).write_all(b"k"));
                    handle.send(Signal::CONT).ok(); // it may have ended
                }
                KillHandle::Direct(handle) => drop(handle.send(Signal::KILL)),
            }
        }
        if !open.running.is_empty() {
            let register = Arc::clone(self);
            let kill = move || {
                register.wait_for_ends(PATIENCE);
                register.kill_guards();
            };
            // Without a thread for it a guard that hangs is waited for.
            thread::Builder::new().name("guards-end".to_owned()).spawn(kill).ok();
        }
    }

    /// Waits until no command runs, and no longer than that.
    fn wait_for_ends(&self, longest: Duration) {
        let any = |open: &mut Open| !open.running.is_empty();
        drop(self.ended.wait_timeout_while(self.open(), longest, any));
    }

    /// Kills the guards that are left: who waits for one finds what was below it.
    fn kill_guards(&self) {
        for handle in self.open().running.values() {
            if let KillHandle::Guard(_, guard) = handle {
                guard.send(Signal::KILL).ok();
            }
        }
    }

    /// Starts a process from the one thread that may.
    pub(super) fn spawn(&self, mut command: Command) -> io::Result<Child> {
        self.start_process(move || command.spawn())
    }

    /// Has the one thread start a process in the way that `start` does.
    pub(super) fn start_process(
        &self,
        start: impl FnOnce() -> io::Result<Child> + Send + 'static,
    ) -> io::Result<Child> {
        let gone = || io::Error::other("the thread that starts guards is gone");
        let (answer, child) = sync_channel(1);
        let request = Box::new(move || drop(answer.send(start())));
        self.spawner.send(request).map_err(|_| gone())?;
        child.recv().map_err(|_| gone())?
    }

    /// Registers a command that runs, until the answer is dropped.
    pub(super) fn enter(self: &Arc<Self>, handle: KillHandle) -> Result<Entry, ProcessError> {
        let mut open = self.open();
        if open.closed {
            return Err(ProcessError::Stopping);
        }
        let id = open.next;
        open.next += 1;
        open.running.insert(id, handle);
        Ok(Entry { register: Arc::clone(self), id })
    }
}

/// A command in the register, until the value is dropped.
pub(super) struct Entry {
    register: Arc<Register>,
    id: u64,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.register.open().running.remove(&self.id);
        self.register.ended.notify_all();
    }
}

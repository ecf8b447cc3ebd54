//! [`Register`]: the running commands, and the one thread that starts processes.

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

/// How long a guard that was told to kill may take before it is killed itself.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// The running commands.
pub(super) struct Register {
    spawner: Sender<Box<dyn FnOnce() + Send>>,
    open: Mutex<Open>,
    /// Notified when a command leaves the register.
    ended: Condvar,
}

#[derive(Default)]
struct Open {
    /// Whether everything was killed: no command can start.
    closed: bool,
    next: u64,
    running: HashMap<u64, KillHandle>,
}

/// How a running command is killed from outside.
pub(super) enum KillHandle {
    /// Any byte on the socket tells the guard to kill its command. The handle is the guard's own.
    Guard(UnixStream, Handle),
    /// The command has no guard. The handle is the command's own.
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

    /// Returns how many commands are running.
    pub(super) fn running(&self) -> usize {
        self.open().running.len()
    }

    /// Whether everything was killed: no command can start.
    pub(super) fn is_closed(&self) -> bool {
        self.open().closed
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Kills all running commands and prevents new ones from starting; see `Guards::kill_all`.
    pub(super) fn kill_all(self: &Arc<Self>) {
        let mut open = self.open();
        open.closed = true;
        for handle in open.running.values() {
            match handle {
                // A guard that cannot be written to is dead already. A stopped one reads this after
                // SIGCONT.
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
            // If no thread can be started for this, a guard that hangs is not killed.
            thread::Builder::new().name("guards-end".to_owned()).spawn(kill).ok();
        }
    }

    /// Waits until no command is running, at most for `longest`.
    fn wait_for_ends(&self, longest: Duration) {
        let any = |open: &mut Open| !open.running.is_empty();
        drop(self.ended.wait_timeout_while(self.open(), longest, any));
    }

    /// Kills the remaining guards. The thread that waits for a guard finds the processes below it.
    fn kill_guards(&self) {
        for handle in self.open().running.values() {
            if let KillHandle::Guard(_, guard) = handle {
                guard.send(Signal::KILL).ok();
            }
        }
    }

    /// Starts a process from the one thread that may start them.
    pub(super) fn spawn(&self, mut command: Command) -> io::Result<Child> {
        self.start_process(move || command.spawn())
    }

    /// Runs `start` on the one thread that may start processes.
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

    /// Registers a running command until the returned [`Entry`] is dropped.
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

/// A command in the register. It is removed on drop.
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

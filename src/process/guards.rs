//! [`Guards`]: starts guards, reads their reports, and keeps track of the running ones.

use std::collections::HashSet;
use std::fmt;
use std::io::{self, PipeReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::io::ioctl_fionbio;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, getpid, set_child_subreaper, waitid};

use super::error::ProcessError;
use super::mode::Mode;
use super::order::{Order, Report};
use super::procfs::{Handle, Stat};
use super::register::{KillHandle, PATIENCE, Register};
use super::signals;
use super::spec::{Exit, Spec};
use super::{descend, direct, guard, leftovers, pipe};

/// How often to check whether a guard was stopped. A stopped guard would notice neither the end nor
/// the timeout of its command.
const LOOK: Duration = Duration::from_secs(10);

/// Starts commands and keeps track of the running ones. A handle: clones share everything.
///
/// One thread starts all guards, and it lives as long as any handle: the kernel sends a
/// parent-death signal when the *thread* ends that started the process, not when its process ends.
#[derive(Clone)]
pub struct Guards {
    register: Arc<Register>,
    family: Arc<Family>,
}

/// The state that outlives one [`Guards`]: guards of the previous one may still be ending.
#[derive(Default)]
struct Family {
    /// Pids of the living guards. Locked while a guard is started, so that none is taken for an orphan.
    living: Mutex<HashSet<i32>>,
    /// Whether orphans become children of this process.
    adopts: AtomicBool,
}

impl fmt::Debug for Guards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guards").field("running", &self.running()).finish_non_exhaustive()
    }
}

impl Guards {
    /// Starts the thread that starts guards.
    ///
    /// # Errors
    /// The system cannot start a thread.
    pub fn start() -> io::Result<Self> {
        Self::of_family(Arc::default())
    }

    /// Creates a new `Guards` after [`Guards::kill_all`], which shares the record of living guards.
    ///
    /// # Errors
    /// The system cannot start a thread.
    pub fn renewed(&self) -> io::Result<Self> {
        Self::of_family(Arc::clone(&self.family))
    }

    /// Makes this process the parent of every orphan below it, so that orphans can be found and
    /// killed even if their guard was killed.
    ///
    /// Call this only in a process whose only children are commands: any other child would be taken
    /// for an orphan.
    ///
    /// # Errors
    /// The system refuses.
    pub fn adopt_orphans(&self) -> io::Result<()> {
        if guard::can_be_started() {
            set_child_subreaper(Some(getpid()))?;
            self.family.adopts.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    fn of_family(family: Arc<Family>) -> io::Result<Self> {
        Ok(Self { register: Arc::new(Register::start()?), family })
    }

    /// Runs a command to its end, on the calling thread.
    ///
    /// `output` receives the command's stdout and stderr in the order in which they arrive, in
    /// chunks of at most 64 KiB. The command's output is blocked until `output` returns.
    ///
    /// # Errors
    /// The command could not be started, or its end is unknown. A command that exits with a failure
    /// is not an error.
    pub fn run(
        &self,
        mode: Mode,
        spec: Spec,
        output: &mut dyn FnMut(&[u8]),
    ) -> Result<Exit, ProcessError> {
        if self.register.is_closed() {
            return Err(ProcessError::Stopping);
        }
        if mode == Mode::Direct || !guard::can_be_started() {
            return direct::run(&self.register, &spec, output);
        }
        let failed = |source| ProcessError::Guard { source };
        let (socket, theirs) = UnixStream::pair().map_err(failed)?;
        let (printed, pipe) = io::pipe().map_err(failed)?;
        ioctl_fionbio(&printed, true).map_err(|error| failed(error.into()))?;
        let mut command = guard::command();
        command.stdin(OwnedFd::from(theirs)).stderr(pipe.try_clone().map_err(failed)?).stdout(pipe);
        let child = self.spawn_guard(command).map_err(failed)?;
        let family = Arc::clone(&self.family);
        let mut guard = Guard { child, socket: Some(socket), family };
        guard.send(&Order::new(mode, &spec)).map_err(failed)?;
        let told = guard.socket()?.try_clone().map_err(failed)?;
        let entry =
            self.register.enter(KillHandle::Guard(told, guard.handle().map_err(failed)?))?;
        let due = spec.timeout.map(|timeout| {
            timeout.saturating_add(spec.kill_after).saturating_add(LOOK).saturating_add(PATIENCE)
        });
        let mut late = false;
        let said = listen(&guard, due, &mut late, &printed, output);
        drop(entry);
        drop(guard);
        match said.map(|said| serde_json::from_slice(&said)) {
            Ok(Ok(Report::Ended(exit))) => Ok(exit),
            Ok(Ok(Report::Left(left))) => Err(ProcessError::Unkillable { left }),
            Ok(Ok(Report::Failed { step, errno })) => {
                let program = spec.argv.into_iter().next().unwrap_or_default();
                Err(ProcessError::at(step, errno, program, spec.cwd))
            }
            Ok(Ok(Report::Unmounted { path, errno })) => Err(ProcessError::Mount {
                path: path.into(),
                source: io::Error::from_raw_os_error(errno),
            }),
            // The guard died, and the command with it. Find and kill the processes that the command
            // had started.
            Ok(Err(_)) => {
                let marked = leftovers::kill_run(&spec.mark).map_err(failed)?.len();
                let adopted = self.family.kill_adopted().map_err(failed)?;
                match (self.is_closed(), late) {
                    (true, _) => Ok(Exit::Killed),
                    (false, true) => Ok(Exit::TimedOut),
                    (false, false) => Err(ProcessError::GuardLost { killed: marked + adopted }),
                }
            }
            Err(source) => Err(ProcessError::Output { source }),
        }
    }

    /// Kills all running commands with SIGKILL and prevents new ones from starting. Does not wait
    /// until they are dead: [`running`](Self::running) is 0 once they are. Can be called from any
    /// thread at any time.
    pub fn kill_all(&self) {
        self.register.kill_all();
    }

    /// Returns how many commands are running.
    #[must_use]
    pub fn running(&self) -> usize {
        self.register.running()
    }

    /// Whether [`kill_all`](Self::kill_all) was called: no command can start.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.register.is_closed()
    }

    /// Starts a guard and adds it to the living ones.
    fn spawn_guard(&self, mut command: Command) -> io::Result<Child> {
        let family = Arc::clone(&self.family);
        self.register.start_process(move || {
            let mut living = family.living();
            let child = command.spawn()?;
            living.insert(child.id().cast_signed());
            Ok(child)
        })
    }
}

/// A running guard. On drop, it is told to kill its command, and reaped.
struct Guard {
    child: Child,
    socket: Option<UnixStream>,
    family: Arc<Family>,
}

impl Family {
    fn living(&self) -> MutexGuard<'_, HashSet<i32>> {
        self.living.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Kills the children of this process that are not guards. Returns how many there were.
    fn kill_adopted(&self) -> io::Result<usize> {
        if !self.adopts.load(Ordering::Relaxed) {
            return Ok(0);
        }
        descend::kill_adopted(&self.living())
    }
}

impl Guard {
    fn socket(&self) -> Result<&UnixStream, ProcessError> {
        let gone = || ProcessError::Guard { source: io::ErrorKind::NotConnected.into() };
        self.socket.as_ref().ok_or_else(gone)
    }

    fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// Opens a handle on the guard's process. Until the guard is reaped, its pid cannot be reused.
    fn handle(&self) -> io::Result<Handle> {
        let seen = Stat::read(&self.pid().to_string())?;
        Handle::open(seen).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Continues the guard if it was stopped.
    fn wake(&self) {
        let Some(pid) = Pid::from_raw(self.pid()) else { return };
        let look = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        if let Ok(Some(status)) = waitid(WaitId::Pid(pid), look)
            && status.stopped()
        {
            rustix::process::kill_process(pid, Signal::CONT).ok(); // it may end at this moment
        }
    }

    fn kill(&self) {
        if let Some(pid) = Pid::from_raw(self.pid()) {
            rustix::process::kill_process(pid, Signal::KILL).ok();
        }
    }

    fn send(&mut self, order: &Order) -> io::Result<()> {
        let mut line = serde_json::to_vec(order)?;
        line.push(b'\n');
        self.socket.as_mut().map_or(Ok(()), |socket| socket.write_all(&line))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.socket = None;
        // Waiting for a child cannot fail; if the system disagrees, the child is gone.
        self.child.wait().ok();
        self.family.living().remove(&self.pid());
    }
}

/// Passes on the command's output until its guard closes the socket. Returns the bytes that the
/// guard sent.
///
/// A guard enforces the timeout of its command. A guard that has not ended after `due` is killed,
/// and `late` is set.
fn listen(
    guard: &Guard,
    due: Option<Duration>,
    late: &mut bool,
    printed: &PipeReader,
    output: &mut dyn FnMut(&[u8]),
) -> io::Result<Vec<u8>> {
    let Some(socket) = &guard.socket else { return Err(io::ErrorKind::NotConnected.into()) };
    let due = due.and_then(|due| Instant::now().checked_add(due));
    let mut look = Instant::now() + LOOK;
    let mut said = Vec::new();
    let mut chunk = pipe::chunk();
    let mut open = true;
    loop {
        let mut ready = vec![PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN)];
        // A pipe that has no writer left would be ready forever.
        if open {
            ready.push(PollFd::from_borrowed_fd(printed.as_fd(), PollFlags::IN));
        }
        signals::poll(&mut ready, Some(look.saturating_duration_since(Instant::now())))?;
        if look <= Instant::now() {
            look = Instant::now() + LOOK;
            guard.wake();
            if due.is_some_and(|due| due <= Instant::now()) {
                *late = true;
                guard.kill();
            }
        }
        let (word, print) =
            (!ready[0].revents().is_empty(), ready.get(1).is_some_and(|r| !r.revents().is_empty()));
        if print {
            open = pipe::pass(printed, &mut chunk, output)? != Some(0);
        }
        if word {
            let mut part = [0; 512];
            match (&mut &*socket).read(&mut part) {
                Ok(0) => break,
                Ok(n) => said.extend_from_slice(&part[..n]),
                // The guard died with unread data in its socket.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
    pipe::drain(printed, &mut chunk, output)?;
    Ok(said)
}

//! [`Sender`]: another user, in a process of its own that holds handles and takes orders.
//!
//! The process is this test binary, run again with one of its tests selected, which calls [`obey`].
//! It is dropped to the user's id first, so that the kernel judges every order as that user's.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags};
use serde::{Deserialize, Serialize};

/// The sender that attacks.
pub(crate) const SENDER: u32 = 1001;
/// A user with nothing but its own: another sender, or the owner of files that nobody may touch.
pub(crate) const BYSTANDER: u32 = 1003;

/// The variable that tells the test binary to take orders.
const TAKES_ORDERS: &str = "LONGSHORE_TEST_SENDER";

/// A path, absolute or beneath a folder that is held open.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct At {
    folder: Option<String>,
    path: PathBuf,
}

/// A path beneath the folder that is held open as `handle`.
pub(crate) fn at(handle: &str, path: &str) -> At {
    At { folder: Some(handle.to_owned()), path: path.into() }
}

impl<P: AsRef<Path>> From<P> for At {
    fn from(path: P) -> Self {
        Self { folder: None, path: path.as_ref().to_owned() }
    }
}

/// What a sender can be told to do: one call of the system each, as far as that goes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Opens a folder and keeps the handle.
    OpenFolder(String, At),
    /// Opens a file to read and write, and keeps the handle.
    OpenFile(String, At),
    MakeFolder(At, u32),
    /// Writes a new file, or over one that is there, with this mode.
    Write(At, Vec<u8>, u32),
    /// Writes a new file with the contents of another one, and this mode.
    Copy(PathBuf, At, u32),
    Symlink(PathBuf, At),
    Link(At, At),
    Rename(At, At),
    /// Swaps two names; a plain rename where the file system swaps none.
    Exchange(At, At),
    Unlink(At),
    RemoveFolder(At),
    Fifo(At),
    /// These are about a handle.
    Truncate(String, u64),
    Append(String, Vec<u8>),
    Overwrite(String, u64, Vec<u8>),
    Chmod(String, u32),
    /// One after the other, without a pause; ends at the first that fails.
    All(Vec<Order>),
}

/// A process of another user that takes orders. It ends when this is dropped.
pub(crate) struct Sender {
    child: Child,
    orders: Option<ChildStdin>,
    replies: BufReader<Box<dyn Read + Send>>,
}

impl Sender {
    /// Starts one; `test` is the name of the test that calls [`obey`].
    pub(crate) fn start(test: &str, uid: u32, gid: u32) -> Self {
        // Its path need not be reachable for that user.
        let mut command = Command::new("/proc/self/exe");
        command.args(["--exact", test, "--test-threads=1"]).env(TAKES_ORDERS, "1");
        // With a new uid the supplementary groups go, too.
        command.current_dir("/").uid(uid).gid(gid);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let orders = child.stdin.take();
        let replies: Box<dyn Read + Send> = Box::new(child.stderr.take().unwrap());
        Self { child, orders, replies: BufReader::new(replies) }
    }

    /// Has an order carried out, and returns what the system said to it.
    pub(crate) fn attempt(&mut self, order: &Order) -> io::Result<()> {
        let mut line = serde_json::to_string(order).unwrap();
        line.push('\n');
        self.orders.as_mut().unwrap().write_all(line.as_bytes()).unwrap();
        let mut reply = String::new();
        self.replies.read_line(&mut reply).unwrap();
        match reply.trim_end() {
            "done" => Ok(()),
            errno => {
                let errno = errno.parse().unwrap_or_else(|_| {
                    panic!("the sender's process answered {errno:?} to {order:?}")
                });
                Err(io::Error::from_raw_os_error(errno))
            }
        }
    }

    /// Has an order carried out that nothing may stand against.
    pub(crate) fn order(&mut self, order: &Order) {
        let done = self.attempt(order);
        done.unwrap_or_else(|error| panic!("the sender could not {order:?}: {error}"));
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        drop(self.orders.take());
        self.child.wait().ok();
    }
}

/// Carries out the orders that come over standard input, if this process was started for that.
pub(crate) fn obey() {
    if std::env::var_os(TAKES_ORDERS).is_none() {
        return;
    }
    rustix::process::umask(Mode::empty());
    let mut handles = HashMap::new();
    for line in io::stdin().lines() {
        let order: Order = serde_json::from_str(&line.unwrap()).unwrap();
        let reply = match carry_out(&order, &mut handles) {
            Ok(()) => "done\n".to_owned(),
            Err(errno) => format!("{}\n", errno.raw_os_error()),
        };
        // Standard output has the lines of the test harness.
        io::stderr().write_all(reply.as_bytes()).unwrap();
    }
}

type Handles = HashMap<String, OwnedFd>;

fn carry_out(order: &Order, handles: &mut Handles) -> rustix::io::Result<()> {
    use rustix::fs as sys;

    // Paths that are not beneath a handle are absolute.
    let node = |at: &At| {
        let folder = match &at.folder {
            Some(name) => held(handles, name).try_clone_to_owned().unwrap(),
            None => File::open("/").unwrap().into(),
        };
        (folder, at.path.clone())
    };
    let create = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW;
    match order {
        Order::OpenFolder(handle, at) => {
            let (folder, path) = node(at);
            let fd = sys::openat(folder, path, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
            handles.insert(handle.clone(), fd);
            Ok(())
        }
        Order::OpenFile(handle, at) => {
            let (folder, path) = node(at);
            let fd = sys::openat(folder, path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
            handles.insert(handle.clone(), fd);
            Ok(())
        }
        Order::MakeFolder(at, mode) => {
            let (folder, path) = node(at);
            sys::mkdirat(&folder, &path, Mode::from_raw_mode(*mode))?;
            // A set-gid bit must be asked for again.
            sys::chmodat(folder, path, Mode::from_raw_mode(*mode), AtFlags::empty())
        }
        Order::Write(at, bytes, mode) => {
            let (folder, path) = node(at);
            let mut file = File::from(sys::openat(folder, path, create, Mode::RUSR)?);
            file.write_all(bytes).map_err(errno)?;
            // After the writing, which takes a set-uid bit away.
            sys::fchmod(&file, Mode::from_raw_mode(*mode))
        }
        Order::Copy(from, at, mode) => {
            let bytes = fs::read(from).map_err(errno)?;
            carry_out(&Order::Write(at.clone(), bytes, *mode), handles)
        }
        Order::Symlink(to, at) => {
            let (folder, path) = node(at);
            sys::symlinkat(to, folder, path)
        }
        Order::Link(from, to) => {
            let ((from, old), (to, new)) = (node(from), node(to));
            sys::linkat(from, old, to, new, AtFlags::empty())
        }
        Order::Rename(from, to) => {
            let ((from, old), (to, new)) = (node(from), node(to));
            sys::renameat(from, old, to, new)
        }
        Order::Exchange(from, to) => {
            let ((from, old), (to, new)) = (node(from), node(to));
            match sys::renameat_with(&from, &old, &to, &new, RenameFlags::EXCHANGE) {
                Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
                    sys::renameat(from, old, to, new)
                }
                done => done,
            }
        }
        Order::Unlink(at) => {
            let (folder, path) = node(at);
            sys::unlinkat(folder, path, AtFlags::empty())
        }
        Order::RemoveFolder(at) => {
            let (folder, path) = node(at);
            sys::unlinkat(folder, path, AtFlags::REMOVEDIR)
        }
        Order::Fifo(at) => {
            let (folder, path) = node(at);
            sys::mknodat(folder, path, FileType::Fifo, Mode::from_raw_mode(0o666), 0)
        }
        Order::Truncate(handle, len) => sys::ftruncate(held(handles, handle), *len),
        Order::Append(handle, bytes) => {
            let fd = held(handles, handle);
            let end = sys::fstat(fd)?.st_size as u64;
            rustix::io::pwrite(fd, bytes, end).map(drop)
        }
        Order::Overwrite(handle, offset, bytes) => {
            rustix::io::pwrite(held(handles, handle), bytes, *offset).map(drop)
        }
        Order::Chmod(handle, mode) => {
            sys::fchmod(held(handles, handle), Mode::from_raw_mode(*mode))
        }
        Order::All(orders) => orders.iter().try_for_each(|order| carry_out(order, handles)),
    }
}

fn held<'a>(handles: &'a Handles, name: &str) -> BorrowedFd<'a> {
    handles.get(name).unwrap_or_else(|| panic!("no handle is called {name:?}")).as_fd()
}

fn errno(error: io::Error) -> rustix::io::Errno {
    rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO)
}

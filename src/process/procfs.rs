//! Reads processes from `/proc`, and signals them.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// The fields of `/proc/PID/stat` that are used here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) pid: i32,
    pub(super) parent: i32,
    /// The state: `R`, `S`, `Z` and so on.
    pub(super) state: u8,
    /// When the process started, in clock ticks since the boot.
    pub(super) start: u64,
}

impl Stat {
    /// Reads the entry of a pid, or of `self`.
    pub(super) fn read(pid: &str) -> io::Result<Self> {
        let line = fs::read(format!("/proc/{pid}/stat"))?;
        Self::parse(&line).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Parses the line. The process name in it can be any bytes, with spaces and parentheses; it
    /// ends at the last `)` of the line.
    ///
    /// Source: proc_pid_stat(5).
    fn parse(line: &[u8]) -> Option<Self> {
        let open = line.iter().position(|&byte| byte == b'(')?;
        let close = line.iter().rposition(|&byte| byte == b')')?;
        let pid = str::from_utf8(&line[..open]).ok()?.trim().parse().ok()?;
        let mut rest = str::from_utf8(&line[close + 1..]).ok()?.split_ascii_whitespace();
        let state = *rest.next()?.as_bytes().first()?;
        let parent = rest.next()?.parse().ok()?;
        // The state is field 3, the start time field 22.
        let start = rest.nth(22 - 5)?.parse().ok()?;
        Some(Self { pid, parent, state, start })
    }

    /// Whether the process has ended and only waits to be reaped.
    pub(super) fn is_dead(self) -> bool {
        matches!(self.state, b'Z' | b'X')
    }
}

/// Returns every visible process. Processes that end during the listing may be missing.
pub(super) fn processes() -> io::Result<Vec<Stat>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().filter(|name| name.bytes().all(|b| b.is_ascii_digit()))
        else {
            continue;
        };
        found.extend(Stat::read(pid).ok());
    }
    Ok(found)
}

/// Returns the kernel's id of this boot; empty if there is none.
pub(super) fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map_or(String::new(), |id| id.trim().to_owned())
}

/// A handle on one process (a pidfd). A pid can be reused by another process, a handle cannot.
#[derive(Debug)]
pub(super) struct Handle(OwnedFd);

impl Handle {
    /// Opens a handle on the process that was seen. `None` if it is gone, even if another has its
    /// pid now.
    pub(super) fn open(seen: Stat) -> Option<Self> {
        let handle = pidfd_open(Pid::from_raw(seen.pid)?, PidfdFlags::empty()).ok()?;
        let now = Stat::read(&seen.pid.to_string()).ok()?;
        (now.start == seen.start).then_some(Self(handle))
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// `PERM` for a process of another user. A process that has ended is not an error.
    pub(super) fn send(&self, signal: Signal) -> rustix::io::Result<()> {
        match pidfd_send_signal(&self.0, signal) {
            Err(rustix::io::Errno::SRCH) => Ok(()),
            sent => sent,
        }
    }

    /// Returns a descriptor that becomes readable when the process ends.
    pub(super) fn descriptor(&self) -> &OwnedFd {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str) -> Vec<u8> {
        let rest =
            "S 7 8 9 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 123456 999 50 18446744073709551615";
        format!("42 ({name}) {rest}\n").into_bytes()
    }

    #[test]
    fn stat_of_a_process_with_any_name_is_understood() {
        for name in ["true", "a b", "a) R 1 (b", ")", "((", ") Z 1 1 1", ""] {
            let stat = Stat::parse(&line(name)).unwrap();
            assert_eq!(
                stat,
                Stat { pid: 42, parent: 7, state: b'S', start: 123_456 },
                "name {name:?}"
            );
        }
    }

    #[test]
    fn stat_with_a_name_that_is_no_utf8_is_understood() {
        let mut bytes = line("??");
        bytes[4] = 0xff;
        assert_eq!(Stat::parse(&bytes).unwrap().parent, 7);
    }

    #[test]
    fn stat_that_is_cut_short_is_refused() {
        for text in ["", "42", "42 (a", "42 (a)", "42 (a) S", "42 (a) S 1 2 3", "x (a) S 1"] {
            assert_eq!(Stat::parse(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn stat_of_this_process_names_it() {
        let this = Stat::read("self").unwrap();
        assert_eq!(this.pid.unsigned_abs(), std::process::id());
        assert!(processes().unwrap().iter().any(|process| process.pid == this.pid));
    }
}

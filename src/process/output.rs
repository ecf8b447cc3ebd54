//! The sinks of a command's output: a log of limited size, its last lines, and its single lines.
//!
//! **Invariant:** memory is bounded, whatever the command prints.

use std::collections::VecDeque;
use std::fs::{File, TryLockError};
use std::io::{self, Write};

/// The maximum number of lines of a [`Tail`].
const TAIL_LINES: usize = 50;
/// The maximum number of bytes of a [`Tail`].
const TAIL_BYTES: usize = 8 * 1024;

/// The log of one attempt.
///
/// A write error does not stop the command: nothing more is written, and [`error`](Self::error)
/// returns the reason.
#[derive(Debug)]
pub struct LogFile {
    file: File,
    left: u64,
    max_bytes: u64,
    capped: bool,
    /// Whether the last byte was not a line end.
    in_line: bool,
    error: Option<io::Error>,
    tail: Tail,
}

impl LogFile {
    /// Creates a log that writes to a new, empty file.
    ///
    /// At most `max_bytes` of the output are written. One line after them says that the log was cut.
    #[must_use]
    pub fn new(file: File, max_bytes: u64) -> Self {
        Self {
            file,
            left: max_bytes,
            max_bytes,
            capped: false,
            in_line: false,
            error: None,
            tail: Tail::default(),
        }
    }

    /// Creates a log with a first line, which does not count towards `max_bytes`, and locks the
    /// file. Dropping the log releases the lock.
    ///
    /// # Errors
    /// I/O errors; `ResourceBusy` if another process has locked the file. A file system without
    /// locks is not an error.
    pub(super) fn begin(file: File, header: &str, max_bytes: u64) -> io::Result<Self> {
        let mut log = Self::new(file, max_bytes);
        log.file.write_all(header.as_bytes())?;
        match log.file.try_lock() {
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::ResourceBusy.into()),
            Ok(()) | Err(TryLockError::Error(_)) => Ok(log),
        }
    }

    /// Adds a last line that says how the command ended.
    pub fn end(&mut self, how: &str) {
        if self.error.is_none() {
            let line_end = if self.in_line { "\n" } else { "" };
            self.error = self.file.write_all(format!("{line_end}# {how}\n").as_bytes()).err();
        }
    }

    /// Adds the next part of the output.
    pub fn write(&mut self, chunk: &[u8]) {
        self.tail.push(chunk);
        if self.capped || self.error.is_some() {
            return;
        }
        if let Err(error) = self.store(chunk) {
            self.error = Some(error);
        }
    }

    fn store(&mut self, chunk: &[u8]) -> io::Result<()> {
        let room = usize::try_from(self.left).unwrap_or(usize::MAX).min(chunk.len());
        self.file.write_all(&chunk[..room])?;
        self.left -= room as u64;
        self.in_line = chunk[..room].last().map_or(self.in_line, |last| *last != b'\n');
        if room < chunk.len() {
            self.capped = true;
            let max = self.max_bytes;
            let line = format!("\n[longshore: the log ends here, at its limit of {max} bytes]\n");
            self.file.write_all(line.as_bytes())?;
            self.in_line = false;
        }
        Ok(())
    }

    /// Whether a part of the output was left out because of the limit.
    #[must_use]
    pub fn is_capped(&self) -> bool {
        self.capped
    }

    /// Returns the write error, if there was one. The log is incomplete then.
    #[must_use]
    pub fn error(&self) -> Option<&io::Error> {
        self.error.as_ref()
    }

    /// Returns the last lines of the whole output, even if they were not written: at most 50 lines
    /// and 8 KiB, in order, without line ends. Bytes that are not UTF-8 are replaced.
    #[must_use]
    pub fn tail(&self) -> Vec<String> {
        self.tail.lines()
    }
}

/// The last lines of an output.
#[derive(Debug, Clone, Default)]
pub struct Tail {
    bytes: VecDeque<u8>,
    cut: bool,
}

impl Tail {
    /// Adds the next part of the output.
    pub fn push(&mut self, chunk: &[u8]) {
        let kept = &chunk[chunk.len().saturating_sub(TAIL_BYTES)..];
        let over = (self.bytes.len() + kept.len()).saturating_sub(TAIL_BYTES);
        self.cut |= over > 0 || kept.len() < chunk.len();
        self.bytes.drain(..over);
        self.bytes.extend(kept);
    }

    /// Returns the last lines, in order, without line ends. A line that was cut by the limit is
    /// left out unless it is the only one.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let bytes: Vec<u8> = self.bytes.iter().copied().collect();
        let text = String::from_utf8_lossy(&bytes);
        let mut lines: Vec<&str> = text.lines().collect();
        if self.cut && lines.len() > 1 {
            lines.remove(0);
        }
        let first = lines.len().saturating_sub(TAIL_LINES);
        lines[first..].iter().map(|&line| line.to_owned()).collect()
    }
}

/// Splits an output into lines, each of a bounded length.
#[derive(Debug)]
pub struct Lines {
    line: Vec<u8>,
    max_bytes: usize,
    cut: bool,
}

impl Lines {
    /// Creates a splitter. It cuts a line that is longer than `max_bytes`, and adds `…`.
    #[must_use]
    pub fn new(max_bytes: usize) -> Self {
        Self { line: Vec::new(), max_bytes, cut: false }
    }

    /// Adds the next part of the output, and passes each complete line to `line`, without its line
    /// end. Bytes that are not UTF-8 are replaced.
    pub fn push(&mut self, chunk: &[u8], line: &mut dyn FnMut(&str)) {
        let mut rest = chunk;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            self.extend(&rest[..end]);
            self.emit(line);
            rest = &rest[end + 1..];
        }
        self.extend(rest);
    }

    /// Passes on the last line if it has no line end.
    pub fn finish(&mut self, line: &mut dyn FnMut(&str)) {
        if !self.line.is_empty() {
            self.emit(line);
        }
    }

    fn extend(&mut self, part: &[u8]) {
        let room = self.max_bytes.saturating_sub(self.line.len()).min(part.len());
        self.cut |= room < part.len();
        self.line.extend_from_slice(&part[..room]);
    }

    fn emit(&mut self, line: &mut dyn FnMut(&str)) {
        let bytes = self.line.strip_suffix(b"\r").unwrap_or(&self.line);
        let mut text = String::from_utf8_lossy(bytes).into_owned();
        if self.cut {
            text.push('…');
        }
        line(&text);
        self.line.clear();
        self.cut = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn log(max_bytes: u64, chunks: &[&str]) -> (String, LogFile) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("1.log");
        let mut log = LogFile::new(File::create(&path).unwrap(), max_bytes);
        for chunk in chunks {
            log.write(chunk.as_bytes());
        }
        (fs::read_to_string(&path).unwrap(), log)
    }

    #[test]
    fn log_below_its_cap_holds_the_whole_output() {
        let (text, log) = log(6, &["abc", "def"]);
        assert_eq!(text, "abcdef");
        assert!(!log.is_capped(), "nothing was left out");
    }

    #[test]
    fn log_beyond_its_cap_says_so_once() {
        let (text, log) = log(4, &["abc", "def", "ghi"]);
        assert_eq!(text, "abcd\n[longshore: the log ends here, at its limit of 4 bytes]\n");
        assert!(log.is_capped());
        assert_eq!(log.tail(), ["abcdefghi"], "the tail is of the whole output");
    }

    #[test]
    fn tail_of_many_lines_is_the_last_fifty() {
        let mut tail = Tail::default();
        for n in 0..200 {
            tail.push(format!("{n}\n").as_bytes());
        }
        let lines = tail.lines();
        assert_eq!((lines.len(), lines[0].as_str(), lines[49].as_str()), (50, "150", "199"));
    }

    #[test]
    fn tail_of_long_lines_is_the_last_whole_ones_in_8_kib() {
        let mut tail = Tail::default();
        for n in 0..20 {
            tail.push(format!("{n:01000}\n").as_bytes());
        }
        let lines = tail.lines();
        assert_eq!(lines.len(), 8, "8 lines of 1001 bytes fit, a cut one is left out");
        assert!(lines[0].ends_with("12") && lines.iter().all(|line| line.len() == 1000));
    }

    #[test]
    fn tail_of_one_endless_line_is_its_end() {
        let mut tail = Tail::default();
        tail.push(&vec![b'a'; 100_000]);
        tail.push(b"b");
        let lines = tail.lines();
        assert_eq!((lines.len(), lines[0].len()), (1, TAIL_BYTES));
        assert!(lines[0].ends_with("ab"));
    }

    fn split(max_bytes: usize, chunks: &[&[u8]]) -> Vec<String> {
        let mut lines = Lines::new(max_bytes);
        let mut found = Vec::new();
        for chunk in chunks {
            lines.push(chunk, &mut |line| found.push(line.to_owned()));
        }
        lines.finish(&mut |line| found.push(line.to_owned()));
        found
    }

    #[test]
    fn lines_across_chunks_are_put_together() {
        assert_eq!(split(80, &[b"a", b"b\nc\r\n", b"\nd"]), ["ab", "c", "", "d"]);
    }

    #[test]
    fn line_beyond_the_limit_is_cut_and_the_next_one_is_whole() {
        assert_eq!(split(3, &[b"ab", b"cde", b"fgh\nij\n"]), ["abc…", "ij"]);
    }

    #[test]
    fn bytes_that_are_no_utf8_are_replaced() {
        assert_eq!(split(9, &[b"a\xffb\n"]), ["a\u{fffd}b"]);
    }
}

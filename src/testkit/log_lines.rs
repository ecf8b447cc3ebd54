//! [`LogLines`]: the logged lines, for tests of a user's view.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use slog::{Drain, Logger, o};
use slog_term::{FullFormat, PlainDecorator};

/// Keeps a log in memory; clones share it.
#[derive(Debug, Clone, Default)]
pub struct LogLines(Arc<Mutex<Vec<u8>>>);

impl LogLines {
    /// Creates a logger that writes here, at every level.
    pub fn logger(&self) -> Logger {
        let format = FullFormat::new(PlainDecorator::new(self.clone())).build();
        Logger::root(Mutex::new(format).ignore_res(), o!())
    }

    /// Returns the first line that contains all of these words.
    #[must_use]
    pub fn line_with(&self, words: &[&str]) -> Option<String> {
        let text = self.text();
        let line = text.lines().find(|line| words.iter().all(|word| line.contains(word)));
        line.map(str::to_owned)
    }

    /// Returns the whole log.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }

    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl io::Write for LogLines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.bytes().extend_from_slice(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

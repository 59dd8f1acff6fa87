//! What happened, line by line in virtual time: equal seeds give equal histories, byte for byte.

use super::laws::{Law, Violation};
use citrix_allowlist::lock::lock;
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hasher as _};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::time::Instant;

/// The most lines that are kept: the end of a long history is what explains a failure.
const MOST_LINES: usize = 200_000;

/// A history. Clones are the same history.
#[derive(Clone, Debug)]
pub struct History {
    start: Instant,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    lines: VecDeque<String>,
    /// A digest of every line so far but the operator's own log, which has random identities in it.
    digest: u64,
    violation: Option<Violation>,
}

impl History {
    /// An empty history that begins now.
    #[must_use]
    pub fn new() -> Self {
        Self { start: Instant::now(), inner: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }

    /// How long it has lasted.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    fn line(&self, what: &str) -> String {
        let passed = self.start.elapsed();
        let (seconds, millis) = (passed.as_secs(), passed.subsec_millis());
        let mut line = String::new();
        let _ = write!(line, "{:4}:{:02}:{:02}.{millis:03} {what}", seconds / 3600, seconds / 60 % 60, seconds % 60);
        line
    }

    /// Adds a line.
    pub fn note(&self, what: &str) {
        let line = self.line(what);
        let mut inner = self.lock();
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(inner.digest);
        hasher.write(line.as_bytes());
        inner.digest = hasher.finish();
        inner.push(line);
    }

    /// Notes that a law was broken. Only the first counts: others follow from it.
    pub fn violated(&self, law: Law, what: &str) {
        self.note(&format!("VIOLATION of `{law}`: {what}"));
        let violation = Violation { law, at: self.elapsed(), what: what.to_owned() };
        self.lock().violation.get_or_insert(violation);
    }

    /// The first law that was broken.
    ///
    /// # Errors
    /// If there is one.
    pub fn result(&self) -> Result<(), Violation> {
        self.lock().violation.clone().map_or(Ok(()), Err)
    }

    /// A digest of everything so far.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.lock().digest
    }

    /// The last lines, oldest first.
    #[must_use]
    pub fn last(&self, count: usize) -> Vec<String> {
        let inner = self.lock();
        inner.lines.iter().skip(inner.lines.len().saturating_sub(count)).cloned().collect()
    }
}

impl Inner {
    fn push(&mut self, line: String) {
        if self.lines.len() == MOST_LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }
}

impl Default for History {
    fn default() -> Self {
        Self::new()
    }
}

/// The operator's own log, between the lines of the history.
impl io::Write for &History {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let line = self.line(&format!("    log: {}", String::from_utf8_lossy(text).trim_end()));
        self.lock().push(line);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

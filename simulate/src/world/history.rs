//! What happened, line by line in virtual time: equal seeds give equal histories, byte for byte.

use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hasher as _};
use std::sync::{Arc, Mutex, PoisonError};
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
    lines: std::collections::VecDeque<String>,
    /// A digest of every line so far.
    digest: u64,
}

impl History {
    /// An empty history that begins now.
    #[must_use]
    pub fn new() -> Self {
        Self { start: Instant::now(), inner: Arc::default() }
    }

    /// Adds a line.
    pub fn note(&self, what: &str) {
        let passed = self.start.elapsed();
        let mut line = String::new();
        let seconds = passed.as_secs();
        let _ = write!(line, "{:4}:{:02}:{:02}.{:03} {what}", seconds / 3600, seconds / 60 % 60, seconds % 60, passed.subsec_millis());
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(inner.digest);
        hasher.write(line.as_bytes());
        inner.digest = hasher.finish();
        if inner.lines.len() == MOST_LINES {
            inner.lines.pop_front();
        }
        inner.lines.push_back(line);
    }

    /// A digest of everything so far.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).digest
    }

    /// The last lines, oldest first.
    #[must_use]
    pub fn last(&self, count: usize) -> Vec<String> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.lines.iter().skip(inner.lines.len().saturating_sub(count)).cloned().collect()
    }
}

impl Default for History {
    fn default() -> Self {
        Self::new()
    }
}

//! The history of a resource: what its policies allowed at one moment, and every change since. Pure.
//!
//! It is kept as JSON lines: the first is a record of everything in force at the beginning, from nothing, and each that follows a
//! change. Replayed in order, they give what was in force at any moment that they cover.

use super::allows::InForce;
use super::difference::Difference;
use super::record::TrailRecord;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::time::Duration;

/// The version of the format.
pub const SCHEMA: &str = "citrix-allowlist.io/history/v1";

/// The most bytes of a history, compressed. A ConfigMap takes 1 MiB, and each write sends the whole.
pub const LARGEST: usize = 256 << 10;

/// The most bytes of a history before compression: neither a forged one nor many equal records may fill the operator's memory.
pub const LARGEST_EXPANDED: usize = 4 << 20;

/// The history of one resource.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResourceHistory {
    /// What was in force before the first record.
    start: InForce,
    /// Since when; `None` before the first record.
    since: Option<Timestamp>,
    records: VecDeque<TrailRecord>,
}

/// The first line.
#[derive(Serialize, Deserialize)]
struct Head {
    schema: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    since: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Difference::is_empty")]
    start: Difference,
}

/// Why a history cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct HistoryError {
    /// The line, from 1.
    line: usize,
    why: String,
}

impl ResourceHistory {
    /// Since when it covers every change; `None` for an empty one.
    #[must_use]
    pub const fn since(&self) -> Option<Timestamp> {
        self.since
    }

    /// What was in force before the first record.
    #[must_use]
    pub const fn start(&self) -> &InForce {
        &self.start
    }

    /// The changes, the oldest first.
    pub fn records(&self) -> impl DoubleEndedIterator<Item = &TrailRecord> {
        self.records.iter()
    }

    /// What is in force after the last record.
    #[must_use]
    pub fn end(&self) -> InForce {
        let mut state = self.start.clone();
        self.records.iter().for_each(|record| state.replay(record));
        state
    }

    /// Adds a change.
    pub fn push(&mut self, record: TrailRecord) {
        self.since = self.since.or(Some(record.at));
        self.records.push_back(record);
    }

    /// Forgets the changes before `now - retention`: what they led to becomes the start.
    pub fn forget_before(&mut self, now: Timestamp, retention: Duration) {
        let Ok(limit) = now.checked_sub(retention) else { return };
        while self.records.front().is_some_and(|record| record.at < limit) {
            self.forget_first();
        }
    }

    /// Forgets the oldest change; what it led to becomes the start.
    fn forget_first(&mut self) {
        if let Some(first) = self.records.pop_front() {
            self.start.replay(&first);
            self.since = Some(first.at);
        }
    }

    /// As lines of JSON.
    ///
    /// # Panics
    /// Never: what it holds always becomes JSON.
    #[must_use]
    pub fn text(&self) -> String {
        let start = Difference::between(&InForce::default(), &self.start);
        let mut text = json(&Head { schema: SCHEMA.to_owned(), since: self.since, start });
        text.push('\n');
        for record in &self.records {
            text.push_str(&json(record));
            text.push('\n');
        }
        text
    }

    /// Reads lines of JSON.
    ///
    /// # Errors
    /// The first line that is none of this format.
    pub fn read(text: &str) -> Result<Self, HistoryError> {
        let mut lines = text.lines().enumerate();
        let error = |line: usize, why: String| HistoryError { line: line + 1, why };
        let (_, first) = lines.next().ok_or_else(|| error(0, "the history is empty".to_owned()))?;
        let head: Head = serde_json::from_str(first).map_err(|why| error(0, why.to_string()))?;
        if head.schema != SCHEMA {
            return Err(error(0, format!("the schema is `{}`; `{SCHEMA}` can be read", head.schema)));
        }
        let mut history = Self { since: head.since, ..Self::default() };
        history.start.apply(&head.start);
        for (number, line) in lines {
            history.records.push_back(serde_json::from_str(line).map_err(|why| error(number, why.to_string()))?);
        }
        Ok(history)
    }

    /// As `pack` makes bytes of its text, at most [`LARGEST`] of at most [`LARGEST_EXPANDED`]: the oldest changes are forgotten until it
    /// fits. `None` where even what is in force alone does not fit.
    pub fn packed<E>(&mut self, pack: impl Fn(&str) -> Result<Vec<u8>, E>) -> Result<Option<Vec<u8>>, E> {
        loop {
            let text = self.text();
            if text.len() <= LARGEST_EXPANDED {
                let packed = pack(&text)?;
                if packed.len() <= LARGEST {
                    return Ok(Some(packed));
                }
            }
            // A quarter at a time: the text is packed again for each try.
            let forget = self.records.len().div_ceil(4);
            if forget == 0 {
                return Ok(None);
            }
            for _ in 0..forget {
                self.forget_first();
            }
        }
    }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("structures and maps of texts are JSON")
}

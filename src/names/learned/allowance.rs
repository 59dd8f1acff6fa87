//! How fast names are learned. Pure: `now` is an argument.

use super::MOST_LEARNED;
use std::time::Instant;

/// How many new names may be learned: each costs a write for every resource that learns it, and pods choose the names.
#[derive(Debug)]
pub(super) struct Allowance {
    left: f64,
    at: Option<Instant>,
}

impl Default for Allowance {
    fn default() -> Self {
        Self { left: Self::BURST, at: None }
    }
}

impl Allowance {
    /// As many as two wildcards may learn, at once.
    const BURST: f64 = 2.0 * MOST_LEARNED as f64;
    /// As many in a second.
    const PER_SECOND: f64 = 50.0;

    /// Takes one, if one is left.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let passed = self.at.map_or(0.0, |at| now.saturating_duration_since(at).as_secs_f64());
        self.at = Some(now);
        self.left = (self.left + passed * Self::PER_SECOND).min(Self::BURST);
        let has_one = self.left >= 1.0;
        self.left -= f64::from(u8::from(has_one));
        has_one
    }
}

//! The one place that asks what time it is. Pure rooms take the answer as an argument.

use jiff::{SignedDuration, Timestamp};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

/// Wall-clock and monotonic time. Schedules run on the monotonic one, so that a clock set back or forward neither
/// stalls nor floods; the wall clock is for what the vendor and people write and read.
#[derive(Clone, Copy, Debug)]
pub enum Clock {
    /// The machine's clocks.
    System,
    /// A wall clock that moves with tokio's own, which tests pause and advance.
    Simulated {
        /// What the wall clock said at `start`.
        epoch: Timestamp,
        /// tokio's monotonic clock at that moment.
        start: tokio::time::Instant,
        /// By how many seconds somebody has set it ahead since; less than zero for back.
        ahead: &'static AtomicI64,
    },
}

impl Clock {
    /// A simulated clock that reads `epoch` now.
    #[must_use]
    pub fn simulated(epoch: Timestamp) -> Self {
        static NOBODY: AtomicI64 = AtomicI64::new(0);
        Self::Simulated { epoch, start: tokio::time::Instant::now(), ahead: &NOBODY }
    }

    /// Wall-clock time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => Timestamp::now(),
            Self::Simulated { epoch, start, ahead } => {
                let passed = SignedDuration::try_from(start.elapsed()).unwrap_or(SignedDuration::MAX);
                let passed = passed.saturating_add(SignedDuration::from_secs(ahead.load(Ordering::Relaxed)));
                epoch.saturating_add(passed).unwrap_or(Timestamp::MAX)
            }
        }
    }

    /// Monotonic time: tokio's, so that a paused test clock holds here too.
    #[must_use]
    pub fn instant(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }
}

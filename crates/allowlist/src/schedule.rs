//! When to request again. Pure: the outcome of the last request, and bounds, give a delay.

use jiff::Timestamp;
use std::time::Duration;

/// The first pause after a failure; doubles with each further one.
const FIRST_BACKOFF: Duration = Duration::from_secs(10);
/// The longest pause after failures that may pass by themselves.
const LONGEST_BACKOFF: Duration = Duration::from_secs(15 * 60);
/// The pause after a 429 that does not say how long: the vendor counts by the minute.
const FIRST_RATE_PAUSE: Duration = Duration::from_secs(60);
/// The pause after a fetch that was begun and never completed; doubles with each further one, up to [`LONGEST_BACKOFF`]. Its answer
/// may have ended the process, so it is not drawn at random: it must not come soon again.
const FIRST_INTERRUPTED_PAUSE: Duration = Duration::from_secs(15);
/// The longest `Retry-After` that is obeyed: a mistaken one must not end all fetching.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3600);
/// The pause after a request that the API refuses, which only the user or the vendor can fix.
const REJECTED_PAUSE: Duration = Duration::from_secs(3600);
/// The longest time between two fetches, whatever is wanted.
const LONGEST_INTERVAL: Duration = Duration::from_secs(366 * 24 * 3600);
/// The most that jitter adds.
const MOST_JITTER: Duration = Duration::from_secs(5 * 60);

/// Bounds on the time between two successful fetches. The shorter is never above the longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IntervalBounds {
    min: Duration,
    max: Duration,
}

impl IntervalBounds {
    /// The common bounds of a list: the shortest of each win, but never less than `floor`.
    #[must_use]
    pub fn shared(asked: impl IntoIterator<Item = (Duration, Duration)>, floor: Duration) -> Self {
        let shortest =
            asked.into_iter().reduce(|(min, max), (other_min, other_max)| (min.min(other_min), max.min(other_max)));
        let (min, max) = shortest.unwrap_or((Duration::from_secs(5 * 60), Duration::from_secs(24 * 3600)));
        let min = min.max(floor);
        // An absurd bound must not overflow a clock.
        let (min, max) = (min.min(LONGEST_INTERVAL), max.min(LONGEST_INTERVAL));
        Self { min, max: max.max(min) }
    }

    /// The shortest time between two fetches.
    #[must_use]
    pub const fn min(self) -> Duration {
        self.min
    }

    /// The longest time between two fetches.
    #[must_use]
    pub const fn max(self) -> Duration {
        self.max
    }
}

/// The outcome of a request, for the schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchOutcome {
    /// A usable list, new or the same.
    Usable {
        /// The list's own next fetch.
        valid_until: Option<Timestamp>,
        /// Whether its content differs from the one before.
        changed: bool,
    },
    /// A list that is held back until one more fetch has confirmed it.
    HeldBack,
    /// A failure that may pass by itself: 5xx, a timeout, a broken body.
    Failed,
    /// The API requests a pause: 429, or 503 with `Retry-After`.
    Paused {
        /// How long, if it says so.
        retry_after: Option<Duration>,
    },
    /// The API refuses the request: 400, 404.
    Rejected,
    /// The process ended before the request completed.
    Interrupted,
}

/// The last completed request, and its history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompletedRequest {
    /// Its outcome.
    pub outcome: FetchOutcome,
    /// When it completed.
    pub at: Timestamp,
    /// How many answers in a row, this one included, were no news, or were past their validity.
    pub stale_answers: u32,
    /// How many requests in a row, this one included, failed.
    pub failures: u32,
}

impl CompletedRequest {
    /// The outcome of a request that completed at `at`, after `before`.
    #[must_use]
    pub fn after(before: Option<&Self>, outcome: FetchOutcome, at: Timestamp, bounds: IntervalBounds) -> Self {
        let (stale, failures) = before.map_or((0, 0), |before| (before.stale_answers, before.failures));
        let (stale_answers, failures) = match outcome {
            FetchOutcome::Usable { valid_until, changed } => {
                let remaining = remaining(valid_until, at);
                let fresh = remaining > bounds.min || (changed && !remaining.is_zero());
                (if fresh { 0 } else { stale.saturating_add(1) }, 0)
            }
            FetchOutcome::HeldBack => (0, 0),
            FetchOutcome::Failed | FetchOutcome::Paused { .. } | FetchOutcome::Rejected | FetchOutcome::Interrupted => {
                (stale, failures.saturating_add(1))
            }
        };
        Self { outcome, at, stale_answers, failures }
    }

    /// How long to wait from `at` on.
    #[must_use]
    pub fn delay(&self, bounds: IntervalBounds) -> Delay {
        match self.outcome {
            FetchOutcome::Usable { valid_until, .. } => {
                let remaining = remaining(valid_until, self.at);
                let wait = if remaining > bounds.min {
                    remaining
                } else {
                    doubled(bounds.min, self.stale_answers.saturating_sub(1))
                };
                Delay::later(wait.clamp(bounds.min, bounds.max))
            }
            FetchOutcome::HeldBack => Delay::later(bounds.min),
            FetchOutcome::Failed => {
                let ceiling = doubled(FIRST_BACKOFF, self.failures.saturating_sub(1));
                Delay { planned: ceiling.min(LONGEST_BACKOFF), jitter: Jitter::Full }
            }
            FetchOutcome::Paused { retry_after } => Delay::later(self.pause(retry_after)),
            FetchOutcome::Rejected => Delay::later(REJECTED_PAUSE),
            FetchOutcome::Interrupted => {
                let pause = doubled(FIRST_INTERRUPTED_PAUSE, self.failures.saturating_sub(1));
                Delay::later(pause.min(LONGEST_BACKOFF))
            }
        }
    }

    /// How long the whole host is not requested after this, if the API wants that.
    #[must_use]
    pub fn host_pause(&self) -> Option<Duration> {
        match self.outcome {
            FetchOutcome::Paused { retry_after } => Some(self.pause(retry_after)),
            _ => None,
        }
    }

    fn pause(&self, retry_after: Option<Duration>) -> Duration {
        match retry_after {
            Some(asked) => asked.clamp(Duration::from_secs(1), LONGEST_RETRY_AFTER),
            None => doubled(FIRST_RATE_PAUSE, self.failures.saturating_sub(1)).min(LONGEST_BACKOFF),
        }
    }
}

/// A time to wait, and its jitter, so that many entries are not requested at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delay {
    /// The time without jitter, for status.
    pub planned: Duration,
    jitter: Jitter,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Jitter {
    /// Up to a tenth more: never before the list's own next fetch.
    Later,
    /// From nothing to the planned time ("full jitter").
    Full,
}

impl Delay {
    const fn later(planned: Duration) -> Self {
        Self { planned, jitter: Jitter::Later }
    }

    /// The time to wait, for a random `fraction` from 0 to 1.
    #[must_use]
    pub fn jittered(self, fraction: f64) -> Duration {
        let fraction = if fraction.is_finite() { fraction.clamp(0.0, 1.0) } else { 1.0 };
        match self.jitter {
            Jitter::Later => self.planned.saturating_add((self.planned / 10).min(MOST_JITTER).mul_f64(fraction)),
            Jitter::Full => self.planned.mul_f64(fraction).max(Duration::from_secs(1)),
        }
    }
}

/// How long from `at` until the list's own next fetch; zero if it has none, or it has passed.
fn remaining(valid_until: Option<Timestamp>, at: Timestamp) -> Duration {
    valid_until.map_or(Duration::ZERO, |until| Duration::try_from(until.duration_since(at)).unwrap_or(Duration::ZERO))
}

fn doubled(base: Duration, times: u32) -> Duration {
    base.saturating_mul(2u32.saturating_pow(times.min(30)))
}

#[cfg(test)]
mod tests;

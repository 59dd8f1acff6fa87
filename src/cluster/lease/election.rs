//! Decides who leads. Pure: what was seen of the Lease, and when, → what to do next.
//!
//! client-go's rules: another holder's lease is over when its record has not changed for the duration that it states. Our own
//! monotonic clock measures that, from the moment we saw it change; no two clocks are ever compared. A leader stops by itself
//! well before that (the fence), measured from before its last successful write was sent.

use std::time::{Duration, Instant};

/// The intervals of an election.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How long others must wait after the last renewal: the duration in the Lease. Whole seconds.
    pub duration: Duration,
    /// How long after its last renewal a leader renews again.
    pub renew: Duration,
    /// How long after a failed attempt the next one follows.
    pub retry: Duration,
    /// How long after sending its last successful renewal a leader stops leading.
    pub fence: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self::of(Duration::from_secs(15))
    }
}

impl Timing {
    /// The intervals for a duration: renewal after a third of it, the fence at two thirds.
    #[must_use]
    pub fn of(duration: Duration) -> Self {
        Self { duration, renew: duration / 3, retry: duration * 2 / 15, fence: duration * 2 / 3 }
    }

    /// How long one call of a leader may take, so that two fit between renewal and fence.
    #[must_use]
    pub fn call(&self) -> Duration {
        self.fence.saturating_sub(self.renew) / 2
    }
}

/// The content of a Lease: everything in which a renewal differs from the one before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The holder; empty if it was released.
    pub holder: String,
    /// How long others must wait after a renewal.
    pub duration: Duration,
    /// The holder's clock at the renewal: only checked for a change, never compared with our clock.
    pub renewed: Option<jiff::Timestamp>,
    /// How many times the holder has changed.
    pub transitions: i32,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElectionStep {
    /// Write the Lease to become the leader.
    Acquire,
    /// Write the Lease to stay the leader.
    Renew,
    /// Read the Lease: what is known of it is in doubt.
    Look,
    /// Stop leading, now.
    Lost,
    /// Nothing until then, or until the Lease changes.
    Wait(Instant),
}

/// What is known of the Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Nothing,
    Absent,
    Record { record: Record, since: Instant },
}

/// The state of one candidate.
#[derive(Clone, Debug)]
pub struct Election {
    identity: String,
    timing: Timing,
    /// How much longer than others this candidate waits, and how much earlier it renews.
    later: Duration,
    earlier: Duration,
    seen: Seen,
    /// When the last successful write was sent, while leading.
    renewed: Option<Instant>,
    not_before: Option<Instant>,
    doubtful: bool,
}

impl Election {
    /// A candidate that has seen nothing yet. `spread`, between 0 and 1, keeps candidates from moving in step: it is the fraction of
    /// `retry` that this one waits longer, and of a tenth of `renew` that it renews earlier.
    #[must_use]
    pub fn new(identity: impl Into<String>, timing: Timing, spread: f64) -> Self {
        let spread = spread.clamp(0.0, 1.0);
        Self {
            identity: identity.into(),
            timing,
            later: timing.retry.mul_f64(spread),
            earlier: timing.renew.mul_f64(spread / 10.0),
            seen: Seen::Nothing,
            renewed: None,
            not_before: None,
            doubtful: false,
        }
    }

    /// Until when this candidate leads unless it renews; `None` if it does not lead.
    #[must_use]
    pub fn fence(&self) -> Option<Instant> {
        self.renewed.map(|renewed| renewed + self.timing.fence)
    }

    /// The transitions of the last known record, and whether we hold it: the next write builds on both.
    #[must_use]
    pub fn transitions(&self) -> (i32, bool) {
        match &self.seen {
            Seen::Record { record, .. } => (record.transitions, record.holder == self.identity),
            Seen::Nothing | Seen::Absent => (0, false),
        }
    }

    /// The watch showed the Lease (`None`: it does not exist). Watches lag: what would end our leadership is read first.
    pub fn watched(&mut self, record: Option<Record>, now: Instant) {
        let ours = record.as_ref().is_some_and(|record| record.holder == self.identity);
        if self.renewed.is_none() {
            self.read(record, now);
        } else if !ours {
            self.doubtful = true;
        }
    }

    /// A read of the Lease itself answered (`None`: it does not exist).
    pub fn read(&mut self, record: Option<Record>, now: Instant) {
        self.doubtful = false;
        self.seen = match (record, &self.seen) {
            (None, _) => Seen::Absent,
            // Only a changed record restarts the wait: labels and the like may change for ever.
            (Some(record), Seen::Record { record: known, since }) if record == *known => {
                Seen::Record { record, since: *since }
            }
            (Some(record), _) => Seen::Record { record, since: now },
        };
    }

    /// A write sent at `sent` succeeded, and the Lease contains `record`.
    pub fn written(&mut self, record: Record, sent: Instant) {
        self.renewed = (record.holder == self.identity).then_some(sent);
        self.seen = Seen::Record { record, since: sent };
        self.not_before = None;
        self.doubtful = false;
    }

    /// A write was refused because the Lease is not what we know.
    pub fn outdated(&mut self) {
        self.doubtful = true;
    }

    /// A call failed otherwise, or was not answered.
    pub fn failed(&mut self, now: Instant) {
        self.not_before = Some(now + self.timing.retry + self.later);
        if self.doubtful && self.renewed.is_some() {
            // The watch shows another holder, and nothing contradicts it.
            self.seen = Seen::Nothing;
        }
    }

    /// Leading has ended, after [`ElectionStep::Lost`].
    pub fn stopped(&mut self) {
        self.renewed = None;
    }

    /// What to do at `now`.
    #[must_use]
    pub fn decide(&self, now: Instant) -> ElectionStep {
        let allowed = self.not_before.filter(|earliest| *earliest > now);
        if let Some(renewed) = self.renewed {
            let fence = renewed + self.timing.fence;
            let is_holder = matches!(&self.seen, Seen::Record { record, .. } if record.holder == self.identity);
            let due = renewed + self.timing.renew - self.earlier;
            return match allowed.or(Some(due).filter(|due| *due > now)) {
                _ if !is_holder || now >= fence => ElectionStep::Lost,
                _ if self.doubtful && allowed.is_none() => ElectionStep::Look,
                Some(later) => ElectionStep::Wait(later.min(fence)),
                None => ElectionStep::Renew,
            };
        }
        if let Some(earliest) = allowed {
            return ElectionStep::Wait(earliest);
        }
        match &self.seen {
            Seen::Nothing => ElectionStep::Look,
            _ if self.doubtful => ElectionStep::Look,
            Seen::Absent => ElectionStep::Acquire,
            Seen::Record { record, .. } if record.holder.is_empty() || record.holder == self.identity => {
                ElectionStep::Acquire
            }
            Seen::Record { record, since } => {
                match since.checked_add(record.duration).and_then(|expiry| expiry.checked_add(self.later)) {
                    Some(expiry) if now >= expiry => ElectionStep::Acquire,
                    Some(expiry) => ElectionStep::Wait(expiry),
                    // A duration beyond the clock's end: try again in a while.
                    None => ElectionStep::Wait(now + self.timing.duration),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;

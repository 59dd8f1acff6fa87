//! Who leads, decided. Pure: what the Lease was seen to say, and when, → what to do next.
//!
//! client-go's rules: another holder's lease is over when its record has not changed for the duration that it states,
//! measured on our own monotonic clock from the moment we saw it change. No two clocks are ever compared. A leader
//! stops by itself a good while before that (the fence), measured from before its last successful write was sent.

use std::time::{Duration, Instant};

/// The intervals of an election.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How long others must wait after the last renewal: what the Lease states. Whole seconds.
    pub duration: Duration,
    /// How long after its last renewal a leader renews again.
    pub renew: Duration,
    /// How long after a failed attempt the next one is made.
    pub retry: Duration,
    /// How long after its last successful renewal was sent a leader stops leading.
    pub fence: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self::of(Duration::from_secs(15))
    }
}

impl Timing {
    /// The intervals that go with a duration: renewal after a third of it, the fence at two thirds.
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

/// What a Lease says: everything by which a renewal differs from the one before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Who holds it; empty where it was released.
    pub holder: String,
    /// How long others must wait after a renewal.
    pub duration: Duration,
    /// The holder's clock at the renewal: compared for being different, never with a clock of ours.
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
    /// Nothing until then, or until the Lease is seen to change.
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
    /// A fraction between 0 and 1 of `retry` that this candidate waits longer than others.
    spread: f64,
    seen: Seen,
    /// When the last successful write was sent, while leading.
    renewed: Option<Instant>,
    not_before: Option<Instant>,
    doubtful: bool,
}

impl Election {
    /// A candidate that has seen nothing yet. `spread`, between 0 and 1, keeps candidates from moving in step.
    #[must_use]
    pub fn new(identity: impl Into<String>, timing: Timing, spread: f64) -> Self {
        Self {
            identity: identity.into(),
            timing,
            spread: spread.clamp(0.0, 1.0),
            seen: Seen::Nothing,
            renewed: None,
            not_before: None,
            doubtful: false,
        }
    }

    /// Until when this candidate leads unless it renews; `None` where it does not lead.
    #[must_use]
    pub fn fence(&self) -> Option<Instant> {
        self.renewed.map(|renewed| renewed + self.timing.fence)
    }

    /// What the last known record says of transitions, and whether we hold it: what the next write builds on.
    #[must_use]
    pub fn transitions(&self) -> (i32, bool) {
        match &self.seen {
            Seen::Record { record, .. } => (record.transitions, record.holder == self.identity),
            Seen::Nothing | Seen::Absent => (0, false),
        }
    }

    /// The watch showed the Lease (`None`: it is not there). Watches lag: what would end our leadership is read first.
    pub fn watched(&mut self, record: Option<Record>, now: Instant) {
        let ours = record.as_ref().is_some_and(|record| record.holder == self.identity);
        if self.renewed.is_none() {
            self.read(record, now);
        } else if !ours {
            self.doubtful = true;
        }
    }

    /// A read of the Lease itself answered (`None`: it is not there).
    pub fn read(&mut self, record: Option<Record>, now: Instant) {
        self.doubtful = false;
        self.seen = match (record, &self.seen) {
            (None, _) => Seen::Absent,
            // Only a record that changed restarts the wait: labels and the like may change for ever.
            (Some(record), Seen::Record { record: known, since }) if record == *known => {
                Seen::Record { record, since: *since }
            }
            (Some(record), _) => Seen::Record { record, since: now },
        };
    }

    /// A write sent at `sent` succeeded, and the Lease says `record`.
    pub fn written(&mut self, record: Record, sent: Instant) {
        self.renewed = (record.holder == self.identity).then_some(sent);
        self.seen = Seen::Record { record, since: sent };
        self.not_before = None;
        self.doubtful = false;
    }

    /// A write was refused because the Lease is not what we took it for.
    pub fn outdated(&mut self) {
        self.doubtful = true;
    }

    /// A call failed otherwise, or was not answered.
    pub fn failed(&mut self, now: Instant) {
        self.not_before = Some(now + self.timing.retry.mul_f64(1.0 + self.spread));
        if self.doubtful && self.renewed.is_some() {
            // The watch says that somebody else holds it, and nothing says otherwise.
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
            let held = matches!(&self.seen, Seen::Record { record, .. } if record.holder == self.identity);
            let due = renewed + self.timing.renew.mul_f64(1.0 - self.spread / 10.0);
            return match allowed.or(Some(due).filter(|due| *due > now)) {
                _ if !held || now >= fence => ElectionStep::Lost,
                _ if self.doubtful && allowed.is_none() => ElectionStep::Look,
                Some(later) => ElectionStep::Wait(later.min(fence)),
                None => ElectionStep::Renew,
            };
        }
        if let Some(earliest) = allowed {
            return ElectionStep::Wait(earliest);
        }
        match &self.seen {
            _ if self.doubtful => ElectionStep::Look,
            Seen::Nothing => ElectionStep::Look,
            Seen::Absent => ElectionStep::Acquire,
            Seen::Record { record, .. } if record.holder.is_empty() || record.holder == self.identity => {
                ElectionStep::Acquire
            }
            Seen::Record { record, since } => {
                let expiry = since
                    .checked_add(record.duration)
                    .and_then(|expiry| expiry.checked_add(self.timing.retry.mul_f64(self.spread)));
                match expiry {
                    Some(expiry) if now >= expiry => ElectionStep::Acquire,
                    Some(expiry) => ElectionStep::Wait(expiry),
                    // A duration beyond the clock's end: look again in a while.
                    None => ElectionStep::Wait(now + self.timing.duration),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;

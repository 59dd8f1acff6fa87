//! How soon a failed reconcile is tried again. Pure.

use std::time::{Duration, Instant};

/// The first wait.
const BASE: Duration = Duration::from_millis(500);
/// The longest wait: a cluster that works again is noticed soon.
const CAP: Duration = Duration::from_secs(120);

/// The wait after this many failures in a row, at least one. It doubles each time, up to two minutes. `random`, from 0 to 1,
/// takes between half and all of it: a thousand resources that fail together do not retry together.
#[must_use]
pub fn delay(failures: u32, random: f64) -> Duration {
    let longest = BASE.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(CAP);
    longest.mul_f64(0.5 + 0.5 * random.clamp(0.0, 1.0))
}

/// How far apart a resource that fails is tried again.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backoff {
    failures: u32,
    due: Option<Instant>,
}

impl Backoff {
    /// The wait after a failure. What is tried before its time, since something woke it, lengthens no wait. For example, pods that ask
    /// for a new name each second wake a resource each second: otherwise ten seconds without an API server would end in a wait of two
    /// minutes.
    #[must_use]
    pub fn failed(&mut self, now: Instant, random: f64) -> Duration {
        if let Some(due) = self.due.filter(|due| now < *due) {
            return due - now;
        }
        self.failures = self.failures.saturating_add(1);
        let delay = delay(self.failures, random);
        self.due = Some(now + delay);
        delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_tried_before_its_time_lengthens_no_wait() {
        let (mut backoff, start, ms) = (Backoff::default(), Instant::now(), Duration::from_millis);
        assert_eq!(backoff.failed(start, 1.0), ms(500));
        for early in 1..500 {
            assert_eq!(backoff.failed(start + ms(early), 1.0), ms(500 - early), "due when it was");
        }
        assert_eq!(backoff.failed(start + ms(500), 1.0), ms(1000), "in its time, it counts");
        assert_eq!(backoff.failed(start + ms(1500), 1.0), ms(2000));
    }

    #[test]
    fn waits_double_up_to_a_cap_and_spread_over_the_upper_half() {
        assert_eq!(delay(1, 1.0), Duration::from_millis(500));
        assert_eq!(delay(3, 1.0), Duration::from_secs(2));
        assert_eq!(delay(3, 0.0), Duration::from_secs(1));
        assert_eq!(delay(60, 1.0), CAP);
        assert_eq!(delay(0, 0.0), Duration::from_millis(250));
    }
}

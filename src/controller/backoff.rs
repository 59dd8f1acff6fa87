//! How soon a failed reconcile is tried again. Pure.

use std::time::Duration;

/// The first wait.
const BASE: Duration = Duration::from_millis(500);
/// The longest wait: a cluster that is back should not be waited for much longer.
const CAP: Duration = Duration::from_secs(120);

/// The wait after so many failures in a row, at least one: doubled each time up to two minutes, and of that a random
/// part between half and all, so that a thousand resources that failed together do not come back together. `random` is
/// from 0 to 1.
#[must_use]
pub fn delay(failures: u32, random: f64) -> Duration {
    let longest = BASE.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(CAP);
    longest.mul_f64(0.5 + 0.5 * random.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_cap_and_spread_over_the_upper_half() {
        assert_eq!(delay(1, 1.0), Duration::from_millis(500));
        assert_eq!(delay(3, 1.0), Duration::from_secs(2));
        assert_eq!(delay(3, 0.0), Duration::from_secs(1));
        assert_eq!(delay(60, 1.0), CAP);
        assert_eq!(delay(0, 0.0), Duration::from_millis(250));
    }
}

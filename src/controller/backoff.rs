//! How soon a failed reconcile is tried again. Pure.

use std::time::Duration;

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

//! The memory limit of the process, and when it sheds load to stay below it. Pure, but for [`cgroup`].
//!
//! A process that passes its limit is killed, and every tenant's changes wait until it has restarted. So before that, it delays
//! what can wait without breaking a promise: first policies of new resources, and large lists. Applied policies stay current.

pub mod cgroup;

use crate::lock::lock;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The part of the limit, in percent, from which load is shed. The rest of the chart's 256 MiB, 38 MiB, has room for the largest
/// possible list, compressed, as received and as read.
pub const SHED_FROM: u64 = 85;
/// The part of the limit, in percent, below which shedding ends. The distance keeps the operator from going back and forth with
/// each list it reads.
pub const SHED_UNTIL: u64 = 75;
/// The largest list that is read while load is shed, in bytes: five times the longest known one. A longer one waits.
pub const LARGE_LIST: usize = 128 << 10;
/// How soon delayed work is tried again.
pub const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// The memory that the process uses and may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryUsage {
    /// What cannot be reclaimed, in bytes.
    pub used: u64,
    /// The limit, in bytes.
    pub limit: u64,
}

impl MemoryUsage {
    /// The used part of the limit, in percent, rounded down; 100 for a limit of zero.
    #[must_use]
    pub const fn percent(self) -> u64 {
        match self.used.saturating_mul(100).checked_div(self.limit) {
            Some(percent) => percent,
            None => 100,
        }
    }

    /// How much is left, in bytes.
    #[must_use]
    pub const fn left(self) -> u64 {
        self.limit.saturating_sub(self.used)
    }
}

impl fmt::Display for MemoryUsage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} % of {} MiB", self.percent(), self.limit >> 20)
    }
}

/// Whether load is to be shed, given whether it was `before`. Without a limit it never is.
#[must_use]
pub const fn sheds(before: bool, usage: Option<MemoryUsage>) -> bool {
    match usage {
        None => false,
        Some(usage) => usage.percent() >= if before { SHED_UNTIL } else { SHED_FROM },
    }
}

/// Whether the process is short of memory, for code that can delay work. Cheap to clone and to read.
#[derive(Clone, Debug, Default)]
pub struct Pressure(Arc<Mutex<Noted>>);

#[derive(Debug, Default)]
struct Noted {
    sheds: bool,
    usage: Option<MemoryUsage>,
}

impl Pressure {
    /// Whether load is to be shed.
    #[must_use]
    pub fn is_high(&self) -> bool {
        lock(&self.0).sheds
    }

    /// The last reading; `None` without a limit.
    #[must_use]
    pub fn usage(&self) -> Option<MemoryUsage> {
        lock(&self.0).usage
    }

    /// Takes a reading in. Returns whether load is to be shed, if that has changed.
    pub fn note(&self, usage: Option<MemoryUsage>) -> Option<bool> {
        let mut noted = lock(&self.0);
        let (before, now) = (noted.sheds, sheds(noted.sheds, usage));
        *noted = Noted { sheds: now, usage };
        (before != now).then_some(now)
    }

    /// What waits, and why, in words. Only the limit: the use changes each second, and so would the status.
    #[must_use]
    pub fn in_words(&self, what: &str) -> String {
        let limit = self.usage().map_or_else(String::new, |usage| format!(" of {} MiB", usage.limit >> 20));
        format!(
            "{what} waits: the operator is close to its memory limit{limit}; raise the container's limit, or narrow what fills it"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(used: u64) -> Option<MemoryUsage> {
        Some(MemoryUsage { used: used << 20, limit: 256 << 20 })
    }

    #[test]
    fn load_is_shed_between_two_parts_of_the_limit() {
        let pressure = Pressure::default();
        assert_eq!((pressure.is_high(), pressure.usage()), (false, None));
        let steps =
            [(217, None), (218, Some(true)), (200, None), (256, None), (300, None), (192, None), (191, Some(false))];
        for (used, changed) in steps {
            assert_eq!(pressure.note(usage(used)), changed, "{used} MiB of 256");
        }
        assert_eq!(pressure.note(usage(217)), None, "the way back up is as long as the first");
        assert_eq!(pressure.usage(), usage(217));
    }

    #[test]
    fn without_a_limit_nothing_is_ever_shed() {
        let pressure = Pressure::default();
        assert_eq!(pressure.note(Some(MemoryUsage { used: 1, limit: 1 })), Some(true));
        assert_eq!(pressure.note(None), Some(false));
        assert!(!sheds(true, None) && !sheds(false, None));
        assert_eq!(MemoryUsage { used: 0, limit: 0 }.percent(), 100);
        assert!(
            !sheds(false, Some(MemoryUsage { used: u64::MAX, limit: u64::MAX })),
            "no such memory: it does not overflow"
        );
    }

    #[test]
    fn a_wait_gives_its_reason() {
        let pressure = Pressure::default();
        pressure.note(usage(230));
        let words = pressure.in_words("a list of 200000 bytes");
        let start = "a list of 200000 bytes waits: the operator is close to its memory limit of 256 MiB;";
        assert!(words.starts_with(start), "{words}");
    }
}

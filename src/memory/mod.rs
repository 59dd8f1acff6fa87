//! The memory that the process may use, and when it sheds load to stay under it. Pure, but for [`cgroup`].
//!
//! A process that passes its limit is killed, and takes every tenant's changes along for as long as it restarts. So before that it
//! puts off what can wait without breaking a promise: the first policies of new resources, and large lists. What is applied
//! stays and is kept current.

pub mod cgroup;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// From which part of the limit on load is shed, in percent. What is left of the chart's 256 MiB then, 38 MiB, holds the
/// largest list there may be, compressed, as it came and read.
pub const SHED_FROM: u64 = 85;
/// Under which part of the limit no load is shed any more, in percent: apart from the other, so that the operator does not go
/// back and forth with each list it reads.
pub const SHED_UNTIL: u64 = 75;
/// The largest list that is read while load is shed, in bytes: five times the longest list known. One that is longer waits.
pub const LARGE_LIST: usize = 128 << 10;
/// How soon what was put off is looked at again.
pub const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// What the process uses of the memory it may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryUsage {
    /// What cannot be taken back from it, in bytes.
    pub used: u64,
    /// The most it may use, in bytes.
    pub limit: u64,
}

impl MemoryUsage {
    /// The part of the limit that is used, in percent, rounded down. No limit at all would be none to have.
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

/// Whether load is to be shed: `before` says whether it has been until now. Without a limit there is nothing to stay under.
#[must_use]
pub const fn sheds(before: bool, usage: Option<MemoryUsage>) -> bool {
    match usage {
        None => false,
        Some(usage) => usage.percent() >= if before { SHED_UNTIL } else { SHED_FROM },
    }
}

/// Whether the process is short of memory, for code that could put work off. Cheap to clone and to ask.
#[derive(Clone, Debug, Default)]
pub struct Pressure(Arc<Noted>);

#[derive(Debug, Default)]
struct Noted {
    sheds: AtomicBool,
    used: AtomicU64,
    /// 0 where there is none.
    limit: AtomicU64,
}

impl Pressure {
    /// Whether load is to be shed.
    #[must_use]
    pub fn is_high(&self) -> bool {
        self.0.sheds.load(Ordering::Relaxed)
    }

    /// What was read last; `None` where there is no limit.
    #[must_use]
    pub fn usage(&self) -> Option<MemoryUsage> {
        let (used, limit) = (self.0.used.load(Ordering::Relaxed), self.0.limit.load(Ordering::Relaxed));
        (limit > 0).then_some(MemoryUsage { used, limit })
    }

    /// Takes a reading in; says whether load is to be shed where that is another answer than before.
    pub fn note(&self, usage: Option<MemoryUsage>) -> Option<bool> {
        let (used, limit) = usage.map_or((0, 0), |usage| (usage.used, usage.limit));
        self.0.used.store(used, Ordering::Relaxed);
        self.0.limit.store(limit, Ordering::Relaxed);
        let before = self.is_high();
        let now = sheds(before, usage);
        self.0.sheds.store(now, Ordering::Relaxed);
        (before != now).then_some(now)
    }

    /// What is put off, and why, in words. The limit alone: what is used changes each second, and status would be written for it.
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
    fn load_is_shed_from_one_part_on_and_until_it_is_under_another() {
        let pressure = Pressure::default();
        assert_eq!((pressure.is_high(), pressure.usage()), (false, None));
        let steps =
            [(217, None), (218, Some(true)), (200, None), (256, None), (300, None), (192, None), (191, Some(false))];
        for (used, told) in steps {
            assert_eq!(pressure.note(usage(used)), told, "{used} MiB of 256");
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
    fn what_waits_says_why() {
        let pressure = Pressure::default();
        pressure.note(usage(230));
        let said = pressure.in_words("a list of 200000 bytes");
        assert!(
            said.starts_with("a list of 200000 bytes waits: the operator is close to its memory limit of 256 MiB;"),
            "{said}"
        );
    }
}

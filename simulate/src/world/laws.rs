//! What must hold.

use std::fmt;
use std::time::Duration;

/// A law of the operator, watched at every version of every object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Law {
    /// What is allowed stays allowed while nobody withdrew it.
    NeverNarrower,
    /// Nothing is allowed that no list, answer and spec allow.
    NeverWider,
    /// No rule is for everybody, on every port, or for every pod.
    NeverEverything,
    /// The last policy of a direction goes only by the user's word.
    LastPolicy,
    /// An older list takes nothing back.
    NeverOlder,
    /// Only the holder of the Lease writes.
    OneWriter,
    /// The vendor gets at most five requests in any minute.
    FiveAMinute,
    /// Status is true within a bound after the last fault.
    Settles,
    /// Policies have exactly what they should, once nothing is wrong any more.
    Exact,
    /// After that nothing is written, and each name is queried once a TTL.
    Quiet,
    /// Nothing is left when everything is deleted.
    Forgets,
    /// No process ends by itself.
    Lives,
    /// Every change is reconciled without the watchdog.
    Wakes,
    /// What a process knows does not grow beyond what there is.
    Bounded,
    /// Each address that the forwarder gives out is allowed by every resource that wants its name, or the answer is counted.
    InForce,
    /// What policies allow is what the history of their resource leads to.
    Trail,
}

impl Law {
    /// Its name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NeverNarrower => "never narrower",
            Self::NeverWider => "never wider",
            Self::NeverEverything => "never everything",
            Self::LastPolicy => "last policy",
            Self::NeverOlder => "never older",
            Self::OneWriter => "one writer",
            Self::FiveAMinute => "five a minute",
            Self::Settles => "settles",
            Self::Exact => "exact",
            Self::Quiet => "quiet",
            Self::Forgets => "forgets",
            Self::Lives => "lives",
            Self::Wakes => "wakes",
            Self::Bounded => "bounded",
            Self::InForce => "in force",
            Self::Trail => "trail",
        }
    }
}

impl fmt::Display for Law {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A law that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub law: Law,
    /// When, since the world began.
    pub at: Duration,
    /// How.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.at.as_secs();
        write!(f, "`{}` at {}:{:02}:{:02}: {}", self.law, seconds / 3600, seconds / 60 % 60, seconds % 60, self.what)
    }
}

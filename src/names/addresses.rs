//! What is known of names at one moment: `names` hands it to `plan`. Pure.

use crate::bound::Full;
use connectivity_allowlist::net::DomainName;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// What is known of each name a resource wants, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// By name; every queried name has an entry.
    pub by_name: BTreeMap<DomainName, Arc<NameAddresses>>,
}

/// What is known of one name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameAddresses {
    /// Addresses to allow, sorted, IPv4 first: those last answered and those still retained. All passed the guard.
    pub addresses: Vec<IpAddr>,
    /// The name's state.
    pub state: NameState,
    /// Answered addresses that the guard refuses, within the retention, sorted; at most 64.
    pub refused: Vec<RefusedAddress>,
    /// How many addresses the newest round evicted, since the name has more than its bound.
    pub evicted: usize,
    /// Other bounds that the name reached.
    pub reached: Reached,
}

/// The bounds that one name reached, besides the one on its own addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// The bound that left out new addresses of the newest answers.
    pub left_out: Option<Full>,
    /// Whether it is queried notably less often than its TTL allows: a server's queries per second are used up.
    pub late: bool,
}

/// The state of a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NameState {
    /// No server has answered or failed yet.
    #[default]
    Waiting,
    /// The newest definitive answer has addresses.
    Answered,
    /// The newest definitive answer has none (NXDOMAIN or NODATA in both families).
    Absent,
    /// The last queries got no definitive answer: servers fail, refuse or are silent. Known addresses stay.
    Failing {
        /// The first failure, for people.
        error: Arc<str>,
        /// Whether it has lasted beyond `--max-stale`.
        stale: bool,
        /// Whether the name ever had a definitive answer in both families, also before a restart that a resource recovers
        /// from. One family is enough if it has addresses and the other failed three times.
        ever_answered: bool,
    },
    /// This bound leaves no room for the name: it is not queried. Recovered addresses stay.
    LeftOut(Full),
}

impl NameState {
    /// Every word of [`Self::label`] for queried names.
    pub const LABELS: [&'static str; 5] = ["waiting", "answered", "absent", "failing", "stale"];

    /// The state in one word.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Answered => "answered",
            Self::Absent => "absent",
            Self::Failing { stale: true, .. } => "stale",
            Self::Failing { stale: false, .. } => "failing",
            Self::LeftOut(_) => "left-out",
        }
    }

    /// Whether the last queries got no definitive answer.
    #[must_use]
    pub const fn is_failing(&self) -> bool {
        matches!(self, Self::Failing { .. })
    }

    /// Whether passing time counts for addresses that answers lack: DNS answers, or is silent for longer than `--max-stale`.
    #[must_use]
    pub const fn is_settled(&self) -> bool {
        matches!(self, Self::Answered | Self::Absent | Self::Failing { stale: true, .. })
    }

    /// Whether nothing is left to wait for: the name ever had a definitive answer, or is left out and gets none.
    #[must_use]
    pub const fn is_definitive(&self) -> bool {
        match self {
            Self::Waiting => false,
            Self::Answered | Self::Absent | Self::LeftOut(_) => true,
            Self::Failing { ever_answered, .. } => *ever_answered,
        }
    }
}

/// An answered address that the guard refused.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RefusedAddress {
    /// The address.
    pub address: IpAddr,
    /// The server that gave it.
    pub server: SocketAddr,
    /// Why it was refused, as a person reads it: `loopback`, `the cluster's Service range 10.96.0.0/12`.
    pub reason: Arc<str>,
}

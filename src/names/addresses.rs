//! What is known of names at one moment: what `names` hands to `plan`. Pure.

use crate::bound::Full;
use connectivity_allowlist::net::DomainName;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// What is known of each name a resource wants, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// By name; every name that was asked for has an entry.
    pub by_name: BTreeMap<DomainName, Arc<NameAddresses>>,
}

/// What is known of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameAddresses {
    /// Addresses to allow, sorted, IPv4 first: those last answered and those still retained. All passed the guard.
    pub addresses: Vec<IpAddr>,
    /// Where the name stands.
    pub state: NameState,
    /// Addresses that were answered, within the retention, and that the guard refuses, sorted; at most 64.
    pub refused: Vec<RefusedAddress>,
    /// How many addresses the newest round of answers cost because the name has more than the bound allows.
    pub evicted: usize,
    /// What else a bound costs.
    pub reached: Reached,
}

/// What bounds cost one name, beside those on its own addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// Which bound has no room for new addresses of the newest answers.
    pub left_out: Option<Full>,
    /// Whether it is asked notably less often than its TTL says, since a server's questions a second are used up.
    pub late: bool,
}

/// Where a name stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameState {
    /// No server has answered yet, definitively or not.
    Waiting,
    /// The newest definitive answer holds addresses.
    Answered,
    /// The newest definitive answer says the name has none (NXDOMAIN or NODATA in both families).
    Absent,
    /// No definitive answer to the last questions: servers fail, refuse or are silent. What was known stays.
    Failing {
        /// What went wrong when it began, as a person reads it.
        error: Arc<str>,
        /// Whether it has lasted beyond `--max-stale`.
        stale: bool,
        /// Whether the name ever had a definitive answer, before the failing or, for a resource that remembers it, before a restart.
        /// One in both families: unless the other has addresses and this one has failed three times.
        ever_answered: bool,
    },
    /// It is not asked: there is no room for it, by this bound. What is remembered of it stays.
    LeftOut(Full),
}

impl NameState {
    /// Every word of [`Self::label`] for names that are asked.
    pub const LABELS: [&'static str; 5] = ["waiting", "answered", "absent", "failing", "stale"];

    /// Where the name stands, in one word.
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

    /// Whether the last questions brought no definitive answer.
    #[must_use]
    pub const fn is_failing(&self) -> bool {
        matches!(self, Self::Failing { .. })
    }

    /// Whether time that passes counts for what is missing from answers: DNS answers, or has been silent for so long
    /// (`--max-stale`) that nobody may wait for it any more.
    #[must_use]
    pub const fn is_settled(&self) -> bool {
        matches!(self, Self::Answered | Self::Absent | Self::Failing { stale: true, .. })
    }

    /// Whether nobody need wait for the name: it has had a definitive answer (records, NXDOMAIN or NODATA) to the newest or an
    /// earlier question, or gets none since it is left out.
    #[must_use]
    pub const fn is_definitive(&self) -> bool {
        match self {
            Self::Waiting => false,
            Self::Answered | Self::Absent | Self::LeftOut(_) => true,
            Self::Failing { ever_answered, .. } => *ever_answered,
        }
    }
}

/// An address that an answer held and the guard refused.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RefusedAddress {
    /// The address.
    pub address: IpAddr,
    /// The server that answered so.
    pub server: SocketAddr,
    /// Why it was refused, as a person reads it: `loopback`, `the cluster's Service range 10.96.0.0/12`.
    pub reason: Arc<str>,
}

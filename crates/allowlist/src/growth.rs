//! Whether a new list that opens far more than the last one may be accepted at once. Pure.
//!
//! A check of single networks accepts every /8, one by one, and a name opens all its addresses. So a list that suddenly grows very
//! much, or whose networks in sum are a part of the whole Internet, is accepted only when the next fetch returns the same. A list
//! that a proxy or an edge invented once is never followed.

use crate::list::Allowlist;
use crate::net::cidr::{GLOBAL_UNICAST, IPV4_ADDRESSES};
use crate::net::{Direction, cidr};
use ipnet::IpNet;
use std::collections::BTreeSet;
use std::fmt;

/// How many times as large as the list in use a list may be. The vendor's grow by a few entries a month.
pub const MOST_GROWTH: usize = 100;
/// The part of all addresses that a list's networks may open in sum: one in 256. Of IPv4 that is a single /8; the networks of the
/// longest known list are one in ten million.
pub const SHARE: u128 = 256;

/// Why a list waits for a second fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Growth {
    /// It has more than [`MOST_GROWTH`] times as many names and wildcards, or networks.
    Count {
        /// What it has more of: `names and wildcards`, or `networks`.
        of: &'static str,
        /// How many the list in use has.
        before: usize,
        /// How many the new one has.
        after: usize,
    },
    /// Its networks of one direction are more than one in [`SHARE`] of all addresses, and not all of them were open before.
    Share {
        /// The direction.
        direction: Direction,
        /// `IPv4`, or `2000::/3`.
        of: &'static str,
        /// How much of that, in thousandths, rounded down.
        thousandths: u128,
    },
}

impl fmt::Display for Growth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count { of, before, after } => write!(
                f,
                "the newest list holds {after} {of} where {before} are in use, over {MOST_GROWTH} times as many"
            ),
            Self::Share { direction, of, thousandths } => write!(
                f,
                "the {direction} networks of the newest list are {}.{} % of {of}, more than one address in {SHARE}",
                thousandths / 10,
                thousandths % 10
            ),
        }
    }
}

/// Judges `new` against the list in use, and against one that is held back already: the reason to hold it back. The first list is
/// judged by its networks alone.
#[must_use]
pub fn judge(in_use: Option<&Allowlist>, held_back: Option<&Allowlist>, new: &Allowlist) -> Option<Growth> {
    let growth = growth(in_use, new)?;
    match held_back {
        Some(candidate) if self::growth(Some(candidate), new).is_none() => None,
        _ => Some(growth),
    }
}

fn growth(before: Option<&Allowlist>, after: &Allowlist) -> Option<Growth> {
    before.and_then(|before| by_count(before, after)).or_else(|| by_share(before, after))
}

fn by_count(before: &Allowlist, after: &Allowlist) -> Option<Growth> {
    let (names_before, networks_before) = counts(before);
    let (names_after, networks_after) = counts(after);
    let pairs = [("names and wildcards", names_before, names_after), ("networks", networks_before, networks_after)];
    let grown = pairs.into_iter().find(|(_, before, after)| *after > (*before).max(1).saturating_mul(MOST_GROWTH));
    grown.map(|(of, before, after)| Growth::Count { of, before, after })
}

/// How many names and wildcards, and how many networks a list opens, whatever the region.
fn counts(list: &Allowlist) -> (usize, usize) {
    let mut names = BTreeSet::new();
    let mut networks = BTreeSet::new();
    for entry in &list.entries {
        let exact = entry.names.iter().map(|name| name.as_str());
        names.extend(exact.chain(entry.patterns.iter().map(|pattern| pattern.as_str())));
        networks.extend(entry.networks.iter().copied());
    }
    (names.len(), networks.len())
}

fn by_share(before: Option<&Allowlist>, after: &Allowlist) -> Option<Growth> {
    for direction in Direction::ALL {
        let opened = networks(after, direction);
        let (ipv4, ipv6): (Vec<IpNet>, Vec<IpNet>) =
            opened.into_iter().partition(|network| matches!(network, IpNet::V4(_)));
        let ipv6_addresses = cidr::addresses(&IpNet::V6(GLOBAL_UNICAST));
        for (of, opened, all) in [("IPv4", ipv4, IPV4_ADDRESSES), ("2000::/3", ipv6, ipv6_addresses)] {
            let sum = opened.iter().map(cidr::addresses).fold(0, u128::saturating_add);
            if sum <= all / SHARE {
                continue;
            }
            let known = before.map(|before| networks(before, direction)).unwrap_or_default();
            if !opened.iter().all(|network| cidr::covers(&known, network)) {
                return Some(Growth::Share { direction, of, thousandths: sum / (all / 1000) });
            }
        }
    }
    None
}

/// The networks that a list opens in one direction, merged; of IPv6 only global unicast.
fn networks(list: &Allowlist, direction: Direction) -> Vec<IpNet> {
    let entries = list.entries.iter().filter(|entry| entry.direction == direction);
    let global = |network: &IpNet| match network {
        IpNet::V4(_) => Some(*network),
        IpNet::V6(network) if GLOBAL_UNICAST.contains(network) => Some(IpNet::V6(*network)),
        IpNet::V6(network) => network.contains(&GLOBAL_UNICAST).then_some(IpNet::V6(GLOBAL_UNICAST)),
    };
    cidr::canonical_set(entries.flat_map(|entry| &entry.networks).filter_map(global))
}

#[cfg(test)]
mod tests;

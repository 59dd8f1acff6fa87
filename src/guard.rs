//! Which addresses and networks may be opened. Pure.
//!
//! A lie in an answer, or a mistake in a list, would open a hole into the node, the cloud's metadata service or the cluster
//! itself. Nothing of these ranges passes unless the cluster's administrator opened it, and never a cloud's own address
//! ([`platform`]).

pub mod platform;

use crate::facts::ClusterFacts;
use connectivity_allowlist::net::DomainName;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// The administrator's settings, from flags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuardSettings {
    /// Ranges opened on purpose, such as private links (`--allow-private-cidr`).
    pub allow_private: Vec<IpNet>,
    /// Ranges that never pass, from any source (`--deny-cidr`).
    pub deny: Vec<IpNet>,
    /// The shortest IPv4 prefix that a listed network may have (`--shortest-ipv4-prefix`).
    pub shortest_ipv4_prefix: u8,
    /// The shortest IPv6 prefix that a listed network may have (`--shortest-ipv6-prefix`).
    pub shortest_ipv6_prefix: u8,
    /// Suffixes, as whole labels, that names under `additional` must have (`--additional-suffix`); empty: any name.
    pub additional_suffixes: Vec<DomainName>,
}

impl Default for GuardSettings {
    fn default() -> Self {
        Self {
            allow_private: Vec::new(),
            deny: Vec::new(),
            shortest_ipv4_prefix: 8,
            shortest_ipv6_prefix: 16,
            additional_suffixes: Vec::new(),
        }
    }
}

/// The source of an address or network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// The vendor's list, an answer of DNS, or what was recovered from either.
    Vendor,
    /// The user's own `additional` entry, who may name private ranges.
    User,
}

/// Decides what may be opened, from the administrator's settings and the cluster's own ranges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    settings: GuardSettings,
    cluster: Vec<(IpNet, &'static str)>,
    /// Single addresses of the cluster itself, with their owner: nodes, the API server.
    machines: BTreeMap<IpAddr, &'static str>,
    /// The prefixes under which IPv6 addresses represent IPv4 ones: the well-known one, and the cluster's own.
    nat64: Vec<Ipv6Net>,
    /// Union of all IPv4 ranges that any rule may refuse, sorted and merged: a fast path that accepts addresses outside it.
    candidates: Vec<Ipv4Net>,
}

/// Why an address or network was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuardRefusal {
    /// The range that contains it, for people: `link-local`, `the cluster's Service range 10.96.0.0/12`.
    pub reason: String,
}

impl fmt::Display for GuardRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

/// How a range is refused.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Severity {
    /// Passes only if the administrator opened it, and never for a user's own entry.
    Never,
    /// Passes for a user's own entry, and for the vendor's if the administrator opened it.
    Private,
}

const fn v4(a: u8, b: u8, c: u8, d: u8, length: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length))
}

const fn v6(segments: [u16; 8], length: u8) -> IpNet {
    let [a, b, c, d, e, f, g, h] = segments;
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), length))
}

/// IANA's special-purpose address registries (RFC 6890 and its successors), as a firewall sees them.
const SPECIAL: &[(IpNet, Severity, &str)] = &[
    (v4(0, 0, 0, 0, 8), Severity::Never, "unspecified"),
    (v4(10, 0, 0, 0, 8), Severity::Private, "private"),
    (v4(100, 64, 0, 0, 10), Severity::Private, "shared by carrier-grade NAT"),
    (v4(127, 0, 0, 0, 8), Severity::Never, "loopback"),
    (v4(169, 254, 0, 0, 16), Severity::Never, "link-local"),
    (v4(172, 16, 0, 0, 12), Severity::Private, "private"),
    (v4(192, 0, 0, 0, 24), Severity::Private, "reserved for protocol assignments"),
    (v4(192, 0, 2, 0, 24), Severity::Private, "reserved for documentation"),
    (v4(192, 88, 99, 0, 24), Severity::Private, "reserved for 6to4 relays"),
    (v4(192, 168, 0, 0, 16), Severity::Private, "private"),
    (v4(198, 18, 0, 0, 15), Severity::Private, "reserved for benchmarks"),
    (v4(198, 51, 100, 0, 24), Severity::Private, "reserved for documentation"),
    (v4(203, 0, 113, 0, 24), Severity::Private, "reserved for documentation"),
    (v4(224, 0, 0, 0, 4), Severity::Never, "multicast"),
    (v4(240, 0, 0, 0, 4), Severity::Never, "reserved"),
    (v6([0, 0, 0, 0, 0, 0, 0, 0], 128), Severity::Never, "unspecified"),
    (v6([0, 0, 0, 0, 0, 0, 0, 1], 128), Severity::Never, "loopback"),
    (v6([0, 0, 0, 0, 0, 0xffff, 0, 0], 96), Severity::Never, "IPv4-mapped"),
    (v6([0, 0, 0, 0, 0, 0, 0, 0], 96), Severity::Never, "IPv4-compatible"),
    (v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48), Severity::Private, "reserved for local NAT64"),
    (v6([0x100, 0, 0, 0, 0, 0, 0, 0], 64), Severity::Never, "reserved to be discarded"),
    (v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23), Severity::Private, "reserved for protocol assignments"),
    (v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), Severity::Private, "reserved for documentation"),
    (v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20), Severity::Private, "reserved for documentation"),
    (v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16), Severity::Private, "6to4"),
    (v6([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16), Severity::Private, "reserved for segment routing"),
    (v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7), Severity::Private, "private (unique local)"),
    (v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), Severity::Never, "link-local"),
    (v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10), Severity::Private, "site-local"),
    (v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), Severity::Never, "multicast"),
];

/// NAT64's well-known prefix (RFC 6052): an embedded address is judged as the IPv4 address it represents.
const NAT64_WELL_KNOWN: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);

/// All of IANA's global unicast allocations: addresses outside, and not special, belong to no one.
const GLOBAL_UNICAST: IpNet = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

/// Whether two networks share an address: they agree in the bits that both fix. It compares bits, since it runs some thirty
/// times for each of thousands of addresses.
fn overlaps(a: &IpNet, b: &IpNet) -> bool {
    let agreeing = match (a, b) {
        (IpNet::V4(a), IpNet::V4(b)) => (a.addr().to_bits() ^ b.addr().to_bits()).leading_zeros(),
        (IpNet::V6(a), IpNet::V6(b)) => (a.addr().to_bits() ^ b.addr().to_bits()).leading_zeros(),
        _ => return false,
    };
    agreeing >= u32::from(a.prefix_len().min(b.prefix_len()))
}

impl Guard {
    /// A guard for a cluster.
    #[must_use]
    pub fn new(settings: GuardSettings, facts: &ClusterFacts) -> Self {
        let services = facts.service_networks.iter().map(|network| (*network, "Service"));
        let pods = facts.pod_networks.iter().map(|network| (*network, "pod"));
        let nat64 = [NAT64_WELL_KNOWN].into_iter().chain(facts.nat64_prefix).collect();
        let cluster: Vec<(IpNet, &'static str)> = services.chain(pods).collect();
        let nodes = facts.node_addresses.iter().map(|address| (*address, "node's address"));
        let api_servers = facts.api_servers.iter().map(|address| (*address, "API server's address"));
        let machines: BTreeMap<IpAddr, &'static str> = nodes.chain(api_servers).collect();
        let special = SPECIAL.iter().map(|(special, ..)| *special);
        let single = platform::PLATFORM_ADDRESSES.iter().map(|platform| platform.address);
        let known = special
            .chain(cluster.iter().map(|(range, _)| *range))
            .chain(settings.deny.iter().copied())
            .chain(single.chain(machines.keys().copied()).map(IpNet::from));
        let ipv4 = known.filter_map(|range| match range {
            IpNet::V4(range) => Some(range.trunc()),
            IpNet::V6(_) => None,
        });
        let mut candidates = Ipv4Net::aggregate(&ipv4.collect());
        candidates.sort_unstable();
        Self { settings, cluster, machines, nat64, candidates }
    }

    /// Whether no rule can refuse any address of a network.
    fn is_undisputed(&self, network: IpNet) -> bool {
        let IpNet::V4(network) = network else { return false };
        // They are disjoint: of those that begin before the network ends, the last one reaches furthest.
        let next = self.candidates.partition_point(|range| range.network() <= network.broadcast());
        let before = next.checked_sub(1).and_then(|before| self.candidates.get(before));
        before.is_none_or(|range| range.broadcast() < network.network())
    }

    /// Whether one address may be opened.
    ///
    /// # Errors
    /// The range that refuses it.
    pub fn check_address(&self, address: IpAddr, origin: Origin) -> Result<(), GuardRefusal> {
        self.check_network(IpNet::from(address), origin)
    }

    /// Why an answered address is refused; `None` if it may be opened.
    #[must_use]
    pub fn refuses(&self, address: IpAddr) -> Option<Arc<str>> {
        self.check_address(address, Origin::Vendor).err().map(|refusal| refusal.reason.into())
    }

    /// Whether a whole network may be opened: no address of it lies in a refused range.
    ///
    /// # Errors
    /// The range that refuses it.
    pub fn check_network(&self, network: IpNet, origin: Origin) -> Result<(), GuardRefusal> {
        let shortest = match (origin, network) {
            // A user may name a wide network of their own, but never everything.
            (Origin::User, _) => 1,
            (Origin::Vendor, IpNet::V4(_)) => self.settings.shortest_ipv4_prefix,
            (Origin::Vendor, IpNet::V6(_)) => self.settings.shortest_ipv6_prefix,
        };
        if network.prefix_len() >= shortest && self.is_undisputed(network) {
            return Ok(());
        }
        self.check_each(network, shortest, origin)
    }

    fn check_each(&self, network: IpNet, shortest: u8, origin: Origin) -> Result<(), GuardRefusal> {
        let refused = |reason: String| Err(GuardRefusal { reason });
        if let Some(denied) = self.settings.deny.iter().find(|denied| overlaps(denied, &network)) {
            return refused(format!("denied by --deny-cidr {denied}"));
        }
        if network.prefix_len() < shortest {
            return refused(format!("wider than /{shortest}"));
        }
        if let IpNet::V6(network) = network {
            if let Some(prefix) = self.nat64.iter().find(|prefix| prefix.contains(&network)) {
                // Its addresses are judged as the IPv4 addresses they represent.
                return match embedded(*prefix, network) {
                    Some(embedded) => self.check_network(IpNet::V4(embedded), origin),
                    None => refused(format!("not an address of the NAT64 prefix {prefix}")),
                };
            }
            if let Some(prefix) = self.nat64.iter().find(|prefix| network.contains(*prefix)) {
                return refused(format!("wider than the NAT64 prefix {prefix}"));
            }
        }
        if let Some(platform::PlatformAddress { address, what, .. }) = platform::within(network) {
            return refused(format!("the cloud's own address {address} ({what}), which nothing opens"));
        }
        let opened = self.settings.allow_private.iter().any(|allowed| allowed.contains(&network));
        for (special, severity, what) in SPECIAL {
            let passes = match origin {
                Origin::Vendor => opened,
                Origin::User => *severity == Severity::Private,
            };
            if !passes && overlaps(special, &network) {
                return refused(format!("{what} ({special})"));
            }
        }
        let is_special = || SPECIAL.iter().any(|(special, ..)| special.contains(&network));
        let is_global = matches!(network, IpNet::V4(_)) || GLOBAL_UNICAST.contains(&network);
        let is_opened = opened && origin == Origin::Vendor;
        if !(is_global || is_opened || is_special()) {
            return refused(format!("reserved (outside {GLOBAL_UNICAST})"));
        }
        if origin == Origin::User || opened {
            return Ok(());
        }
        if let Some((range, owner)) = self.cluster.iter().find(|(range, _)| overlaps(range, &network)) {
            return refused(format!("the cluster's own {owner} range {range}"));
        }
        if let Some((address, owner)) = self.machines.range(network.network()..=network.broadcast()).next() {
            return refused(format!("the cluster's own {owner} {address}"));
        }
        Ok(())
    }

    /// Whether `--allow-private-cidr` could open a refused address: not a cloud's own, nor one under `--deny-cidr`.
    #[must_use]
    pub fn could_be_opened(&self, address: IpAddr) -> bool {
        let network = IpNet::from(address);
        let judged = match network {
            IpNet::V6(network) => self.nat64.iter().find_map(|prefix| embedded(*prefix, network)).map(IpNet::V4),
            IpNet::V4(_) => None,
        };
        [Some(network), judged].into_iter().flatten().all(|form| {
            platform::within(form).is_none() && !self.settings.deny.iter().any(|denied| overlaps(denied, &form))
        })
    }

    /// Whether a name under `additional` may be queried.
    ///
    /// # Errors
    /// The allowed suffixes.
    pub fn check_additional_name(&self, name: &DomainName) -> Result<(), GuardRefusal> {
        let suffixes = &self.settings.additional_suffixes;
        let is_under = |suffix: &DomainName| {
            let rest = name.as_str().strip_suffix(suffix.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        if suffixes.is_empty() || suffixes.iter().any(is_under) {
            return Ok(());
        }
        let listed: Vec<&str> = suffixes.iter().map(DomainName::as_str).collect();
        Err(GuardRefusal { reason: format!("under none of --additional-suffix {}", listed.join(", ")) })
    }
}

/// Whether an address is not special. Special ones are always refused.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    let network = IpNet::from(address);
    let is_global = matches!(network, IpNet::V4(_)) || GLOBAL_UNICAST.contains(&network);
    is_global && !SPECIAL.iter().any(|(special, ..)| special.contains(&network)) && !platform::is_platform(address)
}

/// The IPv4 network that `network` represents under `prefix` (RFC 6052, section 2.2): the 32 bits after the prefix, without bits
/// 64 to 71. None for a prefix length outside the RFC, and for several addresses unless these bits come last.
fn embedded(prefix: Ipv6Net, network: Ipv6Net) -> Option<Ipv4Net> {
    if !prefix.contains(&network) {
        return None;
    }
    let start = match prefix.prefix_len() {
        length @ (32 | 40 | 48 | 56 | 64 | 96) => usize::from(length / 8),
        _ => return None,
    };
    match (start, network.prefix_len()) {
        (12, _) | (_, 128) => embedded_at(start, network),
        _ => None,
    }
}

/// The IPv4 network in the octets of `network` from `start` on, without octet 8, as long as the network fixes them. None if the
/// octets end before the address does.
fn embedded_at(start: usize, network: Ipv6Net) -> Option<Ipv4Net> {
    let places = (start..16).filter(|octet| *octet != 8).take(4);
    let octets: Vec<u8> = places.clone().map(|place| network.addr().octets()[place]).collect();
    let address = Ipv4Addr::from(<[u8; 4]>::try_from(octets).ok()?);
    let fixed = places.map(|place| usize::from(network.prefix_len()).saturating_sub(place * 8).min(8)).sum::<usize>();
    Ipv4Net::new(address, u8::try_from(fixed).ok()?).ok().map(|network| network.trunc())
}

#[cfg(test)]
mod tests;

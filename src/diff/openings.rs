//! What one set of policies opens and another does not, exactly, however each is written. Pure.

use crate::export::{ExportedEndpoint, ExportedTarget};
use crate::plan::RememberedRule;
use connectivity_allowlist::net::{Direction, PortRange, PortSet, Protocol, canonical_set, cidr};
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// A network that is open on ports.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Opening {
    /// Which way connections are opened.
    pub direction: Direction,
    /// The network.
    pub network: IpNet,
    /// The ports.
    pub ports: PortSet,
}

/// What `rules` open and `others` do not.
#[must_use]
pub fn difference(rules: &[RememberedRule], others: &[RememberedRule]) -> Vec<Opening> {
    let mut open: BTreeMap<(Direction, IpNet), Vec<(Protocol, PortRange)>> = BTreeMap::new();
    for direction in Direction::ALL {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            for range in elementary(rules.iter().chain(others), direction, protocol) {
                let here = networks(rules, direction, protocol, range);
                if here.is_empty() {
                    continue;
                }
                let there = canonical_set(networks(others, direction, protocol, range));
                for network in cidr::subtract(here, &there) {
                    open.entry((direction, network)).or_default().push((protocol, range));
                }
            }
        }
    }
    let openings = open.into_iter().filter_map(|((direction, network), ranges)| {
        PortSet::new(ranges).map(|ports| Opening { direction, network, ports })
    });
    openings.collect()
}

/// The widest ranges of ports that every rule has whole or not at all.
fn elementary<'a>(
    rules: impl Iterator<Item = &'a RememberedRule>,
    direction: Direction,
    protocol: Protocol,
) -> Vec<PortRange> {
    let mut edges = BTreeSet::new();
    for (_, ports, _) in rules.filter(|(of, _, _)| *of == direction) {
        for (_, range) in ports.iter().filter(|(of, _)| *of == protocol) {
            edges.insert(u32::from(range.first()));
            edges.insert(u32::from(range.last()) + 1);
        }
    }
    let edges: Vec<u32> = edges.into_iter().collect();
    let range = |pair: &[u32]| PortRange::new(u16::try_from(pair[0]).ok()?, u16::try_from(pair[1] - 1).ok()?);
    edges.windows(2).filter_map(range).collect()
}

fn networks(rules: &[RememberedRule], direction: Direction, protocol: Protocol, range: PortRange) -> Vec<IpNet> {
    let open = rules.iter().filter(|(of, ports, _)| *of == direction && ports.contains(protocol, range.first()));
    open.flat_map(|(_, _, networks)| networks.iter().copied()).collect()
}

/// An opening, or the part of one that an endpoint explains.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attributed {
    /// Which way connections are opened.
    pub direction: Direction,
    /// The service that needs it, where that is known.
    pub service: Option<String>,
    /// The name or network that needs it, where that is known.
    pub name: Option<String>,
    /// The network.
    pub network: IpNet,
    /// The ports.
    pub ports: PortSet,
}

/// Attributes openings to services and names: one entry for each endpoint that needs an opening.
#[must_use]
pub fn attribute(openings: &[Opening], endpoints: &[ExportedEndpoint]) -> Vec<Attributed> {
    let mut by_first: BTreeMap<IpAddr, Vec<&ExportedEndpoint>> = BTreeMap::new();
    let mut wide = Vec::new();
    for endpoint in endpoints {
        match &endpoint.target {
            ExportedTarget::Network(network) => wide.push((endpoint, *network)),
            _ => endpoint.addresses.iter().for_each(|address| by_first.entry(*address).or_default().push(endpoint)),
        }
    }
    let mut found = BTreeSet::new();
    for opening in openings {
        let mut explained: Vec<IpNet> = Vec::new();
        let mut add = |endpoint: &ExportedEndpoint, network: IpNet| {
            let shared = endpoint.ports.as_ref().and_then(|ports| ports.intersection(&opening.ports));
            if let Some(ports) = shared.filter(|_| endpoint.direction == opening.direction) {
                explained.push(network);
                found.insert(Attributed {
                    direction: opening.direction,
                    service: Some(endpoint.service.clone()),
                    name: Some(endpoint.target.text()),
                    network,
                    ports,
                });
            }
        };
        let range = opening.network.network()..=opening.network.broadcast();
        for (address, of_address) in by_first.range(range) {
            of_address.iter().for_each(|endpoint| add(endpoint, IpNet::from(*address)));
        }
        for (endpoint, network) in &wide {
            if network.contains(&opening.network) {
                add(endpoint, opening.network);
            } else if opening.network.contains(network) {
                add(endpoint, *network);
            }
        }
        for network in cidr::subtract([opening.network], &canonical_set(explained)) {
            let (direction, ports) = (opening.direction, opening.ports.clone());
            found.insert(Attributed { direction, service: None, name: None, network, ports });
        }
    }
    found.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use connectivity_allowlist::net::DomainName;

    fn ports(list: &str) -> PortSet {
        PortSet::new(list.split(',').map(|item| (Protocol::Tcp, PortRange::parse(item).expect("a port"))))
            .expect("ports")
    }

    fn rule(list: &str, networks: &[&str]) -> RememberedRule {
        (Direction::Outbound, ports(list), networks.iter().map(|network| network.parse().expect("a network")).collect())
    }

    fn shown(openings: &[Opening]) -> Vec<String> {
        openings.iter().map(|opening| format!("{} {}", opening.network, opening.ports)).collect()
    }

    #[test]
    fn another_spelling_is_no_difference() {
        let one = [rule("80,443", &["13.64.0.0/31", "2603::/64"])];
        let other =
            [rule("443", &["13.64.0.0/32", "13.64.0.1/32", "2603::/64"]), rule("80", &["13.64.0.0/31", "2603::/64"])];
        assert!(difference(&one, &other).is_empty() && difference(&other, &one).is_empty());
    }

    #[test]
    fn what_is_open_in_one_and_not_in_the_other() {
        let wide = [rule("80-90", &["13.64.0.0/24", "2603::/64"])];
        let narrow = [rule("85", &["13.64.0.0/25"]), rule("80-90", &["2603::/64"])];
        assert_eq!(shown(&difference(&wide, &narrow)), ["13.64.0.0/24 TCP 80-84,86-90", "13.64.0.128/25 TCP 85"]);
        assert!(difference(&narrow, &wide).is_empty());
        let everything = [rule("1-65535", &["0.0.0.0/0", "::/0"])];
        assert_eq!(difference(&everything, &[]).len(), 2);
        assert!(difference(&everything, &everything).is_empty());
        let hole = [rule("1-65535", &["0.0.0.0/0", "::/1"])];
        assert_eq!(shown(&difference(&everything, &hole)), ["8000::/1 TCP 1-65535"]);
    }

    #[test]
    fn openings_are_attributed_to_services_and_names() {
        let endpoint = |service: &str, target: ExportedTarget, addresses: &[&str]| ExportedEndpoint {
            direction: Direction::Outbound,
            service: service.to_owned(),
            target,
            ports: Some(ports("443")),
            addresses: addresses.iter().map(|address| address.parse().expect("an address")).collect(),
            learned: false,
        };
        let name = ExportedTarget::Name(DomainName::parse("a.example.com").expect("a name"));
        let network = ExportedTarget::Network("20.42.0.0/24".parse().expect("a network"));
        let endpoints = [endpoint("DaaS", name, &["13.64.0.1"]), endpoint("Gateway", network, &[])];
        let openings = difference(&[rule("443", &["13.64.0.0/31", "20.42.0.7/32"])], &[]);
        let found: Vec<String> = attribute(&openings, &endpoints)
            .into_iter()
            .map(|one| format!("{} {} {}", one.service.unwrap_or_default(), one.name.unwrap_or_default(), one.network))
            .collect();
        assert_eq!(found, ["  13.64.0.0/32", "DaaS a.example.com 13.64.0.1/32", "Gateway 20.42.0.0/24 20.42.0.7/32"]);
    }
}

//! What a list allows, read from the document the stand-in publishes and from nothing of the operator's: the expected
//! side of every judgement.

use connectivity_allowlist::net::Direction;
use ipnet::IpNet;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use test_support::cyclonus::{CasePeer, CaseProtocol, Traffic};
use test_support::fixture;
use test_support::standin::Document;

/// Something listed: a network, what it is reached on, and in which direction.
#[derive(Clone, Debug)]
pub struct Entry {
    pub direction: Direction,
    pub network: IpNet,
    pub protocol: CaseProtocol,
    pub ports: RangeInclusive<u16>,
}

/// A connection as far as a list speaks of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Connection {
    pub direction: Direction,
    pub address: IpAddr,
    pub udp: bool,
    pub port: u16,
}

impl Connection {
    /// Between a pod with these labels and the address, in the connection's direction.
    pub fn traffic(&self, pod: &CasePeer) -> Traffic {
        let protocol = if self.udp { CaseProtocol::Udp } else { CaseProtocol::Tcp };
        match self.direction {
            Direction::Outbound => Traffic::new(pod.clone(), self.address, self.port, protocol),
            Direction::Inbound => Traffic::new(self.address, pod.clone(), self.port, protocol),
        }
    }
}

/// All that a list allows.
#[derive(Clone, Debug, Default)]
pub struct Listed(Vec<Entry>);

/// The ports of a list's text.
fn ranges(text: &Option<String>) -> Vec<RangeInclusive<u16>> {
    let number = |text: &str| text.trim().parse().expect("a port");
    let range = |part: &str| match part.split_once('-') {
        Some((first, last)) => number(first)..=number(last),
        None => number(part)..=number(part),
    };
    text.iter().flat_map(|text| text.split(',')).map(range).collect()
}

/// Whether `*` in the pattern can stand for what the name has there.
fn covers(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, rest)) => {
            name.strip_prefix(start).is_some_and(|name| (1..=name.len()).any(|at| covers(rest, &name[at..])))
        }
    }
}

/// Whether exact names of the list stand in for its wildcards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wildcards {
    Ignored,
    Expanded,
}

impl Listed {
    /// What `document`, already filtered, allows when names have the addresses of the fixture; those families only that
    /// `family` keeps. `known` is where exact names are taken from that a wildcard covers.
    pub fn of(document: &Document, known: &Document, wildcards: Wildcards, family: impl Fn(&IpNet) -> bool) -> Self {
        let mut entries = Vec::new();
        let known: BTreeSet<&str> = match wildcards {
            Wildcards::Ignored => BTreeSet::new(),
            Wildcards::Expanded => known.names().filter(|name| !name.contains('*')).collect(),
        };
        for service in &document.services {
            let direction = match service.direction.as_deref() {
                Some("inbound") => Direction::Inbound,
                _ => Direction::Outbound,
            };
            let protocols =
                [(CaseProtocol::Tcp, ranges(&service.tcp_ports)), (CaseProtocol::Udp, ranges(&service.udp_ports))];
            for endpoint in &service.endpoints {
                let names = endpoint.fqdns.iter().flat_map(|name| match name.contains('*') {
                    false => vec![name.as_str()],
                    true => known.iter().copied().filter(|known| covers(name, known)).collect(),
                });
                let addresses = names.flat_map(fixture::address_for).map(IpNet::from);
                let networks = endpoint.ips.iter().map(|text| text.parse().expect("a network"));
                for network in addresses.chain(networks).filter(|network| family(network)) {
                    for (protocol, ranges) in &protocols {
                        entries.extend(ranges.iter().map(|ports| Entry {
                            direction,
                            network,
                            protocol: *protocol,
                            ports: ports.clone(),
                        }));
                    }
                }
            }
        }
        Self(entries)
    }

    pub fn allows(&self, connection: &Connection) -> bool {
        self.0.iter().any(|entry| {
            entry.direction == connection.direction
                && (entry.protocol == CaseProtocol::Udp) == connection.udp
                && entry.ports.contains(&connection.port)
                && entry.network.contains(&connection.address)
        })
    }

    /// Every listed address with every listed port: of a network its first and its last address, of a range its ends.
    pub fn pairs(&self) -> BTreeSet<Connection> {
        let mut pairs = BTreeSet::new();
        for Entry { direction, network, protocol, ports } in &self.0 {
            for address in [network.network(), network.broadcast()] {
                for port in [*ports.start(), *ports.end()] {
                    let udp = *protocol == CaseProtocol::Udp;
                    pairs.insert(Connection { direction: *direction, address, udp, port });
                }
            }
        }
        pairs
    }

    /// As many different connections beside what is listed: the address before or after, the port before or after,
    /// the other protocol, the other direction; drawn at random, none of them listed, and only in `directions`.
    pub fn near_misses(&self, count: usize, directions: &[Direction], others: &Self) -> BTreeSet<Connection> {
        let mut random = Random(0x2545_f491_4f6c_dd1d);
        let (own, foreign): (Vec<_>, Vec<_>) =
            (self.pairs().into_iter().collect(), others.pairs().into_iter().collect());
        let mut misses = BTreeSet::new();
        for _ in 0..count * 200 {
            if misses.len() == count {
                break;
            }
            let kind = random.below(6);
            // What another list, or the other direction of this one, allows is the likeliest mistake.
            let pool = if kind == 5 { &foreign } else { &own };
            let Some(mut miss) = pool.get(random.below(pool.len().max(1))).copied() else { continue };
            match kind {
                0 => miss.address = neighbour(miss.address, 1),
                1 => miss.address = neighbour(miss.address, -1),
                2 => miss.port = miss.port.wrapping_add(1),
                3 => miss.port = miss.port.wrapping_sub(1),
                4 => miss.udp = !miss.udp,
                _ => miss.direction = directions[random.below(directions.len())],
            }
            if miss.port != 0 && directions.contains(&miss.direction) && !self.allows(&miss) {
                misses.insert(miss);
            }
        }
        misses
    }
}

fn neighbour(address: IpAddr, by: i8) -> IpAddr {
    match address {
        IpAddr::V4(address) => IpAddr::V4(address.to_bits().wrapping_add_signed(by.into()).into()),
        IpAddr::V6(address) => IpAddr::V6(address.to_bits().wrapping_add_signed(by.into()).into()),
    }
}

/// Marsaglia's xorshift64*: a test that fails must fail again.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let drawn = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        usize::try_from(drawn).unwrap_or_default() % bound
    }
}

//! Requirements become rules: as few as allow exactly the same.

use super::dns::DnsRule;
use connectivity_allowlist::net::{PortSet, cidr};
use ipnet::IpNet;
use std::collections::{BTreeMap, HashMap};
use std::slice;

/// Networks of a rule: canonical, sorted, distinct. Never empty, since an empty peer list in a NetworkPolicy allows everyone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peers(Vec<IpNet>);

impl Peers {
    /// The given networks with host bits cleared, sorted and distinct; `None` if there are none.
    #[must_use]
    pub fn new(networks: impl IntoIterator<Item = IpNet>) -> Option<Self> {
        let mut networks: Vec<IpNet> = networks.into_iter().map(|network| network.trunc()).collect();
        networks.sort_unstable_by_key(cidr::order);
        networks.dedup();
        (!networks.is_empty()).then_some(Self(networks))
    }

    /// The networks in order.
    pub fn iter(&self) -> slice::Iter<'_, IpNet> {
        self.0.iter()
    }

    /// How many networks there are; at least one.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "peers are never empty")]
    pub const fn len(&self) -> usize {
        self.0.len()
    }
}

/// Peers with the same ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Their ports.
    pub ports: PortSet,
    /// The peers, not yet merged: merging happens within an object, so that one address touches one object.
    pub peers: Peers,
}

/// What one direction allows, in at least one rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectionPlan {
    rules: Vec<Rule>,
    dns: Vec<DnsRule>,
    users: Vec<IpNet>,
}

impl DirectionPlan {
    /// A plan of the given rules, and of the networks that only the user names; `None` without any rule, even with rules for DNS: a
    /// policy for DNS alone would cut everything.
    #[must_use]
    pub fn new(rules: Vec<Rule>, dns: Vec<DnsRule>, users: Vec<IpNet>) -> Option<Self> {
        (!rules.is_empty()).then_some(Self { rules, dns, users })
    }

    /// Networks that only the user names, as a canonical set: they are among those of the rules.
    #[must_use]
    pub fn users(&self) -> &[IpNet] {
        &self.users
    }

    /// The rules in the order of their ports; each has ports of its own.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The rules for the cluster's DNS.
    #[must_use]
    pub fn dns(&self) -> &[DnsRule] {
        &self.dns
    }

    /// Every network of every rule, those for DNS left out.
    pub fn networks(&self) -> impl Iterator<Item = IpNet> + '_ {
        self.rules.iter().flat_map(|rule| rule.peers.iter().copied())
    }
}

/// The most port ranges that unions may have, over all distinct ones. Known lists and examples need some hundreds; every object
/// may carry them all, in 50 bytes each.
const MOST_UNITED: usize = 10_000;

/// Port sets by number, so that unions over thousands of addresses are taken once for each pair.
#[derive(Default)]
struct PortTable {
    sets: Vec<PortSet>,
    numbers: HashMap<PortSet, usize>,
    unions: HashMap<(usize, usize), usize>,
    /// The ranges of all needed unions.
    united: usize,
}

impl PortTable {
    fn number(&mut self, set: &PortSet) -> usize {
        if let Some(number) = self.numbers.get(set) {
            return *number;
        }
        self.sets.push(set.clone());
        self.numbers.insert(set.clone(), self.sets.len() - 1);
        self.sets.len() - 1
    }

    /// `None` if all unions together have more than [`MOST_UNITED`] ranges.
    fn union(&mut self, a: usize, b: usize) -> Option<usize> {
        if a == b {
            return Some(a);
        }
        let pair = (a.min(b), a.max(b));
        if let Some(number) = self.unions.get(&pair) {
            return Some(*number);
        }
        let union = self.sets[a].union(&self.sets[b]);
        let known = self.sets.len();
        let number = self.number(&union);
        if number == known {
            self.united += union.len();
        }
        self.unions.insert(pair, number);
        (self.united <= MOST_UNITED).then_some(number)
    }
}

/// The rules that allow exactly the requirements. A network occurs once, with the union of its ports. It is dropped inside wider
/// ones that have all its ports.
///
/// If networks share ports in very many ways, each occurs in a rule for each port set instead. A tenant could put each address
/// into another half of 64 entries with 64 port ranges each: a union of thousands of ranges for each address.
pub(super) fn assemble<'a>(requirements: impl IntoIterator<Item = (IpNet, &'a PortSet)>) -> Vec<Rule> {
    let mut table = PortTable::default();
    let mut requirements: Vec<(IpNet, usize)> =
        requirements.into_iter().map(|(network, ports)| (network.trunc(), table.number(ports))).collect();
    requirements.sort_unstable_by_key(|(network, ports)| (cidr::order(network), *ports));
    requirements.dedup();
    let by_ports = united(&requirements, &mut table).unwrap_or_else(|| {
        let mut apart: BTreeMap<usize, Vec<IpNet>> = BTreeMap::new();
        requirements.iter().for_each(|(network, ports)| apart.entry(*ports).or_default().push(*network));
        apart
    });
    let rule = |(ports, networks): (usize, Vec<IpNet>)| {
        Some(Rule { ports: table.sets[ports].clone(), peers: Peers::new(networks)? })
    };
    let mut rules: Vec<Rule> = by_ports.into_iter().filter_map(rule).collect();
    rules.sort_unstable_by(|a, b| a.ports.cmp(&b.ports));
    rules
}

/// Each network under the number of the union of its ports; `None` if that takes too many ranges.
fn united(requirements: &[(IpNet, usize)], table: &mut PortTable) -> Option<BTreeMap<usize, Vec<IpNet>>> {
    let mut distinct: Vec<(IpNet, usize)> = Vec::with_capacity(requirements.len());
    for (network, ports) in requirements.iter().copied() {
        match distinct.last_mut() {
            Some((last, union)) if *last == network => *union = table.union(*union, ports)?,
            _ => distinct.push((network, ports)),
        }
    }
    let mut by_ports: BTreeMap<usize, Vec<IpNet>> = BTreeMap::new();
    // A wider network is sorted before all it contains. The wider ones around the current network form a stack, each with all
    // the ports allowed inside it.
    let mut around: Vec<(IpNet, usize)> = Vec::new();
    for (network, ports) in distinct {
        while around.last().is_some_and(|(wider, _)| !wider.contains(&network)) {
            around.pop();
        }
        let inside = around.last().map_or(Some(ports), |(_, outer)| table.union(*outer, ports))?;
        if around.last().is_some_and(|(_, outer)| inside == *outer) {
            continue;
        }
        around.push((network, inside));
        by_ports.entry(ports).or_default().push(network);
    }
    Some(by_ports)
}

//! Budgets of network plugins that accept more than they enforce.

use super::placement::Part;
use crate::crd::{Problem, ProblemKind};
use crate::engines::Limits;
use clap::ValueEnum;
use connectivity_allowlist::net::{Direction, PortRange, PortSet};
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A network plugin with budgets of its own. Its variants are the values of `--cni`, with their help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum)]
pub enum Cni {
    /// AWS VPC CNI
    #[value(name = "aws")]
    AwsVpc,
    /// Azure Network Policy Manager
    AzureNpm,
    /// Calico
    Calico,
    // GKE Dataplane V2 and Azure CNI powered by Cilium too.
    /// Cilium
    Cilium,
    /// kube-router
    KubeRouter,
}

impl fmt::Display for Cni {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_possible_value().map_or(Ok(()), |value| f.write_str(value.get_name()))
    }
}

/// Combinations of port and protocol that a CIDR may have with Amazon VPC CNI; it only logs the others (its documentation).
const AWS_PORTS: usize = 24;
/// Entries of Cilium's policy map by default (`bpf-policy-map-max`).
const CILIUM_ENTRIES: usize = 16_384;
/// Members of an ipset by default, which Calico and kube-router fill.
const IPSET_MEMBERS: usize = 65_536;

/// The budgets that one direction's objects overrun.
pub(super) fn overruns(direction: Direction, parts: &[Part], limits: &Limits) -> Vec<Problem> {
    let Some(cni) = limits.cni else { return Vec::new() };
    let problem = |message: String| Problem::new(ProblemKind::Limit, format!("{direction} {cni}"), None, message);
    let peers: usize = parts.iter().flat_map(|part| &part.rules).map(|rule| rule.networks.len()).sum();
    let mut problems = Vec::new();
    match cni {
        Cni::AwsVpc => {
            let effective = effective(parts);
            let over = || effective.iter().filter(|(_, ports)| ports.len() > AWS_PORTS);
            if let Some((network, ports)) = over().max_by_key(|(network, ports)| (ports.len(), *network)) {
                problems.push(problem(format!(
                    "{} CIDRs have more than the {AWS_PORTS} port ranges that Amazon VPC CNI enforces ({network}: {}): some are not enforced; leave services out, or split them over several CitrixAllowlists with pod selectors of their own",
                    over().count(),
                    ports.len()
                )));
            }
        }
        Cni::Cilium => {
            let effective = effective(parts);
            let entries: usize =
                effective.values().flat_map(PortSet::iter).map(|(_, range)| aligned_blocks(range)).sum();
            if entries > CILIUM_ENTRIES {
                problems.push(problem(format!(
                    "about {entries} entries are more than Cilium's policy map holds by default ({CILIUM_ENTRIES}): raise bpf-policy-map-max, or leave services out"
                )));
            }
        }
        Cni::AzureNpm => {
            let networks = parts.iter().flat_map(|part| &part.rules).flat_map(|rule| &rule.networks);
            let ipv6: BTreeSet<&IpNet> = networks.filter(|network| matches!(network, IpNet::V6(_))).collect();
            if !ipv6.is_empty() {
                problems.push(problem(format!(
                    "{} IPv6 CIDRs are not enforced: Azure NPM knows IPv4 only; ipFamilies: IPv4 leaves them out",
                    ipv6.len()
                )));
            }
            if peers > limits.peers {
                problems.push(problem(format!(
                    "{peers} CIDRs: Azure NPM is known to apply large lists late or in part; leave services out, or use Azure CNI powered by Cilium"
                )));
            }
        }
        Cni::Calico | Cni::KubeRouter => {
            if peers > IPSET_MEMBERS {
                problems.push(problem(format!(
                    "{peers} CIDRs are more than an ipset holds by default ({IPSET_MEMBERS}): leave services out"
                )));
            }
        }
    }
    problems
}

/// Every CIDR with its ports and those of the wider ones around it, as such a plugin stores it.
fn effective(parts: &[Part]) -> BTreeMap<IpNet, PortSet> {
    let mut own: BTreeMap<IpNet, PortSet> = BTreeMap::new();
    for rule in parts.iter().flat_map(|part| &part.rules) {
        for network in &rule.networks {
            own.entry(*network)
                .and_modify(|ports| *ports = ports.union(&rule.ports))
                .or_insert_with(|| rule.ports.clone());
        }
    }
    let mut around: Vec<(IpNet, PortSet)> = Vec::new();
    for (network, ports) in &mut own {
        while around.last().is_some_and(|(wider, _)| !wider.contains(network)) {
            around.pop();
        }
        if let Some((_, outer)) = around.last() {
            *ports = ports.union(outer);
        }
        around.push((*network, ports.clone()));
    }
    own
}

/// Entries of Cilium's policy map for one CIDR and range: one for each aligned power of two that the range consists of.
fn aligned_blocks(range: PortRange) -> usize {
    let (mut from, end) = (u32::from(range.first()), u32::from(range.last()) + 1);
    let mut blocks = 0;
    while from < end {
        let mut block = 1u32 << from.trailing_zeros().min(16);
        while from + block > end {
            block /= 2;
        }
        from += block;
        blocks += 1;
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::super::placement::PartRule;
    use super::*;
    use connectivity_allowlist::net::Protocol;

    /// Port ranges and CIDRs.
    type Texts<'a> = (&'a [(u16, u16)], &'a [&'a str]);

    fn part(rules: &[Texts<'_>]) -> Vec<Part> {
        let range = |(first, last): &(u16, u16)| (Protocol::Tcp, PortRange::new(*first, *last).expect("a range"));
        let rule = |(ports, networks): &Texts<'_>| PartRule {
            ports: PortSet::new(ports.iter().map(range)).expect("not empty"),
            networks: networks.iter().map(|text| text.parse().expect("a CIDR")).collect(),
        };
        vec![Part { index: 0, rules: rules.iter().map(rule).collect() }]
    }

    /// One part with these ports for this many addresses.
    fn many(range: (u16, u16), count: u32) -> Vec<Part> {
        let address = |number| std::net::Ipv4Addr::from(0x1400_0000 + 3 * number);
        let networks: Vec<String> = (0..count).map(|number| format!("{}/32", address(number))).collect();
        let networks: Vec<&str> = networks.iter().map(String::as_str).collect();
        part(&[(&[range], &networks)])
    }

    fn messages(cni: Cni, parts: &[Part]) -> Vec<String> {
        let limits = Limits { cni: Some(cni), ..Limits::default() };
        let problems = overruns(Direction::Outbound, parts, &limits);
        assert!(
            problems.iter().all(|problem| problem.kind == ProblemKind::Limit && problem.message.chars().count() <= 256)
        );
        problems.into_iter().map(|problem| problem.message).collect()
    }

    #[test]
    fn a_narrow_cidr_counts_the_ports_of_the_wide_one_around_it() {
        let many: Vec<(u16, u16)> = (0..24).map(|n| (1000 + 2 * n, 1000 + 2 * n)).collect();
        let fits = part(&[(&many, &["20.0.0.0/8"]), (&[(443, 443)], &["21.0.0.1/32"])]);
        assert!(messages(Cni::AwsVpc, &fits).is_empty());
        let nested = part(&[(&many, &["20.0.0.0/8"]), (&[(443, 443)], &["20.1.2.3/32"])]);
        assert!(messages(Cni::AwsVpc, &nested)[0].contains("20.1.2.3/32: 25"));
    }

    #[test]
    fn ranges_take_as_many_map_entries_as_aligned_blocks() {
        let range = |first, last| aligned_blocks(PortRange::new(first, last).expect("a range"));
        assert_eq!(range(443, 443), 1);
        assert_eq!(range(49152, 65535), 1);
        assert_eq!(range(1, 65535), 16);
        assert_eq!(range(80, 88), 2);
        assert!(messages(Cni::Cilium, &many((443, 443), 2000)).is_empty());
        assert!(messages(Cni::Cilium, &many((1, 65535), 2000))[0].contains("about 32000 entries"));
    }

    #[test]
    fn other_plugins_have_budgets_too_and_no_plugin_has_none() {
        let large = many((443, 443), 66_000);
        for cni in [Cni::Calico, Cni::KubeRouter, Cni::AzureNpm] {
            assert_eq!(messages(cni, &large).len(), 1, "{cni}");
        }
        let ipv6 = part(&[(&[(443, 443)], &["2603::/32"])]);
        assert!(messages(Cni::AzureNpm, &ipv6)[0].starts_with("1 IPv6 CIDRs"));
        assert!(overruns(Direction::Outbound, &large, &Limits::default()).is_empty());
    }
}

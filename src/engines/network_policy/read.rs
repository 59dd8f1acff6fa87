//! What NetworkPolicies allow, read back. Pure.

use crate::plan::RememberedRule;
use connectivity_allowlist::net::{Direction, PortRange, PortSet, Protocol};
use ipnet::IpNet;
use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// What applied policies allow, rule by rule, to recover it after a restart. Rules that this operator does not write are
/// skipped: selectors, named ports, exceptions, rules without peers. So are the rules for DNS.
#[must_use]
pub fn remembered(policies: &[NetworkPolicy]) -> Vec<RememberedRule> {
    policies.iter().filter_map(|policy| policy.spec.as_ref()).flat_map(rules).collect()
}

/// What one policy allows, as [`remembered`] reads it.
#[must_use]
pub fn rules(spec: &NetworkPolicySpec) -> Vec<RememberedRule> {
    let of = |direction| each_rule(spec, direction).into_iter().filter_map(move |rule| read(direction, rule));
    Direction::ALL.into_iter().flat_map(of).collect()
}

/// The ports and the peers of a rule.
pub(super) type PortsAndPeers<'a> = (Option<&'a [NetworkPolicyPort]>, Option<&'a [NetworkPolicyPeer]>);

/// Each rule of a direction, in its order.
pub(super) fn each_rule(spec: &NetworkPolicySpec, direction: Direction) -> Vec<PortsAndPeers<'_>> {
    let egress = spec.egress.iter().flatten().map(|rule| (rule.ports.as_deref(), rule.to.as_deref()));
    let ingress = spec.ingress.iter().flatten().map(|rule| (rule.ports.as_deref(), rule.from.as_deref()));
    match direction {
        Direction::Outbound => egress.collect(),
        Direction::Inbound => ingress.collect(),
    }
}

fn read(direction: Direction, (ports, peers): PortsAndPeers<'_>) -> Option<RememberedRule> {
    let ranges = ports?.iter().map(read_port).collect::<Option<Vec<_>>>()?;
    let udp_first = ranges.windows(2).any(|pair| pair[0].0 == Protocol::Udp && pair[1].0 == Protocol::Tcp);
    if udp_first {
        return None;
    }
    let networks: Vec<IpNet> = peers?.iter().filter_map(read_peer).collect();
    if networks.is_empty() { None } else { Some((direction, PortSet::new(ranges)?, networks)) }
}

/// A protocol as Kubernetes names it, TCP without a name; `None` for one that no list has.
#[must_use]
pub fn protocol(name: Option<&str>) -> Option<Protocol> {
    match name {
        None | Some("TCP") => Some(Protocol::Tcp),
        Some("UDP") => Some(Protocol::Udp),
        Some(_) => None,
    }
}

fn read_port(port: &NetworkPolicyPort) -> Option<(Protocol, PortRange)> {
    let protocol = protocol(port.protocol.as_deref())?;
    let Some(IntOrString::Int(first)) = &port.port else { return None };
    let last = port.end_port.unwrap_or(*first);
    let range = PortRange::new(u16::try_from(*first).ok()?, u16::try_from(last).ok()?)?;
    Some((protocol, range))
}

fn read_peer(peer: &NetworkPolicyPeer) -> Option<IpNet> {
    let block = peer.ip_block.as_ref()?;
    if block.except.as_ref().is_some_and(|except| !except.is_empty()) {
        return None;
    }
    block.cidr.parse().ok()
}

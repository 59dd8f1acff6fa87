//! The content of each NetworkPolicy. Pure.

use super::placement::{Part, PartRule};
use crate::direction::PolicyDirection as _;
use crate::plan::{DnsPeer, DnsRule, RememberedRule};
use connectivity_allowlist::net::{Direction, PortRange, PortSet, Protocol, canonical_set, cidr};
use ipnet::IpNet;
use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The label that Kubernetes puts on every namespace: its name.
const NAMESPACE_LABEL: &str = "kubernetes.io/metadata.name";
/// An upper bound on metadata, managed fields and punctuation of an object, in bytes.
const FRAME_BYTES: usize = 4096;

/// Bytes that every policy takes besides its rules.
pub(super) fn fixed_bytes(pod_selector: &LabelSelector, dns: &[DnsRule]) -> usize {
    let selector = serde_json::to_vec(pod_selector).map_or(0, |text| text.len());
    let dns: Vec<NetworkPolicyEgressRule> = dns.iter().map(dns_rule).collect();
    FRAME_BYTES + selector + serde_json::to_vec(&dns).map_or(0, |text| text.len())
}

/// The content of one policy, for any owner.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyContent {
    /// Its direction.
    pub direction: Direction,
    /// Its number among those of its direction, from 1.
    pub part: usize,
    /// Networks of its direction's policies that only the user asked for, as its annotation lists them.
    pub users: Option<Arc<str>>,
    pod_selector: LabelSelector,
    dns: Vec<DnsRule>,
    rules: Vec<PartRule>,
}

/// The policies of one direction, one for each part. The first has the rules for DNS.
pub(super) fn policies(
    pod_selector: &LabelSelector,
    direction: Direction,
    parts: Vec<Part>,
    dns: &[DnsRule],
    users: &[IpNet],
) -> impl Iterator<Item = PolicyContent> {
    parts.into_iter().enumerate().map(move |(position, part)| PolicyContent {
        direction,
        part: part.index + 1,
        users: (position == 0).then(|| listed(users)).flatten(),
        pod_selector: pod_selector.clone(),
        dns: if position == 0 && direction == Direction::Outbound { dns.to_vec() } else { Vec::new() },
        rules: part.rules,
    })
}

/// The most bytes of an annotation's list: the API server accepts 256 KiB of annotations on an object. All 4,096 CIDRs that a
/// spec can name fit in, as IPv4.
const LONGEST_LIST: usize = 100_000;

/// Networks as an annotation lists them; `None` where there is none. Those beyond the bound are left out.
fn listed(networks: &[IpNet]) -> Option<Arc<str>> {
    let mut text = String::new();
    for network in networks {
        let next = network.to_string();
        if text.len() + next.len() >= LONGEST_LIST {
            break;
        }
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(&next);
    }
    (!text.is_empty()).then(|| text.into())
}

impl PolicyContent {
    /// The policy's spec.
    #[must_use]
    pub fn spec(&self) -> NetworkPolicySpec {
        let (egress, ingress) = match self.direction {
            Direction::Outbound => {
                let rules = self.dns.iter().map(dns_rule).chain(self.rules.iter().map(egress_rule));
                (Some(rules.collect()), None)
            }
            Direction::Inbound => (None, Some(self.rules.iter().map(ingress_rule).collect())),
        };
        NetworkPolicySpec {
            egress,
            ingress,
            pod_selector: Some(self.pod_selector.clone()),
            policy_types: Some(vec![self.direction.policy_type().to_owned()]),
        }
    }
}

fn port((protocol, range): (Protocol, PortRange)) -> NetworkPolicyPort {
    NetworkPolicyPort {
        end_port: (range.last() > range.first()).then(|| i32::from(range.last())),
        port: Some(IntOrString::Int(i32::from(range.first()))),
        protocol: Some(protocol.as_str().to_owned()),
    }
}

fn ports(ports: &PortSet) -> Option<Vec<NetworkPolicyPort>> {
    Some(ports.iter().map(port).collect())
}

fn block(network: IpNet) -> NetworkPolicyPeer {
    NetworkPolicyPeer {
        ip_block: Some(IPBlock { cidr: cidr::text(&network), except: None }),
        ..NetworkPolicyPeer::default()
    }
}

fn peers(rule: &PartRule) -> Option<Vec<NetworkPolicyPeer>> {
    Some(rule.networks.iter().copied().map(block).collect())
}

fn egress_rule(rule: &PartRule) -> NetworkPolicyEgressRule {
    NetworkPolicyEgressRule { ports: ports(&rule.ports), to: peers(rule) }
}

fn ingress_rule(rule: &PartRule) -> NetworkPolicyIngressRule {
    NetworkPolicyIngressRule { from: peers(rule), ports: ports(&rule.ports) }
}

/// A rule for DNS has UDP before TCP, as no other rule has: this identifies it when policies are read back.
fn dns_rule(rule: &DnsRule) -> NetworkPolicyEgressRule {
    let labels =
        |labels: BTreeMap<String, String>| LabelSelector { match_labels: Some(labels), match_expressions: None };
    let peer = |peer: &DnsPeer| match peer {
        DnsPeer::Network(network) => block(*network),
        DnsPeer::Pods { namespace, labels: selected } => NetworkPolicyPeer {
            ip_block: None,
            namespace_selector: Some(labels(BTreeMap::from([(NAMESPACE_LABEL.to_owned(), namespace.clone())]))),
            pod_selector: Some(labels(selected.clone())),
        },
    };
    let of = |wanted: Protocol| rule.ports().iter().filter(move |(protocol, _)| *protocol == wanted);
    NetworkPolicyEgressRule {
        ports: Some(of(Protocol::Udp).chain(of(Protocol::Tcp)).map(port).collect()),
        to: Some(rule.peers().map(peer).collect()),
    }
}

/// A policy that allows these rules too. Rules of a direction that it does not govern are skipped.
#[must_use]
pub fn widened(mut spec: NetworkPolicySpec, more: &[RememberedRule]) -> NetworkPolicySpec {
    for (direction, allowed, networks) in more {
        let rule = PartRule { ports: allowed.clone(), networks: canonical_set(networks.iter().copied()) };
        match direction {
            Direction::Outbound => spec.egress.iter_mut().for_each(|rules| rules.push(egress_rule(&rule))),
            Direction::Inbound => spec.ingress.iter_mut().for_each(|rules| rules.push(ingress_rule(&rule))),
        }
    }
    spec
}

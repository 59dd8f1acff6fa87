//! What a set of NetworkPolicies allows, as Kubernetes defines them, independent of how they were made.

use super::read::each_rule;
use crate::direction::PolicyDirection as _;
use connectivity_allowlist::net::{Direction, Protocol};
use ipnet::IpNet;
use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::net::IpAddr;

/// A connection seen from a selected pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The side that opens it: the pod (outbound) or the peer (inbound).
    pub direction: Direction,
    /// The other end's address.
    pub peer: IpAddr,
    /// The transport protocol.
    pub protocol: Protocol,
    /// The port it is opened to: the peer's (outbound) or the pod's (inbound).
    pub port: u16,
}

/// The evaluation of a connection by a set of policies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evaluation {
    /// Policies that isolate the pod in this direction. Where there is none, everything is allowed.
    pub isolating: Vec<String>,
    /// Rules that allow the connection for certain.
    pub allowing: Vec<Match>,
    /// Rules that may allow it, by a selector or a named port: an address and a number do not decide that.
    pub possible: Vec<Match>,
}

/// A rule of a policy, and how it matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    /// The policy's name.
    pub policy: String,
    /// The rule's position in its direction, counted from 0.
    pub rule: usize,
    /// The part that matches.
    pub by: MatchedBy,
}

/// The part of a rule that matches a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MatchedBy {
    /// A network.
    Network(IpNet),
    /// The rule has no peer, and so matches every peer.
    Everybody,
    /// A selector of pods, whose addresses the policy does not have.
    Other,
}

impl Evaluation {
    /// Whether the connection is allowed for certain.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.isolating.is_empty() || !self.allowing.is_empty()
    }
}

/// Evaluates a connection by `policies`, all of which select the pod.
#[must_use]
pub fn evaluate(policies: &[NetworkPolicy], connection: Connection) -> Evaluation {
    let mut evaluation = Evaluation::default();
    for policy in policies {
        let Some(spec) = policy.spec.as_ref().filter(|spec| isolates(spec, connection.direction)) else { continue };
        let name = policy.metadata.name.clone().unwrap_or_default();
        for (rule, (ports, peers)) in each_rule(spec, connection.direction).into_iter().enumerate() {
            let on_port = ports_match(ports, connection);
            for (by, at_peer) in peers_match(peers, connection.peer) {
                let found = Match { policy: name.clone(), rule, by };
                match on_port.min(at_peer) {
                    Certainty::Yes => evaluation.allowing.push(found),
                    Certainty::Perhaps => evaluation.possible.push(found),
                    Certainty::No => {}
                }
            }
        }
        evaluation.isolating.push(name);
    }
    evaluation
}

/// Whether a policy isolates its pods in a direction: by its types, or where it has none, always for ingress and by
/// its rules for egress.
pub(super) fn isolates(spec: &NetworkPolicySpec, direction: Direction) -> bool {
    match spec.policy_types.as_deref() {
        Some([]) | None => match direction {
            Direction::Inbound => true,
            Direction::Outbound => spec.egress.as_ref().is_some_and(|rules| !rules.is_empty()),
        },
        Some(types) => types.iter().any(|name| name == direction.policy_type()),
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Certainty {
    No,
    Perhaps,
    Yes,
}

fn ports_match(ports: Option<&[NetworkPolicyPort]>, connection: Connection) -> Certainty {
    let Some(ports) = ports.filter(|ports| !ports.is_empty()) else { return Certainty::Yes };
    let of_protocol =
        ports.iter().filter(|port| port.protocol.as_deref().unwrap_or("TCP") == connection.protocol.as_str());
    let judged = of_protocol.map(|port| match &port.port {
        None => Certainty::Yes,
        Some(IntOrString::String(_)) => Certainty::Perhaps,
        Some(IntOrString::Int(first)) => {
            let range = *first..=port.end_port.unwrap_or(*first);
            if range.contains(&i32::from(connection.port)) { Certainty::Yes } else { Certainty::No }
        }
    });
    judged.max().unwrap_or(Certainty::No)
}

fn peers_match(peers: Option<&[NetworkPolicyPeer]>, address: IpAddr) -> Vec<(MatchedBy, Certainty)> {
    let Some(peers) = peers.filter(|peers| !peers.is_empty()) else {
        return vec![(MatchedBy::Everybody, Certainty::Yes)];
    };
    let judged = peers.iter().filter_map(|peer| match &peer.ip_block {
        Some(block) => within(block, address).map(|network| (MatchedBy::Network(network), Certainty::Yes)),
        None => Some((MatchedBy::Other, Certainty::Perhaps)),
    });
    judged.collect()
}

fn within(block: &IPBlock, address: IpAddr) -> Option<IpNet> {
    let network: IpNet = block.cidr.parse().ok()?;
    let excepted = block.except.iter().flatten().filter_map(|text| text.parse::<IpNet>().ok());
    let mut excepted = excepted.filter(|except| except.contains(&address));
    (network.contains(&address) && excepted.next().is_none()).then_some(network)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn judge(spec: Value, direction: Direction, peer: &str, protocol: Protocol, port: u16) -> Evaluation {
        let policy = serde_json::from_value(json!({ "metadata": { "name": "p" }, "spec": spec })).expect("a policy");
        let peer = peer.parse().expect("an address");
        evaluate(&[policy], Connection { direction, peer, protocol, port })
    }

    fn egress(rules: Value) -> Value {
        json!({ "podSelector": {}, "policyTypes": ["Egress"], "egress": rules })
    }

    fn found(rule: usize, by: MatchedBy) -> Vec<Match> {
        vec![Match { policy: "p".to_owned(), rule, by }]
    }

    #[test]
    fn networks_ranges_and_exceptions_are_read_as_in_kubernetes() {
        let rules = json!([
            { "to": [{ "ipBlock": { "cidr": "2603::/32" } }], "ports": [{ "port": 53, "protocol": "UDP" }] },
            {
                "to": [{ "ipBlock": { "cidr": "52.0.0.0/8", "except": ["52.1.0.0/16"] } }],
                "ports": [{ "port": 8080, "endPort": 8090 }]
            }
        ]);
        let verdict = |peer, protocol, port| judge(egress(rules.clone()), Direction::Outbound, peer, protocol, port);
        let network: IpNet = "52.0.0.0/8".parse().expect("a CIDR");
        assert_eq!(verdict("52.2.0.1", Protocol::Tcp, 8090).allowing, found(1, MatchedBy::Network(network)));
        assert!(verdict("2603::9", Protocol::Udp, 53).is_allowed());
        for (peer, protocol, port) in [
            ("52.1.0.1", Protocol::Tcp, 8090),
            ("52.2.0.1", Protocol::Udp, 8090),
            ("52.2.0.1", Protocol::Tcp, 8091),
            ("53.0.0.1", Protocol::Tcp, 8080),
            ("2604::9", Protocol::Udp, 53),
        ] {
            let verdict = verdict(peer, protocol, port);
            assert!(!verdict.is_allowed() && verdict.possible.is_empty(), "{peer} {protocol} {port}");
            assert_eq!(verdict.isolating, ["p"]);
        }
    }

    #[test]
    fn no_peers_are_everybody_and_no_ports_every_port() {
        let on_all = judge(egress(json!([{}])), Direction::Outbound, "52.1.1.1", Protocol::Udp, 9);
        assert_eq!(on_all.allowing, found(0, MatchedBy::Everybody));
        let on_tcp = egress(json!([{ "ports": [{ "protocol": "TCP" }] }]));
        assert!(judge(on_tcp, Direction::Outbound, "52.1.1.1", Protocol::Tcp, 9).is_allowed());
    }

    #[test]
    fn selectors_and_named_ports_only_may_allow() {
        let by_selector = json!([{ "to": [{ "podSelector": {} }], "ports": [{ "port": 443 }] }]);
        let by_name = json!([{ "to": [{ "ipBlock": { "cidr": "52.0.0.0/8" } }], "ports": [{ "port": "https" }] }]);
        for (rules, by) in
            [(by_selector, MatchedBy::Other), (by_name, MatchedBy::Network("52.0.0.0/8".parse().expect("a CIDR")))]
        {
            let verdict = judge(egress(rules), Direction::Outbound, "52.1.1.1", Protocol::Tcp, 443);
            assert_eq!((verdict.is_allowed(), verdict.possible), (false, found(0, by)));
        }
    }

    #[test]
    fn without_policy_types_egress_is_isolated_only_with_rules() {
        let isolating =
            |spec: Value, direction| !judge(spec, direction, "52.1.1.1", Protocol::Tcp, 443).isolating.is_empty();
        let bare = json!({ "podSelector": {} });
        assert!(isolating(bare.clone(), Direction::Inbound));
        assert!(!isolating(bare, Direction::Outbound));
        assert!(isolating(json!({ "podSelector": {}, "egress": [{}] }), Direction::Outbound));
        assert!(!isolating(egress(json!([])), Direction::Inbound));
        assert!(judge(egress(json!([])), Direction::Inbound, "52.1.1.1", Protocol::Tcp, 443).is_allowed());
    }
}

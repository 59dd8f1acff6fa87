//! What a set of NetworkPolicies allows, read as Kubernetes defines them and apart from how they were made.

use crate::net::{Direction, Protocol};
use ipnet::IpNet;
use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::net::IpAddr;

/// A connection seen from a selected pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Who opens it: the pod (outbound) or the peer (inbound).
    pub direction: Direction,
    /// The other end's address.
    pub peer: IpAddr,
    /// The transport protocol.
    pub protocol: Protocol,
    /// The port it is opened to: the peer's (outbound) or the pod's (inbound).
    pub port: u16,
}

/// What a set of policies says of a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Policies that isolate the pod in this direction. Where there is none, everything is allowed.
    pub isolating: Vec<String>,
    /// Rules that allow the connection for certain.
    pub allowing: Vec<Match>,
    /// Rules that may allow it: by a selector or a named port, which an address and a number do not tell.
    pub possible: Vec<Match>,
}

/// A rule of a policy, and how it matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    /// The policy's name.
    pub policy: String,
    /// The rule's position in its direction, counted from 0.
    pub rule: usize,
    /// What in it matches.
    pub by: MatchedBy,
}

/// What in a rule matches a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MatchedBy {
    /// A network.
    Network(IpNet),
    /// The rule names no peer, and so everybody.
    Everybody,
    /// A selector: pods, whose addresses the policy does not say.
    Other,
}

impl Verdict {
    /// Whether the connection is allowed for certain.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.isolating.is_empty() || !self.allowing.is_empty()
    }
}

/// What `policies`, all of which select the pod, say of a connection.
#[must_use]
pub fn evaluate(policies: &[NetworkPolicy], connection: Connection) -> Verdict {
    let mut verdict = Verdict::default();
    for policy in policies {
        let Some(spec) = &policy.spec else { continue };
        if !isolates(spec, connection.direction) {
            continue;
        }
        let name = policy.metadata.name.clone().unwrap_or_default();
        let mut judge = |rule: usize, ports: Option<&[NetworkPolicyPort]>, peers: Option<&[NetworkPolicyPeer]>| {
            let on_port = ports_match(ports, connection);
            for (by, at_peer) in peers_match(peers, connection.peer) {
                let found = Match { policy: name.clone(), rule, by };
                match on_port.and(at_peer) {
                    Certainty::Yes => verdict.allowing.push(found),
                    Certainty::Perhaps => verdict.possible.push(found),
                    Certainty::No => {}
                }
            }
        };
        match connection.direction {
            Direction::Outbound => {
                for (number, rule) in spec.egress.iter().flatten().enumerate() {
                    judge(number, rule.ports.as_deref(), rule.to.as_deref());
                }
            }
            Direction::Inbound => {
                for (number, rule) in spec.ingress.iter().flatten().enumerate() {
                    judge(number, rule.ports.as_deref(), rule.from.as_deref());
                }
            }
        }
        verdict.isolating.push(name);
    }
    verdict
}

/// Whether a policy isolates its pods in a direction: by its types, or where it has none, always for ingress and by
/// its rules for egress.
fn isolates(spec: &NetworkPolicySpec, direction: Direction) -> bool {
    match spec.policy_types.as_deref() {
        Some([]) | None => match direction {
            Direction::Inbound => true,
            Direction::Outbound => spec.egress.as_ref().is_some_and(|rules| !rules.is_empty()),
        },
        Some(types) => types.iter().any(|held| held == direction.policy_type()),
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Certainty {
    No,
    Perhaps,
    Yes,
}

impl Certainty {
    fn and(self, other: Self) -> Self {
        self.min(other)
    }

    const fn of(certain: bool) -> Self {
        if certain { Self::Yes } else { Self::No }
    }
}

fn ports_match(ports: Option<&[NetworkPolicyPort]>, connection: Connection) -> Certainty {
    let Some(ports) = ports.filter(|ports| !ports.is_empty()) else { return Certainty::Yes };
    let judged = ports.iter().map(|port| {
        if port.protocol.as_deref().unwrap_or("TCP") != connection.protocol.as_str() {
            return Certainty::No;
        }
        match &port.port {
            None => Certainty::Yes,
            Some(IntOrString::String(_)) => Certainty::Perhaps,
            Some(IntOrString::Int(first)) => {
                let last = port.end_port.unwrap_or(*first);
                Certainty::of((*first..=last).contains(&i32::from(connection.port)))
            }
        }
    });
    judged.max().unwrap_or(Certainty::No)
}

fn peers_match(peers: Option<&[NetworkPolicyPeer]>, address: IpAddr) -> Vec<(MatchedBy, Certainty)> {
    let Some(peers) = peers.filter(|peers| !peers.is_empty()) else {
        return vec![(MatchedBy::Everybody, Certainty::Yes)];
    };
    let judged = peers.iter().map(|peer| match &peer.ip_block {
        Some(block) => match within(block, address) {
            Some(network) => (MatchedBy::Network(network), Certainty::Yes),
            None => (MatchedBy::Other, Certainty::No),
        },
        None => (MatchedBy::Other, Certainty::Perhaps),
    });
    judged.filter(|(_, certainty)| *certainty != Certainty::No).collect()
}

fn within(block: &IPBlock, address: IpAddr) -> Option<IpNet> {
    let network: IpNet = block.cidr.parse().ok()?;
    let excepted = block.except.iter().flatten().filter_map(|text| text.parse::<IpNet>().ok());
    let mut excepted = excepted.filter(|except| except.contains(&address));
    (network.contains(&address) && excepted.next().is_none()).then_some(network)
}

//! Whether a connection is allowed, by what, and when not, what comes nearest. Pure.

use super::memory::SeenAddress;
use super::query::{ConnectionQuery, Peer};
use crate::crd::{Problem, ProblemKind};
use crate::direction::PolicyDirection as _;
use crate::engines::network_policy::evaluate::{Connection, MatchedBy, evaluate};
use crate::engines::network_policy::remembered;
use crate::export::{ExportedEndpoint, ExportedTarget};
use crate::plan::RememberedRule;
use connectivity_allowlist::net::{Direction, DomainName, PortSet, Protocol};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Everything that an answer rests on.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'a> {
    /// The resource's name, as people know it.
    pub resource: &'a str,
    /// Every policy that is known to select the pod.
    pub policies: &'a [NetworkPolicy],
    /// Which of these the resource keeps.
    pub own: &'a BTreeSet<String>,
    /// What the resource attributes addresses to.
    pub endpoints: &'a [ExportedEndpoint],
    /// What the resource could not honour.
    pub problems: &'a [Problem],
    /// A pod that is asked about, and whether the resource selects it.
    pub pod: Option<(&'a str, bool)>,
}

/// The answer to a question.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct QueryResult {
    /// `outbound` (`--to`) or `inbound` (`--from`).
    pub direction: &'static str,
    /// The name or address that was asked about.
    pub peer: String,
    /// The protocol that was asked about, `TCP` or `UDP`; absent where either was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<&'static str>,
    /// The port that was asked about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Whether it is allowed: where several addresses are asked about, on a given port, all of them; without a port,
    /// any.
    pub allowed: bool,
    /// Why, as a word for programs.
    pub reason: Nearest,
    /// Why, as a sentence, with what a person can do.
    pub message: String,
    /// Each connection that was judged.
    pub connections: Vec<Judged>,
}

/// Why it is, or is not, allowed: for what is not, what comes nearest to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Nearest {
    /// A rule allows it.
    Allowed,
    /// No policy isolates the pod in this direction, so that everything is allowed.
    NotIsolated,
    /// The resource does not select the pod, and other policies isolate it.
    NotSelected,
    /// The other end is allowed, on other ports.
    PortDiffers,
    /// Nothing that is allowed has this address.
    AddressNotSeen,
    /// The resource asks for it, and its policies do not have all of it: they are being written, or somebody edited them.
    NotApplied,
    /// DNS gives the address for one of the names, and the guard refuses it.
    Refused,
    /// The name is allowed, but has no usable address.
    NoAddress,
    /// Only a wildcard covers the name, and nothing in the spec stands in for it.
    Wildcard,
    /// The list has the name without ports.
    NoPorts,
    /// The name is allowed in the other direction only.
    OtherDirection,
    /// Nothing that the spec selects of the list has the name.
    NameNotListed,
}

/// One connection, judged.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Judged {
    /// The other end's address.
    pub address: IpAddr,
    /// `TCP` or `UDP`.
    pub protocol: &'static str,
    /// The port.
    pub port: u16,
    /// Whether it is allowed.
    pub allowed: bool,
    /// Rules that allow it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub by: Vec<By>,
    /// Policies with a rule that would allow it if the address were a pod's: by selector, or by named port.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub perhaps: Vec<String>,
    /// When DNS gave the address for the names that ask for it, as the operator remembers it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub seen: Vec<SeenAddress>,
}

/// A rule that allows a connection.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct By {
    /// The policy.
    pub policy: String,
    /// Whether the resource keeps it.
    pub own: bool,
    /// The rule's position in its direction, counted from 0.
    pub rule: usize,
    /// The network that matches; absent where the rule is for everybody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cidr: Option<String>,
    /// What asks for it: services with the name or network each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub asked_by: Vec<AskedBy>,
}

/// What asks for an address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AskedBy {
    /// The list's service, or the name of the `additional` entry.
    pub service: String,
    /// The name or network.
    pub name: String,
}

/// Answers a question about one direction.
#[must_use]
pub fn answer(scene: &Scene<'_>, direction: Direction, question: &ConnectionQuery) -> QueryResult {
    let rules = remembered(scene.policies);
    let addresses: Vec<IpAddr> = match &question.peer {
        Peer::Address(address) => vec![*address],
        Peer::Name(name) => {
            let of_name = scene.endpoints.iter().filter(|endpoint| is_named(endpoint, direction, name));
            of_name
                .flat_map(|endpoint| endpoint.addresses.iter().copied())
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect()
        }
    };
    let mut connections = Vec::new();
    for address in &addresses {
        for (protocol, port) in ports(scene, &rules, direction, question, *address) {
            connections.push(judge(scene, Connection { direction, peer: *address, protocol, port }));
        }
    }
    let isolating = isolating(scene, direction);
    let allowed = if isolating.is_empty() {
        true
    } else if question.port.is_some() {
        !connections.is_empty() && connections.iter().all(|judged| judged.allowed)
    } else {
        connections.iter().any(|judged| judged.allowed)
    };
    let (reason, message) = if isolating.is_empty() {
        (Nearest::NotIsolated, not_isolated(scene, direction))
    } else if allowed {
        (Nearest::Allowed, "a rule allows it".to_owned())
    } else {
        nearest(scene, &rules, direction, question, &addresses, &isolating)
    };
    QueryResult {
        direction: direction.as_str(),
        peer: question.peer.to_string(),
        protocol: question.protocol.map(Protocol::as_str),
        port: question.port,
        allowed,
        reason,
        message,
        connections,
    }
}

fn is_named(endpoint: &ExportedEndpoint, direction: Direction, name: &DomainName) -> bool {
    endpoint.direction == direction && matches!(&endpoint.target, ExportedTarget::Name(held) if held == name)
}

/// The policies that isolate the pod in a direction.
fn isolating(scene: &Scene<'_>, direction: Direction) -> Vec<String> {
    let anything = Connection { direction, peer: IpAddr::from([192, 0, 2, 1]), protocol: Protocol::Tcp, port: 1 };
    evaluate(scene.policies, anything).isolating
}

/// The port that was asked about; else the first of each range that the name, or the address, is listed or open on.
fn ports(
    scene: &Scene<'_>,
    rules: &[RememberedRule],
    direction: Direction,
    question: &ConnectionQuery,
    address: IpAddr,
) -> Vec<(Protocol, u16)> {
    if let (Some(protocol), Some(port)) = (question.protocol, question.port) {
        return vec![(protocol, port)];
    }
    let mut found: BTreeSet<(Protocol, u16)> = BTreeSet::new();
    let mut add = |ports: &PortSet| {
        let asked = ports.iter().filter(|(protocol, _)| question.is_about(*protocol));
        found.extend(asked.map(|(protocol, range)| (protocol, range.first())));
    };
    match &question.peer {
        Peer::Name(name) => {
            let of_name = scene.endpoints.iter().filter(|endpoint| is_named(endpoint, direction, name));
            of_name.filter_map(|endpoint| endpoint.ports.as_ref()).for_each(&mut add);
        }
        Peer::Address(_) => open_on(rules, direction, address).iter().for_each(|ports| add(ports)),
    }
    found.into_iter().collect()
}

fn open_on(rules: &[RememberedRule], direction: Direction, address: IpAddr) -> Vec<&PortSet> {
    let held = rules
        .iter()
        .filter(|(held, _, networks)| *held == direction && networks.iter().any(|network| network.contains(&address)));
    held.map(|(_, ports, _)| ports).collect()
}

fn judge(scene: &Scene<'_>, connection: Connection) -> Judged {
    let verdict = evaluate(scene.policies, connection);
    let by = verdict.allowing.iter().map(|found| {
        let own = scene.own.contains(&found.policy);
        let cidr = match &found.by {
            MatchedBy::Network(network) => Some(network.to_string()),
            MatchedBy::Everybody | MatchedBy::Other => None,
        };
        let asked_by = if own { asked_by(scene, connection) } else { Vec::new() };
        By { policy: found.policy.clone(), own, rule: found.rule, cidr, asked_by }
    });
    let perhaps: BTreeSet<String> = verdict.possible.iter().map(|found| found.policy.clone()).collect();
    Judged {
        address: connection.peer,
        protocol: connection.protocol.as_str(),
        port: connection.port,
        allowed: verdict.is_allowed(),
        by: by.collect(),
        perhaps: if verdict.is_allowed() { Vec::new() } else { perhaps.into_iter().collect() },
        seen: Vec::new(),
    }
}

fn asked_by(scene: &Scene<'_>, connection: Connection) -> Vec<AskedBy> {
    let asking = scene.endpoints.iter().filter(|endpoint| {
        endpoint.direction == connection.direction
            && endpoint.covers(connection.peer)
            && endpoint.ports.as_ref().is_some_and(|ports| ports.contains(connection.protocol, connection.port))
    });
    let asking = asking.map(|endpoint| AskedBy { service: endpoint.service.clone(), name: endpoint.target.text() });
    asking.collect::<BTreeSet<_>>().into_iter().collect()
}

fn not_isolated(scene: &Scene<'_>, direction: Direction) -> String {
    let kind = direction.object_suffix();
    match scene.pod {
        Some((pod, true)) => format!(
            "no {kind} policy selects pod {pod}, so that everything is allowed; {} has none in place",
            scene.resource
        ),
        Some((pod, false)) => format!(
            "no {kind} policy selects pod {pod}, so that everything is allowed; spec.podSelector of {} does not match it either",
            scene.resource
        ),
        None => format!("{} has no {kind} policy in place: it restricts nothing in this direction", scene.resource),
    }
}

/// What comes nearest to allowing it.
fn nearest(
    scene: &Scene<'_>,
    rules: &[RememberedRule],
    direction: Direction,
    question: &ConnectionQuery,
    addresses: &[IpAddr],
    isolating: &[String],
) -> (Nearest, String) {
    let others: Vec<&str> = isolating.iter().filter(|name| !scene.own.contains(*name)).map(String::as_str).collect();
    if let Some((pod, false)) = scene.pod {
        let message = format!(
            "spec.podSelector of {} does not match pod {pod}, which {} {}",
            scene.resource,
            others.join(", "),
            if others.len() == 1 { "isolates" } else { "isolate" }
        );
        return (Nearest::NotSelected, message);
    }
    match &question.peer {
        Peer::Address(address) => {
            let mut open: BTreeMap<String, &PortSet> = BTreeMap::new();
            open.extend(open_on(rules, direction, *address).into_iter().map(|ports| (ports.to_string(), ports)));
            if open.is_empty() {
                let message = format!(
                    "no network that {} allows has {address}: DNS has given it for none of its names within spec.addressRetention; ask for the name with its port",
                    scene.resource
                );
                return (Nearest::AddressNotSeen, message);
            }
            let on: Vec<&str> = open.keys().map(String::as_str).collect();
            let asked = question.not_on();
            (Nearest::PortDiffers, format!("{address} is allowed on {}{asked}", on.join("; ")))
        }
        Peer::Name(name) => nearest_name(scene, direction, question, name, addresses),
    }
}

fn nearest_name(
    scene: &Scene<'_>,
    direction: Direction,
    question: &ConnectionQuery,
    name: &DomainName,
    addresses: &[IpAddr],
) -> (Nearest, String) {
    let listed: Vec<&ExportedEndpoint> =
        scene.endpoints.iter().filter(|endpoint| is_named(endpoint, direction, name)).collect();
    let about = |kind: ProblemKind| {
        scene
            .problems
            .iter()
            .find(move |problem| problem.kind == kind && problem.subject.split(' ').next() == Some(name.as_str()))
    };
    if !listed.is_empty() {
        if addresses.is_empty() {
            let why = about(ProblemKind::Unresolved).or_else(|| about(ProblemKind::Refused));
            let why = why.map(|problem| format!(": {}", problem.message)).unwrap_or_default();
            return (
                Nearest::NoAddress,
                format!("{name} is allowed by {}, but has no usable address{why}", services(&listed)),
            );
        }
        let ports = listed.iter().filter_map(|endpoint| endpoint.ports.clone()).reduce(|held, next| held.union(&next));
        if ports.as_ref().is_some_and(|ports| question.is_met_by(ports)) {
            let message = format!(
                "{} asks for all of it, and its policies do not have all addresses of {name}: they are being written just now, so that asking again helps, or somebody has edited them, which `explain {}` says",
                scene.resource, scene.resource
            );
            return (Nearest::NotApplied, message);
        }
        let ports = ports.map(|ports| ports.to_string()).unwrap_or_default();
        let asked = question.not_on();
        let message = format!(
            "{} lists {name} on {ports}{asked}; where pods need more, spec.additional can say so",
            services(&listed)
        );
        return (Nearest::PortDiffers, message);
    }
    if let Some(problem) = about(ProblemKind::NoPorts) {
        return (Nearest::NoPorts, problem.message.clone());
    }
    let covering = scene.endpoints.iter().filter(|endpoint| endpoint.direction == direction);
    let covering = covering.filter_map(|endpoint| match &endpoint.target {
        ExportedTarget::Wildcard(pattern, _) if pattern.matches(name) => Some((endpoint, pattern)),
        _ => None,
    });
    if let Some((endpoint, pattern)) = covering.min_by_key(|(_, pattern)| std::cmp::Reverse(pattern.as_str().len())) {
        let message = format!(
            "only the wildcard {pattern} of {} covers {name}, and DNS cannot enumerate it; name {name} under spec.wildcards for the pattern {pattern}",
            endpoint.service
        );
        return (Nearest::Wildcard, message);
    }
    let other = scene
        .endpoints
        .iter()
        .find(|endpoint| endpoint.direction != direction && is_named(endpoint, endpoint.direction, name));
    if let Some(other) = other {
        let message = format!("{} lists {name} for {} connections only", other.service, other.direction);
        return (Nearest::OtherDirection, message);
    }
    let message = format!(
        "nothing that {} takes from the list has {name}: see spec.geo, services and direction; spec.additional can name it with its ports",
        scene.resource
    );
    (Nearest::NameNotListed, message)
}

fn services(endpoints: &[&ExportedEndpoint]) -> String {
    let names: BTreeSet<&str> = endpoints.iter().map(|endpoint| endpoint.service.as_str()).collect();
    names.into_iter().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;

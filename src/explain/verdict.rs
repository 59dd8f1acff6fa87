//! Whether a connection is allowed and by which rules, or what comes nearest to allowing it. Pure.

use super::memory::SeenAddress;
use super::query::{ConnectionQuery, Peer};
use super::unlearned::UnlearnedName;
use crate::crd::{CitrixAllowlistSpec, CitrixAllowlistStatus, Problem, ProblemKind};
use crate::direction::PolicyDirection as _;
use crate::engines::network_policy::evaluate::{Connection, MatchedBy, evaluate};
use crate::engines::network_policy::remembered;
use crate::export::{ExportedEndpoint, ExportedTarget};
use crate::plan::RememberedRule;
use crate::status::plural;
use connectivity_allowlist::net::{Direction, DomainName, PortSet, Protocol};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// The basis of an answer.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'a> {
    /// The resource's name.
    pub resource: &'a str,
    /// Every policy known to select the pod.
    pub policies: &'a [NetworkPolicy],
    /// The resource's own policies among these.
    pub own: &'a BTreeSet<String>,
    /// The resource's endpoints with their addresses.
    pub endpoints: &'a [ExportedEndpoint],
    /// The resource's spec.
    pub spec: &'a CitrixAllowlistSpec,
    /// The resource's status, with its problems.
    pub status: &'a CitrixAllowlistStatus,
    /// The queried pod, and whether the resource selects it.
    pub pod: Option<(&'a str, bool)>,
}

/// The answer to a query.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct QueryResult {
    /// `outbound` (`--to`) or `inbound` (`--from`).
    pub direction: &'static str,
    /// The queried name or address.
    pub peer: String,
    /// The queried protocol, `TCP` or `UDP`; absent for either.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<&'static str>,
    /// The queried port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Whether it is allowed: with a port, to all addresses of the name; without one, to any.
    pub allowed: bool,
    /// Why, as a word for programs.
    pub reason: Nearest,
    /// Why, as a sentence, with a remedy.
    pub message: String,
    /// Each connection that was judged.
    pub connections: Vec<Judged>,
}

/// Why it is allowed, or what comes nearest to allowing it.
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
    /// The resource needs it, and its policies lack part of it: they are being written, or another client edited them.
    NotApplied,
    /// DNS returns the address for one of the names, and the guard refuses it.
    Refused,
    /// The name is allowed, but has no usable address.
    NoAddress,
    /// Only a wildcard covers the name, and neither the spec names it nor did a pod ask for it.
    Wildcard,
    /// The list has the name without ports.
    NoPorts,
    /// The name is allowed in the other direction only.
    OtherDirection,
    /// No entry that the spec selects has the name.
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
    /// When DNS returned the address for the names that need it, by the operator's state.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub seen: Vec<SeenAddress>,
}

/// A rule that allows a connection.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct By {
    /// The policy.
    pub policy: String,
    /// Whether it is the resource's own.
    pub own: bool,
    /// The rule's position in its direction, counted from 0.
    pub rule: usize,
    /// The network that matches; absent where the rule has no peers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cidr: Option<String>,
    /// The entries that need it: each a service with a name or network.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub asked_by: Vec<AskedBy>,
}

/// An entry that needs an address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AskedBy {
    /// The list's service, or the name of the `additional` entry.
    pub service: String,
    /// The name or network.
    pub name: String,
}

/// Answers a query about one direction.
#[must_use]
pub fn answer(scene: &Scene<'_>, direction: Direction, query: &ConnectionQuery) -> QueryResult {
    Question { scene, direction, query, rules: remembered(scene.policies) }.answer()
}

/// A query about one direction, with its basis.
struct Question<'a> {
    scene: &'a Scene<'a>,
    direction: Direction,
    query: &'a ConnectionQuery,
    /// What the policies allow.
    rules: Vec<RememberedRule>,
}

impl<'a> Question<'a> {
    fn answer(&self) -> QueryResult {
        let Self { scene, direction, query, .. } = *self;
        let addresses: Vec<IpAddr> = match &query.peer {
            Peer::Address(address) => vec![*address],
            Peer::Name(name) => {
                let addresses = self.listed(name).flat_map(|endpoint| endpoint.addresses.iter().copied());
                addresses.collect::<BTreeSet<_>>().into_iter().collect()
            }
        };
        let mut connections = Vec::new();
        for address in &addresses {
            for (protocol, port) in self.ports(*address) {
                connections.push(judge(scene, Connection { direction, peer: *address, protocol, port }));
            }
        }
        // Any connection shows which policies isolate the pod.
        let any = Connection { direction, peer: IpAddr::from([192, 0, 2, 1]), protocol: Protocol::Tcp, port: 1 };
        let isolating = evaluate(scene.policies, any).isolating;
        let mut judged = connections.iter().map(|judged| judged.allowed);
        let allowed = isolating.is_empty()
            || if query.port.is_some() {
                !connections.is_empty() && judged.all(|yes| yes)
            } else {
                judged.any(|yes| yes)
            };
        let (reason, message) = if isolating.is_empty() {
            (Nearest::NotIsolated, not_isolated(scene, direction))
        } else if allowed {
            (Nearest::Allowed, "a rule allows it".to_owned())
        } else {
            self.nearest(&addresses, &isolating)
        };
        QueryResult {
            direction: direction.as_str(),
            peer: query.peer.to_string(),
            protocol: query.protocol.map(Protocol::as_str),
            port: query.port,
            allowed,
            reason,
            message,
            connections,
        }
    }

    /// The endpoints of a name in the direction.
    fn listed(&self, name: &'a DomainName) -> impl Iterator<Item = &'a ExportedEndpoint> {
        let direction = self.direction;
        self.scene.endpoints.iter().filter(move |endpoint| is_named(endpoint, direction, name))
    }

    /// The queried port; else the first of each range that the name is listed on, or the address is open on.
    fn ports(&self, address: IpAddr) -> Vec<(Protocol, u16)> {
        if let (Some(protocol), Some(port)) = (self.query.protocol, self.query.port) {
            return vec![(protocol, port)];
        }
        let sets: Vec<&PortSet> = match &self.query.peer {
            Peer::Name(name) => self.listed(name).filter_map(|endpoint| endpoint.ports.as_ref()).collect(),
            Peer::Address(_) => self.open_on(address).collect(),
        };
        let ranges = sets.into_iter().flat_map(PortSet::iter).filter(|(protocol, _)| self.query.is_about(*protocol));
        ranges.map(|(protocol, range)| (protocol, range.first())).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The ports on which rules allow an address.
    fn open_on(&self, address: IpAddr) -> impl Iterator<Item = &PortSet> {
        let of_direction = self.rules.iter().filter(|(direction, ..)| *direction == self.direction);
        let open = of_direction.filter(move |(.., networks)| networks.iter().any(|network| network.contains(&address)));
        open.map(|(_, ports, _)| ports)
    }

    /// What comes nearest to allowing the connection.
    fn nearest(&self, addresses: &[IpAddr], isolating: &[String]) -> (Nearest, String) {
        let Scene { resource, own, pod, .. } = self.scene;
        if let Some((pod, false)) = pod {
            let others: Vec<&str> = isolating.iter().filter(|name| !own.contains(*name)).map(String::as_str).collect();
            let isolate = plural(others.len(), "isolates", "isolate");
            let others = others.join(", ");
            let message = format!("spec.podSelector of {resource} does not match pod {pod}, which {others} {isolate}");
            return (Nearest::NotSelected, message);
        }
        let address = match &self.query.peer {
            Peer::Name(name) => return self.nearest_name(name, addresses),
            Peer::Address(address) => address,
        };
        let open: BTreeSet<String> = self.open_on(*address).map(ToString::to_string).collect();
        if open.is_empty() {
            let message = format!(
                "no network that {resource} allows has {address}: DNS has given it for none of its names within spec.addressRetention; ask for the name with its port"
            );
            return (Nearest::AddressNotSeen, message);
        }
        let open = open.into_iter().collect::<Vec<_>>().join("; ");
        (Nearest::PortDiffers, format!("{address} is allowed on {open}{}", self.query.not_on()))
    }

    fn nearest_name(&self, name: &'a DomainName, addresses: &[IpAddr]) -> (Nearest, String) {
        let Scene { resource, endpoints, spec, status, .. } = self.scene;
        let listed: Vec<&ExportedEndpoint> = self.listed(name).collect();
        if !listed.is_empty() {
            return self.nearest_listed(name, addresses, &listed);
        }
        if let Some(problem) = self.problem(ProblemKind::NoPorts, name) {
            return (Nearest::NoPorts, problem.message.clone());
        }
        let of_direction = endpoints.iter().filter(|endpoint| endpoint.direction == self.direction);
        let covering = of_direction.filter_map(|endpoint| match &endpoint.target {
            ExportedTarget::Wildcard(pattern, _) if pattern.matches(name) => Some((&endpoint.service, pattern)),
            _ => None,
        });
        if let Some((service, pattern)) = covering.min_by_key(|(_, pattern)| Reverse(pattern.as_str().len())) {
            return (Nearest::Wildcard, UnlearnedName { name, pattern, service }.why_not(spec, status));
        }
        // The direction itself lists the name nowhere.
        if let Some(other) = endpoints.iter().find(|endpoint| is_named(endpoint, endpoint.direction, name)) {
            let message = format!("{} lists {name} for {} connections only", other.service, other.direction);
            return (Nearest::OtherDirection, message);
        }
        let message = format!(
            "nothing that {resource} takes from the list has {name}: see spec.geo, services and direction; spec.additional can name it with its ports"
        );
        (Nearest::NameNotListed, message)
    }

    fn nearest_listed(
        &self,
        name: &DomainName,
        addresses: &[IpAddr],
        listed: &[&ExportedEndpoint],
    ) -> (Nearest, String) {
        let resource = self.scene.resource;
        let services: BTreeSet<&str> = listed.iter().map(|endpoint| endpoint.service.as_str()).collect();
        let services = services.into_iter().collect::<Vec<_>>().join(", ");
        if addresses.is_empty() {
            let why = self.problem(ProblemKind::Unresolved, name).or_else(|| self.problem(ProblemKind::Refused, name));
            let why = why.map(|problem| format!(": {}", problem.message)).unwrap_or_default();
            return (Nearest::NoAddress, format!("{name} is allowed by {services}, but has no usable address{why}"));
        }
        let ports = listed.iter().filter_map(|endpoint| endpoint.ports.clone()).reduce(|all, more| all.union(&more));
        if ports.as_ref().is_some_and(|ports| self.query.is_met_by(ports)) {
            let message = format!(
                "{resource} asks for all of it, and its policies do not have all addresses of {name}: they are being written just now, so that asking again helps, or somebody has edited them, which `explain {resource}` says"
            );
            return (Nearest::NotApplied, message);
        }
        let (ports, not_on) = (ports.map(|ports| ports.to_string()).unwrap_or_default(), self.query.not_on());
        let message =
            format!("{services} lists {name} on {ports}{not_on}; where pods need more, spec.additional can say so");
        (Nearest::PortDiffers, message)
    }

    /// The resource's problem of this kind with a name.
    fn problem(&self, kind: ProblemKind, name: &DomainName) -> Option<&'a Problem> {
        let is_about = |problem: &&Problem| problem.subject.split(' ').next() == Some(name.as_str());
        self.scene.status.problems.iter().filter(|problem| problem.kind == kind).find(is_about)
    }
}

fn is_named(endpoint: &ExportedEndpoint, direction: Direction, name: &DomainName) -> bool {
    endpoint.direction == direction && matches!(&endpoint.target, ExportedTarget::Name(listed) if listed == name)
}

fn judge(scene: &Scene<'_>, connection: Connection) -> Judged {
    let evaluation = evaluate(scene.policies, connection);
    let by = evaluation.allowing.iter().map(|found| {
        let own = scene.own.contains(&found.policy);
        let cidr = match &found.by {
            MatchedBy::Network(network) => Some(network.to_string()),
            MatchedBy::Everybody | MatchedBy::Other => None,
        };
        let asked_by = if own { asked_by(scene, connection) } else { Vec::new() };
        By { policy: found.policy.clone(), own, rule: found.rule, cidr, asked_by }
    });
    let allowed = evaluation.is_allowed();
    let perhaps: BTreeSet<String> = evaluation.possible.iter().map(|found| found.policy.clone()).collect();
    Judged {
        address: connection.peer,
        protocol: connection.protocol.as_str(),
        port: connection.port,
        allowed,
        by: by.collect(),
        perhaps: if allowed { Vec::new() } else { perhaps.into_iter().collect() },
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
    let (resource, kind) = (scene.resource, direction.object_suffix());
    let Some((pod, is_selected)) = scene.pod else {
        return format!("{resource} has no {kind} policy in place: it restricts nothing in this direction");
    };
    let why = match is_selected {
        true => format!("{resource} has none in place"),
        false => format!("spec.podSelector of {resource} does not match it either"),
    };
    format!("no {kind} policy selects pod {pod}, so that everything is allowed; {why}")
}

#[cfg(test)]
mod tests;

//! The user's own endpoints.

use super::opened::{Opened, PART};
use super::{SelectedEndpoint, Selection, Target};
use crate::crd::{AdditionalDirection, AdditionalEndpoint, CitrixAllowlistSpec, PortProfile, Problem, ProblemKind};
use crate::guard::{Guard, Origin};
use connectivity_allowlist::net::{Direction, DomainName, PortRange, PortSet, Protocol, cidr};
use connectivity_allowlist::{Directions, EntryGeo};
use ipnet::IpNet;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::net::IpAddr;
use std::sync::Arc;

/// Ports of a role, as Citrix Cloud Japan's documentation of connectors lists them: those of TCP, and those of UDP.
#[must_use]
pub const fn profile_ports(profile: PortProfile) -> [&'static str; 2] {
    match profile {
        PortProfile::ActiveDirectory => ["88,135,139,389,445,464,3268,49152-65535", "88,137-138,389,464"],
        PortProfile::CloudConnectorLan => ["53,88,135,389,445,464,3268-3269,49152-65535", "53,88,123,389,464"],
        PortProfile::ConnectorAppliance => ["53,443", "53,123"],
    }
}

/// The most port ranges of one entry, both protocols together. Every object with one of the entry's addresses carries them all: 64
/// entries with as many ranges as fit into their text would make tens of megabytes of objects.
const MOST_RANGES: usize = 64;

/// Adds the spec's `additional`. Its inbound ports are the pods' own: `inboundPorts` maps those of the list.
pub(super) fn add(spec: &CitrixAllowlistSpec, guard: &Guard, selection: &mut Selection) {
    let Selection { endpoints, problems, .. } = selection;
    let mut opened = Opened::default();
    for entry in &spec.additional {
        let problem = |kind: ProblemKind, subject: &str, message: &str| {
            Problem::new(kind, subject, Some(entry.name.as_str()), message)
        };
        let direction = match entry.direction {
            AdditionalDirection::Outbound => Direction::Outbound,
            AdditionalDirection::Inbound => Direction::Inbound,
        };
        if !Directions::from(spec.direction).each().contains(&direction) {
            let message =
                format!("this entry of additional is {direction}, which spec.direction leaves out: set direction: all");
            problems.push(problem(ProblemKind::NoMatch, &entry.name, &message));
            continue;
        }
        let Some(ports) = usable_ports(entry, problems) else { continue };
        let service: Arc<str> = entry.name.as_str().into();
        let mut push = |target: Target| {
            endpoints.push(SelectedEndpoint {
                direction,
                service: service.clone(),
                geo: EntryGeo::All,
                target,
                ports: ports.clone(),
                origin: Origin::User,
                required: true,
                notes: None,
                stands_in_for: None,
                learned: false,
            });
        };
        for text in &entry.fqdns {
            let refused = match DomainName::parse(text) {
                Ok(name) => match guard.check_additional_name(&name) {
                    Ok(()) => {
                        push(Target::Name(name));
                        continue;
                    }
                    Err(refusal) => {
                        (ProblemKind::Refused, format!("this name of additional is not asked for: {refusal}"))
                    }
                },
                Err(error) => (ProblemKind::Malformed, format!("additional.fqdns: {error}")),
            };
            problems.push(problem(refused.0, text, &refused.1));
        }
        for text in &entry.cidrs {
            let (kind, message) = match network(text)
                .map(|network| (network, guard.check_network(network, Origin::User)))
            {
                Some((network, Ok(()))) if opened.open(direction, network) => {
                    push(Target::Network(network));
                    continue;
                }
                Some((_, Ok(()))) => {
                    let message = format!(
                        "this CIDR of additional is not opened: with it the {direction} CIDRs would be more than 1 in {PART} of all addresses; name what is needed"
                    );
                    (ProblemKind::Limit, message)
                }
                Some((_, Err(refusal))) => {
                    (ProblemKind::Refused, format!("this CIDR of additional is not opened: {refusal}"))
                }
                None => {
                    let message = "additional.cidrs: not a CIDR such as 10.20.0.0/24 or 2001:db8::/64";
                    (ProblemKind::Malformed, message.to_owned())
                }
            };
            problems.push(problem(kind, text, &message));
        }
    }
}

/// An entry's ports, where it has some and not too many; adds a problem for whatever is wrong with them.
fn usable_ports(entry: &AdditionalEndpoint, problems: &mut Vec<Problem>) -> Option<PortSet> {
    let mut add = |kind: ProblemKind, message: &str| {
        problems.push(Problem::new(kind, &entry.name, Some(entry.name.as_str()), message));
    };
    let (ports, wrong) = ports(entry);
    wrong.iter().for_each(|message| add(ProblemKind::Malformed, message));
    let Some(ports) = ports else {
        let message =
            "this entry of additional has no usable ports: nothing is opened, since no ports would mean every port";
        add(ProblemKind::NoPorts, message);
        return None;
    };
    if ports.len() > MOST_RANGES {
        let message = format!(
            "{} port ranges are more than {MOST_RANGES}: nothing of this entry of additional is opened; name wider ranges, or split it",
            ports.len()
        );
        add(ProblemKind::Limit, &message);
        return None;
    }
    Some(ports)
}

/// An entry's ports, and its unreadable ones.
fn ports(entry: &AdditionalEndpoint) -> (Option<PortSet>, Vec<String>) {
    let mut ranges: Vec<(Protocol, PortRange)> = Vec::new();
    let mut wrong = Vec::new();
    let [tcp, udp] = entry.profile.map_or([None; 2], |profile| profile_ports(profile).map(Some));
    for (protocol, field, listed, of_profile) in
        [(Protocol::Tcp, "tcpPorts", &entry.tcp_ports, tcp), (Protocol::Udp, "udpPorts", &entry.udp_ports, udp)]
    {
        let listed = listed.as_ref().map(|listed| match listed {
            IntOrString::Int(port) => port.to_string(),
            IntOrString::String(text) => text.clone(),
        });
        for item in listed.as_deref().into_iter().chain(of_profile).flat_map(|text| text.split(',')) {
            match PortRange::parse(item) {
                Ok(range) => ranges.push((protocol, range)),
                Err(error) => wrong.push(format!("additional.{field}: {error}")),
            }
        }
    }
    (PortSet::new(ranges), wrong)
}

fn network(text: &str) -> Option<IpNet> {
    let text = text.trim();
    let network = cidr::parse(text).ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    network.map(|network| network.trunc())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::ClusterFacts;
    use crate::guard::GuardSettings;

    /// Every name of a tenant was queried, and the queries reached the owner of its zone.
    #[test]
    fn names_outside_allowed_domains_are_reported_and_not_queried() {
        let spec: CitrixAllowlistSpec = serde_json::from_value(serde_json::json!({
            "customerId": "acme",
            "additional": [{ "name": "idp", "tcpPorts": 443, "fqdns": ["idp.corp.example.com", "secret.tunnel.example.net"] }],
        }))
        .expect("a spec");
        let suffix = DomainName::parse("corp.example.com").expect("a name");
        let settings = GuardSettings { additional_suffixes: vec![suffix], ..GuardSettings::default() };
        let guard = Guard::new(settings, &ClusterFacts::default());
        let mut selection = Selection::default();
        add(&spec, &guard, &mut selection);
        let targets: Vec<Target> = selection.endpoints.into_iter().map(|endpoint| endpoint.target).collect();
        assert_eq!(targets, [Target::Name(DomainName::parse("idp.corp.example.com").expect("a name"))]);
        let message = "this name of additional is not asked for: under none of --additional-suffix corp.example.com";
        let problem = Problem::new(ProblemKind::Refused, "secret.tunnel.example.net", Some("idp"), message);
        assert_eq!(selection.problems, [problem]);
    }
}

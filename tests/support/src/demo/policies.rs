//! Policies as a person reads them: rules, peers, ports, and what changed between two looks.

use std::collections::BTreeSet;
use std::fmt::Write;

use ipnet::IpNet;
use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::net::IpAddr;

/// How many characters of a rule's ports or peers a line shows.
const WIDTH: usize = 40;

/// A CIDR that a policy allows, and the ports.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Opening {
    pub(super) policy: String,
    pub(super) cidr: String,
    pub(super) ports: String,
}

/// A rule of either direction.
struct Rule<'a> {
    peers: &'a [NetworkPolicyPeer],
    ports: &'a [NetworkPolicyPort],
}

fn rules(policy: &NetworkPolicy) -> Vec<Rule<'_>> {
    let Some(spec) = &policy.spec else { return Vec::new() };
    let egress = spec.egress.iter().flatten().map(|rule| (rule.to.as_deref(), rule.ports.as_deref()));
    let ingress = spec.ingress.iter().flatten().map(|rule| (rule.from.as_deref(), rule.ports.as_deref()));
    let parts = egress.chain(ingress);
    parts.map(|(peers, ports)| Rule { peers: peers.unwrap_or_default(), ports: ports.unwrap_or_default() }).collect()
}

/// `TCP 80,443 UDP 123`.
fn ports_text(ports: &[NetworkPolicyPort]) -> String {
    let mut text = String::new();
    let mut last = "";
    for port in ports {
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        let separator = match (last == protocol, text.is_empty()) {
            (true, _) => ",".to_owned(),
            (false, true) => format!("{protocol} "),
            (false, false) => format!(" {protocol} "),
        };
        last = protocol;
        let number = match &port.port {
            Some(IntOrString::Int(number)) => number.to_string(),
            Some(IntOrString::String(name)) => name.clone(),
            None => "every port".to_owned(),
        };
        let end = port.end_port.map(|end| format!("-{end}")).unwrap_or_default();
        let _ = write!(text, "{separator}{number}{end}");
    }
    text
}

fn peer_text(peer: &NetworkPolicyPeer) -> String {
    match &peer.ip_block {
        Some(block) => block.cidr.clone(),
        None => "pods by label".to_owned(),
    }
}

fn shortened(text: String) -> String {
    if text.chars().count() <= WIDTH {
        return text;
    }
    text.chars().take(WIDTH - 1).chain(['…']).collect()
}

fn name_of(policy: &NetworkPolicy) -> String {
    policy.metadata.name.clone().unwrap_or_default()
}

/// A table of a policy's rules, counted from 0 as `explain` and JSON paths do.
pub(super) fn table(policy: &NetworkPolicy) -> String {
    let rules = rules(policy);
    let peers: usize = rules.iter().map(|rule| rule.peers.len()).sum();
    let mut text = format!("{}: {} rules, {peers} peers\n", name_of(policy), rules.len());
    let _ = writeln!(text, "  {:>4}  {:>5}  {:WIDTH$}  FIRST PEERS", "RULE", "PEERS", "PORTS");
    for (index, rule) in rules.iter().enumerate() {
        let first: Vec<String> = rule.peers.iter().take(3).map(peer_text).collect();
        let (ports, first) = (shortened(ports_text(rule.ports)), shortened(first.join(" ")));
        let _ = writeln!(text, "  {index:>4}  {:>5}  {ports:WIDTH$}  {first}", rule.peers.len());
    }
    text
}

/// Everything that policies open.
pub(super) fn openings(policies: &[NetworkPolicy]) -> Vec<Opening> {
    let mut openings = Vec::new();
    for policy in policies {
        for rule in &rules(policy) {
            let ports = ports_text(rule.ports);
            openings.extend(rule.peers.iter().filter_map(|peer| peer.ip_block.as_ref()).map(|block| Opening {
                policy: name_of(policy),
                cidr: block.cidr.clone(),
                ports: ports.clone(),
            }));
        }
    }
    openings
}

/// The openings that hold an address.
pub(super) fn allowing(openings: &[Opening], address: IpAddr) -> Vec<&Opening> {
    let holds = |opening: &&Opening| opening.cidr.parse::<IpNet>().is_ok_and(|network| network.contains(&address));
    openings.iter().filter(holds).collect()
}

/// Lines `+ CIDR ports` and `- CIDR ports` for what came and what went; empty where nothing did.
pub(super) fn difference(before: &[Opening], after: &[Opening]) -> String {
    let set = |openings: &[Opening]| -> BTreeSet<String> {
        openings.iter().map(|opening| format!("{:18} {}  ({})", opening.cidr, opening.ports, opening.policy)).collect()
    };
    let (before, after) = (set(before), set(after));
    let gone = before.difference(&after).map(|line| format!("- {line}\n"));
    gone.chain(after.difference(&before).map(|line| format!("+ {line}\n"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn policy(cidrs: &[&str]) -> NetworkPolicy {
        let peers: Vec<_> = cidrs.iter().map(|cidr| json!({ "ipBlock": { "cidr": cidr } })).collect();
        let ports = json!([
            { "protocol": "TCP", "port": 443 },
            { "protocol": "TCP", "port": 8080, "endPort": 8090 },
            { "protocol": "UDP", "port": 123 },
        ]);
        serde_json::from_value(json!({
            "metadata": { "name": "web-egress" },
            "spec": { "podSelector": {}, "policyTypes": ["Egress"], "egress": [{ "to": peers, "ports": ports }] },
        }))
        .expect("a policy")
    }

    #[test]
    fn a_table_counts_peers_and_spells_ports() {
        let table = table(&policy(&["20.1.0.0/16", "40.1.2.3/32"]));
        assert!(table.starts_with("web-egress: 1 rules, 2 peers\n"), "{table}");
        assert!(table.contains("     0      2  TCP 443,8080-8090 UDP 123 "), "{table}");
        assert!(table.contains("20.1.0.0/16 40.1.2.3/32"), "{table}");
    }

    #[test]
    fn a_difference_names_what_came_and_what_went() {
        let (before, after) = (openings(&[policy(&["20.1.0.0/16"])]), openings(&[policy(&["40.1.2.3/32"])]));
        assert_eq!(difference(&before, &before), "");
        let text = difference(&before, &after);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(lines[0].starts_with("- 20.1.0.0/16 ") && lines[1].starts_with("+ 40.1.2.3/32 "), "{text}");
    }

    #[test]
    fn an_address_is_found_in_the_network_that_holds_it() {
        let openings = openings(&[policy(&["20.1.0.0/16", "40.1.2.3/32"])]);
        let found = allowing(&openings, "20.1.255.7".parse().expect("an address"));
        assert_eq!(found.iter().map(|opening| opening.cidr.as_str()).collect::<Vec<_>>(), ["20.1.0.0/16"]);
        assert!(allowing(&openings, "40.1.2.4".parse().expect("an address")).is_empty());
    }
}

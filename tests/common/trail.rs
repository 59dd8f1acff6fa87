//! Judges the trail: the log of changes, replayed from nothing, gives what was in force at every version of every policy. It reads
//! policies and the log by itself, without the operator's own types.

use super::watched::Objects;
use connectivity_allowlist::net::{canonical_set, cidr};
use ipnet::IpNet;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use serde_json::Value;
use std::collections::BTreeMap;

/// What is allowed: networks by direction, selector and ports. Pods without an entry are open.
pub type State = BTreeMap<(String, String), BTreeMap<String, Vec<IpNet>>>;

/// One line of the log about a change.
#[derive(Clone, Debug)]
pub struct Change {
    /// The resource, `namespace/name`.
    pub resource: String,
    /// The level of the line.
    pub level: String,
    /// The record.
    pub record: Value,
}

/// The changes that a log in JSON tells, in order.
pub fn changes(log: &str) -> Vec<Change> {
    let change = |line: &str| {
        let line: Value = serde_json::from_str(line).ok()?;
        let (fields, text) = (&line, |value: &Value| value.as_str().map(str::to_owned));
        let record = serde_json::from_str(fields["change"].as_str()?).expect("a change is JSON");
        Some(Change { resource: text(&fields["resource"])?, level: text(&line["level"])?, record })
    };
    log.lines().filter_map(change).collect()
}

/// The states of a resource that its changes lead to, each different from the one before, the first being nothing.
pub fn replayed<'a>(changes: impl IntoIterator<Item = &'a Change>) -> Vec<State> {
    let mut states = vec![State::new()];
    for change in changes {
        let mut state = if change.record["snapshot"] == true { State::new() } else { states[states.len() - 1].clone() };
        for scope in change.record["scopes"].as_array().expect("scopes") {
            let key = (
                scope["direction"].as_str().expect("a direction").to_owned(),
                scope["pods"].as_str().expect("pods").to_owned(),
            );
            if scope["isolation"] == "Ended" {
                state.remove(&key);
                continue;
            }
            let by_ports = state.entry(key).or_default();
            for (ports, networks) in scope["removed"].as_object().into_iter().flatten() {
                let known = by_ports.remove(ports).unwrap_or_default();
                let left = cidr::subtract(known, &networks_of(networks));
                if !left.is_empty() {
                    by_ports.insert(ports.clone(), left);
                }
            }
            for (ports, networks) in scope["added"].as_object().into_iter().flatten() {
                let known = by_ports.remove(ports).unwrap_or_default();
                by_ports.insert(ports.clone(), canonical_set(known.into_iter().chain(networks_of(networks))));
            }
        }
        if states.last() != Some(&state) {
            states.push(state);
        }
    }
    states
}

/// Networks; another peer counts as `::/128`, which stands for it alone since these tests have one of a kind for each port.
fn networks_of(texts: &Value) -> Vec<IpNet> {
    let texts = texts.as_array().expect("a list").iter().map(|text| text.as_str().expect("a text"));
    canonical_set(texts.map(|text| text.parse().unwrap_or_else(|_| other())))
}

fn other() -> IpNet {
    "::/128".parse().expect("a network")
}

/// What the policies of a resource allow, as an observer of the API server sees them.
pub fn in_force(policies: &Objects<NetworkPolicy>, resource: &str) -> State {
    let mut state = State::new();
    let owned = |policy: &&NetworkPolicy| {
        policy
            .metadata
            .owner_references
            .iter()
            .flatten()
            .any(|owner| owner.controller == Some(true) && owner.name == resource)
    };
    for policy in policies.values().filter(owned) {
        let spec = serde_json::to_value(&policy.spec).expect("JSON");
        let selector = spec["podSelector"].to_string();
        for (direction, peers) in [("egress", "to"), ("ingress", "from")] {
            let is_governed = spec["policyTypes"].as_array().is_some_and(|types| {
                types.iter().any(|name| name.as_str().is_some_and(|name| name.eq_ignore_ascii_case(direction)))
            });
            if !is_governed {
                continue;
            }
            let by_ports = state.entry((direction.to_owned(), selector.clone())).or_default();
            for rule in spec[direction].as_array().into_iter().flatten() {
                let ports: Vec<String> = match rule["ports"].as_array() {
                    None => vec!["any port".to_owned()],
                    Some(ports) => ports.iter().map(port).collect(),
                };
                let network = |peer: &Value| match (&peer["ipBlock"]["cidr"], &peer["ipBlock"]["except"]) {
                    (Value::String(cidr), Value::Null) => cidr.parse().expect("a CIDR"),
                    _ => other(),
                };
                let networks: Vec<IpNet> = match rule[peers].as_array() {
                    None => vec![other()],
                    Some(peers) => peers.iter().map(network).collect(),
                };
                for ports in ports {
                    let known = by_ports.remove(&ports).unwrap_or_default();
                    by_ports.insert(ports, canonical_set(known.into_iter().chain(networks.iter().copied())));
                }
            }
        }
    }
    state
}

fn port(port: &Value) -> String {
    let protocol = port["protocol"].as_str().unwrap_or("TCP");
    match (port["port"].as_i64(), port["endPort"].as_i64()) {
        (Some(first), Some(last)) => format!("{protocol} {first}-{last}"),
        (Some(first), None) => format!("{protocol} {first}"),
        (None, _) => format!("{protocol} any port"),
    }
}

/// The states that a watch has seen, each different from the one before, from nothing.
pub fn seen(moments: &[Objects<NetworkPolicy>], resource: &str) -> Vec<State> {
    let mut states = vec![State::new()];
    for moment in moments {
        let state = in_force(moment, resource);
        if states.last() != Some(&state) {
            states.push(state);
        }
    }
    states
}

//! Everything that a NetworkPolicy allows, no matter who wrote it: nothing is skipped, as [`super::read`] does. Pure.

use super::observe::governs;
use super::read::each_rule;
use crate::trail::allows::ANY_ADDRESS;
use crate::trail::{AllowedRule, Governed, IsolatedPods, PolicyAllows};
use connectivity_allowlist::net::Direction;
use k8s_openapi::api::networking::v1::{NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::Serialize;
use std::sync::Arc;

/// What a policy allows, in each direction that it governs.
pub(super) fn allows(spec: &NetworkPolicySpec) -> PolicyAllows {
    let selector = spec.pod_selector.as_ref().map_or_else(|| "{}".into(), json);
    let governed = Direction::ALL.into_iter().filter(|direction| governs(spec, *direction));
    let of = |direction| Governed {
        scope: IsolatedPods { direction, selector: Arc::clone(&selector) },
        rules: each_rule(spec, direction).into_iter().map(|(ports, peers)| rule(ports, peers)).collect(),
    };
    PolicyAllows(governed.map(of).collect())
}

fn rule(ports: Option<&[NetworkPolicyPort]>, peers: Option<&[NetworkPolicyPeer]>) -> AllowedRule {
    // An empty list allows as much as none: every port, every peer.
    let ports = match ports.unwrap_or_default() {
        [] => vec!["any port".into()],
        ports => ports.iter().map(port).collect(),
    };
    let (mut networks, mut others) = (Vec::new(), Vec::new());
    for peer in peers.unwrap_or_default() {
        match plain_network(peer) {
            Some(network) => networks.push(network),
            None => others.push(json(peer)),
        }
    }
    if peers.unwrap_or_default().is_empty() {
        others.push(ANY_ADDRESS.into());
    }
    AllowedRule { ports, networks, others }
}

fn plain_network(peer: &NetworkPolicyPeer) -> Option<ipnet::IpNet> {
    let block = peer.ip_block.as_ref().filter(|_| peer.pod_selector.is_none() && peer.namespace_selector.is_none())?;
    let is_whole = block.except.as_ref().is_none_or(Vec::is_empty);
    block.cidr.parse().ok().filter(|_| is_whole)
}

fn port(port: &NetworkPolicyPort) -> Arc<str> {
    let protocol = port.protocol.as_deref().unwrap_or("TCP");
    let text = match (&port.port, port.end_port) {
        (None, _) => format!("{protocol} any port"),
        (Some(IntOrString::Int(first)), Some(last)) if last > *first => format!("{protocol} {first}-{last}"),
        (Some(IntOrString::Int(first)), _) => format!("{protocol} {first}"),
        (Some(IntOrString::String(name)), _) => format!("{protocol} {name}"),
    };
    text.into()
}

fn json(value: &impl Serialize) -> Arc<str> {
    serde_json::to_string(value).expect("a part of a policy is JSON").into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nothing_that_a_policy_allows_is_skipped() {
        let spec = json!({
            "podSelector": { "matchLabels": { "app": "vda" } },
            "policyTypes": ["Egress", "Ingress"],
            "egress": [
                { "ports": [{ "port": 443 }, { "protocol": "UDP", "port": 100, "endPort": 200 }],
                  "to": [{ "ipBlock": { "cidr": "20.1.0.0/16" } }, { "ipBlock": { "cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"] } }] },
                { "ports": [{ "port": "dns", "protocol": "UDP" }, { "protocol": "TCP" }] },
                {},
            ],
        });
        let spec: NetworkPolicySpec = serde_json::from_value(spec).expect("a spec");
        let PolicyAllows(governed) = allows(&spec);
        let [egress, ingress] = &governed[..] else { panic!("two directions: {governed:?}") };
        let texts = |texts: &[&str]| -> Vec<Arc<str>> { texts.iter().map(|text| Arc::from(*text)).collect() };
        let rule = |ports: &[&str], networks: &[&str], others: &[&str]| AllowedRule {
            ports: texts(ports),
            networks: networks.iter().map(|network| network.parse().expect("a network")).collect(),
            others: texts(others),
        };
        let except = r#"{"ipBlock":{"cidr":"10.0.0.0/8","except":["10.1.0.0/16"]}}"#;
        let expected = [
            rule(&["TCP 443", "UDP 100-200"], &["20.1.0.0/16"], &[except]),
            rule(&["UDP dns", "TCP any port"], &[], &["any address"]),
            rule(&["any port"], &[], &["any address"]),
        ];
        assert_eq!(egress.rules, expected);
        assert_eq!(&*egress.scope.selector, r#"{"matchLabels":{"app":"vda"}}"#);
        assert!(ingress.rules.is_empty(), "a direction without a rule is isolated and allows nothing");
    }
}

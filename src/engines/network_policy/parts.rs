//! The parts of a NetworkPolicy by which people compare two. Pure.

use super::observe;
use k8s_openapi::api::networking::v1::{NetworkPolicyEgressRule, NetworkPolicySpec};
use serde_json::value::RawValue;
use serde_json::{Value, json};

pub(super) fn owned(body: &RawValue) -> Value {
    json!(observe::spec_of(body))
}

pub(super) fn parts(body: &RawValue) -> Vec<(&'static str, Value)> {
    let spec = observe::spec_of(body).unwrap_or_default();
    let (dns, rules) = split(&spec);
    vec![
        ("podSelector", json!(spec.pod_selector)),
        ("policyTypes", json!(spec.policy_types)),
        ("rules", json!([rules, spec.ingress])),
        ("rules for DNS", json!(dns)),
    ]
}

/// Rules for DNS apart from the others: they name UDP first, or pods.
fn split(spec: &NetworkPolicySpec) -> (Vec<&NetworkPolicyEgressRule>, Vec<&NetworkPolicyEgressRule>) {
    spec.egress.iter().flatten().partition(|rule| {
        let udp_first = rule.ports.iter().flatten().next().is_some_and(|port| port.protocol.as_deref() == Some("UDP"));
        let has_tcp = rule.ports.iter().flatten().any(|port| port.protocol.as_deref() == Some("TCP"));
        udp_first && has_tcp || rule.to.iter().flatten().any(|peer| peer.ip_block.is_none())
    })
}

//! Which pods a policy would isolate for the first time: from then on, everything that it does not list is cut.

use super::evaluate::isolates;
use connectivity_allowlist::net::{Direction, Protocol};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{Selector, SelectorExt};
use std::collections::{BTreeMap, BTreeSet};

/// A pod of the namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodLabels {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// The pods that a selector selects, without ended ones and those on the node's network: policies do not apply to them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SelectedPods {
    /// Their names and labels.
    pub pods: Vec<PodLabels>,
    /// The ports their containers declare.
    pub declared_ports: BTreeSet<(Protocol, u16)>,
}

/// The pods, by name and direction, that `selector` selects and none of the namespace's `existing` policies isolates
/// yet, sorted. A selector that Kubernetes refuses selects nothing, among the existing ones too.
#[must_use]
pub fn newly_isolated(
    pods: &[PodLabels],
    selector: &LabelSelector,
    directions: &[Direction],
    existing: &[NetworkPolicy],
) -> Vec<(String, Direction)> {
    let Some(ours) = read(selector) else { return Vec::new() };
    let existing: Vec<_> = existing
        .iter()
        .filter_map(|policy| policy.spec.as_ref())
        .filter_map(|spec| read(&spec.pod_selector.clone().unwrap_or_default()).map(|selector| (selector, spec)))
        .collect();
    let mut isolated = Vec::new();
    for pod in pods.iter().filter(|pod| ours.matches(&pod.labels)) {
        for direction in directions.iter().copied() {
            let already =
                existing.iter().any(|(selector, spec)| isolates(spec, direction) && selector.matches(&pod.labels));
            if !already {
                isolated.push((pod.name.clone(), direction));
            }
        }
    }
    isolated.sort_unstable();
    isolated.dedup();
    isolated
}

fn read(selector: &LabelSelector) -> Option<Selector> {
    Selector::try_from(selector.clone()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(name: &str, app: &str) -> PodLabels {
        PodLabels { name: name.to_owned(), labels: BTreeMap::from([("app".to_owned(), app.to_owned())]) }
    }

    fn policy(spec: Value) -> NetworkPolicy {
        serde_json::from_value(json!({ "metadata": {}, "spec": spec })).expect("a policy")
    }

    #[test]
    fn a_pod_is_newly_isolated_where_no_policy_isolates_it_yet() {
        let pods = [pod("vda-2", "vda"), pod("vda-1", "vda"), pod("connector", "connector")];
        let vdas: LabelSelector =
            serde_json::from_value(json!({ "matchLabels": { "app": "vda" } })).expect("a selector");
        let all = |existing: &[NetworkPolicy]| newly_isolated(&pods, &vdas, &Direction::ALL, existing);
        let found = |name: &str, direction| (name.to_owned(), direction);
        let (outbound, inbound) = (Direction::Outbound, Direction::Inbound);
        let each =
            [found("vda-1", outbound), found("vda-1", inbound), found("vda-2", outbound), found("vda-2", inbound)];
        assert_eq!(all(&[]), each);
        assert_eq!(all(&[policy(json!({ "podSelector": { "matchLabels": { "app": "connector" } } }))]), each);
        // A policy of no types and no rules isolates for ingress; one of all pods counts for each.
        let inward = policy(json!({ "podSelector": {} }));
        assert_eq!(all(std::slice::from_ref(&inward)), [found("vda-1", outbound), found("vda-2", outbound)]);
        let outward = policy(json!({ "podSelector": {}, "policyTypes": ["Egress"] }));
        assert_eq!(all(&[inward, outward]), []);
        let refused: LabelSelector =
            serde_json::from_value(json!({ "matchExpressions": [{ "key": "app", "operator": "Like" }] }))
                .expect("a selector");
        assert_eq!(newly_isolated(&pods, &refused, &Direction::ALL, &[]), []);
    }
}

//! Reads a policy as a network plugin does.

use citrix_allowlist::crd::ADDITIONAL_ANNOTATION;
use ipnet::IpNet;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The resource that owns a policy.
pub fn owner(policy: &Value) -> Option<String> {
    let owners = policy["metadata"]["ownerReferences"].as_array()?;
    let owner = owners.iter().find(|owner| owner["kind"] == "CitrixAllowlist")?;
    owner["name"].as_str().map(str::to_owned)
}

/// The networks that a policy allows, without the cluster's DNS, and what it may never have.
pub fn read(policy: &Value, resource: Option<&Value>) -> (BTreeSet<IpNet>, Option<String>) {
    let (mut allowed, mut wrong) = (BTreeSet::new(), None);
    let mut found = |what: String| {
        wrong.get_or_insert(what);
    };
    if let Some(resource) = resource
        && policy["spec"]["podSelector"] != resource["spec"]["podSelector"]
    {
        found(format!("it selects {}", policy["spec"]["podSelector"]));
    }
    let directions = [("egress", "to"), ("ingress", "from")].into_iter();
    let listed = |value: &Value| value.as_array().cloned().unwrap_or_default();
    for (rule, peers) in
        directions.flat_map(|(rules, peers)| listed(&policy["spec"][rules]).into_iter().map(move |rule| (rule, peers)))
    {
        let (peers, ports) = (listed(&rule[peers]), listed(&rule["ports"]));
        if peers.is_empty() || ports.is_empty() {
            found("a rule for everybody, or on every port".to_owned());
            continue;
        }
        if ports.iter().all(|port| port["port"] == 53) {
            continue;
        }
        if ports != [json!({ "port": 443, "protocol": "TCP" })] {
            found(format!("ports {}", json!(ports)));
        }
        for peer in peers {
            let text = peer["ipBlock"]["cidr"].as_str().unwrap_or_default();
            match text.parse::<IpNet>() {
                Ok(network) if network.prefix_len() < 8 => found(format!("{network} is nearly everything")),
                Ok(network) => drop(allowed.insert(network)),
                Err(_) => found(format!("{peer} is no network")),
            }
        }
    }
    (allowed, wrong)
}

/// Whether a write changed nothing but that more of the policy's networks are named as only the spec's (an annotation).
pub fn names_more(before: &Value, after: &Value) -> bool {
    let named = |policy: &Value| -> BTreeSet<String> {
        let listed = policy["metadata"]["annotations"][ADDITIONAL_ANNOTATION].as_str().unwrap_or_default();
        listed.split(',').map(str::to_owned).filter(|network| !network.is_empty()).collect()
    };
    let (fewer, more) = (named(before), named(after));
    before["spec"] == after["spec"] && fewer.len() < more.len() && fewer.is_subset(&more)
}

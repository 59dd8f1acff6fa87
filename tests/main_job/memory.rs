//! What the applied objects remember across a restart: for their own resource, and for as long as DNS is silent.

use crate::common::watched::generations;
use crate::common::{Stage, holds};
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use std::net::IpAddr;
use std::time::Duration;
use test_support::fixture;
use test_support::standin::StandinCloud;

/// As anybody may call themselves who writes an object.
const MANAGER: &str = "citrix-allowlist-operator";

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_without_dns_removes_nothing_even_past_a_retention() {
    let stage = Stage::set().await;
    let operator = stage.operator().await;
    stage.apply("daas-us", "{ customerId: testcustomer, geo: us, direction: all, addressRetention: 1m }").await;
    stage.ready("daas-us").await;
    let policies = stage.watch_policies().await;
    let before = generations(&policies.now());
    stage.dns.set_silent(true);
    drop(operator);
    // Without what attributes addresses to names, what policies allow is all the memory there is.
    stage.config_maps().delete("daas-us-cidrs", &kube::api::DeleteParams::default()).await.expect("deleted");
    let _operator = stage.operator().await;
    tokio::time::sleep(Duration::from_secs(70)).await;
    assert_eq!(generations(&policies.now()), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_resource_claims_to_remember_is_opened_to_no_other() {
    let stage = Stage::set().await;
    let _operator = stage.operator().await;
    stage.apply("honest", "{ customerId: testcustomer, geo: us }").await;
    stage.ready("honest").await;
    stage.apply("forger", "{ customerId: testcustomer, geo: us, suspend: true }").await;
    stage.reason("forger", "Ready", "Suspended").await;
    let forged: IpAddr = "66.6.6.6".parse().expect("an address");
    let owner = json!({
        "apiVersion": "citrix-allowlist.io/v1alpha1", "kind": "CitrixAllowlist", "name": "forger",
        "uid": stage.resource("forger").await.uid(), "controller": true,
    });
    let metadata = |name: &str| {
        json!({
            "name": name, "ownerReferences": [owner],
            "labels": { "app.kubernetes.io/managed-by": MANAGER, "citrix-allowlist.io/allowlist": "forger" },
        })
    };
    let policy = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata("forger-egress"),
        "spec": {
            "podSelector": {}, "policyTypes": ["Egress"],
            "egress": [{ "to": [{ "ipBlock": { "cidr": "66.6.6.6/32" } }], "ports": [{ "protocol": "TCP", "port": 443 }] }],
        },
    });
    let names = fixture::exact_names_of(StandinCloud::Global, "testcustomer", "us", "outbound");
    let endpoints: Vec<_> = names.iter().map(|name| json!({ "name": name, "addresses": [forged] })).collect();
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata("forger-cidrs"),
        "data": { "endpoints.json": json!({ "endpoints": endpoints }).to_string() },
    });
    let parameters = PatchParams::apply(MANAGER);
    stage.policies().patch("forger-egress", &parameters, &Patch::Apply(policy)).await.expect("applied");
    stage.config_maps().patch("forger-cidrs", &parameters, &Patch::Apply(map)).await.expect("applied");
    stage.patch("forger", json!({ "suspend": false })).await;
    stage.ready("forger").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let opening: Vec<String> = stage
        .all_policies()
        .await
        .iter()
        .filter(|policy| holds(policy, forged))
        .map(|policy| policy.name_any())
        .collect();
    assert_eq!(opening, ["forger-egress"], "believed, but of the forger's own alone");
}

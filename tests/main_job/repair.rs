//! What somebody else does to the operator's objects is undone.

use crate::common::watched::Watched;
use crate::common::{Stage, cidrs};
use citrix_allowlist::crd::FIELD_MANAGER;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;
use std::time::{Duration, Instant};
use test_support::fault_proxy::{ApiFault, FaultProxy, Verb, Which};
use test_support::operator::Operator;
use test_support::standin::StandinConfig;

const POLICY: &str = "daas-us-egress";
const MAP: &str = "daas-us-cidrs";

#[tokio::test(flavor = "multi_thread")]
async fn deleted_objects_are_back() {
    let stage = Stage::set().await;
    let _operator = stage.operator().await;
    stage.apply("daas-us", "{ customerId: testcustomer, geo: us }").await;
    stage.ready("daas-us").await;
    let policies = stage.watch_policies().await;
    let before = policies.now()[POLICY].clone();
    stage.policies().delete(POLICY, &DeleteParams::default()).await.expect("deleted");
    let took = policies
        .until("the policy made again", |now| now.get(POLICY).is_some_and(|policy| policy.uid() != before.uid()))
        .await;
    println!("a deleted policy was back after {took:?}");
    assert_eq!(policies.now()[POLICY].spec, before.spec);

    let maps: Watched<ConfigMap> = Watched::start(stage.client.clone(), stage.namespace.name()).await;
    let before = maps.now()[MAP].clone();
    stage.config_maps().delete(MAP, &DeleteParams::default()).await.expect("deleted");
    maps.until("the map made again", |now| now.get(MAP).is_some_and(|map| map.uid() != before.uid())).await;
    assert_eq!(maps.now()[MAP].data, before.data);
    stage.ready("daas-us").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_of_what_is_ours_are_undone_and_others_are_left() {
    let stage = Stage::set().await;
    let _operator = stage.operator().await;
    stage.apply("daas-us", "{ customerId: testcustomer, geo: us }").await;
    stage.ready("daas-us").await;
    let policies = stage.watch_policies().await;
    let before = policies.now()[POLICY].clone();
    let kubectl = async |arguments: &[&str]| {
        let arguments = [&["-n", stage.namespace.name()], arguments].concat();
        stage.cluster.kubectl(&arguments).await.expect("kubectl")
    };
    let as_it_was = |policy: &k8s_openapi::api::networking::v1::NetworkPolicy| {
        policy.spec == before.spec
            && policy.labels() == before.labels()
            && policy.owner_references() == before.owner_references()
    };

    // A rule that opens everything, by a person.
    let edited = Instant::now();
    kubectl(&["patch", "netpol", POLICY, "--type=merge", "-p", r#"{"spec":{"egress":[{}]}}"#]).await;
    policies.until_again("a rule that opens everything is gone", edited, |now| as_it_was(&now[POLICY])).await;
    let edited = Instant::now();
    // An address, by another field manager that applies with force.
    let mut foreign = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": { "name": POLICY },
        "spec": { "podSelector": {}, "policyTypes": ["Egress"], "egress": [{ "to": [{ "ipBlock": { "cidr": "8.8.8.8/32" } }], "ports": [{ "port": 443 }] }] },
    });
    let stranger = PatchParams::apply("somebody-else").force();
    stage.policies().patch(POLICY, &stranger, &Patch::Apply(&foreign)).await.expect("applied");
    policies.until_again("a foreign address is gone", edited, |now| as_it_was(&now[POLICY])).await;
    let edited = Instant::now();
    // The label without which no watch would see the object any more.
    kubectl(&["label", "netpol", POLICY, "app.kubernetes.io/managed-by-"]).await;
    policies.until_again("the label is back", edited, |now| as_it_was(&now[POLICY])).await;

    // What is not ours, and changes nothing of what is, stays: there is nothing to fight over.
    kubectl(&["annotate", "netpol", POLICY, "example.com/note=hello"]).await;
    kubectl(&["label", "netpol", POLICY, "example.com/team=one"]).await;
    foreign["spec"] = json!({ "podSelector": {}, "ingress": [{ "from": [{ "ipBlock": { "cidr": "8.8.8.8/32" } }] }] });
    let applied = stage.policies().patch(POLICY, &stranger, &Patch::Apply(&foreign)).await.expect("applied");
    let version = applied.resource_version();
    policies.until("the foreign fields", |now| now[POLICY].resource_version() == version).await;
    stage.patch("daas-us", json!({ "addressRetention": "2h" })).await;
    stage.observed("daas-us").await;
    assert_eq!(policies.now()[POLICY].resource_version(), version, "a reconcile has nothing to write");
    assert_eq!(
        cidrs(&policies.now()[POLICY]).len(),
        cidrs(&before).len() + 1,
        "the foreign ingress, which has no effect"
    );

    let maps: Watched<ConfigMap> = Watched::start(stage.client.clone(), stage.namespace.name()).await;
    let before = maps.now()[MAP].data.clone();
    let edited = Instant::now();
    kubectl(&["patch", "configmap", MAP, "--type=merge", "-p", r#"{"data":{"egress.cidrs":"0.0.0.0/0\n"}}"#]).await;
    maps.until_again("the map as it was", edited, |now| now[MAP].data == before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_war_over_an_object_is_reported_and_not_fought() {
    let stage = Stage::set().await;
    let _operator = stage.operator().await;
    stage.apply("daas-us", "{ customerId: testcustomer, geo: us }").await;
    stage.ready("daas-us").await;
    let policies = stage.watch_policies().await;
    let ours = policies.now()[POLICY].spec.clone();
    let foreign = json!({ "spec": { "egress": [{ "to": [{ "ipBlock": { "cidr": "8.8.8.8/32" } }] }] } });
    let stranger = PatchParams { field_manager: Some("a-stubborn-tool".to_owned()), ..PatchParams::default() };
    for _ in 0..3 {
        let edited = Instant::now();
        stage.policies().patch(POLICY, &stranger, &Patch::Merge(&foreign)).await.expect("patched");
        policies.until_again("undone", edited, |now| now[POLICY].spec == ours).await;
    }
    stage.policies().patch(POLICY, &stranger, &Patch::Merge(&foreign)).await.expect("patched");
    let message = stage.reason("daas-us", "Ready", "Conflict").await;
    assert!(message.contains("a-stubborn-tool") && message.contains(POLICY), "{message}");
    let problems = stage.status("daas-us").await.problems;
    assert!(problems.iter().any(|problem| problem.subject == POLICY), "{problems:?}");
    let managers =
        policies.now()[POLICY].managed_fields().iter().filter_map(|entry| entry.manager.clone()).collect::<Vec<_>>();
    assert!(
        managers.contains(&"a-stubborn-tool".to_owned()) && managers.contains(&FIELD_MANAGER.to_owned()),
        "{managers:?}"
    );
}

/// What the operator had written itself, in a reconcile whose later write failed, was taken for somebody's edit when the
/// rules became again what they had been: after the fourth time they stayed behind the list for up to ten minutes.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_failed_makes_nobody_an_editor() {
    let document = serde_json::from_value(json!({
        "meta": { "version": "2026-06-01T00:00:00Z", "validUntil": "2099-06-04T12:00:00Z" },
        "services": [{
            "name": "DaaS", "direction": "outbound", "tcpPorts": "443", "required": true,
            "endpoints": [{ "geo": "us", "ips": ["20.192.0.0/24"] }, { "geo": "eu", "ips": ["20.194.0.0/24"] }],
        }],
    }));
    let config = StandinConfig { global: document.expect("a document"), ..StandinConfig::unlimited() };
    let stage = Stage::with(config).await;
    let proxy = FaultProxy::start(stage.cluster.kubeconfig_path()).await.expect("a proxy");
    let mut config = stage.operator_config();
    config.kubeconfig = proxy.kubeconfig().to_owned();
    let operator = Operator::start(&config).await.expect("an operator");
    stage.apply("daas-us", "{ customerId: testcustomer, geo: us }").await;
    stage.ready("daas-us").await;
    let policies = stage.watch_policies().await;
    let of_us = policies.now()[POLICY].spec.clone();
    for _ in 0..6 {
        let maps = Which::of(&[Verb::Patch, Verb::Create], &["configmaps"]);
        proxy.inject(maps, ApiFault::status(500, "InternalError", "it hurts"));
        stage.patch("daas-us", json!({ "geo": "eu" })).await;
        policies.until("the rules of eu", |now| now[POLICY].spec != of_us).await;
        stage.observed("daas-us").await;
        stage.reason("daas-us", "Ready", "ApplyFailed").await;
        proxy.heal();
        stage.ready("daas-us").await;
        stage.patch("daas-us", json!({ "geo": "us" })).await;
        policies.until("the rules of us", |now| now[POLICY].spec == of_us).await;
        stage.observed("daas-us").await;
        stage.ready("daas-us").await;
    }
    assert!(!operator.log().contains("own name"), "{}", operator.log());
}

/// A forged or wiped status stood for up to a day: until the list, an answer or the spec changed.
#[tokio::test(flavor = "multi_thread")]
async fn a_forged_or_wiped_status_is_written_again() {
    let stage = Stage::set().await;
    let _operator = stage.operator().await;
    stage.apply("daas-us", "{ customerId: testcustomer, geo: us }").await;
    stage.ready("daas-us").await;
    let before = stage.status("daas-us").await;
    let forged = json!({ "conditions": [{ "type": "Ready", "status": "False", "reason": "Forged", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z" }], "summary": null });
    for status in [json!(null), forged, json!({ "observedGeneration": 7 })] {
        let patch = Patch::Merge(json!({ "status": status }));
        stage.resources().patch_status("daas-us", &PatchParams::default(), &patch).await.expect("patched");
        let mut now = stage.status("daas-us").await;
        for _ in 0..100 {
            if now == before {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            now = stage.status("daas-us").await;
        }
        assert_eq!(now, before, "{status}");
    }
}

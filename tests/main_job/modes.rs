//! Modes and switches: nothing is left behind, and nothing is ever open or cut in between.

use crate::common::watched::{Watched, generations};
use crate::common::{Stage, cidrs};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::json;
use std::time::Instant;

#[tokio::test(flavor = "multi_thread")]
async fn directions_and_selectors_switch_without_orphan_or_gap() {
    let stage = Stage::set().await;
    let _operator = stage.operator().await;
    stage.apply("daas-us", "{ customerId: testcustomer, geo: us, direction: all }").await;
    stage.ready("daas-us").await;
    let policies = stage.watch_policies().await;
    let both = policies.now();
    assert_eq!(both.keys().collect::<Vec<_>>(), ["daas-us-egress", "daas-us-ingress"]);
    for (name, policy) in &both {
        let spec = policy.spec.as_ref().expect("a spec");
        let expected = if name.ends_with("egress") { "Egress" } else { "Ingress" };
        assert_eq!(spec.policy_types.as_deref(), Some(&[expected.to_owned()][..]));
    }

    // Another selector is written into the same objects: at no moment is there none.
    let started = Instant::now();
    stage.patch("daas-us", json!({ "podSelector": { "matchLabels": { "app": "vda" } } })).await;
    policies
        .until("the selector", |now| {
            now.values().all(|policy| {
                let selector = policy.spec.as_ref().and_then(|spec| spec.pod_selector.clone()).unwrap_or_default();
                selector.match_labels.unwrap_or_default().get("app").is_some_and(|app| app == "vda")
            })
        })
        .await;
    assert!(policies.since(started).iter().all(|now| now.len() == 2), "never an object more or less");
    let uids = |now: &crate::common::watched::Objects<_>| now.values().map(ResourceExt::uid).collect::<Vec<_>>();
    assert_eq!(uids(&policies.now()), uids(&both));

    // One direction goes, the other is not touched.
    let egress = policies.now()["daas-us-egress"].resource_version();
    stage.patch("daas-us", json!({ "direction": "outbound" })).await;
    policies.until("no ingress", |now| now.keys().eq(["daas-us-egress"])).await;
    assert_eq!(policies.now()["daas-us-egress"].resource_version(), egress);
    // The other one takes its place before it goes.
    let started = Instant::now();
    stage.patch("daas-us", json!({ "direction": "inbound" })).await;
    policies.until("ingress alone", |now| now.keys().eq(["daas-us-ingress"])).await;
    assert!(policies.since(started).iter().all(|now| !now.is_empty()), "growing before shrinking");
    stage.observed("daas-us").await;
    assert_eq!(stage.status("daas-us").await.policies, ["daas-us-ingress"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn suspended_it_leaves_everything_as_it_is_and_then_follows() {
    let stage = Stage::set().await;
    let _operator = stage.operator().await;
    stage.apply("daas-us", "{ customerId: testcustomer, geo: us }").await;
    stage.ready("daas-us").await;
    let policies = stage.watch_policies().await;
    let before = generations(&policies.now());
    stage.patch("daas-us", json!({ "suspend": true, "geo": "eu" })).await;
    stage.reason("daas-us", "Ready", "Suspended").await;
    let resource = stage.resource("daas-us").await;
    assert_eq!(resource.status.and_then(|status| status.observed_generation), resource.metadata.generation);
    assert_eq!(generations(&policies.now()), before);
    // A person may do by hand what they suspended it for.
    stage.policies().delete("daas-us-egress", &DeleteParams::default()).await.expect("deleted");
    policies.until("deleted", |now| now.is_empty()).await;
    stage.patch("daas-us", json!({ "addressRetention": "2h" })).await;
    stage.observed("daas-us").await;
    assert!(policies.now().is_empty(), "suspended, nothing is repaired");
    stage.patch("daas-us", json!({ "suspend": false })).await;
    stage.reason("daas-us", "Ready", "Applied").await;
    let european = "52.142.80.0/25".parse().expect("a network");
    assert!(cidrs(&policies.now()["daas-us-egress"]).contains(&european));
}

#[tokio::test(flavor = "multi_thread")]
async fn audit_computes_and_reports_and_keeps_no_policy() {
    let stage = Stage::set().await;
    let pod = |name: &str, app: &str| -> Pod {
        serde_json::from_value(json!({
            "metadata": { "name": name, "labels": { "app": app } },
            "spec": { "containers": [{ "name": "main", "image": "example.com/none", "ports": [{ "containerPort": 8443 }] }] },
        }))
        .expect("a pod")
    };
    let pods: Api<Pod> = Api::namespaced(stage.client.clone(), stage.namespace.name());
    for (name, app) in [("vda-1", "vda"), ("vda-2", "vda"), ("connector-1", "connector")] {
        pods.create(&PostParams::default(), &pod(name, app)).await.expect("a pod");
    }
    let isolated = json!({
        "metadata": { "name": "theirs" },
        "spec": { "podSelector": { "matchLabels": { "app": "vda" } }, "policyTypes": ["Ingress"], "ingress": [] },
    });
    stage
        .policies()
        .create(&PostParams::default(), &serde_json::from_value(isolated).expect("a policy"))
        .await
        .expect("a policy");

    let _operator = stage.operator().await;
    stage
        .apply("daas-us", "{ customerId: testcustomer, geo: us, direction: all, mode: Audit, podSelector: { matchLabels: { app: vda } } }")
        .await;
    stage.reason("daas-us", "Ready", "Audit").await;
    let policies = stage.watch_policies().await;
    let maps: Watched<ConfigMap> = Watched::start(stage.client.clone(), stage.namespace.name()).await;
    assert_eq!(policies.now().keys().collect::<Vec<_>>(), ["theirs"]);
    assert!(maps.now()["daas-us-cidrs"].data.as_ref().is_some_and(|data| data["egress.cidrs"].lines().count() > 50));
    let status = stage.status("daas-us").await;
    let would_apply = status.would_apply.expect("what Enforce would do");
    assert_eq!(would_apply.policies, ["daas-us-egress", "daas-us-ingress"]);
    assert!(would_apply.rules > 4 && would_apply.peers > 50, "{would_apply:?}");
    assert_eq!(
        would_apply.newly_isolated_pods,
        ["vda-1 (egress)", "vda-2 (egress)"],
        "theirs isolates for ingress already"
    );
    assert_eq!(would_apply.newly_isolated_total, 2);
    let undeclared =
        status.problems.iter().filter(|problem| problem.message.contains("no selected pod declares")).count();
    assert!(undeclared > 0, "the list names 443, the pods declare 8443: {:?}", status.problems);

    stage.patch("daas-us", json!({ "mode": "Enforce", "inboundPorts": [{ "listed": 443, "pod": 8443 }] })).await;
    policies.until("enforced", |now| now.len() == 3).await;
    stage.reason("daas-us", "Ready", "Applied").await;
    let status = stage.status("daas-us").await;
    assert!(status.would_apply.is_none());
    let told = status.problems.iter().find(|problem| problem.subject == "TCP 443");
    assert!(told.is_none(), "mapped: {told:?}");
    stage.patch("daas-us", json!({ "mode": "Audit" })).await;
    policies.until("audited again", |now| now.keys().eq(["theirs"])).await;
    stage.reason("daas-us", "Ready", "Audit").await;
    assert!(stage.status("daas-us").await.policies.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_matches_nothing_any_more_is_obeyed_and_reported() {
    let stage = Stage::set().await;
    let _operator = stage.operator().await;
    stage.apply("daas-us", "{ customerId: testcustomer, geo: us }").await;
    stage.ready("daas-us").await;
    let policies = stage.watch_policies().await;
    stage.patch("daas-us", json!({ "services": { "include": ["Nothing of the sort"] } })).await;
    let message = stage.reason("daas-us", "Ready", "NoMatch").await;
    assert!(message.contains("matches nothing"), "{message}");
    policies.until("the user's word", |now| now.is_empty()).await;
}

//! The first policy isolates its pods, and so it waits until DNS has said what it can.

use crate::common::{Stage, eventually};
use kube::ResourceExt;
use serde_json::json;
use std::time::{Duration, Instant};
use test_support::dns::Behaviour;
use test_support::operator::Operator;

#[tokio::test(flavor = "multi_thread")]
async fn it_waits_while_dns_is_silent_and_appears_when_it_answers() {
    let stage = Stage::set().await;
    stage.dns.set_silent(true);
    let _operator = stage.operator().await;
    let policies = stage.watch_policies().await;
    let started = Instant::now();
    stage.apply("daas-us", "{ customerId: testcustomer, geo: us, direction: all }").await;
    let message = stage.reason("daas-us", "Ready", "WaitingForNames").await;
    assert!(message.contains("name"), "{message}");
    stage.dns.set_silent(false);
    stage.ready("daas-us").await;
    let seen = policies.since(started);
    assert!(seen.iter().all(|now| now.is_empty() || now.contains_key("daas-us-egress")), "the order of appearance");
    let both = policies.now();
    assert!(both.contains_key("daas-us-egress") && both.contains_key("daas-us-ingress"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_fails_in_passing_holds_it_so_long_and_no_longer() {
    let stage = Stage::set().await;
    stage.dns.set("accounts.cloud.com", Behaviour::servfail());
    let config = stage.operator_config().flag("first-policy-wait", "4s");
    let _operator = Operator::start(&config).await.expect("an operator");
    // Watched from before it is made: the wait may be over when kubectl ends.
    let (resources, policies) = (stage.watch_resources().await, stage.watch_policies().await);
    let started = Instant::now();
    stage.apply("daas-us", "{ customerId: testcustomer, geo: us }").await;
    policies.until("the first policy", |now| now.contains_key("daas-us-egress")).await;
    assert!(started.elapsed() >= Duration::from_secs(4), "after {:?}", started.elapsed());
    let waits = resources.since(started).iter().any(|now| {
        let status = now.get("daas-us").and_then(|resource| resource.status.as_ref());
        let mut conditions = status.into_iter().flat_map(|status| &status.conditions);
        conditions.any(|of| of.type_ == "Ready" && of.message.contains("waits for DNS to answer 1 more name"))
    });
    assert!(waits, "status never said what it waited for");
    stage.condition("daas-us", "WildcardsCovered", "False").await;
    let problems = stage.status("daas-us").await.problems;
    assert!(problems.iter().any(|problem| problem.subject == "accounts.cloud.com"), "{problems:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_protected_namespace_gets_none() {
    let stage = Stage::set().await;
    let config = stage.operator_config().flag("protected-namespace", stage.namespace.name());
    let _operator = Operator::start(&config).await.expect("an operator");
    stage.apply("daas-us", "{ customerId: testcustomer, geo: us }").await;
    let message = stage.reason("daas-us", "Ready", "Protected").await;
    assert!(message.contains(stage.namespace.name()) && message.contains("--protected-namespace"), "{message}");
    assert!(stage.all_policies().await.is_empty());
    assert!(stage.standin.requests().is_empty(), "and nothing is asked for it");
}

/// Cut off from the API server, it could never take the policy back.
#[tokio::test(flavor = "multi_thread")]
async fn it_never_selects_its_own_pods() {
    let stage = Stage::set().await;
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "own", "namespace": stage.namespace.name(), "labels": { "app": "operator" } },
        "spec": { "containers": [{ "name": "operator", "image": "x" }] },
    });
    // The namespace's default account comes a moment after the namespace.
    let made = eventually(Duration::from_secs(30), async || stage.cluster.apply(&pod.to_string()).await.ok());
    made.await.expect("a pod");
    let config = stage.operator_config().variable("POD_NAME", "own");
    let _operator = Operator::start(&config).await.expect("an operator");
    stage.apply("all", "{ customerId: testcustomer, geo: us, podSelector: {} }").await;
    let message = stage.reason("all", "Ready", "Protected").await;
    assert!(message.contains("the operator's own pods"), "{message}");
    let others = "{ customerId: testcustomer, geo: us, podSelector: { matchLabels: { app: vda } } }";
    stage.apply("others", others).await;
    stage.ready("others").await;
    let names: Vec<String> = stage.all_policies().await.iter().map(ResourceExt::name_any).collect();
    assert_eq!(names, ["others-egress"]);
}

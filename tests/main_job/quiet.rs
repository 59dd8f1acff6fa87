//! Where nothing changes, nothing is written.

use crate::common::Stage;
use std::collections::BTreeMap;
use std::time::Duration;
use test_support::ControlPlane;
use test_support::dns::Behaviour;
use test_support::fixture;
use test_support::operator::Operator;
use test_support::standin::{StandinConfig, Validity};

/// Requests that write, by resource and verb, as the API server counts them; Leases, which are renewed to say that
/// somebody is alive, left out.
async fn writes(cluster: &ControlPlane) -> BTreeMap<String, u64> {
    let told = cluster.kubectl(&["get", "--raw", "/metrics"]).await.expect("the API server's metrics");
    let label = |line: &str, name: &str| {
        let (_, rest) = line.split_once(&format!("{name}=\""))?;
        rest.split_once('"').map(|(value, _)| value.to_owned())
    };
    let mut counts = BTreeMap::new();
    for line in told.lines().filter(|line| line.starts_with("apiserver_request_total{")) {
        let (verb, resource) = (label(line, "verb").unwrap_or_default(), label(line, "resource").unwrap_or_default());
        let writes = matches!(&*verb, "POST" | "PUT" | "PATCH" | "APPLY" | "DELETE" | "DELETECOLLECTION");
        if writes && resource != "leases" {
            let count: f64 = line.rsplit(' ').next().and_then(|count| count.parse().ok()).expect("a count");
            *counts.entry(format!("{verb} {resource}")).or_default() += count as u64;
        }
    }
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn a_minute_of_short_ttls_writes_nothing() {
    // Of its own, so that every write is this operator's.
    let cluster = crate::common::own_cluster().await;
    let validity = Validity::Rolling(Duration::from_secs(3600));
    let stage = Stage::on(cluster, StandinConfig { validity, ..StandinConfig::unlimited() }).await;
    // A name that rotates is quiet as well, once all its addresses have been seen.
    let pool = fixture::pool("accounts.cloud.com", 6);
    stage.dns.set("accounts.cloud.com", Behaviour::rotating(&pool, 3, 5));
    // A history follows a change by up to a minute: that it is quiet afterwards is a law of the simulation.
    let config = stage.operator_config().flag("history-retention", "0s");
    let operator = Operator::start(&config).await.expect("an operator");
    for (name, spec) in [
        ("outbound", "{ customerId: testcustomer, geo: us }"),
        ("both", "{ customerId: testcustomer, geo: all, direction: all }"),
        ("audit", "{ customerId: testcustomer, geo: eu, mode: Audit }"),
    ] {
        stage.apply(name, spec).await;
        stage.ready(name).await;
    }
    let policies = stage.watch_policies().await;
    let seen = |policy: &_| pool.iter().all(|address| crate::common::holds(policy, *address));
    policies.until("the whole rotation", |now| now.values().filter(|policy| seen(policy)).count() >= 2).await;
    // What belongs to the last change may still be on its way: its ConfigMap, its status.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let before = writes(stage.cluster).await;
    assert!(before.contains_key("POST networkpolicies"), "the metrics count what is asked: {before:?}");
    stage.dns.clear_questions();
    tokio::time::sleep(Duration::from_secs(60)).await;
    let after = writes(stage.cluster).await;
    assert_eq!(after, before, "{}", operator.log());
    let questions = stage.dns.questions().len();
    let names =
        fixture::exact_names_of(test_support::standin::StandinCloud::Global, "testcustomer", "all", "all").len();
    assert!(questions > names * 10, "{questions} questions about {names} names: they are asked all the while");
    assert!(questions <= names * 2 * 13, "{questions} questions about {names} names: once a TTL for all");
}

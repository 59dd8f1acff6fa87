//! One tenant's names do not keep another's from being followed, on a real control plane. `LONG=1` goes on for twenty minutes
//! and holds the times.

use crate::common::{Stage, holds};
use kube::api::{Api, DeleteParams};
use serde_json::{Value, json};
use std::net::IpAddr;
use std::time::{Duration, Instant};
use test_support::dns::Behaviour;
use test_support::operator::Operator;

/// The TTL of every answer, in seconds.
const TTL: u32 = 5;
/// How long after its TTL a change is followed.
const FOLLOWED: Duration = Duration::from_secs(5);
/// How long until a new resource is Ready.
const READY: Duration = Duration::from_secs(10);

/// A resource that names as many names as one can: 64 entries of 64.
fn greedy(namespace: &str, name: &str) -> Value {
    let entry = |number: u32| {
        let names: Vec<String> = (0..64).map(|index| format!("n{index}.e{number}.{name}.silent.example")).collect();
        json!({ "name": format!("e{number}"), "fqdns": names, "tcpPorts": "443" })
    };
    json!({
        "apiVersion": "citrix-allowlist.io/v1alpha1", "kind": "CitrixAllowlist",
        "metadata": { "name": name, "namespace": namespace },
        "spec": { "customerId": "testcustomer", "geo": "us", "additional": (0..64).map(entry).collect::<Vec<_>>() },
    })
}

/// Five resources of 4,096 names that no server answers: another namespace's change was not followed within 200 s, and its
/// new resource not Ready within 300 s.
#[tokio::test(flavor = "multi_thread")]
async fn names_that_nobody_answers_keep_no_other_namespace_waiting() {
    let is_long = std::env::var_os("LONG").is_some_and(|value| value != "0");
    let stage = Stage::set().await;
    let hostile = stage.cluster.fresh_namespace("hostile").await.expect("a namespace");
    stage.dns.default_behaviour(|name, _| match name.trim_end_matches('.').ends_with("silent.example") {
        true => Behaviour::silent(),
        false => Behaviour::addresses(&["20.64.9.9".parse().expect("an address")], TTL),
    });
    let config = stage.operator_config().flag("watch-namespace", hostile.name());
    let mut operator = Operator::start(&config).await.expect("an operator");
    let additional = "additional: [{ name: own, fqdns: [moving.example.com], tcpPorts: \"443\" }]";
    let spec = format!("{{ customerId: testcustomer, geo: us, {additional} }}");
    let address = |turn: u8| IpAddr::from([20, 65, 1, turn]);
    stage.dns.set_addresses("moving.example.com", &[address(1)], TTL);
    stage.apply("own", &spec).await;
    stage.ready("own").await;
    let policies = stage.watch_policies().await;
    for number in 0..5 {
        let manifest = greedy(hostile.name(), &format!("greedy{number}"));
        stage.cluster.apply(&manifest.to_string()).await.expect("an accepted resource");
    }
    // The first of them have timed out by then.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (started, mut turn) = (Instant::now(), 1);
    while turn < 3 || (is_long && started.elapsed() < Duration::from_secs(20 * 60)) {
        turn = turn % 250 + 1;
        let changed = Instant::now();
        stage.dns.set_addresses("moving.example.com", &[address(turn)], TTL);
        policies.until("the new address", |now| holds(&now["own-egress"], address(turn))).await;
        let followed = changed.elapsed();
        let created = Instant::now();
        stage.apply("new", &spec).await;
        stage.ready("new").await;
        let ready = created.elapsed();
        println!("a change was followed after {followed:?}, a new resource Ready after {ready:?}");
        if is_long {
            assert!(followed <= Duration::from_secs(TTL.into()) + FOLLOWED, "{followed:?}");
            assert!(ready <= READY, "{ready:?}");
        }
        stage.resources().delete("new", &DeleteParams::default()).await.expect("deleted");
        policies.until("nothing of it", |now| !now.contains_key("new-egress")).await;
    }
    operator.process().expect_running().expect("no restart");
    let told: Api<citrix_allowlist::crd::CitrixAllowlist> = Api::namespaced(stage.client.clone(), hostile.name());
    let told =
        told.get("greedy4").await.expect("the resource").status.map(|status| status.problems).unwrap_or_default();
    assert!(told.iter().any(|problem| problem.message.contains("--max-names-per-namespace")), "{told:?}");
}

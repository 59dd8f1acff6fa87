//! Resources that were there before the operator: the order in which GitOps installs, and every disaster recovery.

mod common;

use citrix_allowlist::crd::CitrixAllowlist;
use common::{Stage, own_cluster};
use futures::StreamExt as _;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::Api;
use kube::api::{ListParams, PostParams};
use serde_json::json;
use std::time::{Duration, Instant};
use test_support::fault_proxy::{ApiFault, FaultProxy, Verb, Which};
use test_support::operator::Operator;
use test_support::standin::StandinConfig;

/// How many there are. A hundred pages: long after the first has arrived, the last has not.
const RESOURCES: usize = 5_000;
/// How much later each answer to a list comes. A page of 50 at a time, the list of resources alone takes five seconds.
const LATE: Duration = Duration::from_millis(50);
/// How long all may take: a bound on being lost, not on speed.
const PATIENCE: Duration = Duration::from_secs(540);

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_api_server_loses_none_of_five_thousand_resources() {
    let document = serde_json::from_value(json!({
        "meta": { "version": "2026-06-01T00:00:00Z", "validUntil": "2099-06-04T12:00:00Z" },
        "services": [{
            "name": "DaaS", "direction": "outbound", "tcpPorts": "443", "required": true,
            "endpoints": [{ "geo": "us", "ips": ["20.192.0.0/24"] }],
        }],
    }));
    let config = StandinConfig { global: document.expect("a document"), ..StandinConfig::unlimited() };
    let stage = Stage::on(own_cluster().await, config).await;
    let resources: Api<CitrixAllowlist> = stage.resources();
    let made = futures::stream::iter(0..RESOURCES).map(|number| {
        let resource = serde_json::from_value(json!({
            "apiVersion": "citrix-allowlist.io/v1alpha1", "kind": "CitrixAllowlist",
            "metadata": { "name": format!("r{number}") }, "spec": { "customerId": "testcustomer", "dnsEgress": "None" },
        }));
        let resources = &resources;
        async move { resources.create(&PostParams::default(), &resource.expect("a resource")).await.expect("created") }
    });
    let made = made.buffer_unordered(16).count().await;
    assert_eq!(made, RESOURCES);

    let proxy = FaultProxy::start(stage.cluster.kubeconfig_path()).await.expect("a proxy");
    proxy.inject(Which::of(&[Verb::List], &["citrixallowlists"]), ApiFault::Late(LATE));
    let mut config = stage.operator_config();
    config.kubeconfig = proxy.kubeconfig().to_owned();
    config.environment.retain(|(name, _)| name != "RUST_LOG");
    let operator = Operator::start(&config).await.expect("an operator");
    let started = Instant::now();
    let policies: Api<NetworkPolicy> = stage.policies();
    loop {
        let count = policies.list_metadata(&ListParams::default()).await.expect("policies").items.len();
        if count == RESOURCES {
            break;
        }
        assert!(started.elapsed() < PATIENCE, "{count} of {RESOURCES} have a policy after {:?}", started.elapsed());
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    println!("{RESOURCES} resources had their policies {:?} after the start", started.elapsed());
    // On a slow machine some wait in the queue for longer than the watchdog's two minutes. None was lost.
    assert!(!operator.log().contains("a wake was lost"), "no watchdog had to help");
    let lists = proxy.requests().iter().filter(|passed| passed.asked.resource == "citrixallowlists").count();
    assert!(lists >= RESOURCES / 50, "it came in pages: {lists}");
}

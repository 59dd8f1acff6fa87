//! DNS as it is: each of its truths is played by a zone of its own, or by the real CoreDNS, and checked down to the
//! NetworkPolicies.

#[path = "../common/mod.rs"]
mod common;

mod coredns;
mod zones;

use common::watched::{Objects, Watched};
use common::{Stage, holds};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use std::net::IpAddr;
use std::time::Duration;
use test_support::dns::Behaviour;
use test_support::fixture;
use test_support::operator::{Operator, OperatorConfig};
use test_support::standin::{Document, Endpoint, Service, StandinCloud, StandinConfig, Validity};

const POLICY: &str = "truth-egress";
/// The name that a zone is about.
const NAME: &str = "truth.example.com";
/// One that always answers, so that a policy can appear.
const STEADY: &str = "steady.example.com";

/// A list of these names on 443.
fn list(names: &[&str]) -> Document {
    let mut document = fixture::document(StandinCloud::Global);
    let fqdns = names.iter().map(|name| (*name).to_owned()).collect();
    let endpoint = Endpoint { geo: Some("us".to_owned()), fqdns, ..Endpoint::default() };
    document.services = vec![Service {
        name: "Truths".to_owned(),
        direction: Some("outbound".to_owned()),
        endpoints: vec![endpoint],
        tcp_ports: Some("443".to_owned()),
        required: Some(true),
        ..Service::default()
    }];
    document
}

/// A stage with a list of the two names.
async fn stage() -> Stage {
    let validity = Validity::Rolling(Duration::from_secs(3600));
    let stage =
        Stage::with(StandinConfig { validity, global: list(&[NAME, STEADY]), ..StandinConfig::unlimited() }).await;
    stage.dns.default_behaviour(|_, _| Behaviour::nxdomain());
    stage.dns.set_addresses(STEADY, &fixture::address_for(STEADY), 5);
    stage
}

/// An operator that asks every second where a TTL lets it.
fn eager(stage: &Stage) -> OperatorConfig {
    stage.operator_config().flag("dns-min-ttl", "1s")
}

async fn start(config: &OperatorConfig) -> Operator {
    Operator::start(config).await.expect("an operator")
}

/// Applies the resource and waits for its policy.
async fn applied(stage: &Stage) -> Watched<NetworkPolicy> {
    stage.apply("truth", "{ customerId: testcustomer, geo: us, dnsEgress: None, addressRetention: 1m }").await;
    stage.ready("truth").await;
    stage.watch_policies().await
}

fn holds_all(policies: &Objects<NetworkPolicy>, addresses: &[IpAddr]) -> bool {
    policies.get(POLICY).is_some_and(|policy| addresses.iter().all(|address| holds(policy, *address)))
}

/// As [`eager`], but without the stage's own DNS server.
fn eager_without_server(stage: &Stage) -> OperatorConfig {
    let mut config = eager(stage);
    config.arguments.retain(|argument| !argument.starts_with("--dns-server"));
    config
}

//! A second engine is a folder: here is one, in fewer than 150 lines, and it goes the whole way on a real API server.

#[path = "../common/mod.rs"]
mod common;
mod engine;

use citrix_allowlist::cluster::client::ConnectOptions;
use citrix_allowlist::cluster::stored;
use citrix_allowlist::crd::REFRESH_ANNOTATION;
use citrix_allowlist::engines::network_policy::{NETWORK_POLICY, NetworkPolicies};
use citrix_allowlist::engines::{Engines, as_network_policies};
use citrix_allowlist::objects::desired::Desired;
use citrix_allowlist::objects::key::ObjectKey;
use citrix_allowlist::objects::kind::Kind;
use citrix_allowlist::operator::{self, RunArguments};
use clap::Parser;
use common::{Stage, cidrs, own_cluster};
use engine::{TOY, Toys};
use ipnet::IpNet;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;
use test_support::standin::{Document, StandinCloud, StandinConfig};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long a step may take: a bound on being stuck, not on speed.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    run: RunArguments,
}

/// An operator with two engines, within this process.
struct TwoEngines {
    stop: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

impl TwoEngines {
    fn start(stage: &Stage) -> Self {
        let config = stage.operator_config().flag("listen", "127.0.0.1:0");
        let flags = Flags::try_parse_from(["run".to_owned()].into_iter().chain(config.arguments)).expect("flags");
        let connect = ConnectOptions { kubeconfig: Some(config.kubeconfig), ..ConnectOptions::default() };
        let (stop, engines) = (CancellationToken::new(), Engines::new(&[&NetworkPolicies, &Toys]));
        let stopped = stop.clone();
        let task = tokio::spawn(async move { operator::serve(flags.run, engines, &connect, stopped).await });
        Self { stop, task }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.expect("no panic").expect("a clean end");
    }
}

async fn all(stage: &Stage, kind: &'static Kind) -> Vec<(ObjectKey, Desired)> {
    stored::list(&stage.client, kind, stage.namespace.name(), None).await.expect("objects")
}

/// What policies of a kind allow, DNS left out.
async fn allowed(stage: &Stage, kind: &'static Kind) -> BTreeSet<IpNet> {
    let mut policies = as_network_policies(&all(stage, kind).await);
    for rules in policies.iter_mut().filter_map(|policy| policy.spec.as_mut()?.egress.as_mut()) {
        // Rules for DNS name pods, or UDP.
        rules.retain(|rule| rule.ports.iter().flatten().all(|port| port.protocol.as_deref() == Some("TCP")));
    }
    policies.iter().flat_map(cidrs).collect()
}

/// Waits until both engines' objects allow what `holds` accepts.
async fn until(stage: &Stage, what: &str, holds: impl Fn(&BTreeSet<IpNet>) -> bool) {
    let met = common::eventually(PATIENCE, async || {
        let (base, toys) = (allowed(stage, &NETWORK_POLICY).await, allowed(stage, &TOY).await);
        (base == toys && holds(&toys)).then_some(())
    });
    assert!(
        met.await.is_some(),
        "{what}: {:?} {:?}",
        allowed(stage, &NETWORK_POLICY).await,
        allowed(stage, &TOY).await
    );
}

fn has(network: &str) -> impl Fn(&BTreeSet<IpNet>) -> bool {
    let network: IpNet = network.parse().expect("a network");
    move |allowed| allowed.contains(&network)
}

fn list(service: &str, networks: &[&str]) -> Document {
    let document = serde_json::from_value(json!({
        "meta": { "version": "2026-06-01T00:00:00Z", "validUntil": "2099-06-04T12:00:00Z" },
        "services": [{
            "name": service, "direction": "outbound", "tcpPorts": "443", "required": true,
            "endpoints": [{ "geo": "us", "ips": networks }],
        }],
    }));
    document.expect("a document")
}

/// Publishes a list, and asks for fetches until `is_followed`: one that takes much away is fetched twice.
async fn publish(stage: &Stage, document: Document, is_followed: impl AsyncFn() -> bool) {
    stage.standin.edit(StandinCloud::Global, |held| held.services = document.services);
    for number in 0..120 {
        stage.annotate("daas", REFRESH_ANNOTATION, &format!("{number}-{}", stage.standin.requests().len())).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        if is_followed().await {
            return;
        }
    }
    panic!("not followed: {:?}", stage.status("daas").await);
}

/// What the cluster has to know of the kind.
fn definition() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": "toypolicies.toys.example.com" },
        "spec": {
            "group": "toys.example.com", "scope": "Namespaced",
            "names": { "kind": "ToyPolicy", "plural": "toypolicies", "singular": "toypolicy", "listKind": "ToyPolicyList" },
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": { "openAPIV3Schema": { "type": "object", "properties": {
                    "spec": { "type": "object", "x-kubernetes-preserve-unknown-fields": true },
                } } },
            }],
        },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_engine_goes_the_whole_way() {
    let config = StandinConfig { global: list("DaaS", &["20.192.0.0/24"]), ..StandinConfig::unlimited() };
    let stage = Stage::on(own_cluster().await, config).await;
    stage.cluster.apply(&definition().to_string()).await.expect("the toys' definition");
    let two = TwoEngines::start(&stage);
    stage.apply("daas", "{ customerId: testcustomer, dnsEgress: None, services: { include: [DaaS] }, refresh: { minInterval: 1s } }").await;
    until(&stage, "written", has("20.192.0.0/24")).await;
    stage.ready("daas").await;
    assert_eq!(stage.status("daas").await.policies, ["daas-egress", "daas-egress"], "one of each kind");

    // Another's edit is undone.
    let gvk = GroupVersionKind::gvk(TOY.group, TOY.version, TOY.name);
    let resource = ApiResource::from_gvk_with_plural(&gvk, TOY.plural);
    let toys: Api<DynamicObject> = Api::namespaced_with(stage.client.clone(), stage.namespace.name(), &resource);
    let edit = json!({ "spec": { "allow": [{ "tcp": [[443, 443]], "udp": [], "cidrs": ["66.6.0.0/16"] }] } });
    let by = PatchParams { field_manager: Some("kubectl-edit".to_owned()), ..PatchParams::default() };
    toys.patch("daas-egress", &by, &Patch::Merge(edit)).await.expect("an edit");
    until(&stage, "undone", |allowed| !has("66.6.0.0/16")(allowed) && has("20.192.0.0/24")(allowed)).await;

    // A restart writes nothing, and what is applied is known: the new list is one write of each object.
    two.stop().await;
    let version = |objects: &[(ObjectKey, Desired)]| objects[0].1.metadata.resource_version.clone();
    let before = version(&all(&stage, &TOY).await);
    let two = TwoEngines::start(&stage);
    stage.annotate("daas", REFRESH_ANNOTATION, "restarted").await;
    let handled = async || stage.status("daas").await.last_handled_refresh.is_some_and(|token| token == "restarted");
    let met = common::eventually(PATIENCE, async || handled().await.then_some(()));
    assert!(met.await.is_some(), "{:?}", stage.status("daas").await);
    assert_eq!(version(&all(&stage, &TOY).await), before);
    let grown = list("DaaS", &["20.192.0.0/24", "20.193.0.0/24"]);
    publish(&stage, grown, async || has("20.193.0.0/24")(&allowed(&stage, &TOY).await)).await;
    until(&stage, "followed", has("20.192.0.0/24")).await;

    // The last policy goes only by the user's word.
    let kept = async || {
        let conditions = stage.status("daas").await.conditions;
        conditions.iter().any(|condition| condition.type_ == "Ready" && condition.reason == "LastPolicyKept")
    };
    publish(&stage, list("Renamed", &["20.194.0.0/24"]), kept).await;
    assert!(has("20.193.0.0/24")(&allowed(&stage, &TOY).await));
    stage.patch("daas", json!({ "direction": "inbound" })).await;
    until(&stage, "taken away", BTreeSet::is_empty).await;
    assert_eq!(all(&stage, &TOY).await.len(), 0);
    two.stop().await;
}

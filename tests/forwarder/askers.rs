//! A name counts for the resources of the pod that asked, where the cluster's DNS says who that is.

use crate::client::{Client, addresses};
use crate::common::BINARY;
use crate::{Forwarding, unseen};
use hickory_proto::op::Message;
use hickory_proto::rr::RecordType;
use hickory_proto::rr::rdata::opt::EdnsOption;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use test_support::operator::Operator;

/// A spec for the pods of one app.
fn spec(app: &str) -> String {
    format!("{{ customerId: testcustomer, geo: us, podSelector: {{ matchLabels: {{ app: {app} }} }} }}")
}

/// Creates a pod of an app with this address.
async fn pod(forwarding: &Forwarding, app: &str, address: Ipv4Addr) {
    let pods: Api<Pod> = Api::namespaced(forwarding.stage.client.clone(), forwarding.stage.namespace.name());
    let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": format!("{app}-0"), "labels": { "app": app } },
        "spec": { "containers": [{ "name": "a", "image": "example.com/none" }] } });
    let pod = serde_json::from_value(pod).expect("a pod");
    pods.create(&PostParams::default(), &pod).await.expect("created");
    let status = json!({ "status": { "phase": "Running", "podIP": address, "podIPs": [{ "ip": address }] } });
    let patched = pods.patch_status(&format!("{app}-0"), &PatchParams::default(), &Patch::Merge(status)).await;
    patched.expect("running");
}

/// A question as CoreDNS forwards it with `rewrite edns0 local set 0xffee {client_ip}`.
fn question(name: &str, client: Ipv4Addr) -> Message {
    let mut question = Client::question(name, RecordType::A);
    let options = question.edns.as_mut().expect("a question has EDNS").options_mut();
    options.insert(EdnsOption::Unknown(0xffee, client.octets().to_vec()));
    question
}

/// The resources whose policies allow all of these.
async fn allowing(forwarding: &Forwarding, addresses: &[IpAddr]) -> BTreeSet<String> {
    let policies = forwarding.stage.all_policies().await;
    let allows = |app: &&str| {
        let own = policies.iter().filter(|policy| {
            policy.metadata.name.as_ref().is_some_and(|name| name.starts_with(&format!("{app}-egress")))
        });
        addresses.iter().all(|address| own.clone().any(|policy| crate::common::holds(policy, *address)))
    };
    ["daas", "web", "vda"].into_iter().filter(allows).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_counts_for_the_resources_that_select_the_pod() {
    let mut forwarding = Forwarding::start().await;
    forwarding.kill().await;
    forwarding.config = forwarding.config.clone().switch("forward-clients");
    forwarding.operator = Operator::start(&forwarding.config).await.expect("an operator");
    forwarding.knows().await;
    forwarding.stage.patch("daas", json!({ "podSelector": { "matchLabels": { "app": "other" } } })).await;
    for (last, app) in [(7, "web"), (8, "vda")] {
        forwarding.stage.apply(app, &spec(app)).await;
        forwarding.stage.ready(app).await;
        pod(&forwarding, app, Ipv4Addr::new(10, 128, 0, last)).await;
    }
    let ask = async |number: usize, last: u8, from: Client| {
        let reply = from.send(&question(&unseen(number), Ipv4Addr::new(10, 128, 0, last))).await.expect("a reply");
        addresses(&reply)
    };
    let set = |names: &[&str]| names.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
    let dns = forwarding.client();
    let of_web = ask(1, 7, dns).await;
    assert_eq!(allowing(&forwarding, &of_web).await, set(&["web"]), "the pod is web's");
    ask(1, 8, dns).await;
    assert_eq!(allowing(&forwarding, &of_web).await, set(&["vda", "web"]), "vda's asks for it too");
    let unknown = ask(2, 9, dns).await;
    assert_eq!(allowing(&forwarding, &unknown).await, set(&[]), "no pod has that address: it counts for nobody");

    // Only the cluster's DNS is believed: another would choose for whom a name counts.
    let other = ask(3, 7, dns.from(Ipv4Addr::new(127, 0, 0, 2))).await;
    assert_eq!(allowing(&forwarding, &other).await, set(&["daas", "vda", "web"]));
    assert_eq!(forwarding.answered("early").await, 0.0);

    let asked = ["explain", "web", "-n", forwarding.stage.namespace.name(), "--to", &format!("{}:443", unseen(1))];
    let mut program = Command::new(BINARY);
    let program = program.args(asked).args(["--operator", &forwarding.operator.url()]);
    let output = program.env("KUBECONFIG", forwarding.stage.cluster.kubeconfig_path()).output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let pods = format!("by {0}/web-0, {0}/vda-0", forwarding.stage.namespace.name());
    let flat = text.split_whitespace().filter(|word| !word.starts_with(['│', '├', '└'])).collect::<Vec<_>>().join(" ");
    assert!(flat.contains("learned ") && flat.contains(&pods) && flat.contains("in force since "), "{text}");
}

//! Whose objects are whose: a resource's own go with it, a stranger's are never touched.

use crate::common::Stage;
use crate::common::watched::Watched;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::ResourceExt;
use kube::api::{DeleteParams, PostParams};
use serde_json::json;

fn strangers(name: &str) -> NetworkPolicy {
    serde_json::from_value(json!({
        "metadata": { "name": name, "labels": { "team": "one" } },
        "spec": { "podSelector": { "matchLabels": { "app": "theirs" } }, "policyTypes": ["Egress"], "egress": [] },
    }))
    .expect("a policy")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_resources_objects_are_collected_and_nobody_elses() {
    let stage = Stage::set().await;
    let _operator = stage.operator().await;
    stage.policies().create(&PostParams::default(), &strangers("theirs")).await.expect("a policy");
    stage.apply("daas-us", "{ customerId: testcustomer, geo: us, direction: all }").await;
    stage.apply("daas-eu", "{ customerId: testcustomer, geo: eu }").await;
    stage.ready("daas-us").await;
    stage.ready("daas-eu").await;
    let policies = stage.watch_policies().await;
    let maps: Watched<ConfigMap> = Watched::start(stage.client.clone(), stage.namespace.name()).await;
    let stays = policies.now()["daas-eu-egress"].clone();
    stage.resources().delete("daas-us", &DeleteParams::default()).await.expect("deleted");
    let left = ["daas-eu-egress", "theirs"];
    policies.until("only its own are gone", |now| now.keys().map(String::as_str).eq(left)).await;
    maps.until("its map is gone", |now| !now.contains_key("daas-us-cidrs")).await;
    assert!(maps.now().contains_key("daas-eu-cidrs"));
    // Garbage, until it is collected, is nobody's drift to repair.
    let is_made = |name: &str| policies.now().contains_key(name);
    assert!(!is_made("daas-us-egress") && !is_made("daas-us-ingress"));
    assert_eq!(policies.now()["daas-eu-egress"].resource_version(), stays.resource_version());

    // Made again under its old name it starts over.
    stage.apply("daas-us", "{ customerId: testcustomer, geo: us }").await;
    stage.ready("daas-us").await;
    assert!(policies.find("its policy", |now| now.get("daas-us-egress").cloned()).await.uid().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strangers_object_stays_until_it_is_handed_over() {
    let stage = Stage::set().await;
    let _operator = stage.operator().await;
    let theirs = stage.policies().create(&PostParams::default(), &strangers("daas-us-egress")).await.expect("a policy");
    stage.apply("daas-us", "{ customerId: testcustomer, geo: us, direction: all }").await;
    let message = stage.reason("daas-us", "Ready", "Conflict").await;
    assert!(message.contains("daas-us-egress") && message.contains("citrix-allowlist.io/adopt"), "{message}");
    let policies = stage.watch_policies().await;
    assert_eq!(policies.now()["daas-us-egress"].resource_version(), theirs.resource_version(), "untouched");
    assert!(!policies.now().contains_key("daas-us-ingress"), "both directions appear, or none");
    let status = stage.status("daas-us").await;
    assert!(status.problems.iter().any(|problem| problem.subject == "daas-us-egress"), "{:?}", status.problems);

    let kubectl = async |arguments: &[&str]| {
        let arguments = [&["-n", stage.namespace.name()], arguments].concat();
        stage.cluster.kubectl(&arguments).await.expect("kubectl");
    };
    kubectl(&["annotate", "netpol", "daas-us-egress", "citrix-allowlist.io/adopt=true"]).await;
    // It is looked again each minute; a request of the user's does not wait so long.
    kubectl(&["annotate", "cal", "daas-us", "citrix-allowlist.io/refresh-requested-at=now"]).await;
    stage.ready("daas-us").await;
    let adopted = policies.now()["daas-us-egress"].clone();
    assert_eq!(adopted.uid(), theirs.uid());
    assert_eq!(adopted.owner_references().len(), 1);
    assert_eq!(adopted.labels()["team"], "one", "what we do not own stays");
    let spec = adopted.spec.expect("a spec");
    let selector = spec.pod_selector.unwrap_or_default();
    assert!(selector.match_labels.unwrap_or_default().is_empty(), "the selector is the resource's");
    assert!(spec.egress.is_some_and(|rules| rules.len() > 3));
    assert!(policies.now().contains_key("daas-us-ingress"));
}

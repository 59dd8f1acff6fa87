//! What others do to our objects, and what the API server's own rules say against them.

use super::common::eventually;
use super::matrix::Row;
use super::trial::{Closed, RESOURCE, Trial, seconds};
use citrix_allowlist::reason::Reason;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::json;
use std::time::Duration;
use test_support::operator::{Operator, OperatorConfig};
use test_support::webhook::Webhook;

const EGRESS: &str = "daas-egress";

async fn edit(trial: &Trial, manager: &str, egress: serde_json::Value) {
    let stranger = PatchParams { field_manager: Some(manager.to_owned()), ..PatchParams::default() };
    let change = Patch::Merge(json!({ "spec": { "egress": egress } }));
    trial.policies().patch(EGRESS, &stranger, &change).await.expect("edited");
}

/// Edits the policy again and again until status reports a conflict; returns how often. On a slow machine the operator sees
/// several edits as one.
async fn edit_until_conflict(trial: &Trial, manager: &str, egress: &serde_json::Value) -> usize {
    for number in 1..=600 {
        edit(trial, manager, egress.clone()).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let ready = trial.condition_now("Ready").await;
        if number >= 30 && ready.is_some_and(|ready| ready.reason == Reason::Conflict.as_str()) {
            return number;
        }
    }
    panic!("no conflict is reported\n{}", trial.logs());
}

/// How often the operator wrote policies since the fault began.
fn fought(trial: &Trial) -> usize {
    trial.proxy.since(trial.began).iter().filter(|passed| passed.asked.resource == "networkpolicies").count()
}

pub async fn edited(row: &Row) -> Closed {
    let mut trial = Trial::begin().await;
    trial.fault();
    edit(&trial, "kubectl-edit", json!([])).await;
    let undone = eventually(Duration::from_secs(5), async || trial.recorder.is_newest().then_some(())).await;
    assert!(undone.is_some(), "{}\n{}", trial.recorder.difference(), trial.logs());
    // And one that keeps coming back is reported by name, and not fought in a loop.
    let elsewhere =
        json!([{ "to": [{ "ipBlock": { "cidr": "8.8.8.8/32" } }], "ports": [{ "port": 53, "protocol": "UDP" }] }]);
    let edits = edit_until_conflict(&trial, "other-controller", &elsewhere).await;
    let message = trial.says("Ready", "False", Reason::Conflict.as_str()).await;
    assert!(message.contains("other-controller"), "{message}");
    let fought = fought(&trial);
    assert!(fought <= 8, "{fought} writes against {edits} edits");
    trial.close(row).await
}

pub async fn cut_out(row: &Row) -> Closed {
    let mut trial = Trial::begin().await;
    trial.fault();
    let edits = edit_until_conflict(&trial, "kubectl-patch", &json!([])).await;
    let message = trial.says("Ready", "False", Reason::Conflict.as_str()).await;
    assert!(message.contains("keeps being deleted"), "{message}");
    let fought = fought(&trial);
    assert!(fought <= 8, "{fought} writes against {edits} edits");
    trial.close(row).await
}

pub async fn deleted(row: &Row) -> Closed {
    let mut trial = Trial::begin().await;
    trial.fault();
    trial.recorder.may_be_absent(true);
    trial.policies().delete(EGRESS, &DeleteParams::default()).await.expect("deleted");
    let maps =
        kube::Api::<k8s_openapi::api::core::v1::ConfigMap>::namespaced(trial.client.clone(), trial.namespace.name());
    maps.delete(&format!("{RESOURCE}-cidrs"), &DeleteParams::default()).await.expect("deleted");
    trial.right(Duration::from_secs(5)).await;
    trial.recorder.may_be_absent(false);
    trial.close(row).await
}

pub async fn not_ours(row: &Row) -> Closed {
    let mut trial = Trial::bare().await;
    trial.fault();
    let stranger = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": { "name": EGRESS, "namespace": trial.namespace.name() },
        "spec": { "podSelector": { "matchLabels": { "app": "other" } }, "policyTypes": ["Egress"] },
    });
    trial.cluster.apply(&stranger.to_string()).await.expect("a stranger's policy");
    let config = trial.single();
    trial.operators.push(Operator::start(&config).await.expect("an operator"));
    trial.create().await;
    let message = trial.says("Ready", "False", Reason::Conflict.as_str()).await;
    assert!(message.contains(EGRESS) && message.contains("adopt"), "{message}");
    let held = trial.policies().get(EGRESS).await.expect("still there");
    assert!(
        held.metadata.owner_references.is_none() && held.spec.expect("a spec").egress.is_none(),
        "it was taken over"
    );
    trial.policies().delete(EGRESS, &DeleteParams::default()).await.expect("deleted");
    // What woke nobody by a watch is looked at again; a person who will not wait asks for a fetch.
    trial.ask().await;
    trial.close(row).await
}

pub async fn quota(row: &Row) -> Closed {
    let mut trial = Trial::bare().await;
    trial.fault();
    let namespace = trial.namespace.name().to_owned();
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": "none", "namespace": namespace },
        "spec": { "hard": { "count/networkpolicies.networking.k8s.io": "0" } },
    });
    trial.cluster.apply(&quota.to_string()).await.expect("a quota");
    let counted = eventually(Duration::from_secs(20), async || {
        let question = ["-n", &namespace, "get", "resourcequota", "none", "-o", "jsonpath={.status.used}"];
        let used = trial.cluster.kubectl(&question);
        used.await.ok().filter(|used| !used.is_empty())
    });
    counted.await.expect("the quota is counted");
    let config = trial.single();
    trial.operators.push(Operator::start(&config).await.expect("an operator"));
    trial.create().await;
    let message = trial.says("Ready", "False", Reason::ApplyFailed.as_str()).await;
    assert!(message.contains("exceeded quota: none"), "{message}");
    trial.cluster.kubectl(&["-n", &namespace, "delete", "resourcequota", "none"]).await.expect("deleted");
    trial.close(row).await
}

/// Has admission refuse writes of the namespace's policies for which a CEL expression is false; returns by which name.
async fn deny(trial: &Trial, expression: &str) -> String {
    let namespace = trial.namespace.name().to_owned();
    let name = format!("deny-{namespace}");
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": { "name": name },
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": { "resourceRules": [{ "apiGroups": ["networking.k8s.io"], "apiVersions": ["v1"],
                "operations": ["CREATE", "UPDATE"], "resources": ["networkpolicies"] }] },
            "validations": [{ "expression": expression, "message": "policies here are the platform team's" }],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding", "metadata": { "name": name },
        "spec": { "policyName": name, "validationActions": ["Deny"],
            "matchResources": { "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": namespace } } } },
    });
    trial.cluster.apply(&policy.to_string()).await.expect("an admission policy");
    trial.cluster.apply(&binding.to_string()).await.expect("a binding");
    name
}

async fn permit(trial: &Trial, name: &str) {
    trial.cluster.kubectl(&["delete", "validatingadmissionpolicybinding", name]).await.expect("deleted");
    trial.cluster.kubectl(&["delete", "validatingadmissionpolicy", name]).await.expect("deleted");
}

pub async fn admission_denies(row: &Row) -> Closed {
    let mut trial = Trial::begin().await;
    let name = deny(&trial, "false").await;
    changes_are_refused(&trial, EGRESS, Duration::from_secs(20)).await;
    trial.fault();
    trial.advance().await;
    let message = trial.says("Ready", "False", Reason::ApplyFailed.as_str()).await;
    assert!(message.contains("the platform team's"), "{message}");
    permit(&trial, &name).await;
    trial.close(row).await
}

/// Of 66 addresses that were allowed before and after, 57 were in no policy for as long as the second write was denied.
pub async fn one_of_several_denied(row: &Row) -> Closed {
    let mut trial = Trial::begin().await;
    trial.advance().await;
    trial.right(Duration::from_secs(30)).await;
    let policies = trial.policies().list(&ListParams::default()).await.expect("policies").items;
    assert!(policies.len() > 3, "{}", policies.len());
    let denied = &policies[1].metadata.name.clone().expect("a name");
    let name = deny(&trial, &format!("object.metadata.name != '{denied}'")).await;
    changes_are_refused(&trial, denied, Duration::from_secs(20)).await;
    trial.fault();
    for _ in 0..3 {
        trial.advance().await;
        trial.says("Ready", "False", Reason::ApplyFailed.as_str()).await;
        seconds(2).await;
    }
    permit(&trial, &name).await;
    trial.close(row).await
}

/// Admission makes something else of what is sent: what the operator learns from the watch, since the answer to a write
/// brings metadata only.
pub async fn admission_alters(row: &Row) -> Closed {
    if let Some(left_out) = Closed::without(row, "admissionregistration.k8s.io/v1", "MutatingAdmissionPolicy").await {
        return left_out;
    }
    let mut trial = Trial::begin().await;
    let namespace = trial.namespace.name().to_owned();
    let name = format!("alter-{namespace}");
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicy", "metadata": { "name": name },
        "spec": {
            "failurePolicy": "Fail", "reinvocationPolicy": "Never",
            "matchConstraints": { "resourceRules": [{ "apiGroups": ["networking.k8s.io"], "apiVersions": ["v1"],
                "operations": ["CREATE", "UPDATE"], "resources": ["networkpolicies"] }] },
            "mutations": [{ "patchType": "JSONPatch", "jsonPatch": { "expression":
                "[JSONPatch{op: \"replace\", path: \"/spec/podSelector\", value: Object.spec.podSelector{matchLabels: {\"altered\": \"yes\"}}}]" } }],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicyBinding", "metadata": { "name": name },
        "spec": { "policyName": name,
            "matchResources": { "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": namespace } } } },
    });
    trial.cluster.apply(&policy.to_string()).await.expect("an admission policy");
    trial.cluster.apply(&binding.to_string()).await.expect("a binding");
    let altered = |policy: &NetworkPolicy| {
        let selector = policy.spec.as_ref().and_then(|spec| spec.pod_selector.as_ref());
        selector
            .and_then(|selector| selector.match_labels.as_ref())
            .is_some_and(|labels| labels.contains_key("altered"))
    };
    let in_force = eventually(Duration::from_secs(20), async || {
        let label = Patch::Merge(json!({ "metadata": { "labels": { "probe": "x" } } }));
        let dry = PatchParams { dry_run: true, ..PatchParams::default() };
        trial.policies().patch(EGRESS, &dry, &label).await.is_ok_and(|policy| altered(&policy)).then_some(())
    });
    in_force.await.expect("it is in force");
    trial.fault();
    trial.advance().await;
    let message = trial.says("Ready", "False", Reason::Conflict.as_str()).await;
    assert!(message.contains("NetworkPolicy daas-egress is altered on write"), "{message}");
    // And not fought over, once the new addresses are written too.
    seconds(3).await;
    let version = trial.policies().get(EGRESS).await.expect("the policy").metadata.resource_version;
    seconds(5).await;
    let policy = trial.policies().get(EGRESS).await.expect("the policy");
    assert!(altered(&policy));
    assert_eq!(policy.metadata.resource_version, version);
    trial.cluster.kubectl(&["delete", "mutatingadmissionpolicybinding", &name]).await.expect("deleted");
    trial.cluster.kubectl(&["delete", "mutatingadmissionpolicy", &name]).await.expect("deleted");
    trial.close(row).await
}

/// Waits until admission refuses changes of the policy, which takes effect some time after it was asked to.
async fn changes_are_refused(trial: &Trial, policy: &str, within: Duration) {
    let in_force = eventually(within, async || {
        let label = Patch::Merge(json!({ "metadata": { "labels": { "probe": "x" } } }));
        let dry = PatchParams { dry_run: true, ..PatchParams::default() };
        trial.policies().patch(policy, &dry, &label).await.is_err().then_some(())
    });
    in_force.await.expect("it is in force");
}

pub async fn webhook_denies(row: &Row) -> Closed {
    let mut trial = Trial::begin().await;
    let namespace = trial.namespace.name().to_owned();
    let name = format!("deny-{namespace}");
    let webhook = Webhook::denying("policies here are the platform team's").await.expect("a webhook");
    trial.cluster.apply(&webhook.configuration(&name, &namespace).to_string()).await.expect("its configuration");
    changes_are_refused(&trial, EGRESS, Duration::from_secs(30)).await;
    trial.fault();
    trial.advance().await;
    let message = trial.says("Ready", "False", Reason::ApplyFailed.as_str()).await;
    assert!(message.contains("denied the request: policies here are the platform team's"), "{message}");
    drop(webhook);
    // Another change of the list is tried at once.
    trial.advance().await;
    let reported = eventually(Duration::from_secs(60), async || {
        let ready = trial.condition_now("Ready").await?;
        ready.message.contains("failed calling webhook").then_some(())
    });
    assert!(reported.await.is_some(), "{:?}\n{}", trial.condition_now("Ready").await, trial.logs());
    trial.cluster.kubectl(&["delete", "validatingwebhookconfiguration", &name]).await.expect("deleted");
    trial.close(row).await
}

pub async fn namespace_terminating(row: &Row) -> Closed {
    let mut trial = Trial::bare().await;
    let doomed = trial.cluster.fresh_namespace("doomed").await.expect("a namespace");
    let config: OperatorConfig = trial.single().flag("watch-namespace", doomed.name());
    trial.operators.push(Operator::start(&config).await.expect("an operator"));
    trial.create().await;
    trial.right(Duration::from_secs(30)).await;
    trial.recorder.may_be_absent(false);
    let manifest = trial.manifest().replace(trial.namespace.name(), doomed.name());
    trial.cluster.apply(&manifest).await.expect("a resource");
    let policies = kube::Api::<NetworkPolicy>::namespaced(trial.client.clone(), &doomed);
    eventually(Duration::from_secs(20), async || policies.get_opt(EGRESS).await.ok()?).await.expect("a policy");
    // Something that holds the namespace up, so that it is terminating for a while.
    let map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "holds", "namespace": doomed.name(), "finalizers": ["example.com/hold"] } });
    trial.cluster.apply(&map.to_string()).await.expect("a ConfigMap");
    trial.fault();
    trial.cluster.kubectl(&["delete", "namespace", doomed.name(), "--wait=false"]).await.expect("deleted");
    trial.advance().await;
    seconds(4).await;
    let release = [
        "-n",
        doomed.name(),
        "patch",
        "configmap",
        "holds",
        "--type=merge",
        "-p",
        "{\"metadata\":{\"finalizers\":null}}",
    ];
    trial.cluster.kubectl(&release).await.expect("released");
    let gone = eventually(Duration::from_secs(30), async || {
        let namespaces = kube::Api::<k8s_openapi::api::core::v1::Namespace>::all(trial.client.clone());
        namespaces.get_opt(doomed.name()).await.ok()?.is_none().then_some(())
    });
    assert!(gone.await.is_some(), "the operator holds a namespace up");
    trial.close(row).await
}

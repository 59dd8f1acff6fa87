//! Attacks by changing one resource, its status, or what the operator keeps for it, again and again.

use super::kinds::Ground;
use citrix_allowlist::crd::REFRESH_ANNOTATION;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use std::time::Duration;

/// Between two changes: what a shell loop with `kubectl` does. Those who attack at once share one small API server, which
/// knows no share of each: they are the administrator to it.
const PAUSE: Duration = Duration::from_millis(500);
const NAME: &str = "quarrel";

fn spec() -> Value {
    json!({ "customerId": "testcustomer", "geo": "us" })
}

fn stranger() -> PatchParams {
    PatchParams { field_manager: Some("a-stubborn-tool".to_owned()), ..PatchParams::default() }
}

/// A merge patch of the resource, each time another.
async fn keep_patching(ground: &Ground, patch: impl Fn(usize) -> Value) {
    ground.create(NAME, spec(), json!({})).await;
    for number in 0.. {
        let patch = Patch::Merge(patch(number));
        ground.resources().patch(NAME, &PatchParams::default(), &patch).await.expect("an accepted change");
        tokio::time::sleep(PAUSE).await;
    }
}

pub async fn ask_for_fetches(ground: Ground) {
    keep_patching(
        &ground,
        |number| json!({ "metadata": { "annotations": { REFRESH_ANNOTATION: number.to_string() } } }),
    )
    .await;
}

/// Each time other pods are selected, and other services: every policy has to be written.
pub async fn change_spec(ground: Ground) {
    keep_patching(&ground, |number| {
        let (selector, geo) = (json!({ "matchLabels": { "number": number.to_string() } }), ["us", "eu"][number % 2]);
        json!({ "spec": { "podSelector": selector, "geo": geo } })
    })
    .await;
}

pub async fn forge_status(ground: Ground) {
    ground.create(NAME, spec(), json!({})).await;
    let forged = json!({ "conditions": [{ "type": "Ready", "status": "True", "reason": "Forged", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z" }], "summary": null });
    for status in [json!(null), forged].iter().cycle() {
        let patch = Patch::Merge(json!({ "status": status }));
        // Conflicts with what the operator writes are part of it.
        let _ = ground.resources().patch_status(NAME, &PatchParams::default(), &patch).await;
        tokio::time::sleep(PAUSE).await;
    }
}

/// Edits of the policy, deletions of it and of the ConfigMap. An edit has a moment to be seen.
pub async fn edit_policies(ground: Ground) {
    ground.create(NAME, spec(), json!({})).await;
    let open = json!({ "spec": { "egress": [{ "to": [{ "ipBlock": { "cidr": "8.8.8.8/32" } }] }] } });
    let (policies, maps) = (ground.api::<NetworkPolicy>(), ground.api::<ConfigMap>());
    for number in 1.. {
        // There may be none yet, or none any more.
        let _ = policies.patch("quarrel-egress", &stranger(), &Patch::Merge(&open)).await;
        let _ = maps.delete("quarrel-cidrs", &DeleteParams::default()).await;
        if number % 20 == 0 {
            let _ = policies.delete("quarrel-egress", &DeleteParams::default()).await;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

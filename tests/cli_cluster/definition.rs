//! The CustomResourceDefinition while it goes, and over one that took more: on control planes of their own, since every
//! other test needs it as it is.

use super::{cli, kubectl, text};
use citrix_allowlist::crd;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::Value;
use std::time::Duration;
use test_support::ControlPlane;

/// The definition's name.
const NAME: &str = "citrixallowlists.citrix-allowlist.io";

async fn with(definition: &CustomResourceDefinition) -> ControlPlane {
    let control_plane = ControlPlane::start().await.expect("a control plane");
    control_plane.install(std::slice::from_ref(definition)).await.expect("the definition");
    control_plane
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_that_is_being_deleted_is_not_applied() {
    let control_plane = with(&crd::definition()).await;
    let held = "apiVersion: citrix-allowlist.io/v1alpha1\nkind: CitrixAllowlist\nmetadata: { name: held, namespace: default, finalizers: [example.com/hold] }\nspec: { customerId: testcustomer }\n";
    kubectl(&control_plane, &["apply", "-f", "-"], held).await.success().expect("a resource");
    kubectl(&control_plane, &["delete", "crd", NAME, "--wait=false"], "").await.success().expect("deleted");
    let applied = cli(&control_plane, &["crd", "--apply"]);
    let said = text(&applied);
    assert_eq!(applied.status.code(), Some(2), "{said}");
    assert!(said.starts_with(&format!("error: CustomResourceDefinition {NAME} is being deleted, since 20")), "{said}");
    assert!(said.contains("apply it again once it is gone"), "{said}");

    // What it says helps.
    let released = r#"{"metadata":{"finalizers":[]}}"#;
    let patch = ["patch", "cal", "held", "-n", "default", "--type=merge", "-p", released];
    kubectl(&control_plane, &patch, "").await.success().expect("released");
    let gone = ["wait", "--for=delete", &format!("crd/{NAME}"), "--timeout=60s"];
    kubectl(&control_plane, &gone, "").await.success().expect("gone");
    let applied = cli(&control_plane, &["crd", "--apply"]);
    assert_eq!(
        (applied.status.code(), text(&applied)),
        (Some(0), format!("customresourcedefinition.apiextensions.k8s.io/{NAME} applied\n"))
    );
}

/// The definition as 0.1.0 had it, which took any label selector.
fn as_before() -> CustomResourceDefinition {
    let mut definition = serde_json::to_value(crd::definition()).expect("JSON");
    let selector = definition
        .pointer_mut("/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/podSelector/properties");
    without_rules(selector.expect("the selector"));
    serde_json::from_value(definition).expect("a definition")
}

fn without_rules(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            fields.retain(|name, _| !["pattern", "x-kubernetes-validations"].contains(&name.as_str()));
            fields.values_mut().for_each(without_rules);
        }
        Value::Array(items) => items.iter_mut().for_each(without_rules),
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_selector_refused_today_leaves_its_resource_usable() {
    let control_plane = with(&as_before()).await;
    let manifest = |name: &str| {
        format!(
            "apiVersion: citrix-allowlist.io/v1alpha1\nkind: CitrixAllowlist\nmetadata: {{ name: {name}, namespace: default }}\nspec:\n  customerId: testcustomer\n  podSelector:\n    matchLabels: {{ 'a b': 'c d' }}\n    matchExpressions: [{{ key: a/b/c, operator: In, values: ['x y'] }}, {{ key: d, operator: Exists, values: [e] }}]\n"
        )
    };
    kubectl(&control_plane, &["apply", "-f", "-"], &manifest("stored")).await.success().expect("as before");
    let applied = cli(&control_plane, &["crd", "--apply"]);
    assert!(applied.status.success(), "{}", text(&applied));

    // A definition takes a moment to be served.
    let mut refused = None;
    for _ in 0..100 {
        let created = kubectl(&control_plane, &["create", "--dry-run=server", "-f", "-"], &manifest("new")).await;
        if created.code != Some(0) {
            refused = Some(created.stderr);
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let refused = refused.expect("a new one is refused");
    for field in [
        "spec.podSelector.matchLabels: Invalid value",
        "spec.podSelector.matchLabels.a b: Invalid value",
        "spec.podSelector.matchExpressions[0].key: Invalid value",
        "spec.podSelector.matchExpressions[0].values[0]: Invalid value",
    ] {
        assert!(refused.contains(field), "{field}: {refused}");
    }

    let status = r#"{"status":{"observedGeneration":1,"conditions":[{"type":"Ready","status":"False","reason":"InvalidSpec","message":"x","lastTransitionTime":"2026-01-01T00:00:00Z"}]}}"#;
    let patch = ["patch", "cal", "stored", "-n", "default", "--subresource=status", "--type=merge", "-p", status];
    kubectl(&control_plane, &patch, "").await.success().expect("its status is still written");
    let other = r#"{"metadata":{"annotations":{"a":"b"}},"spec":{"geo":"us"}}"#;
    let patch = ["patch", "cal", "stored", "-n", "default", "--type=merge", "-p", other];
    kubectl(&control_plane, &patch, "").await.success().expect("its other fields are still edited");
    let mended = r#"{"spec":{"podSelector":{"matchLabels":{"a b":null,"a":"b"},"matchExpressions":null}}}"#;
    let patch = ["patch", "cal", "stored", "-n", "default", "--type=merge", "-p", mended];
    kubectl(&control_plane, &patch, "").await.success().expect("it is mended");
    let worse = r#"{"spec":{"podSelector":{"matchLabels":{"a":"b c"}}}}"#;
    let patch = ["patch", "cal", "stored", "-n", "default", "--type=merge", "-p", worse];
    assert!(kubectl(&control_plane, &patch, "").await.success().is_err(), "and not spoilt again");
}

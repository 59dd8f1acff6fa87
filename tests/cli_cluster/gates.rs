//! Exit codes by which a pipeline stops.

use super::{cli, kubectl, manifest, text};
use citrix_allowlist::crd::{CitrixAllowlist, CitrixAllowlistStatus, REFRESH_ANNOTATION};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::api::{Api, Patch, PatchParams};
use std::time::Duration;
use test_support::ControlPlane;

async fn apply(control_plane: &ControlPlane, namespace: &str, more: &str) {
    let manifest = manifest().replace("namespace: citrix", &format!("namespace: {namespace}"));
    let manifest = manifest.replace("spec:\n", &format!("spec:\n{more}"));
    kubectl(control_plane, &["apply", "-f", "-"], &manifest).await.success().expect("applied");
}

/// Answers the next requested fetch as an operator does, with this condition of the list.
async fn answer(api: Api<CitrixAllowlist>, status: &str, reason: &str) {
    let token = loop {
        let resource = api.get("daas-us").await.expect("the resource");
        let handled = resource.status.as_ref().and_then(|status| status.last_handled_refresh.clone());
        let asked = resource.metadata.annotations.and_then(|mut all| all.remove(REFRESH_ANNOTATION));
        if let Some(asked) = asked.filter(|asked| Some(asked) != handled.as_ref()) {
            break asked;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let condition = Condition {
        type_: "FeedCurrent".to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: "what the vendor said".to_owned(),
        last_transition_time: Time(jiff::Timestamp::UNIX_EPOCH),
        observed_generation: Some(1),
    };
    let status = CitrixAllowlistStatus {
        conditions: vec![condition],
        last_handled_refresh: Some(token),
        ..CitrixAllowlistStatus::default()
    };
    let patch = Patch::Merge(serde_json::json!({ "status": status }));
    api.patch_status("daas-us", &PatchParams::default(), &patch).await.expect("a status");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_that_was_waited_for_fails_with_its_fetch() {
    let control_plane = test_support::shared_control_plane().await.expect("a control plane");
    let namespace = control_plane.fresh_namespace("gates").await.expect("a namespace");
    apply(control_plane, &namespace, "").await;
    for (status, reason, code) in [
        ("False", "FeedUnavailable", 1),
        ("True", "Fetched", 0),
        ("False", "FeedExpired", 0),
        ("False", "FeedShrank", 1),
    ] {
        let api = Api::namespaced(control_plane.client().await.expect("a client"), &namespace);
        let answering = tokio::spawn(answer(api, status, reason));
        let arguments = ["refresh", "cal/daas-us", "-n", &namespace, "--wait=20s"];
        let output = tokio::task::block_in_place(|| cli(control_plane, &arguments));
        answering.await.expect("it answers");
        assert_eq!(output.status.code(), Some(code), "{reason}: {}", text(&output));
        let said = format!("citrixallowlist.citrix-allowlist.io/daas-us {reason}: what the vendor said\n");
        assert!(text(&output).ends_with(&said), "{}", text(&output));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn that_a_resource_is_suspended_is_said_at_once() {
    let control_plane = test_support::shared_control_plane().await.expect("a control plane");
    let namespace = control_plane.fresh_namespace("gates").await.expect("a namespace");
    apply(control_plane, &namespace, "  suspend: true\n").await;
    for arguments in [&["refresh", "daas-us"][..], &["refresh", "daas-us", "--wait"]] {
        let output = cli(control_plane, &[arguments, &["-n", &namespace]].concat());
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
        let expected = format!(
            "error: citrixallowlist {}/daas-us is suspended: the list is fetched once spec.suspend is false\n",
            &*namespace
        );
        assert_eq!(text(&output), expected);
    }
}

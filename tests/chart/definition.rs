//! The rules for the CRD's versions, as docs/upgrade.md has them: what is stored is never dropped.

use std::process::Command;

use serde_json::{Value, json};
use test_support::tools::workspace_root;

use crate::cluster::{Cluster, in_background};
use crate::helm::Output;

const NAME: &str = "citrixallowlists.citrix-allowlist.io";

async fn apply(cluster: &Cluster) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_citrix-allowlist"));
    command.args(["crd", "--apply"]).env("KUBECONFIG", cluster.control_plane.kubeconfig_path());
    in_background(command).await.unwrap()
}

/// This release's definition beside a version of a later one.
fn later(stored: &str) -> String {
    let text = std::fs::read_to_string(workspace_root().join("crds/citrixallowlists.yaml")).unwrap();
    let mut definition: Value = serde_saphyr::from_str(&text).unwrap();
    let versions = definition["spec"]["versions"].as_array_mut().unwrap();
    assert_eq!(versions.len(), 1);
    let mut next = versions[0].clone();
    next["name"] = json!("v1beta1");
    versions.push(next);
    for version in versions {
        version["storage"] = json!(version["name"] == stored);
    }
    definition.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_version_goes_only_after_its_resources_are_rewritten() {
    let cluster = Cluster::start().await;
    let control_plane = &cluster.control_plane;
    let put = async |definition: String| {
        let arguments = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
        let output = control_plane.kubectl_with(control_plane.kubeconfig_path(), &arguments, Some(&definition)).await;
        output.unwrap().success().unwrap();
    };
    let stored = async || cluster.get(&["crd", NAME]).await["status"]["storedVersions"].clone();
    put(later("v1beta1")).await;
    cluster.kubectl(&["wait", "--for=condition=Established", &format!("crd/{NAME}")]).await;
    let resource = json!({"apiVersion": "citrix-allowlist.io/v1beta1", "kind": "CitrixAllowlist",
        "metadata": {"name": "daas-us", "namespace": "default"}, "spec": {"customerId": "acme"}});
    let made = async || control_plane.apply(&resource.to_string()).await.ok();
    cluster.eventually("the new version is served", made).await;
    assert_eq!(stored().await, json!(["v1beta1"]));

    // The older release's definition would drop it: refused, and everything stays as it is.
    let error = apply(&cluster).await.failure();
    assert!(error.contains("v1beta1") && error.contains("storedVersions"), "{error}");
    let versions = cluster.get(&["crd", NAME]).await["spec"]["versions"].clone();
    assert_eq!(versions.as_array().unwrap().len(), 2);
    cluster.kubectl(&["get", "citrixallowlists.v1beta1.citrix-allowlist.io", "daas-us"]).await;

    // As the document says: store the other, rewrite what is stored, say so.
    put(later("v1alpha1")).await;
    assert_eq!(stored().await, json!(["v1beta1", "v1alpha1"]));
    let error = apply(&cluster).await.failure();
    assert!(error.contains("v1beta1"), "{error}");
    let list = cluster.kubectl(&["get", "cal", "-A", "-o", "yaml"]).await;
    let replace =
        control_plane.kubectl_with(control_plane.kubeconfig_path(), &["replace", "-f", "-"], Some(&list)).await;
    replace.unwrap().success().unwrap();
    let clean = r#"{"status":{"storedVersions":["v1alpha1"]}}"#;
    cluster.kubectl(&["patch", "crd", NAME, "--subresource=status", "--type=merge", "-p", clean]).await;
    apply(&cluster).await.success();
    let versions = cluster.get(&["crd", NAME]).await["spec"]["versions"].clone();
    assert_eq!(versions.as_array().unwrap().len(), 1);
    let found = async || {
        let arguments =
            ["get", "citrixallowlists.v1alpha1.citrix-allowlist.io", "daas-us", "-o", "jsonpath={.spec.customerId}"];
        (control_plane.kubectl(&arguments).await.ok()? == "acme").then_some(())
    };
    cluster.eventually("the resource is there in the older version", found).await;
}

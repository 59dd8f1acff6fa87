//! `forwarder config` reads the zones in use and the address of the forwarder from a cluster: one of its own, since it reads every
//! namespace.

use super::{applied, cli, kubectl, manifest, root, text};
use citrix_allowlist::crd;
use std::process::Command;
use test_support::ControlPlane;

/// The Services of a release of the chart.
fn services(namespace: &str, release: &str, address: &str) -> String {
    let values = format!("forwarder.enabled=true,forwarder.upstreams={{10.0.0.2}},forwarder.clusterIP={address}");
    let output = Command::new(test_support::tool("helm").expect("helm"))
        .args(["template", release, "charts/citrix-allowlist-operator", "-n", namespace])
        .args(["--show-only", "templates/service.yaml", "--set", &values])
        .current_dir(root())
        .output()
        .expect("helm runs");
    assert!(output.status.success(), "{}", text(&output));
    String::from_utf8(output.stdout).expect("text")
}

#[tokio::test(flavor = "multi_thread")]
async fn forwarder_config_reads_zones_and_address_from_a_cluster() {
    let control_plane = ControlPlane::start().await.expect("a control plane");
    control_plane.install(&[crd::definition()]).await.expect("the definition");
    let apply = async |input: &str| {
        kubectl(&control_plane, &["apply", "-f", "-"], input).await.success().expect("applied");
    };
    let refused = |arguments: &[&str]| {
        let output = cli(&control_plane, &[&["forwarder", "config", "--for", "kubeadm"], arguments].concat());
        assert_eq!((output.status.code(), &*output.stdout), (Some(2), &b""[..]), "{}", text(&output));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert_eq!(
        refused(&[]),
        "error: no Service of the forwarder is in the cluster: set forwarder.enabled in the chart's values, or give --address IP\n"
    );
    assert_eq!(
        refused(&["--address", "10.96.0.77"]),
        "error: no CitrixAllowlist of the cluster has a name or a wildcard of the vendor's list; --zone ZONE names zones instead\n"
    );

    apply("apiVersion: v1\nkind: Namespace\nmetadata: { name: citrix }\n").await;
    applied(&control_plane, "citrix", &manifest()).await;
    let address = |last: u8| format!("10.96.0.{last}");
    // Beside it the release has a Service with a selector, for HTTP.
    apply(&services("default", "allow", &address(77))).await;
    // Another namespace's resource, which nothing has reconciled.
    let waiting =
        manifest().replace("namespace: citrix", "namespace: default").replace("name: daas-us", "name: waiting");
    apply(&waiting).await;

    let output = cli(&control_plane, &["forwarder", "config", "--for", "kubeadm"]);
    assert!(output.status.success(), "{}", text(&output));
    let printed = String::from_utf8_lossy(&output.stdout);
    let block = printed.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n");
    let expected = format!(
        "citrixworkspacesapi.net:53,\ntestcustomer.xendesktop.net:53 {{\n    errors\n    cache 30\n    forward . {} /etc/resolv.conf {{",
        address(77)
    );
    assert!(block.starts_with(&expected), "{block}");
    let notes = format!(
        "note: the forwarder is Service default/allow-citrix-allowlist-operator-dns ({})\nnote: citrixallowlist default/waiting has no ConfigMap of the operator yet: its zones are missing; `explain waiting -n default` says why\n",
        address(77)
    );
    assert_eq!(String::from_utf8_lossy(&output.stderr), notes);

    apply(&services("kube-system", "other", &address(79))).await;
    let several = format!(
        "error: 2 Services look like the forwarder's: default/allow-citrix-allowlist-operator-dns ({}), kube-system/other-citrix-allowlist-operator-dns ({}); --address IP names the one that is meant\n",
        address(77),
        address(79)
    );
    assert_eq!(refused(&["--zone", "cloud.com"]), several);
    let one = ["forwarder", "config", "--for", "kubeadm", "--zone", "cloud.com", "--operator-namespace", "default"];
    let output = cli(&control_plane, &one);
    assert!(
        text(&output).contains(&format!("\n    forward . {} /etc/resolv.conf {{\n", address(77))),
        "{}",
        text(&output)
    );
    assert_eq!(
        refused(&["--zone", "cloud.com", "--operator-namespace", "citrix"]),
        "error: no Service of the forwarder is in namespace citrix: set forwarder.enabled in the chart's values, or give --address IP\n"
    );
}

/// What is applied to a ConfigMap that others write too leaves their keys as they are.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_printed_can_be_applied_beside_other_keys() {
    let control_plane = test_support::shared_control_plane().await.expect("a control plane");
    let namespace = control_plane.fresh_namespace("platforms").await.expect("a namespace");
    let printed = |platform: &str, fallback: &[&str]| {
        let arguments = ["forwarder", "config", "--for", platform, "--zone", "cloud.com", "--address", "10.96.0.77"];
        let output = cli(control_plane, &[&arguments, fallback].concat());
        assert!(output.status.success(), "{}", text(&output));
        let printed = String::from_utf8_lossy(&output.stdout).replace("namespace: kube-system", "namespace: NAMESPACE");
        printed.replace("NAMESPACE", &namespace)
    };
    let ours = ["apply", "--server-side", "--field-manager=citrix-allowlist-forwarder", "-f", "-"];
    let own = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{ name: coredns-custom, namespace: {} }}\ndata: {{ own.server: own }}\n",
        &*namespace
    );
    kubectl(control_plane, &["apply", "-f", "-"], &own).await.success().expect("applied");
    kubectl(control_plane, &ours, &printed("aks", &[])).await.success().expect("applied");
    kubectl(control_plane, &["apply", "-f", "-"], &own).await.success().expect("applied again");
    let keys = ["get", "configmap", "coredns-custom", "-n", &namespace, "-o", "jsonpath={.data}"];
    let data = kubectl(control_plane, &keys, "").await.success().expect("data");
    assert!(data.contains("\"own.server\":\"own\"") && data.contains("cloud.com:53 {"), "{data}");

    let own = own.replace("coredns-custom", "kube-dns").replace("own.server: own", "stubDomains: '{}'");
    kubectl(control_plane, &["apply", "-f", "-"], &own).await.success().expect("applied");
    let refused = kubectl(control_plane, &ours, &printed("gke", &["--fallback", "none"])).await;
    assert!(refused.code == Some(1) && refused.stderr.contains("conflict"), "{refused:?}");
}

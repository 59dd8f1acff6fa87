//! What Helm says after an install: the next step, and what the values leave to be desired.

use std::path::Path;

use serde_json::{Value, json};
use test_support::shared_control_plane;

use crate::helm::{HELMS, chart, helm, run};

/// A dry run asks the cluster for its version only.
fn notes(program: &str, values: &Value, kubeconfig: &Path) -> String {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("values.json");
    std::fs::write(&file, values.to_string()).unwrap();
    let mut command = helm(program, home.path());
    command.env("KUBECONFIG", kubeconfig);
    command.args(["install", "release"]).arg(chart()).args(["-n", "citrix", "--dry-run=client", "-f"]).arg(file);
    let output = run(&mut command).success();
    output.split_once("\nNOTES:\n").unwrap().1.to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn they_say_what_to_do_next_and_what_is_missing() {
    let cluster = shared_control_plane().await.unwrap();
    let confined = json!({"watchNamespaces": ["tenant"], "crds": {"upgrade": false}});
    let told = json!({"watchNamespaces": ["tenant"], "dns": {"servers": ["10.96.0.10"]},
        "cluster": {"serviceCidrs": ["10.96.0.0/12"], "podCidrs": ["10.244.0.0/16"]}});
    let one = json!({"allowlists": [{"name": "daas-us", "namespace": "vdas", "spec": {"customerId": "abc"}}]});
    let proxy = json!({"proxy": {"https": "http://user:secret@proxy.example:3128"}});
    let trusted = json!({"proxy": {"https": "http://proxy.example:3128"}, "extraCa": {"configMap": "authorities"}});
    for (values, said, unsaid) in [
        (json!({}), "acts in every namespace, and never in kube-system", "WARNING"),
        (json!({}), "kubectl -n citrix rollout status deploy/release-citrix-allowlist-operator", "crds.upgrade=false"),
        (json!({}), "helm -n citrix test release     # also tries", "kubectl -n vdas"),
        (json!({}), "customerId: <your Citrix customer id>", "inspects TLS"),
        (json!({"tests": {"enforcement": false}}), "helm -n citrix test release", "also tries"),
        (one, "kubectl -n vdas wait --for=condition=Ready cal/daas-us", "<your Citrix customer id>"),
        (confined.clone(), "acts in tenant, and never", "every namespace"),
        (confined.clone(), "set dns.servers", "inspects TLS"),
        (confined.clone(), "set cluster.serviceCidrs and\ncluster.podCidrs", "inspects TLS"),
        (confined, "(crds.upgrade=false): apply it before each upgrade", "inspects TLS"),
        (told, "namespace: tenant", "WARNING"),
        // What may hold a password is not repeated.
        (proxy, "If the proxy proxy.example:3128 inspects TLS, set extraCa", "secret"),
        (trusted, "acts in every namespace", "inspects TLS"),
        (json!({}), "Before you uninstall, read docs/upgrade.md", "<no value>"),
    ] {
        for program in HELMS {
            let text = notes(program, &values, cluster.kubeconfig_path());
            assert!(text.contains(said), "{program}: {values}: `{said}` is missing:\n{text}");
            assert!(!text.contains(unsaid), "{program}: {values}: `{unsaid}` is there:\n{text}");
        }
    }
}

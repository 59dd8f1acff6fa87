//! What GitOps tools see: nothing to correct in what they applied, and health that means something.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use test_support::dns::DnsServer;
use test_support::operator::{Operator, OperatorConfig};
use test_support::standin::{Standin, StandinConfig};
use test_support::tools::workspace_root;
use test_support::{ControlPlane, control_plane::KubectlOutput};

use crate::cluster::{differences, in_background};
use crate::helm::{helm, objects};

struct Stage {
    cluster: ControlPlane,
    dns: DnsServer,
    standin: Standin,
}

impl Stage {
    async fn start() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let cluster = ControlPlane::builder().workspace_definitions().unwrap().start().await.unwrap();
        cluster.kubectl(&["create", "namespace", "citrix"]).await.unwrap();
        let dns = DnsServer::start().await.unwrap();
        dns.default_to_fixture(5);
        let standin = Standin::start(StandinConfig::unlimited()).await.unwrap();
        Self { cluster, dns, standin }
    }

    async fn operator(&self) -> Operator {
        let config = OperatorConfig::new(env!("CARGO_BIN_EXE_citrix-allowlist"), self.cluster.kubeconfig_path())
            .flag("global-url", self.standin.base_url_global())
            .flag("japan-url", self.standin.base_url_japan())
            .flag("dns-server", self.dns.addr())
            .flag("min-refresh", "1s")
            .switch("no-leader-election");
        Operator::start(&config).await.unwrap()
    }

    async fn kubectl(&self, arguments: &[&str], input: &str) -> KubectlOutput {
        self.cluster.kubectl_with(self.cluster.kubeconfig_path(), arguments, Some(input)).await.unwrap()
    }

    async fn live(&self, name: &str) -> Value {
        let text = self.cluster.kubectl(&["-n", "citrix", "get", "cal", name, "-o", "json"]).await.unwrap();
        serde_json::from_str(&text).unwrap()
    }

    async fn ready(&self, name: &str) {
        let resource = format!("cal/{name}");
        let wait = ["-n", "citrix", "wait", "--for=condition=Ready", &resource, "--timeout=120s"];
        self.cluster.kubectl(&wait).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_any_tool_applied_is_never_different() {
    let stage = Stage::start().await;
    let _operator = stage.operator().await;
    let file = workspace_root().join("examples/gitops/allowlists.yaml");
    let example = objects(&std::fs::read_to_string(file).unwrap()).remove(0);
    // Fields at their defaults, fields left out, an integer that is a port, labels and annotations of the tools.
    let full = json!({"customerId": "testcustomer", "geo": "eu", "direction": "outbound", "podSelector": {"matchLabels": {"app": "a"}},
        "services": {"include": ["*"]}, "addressRetention": "1h", "refresh": {"maxInterval": "12h"},
        "additional": [{"name": "idp", "direction": "outbound", "fqdns": ["login.example.com"], "tcpPorts": 443}]});
    let (kubectl, flux, argo) = ("kubectl", "kustomize-controller", "argocd-controller");
    for (manager, server_side) in [(kubectl, false), (kubectl, true), (flux, true), (argo, true)] {
        for (name, spec) in [("short", &example["spec"]), ("long", &full)] {
            let mut resource = example.clone();
            resource["metadata"]["name"] = json!(name);
            resource["metadata"]["labels"] = json!({"app.kubernetes.io/instance": "tenant"});
            resource["metadata"]["annotations"]["argocd.argoproj.io/tracking-id"] = json!("tenant:x");
            resource["spec"] = spec.clone();
            nothing_to_correct(&stage, &resource, manager, server_side).await;
        }
    }
}

/// Applies a resource and has the operator work on it; then neither a second apply, nor a dry run, nor a comparison by
/// fields finds anything.
async fn nothing_to_correct(stage: &Stage, resource: &Value, manager: &str, server_side: bool) {
    let name = resource["metadata"]["name"].as_str().unwrap();
    let who = format!("{name} by {manager}, server side: {server_side}");
    let manifest = resource.to_string();
    let manager = format!("--field-manager={manager}");
    let side = format!("--server-side={server_side}");
    let apply = ["apply", &manager, &side, "-f", "-"];
    stage.kubectl(&apply, &manifest).await.success().unwrap();
    stage.ready(name).await;
    let mut refresh = Command::new(env!("CARGO_BIN_EXE_citrix-allowlist"));
    refresh.args(["refresh", name, "-n", "citrix", "--wait=2m"]).env("KUBECONFIG", stage.cluster.kubeconfig_path());
    in_background(refresh).await.unwrap().success();

    // As Argo CD compares: each field that Git has.
    let live = stage.live(name).await;
    let mut found = Vec::new();
    differences(resource, &live, "", &mut found);
    assert_eq!(found, Vec::<String>::new(), "{who}");
    // As Flux does: a dry run of what it would apply against what is there.
    let dry = ["apply", &manager, &side, "--dry-run=server", "-o", "json", "-f", "-"];
    let dry: Value = serde_json::from_str(&stage.kubectl(&dry, &manifest).await.success().unwrap()).unwrap();
    let content = |object: &Value| {
        let mut object = object.clone();
        for written in ["managedFields", "resourceVersion"] {
            object["metadata"].as_object_mut().unwrap().remove(written);
        }
        // The operator may have written it in between.
        object.as_object_mut().unwrap().remove("status");
        object
    };
    assert_eq!(content(&dry), content(&live), "{who}");
    // As a person does.
    let diff = ["diff", &manager, &side, "-f", "-"];
    let diff = stage.kubectl(&diff, &manifest).await;
    assert_eq!((diff.code, diff.stdout.as_str()), (Some(0), ""), "{who}");
    // Applied again, it has the same spec to the operator.
    stage.kubectl(&apply, &manifest).await.success().unwrap();
    assert_eq!(stage.live(name).await["metadata"]["generation"], live["metadata"]["generation"], "{who}");

    // Nothing that a tool tracks by is on what the operator keeps: it is not the tool's to prune or to compare.
    let selector = format!("citrix-allowlist.io/allowlist={name}");
    let kept = ["-n", "citrix", "get", "netpol,cm", "-l", &selector, "-o", "json"];
    let kept: Value = serde_json::from_str(&stage.cluster.kubectl(&kept).await.unwrap()).unwrap();
    let kept = kept["items"].as_array().unwrap();
    assert!(kept.len() >= 2, "{who}");
    for object in kept {
        let metadata = &object["metadata"];
        let annotations = metadata["annotations"].as_object();
        let foreign = annotations.and_then(|all| all.keys().find(|key| !key.starts_with("citrix-allowlist.io/")));
        assert_eq!(foreign, None, "{who}: {metadata}");
        assert!(metadata["labels"]["app.kubernetes.io/instance"].is_null(), "{who}: {metadata}");
    }
}

/// A chart with one resource, and nothing else.
fn chart_of(resource: &Value, folder: &Path) {
    std::fs::create_dir_all(folder.join("templates")).unwrap();
    std::fs::write(folder.join("Chart.yaml"), "apiVersion: v2\nname: tenant\nversion: 0.1.0\n").unwrap();
    std::fs::write(folder.join("templates/resource.yaml"), resource.to_string()).unwrap();
}

/// Helm 4 waits by kstatus, the library that Flux judges by, too.
#[tokio::test(flavor = "multi_thread")]
async fn kstatus_waits_for_the_operator_and_tells_what_will_not_come() {
    let stage = Stage::start().await;
    let home = tempfile::tempdir().unwrap();
    let install = |name: &str, spec: &Value, timeout: &str| {
        let resource = json!({"apiVersion": "citrix-allowlist.io/v1alpha1", "kind": "CitrixAllowlist",
            "metadata": {"name": name}, "spec": spec});
        let folder = home.path().join(name);
        chart_of(&resource, &folder);
        let mut command = helm("helm", home.path());
        command.env("KUBECONFIG", stage.cluster.kubeconfig_path());
        command.args(["install", name]).arg(folder).args(["-n", "citrix", "--wait=watcher", "--timeout", timeout]);
        in_background(command)
    };
    let good = json!({"customerId": "testcustomer", "geo": "us", "podSelector": {"matchLabels": {"app": "a"}}});
    // Nobody has looked at it: that is not done.
    let output = install("early", &good, "5s").await.unwrap();
    assert!(!output.success, "{output:?}");
    assert_eq!(stage.live("early").await["status"]["observedGeneration"], -1);

    let _operator = stage.operator().await;
    install("good", &good, "2m").await.unwrap().success();
    let ready = stage.live("good").await;
    let ready =
        ready["status"]["conditions"].as_array().unwrap().iter().find(|one| one["type"] == "Ready").unwrap().clone();
    assert_eq!(ready["status"], "True");

    // What no waiting mends is told before the time is up.
    let hopeless = json!({"customerId": "testcustomer", "geo": "us", "services": {"include": ["no such service"]},
        "podSelector": {"matchLabels": {"app": "b"}}});
    let begun = std::time::Instant::now();
    let output = install("hopeless", &hopeless, "10m").await.unwrap();
    assert!(!output.success && begun.elapsed().as_secs() < 500, "{output:?}");
    assert!(stage.live("hopeless").await["status"].to_string().contains("Stalled"));
}

//! A control plane that Helm installs into, and the parts of a node that tests play: there is no kubelet.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use test_support::ControlPlane;
use test_support::operator::{Operator, OperatorConfig};

use crate::helm::{Output, chart, helm, run};

/// The release's name, and its namespace's.
pub const RELEASE: &str = "citrix-allowlist-operator";

/// A control plane without the CRD, and a home of its own for Helm.
pub struct Cluster {
    pub control_plane: ControlPlane,
    pub home: tempfile::TempDir,
}

impl Cluster {
    pub async fn start() -> Self {
        // Without the CRD: Helm is to bring it.
        let control_plane = ControlPlane::builder().pod_security("restricted").start().await.unwrap();
        Self { control_plane, home: tempfile::tempdir().unwrap() }
    }

    pub fn helm(&self, program: &str) -> Command {
        let mut command = helm(program, self.home.path());
        command.env("KUBECONFIG", self.control_plane.kubeconfig_path());
        command
    }

    pub async fn kubectl(&self, arguments: &[&str]) -> String {
        self.control_plane.kubectl(arguments).await.unwrap()
    }

    pub async fn get(&self, arguments: &[&str]) -> Value {
        let text = self.kubectl(&[&["get", "-o", "json"], arguments].concat()).await;
        serde_json::from_str(&text).unwrap()
    }

    pub async fn eventually<T>(&self, what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
        for _ in 0..600 {
            if let Some(found) = attempt().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        panic!("within two minutes: {what}");
    }
}

/// Helm blocks; what the test does meanwhile needs the runtime.
pub fn in_background(mut command: Command) -> tokio::task::JoinHandle<Output> {
    tokio::task::spawn_blocking(move || run(&mut command))
}

/// The chart as it was released before this version.
pub fn previous_chart(folder: &Path) -> String {
    let copy = folder.join("previous");
    run(Command::new("cp").arg("-r").arg(chart()).arg(&copy)).success();
    let file = copy.join("Chart.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    for line in &mut lines {
        if line.starts_with("version: ") {
            *line = "version: 0.0.1";
        } else if line.starts_with("appVersion: ") {
            *line = "appVersion: 0.0.1";
        }
    }
    std::fs::write(&file, lines.join("\n")).unwrap();
    copy.to_str().unwrap().to_owned()
}

/// Everything of `wanted` is in `live`, as it was written: nothing is left for a GitOps tool to correct.
pub fn differences(wanted: &Value, live: &Value, path: &str, found: &mut Vec<String>) {
    match (wanted, live) {
        (Value::Object(wanted), Value::Object(live)) => {
            for (key, value) in wanted {
                differences(value, live.get(key).unwrap_or(&Value::Null), &format!("{path}.{key}"), found);
            }
        }
        (Value::Array(wanted), Value::Array(live)) if wanted.len() == live.len() => {
            for (index, (wanted, live)) in wanted.iter().zip(live).enumerate() {
                differences(wanted, live, &format!("{path}[{index}]"), found);
            }
        }
        _ if wanted == live => {}
        _ => found.push(format!("{path}: {wanted} became {live}")),
    }
}

/// The resourceVersions of a list's items.
pub fn versions(list: &Value) -> Vec<String> {
    let items = list["items"].as_array().unwrap();
    items.iter().map(|item| item["metadata"]["resourceVersion"].as_str().unwrap().to_owned()).collect()
}

/// Whether a user may do something to a resource: `TYPE`, `TYPE/NAME`, or `TYPE:SUBRESOURCE`.
pub async fn may(cluster: &ControlPlane, kubeconfig: &Path, arguments: &[&str], verb: &str, resource: &str) -> bool {
    let (resource, subresource) = resource.split_once(':').unwrap_or((resource, ""));
    let subresource = format!("--subresource={subresource}");
    let arguments = [&["auth", "can-i", verb, resource, &subresource], arguments].concat();
    cluster.kubectl_with(kubeconfig, &arguments, None).await.unwrap().stdout.trim() == "yes"
}

/// Does what the hook's pod would do, with the permissions it has and no others, and says that it is done.
pub async fn play_the_crd_job(cluster: &Cluster) {
    let selector = ["-n", RELEASE, "pods", "-l", "app.kubernetes.io/component=crd-upgrade"];
    let pod = cluster
        .eventually("the hook's pod passes Pod Security", async || {
            cluster.get(&selector).await["items"].as_array().unwrap().first().cloned()
        })
        .await;
    let container = &pod["spec"]["containers"][0];
    assert_eq!(container["args"], json!(["crd", "--apply"]));
    let account = pod["spec"]["serviceAccountName"].as_str().unwrap();
    let kubeconfig = cluster.control_plane.kubeconfig_for_service_account(RELEASE, account).await.unwrap();
    let control_plane = &cluster.control_plane;
    let mut command = Command::new(env!("CARGO_BIN_EXE_citrix-allowlist"));
    command.args(["crd", "--apply"]).env("KUBECONFIG", &kubeconfig);
    in_background(command).await.unwrap().success();

    // It may do so where somebody deleted the CRD, too, and nothing to any other.
    for (resource, verb, expected) in [
        ("customresourcedefinitions/citrixallowlists.citrix-allowlist.io", "create", true),
        ("customresourcedefinitions/citrixallowlists.citrix-allowlist.io", "delete", false),
        ("customresourcedefinitions/others.example.com", "patch", false),
        ("secrets", "get", false),
    ] {
        assert_eq!(may(control_plane, &kubeconfig, &[], verb, resource).await, expected, "{verb} {resource}");
    }

    end_pod(cluster, &pod, "Succeeded").await;
}

/// Says that a pod has ended, as its kubelet would.
pub async fn end_pod(cluster: &Cluster, pod: &Value, phase: &str) {
    let name = pod["metadata"]["name"].as_str().unwrap();
    let ended = json!({"status": {"phase": phase, "conditions": [{"type": "Ready", "status": "False"}]}}).to_string();
    cluster.kubectl(&["-n", RELEASE, "patch", "pod", name, "--subresource=status", "--type=merge", "-p", &ended]).await;
}

/// Starts what the release's Deployment says at this moment: its arguments and environment, as its ServiceAccount.
pub async fn start_the_operator(cluster: &Cluster) -> Operator {
    let deployment = cluster.get(&["-n", RELEASE, "deployment", RELEASE]).await;
    let pod = &deployment["spec"]["template"]["spec"];
    let account = pod["serviceAccountName"].as_str().unwrap();
    let kubeconfig = cluster.control_plane.kubeconfig_for_service_account(RELEASE, account).await.unwrap();
    let container = &pod["containers"][0];
    let mut config = OperatorConfig::new(env!("CARGO_BIN_EXE_citrix-allowlist"), kubeconfig);
    let arguments = container["args"].as_array().unwrap().iter().map(|argument| argument.as_str().unwrap());
    // Pods have addresses of their own; here operators share one.
    config.arguments = arguments
        .skip(1)
        .filter(|argument| !argument.starts_with("--listen=") && !argument.starts_with("--probe-listen="))
        .map(str::to_owned)
        .collect();
    for variable in container["env"].as_array().unwrap() {
        let value = match variable["valueFrom"]["fieldRef"]["fieldPath"].as_str() {
            Some("metadata.namespace") => RELEASE.to_owned(),
            Some("metadata.name") => {
                let selector = ["-n", RELEASE, "pods", "-l", "app.kubernetes.io/component=operator"];
                let name =
                    async || cluster.get(&selector).await["items"][0]["metadata"]["name"].as_str().map(str::to_owned);
                cluster.eventually("a pod of the Deployment", name).await
            }
            Some(other) => panic!("{other}"),
            None => variable["value"].as_str().unwrap().to_owned(),
        };
        config.environment.push((variable["name"].as_str().unwrap().to_owned(), value));
    }
    Operator::start(&config).await.unwrap()
}

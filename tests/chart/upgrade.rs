//! A release from its first install to its last trace, with the operator at work: what docs/upgrade.md says each step does
//! to policies.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use test_support::dns::DnsServer;
use test_support::operator::Operator;
use test_support::standin::{Standin, StandinConfig};

use crate::cluster::{Cluster, RELEASE, in_background, play_the_crd_job, previous_chart, start_the_operator};
use crate::helm::chart;

struct Stage {
    cluster: Cluster,
    program: &'static str,
    values: Value,
    _standin: Standin,
    _dns: DnsServer,
}

impl Stage {
    async fn start(program: &'static str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let cluster = Cluster::start().await;
        cluster.kubectl(&["create", "namespace", "tenant"]).await;
        let dns = DnsServer::start().await.unwrap();
        dns.default_to_fixture(5);
        let standin = Standin::start(StandinConfig::unlimited()).await.unwrap();
        let spec = |app: &str| json!({"customerId": "testcustomer", "geo": "us", "podSelector": {"matchLabels": {"app": app}}});
        let values = json!({
            "feed": {"globalUrl": standin.base_url_global(), "japanUrl": standin.base_url_japan(), "minRefresh": "1s"},
            "dns": {"servers": [dns.addr().to_string()]},
            "allowlists": [
                {"name": "kept", "namespace": "tenant", "spec": spec("kept")},
                {"name": "passing", "namespace": "tenant", "keep": false, "spec": spec("passing")},
            ],
        });
        Self { cluster, program, values, _standin: standin, _dns: dns }
    }

    /// Helm, with the values as they are now.
    fn helm(&self, arguments: &[&str]) -> Command {
        let file = self.cluster.home.path().join("values.json");
        std::fs::write(&file, self.values.to_string()).unwrap();
        let mut command = self.cluster.helm(self.program);
        command.args(arguments).args(["-n", RELEASE]);
        if ["install", "upgrade"].contains(&arguments[0]) {
            command.arg("-f").arg(file);
        }
        command
    }

    async fn upgrade(&self, chart: &str) {
        let upgrade = in_background(self.helm(&["upgrade", RELEASE, chart, "--timeout", "2m"]));
        play_the_crd_job(&self.cluster).await;
        upgrade.await.unwrap().success();
    }

    /// What the operator keeps for a resource, with the version of each: what is written again has another.
    async fn kept(&self, name: &str) -> Vec<String> {
        let label = format!("citrix-allowlist.io/allowlist={name},!citrix-allowlist.io/history");
        let columns = r#"jsonpath={range .items[*]}{.kind}/{.metadata.name} {.metadata.resourceVersion}{"\n"}{end}"#;
        let objects = self.cluster.kubectl(&["-n", "tenant", "get", "netpol,cm", "-l", &label, "-o", columns]).await;
        objects.lines().map(str::to_owned).collect()
    }

    async fn ready(&self, name: &str) {
        let resource = format!("cal/{name}");
        self.cluster.kubectl(&["-n", "tenant", "wait", "--for=condition=Ready", &resource, "--timeout=120s"]).await;
        let kept = self.kept(name).await;
        assert!(kept.iter().any(|object| object.starts_with("NetworkPolicy/")), "{kept:?}");
    }

    /// Waits until the policies of a resource are gone: whatever only they isolated is open.
    async fn opens(&self, name: &str) {
        let gone = async || self.kept(name).await.is_empty().then_some(());
        self.cluster.eventually(&format!("the policies of {name} are collected"), gone).await;
    }

    /// The leader fetches the list again and reconciles.
    async fn refreshed(&self) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_citrix-allowlist"));
        command.args(["refresh", "kept", "-n", "tenant", "--wait=2m"]);
        command.env("KUBECONFIG", self.cluster.control_plane.kubeconfig_path());
        in_background(command).await.unwrap().success();
    }

    /// The Deployment's rollout: the new operator beside the old one, which is then told to stop.
    async fn roll_out(&self, old: Operator) -> Operator {
        let new = start_the_operator(&self.cluster).await;
        stop(old).await;
        self.refreshed().await;
        new
    }

    async fn version(&self) -> String {
        let label = r"jsonpath={.metadata.labels.app\.kubernetes\.io/version}";
        self.cluster.kubectl(&["-n", RELEASE, "get", "deployment", RELEASE, "-o", label]).await
    }

    /// Whether the CRD is this version's: the previous one did not know of a field.
    async fn definition_is_new(&self) -> bool {
        let known =
            "jsonpath={.spec.versions[0].schema.openAPIV3Schema.properties.spec.properties.expandWildcards.type}";
        let found = self.cluster.kubectl(&["get", "crd", "citrixallowlists.citrix-allowlist.io", "-o", known]).await;
        found == "string"
    }

    async fn resources(&self) -> String {
        self.cluster.kubectl(&["-n", "tenant", "get", "cal", "-o", "name"]).await
    }
}

async fn stop(mut operator: Operator) {
    operator.process().signal("TERM").unwrap();
    operator.process().wait(Duration::from_secs(60)).await.unwrap();
}

/// The previous chart, with a CRD that lacks a field of this version's.
fn previous(cluster: &Cluster) -> String {
    let folder = previous_chart(cluster.home.path());
    let file = PathBuf::from(&folder).join("crds/citrixallowlists.yaml");
    let mut definition: Value = serde_saphyr::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    let spec = &mut definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    spec["properties"].as_object_mut().unwrap().remove("expandWildcards").unwrap();
    std::fs::write(&file, definition.to_string()).unwrap();
    folder
}

#[tokio::test(flavor = "multi_thread")]
async fn with_helm_4_each_step_does_to_policies_what_the_table_says() {
    each_step("helm").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_helm_3_each_step_does_to_policies_what_the_table_says() {
    each_step("helm3").await;
}

async fn each_step(program: &'static str) {
    let mut stage = Stage::start(program).await;
    let previous = previous(&stage.cluster);
    let current = chart();
    let current = current.to_str().unwrap();
    let install = stage.helm(&["install", RELEASE, &previous, "--create-namespace"]);
    in_background(install).await.unwrap().success();
    assert!(!stage.definition_is_new().await);
    let operator = start_the_operator(&stage.cluster).await;
    stage.ready("kept").await;
    stage.ready("passing").await;
    let before = [stage.kept("kept").await, stage.kept("passing").await];
    let unchanged = async || assert_eq!([stage.kept("kept").await, stage.kept("passing").await], before);

    // There, back, and there again: no policy is written.
    stage.upgrade(current).await;
    assert_ne!(stage.version().await, "0.0.1");
    assert!(stage.definition_is_new().await);
    let operator = stage.roll_out(operator).await;
    unchanged().await;
    in_background(stage.helm(&["rollback", RELEASE, "1"])).await.unwrap().success();
    assert_eq!(stage.version().await, "0.0.1");
    assert!(stage.definition_is_new().await, "the CRD is never rolled back");
    let operator = stage.roll_out(operator).await;
    unchanged().await;
    stage.upgrade(current).await;
    assert_ne!(stage.version().await, "0.0.1");
    let operator = stage.roll_out(operator).await;
    unchanged().await;
    // Back by an upgrade to the older chart, as GitOps does it: told so, it leaves the CRD alone.
    for (chart, older) in [(previous.as_str(), true), (current, false)] {
        let alone = ["upgrade", RELEASE, chart, "--set", "crds.upgrade=false"];
        in_background(stage.helm(&alone)).await.unwrap().success();
        assert_eq!(stage.version().await == "0.0.1", older);
        assert!(stage.definition_is_new().await);
    }
    let operator = stage.roll_out(operator).await;
    unchanged().await;
    // Nor while there is no operator at all, nor when it is back.
    stop(operator).await;
    unchanged().await;
    let operator = start_the_operator(&stage.cluster).await;
    stage.refreshed().await;
    unchanged().await;

    // Entries taken out of the values: one resource stays with its policies, the other goes with them.
    let kept = stage.kept("kept").await;
    stage.values["allowlists"] = json!([]);
    stage.values["crds"] = json!({"upgrade": false});
    in_background(stage.helm(&["upgrade", RELEASE, current])).await.unwrap().success();
    assert_eq!(stage.resources().await.trim(), "citrixallowlist.citrix-allowlist.io/kept");
    stage.opens("passing").await;
    assert_eq!(stage.kept("kept").await, kept);

    // Suspended, everything stays; audited, policies go; and they come back.
    let patch = async |spec: &str| {
        let patch = format!(r#"{{"spec":{spec}}}"#);
        stage.cluster.kubectl(&["-n", "tenant", "patch", "cal", "kept", "--type=merge", "-p", &patch]).await;
    };
    let reason = async |expected: &str| {
        let path = r#"jsonpath={.status.conditions[?(@.type=="Ready")].reason}"#;
        let arguments = ["-n", "tenant", "get", "cal", "kept", "-o", path];
        let said = async || (stage.cluster.kubectl(&arguments).await == expected).then_some(());
        stage.cluster.eventually(expected, said).await;
    };
    patch(r#"{"suspend":true}"#).await;
    reason("Suspended").await;
    assert_eq!(stage.kept("kept").await, kept);
    patch(r#"{"suspend":false,"mode":"Audit"}"#).await;
    let policies =
        async || stage.kept("kept").await.iter().filter(|object| object.starts_with("NetworkPolicy/")).count();
    stage.cluster.eventually("no policy in Audit", async || (policies().await == 0).then_some(())).await;
    patch(r#"{"mode":"Enforce"}"#).await;
    stage.cluster.eventually("policies again", async || (policies().await > 0).then_some(())).await;
    reason("Applied").await;

    // The release gone: the resource and its policies stay.
    stop(operator).await;
    let kept = stage.kept("kept").await;
    in_background(stage.helm(&["uninstall", RELEASE])).await.unwrap().success();
    assert_eq!(stage.kept("kept").await, kept);
    assert_eq!(stage.resources().await.trim(), "citrixallowlist.citrix-allowlist.io/kept");

    // Installed again, it takes up what is there.
    in_background(stage.helm(&["install", RELEASE, current])).await.unwrap().success();
    let operator = start_the_operator(&stage.cluster).await;
    stage.refreshed().await;
    assert_eq!(stage.kept("kept").await, kept);

    orphaned_and_deleted(&stage).await;
    drop(operator);
    the_definition_deleted(&stage).await;
}

/// With `orphan` policies stay behind without an owner, and the operator leaves them alone; without, they go.
async fn orphaned_and_deleted(stage: &Stage) {
    let cluster = &stage.cluster;
    let resource = cluster.get(&["-n", "tenant", "cal", "kept"]).await;
    let manifest = |spec: &Value| {
        json!({"apiVersion": "citrix-allowlist.io/v1alpha1", "kind": "CitrixAllowlist",
            "metadata": {"name": "kept", "namespace": "tenant"}, "spec": spec})
        .to_string()
    };
    cluster.kubectl(&["-n", "tenant", "delete", "cal", "kept", "--cascade=orphan"]).await;
    let owners = async || {
        let policies = cluster.get(&["-n", "tenant", "netpol"]).await;
        let policies = policies["items"].as_array().unwrap().clone();
        assert!(!policies.is_empty());
        policies.iter().all(|policy| policy["metadata"]["ownerReferences"].is_null()).then_some(())
    };
    cluster.eventually("no policy has an owner", owners).await;
    let orphans = stage.kept("kept").await;
    // A resource of the same name does not take them over: they are nobody's, and say no to it.
    cluster.control_plane.apply(&manifest(&resource["spec"])).await.unwrap();
    let conflict = [
        "-n",
        "tenant",
        "wait",
        "cal/kept",
        "--timeout=120s",
        r#"--for=jsonpath={.status.conditions[?(@.type=="Ready")].reason}=Conflict"#,
    ];
    cluster.kubectl(&conflict).await;
    let policies = |objects: Vec<String>| -> Vec<String> {
        objects.into_iter().filter(|object| object.starts_with("NetworkPolicy/")).collect()
    };
    assert_eq!(policies(stage.kept("kept").await), policies(orphans));
    // Adopted, they are its own, and go with it.
    let adopt = [
        "-n",
        "tenant",
        "annotate",
        "netpol,cm",
        "-l",
        "citrix-allowlist.io/allowlist=kept",
        "citrix-allowlist.io/adopt=true",
    ];
    cluster.kubectl(&adopt).await;
    stage.ready("kept").await;
    cluster.kubectl(&["-n", "tenant", "delete", "cal", "kept"]).await;
    stage.opens("kept").await;
    cluster.control_plane.apply(&manifest(&resource["spec"])).await.unwrap();
    stage.ready("kept").await;
}

/// The definition takes every resource with it, and Kubernetes their policies: unless its garbage collector missed the end
/// of the resources, which a busy one may. What stays then is deleted as the document says.
async fn the_definition_deleted(stage: &Stage) {
    let kubectl = async |arguments: &[&str]| stage.cluster.kubectl(arguments).await;
    kubectl(&["delete", "crd", "citrixallowlists.citrix-allowlist.io", "--timeout=120s"]).await;
    let kinds = kubectl(&["api-resources", "--api-group=citrix-allowlist.io", "-o", "name"]).await;
    assert_eq!(kinds, "", "the resources are gone with their kind");
    for _ in 0..300 {
        if stage.kept("kept").await.is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let ours = "app.kubernetes.io/managed-by=citrix-allowlist-operator";
    kubectl(&["-n", "tenant", "delete", "netpol,cm", "-l", ours]).await;
    assert!(stage.kept("kept").await.is_empty());
}

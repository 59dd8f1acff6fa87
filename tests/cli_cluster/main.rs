//! The commands against a real API server: what a person sees of a cluster, and whether `explain` is right.

mod checks;
mod definition;
mod forwarder;
mod gates;
mod judge;
mod memory;
#[path = "../schemas/mod.rs"]
mod schemas;
#[path = "../transcripts/mod.rs"]
mod transcripts;
mod yaml;

use serde_json::Value;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use test_support::ControlPlane;
use test_support::control_plane::KubectlOutput;
use test_support::dns::DnsServer;
use test_support::fixture;
use test_support::operator::OperatorConfig;
use test_support::standin::StandinCloud;
use transcripts::{Stage, run};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn data() -> PathBuf {
    root().join("tests/cli/data")
}

/// Runs the program against a control plane.
fn cli(control_plane: &ControlPlane, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_citrix-allowlist"))
        .args(arguments)
        .current_dir(data())
        .env("KUBECONFIG", control_plane.kubeconfig_path())
        .stdin(Stdio::null())
        .output()
        .expect("the program runs")
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Runs kubectl with text on its standard input.
async fn kubectl(control_plane: &ControlPlane, arguments: &[&str], input: &str) -> KubectlOutput {
    let input = (!input.is_empty()).then_some(input);
    control_plane.kubectl_with(control_plane.kubeconfig_path(), arguments, input).await.expect("kubectl runs")
}

/// What a controller would have left: the resource, and its objects with their owner.
async fn applied(control_plane: &ControlPlane, namespace: &str, manifest: &str) {
    let manifest = manifest.replace("namespace: citrix", &format!("namespace: {namespace}"));
    let kubectl = async |arguments: &[&str], input: &str| {
        kubectl(control_plane, arguments, input).await.success().expect("kubectl succeeds")
    };
    kubectl(&["apply", "-f", "-"], &manifest).await;
    // Rendered with the uid that the API server gave, the objects carry their owner.
    let live = kubectl(&["get", "citrixallowlists", "-n", namespace, "-o", "yaml"], "").await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("live.yaml");
    std::fs::write(&path, without_server_fields(&live)).expect("a file");
    let path = path.display().to_string();
    let rendered = cli(control_plane, &["render", "-f", &path, "--feed", "list.json", "--hosts", "hosts"]);
    assert!(rendered.status.success(), "{}", text(&rendered));
    let objects = String::from_utf8_lossy(&rendered.stdout).into_owned();
    kubectl(&["apply", "--server-side", "--field-manager=citrix-allowlist-operator", "-f", "-"], &objects).await;
}

/// what `kubectl get` prints, as a file.
fn without_server_fields(live: &str) -> String {
    let mut list: Value = serde_saphyr::from_str(live).expect("YAML");
    for item in list["items"].as_array_mut().expect("items") {
        let metadata = item["metadata"].as_object_mut().expect("metadata");
        metadata.retain(|field, _| ["name", "namespace", "uid"].contains(&field.as_str()));
    }
    serde_json::to_string(&list).expect("JSON")
}

fn manifest() -> String {
    std::fs::read_to_string(data().join("daas-us.yaml")).expect("a manifest")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guide_is_true_of_a_cluster() {
    let control_plane = test_support::shared_control_plane().await.expect("a control plane");
    let namespace = control_plane.fresh_namespace("guide").await.expect("a namespace");
    let dns = DnsServer::start().await.expect("a DNS server");
    for line in
        std::fs::read_to_string(data().join("hosts")).expect("hosts").lines().filter(|line| !line.starts_with('#'))
    {
        let mut words = line.split_whitespace();
        let name = words.next().expect("a name");
        let addresses: Vec<IpAddr> = words.map(|word| word.parse().expect("an address")).collect();
        dns.set_addresses(name, &addresses, 3600);
    }
    let list = std::fs::read_to_string(data().join("list.json")).expect("a list");
    let operator = Operator::start(control_plane, &namespace, &list, dns).await;
    ready(control_plane, &namespace, &manifest()).await;
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: { name: web, labels: { app: web } }\nspec: { automountServiceAccountToken: false, containers: [{ name: web, image: web }] }\n";
    account(control_plane, &namespace).await;
    let made = kubectl(control_plane, &["apply", "-n", &namespace, "-f", "-"], pod).await;
    made.success().expect("a pod");
    let unwatched = control_plane.fresh_namespace("unwatched").await.expect("a namespace");
    let resource = manifest().replace("namespace: citrix", &format!("namespace: {}", &*unwatched));
    let another = resource.replace("name: daas-us", "name: another");
    let foreign = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{ name: daas-us-cidrs, namespace: {0} }}\n---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{ name: daas-us-egress, namespace: {0} }}\nspec: {{ podSelector: {{}} }}\n",
        &*unwatched
    );
    let both = format!("{resource}---\n{another}---\n{foreign}");
    kubectl(control_plane, &["apply", "-f", "-"], &both).await.success().expect("resources");
    let stranger = format!("http://{}", stranger().await);
    let folder = tempfile::tempdir().expect("a folder");
    let variables = [
        ("KUBECONFIG", control_plane.kubeconfig_path().display().to_string()),
        ("CITRIX_ALLOWLIST_NAMESPACE", namespace.to_string()),
        ("CITRIX_ALLOWLIST_HOSTS", "hosts".to_owned()),
        ("CITRIX_ALLOWLIST_OPERATOR", operator.process.url()),
        ("READER", kubeconfig_of(control_plane, &namespace, "reader", &[RESOURCES, POLICIES, PODS]).await),
        ("LISTER", kubeconfig_of(control_plane, &namespace, "lister", &[RESOURCES, POLICIES, CONFIG_MAPS]).await),
        ("NARROW", kubeconfig_of(control_plane, &namespace, "narrow", &[RESOURCES]).await),
        ("BLIND", kubeconfig_of(control_plane, &namespace, "blind", &[POLICIES, PODS]).await),
        (
            "PODLESS",
            kubeconfig_of(control_plane, &namespace, "podless", &[RESOURCES, POLICIES, READ_CONFIG_MAPS]).await,
        ),
        ("UNWATCHED", unwatched.to_string()),
        ("STRANGER", stranger.clone()),
        ("TMPDIR", folder.path().display().to_string()),
    ];
    let url = operator.process.url();
    let replaced = [
        (&*namespace, "citrix"),
        (&*unwatched, "unwatched"),
        (&*url, "http://127.0.0.1:8080"),
        (&*stranger, "http://127.0.0.1:9090"),
    ];
    let stage = Stage { folder: &data(), variables: &variables, replaced: &replaced, label: "cluster" };
    run(&root().join("docs/cli.md"), &stage);
    run(&root().join("tests/cli/cluster.md"), &stage);

    let print = |arguments: &[&str]| {
        let operator: &[&str] = if arguments[0] == "explain" { &["--operator", &url] } else { &[] };
        let hosts: &[&str] = if arguments[0] == "diff" { &["--hosts", "hosts"] } else { &[] };
        let output = cli(control_plane, &[arguments, operator, hosts, &["-n", &namespace, "-o", "json"]].concat());
        serde_json::from_slice::<Value>(&output.stdout).expect("JSON")
    };
    let explained = print(&["explain", "daas-us"]);
    schemas::are_documented(&explained);
    let names = explained["operator"]["names"].as_array().expect("names");
    assert_eq!(names.len(), 2, "{explained}");
    assert!(names.iter().all(|name| name["state"] == "answered" && name["addresses"][0]["ttlSeconds"] == 3600));
    assert_eq!(explained["operator"]["list"]["key"], "Global/testcustomer/json");
    let answered = print(&["explain", "daas-us", "--to", "20.64.7.7:443"]);
    schemas::are_documented(&answered);
    let seen = &answered["answers"][0]["connections"][0]["seen"][0];
    let time = |field: &str| seen[field].as_str().expect(field).parse::<jiff::Timestamp>().expect("a time");
    assert!(time("resolvedAt") <= jiff::Timestamp::now(), "{seen}");
    assert!(time("validUntil").duration_since(time("resolvedAt")).as_secs() >= 3599, "{seen}");
    schemas::are_documented(&print(&[
        "explain",
        "daas-us",
        "--pod",
        "web",
        "--to",
        "1.1.1.1:1",
        "--operator-namespace",
        "x",
    ]));
    schemas::are_documented(&print(&["diff", "daas-us", "--feed", "shrunk-list.json"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn render_says_what_the_controller_applies() {
    let control_plane = test_support::shared_control_plane().await.expect("a control plane");
    let namespace = control_plane.fresh_namespace("render").await.expect("a namespace");
    let dns = DnsServer::start().await.expect("a DNS server");
    dns.default_to_fixture(3600);
    let operator = Operator::start(control_plane, &namespace, fixture::ALLOWLIST, dns).await;
    let manifest = "apiVersion: citrix-allowlist.io/v1alpha1\nkind: CitrixAllowlist\nmetadata: { name: all-us, namespace: citrix }\nspec: { customerId: testcustomer, geo: us, direction: all }\n";
    ready(control_plane, &namespace, manifest).await;

    let folder = operator.folder.path();
    let mut hosts = String::new();
    for name in fixture::exact_names(StandinCloud::Global, "testcustomer") {
        let addresses: Vec<String> = fixture::address_for(&name).iter().map(ToString::to_string).collect();
        hosts.push_str(&format!("{name} {}\n", addresses.join(" ")));
    }
    let path = |name: &str| folder.join(name).display().to_string();
    std::fs::write(path("hosts"), hosts).expect("a file");
    let get = async |kind: &str| -> Vec<Value> {
        let got = kubectl(control_plane, &["get", kind, "-n", &namespace, "-o", "json"], "").await.success();
        let list: Value = serde_json::from_str(&got.expect("objects")).expect("JSON");
        list["items"].as_array().expect("items").clone()
    };
    let live = kubectl(control_plane, &["get", "cal", "-n", &namespace, "-o", "yaml"], "").await.success();
    std::fs::write(path("live.yaml"), without_server_fields(&live.expect("a resource"))).expect("a file");
    let ranges = kubectl(control_plane, &["get", "servicecidrs", "-o", "jsonpath={.items[*].spec.cidrs[*]}"], "").await;
    let ranges = ranges.success().expect("ranges").replace(' ', ",");
    let (manifest, feed, hosts) = (path("live.yaml"), path("global.json"), path("hosts"));
    let rendered = cli(
        control_plane,
        &["render", "-f", &manifest, "--feed", &feed, "--hosts", &hosts, "--service-cidr", &ranges, "-o", "json"],
    );
    assert!(rendered.status.success(), "{}", text(&rendered));
    let rendered: Result<Vec<Value>, _> = serde_json::Deserializer::from_slice(&rendered.stdout).into_iter().collect();
    let rendered: BTreeMap<String, Value> = rendered.expect("JSON").into_iter().map(comparable).collect();
    let mut applied: BTreeMap<String, Value> = get("networkpolicies").await.into_iter().map(comparable).collect();
    let of_resource = |object: &Value| object["metadata"]["labels"]["citrix-allowlist.io/allowlist"] == "all-us";
    applied.extend(get("configmaps").await.into_iter().filter(of_resource).map(comparable));
    assert!(applied.len() >= 3, "{:?}", applied.keys());
    assert_eq!(rendered.keys().collect::<Vec<_>>(), applied.keys().collect::<Vec<_>>());
    for (name, object) in &rendered {
        assert_eq!(object, &applied[name], "{name}");
    }

    let same = cli(control_plane, &["diff", "all-us", "-n", &namespace, "--feed", &feed, "--hosts", &hosts]);
    assert_eq!((same.status.code(), text(&same).as_str()), (Some(0), ""));
}

/// An object by kind and name, without what the API server adds.
fn comparable(mut object: Value) -> (String, Value) {
    let metadata = object["metadata"].as_object_mut().expect("metadata");
    metadata.retain(|field, _| ["name", "namespace", "labels", "ownerReferences"].contains(&field.as_str()));
    (format!("{} {}", object["kind"], object["metadata"]["name"]), object)
}

/// The operator, acting in one namespace on a saved list and a DNS server of the test's own. It ends with this.
struct Operator {
    folder: tempfile::TempDir,
    _dns: DnsServer,
    process: test_support::operator::Operator,
}

impl Operator {
    async fn start(control_plane: &ControlPlane, namespace: &str, list: &str, dns: DnsServer) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("global.json"), list).expect("a file");
        let config = OperatorConfig::new(env!("CARGO_BIN_EXE_citrix-allowlist"), control_plane.kubeconfig_path())
            .switch("no-leader-election")
            .flag("watch-namespace", namespace)
            .flag("feed-dir", folder.path().display())
            .flag("dns-server", dns.addr())
            .variable("POD_NAMESPACE", namespace);
        Self::of(&config, folder, dns).await
    }

    /// The same, in an election, as if it were a pod of another namespace with an address of its own.
    async fn start_as_pod(
        control_plane: &ControlPlane,
        namespace: &str,
        list: &str,
        dns: DnsServer,
        (home, pod, address): (&str, &str, IpAddr),
    ) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("global.json"), list).expect("a file");
        let config = OperatorConfig::new(env!("CARGO_BIN_EXE_citrix-allowlist"), control_plane.kubeconfig_path())
            .flag("watch-namespace", namespace)
            .flag("feed-dir", folder.path().display())
            .flag("dns-server", dns.addr())
            .switch("authorize-debug-state")
            .variable("POD_NAMESPACE", home)
            .variable("POD_NAME", pod)
            .listening_on(address);
        Self::of(&config, folder, dns).await
    }

    async fn of(config: &OperatorConfig, folder: tempfile::TempDir, dns: DnsServer) -> Self {
        let process = test_support::operator::Operator::start(config).await.expect("the operator starts");
        Self { folder, _dns: dns, process }
    }
}

/// Applies a resource and waits until it is ready.
async fn ready(control_plane: &ControlPlane, namespace: &str, manifest: &str) {
    let manifest = manifest.replace("namespace: citrix", &format!("namespace: {namespace}"));
    kubectl(control_plane, &["apply", "-f", "-"], &manifest).await.success().expect("a resource");
    let arguments = ["wait", "--for=condition=Ready", "cal", "--all", "-n", namespace, "--timeout=60s"];
    kubectl(control_plane, &arguments, "").await.success().expect("ready");
}

/// The kubeconfig of an account that may do this much in one namespace: rules of a Role, in the form of YAML.
async fn kubeconfig_of(control_plane: &ControlPlane, namespace: &str, name: &str, rules: &[&str]) -> String {
    let objects = format!(
        "
apiVersion: v1
kind: ServiceAccount
metadata: {{ name: {name} }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{ name: {name} }}
rules: [{}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{ name: {name} }}
roleRef: {{ apiGroup: rbac.authorization.k8s.io, kind: Role, name: {name} }}
subjects: [{{ kind: ServiceAccount, name: {name} }}]
",
        rules.join(", ")
    );
    kubectl(control_plane, &["apply", "-n", namespace, "-f", "-"], &objects).await.success().expect("a role");
    let kubeconfig = control_plane.kubeconfig_for_service_account(namespace, name).await.expect("a kubeconfig");
    kubeconfig.display().to_string()
}

/// What another program answers on a port that is taken for the operator's.
async fn stranger() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let router = axum::Router::new()
        .route("/hello/debug/state", axum::routing::get(async || "hello"))
        .route("/newer/debug/state", axum::routing::get(async || r#"{"version":7}"#))
        .route("/forged/debug/state", axum::routing::get(async || r#"{"version":1,"names":["\u001b[2J"]}"#))
        .route("/silent/debug/state", axum::routing::get(async || std::future::pending::<String>().await));
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

const RESOURCES: &str = "{ apiGroups: [citrix-allowlist.io], resources: [citrixallowlists], verbs: [get, list] }";
const POLICIES: &str = "{ apiGroups: [networking.k8s.io], resources: [networkpolicies], verbs: [get, list] }";
const CONFIG_MAPS: &str = "{ apiGroups: [''], resources: [configmaps], verbs: [list] }";
const READ_CONFIG_MAPS: &str = "{ apiGroups: [''], resources: [configmaps], verbs: [get, list] }";
const PODS: &str = "{ apiGroups: [''], resources: [configmaps, pods], verbs: [get, list] }";

/// Pods wait for the namespace's service account.
async fn account(control_plane: &ControlPlane, namespace: &str) {
    for _ in 0..100 {
        let found = kubectl(control_plane, &["get", "serviceaccount", "default", "-n", namespace], "").await;
        if found.code == Some(0) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("namespace {namespace} has no service account");
}

#[tokio::test(flavor = "multi_thread")]
async fn refresh_and_crd_write_what_they_say() {
    let control_plane = test_support::shared_control_plane().await.expect("a control plane");
    let namespace = control_plane.fresh_namespace("refresh").await.expect("a namespace");
    let applied = cli(control_plane, &["crd", "--apply"]);
    assert_eq!(
        (applied.status.code(), text(&applied).as_str()),
        (Some(0), "customresourcedefinition.apiextensions.k8s.io/citrixallowlists.citrix-allowlist.io applied\n")
    );
    let manifest = manifest().replace("namespace: citrix", &format!("namespace: {}", &*namespace));
    let made = kubectl(control_plane, &["apply", "-f", "-"], &manifest).await;
    made.success().expect("a resource");
    let asked = cli(control_plane, &["refresh", "daas-us", "-n", &namespace]);
    assert!(asked.status.success(), "{}", text(&asked));
    let path = "jsonpath={.metadata.annotations.citrix-allowlist\\.io/refresh-requested-at}";
    let annotation = control_plane.kubectl(&["get", "cal", "daas-us", "-n", &namespace, "-o", path]).await;
    let annotation = annotation.expect("an annotation");
    assert!(annotation.parse::<jiff::Timestamp>().is_ok(), "{annotation}");
}

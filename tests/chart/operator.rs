//! The operator as the chart installs it: its ServiceAccount, its arguments, its environment, its rights and no others.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use test_support::ControlPlane;
use test_support::dns::DnsServer;
use test_support::operator::{Operator, OperatorConfig};
use test_support::standin::{Standin, StandinConfig};

use crate::helm::{object, objects, template};

const ACCOUNT: &str = "release-citrix-allowlist-operator";

/// What a rule grants, or a request used: namespace (empty: of the cluster, or every namespace), resource, verb.
type Right = (String, String, String);

/// A cluster that writes down what ServiceAccounts ask of it.
struct Cluster {
    control_plane: ControlPlane,
    standin: Standin,
    dns: DnsServer,
    audit: PathBuf,
    _folder: tempfile::TempDir,
}

impl Cluster {
    async fn start() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let audit = folder.path().join("audit.log");
        let policy = folder.path().join("policy.yaml");
        let rules = json!({
            "apiVersion": "audit.k8s.io/v1",
            "kind": "Policy",
            "omitStages": ["RequestReceived", "ResponseStarted"],
            "rules": [{"level": "Metadata", "users": [format!("system:serviceaccount:citrix:{ACCOUNT}")]}],
        });
        std::fs::write(&policy, rules.to_string()).unwrap();
        let control_plane = ControlPlane::builder()
            .workspace_definitions()
            .unwrap()
            .api_server_flag(format!("--audit-policy-file={}", policy.display()))
            .api_server_flag(format!("--audit-log-path={}", audit.display()))
            .start()
            .await
            .unwrap();
        for namespace in ["citrix", "tenant"] {
            control_plane.kubectl(&["create", "namespace", namespace]).await.unwrap();
        }
        let dns = DnsServer::start().await.unwrap();
        dns.default_to_fixture(5);
        let standin = Standin::start(StandinConfig::unlimited()).await.unwrap();
        Self { control_plane, standin, dns, audit, _folder: folder }
    }

    /// Values for this cluster; with its DNS server where asked.
    fn values(&self, more: Value) -> Value {
        let mut values = json!({
            "feed": {"globalUrl": self.standin.base_url_global(), "japanUrl": self.standin.base_url_japan(), "minRefresh": "1s"},
            "rbac": {"aggregate": false},
            "crds": {"upgrade": false},
        });
        for (key, value) in more.as_object().unwrap() {
            values[key] = value.clone();
        }
        values
    }

    /// Applies what the chart renders, and gives the Deployment's container and all objects.
    async fn install(&self, values: &Value) -> Vec<Value> {
        let rendered = objects(&template("helm", values, &["--no-hooks"]).success());
        let list = json!({"apiVersion": "v1", "kind": "List", "items": rendered}).to_string();
        self.control_plane.apply(&list).await.unwrap();
        rendered
    }

    /// The container of the Deployment, run here: the kubelet's part of its environment is filled in.
    async fn config(&self, rendered: &[Value]) -> OperatorConfig {
        let pod = &object(rendered, "Deployment", "")["spec"]["template"]["spec"];
        assert_eq!(pod["serviceAccountName"], ACCOUNT);
        let container = &pod["containers"][0];
        let kubeconfig = self.control_plane.kubeconfig_for_service_account("citrix", ACCOUNT).await.unwrap();
        let mut config = OperatorConfig::new(env!("CARGO_BIN_EXE_citrix-allowlist"), kubeconfig);
        let mut arguments =
            container["args"].as_array().unwrap().iter().map(|argument| argument.as_str().unwrap().to_owned());
        assert_eq!(arguments.next().as_deref(), Some("run"));
        // The port of a pod's own address; here several share one address.
        config.arguments = arguments.filter(|argument| !argument.starts_with("--listen=")).collect();
        for variable in container["env"].as_array().unwrap() {
            let value = match variable["valueFrom"]["fieldRef"]["fieldPath"].as_str() {
                Some("metadata.namespace") => "citrix",
                Some("metadata.name") => "release-pod",
                Some(other) => panic!("{other}"),
                None => variable["value"].as_str().unwrap(),
            };
            config.environment.push((variable["name"].as_str().unwrap().to_owned(), value.to_owned()));
        }
        // The pod itself, which the operator looks at to know its own labels.
        let labels = &object(rendered, "Deployment", "")["spec"]["template"]["metadata"]["labels"];
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "release-pod", "namespace": "citrix", "labels": labels},
            "spec": {"serviceAccountName": ACCOUNT, "containers": [{"name": "operator", "image": "x"}]}});
        self.control_plane.apply(&pod.to_string()).await.unwrap();
        config
    }

    async fn allowlist(&self, name: &str, mode: &str) {
        let resource = json!({"apiVersion": "citrix-allowlist.io/v1alpha1", "kind": "CitrixAllowlist",
            "metadata": {"name": name, "namespace": "tenant"},
            "spec": {"customerId": "testcustomer", "geo": "us", "mode": mode, "podSelector": {"matchLabels": {"app": name}}}});
        self.control_plane.apply(&resource.to_string()).await.unwrap();
    }

    async fn policies(&self) -> usize {
        let names = self.control_plane.kubectl(&["-n", "tenant", "get", "netpol", "-o", "name"]).await.unwrap();
        names.lines().count()
    }

    /// What was asked, and what of it was refused.
    fn asked(&self) -> (BTreeSet<Right>, BTreeSet<Right>) {
        let (mut asked, mut refused) = (BTreeSet::new(), BTreeSet::new());
        for line in std::fs::read_to_string(&self.audit).unwrap().lines() {
            let event: Value = serde_json::from_str(line).unwrap();
            let reference = &event["objectRef"];
            let Some(resource) = reference["resource"].as_str() else { continue };
            let resource = match reference["subresource"].as_str() {
                Some(subresource) => format!("{resource}/{subresource}"),
                None => resource.to_owned(),
            };
            let namespace = reference["namespace"].as_str().unwrap_or_default().to_owned();
            let right = (namespace, resource, event["verb"].as_str().unwrap().to_owned());
            if event["annotations"]["authorization.k8s.io/decision"] == "forbid" {
                refused.insert(right.clone());
            }
            asked.insert(right);
        }
        (asked, refused)
    }
}

/// What the chart's roles grant.
fn granted(rendered: &[Value]) -> BTreeSet<Right> {
    let mut rights = BTreeSet::new();
    for role in rendered {
        let namespace = role["metadata"]["namespace"].as_str().unwrap_or_default();
        for rule in role["rules"].as_array().into_iter().flatten() {
            for resource in rule["resources"].as_array().unwrap() {
                for verb in rule["verbs"].as_array().unwrap() {
                    let text = |value: &Value| value.as_str().unwrap().to_owned();
                    rights.insert((namespace.to_owned(), text(resource), text(verb)));
                }
            }
        }
    }
    rights
}

/// Rights that nothing in these runs has to use, each with when it is used.
fn used_otherwise(rights: &BTreeSet<Right>) -> BTreeSet<Right> {
    let rare = [
        // The API server asks for it when an owner reference is written; it is no request of its own.
        ("citrixallowlists/finalizers", "update"),
        // A saved list that no resource has needed for ten minutes.
        ("configmaps", "delete"),
        // An event that repeats within minutes is counted up.
        ("events", "patch"),
    ];
    rights.iter().filter(|(_, resource, verb)| rare.contains(&(resource.as_str(), verb.as_str()))).cloned().collect()
}

async fn eventually(what: &str, log: &Operator, mut ask: impl AsyncFnMut() -> bool) {
    for _ in 0..450 {
        if ask().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("within 90 s: {what}\n{}", log.log());
}

async fn life(cluster: &Cluster, rendered: &[Value]) {
    // Somebody wrote a list where the operator saves its own: that is told on its pod.
    let forged = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "citrix-allowlist-feed-forged",
        "namespace": "citrix", "labels": {"citrix-allowlist.io/saved": "list"}}});
    cluster.control_plane.apply(&forged.to_string()).await.unwrap();
    cluster.allowlist("daas-us", "Enforce").await;
    let mut operator = Operator::start(&cluster.config(rendered).await).await.unwrap();
    let wait = ["-n", "tenant", "wait", "--for=condition=Ready", "cal/daas-us", "--timeout=30s"];
    if let Err(error) = cluster.control_plane.kubectl(&wait).await {
        panic!("{error}\n{}", operator.log());
    }
    assert!(cluster.policies().await > 0);
    // Somebody deletes the policy, or takes everything out of it.
    let kubectl = async |arguments: &[&str]| cluster.control_plane.kubectl(arguments).await.unwrap();
    kubectl(&["-n", "tenant", "delete", "netpol", "--all"]).await;
    eventually("the policy is back", &operator, async || cluster.policies().await > 0).await;
    let empty = r#"{"spec":{"egress":[]}}"#;
    kubectl(&["-n", "tenant", "patch", "netpol", "daas-us-egress", "--type=merge", "-p", empty]).await;
    eventually("its rules are back", &operator, async || {
        let rules = ["-n", "tenant", "get", "netpol", "daas-us-egress", "-o", "jsonpath={.spec.egress}"];
        kubectl(&rules).await.contains("ipBlock")
    })
    .await;
    // Objects of somebody else stand where other resources need their own.
    let policy = json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "other-egress", "namespace": "tenant"},
        "spec": {"podSelector": {"matchLabels": {"app": "other"}}, "policyTypes": ["Egress"]}});
    cluster.control_plane.apply(&policy.to_string()).await.unwrap();
    let map =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "third-cidrs", "namespace": "tenant"}});
    cluster.control_plane.apply(&map.to_string()).await.unwrap();
    for name in ["other", "third"] {
        cluster.allowlist(name, "Enforce").await;
        eventually("the conflict is reported", &operator, async || {
            let kinds = "jsonpath={.status.problems[*].kind}";
            kubectl(&["-n", "tenant", "get", "cal", name, "-o", kinds]).await.contains("Conflict")
        })
        .await;
    }
    kubectl(&["-n", "tenant", "delete", "cal/other", "cal/third", "netpol/other-egress", "cm/third-cidrs"]).await;
    cluster.allowlist("daas-us", "Audit").await;
    eventually("Audit removes the policies", &operator, async || cluster.policies().await == 0).await;
    // A leader that is told to stop gives the Lease back.
    operator.process().signal("TERM").unwrap();
    operator.process().wait(Duration::from_secs(60)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_charts_rights_the_operator_does_its_work_and_asks_for_nothing_else() {
    let cluster = Cluster::start().await;
    let servers = json!({"servers": [cluster.dns.addr().to_string()]});
    let rendered = cluster.install(&cluster.values(json!({"dns": servers}))).await;
    life(&cluster, &rendered).await;
    // Once more as in a cluster, where its DNS is looked for.
    let labels = json!({"k8s-app": "kube-dns"});
    let dns = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "kube-dns", "namespace": "kube-system", "labels": labels},
        "spec": {"ports": [{"name": "dns", "port": 53, "protocol": "UDP"}]}});
    cluster.control_plane.apply(&dns.to_string()).await.unwrap();
    let rendered = cluster.install(&cluster.values(json!({}))).await;
    let operator = Operator::start(&cluster.config(&rendered).await).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    drop(operator);

    let (asked, refused) = cluster.asked();
    assert_eq!(refused, BTreeSet::new(), "rights that are missing");
    let granted = granted(&rendered);
    let used: BTreeSet<&Right> = granted
        .iter()
        .filter(|(namespace, resource, verb)| {
            asked.iter().any(|(place, what, how)| {
                what == resource && how == verb && (namespace.is_empty() || namespace == place)
            })
        })
        .collect();
    let unused: BTreeSet<Right> = granted.iter().filter(|right| !used.contains(right)).cloned().collect();
    let beyond: BTreeSet<Right> = unused.difference(&used_otherwise(&granted)).cloned().collect();
    assert_eq!(beyond, BTreeSet::new(), "rights that nothing uses");
}

#[tokio::test(flavor = "multi_thread")]
async fn confined_to_a_namespace_it_works_with_roles_alone() {
    let cluster = Cluster::start().await;
    let values = cluster.values(json!({
        "watchNamespaces": ["tenant"],
        "dns": {"servers": [cluster.dns.addr().to_string()]},
        "cluster": {"serviceCidrs": ["10.96.0.0/16"], "podCidrs": ["10.244.0.0/16"]},
    }));
    let rendered = cluster.install(&values).await;
    assert!(!rendered.iter().any(|object| object["kind"] == "ClusterRole"));
    life(&cluster, &rendered).await;
    let (_, refused) = cluster.asked();
    // It looks for the cluster's DNS, and does without (docs/install.md says what that means).
    let services = |namespace: &str| (namespace.to_owned(), "services".to_owned(), "list".to_owned());
    assert_eq!(refused, BTreeSet::from([services("kube-system"), services("openshift-dns")]));
}

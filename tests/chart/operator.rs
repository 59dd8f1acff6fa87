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
use crate::rights::{Request, not_missed, refused, requests, unused};

const ACCOUNT: &str = "release-citrix-allowlist-operator";

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
            "omitStages": ["RequestReceived"],
            "rules": [{"level": "Request", "users": [format!("system:serviceaccount:citrix:{ACCOUNT}")]}],
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
        // What others may do is no right of the operator's.
        let bound: Vec<&Value> = rendered.iter().filter(|object| object["subjects"][0]["name"] == ACCOUNT).collect();
        let others = |object: &Value| {
            object.get("rules").is_some()
                && !bound.iter().any(|binding| {
                    binding["roleRef"]["kind"] == object["kind"]
                        && binding["roleRef"]["name"] == object["metadata"]["name"]
                })
        };
        rendered.iter().filter(|object| !others(object)).cloned().collect()
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
        config.arguments = arguments
            .filter(|argument| !argument.starts_with("--listen=") && !argument.starts_with("--probe-listen="))
            .collect();
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

    /// What was asked so far.
    fn requests(&self) -> Vec<Request> {
        requests(&self.audit)
    }
}

/// Waits for what the operator is to do. Where it does not, what it was refused is the first to look at.
async fn eventually(what: &str, cluster: &Cluster, log: &Operator, mut ask: impl AsyncFnMut() -> bool) {
    for _ in 0..300 {
        if ask().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("within a minute: {what}; refused: {:#?}\n{}", refused(&cluster.requests()), log.log());
}

async fn life(cluster: &Cluster, rendered: &[Value]) {
    // Somebody wrote a list where the operator saves its own: that is told on its pod.
    let forged = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "citrix-allowlist-feed-forged",
        "namespace": "citrix", "labels": {"citrix-allowlist.io/saved": "list"}}});
    cluster.control_plane.apply(&forged.to_string()).await.unwrap();
    // And put something into the one of the customer in use, which is made again then.
    let meddled = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"from": "a stranger"}, "metadata":
        {"name": "citrix-allowlist-feed-global-json-74657374637573746f6d6572", "namespace": "citrix"}});
    cluster.control_plane.apply(&meddled.to_string()).await.unwrap();
    cluster.allowlist("daas-us", "Enforce").await;
    let mut operator = match Operator::start(&cluster.config(rendered).await).await {
        Ok(operator) => operator,
        Err(error) => panic!("refused: {:#?}\n{error}", refused(&cluster.requests())),
    };
    let kubectl = async |arguments: &[&str]| cluster.control_plane.kubectl(arguments).await.unwrap();
    // Its tables are for who shows a token of the account that may read them, and for no other.
    let token = async |account: &str, audience: &str| {
        kubectl(&["-n", "citrix", "create", "token", account, "--audience", audience]).await.trim().to_owned()
    };
    let (reader, audience) = (format!("{ACCOUNT}-explain"), "citrix-allowlist-operator");
    for (token, expected) in [
        (String::new(), 401),
        ("forged".to_owned(), 401),
        (token(&reader, "https://kubernetes.default.svc").await, 401),
        (token(ACCOUNT, audience).await, 403),
        (token(&reader, audience).await, 200),
    ] {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = client.get(format!("{}/debug/state", operator.url())).header("x-citrix-allowlist-token", token);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status().as_u16(), expected, "{}", answer.text().await.unwrap());
    }
    let get = async |arguments: &[&str]| kubectl(&[&["-n", "tenant", "get"], arguments].concat()).await;
    eventually("it is ready", cluster, &operator, async || {
        get(&["cal/daas-us", "-o", "jsonpath={.status.conditions[?(@.type=='Ready')].status}"]).await == "True"
    })
    .await;
    assert!(cluster.policies().await > 0);
    // Somebody deletes the policy, or takes everything out of it.
    kubectl(&["-n", "tenant", "delete", "netpol", "--all"]).await;
    eventually("the policy is back", cluster, &operator, async || cluster.policies().await > 0).await;
    for _ in 0..2 {
        let empty = r#"{"spec":{"egress":[]}}"#;
        kubectl(&["-n", "tenant", "patch", "netpol", "daas-us-egress", "--type=merge", "-p", empty]).await;
        eventually("its rules are back", cluster, &operator, async || {
            get(&["netpol", "daas-us-egress", "-o", "jsonpath={.spec.egress}"]).await.contains("ipBlock")
        })
        .await;
    }
    let edited = r#"{"data":{"egress.cidrs":"8.8.8.8/32"}}"#;
    kubectl(&["-n", "tenant", "patch", "cm", "daas-us-cidrs", "--type=merge", "-p", edited]).await;
    eventually("its lines are back", cluster, &operator, async || {
        !get(&["cm", "daas-us-cidrs", "-o", "jsonpath={.data}"]).await.contains("8.8.8.8/32")
    })
    .await;
    // The second time is told as a repeat of the first.
    eventually("the repeat is counted", cluster, &operator, async || {
        get(&["events.events.k8s.io", "-o", "jsonpath={.items[*].series.count}"]).await.contains('2')
    })
    .await;
    // An object of the resource's own that it does not need, as after a list has become shorter.
    let uid = get(&["cal/daas-us", "-o", "jsonpath={.metadata.uid}"]).await;
    let owner = json!({"apiVersion": "citrix-allowlist.io/v1alpha1", "kind": "CitrixAllowlist", "name": "daas-us", "uid": uid,
        "controller": true});
    let labels = json!({"app.kubernetes.io/managed-by": "citrix-allowlist-operator", "citrix-allowlist.io/allowlist": "daas-us"});
    let spare = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "daas-us-cidrs-9", "namespace": "tenant",
        "labels": labels, "ownerReferences": [owner]}});
    cluster.control_plane.apply(&spare.to_string()).await.unwrap();
    eventually("what is not needed goes", cluster, &operator, async || {
        !get(&["cm", "-o", "name"]).await.contains("daas-us-cidrs-9")
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
        eventually("the conflict is reported", cluster, &operator, async || {
            let kinds = "jsonpath={.status.problems[*].kind}";
            kubectl(&["-n", "tenant", "get", "cal", name, "-o", kinds]).await.contains("Conflict")
        })
        .await;
    }
    kubectl(&["-n", "tenant", "delete", "cal/other", "cal/third", "netpol/other-egress", "cm/third-cidrs"]).await;
    cluster.allowlist("daas-us", "Audit").await;
    eventually("Audit removes the policies", cluster, &operator, async || cluster.policies().await == 0).await;
    // A leader that is told to stop gives the Lease back.
    operator.process().signal("TERM").unwrap();
    operator.process().wait(Duration::from_secs(60)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_charts_rights_suffice_and_no_other_request_is_made() {
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
    let asked = async |verb: &str, resource: &str| {
        let log = std::fs::read_to_string(&cluster.audit).unwrap();
        let whole = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        whole.into_iter().any(|event| event["verb"] == verb && event["objectRef"]["resource"] == resource)
    };
    for resource in ["services", "endpointslices"] {
        eventually("its DNS is watched", &cluster, &operator, async || asked("watch", resource).await).await;
    }
    drop(operator);

    let requests = cluster.requests();
    assert_eq!(refused(&requests), BTreeSet::new(), "rights that are missing");
    // Kubernetes before 1.33 has no ServiceCIDRs: they are asked for, and there is nothing to watch.
    let watched = cluster.control_plane.serves("networking.k8s.io/v1", "ServiceCIDR").await.unwrap();
    let needless: Vec<&str> = if watched { vec![] } else { vec!["watch servicecidrs.networking.k8s.io everywhere"] };
    let idle = needless.iter().map(|&right| right.to_owned()).collect();
    assert_eq!(unused(&rendered, &requests), idle, "rights that nothing uses");
    let not_missed = not_missed(&cluster.control_plane, &rendered, &requests).await;
    assert_eq!(not_missed, needless.iter().map(|right| format!("nobody would miss {right}")).collect::<Vec<_>>());
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
    // But for the reviews of tokens, which no Role can grant.
    let cluster_roles: Vec<&Value> = rendered.iter().filter(|object| object["kind"] == "ClusterRole").collect();
    assert!(cluster_roles.iter().all(|role| role["metadata"]["name"].as_str().unwrap().ends_with("-tokens")));
    life(&cluster, &rendered).await;
    let requests = cluster.requests();
    // It looks for the cluster's DNS, for nodes and for the API server's endpoints, and does without (docs/install.md says
    // what that means).
    let elsewhere = |refused: &String| {
        [
            "list services/kube-dns in kube-system: ",
            "list services/dns-default in openshift-dns: ",
            "list nodes everywhere: ",
            "list endpointslices.discovery.k8s.io in default: ",
        ]
        .into_iter()
        .any(|known| refused.starts_with(known))
    };
    let (known, missing): (BTreeSet<String>, BTreeSet<String>) = refused(&requests).into_iter().partition(elsewhere);
    assert_eq!((known.len(), missing), (4, BTreeSet::new()), "rights that are missing");
    assert_eq!(unused(&rendered, &requests), BTreeSet::new(), "rights that nothing uses");
    assert_eq!(not_missed(&cluster.control_plane, &rendered, &requests).await, Vec::<String>::new());
}

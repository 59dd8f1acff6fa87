//! The policy of the operator's own account, as a real API server judges by it: what somebody with its token may write.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use test_support::ControlPlane;

use crate::helm::{objects, template};

const ACCOUNT: &str = "release-citrix-allowlist-operator";
const OURS: &str = "citrix-allowlist-operator";

fn config_map(namespace: &str, name: &str, labels: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "b"},
        "metadata": {"name": name, "namespace": namespace, "labels": labels}})
}

fn policy(namespace: &str, name: &str, labels: &Value) -> Value {
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "spec": {"podSelector": {"matchLabels": {"app": name}}},
        "metadata": {"name": name, "namespace": namespace, "labels": labels}})
}

fn lease(namespace: &str, name: &str) -> Value {
    json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name, "namespace": namespace},
        "spec": {"holderIdentity": "somebody"}})
}

fn endpoints(namespace: &str, name: &str) -> Value {
    json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.0.0.1"]}], "metadata": {"name": name, "namespace": namespace}})
}

fn ours() -> Value {
    json!({"app.kubernetes.io/managed-by": OURS, "citrix-allowlist.io/allowlist": "daas"})
}

/// A cluster with the chart's policy, and with an account that RBAC lets do everything.
struct Stage {
    cluster: ControlPlane,
    token: PathBuf,
}

impl Stage {
    async fn start() -> Self {
        let builder = ControlPlane::builder().workspace_definitions().unwrap();
        let cluster = builder.without_controller_manager().start().await.unwrap();
        for namespace in ["citrix", "tenant"] {
            cluster.kubectl(&["create", "namespace", namespace]).await.unwrap();
        }
        let rendered = objects(&template("helm", &json!({}), &["--no-hooks"]).success());
        let kept = |object: &&Value| {
            let kind = object["kind"].as_str().unwrap();
            kind == "ServiceAccount" || kind.starts_with("ValidatingAdmissionPolicy")
        };
        for object in rendered.iter().filter(kept) {
            cluster.apply(&object.to_string()).await.unwrap();
        }
        // So that whatever is refused is refused by the policy.
        let account = format!("citrix:{ACCOUNT}");
        let bind = ["create", "clusterrolebinding", "all", "--clusterrole=cluster-admin", "--serviceaccount", &account];
        cluster.kubectl(&bind).await.unwrap();
        let token = cluster.kubeconfig_for_service_account("citrix", ACCOUNT).await.unwrap();
        let owner = json!([{"apiVersion": "citrix-allowlist.io/v1alpha1", "kind": "CitrixAllowlist", "name": "daas",
            "uid": "b6f0f2c6-3a1d-4c07-9e7d-0d8f4a9f2f11", "controller": true}]);
        let mut cut_off = policy("tenant", "daas-ingress", &json!({}));
        cut_off["metadata"]["ownerReferences"] = owner;
        let mut handed_over = policy("tenant", "handed-egress", &json!({}));
        handed_over["metadata"]["annotations"] = json!({"citrix-allowlist.io/adopt": "true"});
        for object in [
            config_map("kube-system", "aws-auth", &json!({})),
            config_map("kube-system", "coredns", &json!({})),
            config_map("kube-system", "forged-cidrs", &ours()),
            config_map("tenant", "settings", &json!({})),
            config_map("tenant", "web-cidrs", &json!({})),
            config_map("tenant", "daas-cidrs", &ours()),
            config_map("citrix", "citrix-allowlist-feed-global-json-shared", &json!({})),
            policy("tenant", "default-deny", &json!({})),
            policy("tenant", "daas-egress", &ours()),
            cut_off,
            handed_over,
            lease("kube-system", "kube-scheduler"),
            lease("citrix", OURS),
        ] {
            cluster.apply(&object.to_string()).await.unwrap();
        }
        let stage = Self { cluster, token };
        // The API server takes a policy into account a moment after it exists.
        for _ in 0..150 {
            if stage.refused(&["create", "-f", "-"], Some(config_map("tenant", "any", &json!({})))).await.is_some() {
                return stage;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        panic!("the policy is never enforced");
    }

    /// What the API server says against a request with the operator's token. Nothing is changed.
    async fn refused(&self, arguments: &[&str], input: Option<Value>) -> Option<String> {
        let arguments = [arguments, &["--dry-run=server"]].concat();
        let input = input.map(|object| object.to_string());
        let output = self.cluster.kubectl_with(&self.token, &arguments, input.as_deref()).await.unwrap();
        (output.code != Some(0)).then_some(output.stderr)
    }

    async fn applied(&self, object: &Value) -> Option<String> {
        let apply = ["apply", "--server-side", "--force-conflicts", "--field-manager", OURS, "-f", "-"];
        self.refused(&apply, Some(object.clone())).await
    }
}

/// Formerly `kube-system/aws-auth` and `kube-system/coredns` could be patched with the operator's token, and every ConfigMap
/// and NetworkPolicy of the cluster made, changed and deleted: on EKS the way to `system:masters`.
#[tokio::test]
async fn the_operators_token_can_write_only_the_operators_objects() {
    let stage = Stage::start().await;
    let (protected, named) = ("in a protected namespace", "no ConfigMap but NAME-cidrs");
    let (labelled, saved, leases) =
        ("without the label", "without the label citrix-allowlist.io/saved", "no Lease but its own");
    let data = r#"{"data":{"mapUsers":"everybody"}}"#;
    let adopt = r#"{"metadata":{"annotations":{"citrix-allowlist.io/adopt":"true"}}}"#;
    let label = r#"{"metadata":{"labels":{"app.kubernetes.io/managed-by":"citrix-allowlist-operator"}}}"#;
    let no_label = r#"{"metadata":{"labels":{"app.kubernetes.io/managed-by":"somebody"}}}"#;
    let holder = r#"{"spec":{"holderIdentity":"me"}}"#;
    for (namespace, what, patch, reason) in [
        ("kube-system", "cm/aws-auth", data, protected),
        ("kube-system", "cm/coredns", data, protected),
        ("kube-system", "cm/forged-cidrs", data, protected),
        ("tenant", "cm/settings", data, named),
        ("tenant", "cm/web-cidrs", data, labelled),
        ("tenant", "cm/web-cidrs", label, labelled),
        ("tenant", "cm/daas-cidrs", no_label, labelled),
        ("tenant", "netpol/default-deny", label, labelled),
        ("tenant", "netpol/default-deny", adopt, labelled),
        ("tenant", "netpol/daas-egress", no_label, labelled),
        ("citrix", "cm/citrix-allowlist-feed-global-json-shared", data, saved),
        ("kube-system", "lease/kube-scheduler", holder, leases),
    ] {
        let refusal = stage.refused(&["-n", namespace, "patch", what, "--type=merge", "-p", patch], None).await;
        assert!(refusal.as_ref().is_some_and(|text| text.contains(reason)), "{what} {patch}: {refusal:?}");
    }
    for (namespace, what, reason) in [
        ("kube-system", "cm/coredns", protected),
        ("kube-system", "cm/forged-cidrs", protected),
        ("tenant", "cm/settings", named),
        ("tenant", "cm/web-cidrs", labelled),
        ("tenant", "netpol/default-deny", labelled),
        // Handed over to be changed, not to be deleted.
        ("tenant", "netpol/handed-egress", labelled),
        ("kube-system", "lease/kube-scheduler", leases),
    ] {
        let refusal = stage.refused(&["-n", namespace, "delete", what], None).await;
        assert!(refusal.as_ref().is_some_and(|text| text.contains(reason)), "delete {what}: {refusal:?}");
    }
    let saved_label = json!({"citrix-allowlist.io/saved": "list"});
    for (object, reason) in [
        (config_map("kube-system", "daas-cidrs", &ours()), protected),
        (policy("kube-system", "daas-egress", &ours()), protected),
        (config_map("tenant", "other", &ours()), named),
        (config_map("tenant", "new-cidrs", &json!({})), labelled),
        (config_map("tenant", "new-history", &json!({})), labelled),
        (policy("tenant", "open", &json!({})), labelled),
        (config_map("tenant", "citrix-allowlist-feed-forged", &saved_label), named),
        (config_map("citrix", "citrix-allowlist-feed-forged", &json!({})), saved),
        (lease("tenant", OURS), leases),
        (lease("citrix", "other"), leases),
        (endpoints("kube-system", "kube-dns-forged"), "no EndpointSlice but"),
        (endpoints("citrix", "other-dns-leader"), "no EndpointSlice but"),
    ] {
        let refusal = stage.refused(&["create", "-f", "-"], Some(object.clone())).await;
        assert!(refusal.as_ref().is_some_and(|text| text.contains(reason)), "{object}: {refusal:?}");
    }
}

#[tokio::test]
async fn all_that_the_operator_writes_passes() {
    let stage = Stage::start().await;
    let saved = |name: &str, kind: &str| config_map("citrix", name, &json!({"citrix-allowlist.io/saved": kind}));
    for object in [
        config_map("tenant", "new-cidrs", &ours()),
        config_map("tenant", "new-cidrs-12", &ours()),
        config_map("tenant", "new-history", &ours()),
        endpoints("citrix", &format!("{ACCOUNT}-dns-leader")),
        config_map("tenant", "daas-cidrs", &ours()),
        policy("tenant", "new-egress-2", &ours()),
        policy("tenant", "daas-egress", &ours()),
        // Its labels were cut off, and its owner is a resource.
        policy("tenant", "daas-ingress", &ours()),
        // The annotation hands it over.
        policy("tenant", "handed-egress", &ours()),
        saved("citrix-allowlist-feed-requests", "requests"),
        // A stranger's, which is written again.
        saved("citrix-allowlist-feed-global-json-shared", "list"),
        lease("citrix", OURS),
    ] {
        assert_eq!(stage.applied(&object).await, None, "{object}");
    }
    for (namespace, what) in [
        ("tenant", "cm/daas-cidrs"),
        ("tenant", "netpol/daas-egress"),
        ("tenant", "netpol/daas-ingress"),
        ("citrix", "cm/citrix-allowlist-feed-global-json-shared"),
    ] {
        assert_eq!(stage.refused(&["-n", namespace, "delete", what], None).await, None, "delete {what}");
    }
    // Other accounts are not concerned.
    let admin = ["-n", "kube-system", "patch", "cm", "coredns", "--type=merge", "-p", r#"{"data":{"a":"c"}}"#];
    stage.cluster.kubectl(&admin).await.unwrap();
    // The expressions were understood to their end: the API server's own check of types found nothing.
    let name = "citrix-release-citrix-allowlist-operator-writes";
    let path = "jsonpath={.status.typeChecking}";
    let warnings = stage.cluster.kubectl(&["get", "validatingadmissionpolicy", name, "-o", path]).await.unwrap();
    assert!(!warnings.contains("warning"), "{warnings}");
}

/// The plain manifests can be put into any namespace by kustomize, which changes no text of a policy.
#[test]
fn the_policy_of_the_plain_manifests_holds_in_any_namespace() {
    let file = test_support::tools::workspace_root().join("deploy/install.yaml");
    let all = objects(&std::fs::read_to_string(file).unwrap());
    let policy = crate::helm::object(&all, "ValidatingAdmissionPolicy", "-writes");
    let conditions = policy["spec"]["matchConditions"].as_array().unwrap();
    let expression = "request.userInfo.username.matches('^system:serviceaccount:[^:]+:citrix-allowlist-operator$')";
    assert_eq!(conditions[0]["expression"], expression);
    assert_eq!(policy["metadata"]["name"], "citrix-allowlist-operator-writes");
}

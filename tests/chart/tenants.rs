//! The ValidatingAdmissionPolicy, as a real API server judges by it.

use std::time::Duration;

use serde_json::{Value, json};
use test_support::ControlPlane;

use crate::helm::template;

fn allowlist(namespace: &str, name: &str, spec: &Value) -> String {
    json!({
        "apiVersion": "citrix-allowlist.io/v1alpha1",
        "kind": "CitrixAllowlist",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    })
    .to_string()
}

#[tokio::test]
async fn tenants_write_what_their_namespace_lets_them() {
    let cluster = ControlPlane::builder().workspace_definitions().unwrap().start().await.unwrap();
    let before = json!({"customerId": "other", "podSelector": {}});
    for (namespace, annotations) in [
        ("tenant", json!({"citrix-allowlist.io/customer-ids": "acme, acme2"})),
        (
            "trusted",
            json!({"citrix-allowlist.io/allow-additional": "true", "citrix-allowlist.io/allow-broad-selectors": "true"}),
        ),
        ("outside", json!({})),
    ] {
        let labels = json!({"tenant": (namespace != "outside").to_string()});
        let made = json!({"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": namespace, "labels": labels, "annotations": annotations}});
        cluster.apply(&made.to_string()).await.unwrap();
    }
    // Written before there was a policy.
    cluster.apply(&allowlist("tenant", "before", &before)).await.unwrap();

    let selector = json!({"matchLabels": {"tenant": "true"}});
    let values = json!({"tenantPolicy": {"enabled": true, "namespaceSelector": selector}});
    let policy = template("helm", &values, &["--show-only", "templates/tenant-policy.yaml"]).success();
    cluster.apply(&policy).await.unwrap();

    let narrow = json!({"matchLabels": {"app": "vda"}});
    let refused_by = async |namespace: &str, spec: &Value| {
        let arguments = ["create", "--dry-run=server", "-f", "-"];
        let manifest = allowlist(namespace, "asked", spec);
        let output = cluster.kubectl_with(cluster.kubeconfig_path(), &arguments, Some(&manifest)).await.unwrap();
        (output.code != Some(0)).then_some(output.stderr)
    };
    // The API server takes a policy into account a moment after it exists.
    let broad = json!({"customerId": "acme", "podSelector": {}});
    let mut tries = 0;
    while refused_by("tenant", &broad).await.is_none() {
        tries += 1;
        assert!(tries < 100, "the policy is never enforced");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }

    let additional = json!([{"name": "idp", "fqdns": ["login.example.com"], "tcpPorts": 443}]);
    let expressions = |operator: &str| {
        let mut expression = json!({"key": "app", "operator": operator});
        if operator.ends_with("In") {
            expression["values"] = json!(["vda"]);
        }
        json!({"matchExpressions": [expression]})
    };
    let every = |key: &str| json!({"matchExpressions": [{"key": key, "operator": "Exists"}]});
    let wildcards = |names: usize| {
        let name = |index: usize| format!("account{index}.blob.core.windows.net");
        let (first, rest): (Vec<usize>, Vec<usize>) = (0..names).partition(|index| *index < 60);
        let entry = |pattern: &str, indices: Vec<usize>| json!({"pattern": pattern, "names": indices.into_iter().map(name).collect::<Vec<_>>()});
        json!([entry("*.blob.core.windows.net", first), entry("*.core.windows.net", rest)])
    };
    for (namespace, spec, expected) in [
        ("tenant", json!({"customerId": "acme", "podSelector": narrow}), None),
        ("tenant", json!({"customerId": "acme2", "podSelector": narrow}), None),
        ("tenant", json!({"customerId": "other", "podSelector": narrow}), Some("acme, acme2")),
        ("tenant", json!({"customerId": "acme"}), Some("spec.podSelector")),
        ("tenant", json!({"customerId": "acme", "podSelector": expressions("In")}), None),
        // Passed, and selected every pod that has the label, or every pod of a Deployment, of a release, of a zone.
        ("tenant", json!({"customerId": "acme", "podSelector": expressions("Exists")}), Some("spec.podSelector")),
        ("tenant", json!({"customerId": "acme", "podSelector": every("pod-template-hash")}), Some("spec.podSelector")),
        (
            "tenant",
            json!({"customerId": "acme", "podSelector": every("controller-revision-hash")}),
            Some("spec.podSelector"),
        ),
        (
            "tenant",
            json!({"customerId": "acme", "podSelector": {"matchLabels": {"app.kubernetes.io/managed-by": "Helm"}}}),
            Some("spec.podSelector"),
        ),
        (
            "tenant",
            json!({"customerId": "acme", "podSelector": {"matchExpressions": [
                {"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["a", "b"]},
                {"key": "app", "operator": "NotIn", "values": ["nothing"]}]}}),
            Some("spec.podSelector"),
        ),
        // Beside a label that tells workloads apart they only narrow.
        (
            "tenant",
            json!({"customerId": "acme", "podSelector": {"matchLabels": {"app": "vda"}, "matchExpressions": [
                {"key": "pod-template-hash", "operator": "Exists"}]}}),
            None,
        ),
        ("trusted", json!({"customerId": "acme", "podSelector": every("pod-template-hash")}), None),
        // 4,096 names of anybody's storage accounts passed where `additional` was forbidden.
        ("tenant", json!({"customerId": "acme", "podSelector": narrow, "wildcards": wildcards(64)}), None),
        (
            "tenant",
            json!({"customerId": "acme", "podSelector": narrow, "wildcards": wildcards(65)}),
            Some("spec.wildcards may hold at most 64 names"),
        ),
        ("trusted", json!({"customerId": "acme", "wildcards": wildcards(65)}), None),
        ("tenant", json!({"customerId": "acme", "podSelector": expressions("NotIn")}), Some("spec.podSelector")),
        ("tenant", json!({"customerId": "acme", "podSelector": expressions("DoesNotExist")}), Some("spec.podSelector")),
        (
            "tenant",
            json!({"customerId": "acme", "podSelector": narrow, "additional": additional}),
            Some("spec.additional"),
        ),
        ("trusted", json!({"customerId": "anyone", "additional": additional}), None),
        ("outside", json!({"customerId": "anyone", "additional": additional}), None),
    ] {
        let refusal = refused_by(namespace, &spec).await;
        match expected {
            None => assert_eq!(refusal, None, "{namespace}: {spec}"),
            Some(part) => assert!(refusal.as_ref().is_some_and(|text| text.contains(part)), "{spec}: {refusal:?}"),
        }
    }

    // What was there before the policy can still be refreshed and labelled, but not edited into anything forbidden.
    let annotate = ["-n", "tenant", "annotate", "cal", "before", "citrix-allowlist.io/refresh-requested-at=now"];
    cluster.kubectl(&annotate).await.unwrap();
    let patch = ["-n", "tenant", "patch", "cal", "before", "--type=merge", "-p", r#"{"spec":{"geo":"us"}}"#];
    let error = cluster.kubectl(&patch).await.unwrap_err().to_string();
    assert!(error.contains("not among the customers"), "{error}");

    // The stricter form: a namespace that names no customer may have none.
    let values = json!({"tenantPolicy": {"enabled": true, "requireCustomerIds": true, "namespaceSelector": selector}});
    let policy = template("helm", &values, &["--show-only", "templates/tenant-policy.yaml"]).success();
    cluster.apply(&policy).await.unwrap();
    let mut tries = 0;
    let spec = json!({"customerId": "anyone"});
    while !refused_by("trusted", &spec).await.is_some_and(|text| text.contains("not among the customers")) {
        tries += 1;
        assert!(tries < 100, "the stricter policy is never enforced");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    // The expressions were understood to their end: the API server's own check of types found nothing.
    let name = "citrix-release-citrix-allowlist-operator-tenants";
    let path = "jsonpath={.status.typeChecking}";
    let warnings = cluster.kubectl(&["get", "validatingadmissionpolicy", name, "-o", path]).await.unwrap();
    assert!(!warnings.contains("warning"), "{warnings}");
}

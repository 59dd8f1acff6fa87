//! Requests that random sequences do not make: refusals of paths, selectors, content types and rights.

use super::compare::{comparable, parts};
use super::side::Answer;
use super::{MODEL_ACCOUNT, model_with};
use http_body_util::BodyExt as _;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use simulate::api::Rights;
use test_support::ControlPlane;

/// A request by method, path, content type and body. `NAMESPACE` in them stands for the test's own.
type Case = (&'static str, &'static str, &'static str, Value);

const JSON: &str = "application/json";

fn cases() -> Vec<Case> {
    let map = |name: &str| json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name } });
    let maps = "/api/v1/namespaces/NAMESPACE/configmaps";
    let resources = "/apis/citrix-allowlist.io/v1alpha1/namespaces/NAMESPACE/citrixallowlists";
    let kindless =
        json!({ "apiVersion": "citrix-allowlist.io/v1alpha1", "metadata": { "name": "kindless-in-namespace" } });
    let nameless = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": {} });
    let elsewhere = json!({ "metadata": { "name": "a", "namespace": "elsewhere" } });
    let applied = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "a", "managedFields": [] } });
    let query = |query: &'static str| -> &'static str { format!("{maps}?{query}").leak() };
    vec![
        ("GET", "/apis/unknown.example/v1/namespaces/NAMESPACE/things", JSON, Value::Null),
        ("GET", "/apis/networking.k8s.io/v1/namespaces/NAMESPACE/things", JSON, Value::Null),
        ("GET", "/api/v1/namespaces/NAMESPACE/things/a", JSON, Value::Null),
        ("POST", "/apis/networking.k8s.io/v1/networkpolicies", JSON, json!({})),
        ("POST", "/api/v1/namespaces/missing-namespace/configmaps", JSON, map("a")),
        ("POST", resources, JSON, kindless),
        ("POST", resources, JSON, json!({ "kind": "CitrixAllowlist", "metadata": { "name": "versionless" } })),
        ("POST", maps, JSON, nameless),
        ("POST", maps, JSON, map("Upper")),
        ("POST", maps, JSON, elsewhere),
        ("POST", maps, JSON, map("a")),
        ("PUT", query("").trim_end_matches('?'), JSON, map("a")),
        ("PATCH", &*format!("{maps}/a?fieldManager=one").leak(), "application/apply-patch+yaml", applied),
        ("PATCH", &*format!("{maps}/a").leak(), "application/apply-patch+yaml", map("a")),
        ("PATCH", &*format!("{maps}/a?fieldManager=one&force=true").leak(), "application/merge-patch+json", map("a")),
        ("PATCH", &*format!("{resources}/a").leak(), "application/strategic-merge-patch+json", json!({})),
        (
            "PATCH",
            &*format!("{maps}/nameless?fieldManager=one").leak(),
            "application/apply-patch+yaml",
            json!({ "apiVersion": "v1", "kind": "ConfigMap", "data": { "k": "v" } }),
        ),
        (
            "PATCH",
            &*format!("{resources}/nameless?fieldManager=one").leak(),
            "application/apply-patch+yaml",
            json!({ "apiVersion": "citrix-allowlist.io/v1alpha1", "kind": "CitrixAllowlist", "spec": { "customerId": "a" } }),
        ),
        ("PATCH", &*format!("{maps}/a").leak(), "text/plain", json!({})),
        ("GET", query("fieldSelector=spec.unknown%3Da"), JSON, Value::Null),
        ("GET", &*format!("{resources}?fieldSelector=spec.geo%3Dus").leak(), JSON, Value::Null),
        ("GET", query("continue=nonsense"), JSON, Value::Null),
        ("GET", &*format!("{resources}/a/scale").leak(), JSON, Value::Null),
        ("GET", &*format!("{maps}/a/status").leak(), JSON, Value::Null),
        ("GET", "/api/v1/namespaces/missing-namespace", JSON, Value::Null),
    ]
}

async fn answer(client: &Client, namespace: &str, (method, path, content_type, body): &Case) -> anyhow::Result<Answer> {
    let request = http::Request::builder()
        .method(*method)
        .uri(path.replace("NAMESPACE", namespace))
        .header("accept", JSON)
        .header("content-type", *content_type)
        .header("user-agent", "differential/1")
        .body(Body::from(if body.is_null() { Vec::new() } else { body.to_string().into_bytes() }))?;
    let response = client.send(request).await?;
    let code = response.status().as_u16();
    let bytes = response.into_body().collect().await?.to_bytes();
    let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into());
    Ok(Answer { code, body })
}

/// Compares the answers to the cases; returns the differences.
pub async fn differences(real: &ControlPlane) -> anyhow::Result<Vec<String>> {
    let namespace = real.fresh_namespace("cases").await?;
    let (client, server) = (real.client().await?, model_with(&namespace));
    let model = server.client(MODEL_ACCOUNT, &namespace);
    let mut found = Vec::new();
    for case in cases() {
        let of_real = comparable(&[answer(&client, &namespace, &case).await?], &namespace);
        let of_model = comparable(&[answer(&model, &namespace, &case).await?], &namespace);
        compare(&case, &of_real[0], &of_model[0], &mut found);
    }
    found.extend(refusals(real, &namespace).await?);
    Ok(found)
}

fn compare((method, path, content_type, _): &Case, real: &Answer, model: &Answer, found: &mut Vec<String>) {
    if real != model {
        let parts = parts(&real.body, &model.body, "").join("\n  ");
        found.push(format!("{method} {path} {content_type} -> {} / {}\n  {parts}", real.code, model.code));
    }
}

/// What an account without rights is answered.
async fn refusals(real: &ControlPlane, namespace: &str) -> anyhow::Result<Vec<String>> {
    real.apply(&format!("apiVersion: v1\nkind: ServiceAccount\nmetadata: {{ name: poor, namespace: {namespace} }}\n"))
        .await?;
    let kubeconfig = real.kubeconfig_for_service_account(namespace, "poor").await?;
    let client = real.client_for(&kubeconfig).await?;
    let server = model_with(namespace);
    server.set(|hooks| hooks.rights = Some(Rights::default()));
    let model = server.client(&format!("system:serviceaccount:{namespace}:poor"), namespace);
    let resources = "/apis/citrix-allowlist.io/v1alpha1";
    let mine = format!("{resources}/namespaces/{namespace}/citrixallowlists");
    let cases: [Case; 8] = [
        ("GET", "/api/v1/configmaps", JSON, Value::Null),
        ("GET", "/api/v1/namespaces/NAMESPACE/configmaps?watch=true", JSON, Value::Null),
        ("GET", "/api/v1/namespaces/NAMESPACE/configmaps?fieldSelector=metadata.name%3Da", JSON, Value::Null),
        ("GET", "/apis/coordination.k8s.io/v1/namespaces/NAMESPACE/leases/a", JSON, Value::Null),
        ("POST", &*mine.clone().leak(), JSON, json!({})),
        ("PATCH", &*format!("{mine}/a/status").leak(), "application/merge-patch+json", json!({})),
        ("DELETE", &*format!("{mine}/a").leak(), JSON, Value::Null),
        ("GET", "/api/v1/nodes", JSON, Value::Null),
    ];
    let mut found = Vec::new();
    for case in cases {
        let of_real = comparable(&[answer(&client, namespace, &case).await?], namespace);
        let of_model = comparable(&[answer(&model, namespace, &case).await?], namespace);
        compare(&case, &of_real[0], &of_model[0], &mut found);
    }
    Ok(found)
}

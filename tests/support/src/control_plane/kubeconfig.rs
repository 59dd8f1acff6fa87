//! Kubeconfig files, written as JSON (which is YAML), and the clients made from them.

use std::path::Path;

use anyhow::Context;
use k8s_openapi::ByteString;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};

/// Writes a kubeconfig for a bearer token.
pub(super) fn write(file: &Path, server: &str, ca_file: &Path, token: &str) -> anyhow::Result<()> {
    let cluster = json!({ "server": server, "certificate-authority": ca_file });
    write_for(file, &cluster, &json!({ "token": token }), "default")
}

/// Writes the kubeconfig `file`: the cluster of the kubeconfig `like`, the bearer token `token`, the namespace `namespace`.
pub(super) fn write_like(file: &Path, like: &Path, token: &str, namespace: &str) -> anyhow::Result<()> {
    write_for(file, &cluster_of(like)?, &json!({ "token": token }), namespace)
}

fn write_for(file: &Path, cluster: &Value, user: &Value, namespace: &str) -> anyhow::Result<()> {
    let content = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "test", "cluster": cluster }],
        "users": [{ "name": "test", "user": user }],
        "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test", "namespace": namespace } }],
        "current-context": "test",
    });
    std::fs::write(file, serde_json::to_vec_pretty(&content)?).with_context(|| format!("write {}", file.display()))
}

/// The only cluster of a kubeconfig that was written here, or by `kubectl config view --flatten --minify -o json`.
fn cluster_of(file: &Path) -> anyhow::Result<Value> {
    let text = std::fs::read(file).with_context(|| format!("read {}", file.display()))?;
    let mut content: Value =
        serde_json::from_slice(&text).with_context(|| format!("{} is not JSON", file.display()))?;
    let cluster = content.pointer_mut("/clusters/0/cluster").map(Value::take);
    cluster.with_context(|| format!("{} names no cluster", file.display()))
}

/// The API server's address in such a kubeconfig.
pub(super) fn server_of(file: &Path) -> anyhow::Result<String> {
    let cluster = cluster_of(file)?;
    Ok(cluster["server"].as_str().context("the kubeconfig names no server")?.to_owned())
}

/// Writes the certificate authority that such a kubeconfig holds to a file; `false` when it holds none.
pub(super) fn write_ca(file: &Path, like: &Path) -> anyhow::Result<bool> {
    let mut cluster = cluster_of(like)?;
    let Some(data) = cluster.get_mut("certificate-authority-data").map(Value::take) else {
        return Ok(false);
    };
    let ByteString(pem) =
        serde_json::from_value(data).context("the kubeconfig's certificate-authority-data is not base64")?;
    std::fs::write(file, pem).with_context(|| format!("write {}", file.display()))?;
    Ok(true)
}

/// What a client needs to talk to the cluster of a kubeconfig; `proxy`: whether by the environment's proxy, if any.
pub(super) async fn config(file: &Path, proxy: bool) -> anyhow::Result<Config> {
    // The first caller chooses; every choice here is the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let kubeconfig = Kubeconfig::read_from(file)?;
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    if !proxy {
        config.proxy_url = None;
    }
    // A test sees each answer as it comes; kube would repeat a failed request for minutes.
    config.default_retry = false;
    Ok(config)
}

/// A client, bound to the runtime that calls.
pub(super) async fn client(file: &Path, proxy: bool) -> anyhow::Result<Client> {
    Ok(Client::try_from(config(file, proxy).await?)?)
}

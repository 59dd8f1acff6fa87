//! Resources in `examples/` and in documents, as a real API server sees them.

use super::{markdown, root};
use serde_json::Value;
use std::path::{Path, PathBuf};
use test_support::{ControlPlane, shared_control_plane};

/// Asks the API server whether it would take a resource, in a namespace of our own and strictly: an unknown field is an
/// error.
async fn refusal(cluster: &ControlPlane, namespace: &str, resource: &str) -> Option<String> {
    let mut resource: Value = match serde_saphyr::from_str(resource) {
        Ok(resource) => resource,
        Err(error) => return Some(format!("no YAML: {error}")),
    };
    resource["metadata"]["namespace"] = namespace.into();
    let arguments = ["apply", "--dry-run=server", "--validate=strict", "-f", "-"];
    let output = cluster.kubectl_with(cluster.kubeconfig_path(), &arguments, Some(&resource.to_string())).await;
    output.and_then(test_support::control_plane::KubectlOutput::success).err().map(|error| format!("{error:#}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_is_accepted() {
    let cluster = shared_control_plane().await.expect("a control plane");
    let namespace = cluster.fresh_namespace("examples").await.expect("a namespace");
    let examples = examples_in(&root().join("examples"));
    assert!(examples.iter().any(|path| path.ends_with("daas-us.yaml")), "{examples:?}");
    let mut refused = Vec::new();
    for path in examples {
        let text = std::fs::read_to_string(&path).expect("a readable example");
        assert!(text.starts_with("# "), "{} says what it is for", path.display());
        for document in text.split("\n---\n").filter(|text| is_resource(text)) {
            if let Some(reason) = refusal(cluster, &namespace, document).await {
                refused.push(format!("{}: {reason}", path.display()));
            }
        }
    }
    assert!(refused.is_empty(), "{}", refused.join("\n"));
}

/// Every YAML file of a folder and of those in it.
fn examples_in(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a readable folder");
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .flat_map(|path| if path.is_dir() { examples_in(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn every_resource_in_a_document_is_accepted() {
    let cluster = shared_control_plane().await.expect("a control plane");
    let namespace = cluster.fresh_namespace("documents").await.expect("a namespace");
    let (mut checked, mut refused) = (0, Vec::new());
    for file in markdown::files() {
        let text = std::fs::read_to_string(&file).expect("a readable file");
        let (blocks, _) = markdown::blocks(&text);
        for block in blocks.iter().filter(|block| block.language.starts_with("yaml")) {
            for document in block.text.split("\n---\n").filter(|text| is_resource(text)) {
                checked += 1;
                if let Some(reason) = refusal(cluster, &namespace, document).await {
                    refused.push(format!("{}:{}: {reason}", file.display(), block.line));
                }
            }
        }
    }
    assert!(refused.is_empty(), "{}", refused.join("\n"));
    assert!(checked > 0, "no document shows a resource");
}

/// Whether it is one to apply, and not what the cluster answers, nor a part of something else.
fn is_resource(text: &str) -> bool {
    text.lines().any(|line| line == "kind: CitrixAllowlist") && !text.lines().any(|line| line == "status:")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_resource_is_refused() {
    let cluster = shared_control_plane().await.expect("a control plane");
    let namespace = cluster.fresh_namespace("refused").await.expect("a namespace");
    let wrong = "apiVersion: citrix-allowlist.io/v1alpha1\nkind: CitrixAllowlist\nmetadata: { name: web }\n";
    let unknown = format!("{wrong}spec: {{ customerId: abc, colour: red }}\n");
    let reason = refusal(cluster, &namespace, &unknown).await.expect("an unknown field is refused");
    assert!(reason.contains("colour"), "{reason}");
}

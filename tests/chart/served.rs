//! The oldest Kubernetes that is promised is the oldest that is pinned, and so the one that `make test-oldest` runs on.

use std::path::PathBuf;

use serde_json::{Value, json};
use test_support::control_plane::Kubernetes;
use test_support::tools::workspace_root;

use crate::helm::{HELMS, chart, template};

fn read(path: &str) -> String {
    std::fs::read_to_string(workspace_root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every page: those at the root, and those in `docs/` and `charts/`.
fn pages() -> Vec<PathBuf> {
    let entries = |folder: &PathBuf| -> Vec<PathBuf> {
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
    };
    let mut found = entries(&workspace_root());
    let mut folders = vec![workspace_root().join("docs"), workspace_root().join("charts")];
    while let Some(folder) = folders.pop() {
        for path in entries(&folder) {
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    found
}

/// The minors of `Kubernetes 1.N or newer` in a text, however its lines are broken.
fn promises(text: &str) -> Vec<String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let promised = words.windows(4).filter_map(|four| match four {
        ["Kubernetes", version, "or", newer] if newer.starts_with("newer") => Some((*version).to_owned()),
        _ => None,
    });
    promised.collect()
}

#[test]
fn tests_run_on_the_oldest_kubernetes_that_is_promised() {
    let oldest = format!("1.{}", Kubernetes::Oldest.minor().unwrap());
    let metadata: Value =
        serde_saphyr::from_str(&std::fs::read_to_string(chart().join("Chart.yaml")).unwrap()).unwrap();
    assert_eq!(metadata["kubeVersion"], format!(">={oldest}.0-0"));

    let mut promising = Vec::new();
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        let name = page.strip_prefix(workspace_root()).unwrap().display().to_string();
        for promised in promises(&text) {
            assert_eq!(promised, oldest, "{name}");
            promising.push(name.clone());
        }
    }
    promising.sort();
    let expected = ["README.md", "charts/citrix-allowlist-operator/README.md", "docs/install.md", "docs/quickstart.md"];
    assert_eq!(promising, expected, "the pages that promise it");

    // What is made for a cluster without asking one is made for the oldest, and the real kubelets have its minor.
    assert!(read("charts/generate.sh").contains(&format!("--kube-version {oldest}.0 ")));
    let workflow: Value = serde_saphyr::from_str(&read(".github/workflows/ci.yaml")).unwrap();
    let nodes = workflow["jobs"]["cluster"]["strategy"]["matrix"]["node"].as_array().unwrap();
    let first = nodes.first().and_then(Value::as_str).unwrap();
    assert!(first.starts_with(&format!("v{oldest}.")), "the oldest node of continuous integration is {first}");
}

#[test]
fn helm_installs_into_no_kubernetes_before_the_oldest() {
    let oldest = Kubernetes::Oldest.minor().unwrap();
    let before = oldest - 1;
    for helm in HELMS {
        let rendered = |version: &str| template(helm, &json!({}), &["--kube-version", version]);
        // As distributions write their versions, too.
        for version in [format!("v1.{oldest}.0"), format!("v1.{oldest}.14+k3s1"), format!("v1.{oldest}.5-eks-1234567")]
        {
            assert!(rendered(&version).success().contains("kind: Deployment"), "{helm} {version}");
        }
        for version in [format!("v1.{before}.14"), format!("v1.{before}.99-gke.100")] {
            let refusal = rendered(&version).failure();
            assert!(refusal.contains(&format!("kubeVersion: >=1.{oldest}.0-0")), "{helm} {version}: {refusal}");
        }
    }
}

#[test]
fn a_promise_is_found_across_lines() {
    let text = "You need Kubernetes 1.31 or\nnewer, or Kubernetes 1.30 or newer. Kubernetes 1.29 is or newer.";
    assert_eq!(promises(text), ["1.31", "1.30"]);
}

//! What the release workflow makes of the repository, as far as it can be seen without a release.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use test_support::tools::workspace_root;

use crate::helm::{Output, chart, run};

fn krew(folder: &Path) -> Output {
    let script = workspace_root().join("deploy/krew/render.sh");
    run(Command::new(script).args(["1.2.3-rc.1", "somebody/operator"]).arg(folder))
}

#[test]
fn krews_manifest_names_every_archive_with_its_sum() {
    let folder = tempfile::tempdir().unwrap();
    let content = folder.path().join("content");
    std::fs::create_dir(&content).unwrap();
    let names = ["linux-amd64", "linux-arm64", "darwin-amd64", "darwin-arm64"];
    for name in names {
        std::fs::write(content.join("citrix-allowlist"), name).unwrap();
        std::fs::write(content.join("LICENSE"), "").unwrap();
        let archive = folder.path().join(format!("citrix-allowlist-{name}.tar.gz"));
        let pack = ["citrix-allowlist", "LICENSE"];
        run(Command::new("tar").arg("-czf").arg(archive).arg("-C").arg(&content).args(pack)).success();
    }
    let text = krew(folder.path()).success();
    assert!(!text.contains('@'), "{text}");
    let manifest: Value = serde_saphyr::from_str(&text).unwrap();
    assert_eq!(manifest["apiVersion"], "krew.googlecontainertools.github.com/v1alpha2");
    assert_eq!(manifest["kind"], "Plugin");
    // kubectl finds the plugin by it: `kubectl citrix-allowlist`.
    assert_eq!(manifest["metadata"]["name"], "citrix-allowlist");
    let spec = &manifest["spec"];
    assert_eq!(spec["version"], "v1.2.3-rc.1");
    assert_eq!(spec["homepage"], "https://github.com/somebody/operator");
    assert!((1..=50).contains(&spec["shortDescription"].as_str().unwrap().len()), "a line of `kubectl krew search`");
    assert!(!spec["description"].as_str().unwrap().is_empty());
    let platforms = spec["platforms"].as_array().unwrap();
    assert_eq!(platforms.len(), names.len());
    for (platform, name) in platforms.iter().zip(names) {
        let labels = &platform["selector"]["matchLabels"];
        assert_eq!(format!("{}-{}", labels["os"].as_str().unwrap(), labels["arch"].as_str().unwrap()), name);
        let uri = platform["uri"].as_str().unwrap();
        let archive = format!("citrix-allowlist-{name}.tar.gz");
        let release = "https://github.com/somebody/operator/releases/download/v1.2.3-rc.1";
        assert_eq!(uri, format!("{release}/{archive}"));
        let sum = run(Command::new("sha256sum").arg(folder.path().join(&archive))).success();
        assert_eq!(platform["sha256"], sum.split(' ').next().unwrap());
        let files = run(Command::new("tar").arg("-tzf").arg(folder.path().join(&archive))).success();
        assert!(files.lines().any(|file| platform["bin"] == file), "{files}");
    }

    std::fs::remove_file(folder.path().join("citrix-allowlist-linux-arm64.tar.gz")).unwrap();
    let error = krew(folder.path()).failure();
    assert!(error.contains("citrix-allowlist-linux-arm64.tar.gz is missing"), "{error}");
}

/// What the workflow compares before it publishes anything, and what it looks for in files by their lines.
#[test]
fn what_the_release_workflow_takes_for_granted_of_other_files_is_so() {
    let read = |path: &str| std::fs::read_to_string(workspace_root().join(path)).unwrap();
    let metadata: Value =
        serde_saphyr::from_str(&std::fs::read_to_string(chart().join("Chart.yaml")).unwrap()).unwrap();
    assert_eq!(metadata["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(metadata["appVersion"], env!("CARGO_PKG_VERSION"));
    // The line that gets the image's digest, once.
    let values = std::fs::read_to_string(chart().join("values.yaml")).unwrap();
    assert_eq!(values.lines().filter(|line| *line == "  digest: \"\"").count(), 1);
    assert_eq!(values.lines().filter(|line| line.starts_with("  repository: ")).count(), 1);
    assert!(read("CHANGELOG.md").contains("\n## [Unreleased]\n"));
    // Its scripts run the repository's own.
    let workflow = read(".github/workflows/release.yaml");
    for script in ["charts/generate.sh --write", "../deploy/krew/render.sh"] {
        assert!(workflow.contains(script), "{script}");
    }
    // Whoever checks a release asks for the workflow that signs it.
    assert!(read("SECURITY.md").contains(r"/\.github/workflows/release\.yaml@refs/tags/v"));
    // Both ways of building bring the same Rust.
    let channel = read("rust-toolchain.toml");
    let channel = channel.split('"').nth(1).unwrap();
    assert!(read("Dockerfile").contains(&format!("rust:{channel}-alpine")));
}

#[test]
fn workflows_pass_actionlint() {
    let output = run(Command::new(test_support::tool("actionlint").unwrap())
        .current_dir(workspace_root())
        .args([".github/workflows/ci.yaml", ".github/workflows/release.yaml"]));
    assert!(output.success, "{}{}", output.stdout, output.stderr);
}

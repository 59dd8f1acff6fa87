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
fn the_assumptions_of_the_release_workflow_hold() {
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
    // A person who checks a release asks for the workflow that signs it.
    assert!(read("SECURITY.md").contains(r"/\.github/workflows/release\.yaml@refs/tags/v"));
    // Both ways of building bring the same Rust.
    let channel = read("rust-toolchain.toml");
    let channel = channel.split('"').nth(1).unwrap();
    assert!(read("Dockerfile").contains(&format!("rust:{channel}-alpine")));
}

/// The workflows, by their file names.
fn workflows() -> Vec<(String, String)> {
    let folder = std::fs::read_dir(workspace_root().join(".github/workflows")).unwrap();
    let mut found: Vec<(String, String)> = folder
        .map(|file| file.unwrap())
        .map(|file| (file.file_name().into_string().unwrap(), std::fs::read_to_string(file.path()).unwrap()))
        .collect();
    found.sort();
    found
}

#[test]
fn workflows_pass_actionlint() {
    let files: Vec<String> = workflows().into_iter().map(|(name, _)| format!(".github/workflows/{name}")).collect();
    let actionlint = test_support::tool("actionlint").unwrap();
    let output = run(Command::new(actionlint).current_dir(workspace_root()).args(&files));
    assert!(output.success, "{}{}", output.stdout, output.stderr);
}

/// Every action that a workflow uses, wherever in it.
fn uses(value: &Value) -> Vec<String> {
    match value {
        Value::Object(fields) => {
            let own = fields.get("uses").and_then(Value::as_str).map(str::to_owned);
            own.into_iter().chain(fields.values().flat_map(uses)).collect()
        }
        Value::Array(items) => items.iter().flat_map(uses).collect(),
        _ => Vec::new(),
    }
}

/// The lines that name an action in a way that somebody else can make another action of: anything but a whole commit,
/// with the tag it was taken from in a comment, for people and for Renovate.
fn movable(workflow: &str) -> Vec<String> {
    let named = uses(&serde_saphyr::from_str(workflow).unwrap());
    let is_pinned = |action: &str| {
        let (name, commit) = action.split_once('@').unwrap_or((action, ""));
        name.split('/').count() >= 2
            && commit.len() == 40
            && commit.bytes().all(|byte| b"0123456789abcdef".contains(&byte))
    };
    let has_tag = |action: &str| {
        let tag = workflow.lines().find_map(|line| line.split_once(&format!("uses: {action} # v")));
        tag.is_some_and(|(_, version)| version.split('.').count() == 3 && !version.contains(' '))
    };
    named.into_iter().filter(|action| !(action.starts_with("./") || is_pinned(action) && has_tag(action))).collect()
}

/// Every action was named by a tag, as `actions/checkout@v6`, in jobs that sign under the release's identity: who moved
/// one such tag signed releases.
#[test]
fn workflows_name_every_action_by_its_commit() {
    let workflow = |uses: &str| format!("jobs:\n  job:\n    steps:\n      - uses: {uses}\n");
    let commit = "d23441a48e516b6c34aea4fa41551a30e30af803";
    for moves in [
        "actions/checkout@v6".to_owned(),
        "actions/checkout@main # v6.1.0".to_owned(),
        "actions/checkout".to_owned(),
        format!("actions/checkout@{} # v6.1.0", &commit[..12]),
        format!("actions/checkout@{commit}"),
        format!("actions/checkout@{commit} # v6"),
        "docker://alpine:3".to_owned(),
    ] {
        assert_eq!(movable(&workflow(&moves)).len(), 1, "{moves}");
    }
    for stays in [format!("actions/checkout@{commit} # v6.1.0"), "./.github/actions/own".to_owned()] {
        assert_eq!(movable(&workflow(&stays)), Vec::<String>::new(), "{stays}");
    }
    let mut actions = 0;
    for (name, text) in workflows() {
        assert_eq!(movable(&text), Vec::<String>::new(), "{name}");
        actions += uses(&serde_saphyr::from_str(&text).unwrap()).len();
    }
    assert!(actions > 10, "{actions} actions were found");
    // Renovate moves them on, with their tags.
    let renovate = std::fs::read_to_string(workspace_root().join("renovate.json")).unwrap();
    assert!(renovate.contains("helpers:pinGitHubActionDigests") && renovate.contains("docker:pinDigests"));
}

/// A tag could be pushed onto any commit, and who could push one could publish.
#[test]
fn what_publishes_waits_for_a_person_and_comes_from_main() {
    let text = std::fs::read_to_string(workspace_root().join(".github/workflows/release.yaml")).unwrap();
    let workflow: Value = serde_saphyr::from_str(&text).unwrap();
    let jobs = workflow["jobs"].as_object().unwrap();
    for (name, job) in jobs {
        let writes = job["permissions"].as_object().is_some_and(|given| given.values().any(|right| right == "write"));
        assert_eq!(writes, job["environment"] == "release", "{name}");
        let needs: Vec<&str> = job["needs"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let waits = name == "agree" || job["needs"] == "agree" || needs.contains(&"agree");
        assert!(waits, "{name} begins before the tag was looked at");
    }
    let steps = jobs["agree"]["steps"].as_array().unwrap();
    assert_eq!(steps[0]["with"]["fetch-depth"], 0, "main is not fetched");
    assert_eq!(steps[1]["run"], "deploy/release/on-main.sh \"$GITHUB_SHA\"");
}

#[test]
fn a_commit_beside_main_is_no_release() {
    let folder = tempfile::tempdir().unwrap();
    let git = |arguments: &[&str]| {
        let identity = ["-c", "user.name=test", "-c", "user.email=test@example.com"];
        let output = run(Command::new("git").current_dir(folder.path()).args(identity).args(arguments));
        output.success().trim().to_owned()
    };
    git(&["init", "--quiet", "--initial-branch=main"]);
    let commit = |message: &str| {
        git(&["commit", "--quiet", "--allow-empty", "--message", message]);
        git(&["rev-parse", "HEAD"])
    };
    let (first, second) = (commit("first"), commit("second"));
    git(&["switch", "--quiet", "--create", "beside", &first]);
    let beside = commit("beside");
    let check = |commit: &str, main: &str| {
        let script = workspace_root().join("deploy/release/on-main.sh");
        run(Command::new(script).current_dir(folder.path()).args([commit, main]))
    };
    check(&first, "main").success();
    check(&second, "main").success();
    assert!(check(&beside, "main").failure().contains("is not on main"));
    assert!(check(&first, "origin/main").failure().contains("origin/main is not known here"));
}

mod base_image;
